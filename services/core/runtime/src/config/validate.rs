//! What each value may be, checked before anything is opened or connected. All problems are said at once.

use asterism_proto::origin::is_token;

use super::error::Problem;
use super::sections::Provider;
use super::trunk::TrunkConfig;
use super::{Config, tree::Node};

/// Most memcached servers.
const MEMCACHED_MAX: usize = 16;
/// Most trunks.
const TRUNKS_MAX: usize = 64;
/// Most allowed numbers of a trunk.
const NUMBERS_MAX: usize = 10_000;
/// A day: no interval is longer.
const DAY_MS: u64 = 86_400_000;

pub(super) struct Checks<'a> {
    tree: &'a Node,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(tree: &'a Node) -> Self {
        Self { tree, problems: Vec::new() }
    }

    pub(super) fn say(&mut self, code: &'static str, key: &str, what: impl Into<String>) {
        let source = self.tree.source_near(key);
        self.problems.push(Problem { code, key: key.to_owned(), source, what: what.into() });
    }

    pub(super) fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if !(low..=high).contains(&value) {
            self.say("AST-C010", key, format!("is {value}, expected {low} to {high}"));
        }
    }

    fn token(&mut self, key: &str, value: &str) {
        if !is_token(value) {
            self.say("AST-C011", key, "expected 1 to 64 letters, digits, - and _");
        }
    }

    pub(super) fn all(&mut self, config: &Config) {
        self.token("fleet", &config.fleet);
        self.range("nats.stream_max_bytes", config.nats.stream_max_bytes, 1024 * 1024, 1 << 50);
        self.range("nats.stream_replicas", config.nats.stream_replicas.into(), 1, 5);
        if config.nats.user.is_some() != config.nats.password_file.is_some() {
            self.say("AST-C014", "nats.user", "nats.user and nats.password_file belong together");
        }
        if config.paths.data_dir.as_os_str().is_empty() {
            self.say("AST-C010", "paths.data_dir", "is empty, expected a folder");
        }
        self.range("log.seal_events", config.log.seal_events, 1, 1 << 40);
        self.range("log.seal_bytes", config.log.seal_bytes, 1, 1 << 40);
        self.range("log.seal_after_s", config.log.seal_after_s, 1, DAY_MS / 1_000);
        self.dialer(config);
        self.scaler(config);
        self.range("logic.deadline_ms", config.logic.deadline_ms, 10, 10_000);
        self.range("logic.concurrency", config.logic.concurrency.into(), 1, 100_000);
        self.logic_cache(config);
        self.range("ledger.checkpoint_every_ms", config.ledger.checkpoint_every_ms, 100, DAY_MS);
        self.range("ledger.seal_every_ms", config.ledger.seal_every_ms, 1_000, DAY_MS);
        if let Some(url) = &config.ledger.archive
            && let Err(error) = asterism_object_store::Location::parse(url)
        {
            self.say("AST-C010", "ledger.archive", error.to_string());
        }
        self.range("ledger.lost_after_ms", config.ledger.lost_after_ms, 1_000, 30 * DAY_MS);
        self.agent(config);
        super::webhook::check(self, config);
        self.range("test.clock_scale", config.test.clock_scale.into(), 1, 1_000);
        if config.trunks.len() > TRUNKS_MAX {
            self.say("AST-C010", "trunks", format!("at most {TRUNKS_MAX} trunks"));
        }
        for (name, trunk) in &config.trunks {
            self.trunk(name, trunk);
        }
    }

    fn logic_cache(&mut self, config: &Config) {
        self.range("logic.cache_entries", config.logic.cache_entries.into(), 0, 1_000_000);
        self.range("logic.memcached_ms", config.logic.memcached_ms, 1, 10_000);
        let servers = &config.logic.memcached;
        if servers.len() > MEMCACHED_MAX {
            self.say("AST-C010", "logic.memcached", format!("at most {MEMCACHED_MAX} servers"));
        }
        for server in servers {
            let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
            let is_host = |host: &str| {
                let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
                !host.is_empty() && host.bytes().all(known)
            };
            let is_address = match server.strip_prefix("unix://") {
                Some(path) => path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
                None => server.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port)),
            };
            if !is_address {
                let reason = format!("{server:?} is no HOST:PORT and no unix:///PATH");
                self.say("AST-C010", "logic.memcached", reason);
            }
        }
    }

    fn dialer(&mut self, config: &Config) {
        let dialer = &config.dialer;
        self.range("dialer.tick_ms", dialer.tick_ms, 20, 10_000);
        self.range("dialer.order_window_ms", dialer.order_window_ms, 100, 2_000);
        self.range("dialer.max_intents", dialer.max_intents.into(), 1, 256);
        for (key, pace) in [
            ("dialer.calls_per_second", dialer.calls_per_second),
            ("dialer.node_calls_per_second", dialer.node_calls_per_second),
        ] {
            self.range(key, pace.into(), 0, 100_000);
        }
        if !dialer.calls_listen.ip().is_loopback() {
            let reason = "calls are taken on loopback only: put a proxy with TLS before it";
            self.say("AST-C010", "dialer.calls_listen", reason);
        }
    }

    fn scaler(&mut self, config: &Config) {
        let scaler = &config.scaler;
        self.range("scaler.tick_ms", scaler.tick_ms, 20, 60_000);
        self.range("scaler.max_nodes", scaler.max_nodes.into(), 1, 10_000);
        self.range("scaler.node_capacity", scaler.node_capacity.into(), 1, 10_000);
        self.range("scaler.launch_per_minute", scaler.launch_per_minute.into(), 1, 10_000);
        self.range("scaler.boot_deadline_ms", scaler.boot_deadline_ms, 1_000, DAY_MS);
        self.range("scaler.not_ready_grace_ms", scaler.not_ready_grace_ms, 1_000, DAY_MS);
        self.range("scaler.refusing_terminate_after_ms", scaler.refusing_terminate_after_ms, 0, DAY_MS);
        self.range("scaler.recordings_wait_ms", scaler.recordings_wait_ms, 0, DAY_MS);
        self.range("scaler.gone_after_ms", scaler.gone_after_ms, 1_000, DAY_MS);
        self.range("scaler.budget_reserve_ms", scaler.budget_reserve_ms, 0, DAY_MS);
        let (unreachable, dead) = (scaler.unreachable_terminate_after_ms, config.agent.dead_after_ms);
        if unreachable > 0 && unreachable <= dead {
            let what = "expected more than agent.dead_after_ms, or 0 for never";
            self.say("AST-C014", "scaler.unreachable_terminate_after_ms", what);
        }
        if scaler.min_nodes > scaler.max_nodes {
            let what = format!("is {}, more than scaler.max_nodes ({})", scaler.min_nodes, scaler.max_nodes);
            self.say("AST-C014", "scaler.min_nodes", what);
        }
        for (name, slots) in &scaler.ec2.call_slots {
            self.range(&format!("scaler.ec2.call_slots.{name}"), (*slots).into(), 1, 10_000);
        }
        let ec2 = &scaler.ec2;
        if ec2.address_pool.is_some() == ec2.addresses.is_empty() {
            let what =
                "a pool is a name and at least one address: scaler.ec2.address_pool and scaler.ec2.addresses";
            self.say("AST-C014", "scaler.ec2", what);
        }
        for address in &ec2.addresses {
            if address.parse::<std::net::Ipv4Addr>().is_err() {
                let what = format!("{address:?} is no IPv4 address, like 203.0.113.7");
                self.say("AST-C014", "scaler.ec2.addresses", what);
            }
        }
        let image = ec2.image_id.is_some() && ec2.instance_type.is_some();
        if scaler.provider == Provider::Ec2 && ec2.launch_template.is_none() && !image {
            let what =
                "the provider ec2 needs scaler.ec2.launch_template, or scaler.ec2.image_id and instance_type";
            self.say("AST-C014", "scaler.ec2", what);
        }
    }

    fn agent(&mut self, config: &Config) {
        let agent = &config.agent;
        for (key, id) in [("agent.node", &agent.node), ("agent.intent", &agent.intent)] {
            if let Some(id) = id {
                self.token(key, id);
            }
        }
        self.range("agent.capacity", agent.capacity.into(), 1, 10_000);
        self.range("agent.heartbeat_ms", agent.heartbeat_ms, 50, 60_000);
        self.range("agent.load_every_ms", agent.load_every_ms, 100, DAY_MS);
        self.range("agent.spool_max_bytes", agent.spool_max_bytes, 1024 * 1024, 1 << 40);
        self.range("agent.dead_after_ms", agent.dead_after_ms, 100, DAY_MS);
        if agent.stale_after_ms <= agent.heartbeat_ms {
            self.say("AST-C014", "agent.stale_after_ms", "expected more than agent.heartbeat_ms");
        }
        if agent.dead_after_ms <= agent.stale_after_ms {
            self.say("AST-C014", "agent.dead_after_ms", "expected more than agent.stale_after_ms");
        }
        for (key, address) in [("agent.ami", agent.ami), ("agent.step_listen", agent.step_listen)] {
            if !address.ip().is_loopback() {
                self.say("AST-C010", key, "expected an address on loopback: it has no protection of its own");
            }
        }
    }

    fn trunk(&mut self, name: &str, trunk: &TrunkConfig) {
        let key = |field: &str| format!("trunks.{name}.{field}");
        self.token(&format!("trunks.{name}"), name);
        let elsewhere = !trunk.hosts.is_empty() || !trunk.srv.is_empty();
        if trunk.uri.is_empty() != elsewhere {
            self.say("AST-C010", &key("uri"), "expected one of uri, hosts and srv");
        } else if !elsewhere && !is_sip_uri(&trunk.uri) {
            self.say("AST-C010", &key("uri"), "expected sip:host or sip:host:port");
        } else {
            for problem in asterism_domain::trunk::check(name, &trunk.settings(name)) {
                self.say("AST-C010", &key(problem.field), problem.to_string());
            }
        }
        self.range(&key("max_channels"), trunk.max_channels.into(), 1, 100_000);
        self.range(&key("calls_per_second"), trunk.calls_per_second.into(), 1, 10_000);
        if trunk.user.is_some() != trunk.password_file.is_some() {
            self.say("AST-C014", &key("user"), "user and password_file belong together");
        }
        if trunk.caller_id.as_deref().is_some_and(|number| !is_e164(number)) {
            self.say("AST-C010", &key("caller_id"), "expected a number like +12025550123");
        }
        if trunk.allowed_numbers.len() > NUMBERS_MAX {
            self.say("AST-C010", &key("allowed_numbers"), format!("at most {NUMBERS_MAX} numbers"));
        }
        if let Some(bad) = trunk.allowed_numbers.iter().position(|number| !is_e164(number)) {
            let what = "expected a number like +12025550123";
            self.say("AST-C010", &format!("{}.{bad}", key("allowed_numbers")), what);
        }
    }
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// `sip:host` or `sip:host:port`, with nothing a dialplan or a configuration file could read as more.
fn is_sip_uri(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("sip:") else { return false };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host_is_plain = (1..=253).contains(&host.len())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'[' | b']' | b':'));
    host_is_plain && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}
