//! Where instances come from: one trait, [`local::LocalCloud`] (processes of this machine) and `ec2::Ec2Cloud` (feature `aws`).
//!
//! A launch is identified by its intent before the cloud hears of it: the same intent gives the same instance, however
//! often it is asked for and whoever asks. An instance that has ended stays the answer to its intent (`Terminated`), so
//! a spent intent never starts a second one.

#[cfg(feature = "aws")]
pub mod ec2;
mod error;
pub mod local;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use error::{CloudError, ErrorKind, code};

/// Tag that names the fleet an instance belongs to; the listing is filtered by it.
pub const TAG_FLEET: &str = "asterism:fleet";
/// Tag that names what an instance was launched for: its intent, or the group of intents asked for together.
pub const TAG_INTENT: &str = "asterism:intent";
/// Tag that holds the start of the request's digest, to notice an intent that comes back with other parameters.
pub const TAG_REQUEST: &str = "asterism:request";
/// Longest intent id in bytes (the length of a client token).
pub const MAX_INTENT_BYTES: usize = 64;
/// Most tags of one request; EC2 allows 50 with the four added at launch.
pub const MAX_TAGS: usize = 46;
/// Longest user data in bytes, before base64.
pub const MAX_USER_DATA_BYTES: usize = 16 * 1024;
/// Longest of the other texts of a request in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Most instances of one request.
pub const MAX_COUNT: u32 = 100;
/// Most security groups of one instance.
const MAX_SECURITY_GROUPS: usize = 16;

/// Instances to be launched. The same `intent_id` must always come with the same parameters.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
pub struct LaunchRequest {
    /// Identity of the launch and the client token: 1 to 64 printable ASCII characters.
    pub intent_id: String,
    /// Instances wanted; the cloud launches as many as it has, at least one. 0 counts as 1.
    pub count: u32,
    /// Bought as spot: cheaper, and taken away with two minutes' notice.
    pub spot: bool,
    /// Size of the machine, like `c7g.large`.
    pub instance_type: String,
    /// The machine image; may be empty when the launch template names one.
    pub image_id: String,
    /// Subnet, and with it the zone; the cloud chooses when absent.
    pub subnet_id: Option<String>,
    /// Firewall groups.
    pub security_group_ids: Vec<String>,
    /// Id (`lt-...`) or name of a launch template that gives what the request does not.
    pub launch_template: Option<String>,
    /// Text handed to the instance at boot, not encoded. Never put secrets here.
    pub user_data: Option<String>,
    /// Further tags, set in the same call.
    pub tags: BTreeMap<String, String>,
}

/// What an instance is doing, in EC2's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Asked for, not started yet.
    Pending,
    /// Started; says nothing about its agent.
    Running,
    /// Told to end.
    ShuttingDown,
    /// Ended for good.
    Terminated,
    /// Being stopped by somebody else; a fleet never stops instances.
    Stopping,
    /// Stopped by somebody else: no compute is billed, its volume is.
    Stopped,
    /// A state this version does not know. Treat it as existing and not usable.
    Unknown,
}

impl InstanceState {
    /// Whether the instance can still run or come back, so that it counts against the fleet's cap.
    pub fn exists(self) -> bool {
        self != Self::Terminated
    }
}

/// An instance as the cloud lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The cloud's id, like `i-0123456789abcdef0`.
    pub instance_id: String,
    /// The intent it was launched for, from its tag; `None` if somebody removed the tag.
    pub intent_id: Option<String>,
    /// What it is doing.
    pub state: InstanceState,
    /// When it was launched, in milliseconds since 1970 by the cloud's clock.
    pub launched_at_ms: u64,
    /// Its address inside the network.
    pub private_address: Option<String>,
}

/// A provider of instances. Every call can be repeated.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Launches the instances of an intent, or finds those that were launched before, whatever their state is now. Fewer
    /// than were wanted means that there are no more of them now; there is one at least.
    async fn launch(&self, r: &LaunchRequest) -> Result<Vec<Instance>, CloudError>;

    /// Every instance of the fleet, those terminated lately included. Complete, or an error.
    async fn list(&self) -> Result<Vec<Instance>, CloudError>;

    /// The volumes of the fleet, attached or not: they bill on their own. Complete, or an error.
    async fn volumes(&self) -> Result<Vec<String>, CloudError>;

    /// The public addresses that were allocated for the fleet, which bill whether somebody has them or not, and those its
    /// instances have. Complete, or an error.
    async fn addresses(&self) -> Result<Vec<String>, CloudError>;

    /// Gives an instance a public address that the account has. An address it has already is given again; one that
    /// another instance has is an error ([`code::ADDRESS_TAKEN`]).
    async fn associate(&self, instance: &str, address: &str) -> Result<(), CloudError>;

    /// Takes an address back from an instance, if it has it. Nothing to be taken back is no error.
    async fn disassociate(&self, instance: &str, address: &str) -> Result<(), CloudError>;

    /// Ends the named instances. An id that does not exist is an error ([`code::NO_SUCH_INSTANCE`]) after the others
    /// were ended; ending one that has ended succeeds.
    async fn terminate(&self, ids: &[String]) -> Result<(), CloudError>;
}

impl LaunchRequest {
    /// Refuses what no cloud would take, before anything is sent.
    pub fn validate(&self) -> Result<(), CloudError> {
        let bad =
            |why: &str| Err(CloudError::new(ErrorKind::Permanent, code::BAD_REQUEST, "launch request", why));
        let id = &self.intent_id;
        if id.is_empty() || id.len() > MAX_INTENT_BYTES || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return bad("the intent id is not 1 to 64 printable ascii characters");
        }
        if self.launch_template.is_none() && (self.instance_type.is_empty() || self.image_id.is_empty()) {
            return bad("neither a launch template nor both an instance type and an image are given");
        }
        if self.count > MAX_COUNT {
            return bad("more than 100 instances at once");
        }
        if self.tags.len() > MAX_TAGS || self.security_group_ids.len() > MAX_SECURITY_GROUPS {
            return bad("more than 46 tags or 16 security groups");
        }
        if self.tags.keys().any(|k| k.starts_with("asterism:") || k.starts_with("aws:")) {
            return bad("a tag's name is reserved");
        }
        if self.user_data.as_ref().is_some_and(|d| d.len() > MAX_USER_DATA_BYTES) {
            return bad("the user data is longer than 16 KiB");
        }
        let texts = [&self.instance_type, &self.image_id]
            .into_iter()
            .chain(self.subnet_id.iter())
            .chain(self.launch_template.iter())
            .chain(self.security_group_ids.iter())
            .chain(self.tags.iter().flat_map(|(k, v)| [k, v]));
        for text in texts {
            if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
                return bad("a text is longer than 256 bytes or has control characters");
            }
        }
        Ok(())
    }

    /// SHA-256 over all parameters, to notice an intent that comes back with others.
    pub fn digest(&self) -> Result<String, CloudError> {
        let bytes = serde_json::to_vec(self).map_err(|e| {
            CloudError::new(ErrorKind::Permanent, code::BAD_REQUEST, "launch request", e.to_string())
        })?;
        Ok(hex::encode(Sha256::digest(bytes)))
    }
}

/// User data is left out: people put into it what they should not.
impl fmt::Debug for LaunchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchRequest")
            .field("intent_id", &self.intent_id)
            .field("count", &self.count)
            .field("spot", &self.spot)
            .field("instance_type", &self.instance_type)
            .field("image_id", &self.image_id)
            .field("subnet_id", &self.subnet_id)
            .field("security_group_ids", &self.security_group_ids)
            .field("launch_template", &self.launch_template)
            .field("user_data_bytes", &self.user_data.as_ref().map(String::len))
            .field("tags", &self.tags)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    fn request(intent: &str) -> LaunchRequest {
        LaunchRequest {
            intent_id: intent.into(),
            instance_type: "c7g.large".into(),
            image_id: "ami-1".into(),
            ..LaunchRequest::default()
        }
    }

    #[test]
    fn refuses_what_a_cloud_would_refuse() {
        assert!(request("fleet/7").validate().is_ok());
        let mut bad = vec![request(""), request("a b"), request(&"x".repeat(65)), request("\u{e4}")];
        bad.push(LaunchRequest { count: 101, ..request("a") });
        bad.push(LaunchRequest { image_id: String::new(), ..request("a") });
        bad.push(LaunchRequest { user_data: Some("x".repeat(16 * 1024 + 1)), ..request("a") });
        bad.push(LaunchRequest { subnet_id: Some("x\n".into()), ..request("a") });
        bad.push(LaunchRequest { tags: BTreeMap::from([(TAG_INTENT.into(), "b".into())]), ..request("a") });
        bad.push(LaunchRequest {
            tags: (0..47).map(|i| (format!("t{i}"), String::new())).collect(),
            ..request("a")
        });
        for r in bad {
            let error = r.validate().expect_err(&format!("{r:?}"));
            assert_eq!((error.kind, error.code), (ErrorKind::Permanent, code::BAD_REQUEST));
        }
        let template = LaunchRequest {
            intent_id: "a".into(),
            launch_template: Some("lt-1".into()),
            ..LaunchRequest::default()
        };
        assert!(template.validate().is_ok());
    }

    #[test]
    fn debug_output_hides_user_data() {
        let r = LaunchRequest { user_data: Some("password=hunter2".into()), ..request("a") };
        let shown = format!("{r:?}");
        assert!(!shown.contains("hunter2") && shown.contains("user_data_bytes: Some(16)"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_request_is_judged_and_the_digest_sees_each_field(intent in "\\PC{0,80}", text in "\\PC{0,300}") {
            let a = LaunchRequest { subnet_id: Some(text.clone()), ..request(&intent) };
            let _ = a.validate();
            let b = LaunchRequest { launch_template: Some(text), subnet_id: None, ..a.clone() };
            prop_assert_ne!(a.digest().unwrap(), b.digest().unwrap());
        }
    }
}
