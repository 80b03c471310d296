//! EC2's error codes, and what each means for who asked.

use crate::cloud::{ErrorKind, code};

/// No room for this type in this zone, or no more of it for this account: another type or zone may do.
const CAPACITY: &[&str] = &[
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacityOnHost",
    "InsufficientReservedInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "ReservationCapacityExceeded",
    "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
    "Unsupported",
];
/// The account's own limits, the same in every zone; on-demand and spot have each their own.
const QUOTA: &[&str] =
    &["InstanceLimitExceeded", "MaxFleetCountExceeded", "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"];
/// Refused before anything was done; later is fine.
const THROTTLED: &[&str] = &[
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "EC2ThrottledException",
];
/// The credentials; those that expire are renewed by themselves.
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
const DENIED: &[&str] = &[
    "AuthFailure",
    "Blocked",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "PendingVerification",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
];
/// This id is not visible. Soon after a launch that does not mean that it does not exist.
const NO_SUCH_INSTANCE: &[&str] = &["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"];

/// The code of a token whose instance has ended.
pub(super) const TERMINATED_TOKEN: &str = "IdempotentInstanceTerminated";

/// Kind and our code for one of EC2's, seen with an HTTP status. An error of the server may have come after the deed,
/// so a call that changes something has an unknown outcome.
pub(super) fn meaning(ec2_code: &str, status: u16, is_mutating: bool) -> (ErrorKind, &'static str) {
    let is_in = |list: &[&str]| list.contains(&ec2_code);
    if is_in(CAPACITY) {
        (ErrorKind::Capacity, code::CAPACITY)
    } else if is_in(QUOTA) {
        (ErrorKind::Capacity, code::QUOTA)
    } else if is_in(THROTTLED) || status == 429 {
        (ErrorKind::Transient, code::THROTTLED)
    } else if is_in(EXPIRED) {
        (ErrorKind::Transient, code::DENIED)
    } else if is_in(DENIED) || status == 401 || status == 403 {
        (ErrorKind::Permanent, code::DENIED)
    } else if is_in(NO_SUCH_INSTANCE) {
        (ErrorKind::Transient, code::NO_SUCH_INSTANCE)
    } else if ec2_code == "IdempotentParameterMismatch" {
        (ErrorKind::Permanent, code::INTENT_MISMATCH)
    } else if ec2_code == TERMINATED_TOKEN {
        (ErrorKind::Permanent, code::SPENT)
    } else if status >= 500 || status == 408 || status < 400 {
        (ambiguous(is_mutating), code::UNREACHABLE)
    } else {
        (ErrorKind::Permanent, code::REFUSED)
    }
}

/// What to do about a refusal that nothing in the request is wrong with; empty for others.
pub(super) fn advice(ours: &str) -> &'static str {
    if ours == code::QUOTA {
        "; this is the account's quota in the region: ask for more vCPUs (Service Quotas, Amazon EC2, Running On-Demand or \
         All Spot Instance Requests), or lower scaler.max_nodes"
    } else {
        ""
    }
}

/// What a missing or unreadable answer means.
pub(super) fn ambiguous(is_mutating: bool) -> ErrorKind {
    if is_mutating { ErrorKind::UnknownOutcome } else { ErrorKind::Transient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_means_what_the_scaler_must_do() {
        let cases = [
            ("InsufficientInstanceCapacity", 500, ErrorKind::Capacity, code::CAPACITY),
            ("VcpuLimitExceeded", 400, ErrorKind::Capacity, code::QUOTA),
            ("MaxSpotInstanceCountExceeded", 400, ErrorKind::Capacity, code::QUOTA),
            ("Unsupported", 400, ErrorKind::Capacity, code::CAPACITY),
            ("RequestLimitExceeded", 503, ErrorKind::Transient, code::THROTTLED),
            ("UnauthorizedOperation", 403, ErrorKind::Permanent, code::DENIED),
            ("RequestExpired", 400, ErrorKind::Transient, code::DENIED),
            ("InvalidInstanceID.NotFound", 400, ErrorKind::Transient, code::NO_SUCH_INSTANCE),
            ("IdempotentParameterMismatch", 400, ErrorKind::Permanent, code::INTENT_MISMATCH),
            ("IdempotentInstanceTerminated", 400, ErrorKind::Permanent, code::SPENT),
            ("InvalidAMIID.NotFound", 400, ErrorKind::Permanent, code::REFUSED),
            ("InternalError", 500, ErrorKind::UnknownOutcome, code::UNREACHABLE),
            ("", 502, ErrorKind::UnknownOutcome, code::UNREACHABLE),
            ("", 0, ErrorKind::UnknownOutcome, code::UNREACHABLE),
        ];
        for (ec2_code, status, kind, ours) in cases {
            assert_eq!(meaning(ec2_code, status, true), (kind, ours), "{ec2_code} {status}");
        }
        assert_eq!(meaning("InternalError", 500, false).0, ErrorKind::Transient);
    }
}
