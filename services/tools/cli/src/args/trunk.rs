//! `asterism trunk`.

use asterism_domain::trunk::{CallerIdHeader, NumberFormat, Transport};
use clap::{Args, Subcommand, ValueEnum};

use super::values::Number;

/// `asterism trunk`.
#[derive(Subcommand)]
pub enum TrunkCommand {
    /// Add a trunk. Nodes that run get it at once; calls that are up go on
    #[command(before_help = "\
Examples:
  asterism trunk add carrier --host sip.example.com --max-channels 30 --calls-per-second 5
  asterism trunk add carrier --host 192.0.2.10 --host 192.0.2.11:5070 --qualify 30 --dry-run
  asterism trunk add backup --srv example.com --transport tls --srtp --credentials backup
")]
    Add(AddArgs),
    /// Change a trunk: what is not named stays as it is
    #[command(
        before_help = "Examples:\n  asterism trunk set carrier --calls-per-second 2 --reason \"asked to by the carrier\"\n"
    )]
    Set(AddArgs),
    /// Send an OPTIONS to each host of a trunk from the nodes, and say what answered, how fast, and why not
    #[command(
        before_help = "Examples:\n  asterism trunk check carrier\n  asterism --json trunk check carrier\n"
    )]
    Check {
        /// The trunk
        #[arg(value_name = "NAME")]
        trunk: String,
    },
    /// List the trunks: limits, use, health, which nodes have them
    #[command(before_help = "Examples:\n  asterism trunk list\n  asterism --json trunk list\n")]
    List,
    /// Take a trunk away; calls on it go on
    #[command(before_help = "Examples:\n  asterism trunk remove carrier --reason \"contract ended\"\n")]
    Remove {
        /// The trunk
        #[arg(value_name = "NAME")]
        trunk: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What a trunk is.
#[derive(Args)]
pub struct AddArgs {
    /// Its name: 1 to 64 of letters, digits, - and _
    #[arg(value_name = "NAME")]
    pub trunk: String,
    /// A gateway; may be repeated: with --qualify one that answers is used, without it always the same one
    #[arg(long = "host", value_name = "HOST[:PORT]", conflicts_with = "srv")]
    pub hosts: Vec<String>,
    /// The domain whose SRV records name the gateways
    #[arg(long, value_name = "DOMAIN")]
    pub srv: Option<String>,
    /// How SIP travels [default: udp]
    #[arg(long, value_enum)]
    pub transport: Option<TransportArg>,
    /// Encrypt media (SDES); with --transport tls
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "true")]
    pub srtp: Option<bool>,
    /// A codec, the first is offered first: ulaw, alaw, g722; may be repeated [default: ulaw, alaw]
    #[arg(long = "codec", value_name = "NAME")]
    pub codecs: Vec<String>,
    /// How numbers are written: +1…, 1… or 001… [default: plus]
    #[arg(long, value_enum)]
    pub number_format: Option<FormatArg>,
    /// Where the caller id is beside From [default: from, that is nowhere]
    #[arg(long, value_enum)]
    pub caller_id_header: Option<HeaderArg>,
    /// A number the trunk may show; may be repeated. Without any, every number
    #[arg(long = "caller-id", value_name = "+NUMBER")]
    pub caller_ids: Vec<Number>,
    /// Ask the carrier every so many seconds whether it is there; 0 never
    #[arg(long, value_name = "SECONDS")]
    pub qualify: Option<u32>,
    /// Most attempts at the same time over all nodes; 0 = no cap
    #[arg(long, value_name = "N")]
    pub max_channels: Option<u32>,
    /// Most attempts started in a second over all nodes; 0 = no cap
    #[arg(long, value_name = "N")]
    pub calls_per_second: Option<u32>,
    /// A final response after which nobody can have been rung, so that the campaign's next trunk is tried; may be
    /// repeated [default: 500, 502, 503, 504]
    #[arg(long = "failover", value_name = "STATUS")]
    pub failover: Vec<u32>,
    /// Of a campaign's trunks the highest is tried first [default: 0]
    #[arg(long, value_name = "N")]
    pub priority: Option<u32>,
    /// The name of the carrier's user and password on the nodes; never a password
    #[arg(long, value_name = "NAME")]
    pub credentials: Option<String>,
    /// Send all of its SIP through this proxy
    #[arg(long, value_name = "HOST[:PORT]")]
    pub outbound_proxy: Option<String>,
    /// The domain in From [default: the node's address]
    #[arg(long, value_name = "DOMAIN")]
    pub from_domain: Option<String>,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `--transport`.
#[derive(Clone, Copy, ValueEnum)]
#[allow(missing_docs)]
pub enum TransportArg {
    Udp,
    Tcp,
    Tls,
}

impl From<TransportArg> for Transport {
    fn from(transport: TransportArg) -> Self {
        match transport {
            TransportArg::Udp => Self::Udp,
            TransportArg::Tcp => Self::Tcp,
            TransportArg::Tls => Self::Tls,
        }
    }
}

/// `--number-format`.
#[derive(Clone, Copy, ValueEnum)]
#[allow(missing_docs)]
pub enum FormatArg {
    Plus,
    Digits,
    DoubleZero,
}

impl From<FormatArg> for NumberFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Plus => Self::Plus,
            FormatArg::Digits => Self::Digits,
            FormatArg::DoubleZero => Self::DoubleZero,
        }
    }
}

/// `--caller-id-header`.
#[derive(Clone, Copy, ValueEnum)]
#[allow(missing_docs)]
pub enum HeaderArg {
    From,
    PAssertedIdentity,
    RemotePartyId,
}

impl From<HeaderArg> for CallerIdHeader {
    fn from(header: HeaderArg) -> Self {
        match header {
            HeaderArg::From => Self::From,
            HeaderArg::PAssertedIdentity => Self::PAssertedIdentity,
            HeaderArg::RemotePartyId => Self::RemotePartyId,
        }
    }
}
