//! One configuration for all services: a TOML file, `ASTERISM_SECTION__KEY` variables, `--set section.key=value` flags; the
//! later wins. It is checked whole before anything is opened, and can be shown without its secrets.

mod de;
mod error;
mod sections;
mod show;
mod tree;
mod trunk;
mod validate;
mod webhook;

use std::path::{Path, PathBuf};

use asterism_nats::{BusConfig, Secret, subject};
use serde::{Deserialize, Serialize};

pub use error::{ConfigError, Problem, Source};
pub use sections::{
    AgentConfig, DialerConfig, Ec2Config, LedgerConfig, LogSettings, LogicConfig, MediaConfig, NatsConfig,
    ObjectsConfig, PathsConfig, Pbx, Provider, ScalerConfig, TestConfig,
};
use tree::Node;
pub use trunk::{TrunkConfig, Trunks};
use validate::Checks;
pub use webhook::WebhookConfig;

/// The configuration of every service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The fleet's name: letters, digits, `-` and `_`.
    pub fleet: String,
    /// The bus.
    pub nats: NatsConfig,
    /// Folders of this machine.
    pub paths: PathsConfig,
    /// Its copies of the log.
    pub log: LogSettings,
    /// The object store.
    pub objects: ObjectsConfig,
    /// The dialer.
    pub dialer: DialerConfig,
    /// The scaler.
    pub scaler: ScalerConfig,
    /// The logic responder.
    pub logic: LogicConfig,
    /// media-sync.
    pub media: MediaConfig,
    /// The ledger.
    pub ledger: LedgerConfig,
    /// The agent of a node.
    pub agent: AgentConfig,
    /// Carriers by name.
    pub trunks: Trunks,
    /// Notices to the user's own server.
    pub webhook: WebhookConfig,
    /// For tests and demonstrations only.
    pub test: TestConfig,
    /// Where each value that is not a default stands.
    #[serde(skip)]
    origin: Option<Box<Provenance>>,
}

#[derive(Clone, Debug)]
struct Provenance(Node);

impl Default for Config {
    fn default() -> Self {
        Self {
            fleet: "demo".to_owned(),
            nats: NatsConfig::default(),
            paths: PathsConfig::default(),
            log: LogSettings::default(),
            objects: ObjectsConfig::default(),
            dialer: DialerConfig::default(),
            scaler: ScalerConfig::default(),
            logic: LogicConfig::default(),
            media: MediaConfig::default(),
            ledger: LedgerConfig::default(),
            agent: AgentConfig::default(),
            trunks: Trunks::new(),
            webhook: WebhookConfig::default(),
            test: TestConfig::default(),
            origin: None,
        }
    }
}

impl Config {
    /// Reads file, environment and flags, and checks everything.
    ///
    /// # Errors
    /// Every problem found, with its place and code (see [`ConfigError`]).
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::load_over(&[], file, env, sets)
    }

    /// The same over a program's own values, `section.key=value`: what is given wins over them, and only what is given
    /// has a place.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_over(
        own: &[String],
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let mut tree = Node::root();
        if let Some(file) = file {
            tree::read_file(&mut tree, file)?;
        }
        Self::finish(tree, own, env, sets)
    }

    fn finish(
        mut tree: Node,
        own: &[String],
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        tree::read_env(&mut tree, env, show::has_key)?;
        tree::read_sets(&mut tree, sets)?;
        tree::read_own(&mut tree, own)?;
        let mut config = Self::deserialize(&tree)?;
        config.origin = Some(Box::new(Provenance(tree.clone())));
        let mut checks = Checks::new(&tree);
        checks.all(&config);
        if checks.problems.is_empty() {
            config.check_bus(&mut checks);
        }
        if checks.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: checks.problems }) }
    }

    fn check_bus(&self, checks: &mut Checks<'_>) {
        match self.bus_for_service("check") {
            Ok(bus) => {
                if let Err(error) = bus.check() {
                    checks.say("AST-C012", "nats.url", error.to_string());
                }
            }
            Err(error) => checks.problems.extend(error.problems),
        }
    }

    /// The bus configuration of a service's process.
    ///
    /// # Errors
    /// AST-C011 the name is unusable, AST-C013 the password file cannot be read.
    pub fn bus_for_service(&self, process: &str) -> Result<BusConfig, ConfigError> {
        let inbox = subject::service_inbox(process);
        self.bus(process, inbox.map_err(|error| ConfigError::one("AST-C011", None, "", error.to_string()))?)
    }

    /// The bus configuration of a node's agent.
    ///
    /// # Errors
    /// AST-C011 the name is unusable, AST-C013 the password file cannot be read.
    pub fn bus_for_node(&self, node: &str) -> Result<BusConfig, ConfigError> {
        let inbox = subject::node_inbox(node);
        self.bus(
            node,
            inbox.map_err(|error| ConfigError::one("AST-C011", None, "agent.node", error.to_string()))?,
        )
    }

    fn bus(&self, name: &str, inbox_prefix: String) -> Result<BusConfig, ConfigError> {
        let key = "nats.password_file";
        let read = |path: &PathBuf| {
            Secret::from_file(path).map_err(|error| {
                ConfigError::one("AST-C013", self.source_of(key), key, format!("{}: {error}", path.display()))
            })
        };
        Ok(BusConfig {
            url: self.nats.url.clone(),
            user: self.nats.user.clone(),
            password: self.nats.password_file.as_ref().map(read).transpose()?,
            name: name.to_owned(),
            inbox_prefix,
            ca_file: self.nats.ca_file.clone(),
            insecure: self.nats.insecure,
        })
    }

    /// Where key files are.
    pub fn keys_dir(&self) -> PathBuf {
        self.paths.keys_dir.clone().unwrap_or_else(|| self.paths.data_dir.join("keys"))
    }

    /// The address of the object store.
    ///
    /// # Errors
    /// When the data folder is relative and the working directory is gone.
    pub fn objects_url(&self) -> std::io::Result<String> {
        if let Some(url) = &self.objects.url {
            return Ok(url.clone());
        }
        let folder = std::path::absolute(self.paths.data_dir.join("objects"))?;
        Ok(format!("file://{}", show::percent_encode(&folder.display().to_string())))
    }

    /// Where the value of a key stands; `None` for a default.
    pub fn source_of(&self, key: &str) -> Option<Source> {
        self.origin.as_ref().and_then(|origin| origin.0.source_of(key))
    }

    /// The configuration as `section.key = value` lines, each that is not a default with its place. No password and no
    /// number is in it.
    pub fn print_masked(&self) -> String {
        show::masked(self)
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
