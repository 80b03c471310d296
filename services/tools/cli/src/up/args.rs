//! Flags of `asterism up`.

use std::path::PathBuf;

/// What stands in for the telephone network's edge on each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PbxKind {
    /// Simulated Asterisk, simulated callees.
    Sim,
    /// Real Asterisk 22.
    Asterisk,
}

/// What keeps prompts and flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectsKind {
    /// A folder.
    Folder,
    /// An S3 server of this process on a folder (needs a build with --features aws).
    S3,
}

/// Run everything on this machine: bus, services, an elastic fleet of local nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// Run the demo campaign: import, dial, answer, drain, report.
    #[arg(long)]
    pub demo: bool,
    /// Contacts of the demo.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=24_000))]
    pub contacts: u32,
    /// End after the report even on a terminal.
    #[arg(long)]
    pub exit: bool,
    /// Folder of keys, log, objects and instances [default: asterism-data; the demo: target/demo].
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// What places the calls on a node.
    #[arg(long, value_enum, default_value = "sim")]
    pub pbx: PbxKind,
    /// What keeps the objects: a folder, or an S3 server on one, used as Amazon's would be.
    #[arg(long, value_enum, default_value = "folder")]
    pub objects: ObjectsKind,
    /// Carrier of the real Asterisk, like sip:127.0.0.1:5060.
    #[arg(long, default_value = "sip:127.0.0.1:5060")]
    pub trunk: String,
    /// Real calls through a trunk that leads outside this machine.
    #[arg(long)]
    pub live: bool,
    /// Numbers that may be called on such a trunk before `campaign go-live`.
    #[arg(long = "allow", value_name = "+NUMBER")]
    pub allowed: Vec<String>,
    /// Folder with the root of an Asterisk 22 installation, for --pbx asterisk.
    #[arg(long, env = "ASTERISM_ASTERISK_ROOT")]
    pub asterisk_root: Option<PathBuf>,
    /// Nodes at most [default: 8].
    #[arg(long)]
    pub max_nodes: Option<u32>,
    /// Call slots of a node [default: 20].
    #[arg(long)]
    pub capacity: Option<u32>,
    /// nats-server program [default: found on PATH or in the project's cache].
    #[arg(long, env = "ASTERISM_NATS_SERVER")]
    pub nats_server: Option<PathBuf>,
    /// Behaviour of the simulated callees (TOML); see `pbx-sim --print-callees`.
    #[arg(long)]
    pub callees: Option<PathBuf>,
    /// Folder with the demo's prompts, flow.toml and contacts.csv.
    #[arg(long, default_value = "compose/demo")]
    pub demo_files: PathBuf,
}
