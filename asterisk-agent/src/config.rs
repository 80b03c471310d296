//! What `asterism-agent run` is told, by flags and `ASTERISM_*` variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use asterism_nats::subject::node_inbox;
use asterism_nats::{BusConfig, Secret};
use asterism_proto::PublicKey;
use asterism_proto::origin::is_token;

use crate::machine::CAPACITY_MAX;
use crate::{Error, files};

/// How to reach the bus.
#[derive(Debug, Clone, clap::Args)]
pub struct BusArgs {
    /// Where the bus is: nats://host:port or tls://host:port, several separated by commas.
    #[arg(long, env = "ASTERISM_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,
    /// The bus user of the nodes.
    #[arg(long, env = "ASTERISM_NATS_USER")]
    pub nats_user: Option<String>,
    /// File with its password: one line.
    #[arg(long, env = "ASTERISM_NATS_PASSWORD_FILE")]
    pub nats_password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's.
    #[arg(long, env = "ASTERISM_NATS_CA_FILE")]
    pub nats_ca_file: Option<PathBuf>,
    /// Connect beyond this machine without TLS or credentials.
    #[arg(long, env = "ASTERISM_INSECURE")]
    pub insecure: bool,
}

/// Who the node is.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeArgs {
    /// The node's id: the instance id.
    #[arg(long, env = "ASTERISM_NODE")]
    pub node: String,
    /// The launch intent this instance was made for.
    #[arg(long, env = "ASTERISM_INTENT", default_value = "")]
    pub intent: String,
    /// The fleet's id.
    #[arg(long, env = "ASTERISM_FLEET", default_value = "demo")]
    pub fleet: String,
    /// A token that proves to the scaler that it launched this instance.
    #[arg(long, env = "ASTERISM_TOKEN", default_value = "", hide_env_values = true)]
    pub token: String,
    /// The key that signs the log's checkpoints, 64 hex digits. It comes by the launch, never by the bus: without it
    /// anyone on the bus could make this node forget what the log does not have.
    #[arg(long, env = "ASTERISM_LOG_KEY")]
    pub log_key: Option<String>,
    /// Call slots.
    #[arg(long, env = "ASTERISM_CAPACITY", default_value_t = 20)]
    pub capacity: u32,
}

/// `asterism-agent run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub node: NodeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub bus: BusArgs,
    /// The node's folder: store, key, journal.
    #[arg(long, env = "ASTERISM_DIR")]
    pub dir: PathBuf,
    /// Port of the manager interface on loopback.
    #[arg(long, env = "ASTERISM_AMI_PORT", default_value_t = 5038)]
    pub ami_port: u16,
    /// User of the manager interface.
    #[arg(long, env = "ASTERISM_AMI_USER", default_value = "agent")]
    pub ami_user: String,
    /// File with its secret: one line.
    #[arg(long, env = "ASTERISM_AMI_SECRET_FILE")]
    pub ami_secret_file: PathBuf,
    /// Port on loopback where the dialplan asks.
    #[arg(long, env = "ASTERISM_STEP_PORT", default_value_t = 8088)]
    pub step_port: u16,
    /// File with the secret of dialplan and agent: one line.
    #[arg(long, env = "ASTERISM_STEP_SECRET_FILE")]
    pub step_secret_file: PathBuf,
    /// How long a step question may take before the fallback answers, ms.
    #[arg(long, env = "ASTERISM_STEP_TIMEOUT_MS", default_value_t = 800)]
    pub step_timeout_ms: u64,
    /// Where /livez, /readyz and /metrics are answered; port 0 takes a free one.
    #[arg(long, env = "ASTERISM_HTTP_LISTEN", default_value = "127.0.0.1:0")]
    pub http_listen: SocketAddr,
    /// Folder where the dialplan leaves reports nobody took [default: DIR/journal].
    #[arg(long, env = "ASTERISM_JOURNAL_DIR")]
    pub journal_dir: Option<PathBuf>,
    /// Folder where the PBX records [default: DIR/recordings].
    #[arg(long, env = "ASTERISM_RECORDINGS_DIR")]
    pub recordings_dir: Option<PathBuf>,
    /// For whom recordings are sealed before they leave: a recipient of the age format, age1…. Nobody seals without it.
    #[arg(long, env = "ASTERISM_RECORDINGS_RECIPIENT", value_parser = crate::recordings::recipient)]
    pub recordings_recipient: Option<age::x25519::Recipient>,
    /// Folder of the PBX's sounds [default: DIR/sounds].
    #[arg(long, env = "ASTERISM_SOUNDS_DIR")]
    pub sounds_dir: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's when prompts come by https://.
    #[arg(long, env = "ASTERISM_MEDIA_CA_FILE")]
    pub media_ca_file: Option<PathBuf>,
    /// Most KiB of prompts fetched in a second, so that calls have the rest of the link; 0 is without a bound.
    #[arg(long, env = "ASTERISM_MEDIA_MAX_KIB_PER_S", default_value_t = 0)]
    pub media_max_kib_per_s: u64,
    /// The instance's metadata service, asked whether the cloud takes the instance away: on EC2 that of 169.254.169.254.
    /// Nobody is asked without it.
    #[arg(long, env = "ASTERISM_METADATA_URL")]
    pub metadata_url: Option<hyper::Uri>,
    /// File the PBX reads its trunks from; written by this agent [default: DIR/trunks.conf].
    #[arg(long, env = "ASTERISM_TRUNKS_FILE")]
    pub trunks_file: Option<PathBuf>,
    /// File with the carriers' credentials, lines NAME USER PASSWORD, readable by its owner alone. Instead of a line the
    /// variables ASTERISM_TRUNK_NAME_USER and ASTERISM_TRUNK_NAME_PASSWORD are taken.
    #[allow(clippy::doc_markdown)] // help shows no backticks
    #[arg(long, env = "ASTERISM_TRUNK_CREDENTIALS_FILE")]
    pub trunk_credentials_file: Option<PathBuf>,
    /// The address the world knows this machine by, for its trunks.
    #[arg(long, env = "ASTERISM_ADVERTISED_ADDRESS", default_value = "127.0.0.1")]
    pub advertised_address: std::net::Ipv4Addr,
    /// Media leaves from that address: it is this machine's own.
    #[arg(long, env = "ASTERISM_BIND_RTP")]
    pub bind_rtp: bool,
    /// Largest spool, MiB: beyond it the node takes no orders.
    #[arg(long, env = "ASTERISM_SPOOL_MIB", default_value_t = 64)]
    pub spool_mib: u64,
    /// End at once when standard input ends: the supervisor is gone.
    #[arg(long)]
    pub exit_on_stdin_eof: bool,
}

impl NodeArgs {
    /// Refuses what could not stand in a subject or a configuration.
    pub fn check(&self) -> Result<(), Error> {
        for (what, value) in [("--node", &self.node), ("--fleet", &self.fleet)] {
            if !is_token(value) {
                return Err(Error::Config { what, why: "expected 1 to 64 of [A-Za-z0-9_-]".to_owned() });
            }
        }
        if self.intent.len() > 128 || self.token.len() > 4096 {
            return Err(Error::Config { what: "--intent or --token", why: "too long".to_owned() });
        }
        if !(1..=CAPACITY_MAX).contains(&self.capacity) {
            return Err(Error::Config { what: "--capacity", why: format!("expected 1 to {CAPACITY_MAX}") });
        }
        self.log_key().map(drop)
    }

    /// The key that signs the log's checkpoints, if it was given.
    pub fn log_key(&self) -> Result<Option<PublicKey>, Error> {
        let why = || "expected an Ed25519 public key of 64 hex digits".to_owned();
        let read = |text: &str| hex::decode(text).ok().and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
        let Some(text) = self.log_key.as_deref() else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| Error::Config { what: "--log-key", why: why() })
    }
}

impl BusArgs {
    /// Refuses a bus beyond this machine without the key: everyone on it would be believed.
    pub fn check_log_key(&self, node: &NodeArgs) -> Result<(), Error> {
        if node.log_key()?.is_some() {
            return Ok(());
        }
        let bus = BusConfig { url: self.nats_url.clone(), ..BusConfig::loopback("", "") };
        let remote = bus.is_remote().map_err(|error| Error::Bus(error.to_string()))?;
        if remote && !self.insecure {
            let why = "the bus is beyond this machine: give the log key of the fleet, as a launch does with \
                       ASTERISM_LOG_KEY, or say --insecure";
            return Err(Error::Config { what: "--log-key", why: why.to_owned() });
        }
        Ok(())
    }
}

impl RunArgs {
    /// Checks everything that can be checked before anything is opened.
    pub fn check(&self) -> Result<(), Error> {
        self.node.check()?;
        self.bus.check_log_key(&self.node)?;
        if !(50..=1_400).contains(&self.step_timeout_ms) {
            let why = "expected 50 to 1400: the dialplan waits 1500 ms".to_owned();
            return Err(Error::Config { what: "--step-timeout-ms", why });
        }
        if !(1..=4_096).contains(&self.spool_mib) {
            return Err(Error::Config { what: "--spool-mib", why: "expected 1 to 4096".to_owned() });
        }
        if self.step_port == 0 || self.ami_port == 0 {
            return Err(Error::Config { what: "--step-port and --ami-port", why: "0 is no port".to_owned() });
        }
        let is_http = |url: &hyper::Uri| url.scheme_str() == Some("http") && url.host().is_some();
        if self.metadata_url.as_ref().is_some_and(|url| !is_http(url)) {
            return Err(Error::Config { what: "--metadata-url", why: "expected http://HOST".to_owned() });
        }
        Ok(())
    }

    /// How long a step question may take.
    pub fn step_timeout(&self) -> Duration {
        Duration::from_millis(self.step_timeout_ms)
    }

    /// The bus, with its password read.
    pub fn bus_config(&self) -> Result<BusConfig, Error> {
        let password = self.bus.nats_password_file.as_deref().map(files::read_secret).transpose()?;
        let inbox_prefix = node_inbox(&self.node.node)
            .map_err(|error| Error::Config { what: "--node", why: error.to_string() })?;
        Ok(BusConfig {
            url: self.bus.nats_url.clone(),
            user: self.bus.nats_user.clone(),
            password: password.map(Secret::new),
            name: format!("agent-{}", self.node.node),
            inbox_prefix,
            ca_file: self.bus.nats_ca_file.clone(),
            insecure: self.bus.insecure,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        bus: BusArgs,
    }

    fn check(words: &[&str]) -> Result<(), String> {
        let line =
            <Line as clap::Parser>::try_parse_from(["x", "--node", "i-1"].iter().chain(words)).unwrap();
        let checked = line.node.check().and_then(|()| line.bus.check_log_key(&line.node));
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn beyond_this_machine_the_log_key_must_be_known() {
        let key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
        let remote = ["--nats-url", "tls://127.0.0.1:4222,tls://bus.example.com:4222"];
        assert_eq!(check(&[]), Ok(()), "loopback");
        assert_eq!(check(&["--log-key", key]), Ok(()));
        assert_eq!(check(&[remote[0], remote[1], "--log-key", key]), Ok(()));
        assert_eq!(check(&[remote[0], remote[1], "--insecure"]), Ok(()));
        let refused = check(&remote).unwrap_err();
        assert!(
            refused.starts_with("AST-A001: --log-key") && refused.contains("ASTERISM_LOG_KEY"),
            "{refused}"
        );
        for bad in ["", "8a", &key[1..], &"zz".repeat(32), &"02".repeat(32)] {
            let refused = check(&["--log-key", bad]).unwrap_err();
            assert!(refused.starts_with("AST-A001: --log-key is not usable: expected"), "{bad}: {refused}");
        }
    }
}
