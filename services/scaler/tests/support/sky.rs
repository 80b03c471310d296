//! EC2 for a scaler: moto behind the fault proxy, the provider before them, and a node for each instance that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::fleet::{FleetPolicy, NodeStatus, Place};
use asterism_domain::{State, invariant};
use asterism_ec2_proxy::xml::Element;
use asterism_ec2_proxy::{Call, Moto, Proxy, Query, REGION};
use asterism_scaler::ScalerConfig;
use asterism_scaler::cloud::ec2::{AccessKey, Ec2Cloud, Ec2Config};
use asterism_scaler::cloud::{Instance, InstanceState, LaunchRequest};
use asterism_scaler::config::LaunchTemplate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::node::Node;
use super::{FLEET, PATIENCE, Rig, config, eventually, with_status};

pub const IMAGE: &str = "ami-12c6146b";
pub const TYPE: &str = "c7g.large";

/// The cloud.
pub struct Sky {
    pub moto: Moto,
    pub proxy: Proxy,
    booted: BTreeSet<String>,
}

impl Sky {
    pub fn start(test: &str) -> Option<Self> {
        let moto = Moto::start(test)?;
        let proxy = Proxy::before(&moto);
        Some(Self { moto, proxy, booted: BTreeSet::new() })
    }

    /// The provider, asking for so many instances a page.
    pub async fn cloud(&self, page: u16) -> Arc<Ec2Cloud> {
        let config = Ec2Config {
            fleet: FLEET.into(),
            region: Some(REGION.into()),
            endpoint: Some(format!("http://127.0.0.1:{}", self.proxy.port)),
            key: Some(AccessKey { id: "test".into(), secret: "test".into() }),
        };
        Arc::new(Ec2Cloud::open(config).await.unwrap().with_page(page))
    }

    /// A configuration that asks for one type in every default subnet, in these markets.
    pub fn config(&self, policy: FleetPolicy, markets: &[&str]) -> ScalerConfig {
        let subnets = self.moto.subnets();
        let place = |market: &&str| {
            let of_market = |(subnet, _): &(String, String)| Place {
                instance_type: TYPE.into(),
                subnet: subnet.clone(),
                market: (*market).to_owned(),
            };
            subnets.iter().map(of_market).collect::<Vec<_>>()
        };
        let places = markets.iter().flat_map(place).collect();
        let template = LaunchTemplate { image_id: IMAGE.into(), places, ..LaunchTemplate::default() };
        ScalerConfig { policy, template, ..config() }
    }

    /// The launches asked for so far, each with its parameters.
    pub fn runs(&self) -> Vec<(Call, Query)> {
        let calls = self.proxy.calls("RunInstances").into_iter();
        calls.map(|call| (call.clone(), Query::parse(&call.form))).collect()
    }

    /// Waits until a fault was met so often.
    pub async fn met(&self, name: &str, times: u64) {
        eventually(&format!("{name} is met {times} times"), || self.proxy.hits(name) >= times).await;
    }

    /// Instances that are not terminated, by moto.
    pub fn alive(&self) -> Vec<Element> {
        let alive = |i: &Element| i.at(&["instanceState", "name"]) != "terminated";
        self.moto.instances().into_iter().filter(alive).collect()
    }

    /// Starts nodes for so many instances that have none.
    pub async fn boot(&mut self, rig: &Rig, count: usize) -> Vec<Node> {
        self.boot_as(rig, count, false).await
    }

    /// The same with calls that never end.
    pub async fn boot_as(&mut self, rig: &Rig, count: usize, has_calls: bool) -> Vec<Node> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut nodes = Vec::new();
        while nodes.len() < count {
            assert!(tokio::time::Instant::now() < deadline, "{} of {count} booted", nodes.len());
            for instance in self.alive() {
                let id = instance.at(&["instanceId"]).to_owned();
                if nodes.len() == count || !self.booted.insert(id.clone()) {
                    continue;
                }
                let request =
                    LaunchRequest { user_data: Some(self.user_data(&id)), ..LaunchRequest::default() };
                let instance = Instance {
                    instance_id: id,
                    intent_id: None,
                    state: InstanceState::Running,
                    launched_at_ms: 0,
                    private_address: None,
                };
                nodes.push(if has_calls {
                    Node::start_with_calls(rig, &instance, &request).await
                } else {
                    Node::start(rig, &instance, &request).await
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
        }
        nodes
    }

    /// What an instance finds at its boot: `DescribeInstanceAttribute`, past the proxy.
    pub fn user_data(&self, id: &str) -> String {
        let ask = format!("Action=DescribeInstanceAttribute&Attribute=userData&InstanceId={id}");
        String::from_utf8(STANDARD.decode(self.moto.ask(&ask).at(&["userData", "value"])).unwrap()).unwrap()
    }

    /// An Elastic IP address that the account has.
    pub fn allocate(&self) -> String {
        self.moto.ask("Action=AllocateAddress&Domain=vpc").at(&["publicIp"]).to_owned()
    }

    /// Who has an address, by moto; empty if nobody.
    pub fn owner(&self, address: &str) -> String {
        let of_it = |a: &&Element| a.at(&["publicIp"]) == address;
        let all = self.moto.addresses();
        all.iter().find(of_it).expect("the account has it").at(&["instanceId"]).to_owned()
    }

    /// The fleet is told to go, and goes: by the log, and by moto's own listing. Ends with what must hold always.
    pub async fn ends(&self, rig: &Rig) {
        self.ends_with(rig, 0).await;
    }

    /// The same, with so many addresses of the account that stay the account's, and that nobody has.
    pub async fn ends_with(&self, rig: &Rig, addresses: usize) {
        let stopped = rig.command("fleet.stop", "").await;
        assert_eq!(stopped.code, "", "{}", stopped.reason);
        rig.until("every node has ended", |state| {
            state.fleet.owed_launches().next().is_none()
                && state.fleet.existing().next().is_none()
                && state.fleet.addressed().next().is_none()
        })
        .await;
        let cloud = rig.command("fleet.cloud", "").await;
        let cloud: serde_json::Value = serde_json::from_slice(&cloud.json).unwrap();
        assert_eq!(cloud, serde_json::json!({ "instances": [], "volumes": [], "addresses": [], "owed": 0 }));
        assert_eq!(
            self.moto.left(),
            (0, 0, addresses),
            "instances, volumes and addresses that bill after the fleet has gone (INV-14)"
        );
        self.one_instance_an_intent(rig);
        rig.log().read(|state| {
            assert_eq!(state.incidents, 0, "{:?}", state.incident_list);
            assert_eq!(invariant::broken(state), []);
        });
        assert_eq!(self.proxy.hits("token with other parameters"), 0, "IdempotentParameterMismatch");
    }

    /// INV-05, by moto: what was launched are the nodes of the log, and each group has as many as it has intents at most.
    pub fn one_instance_an_intent(&self, rig: &Rig) {
        let of_fleet = |i: &&Element| tags(i).get("asterism:fleet").is_some_and(|fleet| fleet == FLEET);
        let all = self.moto.instances();
        let launched: BTreeSet<String> =
            all.iter().filter(of_fleet).map(|i| i.at(&["instanceId"]).to_owned()).collect();
        rig.log().read(|state| {
            let nodes: BTreeSet<String> = state.fleet.nodes.keys().cloned().collect();
            assert_eq!(launched, nodes, "moto's instances are not the log's nodes");
            let intents: BTreeSet<&String> = state.fleet.nodes.values().map(|node| &node.intent).collect();
            assert_eq!(intents.len(), nodes.len(), "an intent has two instances");
        });
    }
}

/// An instance's tags.
pub fn tags(instance: &Element) -> BTreeMap<String, String> {
    let pair = |tag: &Element| (tag.at(&["key"]).to_owned(), tag.at(&["value"]).to_owned());
    instance.items("tagSet").map(pair).collect()
}

/// How many nodes are at a status.
pub fn count(state: &State, status: NodeStatus) -> usize {
    with_status(state, status).len()
}
