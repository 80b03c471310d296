//! `asterism-agent instance`: stands in for systemd where a node is a pair of processes on this machine.
//!
//! It renders what the PBX needs, starts PBX and agent with a pipe as their standard input, and starts again what
//! dies. When it is killed the pipes end and both go with it, as they would with their machine. Real Asterisk does not
//! watch its standard input, so it runs below [`guard`], which does.

mod child;
pub mod guard;
mod ports;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{BusArgs, NodeArgs};
use asterism_proto::v1;

use crate::render::{AsteriskSettings, endpoint, plain_trunk};
use crate::{Error, files};
use child::Program;
pub use ports::Ports;

/// Which PBX a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PbxKind {
    /// The simulator.
    Sim,
    /// Real Asterisk.
    Asterisk,
}

/// A carrier as it is given on the command line: `NAME=HOST:PORT` or `NAME=sip:HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkArg(pub v1::TrunkEntry);

impl FromStr for TrunkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected NAME=HOST:PORT, for example trunk-a=127.0.0.1:5060".to_owned();
        let (name, address) = text.split_once('=').ok_or_else(expected)?;
        let address = address.strip_prefix("sip:").unwrap_or(address);
        let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| expected())?;
        Ok(Self(plain_trunk(name, host, port)))
    }
}

/// `asterism-agent instance`.
#[derive(Debug, Clone, clap::Args)]
pub struct InstanceArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub node: NodeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub bus: BusArgs,
    /// The instance's folder.
    #[arg(long, env = "ASTERISM_DIR")]
    pub dir: PathBuf,
    /// Which PBX to run.
    #[arg(long, env = "ASTERISM_PBX", value_enum, default_value = "sim")]
    pub pbx: PbxKind,
    /// The simulator [default: pbx-sim beside this program].
    #[arg(long, env = "ASTERISM_PBX_SIM_BIN")]
    pub pbx_sim_bin: Option<PathBuf>,
    /// Simulator: the carrier recorder each ring is reported to.
    #[arg(long, env = "ASTERISM_CARRIER")]
    pub carrier: Option<SocketAddr>,
    /// Simulator: table of callees (TOML).
    #[arg(long, env = "ASTERISM_CALLEES")]
    pub callees: Option<PathBuf>,
    /// Simulator: changes which number has which habit.
    #[arg(long, env = "ASTERISM_SEED")]
    pub seed: Option<u64>,
    /// Simulator: divides every simulated duration (tests only).
    #[arg(long, env = "ASTERISM_CLOCK_SCALE", default_value_t = 1)]
    pub clock_scale: u32,
    /// Real Asterisk: the root of its installation; `/` for the system's own.
    #[arg(long, env = "ASTERISM_ASTERISK_ROOT", default_value = "/")]
    pub asterisk_root: PathBuf,
    /// A carrier known at launch, NAME=HOST:PORT; may be repeated. Those of the fleet come by order.
    #[arg(long = "trunk")]
    pub trunks: Vec<TrunkArg>,
    /// File with the carriers' credentials, lines NAME USER PASSWORD, readable by its owner alone.
    #[arg(long, env = "ASTERISM_TRUNK_CREDENTIALS_FILE")]
    pub trunk_credentials_file: Option<PathBuf>,
    /// Certificates (PEM) that vouch for carriers over TLS [default: the system's, where they are].
    #[arg(long, env = "ASTERISM_TRUNK_CA_FILE")]
    pub trunk_ca_file: Option<PathBuf>,
    /// How long a step question may take before the fallback answers, ms.
    #[arg(long, env = "ASTERISM_STEP_TIMEOUT_MS", default_value_t = 800)]
    pub step_timeout_ms: u64,
}

/// The instance's files.
struct Places {
    dir: PathBuf,
    ami_secret: PathBuf,
    step_secret: PathBuf,
    journal: PathBuf,
    recordings: PathBuf,
    sounds: PathBuf,
}

impl Places {
    /// Where the PBX reads its trunks.
    fn trunks(&self) -> PathBuf {
        self.dir.join("etc/trunks.conf")
    }
}

/// Runs until SIGTERM or SIGINT: then the agent stops in order, and the PBX after it.
pub async fn run(args: InstanceArgs) -> Result<(), Error> {
    args.node.check()?;
    args.bus.check_log_key(&args.node)?;
    files::private_dir(&args.dir)?;
    let dir = args.dir.canonicalize().map_err(Error::file("read", &args.dir))?;
    let asterisk = args.pbx == PbxKind::Asterisk;
    let places = Places {
        ami_secret: dir.join("secret/ami"),
        step_secret: dir.join("secret/step"),
        journal: dir.join(if asterisk { "spool/journal" } else { "journal" }),
        recordings: dir.join(if asterisk { "spool/recording" } else { "recordings" }),
        sounds: dir.join(if asterisk { "data/sounds" } else { "sounds" }),
        dir: dir.clone(),
    };
    let own = [dir.join("secret"), dir.join("etc"), dir.join("log")];
    for path in own.iter().chain([&places.journal, &places.recordings, &places.sounds]) {
        files::private_dir(path)?;
    }
    let secrets = [files::secret_or_new(&places.ami_secret)?, files::secret_or_new(&places.step_secret)?];
    let ports = Ports::load_or_pick(&dir.join("ports.json"), args.node.capacity)?;
    let own = std::env::current_exe().map_err(Error::file("read", Path::new("/proc/self/exe")))?;
    let pbx = match args.pbx {
        PbxKind::Sim => simulator(&args, &places, &ports, &own, &secrets[0]),
        PbxKind::Asterisk => real(&args, &places, &ports, &own, secrets)?,
    };
    let agent = agent(&args, &places, &ports, &own);

    let (stop_agent, agent_stops) = watch::channel(false);
    let (stop_pbx, pbx_stops) = watch::channel(false);
    let pbx = tokio::spawn(child::keep_running(pbx, pbx_stops));
    let agent = tokio::spawn(child::keep_running(agent, agent_stops));
    tracing::info!(
        node = args.node.node,
        ami = ports.ami,
        step = ports.step,
        http = ports.http,
        "instance runs"
    );
    wait_for_signal().await?;
    for (stop, task) in [(stop_agent, agent), (stop_pbx, pbx)] {
        stop.send_replace(true);
        task.await
            .map_err(|error| Error::Start { what: "the instance".to_owned(), why: error.to_string() })?;
    }
    Ok(())
}

async fn wait_for_signal() -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Start { what: "signals".to_owned(), why: error.to_string() };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn simulator(args: &InstanceArgs, places: &Places, ports: &Ports, own: &Path, ami_secret: &str) -> Program {
    let bin = args.pbx_sim_bin.clone().unwrap_or_else(|| own.with_file_name("pbx-sim"));
    let mut program = Program::new("pbx", bin, &places.dir)
        .pair("--ami-listen", SocketAddr::from((Ipv4Addr::LOCALHOST, ports.ami)))
        .pair("--ami-user", "agent")
        .pair("--ami-secret-file", places.ami_secret.display())
        .pair("--step-url", format!("http://127.0.0.1:{}", ports.step))
        .pair("--step-secret-file", places.step_secret.display())
        .pair("--node", &args.node.node)
        .pair("--journal-dir", places.journal.display())
        .pair("--recordings-dir", places.recordings.display())
        .pair("--sounds-dir", places.sounds.display())
        .pair("--clock-scale", args.clock_scale)
        .pair("--trunks-file", places.trunks().display())
        .word("--exit-on-stdin-eof");
    if let Some(carrier) = args.carrier {
        program = program.pair("--carrier", carrier);
    }
    if let Some(callees) = &args.callees {
        program = program.pair("--callees", callees.display());
    }
    if let Some(seed) = args.seed {
        program = program.pair("--seed", seed);
    }
    for trunk in &args.trunks {
        program = program.pair("--trunk", endpoint(ami_secret, &trunk.0.trunk));
    }
    program
}

/// The certificates Debian and its kin keep in one file.
fn system_certificates() -> Option<PathBuf> {
    Some(PathBuf::from("/etc/ssl/certs/ca-certificates.crt")).filter(|path| path.is_file())
}

/// Where an installation of Asterisk has its parts.
struct Installation {
    program: PathBuf,
    modules: PathBuf,
    data: PathBuf,
}

impl Installation {
    fn find(root: &Path) -> Result<Self, Error> {
        let missing = |what: &str| Error::Start {
            what: "asterisk".to_owned(),
            why: format!("no {what} below {}: set --asterisk-root", root.display()),
        };
        let first = |candidates: Vec<PathBuf>, what: &str| {
            candidates.into_iter().find(|path| path.exists()).ok_or_else(|| missing(what))
        };
        // A Debian-like system keeps the modules below its triplet.
        let below = |folder: PathBuf| {
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
        };
        let mut modules = vec![root.join("modules")];
        modules.extend(below(root.join("usr/lib")).map(|path| path.join("asterisk/modules")));
        modules.push(root.join("usr/lib/asterisk/modules"));
        Ok(Self {
            program: first(
                vec![root.join("run-asterisk"), root.join("usr/sbin/asterisk")],
                "asterisk program",
            )?,
            modules: first(modules, "folder of modules")?,
            data: first(
                vec![root.join("data"), root.join("usr/share/asterisk"), root.join("var/lib/asterisk")],
                "data folder",
            )?,
        })
    }
}

fn real(
    args: &InstanceArgs,
    places: &Places,
    ports: &Ports,
    own: &Path,
    secrets: [String; 2],
) -> Result<Program, Error> {
    let root = args.asterisk_root.canonicalize().map_err(Error::file("read", &args.asterisk_root))?;
    let installation = Installation::find(&root)?;
    let [ami_secret, step_secret] = secrets;
    AsteriskSettings {
        dir: places.dir.clone(),
        modules_dir: installation.modules,
        node: args.node.node.clone(),
        ami_port: ports.ami,
        ami_secret,
        step_port: ports.step,
        step_secret,
        sip_address: Ipv4Addr::LOCALHOST,
        sip_port: ports.sip,
        external_address: None,
        rtp_start: ports.rtp_start,
        rtp_end: ports.rtp_end,
        trunk_ca_file: args.trunk_ca_file.clone().or_else(system_certificates),
        trunks: args.trunks.iter().map(|trunk| trunk.0.clone()).collect(),
    }
    .write()?;
    // Modules refuse their options without the documentation beside the data.
    let link = places.dir.join("data/documentation");
    if !link.exists() {
        std::os::unix::fs::symlink(installation.data.join("documentation"), &link)
            .map_err(Error::file("create", &link))?;
    }
    own_sounds(&installation.data, &places.sounds)?;
    Ok(Program::new("pbx", own.to_owned(), &places.dir)
        .word("guard")
        .pair("--pid-file", places.dir.join("asterisk.pid").display())
        .word("--")
        .word(installation.program.display())
        .word("-f")
        .pair("-C", places.dir.join("etc/asterisk.conf").display()))
}

/// Where Debian, and who builds it, keep what the installation says numbers with. Debian's `en` leads through
/// `/etc/alternatives`, which is another machine's where the installation is a folder.
const SOUNDS: [&str; 2] = ["sounds/en/digits", "sounds/en_US_f_Allison/digits"];

/// Leads from the node's sounds to the installation's own: what `say` says. A node without them takes calls all the same.
fn own_sounds(data: &Path, sounds: &Path) -> Result<(), Error> {
    let link = sounds.join("en/digits");
    if link.exists() {
        return Ok(());
    }
    let Some(digits) = SOUNDS.iter().map(|place| data.join(place)).find(|place| place.is_dir()) else {
        tracing::warn!(
            "Asterisk has no sounds of its own, in English: `say` needs prompts of the campaign's (sounds = \"…\")"
        );
        return Ok(());
    };
    files::private_dir(&sounds.join("en"))?;
    let _ = std::fs::remove_file(&link); // one that leads nowhere any more
    std::os::unix::fs::symlink(digits, &link).map_err(Error::file("create", &link))
}

fn agent(args: &InstanceArgs, places: &Places, ports: &Ports, own: &Path) -> Program {
    let mut program = Program::new("agent", own.to_owned(), &places.dir)
        .word("run")
        .pair("--node", &args.node.node)
        .pair("--intent", &args.node.intent)
        .pair("--fleet", &args.node.fleet)
        .pair("--capacity", args.node.capacity)
        .pair("--nats-url", &args.bus.nats_url)
        .pair("--dir", places.dir.join("agent").display())
        .pair("--ami-port", ports.ami)
        .pair("--ami-user", "agent")
        .pair("--ami-secret-file", places.ami_secret.display())
        .pair("--step-port", ports.step)
        .pair("--step-secret-file", places.step_secret.display())
        .pair("--step-timeout-ms", args.step_timeout_ms)
        .pair("--http-listen", SocketAddr::from((Ipv4Addr::LOCALHOST, ports.http)))
        .pair("--journal-dir", places.journal.display())
        .pair("--recordings-dir", places.recordings.display())
        .pair("--sounds-dir", places.sounds.display())
        .pair("--trunks-file", places.trunks().display())
        .word("--bind-rtp")
        .word("--exit-on-stdin-eof")
        .env("ASTERISM_TOKEN", &args.node.token);
    if let Some(file) = &args.trunk_credentials_file {
        program = program.pair("--trunk-credentials-file", file.display());
    }
    if let Some(key) = &args.node.log_key {
        program = program.pair("--log-key", key);
    }
    if let Some(user) = &args.bus.nats_user {
        program = program.pair("--nats-user", user);
    }
    if let Some(file) = &args.bus.nats_password_file {
        program = program.pair("--nats-password-file", file.display());
    }
    if let Some(file) = &args.bus.nats_ca_file {
        program = program.pair("--nats-ca-file", file.display());
    }
    if args.bus.insecure {
        program = program.word("--insecure");
    }
    program
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trunks_are_name_host_and_port() {
        let trunk = "trunk-a=sip.example.com:5070".parse::<TrunkArg>().unwrap().0;
        assert_eq!(trunk, plain_trunk("trunk-a", "sip.example.com", 5070));
        assert_eq!("trunk-a=sip:sip.example.com:5070".parse::<TrunkArg>().unwrap().0, trunk);
        for bad in ["", "trunk-a", "trunk-a=host", "trunk-a=host:", "trunk-a=host:70000"] {
            assert!(bad.parse::<TrunkArg>().is_err(), "{bad}");
        }
    }
}
