//! What Amazon's machines do for instances that moto only lists: each instance that runs becomes a node on this machine,
//! with the variables of its user data, and each that is terminated is switched off. moto is asked directly, by
//! unsigned requests that share no code with the provider.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use asterism_ec2_proxy::xml::{Element, parse};
use asterism_tests::child::Guarded;
use asterism_tests::stack::program;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::moto::Moto;

/// Between two looks at moto's listing.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An instance as moto lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    pub state: String,
    pub image: String,
    pub instance_type: String,
    pub http_tokens: String,
    pub tags: BTreeMap<String, String>,
}

/// moto's own listing.
pub fn listing(moto: &Moto) -> Vec<Listed> {
    let xml = moto.ask("POST", "/", "ec2", "Action=DescribeInstances&Version=2016-11-15");
    let document = parse(&xml).unwrap_or_else(|| panic!("{xml}"));
    assert_eq!(document.name, "DescribeInstancesResponse", "{xml}");
    document.items("reservationSet").flat_map(|r| r.items("instancesSet")).map(listed).collect()
}

/// What bills by moto's own listing: instances that are not terminated, volumes, Elastic IP addresses.
pub fn left(moto: &Moto) -> (usize, usize, usize) {
    let items = |action: &str, set: &str| {
        let xml = moto.ask("POST", "/", "ec2", &format!("Action={action}&Version=2016-11-15"));
        let document = parse(&xml).unwrap_or_else(|| panic!("{xml}"));
        assert_eq!(document.name, format!("{action}Response"), "{xml}");
        document.items(set).count()
    };
    let alive = listing(moto).iter().filter(|instance| instance.state != "terminated").count();
    (alive, items("DescribeVolumes", "volumeSet"), items("DescribeAddresses", "addressesSet"))
}

fn listed(instance: &Element) -> Listed {
    let text = |path: &[&str]| instance.at(path).to_owned();
    let tag = |tag: &Element| (tag.at(&["key"]).to_owned(), tag.at(&["value"]).to_owned());
    Listed {
        id: text(&["instanceId"]),
        state: text(&["instanceState", "name"]),
        image: text(&["imageId"]),
        instance_type: text(&["instanceType"]),
        http_tokens: text(&["metadataOptions", "httpTokens"]),
        tags: instance.items("tagSet").map(tag).collect(),
    }
}

/// The variables an instance finds at its boot.
fn user_data(moto: &Moto, id: &str) -> Vec<(String, String)> {
    let ask =
        format!("Action=DescribeInstanceAttribute&Version=2016-11-15&Attribute=userData&InstanceId={id}");
    let xml = flat(&moto.ask("POST", "/", "ec2", &ask));
    let encoded = between(&xml, "value").unwrap_or_else(|| panic!("{id} has no user data: {xml}"));
    let text = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().map(|line| pair(line).expect("a variable a line")).collect()
}

fn flat(xml: &str) -> String {
    xml.lines().map(str::trim).collect()
}

fn between<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}

/// The machines. Dropped, all are switched off.
pub struct Machines {
    stop: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Machines {
    /// Follows moto's listing. `dir` is where nodes have their folders, `arguments` what the image gives every agent.
    pub fn start(moto: &Arc<Moto>, dir: &Path, arguments: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (moto, dir, arguments) = (Arc::clone(moto), dir.to_owned(), arguments.to_owned());
        let told = Arc::clone(&stop);
        let keeper = std::thread::spawn(move || keep(&moto, &dir, &arguments, &told));
        Self { stop, keeper: Some(keeper) }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.keeper.take().is_none_or(|keeper| keeper.join().is_ok());
        assert!(ended || std::thread::panicking(), "the keeper of the machines failed");
    }
}

fn keep(moto: &Moto, dir: &Path, arguments: &[String], stop: &AtomicBool) {
    let mut machines: BTreeMap<String, Option<Guarded>> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        for instance in listing(moto) {
            match instance.state.as_str() {
                "running" if !machines.contains_key(&instance.id) => {
                    let machine = boot(moto, &dir.join(&instance.id), &instance.id, arguments);
                    machines.insert(instance.id, Some(machine));
                }
                "shutting-down" | "terminated" => {
                    machines.insert(instance.id, None);
                }
                _ => {}
            }
        }
        std::thread::sleep(LOOK_EVERY); // the pause of a poll
    }
}

/// What cloud-init and the image's unit do: the agent gets the instance's id and the variables of its user data.
fn boot(moto: &Moto, dir: &PathBuf, id: &str, arguments: &[String]) -> Guarded {
    std::fs::create_dir_all(dir).unwrap();
    let mut words = vec!["instance", "--dir", dir.to_str().unwrap(), "--node", id];
    words.extend(arguments.iter().map(String::as_str));
    Guarded::start_with("node", &program("asterism-agent"), &words, &user_data(moto, id), dir)
}
