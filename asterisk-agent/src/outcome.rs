//! How a call ended: one pure function from what Asterisk says to an [`Outcome`].

pub use asterism_proto::v1::Outcome;

use crate::ami::reason;

/// The outcome of an attempt.
///
/// `answered`: it was up. `given`: the reason of `OriginateResponse`, if that came. `cause`: the Q.850 cause of
/// `Hangup`, if that came. A cause that names a reason of its own wins; a general one (0, 16, 31, 127) leaves it to that.
pub fn outcome(answered: bool, given: Option<u32>, cause: Option<u32>) -> Outcome {
    if answered {
        return Outcome::Answered;
    }
    // A ring that timed out and a 480 have one cause; only the timeout has a reason of its own.
    if (given, cause) == (Some(reason::FAILURE), Some(19)) {
        return Outcome::Unavailable;
    }
    cause.and_then(by_cause).unwrap_or_else(|| by_reason(given))
}

fn by_cause(cause: u32) -> Option<Outcome> {
    Some(match cause {
        17 => Outcome::Busy,
        21 => Outcome::Declined,
        // Unallocated, number changed, incomplete or malformed number.
        1 | 22 | 28 => Outcome::InvalidNumber,
        // Nobody took it up in time; no reply at all.
        18 | 19 => Outcome::NoAnswer,
        // Subscriber absent, no route, destination out of order.
        2 | 3 | 20 | 27 => Outcome::Unavailable,
        // No circuit, network out of order, temporary failure, switch congestion, channel not available.
        34 | 38 | 41 | 42 | 43 | 44 | 47 => Outcome::Congestion,
        0 | 16 | 31 | 127 => return None,
        _ => Outcome::Failed,
    })
}

fn by_reason(given: Option<u32>) -> Outcome {
    // Busy and congestion never come with PJSIP, their causes do; the words are Asterisk's control frames.
    match given {
        Some(reason::TIMEOUT) => Outcome::NoAnswer,
        Some(5) => Outcome::Busy,
        Some(8) => Outcome::Congestion,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_a_carrier_has_its_outcome() {
        // answered, OriginateResponse reason, Q.850 cause, outcome
        let table = [
            (true, Some(4), Some(16), Outcome::Answered),
            (true, Some(4), Some(17), Outcome::Answered),
            (true, None, None, Outcome::Answered),
            (false, Some(5), Some(17), Outcome::Busy),
            (false, Some(5), None, Outcome::Busy),
            (false, None, Some(17), Outcome::Busy),
            (false, Some(5), Some(21), Outcome::Declined),
            (false, Some(8), Some(21), Outcome::Declined),
            (false, Some(8), Some(1), Outcome::InvalidNumber),
            (false, Some(0), Some(28), Outcome::InvalidNumber),
            (false, Some(3), Some(19), Outcome::NoAnswer),
            (false, None, Some(19), Outcome::NoAnswer),
            (false, Some(3), Some(16), Outcome::NoAnswer),
            (false, Some(3), Some(127), Outcome::NoAnswer),
            (false, Some(3), Some(0), Outcome::NoAnswer),
            (false, Some(3), None, Outcome::NoAnswer),
            (false, Some(8), Some(18), Outcome::NoAnswer),
            (false, Some(8), Some(20), Outcome::Unavailable),
            (false, Some(8), Some(34), Outcome::Congestion),
            (false, Some(8), Some(42), Outcome::Congestion),
            (false, Some(8), None, Outcome::Congestion),
            (false, Some(1), Some(88), Outcome::Failed),
            (false, Some(0), None, Outcome::Failed),
            // As Asterisk 22.10 sends them for 486, 603, 404, 480, 503, a timer that ran out, and no RTP port left.
            (false, Some(0), Some(17), Outcome::Busy),
            (false, Some(0), Some(21), Outcome::Declined),
            (false, Some(0), Some(1), Outcome::InvalidNumber),
            (false, Some(0), Some(19), Outcome::Unavailable),
            (false, Some(0), Some(34), Outcome::Congestion),
            (false, Some(0), Some(18), Outcome::NoAnswer),
            (false, Some(0), Some(0), Outcome::Failed),
            (false, Some(1), Some(16), Outcome::Failed),
            (false, None, None, Outcome::Failed),
        ];
        for (answered, reason, cause, expected) in table {
            assert_eq!(outcome(answered, reason, cause), expected, "{answered} {reason:?} {cause:?}");
        }
    }
}
