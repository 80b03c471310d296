//! How an attempt ended: one table from what the node heard to an [`Outcome`]. Nodes report raw codes, which the log keeps.
//!
//! The first that says anything wins: an answer, then the originate's own timeout, the carrier's final response by [`SIP`],
//! the Q.850 cause by [`CAUSES`], what `OriginateResponse` gave as its reason. A response that is not in [`SIP`] goes by the
//! cause the PBX made of it (`hangup_sip2cause` of `chan_pjsip`: 5xx is 34, other 4xx and 6xx are 127, which says nothing).
//!
//! Sources: RFC 3261 section 21 for responses; RFC 3398 section 8.2.6.1 and `hangup_sip2cause` for which cause is which
//! response; ITU-T Q.850 for causes; measured with Asterisk 22.10 (`asterisk-agent/pbx-sim/tests/outcomes.rs`).

use crate::ids::Outcome;

/// `OriginateResponse` of the PBX: the originate's timeout passed.
pub const REASON_TIMEOUT: u32 = 3;
/// The same: it was answered.
pub const REASON_ANSWERED: u32 = 4;
/// Asterisk's control frames for busy and congestion; PJSIP never gives them.
const REASON_BUSY: u32 = 5;
const REASON_CONGESTION: u32 = 8;

/// A final response, the outcome, and the RFC it is from.
pub const SIP: [(u32, Outcome, &str); 22] = [
    // The carrier wants other credentials, or money: it is the trunk that is refused. RFC 3398 has 21 for these.
    (401, Outcome::Failed, "RFC 3261 21.4.2"),
    (402, Outcome::Failed, "RFC 3261 21.4.3"),
    (403, Outcome::Declined, "RFC 3261 21.4.4"),
    (404, Outcome::InvalidNumber, "RFC 3261 21.4.5"),
    (407, Outcome::Failed, "RFC 3261 21.4.8"),
    // The PBX's own word too, where nothing came at all.
    (408, Outcome::NoAnswer, "RFC 3261 21.4.9"),
    (410, Outcome::InvalidNumber, "RFC 3261 21.4.10"),
    (429, Outcome::Congestion, "RFC 6585 4, as carriers use it"),
    (480, Outcome::Unavailable, "RFC 3261 21.4.18"),
    (484, Outcome::InvalidNumber, "RFC 3261 21.4.22"),
    (485, Outcome::InvalidNumber, "RFC 3261 21.4.23"),
    (486, Outcome::Busy, "RFC 3261 21.4.24"),
    (500, Outcome::Congestion, "RFC 3261 21.5.1"),
    // Asterisk has 27 for it, the callee out of order; it is the carrier that is.
    (502, Outcome::Congestion, "RFC 3261 21.5.3"),
    (503, Outcome::Congestion, "RFC 3261 21.5.4"),
    (504, Outcome::Congestion, "RFC 3261 21.5.5"),
    (580, Outcome::Failed, "RFC 3312 8"),
    (600, Outcome::Busy, "RFC 3261 21.6.1"),
    (603, Outcome::Declined, "RFC 3261 21.6.2"),
    (604, Outcome::InvalidNumber, "RFC 3261 21.6.3"),
    (607, Outcome::Declined, "RFC 8197"),
    (608, Outcome::Declined, "RFC 8688"),
];

/// A Q.850 cause, the outcome, and the cause's name. Those that are not here but for [`SILENT`] are failures.
pub const CAUSES: [(u32, Outcome, &str); 18] = [
    (1, Outcome::InvalidNumber, "unallocated number"),
    (2, Outcome::Unavailable, "no route to transit network"),
    (3, Outcome::Unavailable, "no route to destination"),
    (17, Outcome::Busy, "user busy"),
    (18, Outcome::NoAnswer, "no user responding"),
    (19, Outcome::NoAnswer, "no answer, user alerted"),
    (20, Outcome::Unavailable, "subscriber absent"),
    (21, Outcome::Declined, "call rejected"),
    (22, Outcome::InvalidNumber, "number changed"),
    (27, Outcome::Unavailable, "destination out of order"),
    (28, Outcome::InvalidNumber, "invalid number format"),
    (34, Outcome::Congestion, "no circuit available"),
    (38, Outcome::Congestion, "network out of order"),
    (41, Outcome::Congestion, "temporary failure"),
    (42, Outcome::Congestion, "switching equipment congestion"),
    (43, Outcome::Congestion, "access information discarded"),
    (44, Outcome::Congestion, "requested circuit not available"),
    (47, Outcome::Congestion, "resource unavailable"),
];

/// Causes that say nothing of their own: none, normal clearing, normal unspecified, interworking.
pub const SILENT: [u32; 4] = [0, 16, 31, 127];

/// The outcome of an attempt.
///
/// `reason`: of `OriginateResponse`; 0 = failure, or it never came. `cause`: Q.850, of the channel's end; 0 = none.
/// `sip_status`: the final response; 0 = none was heard.
pub fn of(reason: u32, cause: u32, sip_status: u32) -> Outcome {
    if reason == REASON_ANSWERED {
        return Outcome::Answered;
    }
    let by_sip = SIP.iter().find(|(status, ..)| *status == sip_status && reason != REASON_TIMEOUT);
    if let Some((_, outcome, _)) = by_sip {
        return *outcome;
    }
    // A ring that timed out and a 480 have one cause; only the timeout has a reason of its own.
    if (reason, cause) == (0, 19) {
        return Outcome::Unavailable;
    }
    match CAUSES.iter().find(|(known, ..)| *known == cause) {
        Some((_, outcome, _)) => *outcome,
        None if SILENT.contains(&cause) => by_reason(reason),
        None => Outcome::Failed,
    }
}

fn by_reason(reason: u32) -> Outcome {
    match reason {
        REASON_TIMEOUT => Outcome::NoAnswer,
        REASON_BUSY => Outcome::Busy,
        REASON_CONGESTION => Outcome::Congestion,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_a_carrier_has_its_outcome() {
        // OriginateResponse reason, Q.850 cause, final response, outcome
        let table = [
            (4, 16, 0, Outcome::Answered),
            (4, 17, 486, Outcome::Answered),
            (4, 0, 0, Outcome::Answered),
            (5, 17, 0, Outcome::Busy),
            (5, 0, 0, Outcome::Busy),
            (5, 21, 0, Outcome::Declined),
            (8, 1, 0, Outcome::InvalidNumber),
            (3, 19, 0, Outcome::NoAnswer),
            (3, 16, 0, Outcome::NoAnswer),
            (3, 127, 487, Outcome::NoAnswer),
            (3, 0, 0, Outcome::NoAnswer),
            (3, 18, 408, Outcome::NoAnswer),
            (8, 0, 0, Outcome::Congestion),
            (1, 88, 0, Outcome::Failed),
            // As Asterisk 22.10 sends them for 486, 603, 404, 480, 503, a timer that ran out, and no RTP port left.
            (0, 17, 486, Outcome::Busy),
            (0, 21, 603, Outcome::Declined),
            (0, 1, 404, Outcome::InvalidNumber),
            (0, 19, 480, Outcome::Unavailable),
            (0, 34, 503, Outcome::Congestion),
            (0, 18, 408, Outcome::NoAnswer),
            (0, 0, 0, Outcome::Failed),
            // Where the PBX's cause says less, or something else, than the response.
            (0, 127, 429, Outcome::Congestion),
            (0, 27, 502, Outcome::Congestion),
            (0, 102, 504, Outcome::Congestion),
            (0, 21, 407, Outcome::Failed),
            (0, 127, 608, Outcome::Declined),
            // No response of the table: by the cause.
            (0, 34, 555, Outcome::Congestion),
            (0, 127, 482, Outcome::Failed),
            (0, 127, 487, Outcome::Failed),
            (0, 58, 488, Outcome::Failed),
        ];
        for (reason, cause, status, expected) in table {
            assert_eq!(of(reason, cause, status), expected, "{reason} {cause} {status}");
        }
    }

    #[test]
    fn the_tables_are_in_order_and_name_nothing_twice() {
        assert!(SIP.is_sorted_by(|a, b| a.0 < b.0) && CAUSES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(SIP.iter().all(|(status, ..)| (300..700).contains(status)));
        assert!(CAUSES.iter().all(|(cause, ..)| *cause < 128 && !SILENT.contains(cause)));
    }
}
