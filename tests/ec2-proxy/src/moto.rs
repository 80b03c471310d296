//! A moto server as a child process.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::http;
use crate::xml::{Element, parse};

/// How long the server may take to start; Python is slow on a busy machine.
const START_WAIT: Duration = Duration::from_mins(1);
/// The region of the tests.
pub const REGION: &str = "eu-west-1";
/// What every request carries.
const VERSION: &str = "Version=2016-11-15";

/// A running moto server, killed on drop.
pub struct Moto {
    child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Moto {
    /// Starts the server that `ASTERISM_MOTO_SERVER` names. Without it the test is written into the skip file, or fails
    /// if there is none.
    pub fn start(test: &str) -> Option<Self> {
        let Some(server) = std::env::var_os("ASTERISM_MOTO_SERVER") else {
            let line = format!("SKIPPED {test}: no moto_server: run tests/setup/moto.sh");
            let file = std::env::var_os("ASTERISM_SKIP_FILE");
            let file =
                file.unwrap_or_else(|| panic!("{line}; with ASTERISM_SKIP_FILE=FILE it is written there"));
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
            writeln!(file, "{line}").unwrap();
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(server)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Self { child, port };
        let deadline = Instant::now() + START_WAIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(moto.child.try_wait().unwrap().is_none(), "moto_server ended at once");
            assert!(Instant::now() < deadline, "moto_server does not listen");
            std::thread::sleep(Duration::from_millis(20)); // the pause of a poll
        }
        Some(moto)
    }

    /// One action past every client and proxy.
    pub fn ask(&self, form: &str) -> Element {
        let answer = http::ask(self.port, REGION, &format!("{form}&{VERSION}")).expect("moto answers");
        parse(&answer.body).unwrap_or_else(|| panic!("{form}: {}", answer.body))
    }

    /// Its own listing: what there is, whatever anybody says.
    pub fn instances(&self) -> Vec<Element> {
        let listing = self.ask("Action=DescribeInstances");
        assert_eq!(listing.at(&["nextToken"]), "", "more instances than one page of moto has");
        listing.items("reservationSet").flat_map(|r| r.items("instancesSet").cloned()).collect()
    }

    /// The volumes there are.
    pub fn volumes(&self) -> Vec<Element> {
        self.ask("Action=DescribeVolumes").items("volumeSet").cloned().collect()
    }

    /// The default subnets, each with its zone, in the order of the zones.
    pub fn subnets(&self) -> Vec<(String, String)> {
        let subnets = self.ask("Action=DescribeSubnets");
        let pair = |subnet: &Element| {
            (subnet.at(&["subnetId"]).to_owned(), subnet.at(&["availabilityZone"]).to_owned())
        };
        let mut pairs: Vec<_> = subnets.items("subnetSet").map(pair).collect();
        pairs.sort_by(|a, b| a.1.cmp(&b.1));
        pairs
    }

    /// The Elastic IP addresses there are, in use or not.
    pub fn addresses(&self) -> Vec<Element> {
        self.ask("Action=DescribeAddresses").items("addressesSet").cloned().collect()
    }

    /// Nothing that bills: how many instances are not terminated, how many volumes and how many addresses there are.
    pub fn left(&self) -> (usize, usize, usize) {
        let alive = |i: &&Element| i.at(&["instanceState", "name"]) != "terminated";
        (self.instances().iter().filter(alive).count(), self.volumes().len(), self.addresses().len())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
