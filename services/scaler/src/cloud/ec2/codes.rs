//! EC2's error codes: what each means for who asked, and what a person can do about it.

use crate::cloud::{CloudError, ErrorKind, code};

/// Of the errors that mean the same: EC2's names, what the scaler does about them, and what a person is told.
#[derive(Debug)]
pub(super) struct Meaning {
    /// EC2's codes.
    names: &'static [&'static str],
    kind: ErrorKind,
    /// Our code.
    pub code: &'static str,
    /// What it means, and what the scaler does by itself.
    why: &'static str,
    /// What to do; empty where there is nothing to be done.
    next: &'static str,
}

/// The code of a token whose instance has ended.
pub(super) const TERMINATED_TOKEN: &str = "IdempotentInstanceTerminated";

const CHECK_KEY: &str = "aws sts get-caller-identity (as the user the scaler runs as)";
const CHECK_NAMES: &str = "asterism config print (scaler.ec2), then aws ec2 describe-images, describe-subnets, \
    describe-security-groups or describe-launch-templates in the same region";

/// Every code that means something of its own. What is in none of them is judged by its status.
const MEANINGS: &[Meaning] = &[
    Meaning {
        names: &[
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientCapacityOnHost",
            "InsufficientReservedInstanceCapacity",
            "ReservationCapacityExceeded",
            "UnfulfillableCapacity",
            "Unsupported",
        ],
        kind: ErrorKind::Capacity,
        code: code::CAPACITY,
        why: "the zone has no such machine to give now; the next place is asked at once and this one again in 3 minutes",
        next: "give the scaler more places: scaler.ec2.more_instance_types, scaler.ec2.more_subnet_ids",
    },
    Meaning {
        names: &["SpotMaxPriceTooLow"],
        kind: ErrorKind::Capacity,
        code: code::CAPACITY,
        why: "spot machines of this kind cost more now than on demand; the next place is asked at once",
        next: "nothing, or scaler.ec2.spot = false",
    },
    Meaning {
        names: &["InsufficientFreeAddressesInSubnet"],
        kind: ErrorKind::Capacity,
        code: code::SUBNET_FULL,
        why: "the subnet has no private address left; the next place is asked at once",
        next: "scaler.ec2.more_subnet_ids with a larger subnet; \
               aws ec2 describe-subnets --query 'Subnets[].[SubnetId,AvailableIpAddressCount]'",
    },
    Meaning {
        names: &["VcpuLimitExceeded", "InstanceLimitExceeded", "MaxFleetCountExceeded"],
        kind: ErrorKind::Capacity,
        code: code::QUOTA,
        why: "the account may not run more on-demand vCPUs in this region, in whichever zone; on demand is asked again in 3 minutes",
        next: "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-1216C47A --desired-value VCPUS \
               (Running On-Demand Standard instances), or a lower scaler.max_nodes",
    },
    Meaning {
        names: &["MaxSpotInstanceCountExceeded"],
        kind: ErrorKind::Capacity,
        code: code::SPOT_QUOTA,
        why: "the account may not have more spot vCPUs in this region, in whichever zone; spot is asked again in 3 minutes",
        next: "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-34B43A08 --desired-value VCPUS \
               (All Standard Spot Instance Requests), or scaler.ec2.spot = false",
    },
    Meaning {
        names: &["AddressLimitExceeded"],
        kind: ErrorKind::Permanent,
        code: code::ADDRESS_QUOTA,
        why: "the account may not have more Elastic IP addresses in this region",
        next: "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-0263D0A3 --desired-value ADDRESSES \
               (EC2-VPC Elastic IPs), or release one: aws ec2 describe-addresses",
    },
    Meaning {
        names: &["VolumeLimitExceeded", "MaxIOPSLimitExceeded"],
        kind: ErrorKind::Permanent,
        code: code::VOLUME_QUOTA,
        why: "the account may not have more storage of this kind in this region: each node has a volume",
        next: "aws service-quotas list-service-quotas --service-code ebs, and ask for more; or smaller volumes in the image",
    },
    Meaning {
        names: &[
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "RequestThrottled",
            "EC2ThrottledException",
        ],
        kind: ErrorKind::Transient,
        code: code::THROTTLED,
        why: "EC2 takes no more requests of this account for a moment; the scaler keeps inside the published buckets, so others use \
              them too, and it is silent for a growing while",
        next: "nothing; if it lasts, find who else asks: \
               aws cloudtrail lookup-events --lookup-attributes AttributeKey=EventSource,AttributeValue=ec2.amazonaws.com",
    },
    Meaning {
        names: &["ExpiredToken", "ExpiredTokenException"],
        kind: ErrorKind::Transient,
        code: code::EXPIRED,
        why: "the credentials have expired; those of a machine's role renew themselves, those of a shell do not",
        next: "sign in again where the scaler got its key from, and restart it; aws sts get-caller-identity",
    },
    Meaning {
        names: &["RequestExpired"],
        kind: ErrorKind::Transient,
        code: code::CLOCK_OFF,
        why: "EC2 takes the request for an old one: this machine's clock is wrong, or its credentials have expired",
        next: "timedatectl status (the clock), then aws sts get-caller-identity (the credentials)",
    },
    Meaning {
        names: &[
            "AuthFailure",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ],
        kind: ErrorKind::Permanent,
        code: code::BAD_KEY,
        why: "EC2 does not know the key, or its secret is another one",
        next: CHECK_KEY,
    },
    Meaning {
        names: &["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"],
        kind: ErrorKind::Permanent,
        code: code::DENIED,
        why: "the key is good and may not do this; the scaler needs ec2:RunInstances, ec2:CreateTags, ec2:TerminateInstances, \
              ec2:DescribeInstances, ec2:DescribeVolumes, ec2:DescribeAddresses, ec2:AssociateAddress, ec2:DisassociateAddress, and iam:PassRole if nodes have a role",
        next: "allow it in the policy of the scaler's role; what was asked: \
               aws sts decode-authorization-message --encoded-message MESSAGE",
    },
    Meaning {
        names: &["Blocked", "OptInRequired", "PendingVerification"],
        kind: ErrorKind::Permanent,
        code: code::ACCOUNT,
        why: "the account itself is closed for this: not verified yet, not opted in to the region, or blocked",
        next: "aws account get-region-opt-status --region-name REGION, or a case with AWS Support",
    },
    Meaning {
        // Soon after a launch that does not mean that it does not exist.
        names: &["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"],
        kind: ErrorKind::Transient,
        code: code::NO_SUCH_INSTANCE,
        why: "EC2 shows no instance of this id; a new one may be shown late, so nothing is concluded from it",
        next: "",
    },
    Meaning {
        names: &["Resource.AlreadyAssociated"],
        kind: ErrorKind::Transient,
        code: code::ADDRESS_TAKEN,
        why: "another instance has the address; it is asked for again, and taken from nobody",
        next: "aws ec2 describe-addresses (whose is it?), or another address in scaler.ec2.addresses",
    },
    Meaning {
        names: &["InvalidAddress.NotFound", "InvalidAllocationID.NotFound", "InvalidAddressID.NotFound"],
        kind: ErrorKind::Permanent,
        code: code::NO_SUCH_ADDRESS,
        why: "the account has no such Elastic IP address in this region",
        next: "aws ec2 describe-addresses, then scaler.ec2.addresses",
    },
    Meaning {
        names: &["IncorrectInstanceState", "IncorrectState", "InvalidInstanceID"],
        kind: ErrorKind::Transient,
        code: code::NOT_RUNNING,
        why: "the instance does not run yet; it is asked again",
        next: "nothing",
    },
    Meaning {
        names: &["IdempotentParameterMismatch"],
        kind: ErrorKind::Permanent,
        code: code::INTENT_MISMATCH,
        why: "this launch was asked for before with other parameters; what it made is looked for in the listing",
        next: "",
    },
    Meaning {
        names: &[TERMINATED_TOKEN],
        kind: ErrorKind::Permanent,
        code: code::SPENT,
        why: "the instance of this launch has ended; the next plan makes a new launch",
        next: "",
    },
    Meaning {
        names: &[
            "InvalidAMIID.Malformed",
            "InvalidAMIID.NotFound",
            "InvalidAMIID.Unavailable",
            "InvalidGroup.NotFound",
            "InvalidGroupId.Malformed",
            "InvalidKeyPair.NotFound",
            "InvalidLaunchTemplateId.NotFound",
            "InvalidLaunchTemplateName.NotFoundException",
            "InvalidSubnetID.NotFound",
        ],
        kind: ErrorKind::Permanent,
        code: code::NOT_THERE,
        why: "what the configuration names is not in this region and account",
        next: CHECK_NAMES,
    },
    Meaning {
        names: &[
            "InvalidParameterValue",
            "InvalidParameterCombination",
            "InvalidParameter",
            "MissingParameter",
        ],
        kind: ErrorKind::Permanent,
        code: code::REFUSED,
        why: "what the configuration asks for does not go together",
        next: CHECK_NAMES,
    },
];

/// What is known of one of EC2's codes.
fn known(ec2_code: &str) -> Option<&'static Meaning> {
    MEANINGS.iter().find(|meaning| meaning.names.contains(&ec2_code))
}

/// Kind and our code for one of EC2's, seen with an HTTP status. An error of the server may have come after the deed,
/// so a call that changes something has an unknown outcome.
fn meaning(ec2_code: &str, status: u16, is_mutating: bool) -> (ErrorKind, &'static str) {
    match known(ec2_code) {
        Some(known) => (known.kind, known.code),
        None if status == 429 => (ErrorKind::Transient, code::THROTTLED),
        None if status == 401 || status == 403 => (ErrorKind::Permanent, code::DENIED),
        None if status >= 500 || status == 408 || status < 400 => (ambiguous(is_mutating), code::UNREACHABLE),
        None => (ErrorKind::Permanent, code::REFUSED),
    }
}

/// An answer that is an error, with what it means for people.
pub(super) fn error(ec2_code: &str, status: u16, is_mutating: bool, what: &str, message: &str) -> CloudError {
    let (kind, ours) = meaning(ec2_code, status, is_mutating);
    let said = if ec2_code.is_empty() { message.to_owned() } else { format!("{ec2_code}: {message}") };
    match known(ec2_code) {
        Some(known) => CloudError::new(kind, ours, what, format!("{said}; {}", known.why)).next(known.next),
        None if ours == code::UNREACHABLE => {
            let next = "nothing; if it lasts: https://health.aws.amazon.com/health/status";
            CloudError::new(kind, ours, what, said).next(next)
        }
        None => CloudError::new(kind, ours, what, said),
    }
}

/// A request that was never sent: it could not be made or signed.
pub(super) fn unsigned(what: &str, message: &str) -> CloudError {
    let why = format!("nothing was sent, there are no credentials to sign it with: {message}");
    let next = "give the machine a role, or AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; aws sts get-caller-identity";
    CloudError::new(ErrorKind::Permanent, code::NO_KEY, what, why).next(next)
}

/// What a missing or unreadable answer means.
pub(super) fn ambiguous(is_mutating: bool) -> ErrorKind {
    if is_mutating { ErrorKind::UnknownOutcome } else { ErrorKind::Transient }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_means_what_the_scaler_must_do() {
        let cases = [
            ("InsufficientInstanceCapacity", 500, ErrorKind::Capacity, code::CAPACITY),
            ("Unsupported", 400, ErrorKind::Capacity, code::CAPACITY),
            ("SpotMaxPriceTooLow", 400, ErrorKind::Capacity, code::CAPACITY),
            ("InsufficientFreeAddressesInSubnet", 400, ErrorKind::Capacity, code::SUBNET_FULL),
            ("VcpuLimitExceeded", 400, ErrorKind::Capacity, code::QUOTA),
            ("InstanceLimitExceeded", 400, ErrorKind::Capacity, code::QUOTA),
            ("MaxSpotInstanceCountExceeded", 400, ErrorKind::Capacity, code::SPOT_QUOTA),
            ("AddressLimitExceeded", 400, ErrorKind::Permanent, code::ADDRESS_QUOTA),
            ("VolumeLimitExceeded", 400, ErrorKind::Permanent, code::VOLUME_QUOTA),
            ("RequestLimitExceeded", 503, ErrorKind::Transient, code::THROTTLED),
            ("", 429, ErrorKind::Transient, code::THROTTLED),
            ("ExpiredToken", 400, ErrorKind::Transient, code::EXPIRED),
            ("RequestExpired", 400, ErrorKind::Transient, code::CLOCK_OFF),
            ("AuthFailure", 401, ErrorKind::Permanent, code::BAD_KEY),
            ("InvalidClientTokenId", 403, ErrorKind::Permanent, code::BAD_KEY),
            ("UnauthorizedOperation", 403, ErrorKind::Permanent, code::DENIED),
            ("", 403, ErrorKind::Permanent, code::DENIED),
            ("PendingVerification", 400, ErrorKind::Permanent, code::ACCOUNT),
            ("InvalidInstanceID.NotFound", 400, ErrorKind::Transient, code::NO_SUCH_INSTANCE),
            ("IdempotentParameterMismatch", 400, ErrorKind::Permanent, code::INTENT_MISMATCH),
            ("IdempotentInstanceTerminated", 400, ErrorKind::Permanent, code::SPENT),
            ("InvalidAMIID.NotFound", 400, ErrorKind::Permanent, code::NOT_THERE),
            ("InvalidParameterCombination", 400, ErrorKind::Permanent, code::REFUSED),
            ("SomethingNew", 400, ErrorKind::Permanent, code::REFUSED),
            ("InternalError", 500, ErrorKind::UnknownOutcome, code::UNREACHABLE),
            ("", 502, ErrorKind::UnknownOutcome, code::UNREACHABLE),
            ("", 0, ErrorKind::UnknownOutcome, code::UNREACHABLE),
        ];
        for (ec2_code, status, kind, ours) in cases {
            assert_eq!(meaning(ec2_code, status, true), (kind, ours), "{ec2_code} {status}");
        }
        assert_eq!(meaning("InternalError", 500, false).0, ErrorKind::Transient);
    }

    #[test]
    fn each_refusal_says_what_why_which_code_and_what_to_do() {
        let mut names = BTreeSet::new();
        for known in MEANINGS {
            for name in known.names {
                assert!(names.insert(*name), "{name} means two things");
                let said = error(name, 400, true, "launching intent lab-1", "their words").to_string();
                assert!(said.starts_with(known.code), "{said}");
                for part in ["launching intent lab-1", name, "their words", known.why, known.next] {
                    assert!(said.contains(part), "{part} is not in: {said}");
                }
                assert!(known.next.is_empty() || said.contains("; next: "), "{said}");
            }
        }
        // What only a person can mend says how.
        for name in names {
            let error = error(name, 400, true, "x", "y");
            let by_itself =
                [code::NO_SUCH_INSTANCE, code::INTENT_MISMATCH, code::SPENT].contains(&error.code);
            assert_eq!(error.next.is_empty(), by_itself, "{error}");
        }
        assert!(unsigned("x", "y").next.contains("AWS_PROFILE"));
    }

    #[test]
    fn a_quota_is_told_from_a_zone_and_a_key_from_a_right() {
        let of = |name| error(name, 400, true, "x", "y");
        assert!(of("VcpuLimitExceeded").is_quota() && of("MaxSpotInstanceCountExceeded").is_quota());
        assert!(
            !of("InsufficientInstanceCapacity").is_quota()
                && !of("InsufficientFreeAddressesInSubnet").is_quota()
        );
        for name in
            ["UnauthorizedOperation", "AuthFailure", "PendingVerification", "ExpiredToken", "RequestExpired"]
        {
            assert!(of(name).is_of_credentials(), "{name}");
        }
        assert!(unsigned("x", "y").is_of_credentials() && !of("InvalidParameterValue").is_of_credentials());
    }
}
