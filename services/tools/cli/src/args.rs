//! The command line: what can be said, and the help that explains it. Examples stand before everything else.

pub mod campaign;
pub mod dnc;
pub mod emergency;
pub mod explain;
pub mod lab;
pub mod logic;
pub mod media;
pub mod plan;
pub mod prices;
pub mod recordings;
pub mod trunk;
mod values;
pub mod webhook;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::up::UpArgs;
pub use campaign::CampaignCommand;
pub use logic::{LogicCommand, TryArgs};
pub use media::MediaCommand;
pub use values::{Millis, Number};

/// Order of a help page: examples before flags.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Voice campaigns and IVR on an elastic fleet of Asterisk nodes, with one verifiable log of everything.
#[derive(Parser)]
#[command(
    name = "asterism",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    before_help = "\
Examples:
  asterism up --demo                              # everything on this machine, with a report
  asterism init                                   # keys and asterism.toml for a new fleet
  asterism doctor                                 # is everything there, and what to do if not
  asterism logic check flow.toml                  # is the flow sound
  asterism campaign create --help                 # flow, prompts and contacts to a campaign
  asterism campaign list                          # what goes on
  asterism replay verify asterism-data/log-ledger # does the log prove itself
",
    after_help = "Exit status: 0 done, 1 failed, 2 wrong command line. Errors begin with a code like AST-N002."
)]
pub struct Cli {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub global: Global,
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Configuration file (TOML) [default: asterism.toml, or asterism-data/asterism.toml, where they exist]
    #[arg(
        long,
        global = true,
        env = "ASTERISM_CONFIG",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    #[allow(clippy::doc_markdown)] // help shows no backticks
    /// Set one value; wins over the file and ASTERISM_SECTION__KEY variables
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE", help_heading = "Global options")]
    pub sets: Vec<String>,
    /// Print results and errors as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Say more on standard error
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub verbose: bool,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Run everything on this machine: bus, services, an elastic fleet of local nodes
    #[command(before_help = "\
Examples:
  asterism up                                     # stays up until Ctrl-C
  asterism up --demo                              # 1,000 fictional contacts, and a report
  asterism up --set trunks.carrier.calls_per_second=5 --set dialer.tick_ms=100
  asterism up --pbx asterisk --trunk sip:127.0.0.1:5060
")]
    Up(Box<UpArgs>),
    /// Create, start, watch and end campaigns
    #[command(subcommand)]
    Campaign(CampaignCommand),
    /// The people on the lists: which imports there are, and erasing one for good
    #[command(subcommand)]
    Contacts(ContactsCommand),
    /// Do-not-call lists: put numbers on them, take them off, list them
    #[command(subcommand)]
    Dnc(dnc::DncCommand),
    /// Stop all dialling now, on every node, and let it go on again
    #[command(subcommand)]
    Emergency(emergency::EmergencyCommand),
    /// Trunks: add a carrier, change it, ask it whether it is there, list them, take one away
    #[command(subcommand)]
    Trunk(trunk::TrunkCommand),
    /// Notices to your own server: list them, show one, deliver some once more
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Place one test call and wait for its outcome
    Call(CallArgs),
    /// The nodes: list them, drain one, send all home
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Prompts: publish a folder, list what is published
    #[command(subcommand)]
    Media(MediaCommand),
    /// Recordings of calls: list them, fetch them, erase them, say how long they are kept
    #[command(subcommand)]
    Recordings(recordings::RecordingsCommand),
    /// Flows: check one, draw it, try it without a phone
    #[command(subcommand)]
    Logic(LogicCommand),
    /// The policy lab: what scaling costs against the best possible, in virtual time
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// What a campaign will need and cost, and the alternatives, before money is spent
    #[command(
        before_help = "Examples:\n  asterism plan spring\n  asterism plan --calls 200000 --within 4h --holding 40s --calls-per-second 50\n"
    )]
    Plan(plan::PlanArgs),
    /// Price books: what instances cost, checked and compared by call slot
    #[command(subcommand)]
    Prices(prices::PricesCommand),
    /// Say why a number was not dialled, or when, by what and with which result it was
    Explain(explain::ExplainArgs),
    /// The log: where it stands, and sealing it for an auditor
    #[command(subcommand)]
    Log(LogCommand),
    /// The archive of the log: list it, fetch it for an auditor, check it
    #[command(subcommand)]
    Archive(ArchiveCommand),
    /// Sealed logs: verify, explain, prove, compare, export. Works offline
    #[command(
        subcommand,
        before_help = "\
Examples:
  asterism replay verify asterism-data/log-ledger
  asterism replay verify copy/ --anchor 5f1c…      # only the log that begins with this frame
  asterism replay state copy/ --at 1000
  asterism replay export copy/ > events.jsonl
"
    )]
    Replay(asterism_replay::cli::Command),
    /// Make the keys of a new fleet and its asterism.toml
    Init(InitArgs),
    /// Check everything a fleet needs, and say how to mend it
    #[command(before_help = "Examples:\n  asterism doctor\n  asterism --json doctor\n")]
    Doctor,
    /// The configuration: check it, or print it with the place of each value
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(
        before_help = "Examples:\n  asterism completions bash > /etc/bash_completion.d/asterism\n  asterism completions zsh > ~/.zfunc/_asterism\n"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `asterism call`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism call +12025550123 --flow flow.toml
  asterism call +12025550123 --flow flow.toml --trunk carrier --prompts prompts/
")]
pub struct CallArgs {
    /// The number to call, with + and country code
    pub number: Number,
    /// The flow: a file, or the name or id of a published one
    #[arg(long, value_name = "FILE|NAME|ID")]
    pub flow: String,
    /// The trunk [default: the only one configured]
    #[arg(long, value_name = "NAME")]
    pub trunk: Option<String>,
    /// The prompts: a folder, or the name or id of published ones [default: published ones that have what the flow plays]
    #[arg(long, value_name = "DIR|NAME|ID")]
    pub prompts: Option<String>,
    /// How long it may ring
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub ring_timeout: Millis,
    /// How long to wait for the outcome, the start of a node included
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: Millis,
}

/// `asterism contacts`.
#[derive(Subcommand)]
pub enum ContactsCommand {
    /// List the imports: contacts, waiting, in flight, erased
    #[command(before_help = "Examples:\n  asterism contacts list\n  asterism --json contacts list\n")]
    List,
    /// Erase an import for good: its numbers and fields can never be read again, by nobody. What happened stands
    #[command(
        before_help = "Examples:\n  asterism contacts erase --import 5f1c… --reason \"asked to on 3 May\" --dry-run\n  asterism contacts erase --import 5f1c… --reason \"asked to on 3 May\" --yes\n"
    )]
    Erase {
        /// The import, as `asterism contacts list` names it
        #[arg(long, value_name = "ID")]
        import: String,
        /// Why, for the log; write nothing personal, the log is for ever
        #[arg(long)]
        reason: String,
        /// Say what would be erased, and erase nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// `asterism fleet`.
#[derive(Subcommand)]
pub enum FleetCommand {
    /// List the nodes with their load
    #[command(before_help = "Examples:\n  asterism fleet list\n  asterism --json fleet list\n")]
    List {
        /// The ended ones too
        #[arg(long)]
        all: bool,
    },
    /// Send all nodes home: no new attempts, calls end in their own time, then the instances end
    #[command(before_help = "Examples:\n  asterism fleet stop --reason \"end of the day\"\n")]
    Stop {
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Send all nodes home and wait until the cloud lists nothing of the fleet: no instance, no volume
    #[command(before_help = "Examples:\n  asterism fleet down --reason \"end of the day\" --wait 3600\n")]
    Down {
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
        /// How long to wait for calls to end
        #[arg(long, default_value_t = 1_800, value_name = "SECONDS")]
        wait: u64,
    },
    /// Drain one node: no new attempts, calls end in their own time
    #[command(before_help = "Examples:\n  asterism fleet drain i-0abc123 --reason \"kernel update\"\n")]
    Drain {
        /// The node's id
        node: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a draining node take attempts again
    #[command(before_help = "Examples:\n  asterism fleet undrain i-0abc123\n")]
    Undrain {
        /// The node's id
        node: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `asterism log`.
#[derive(Subcommand)]
pub enum LogCommand {
    /// Show the log's length and root, and how much of it is durable and checkpointed
    #[command(before_help = "Examples:\n  asterism log head\n")]
    Head,
    /// Sign a checkpoint and seal everything so far into immutable files, which `replay` reads
    #[command(
        before_help = "Examples:\n  asterism log seal && asterism replay verify asterism-data/log-ledger\n"
    )]
    Seal,
    /// List the frames the log misses, and what their origins say of them
    #[command(before_help = "Examples:\n  asterism log gaps\n")]
    Gaps,
    /// List what is in the log and must not be: events that fit nothing, what was lost, what a copy had beyond the log
    #[command(before_help = "Examples:\n  asterism log incidents\n")]
    Incidents,
    /// Give up frames nobody has any more: the log says so for ever, and goes on behind them
    #[command(
        before_help = "Examples:\n  asterism log accept-loss --origin node/i-1 --reason 'disk gone' --dry-run\n"
    )]
    AcceptLoss(AcceptLossArgs),
}

/// `asterism log accept-loss`.
#[derive(Args)]
pub struct AcceptLossArgs {
    /// Whose frames, as `asterism log gaps` spells it
    #[arg(long)]
    pub origin: String,
    /// Give up to this frame [default: to what the origin says it has not, or else to the last that came]
    #[arg(long)]
    pub to: Option<u64>,
    /// Why, for the log
    #[arg(long)]
    pub reason: String,
    /// Only show what would be given up
    #[arg(long)]
    pub dry_run: bool,
}

/// `asterism archive`.
#[derive(Subcommand)]
pub enum ArchiveCommand {
    /// List the sealed segments in the archive, and what is missing
    #[command(before_help = "Examples:\n  asterism archive list\n  asterism --json archive list\n")]
    List {
        #[command(flatten)]
        #[allow(missing_docs)]
        source: ArchiveSource,
    },
    /// Fetch the whole log as a folder that `replay` reads, each file checked; goes on where it broke off
    #[command(
        before_help = "Examples:\n  asterism archive fetch copy/ && asterism replay verify copy/\n  asterism archive fetch copy/ --from s3://bucket/fleet?region=eu-west-1\n"
    )]
    Fetch {
        /// The folder: empty, or one that a fetch began
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        #[allow(missing_docs)]
        source: ArchiveSource,
    },
    /// Read every object of the archive and check sizes, hashes, footers and signed checkpoints
    #[command(before_help = "Examples:\n  asterism archive verify\n")]
    Verify {
        #[command(flatten)]
        #[allow(missing_docs)]
        source: ArchiveSource,
    },
}

/// Which archive.
#[derive(Args)]
pub struct ArchiveSource {
    #[allow(clippy::doc_markdown)] // help shows no backticks
    /// The archive's address [default: ledger.archive of the configuration]
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
}

/// `asterism init`.
#[derive(Args)]
#[command(before_help = "Examples:\n  asterism init\n  asterism init --fleet spring\n")]
pub struct InitArgs {
    /// The fleet's name: letters, digits, - and _ [default: the configuration's, or main]
    #[arg(long)]
    pub fleet: Option<String>,
}

/// `asterism config`.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration: every problem with its place
    #[command(
        before_help = "Examples:\n  asterism config check\n  asterism --config other.toml config check\n"
    )]
    Check,
    /// Print the configuration with the place of each value, without secrets and numbers
    #[command(before_help = "Examples:\n  asterism config print\n")]
    Print,
}

/// The whole command line.
pub fn command() -> clap::Command {
    templates(Cli::command())
}

fn templates(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command.help_template(TEMPLATE), |command, name| command.mut_subcommand(name, templates))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use clap::FromArgMatches;
    use clap::error::ErrorKind;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        let matches = command().try_get_matches_from(line.split(' '))?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_definitions_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_campaign_is_read_with_its_defaults() {
        let line = "asterism campaign create spring --flow f.toml --prompts p/ --trunk t --contacts c.csv --allow +1 --allow +2";
        let Command::Campaign(CampaignCommand::Create(args)) = read(line).unwrap().command else { panic!() };
        assert_eq!((args.campaign.as_str(), args.ring_timeout.0, args.max_attempts), ("spring", 30_000, 1));
        assert_eq!((args.max_channels, args.calls_per_second, args.live, args.start), (0, 0, false, false));
        assert_eq!(args.allowed, [Number::from("+1"), Number::from("+2")]);
        assert!(args.list.rejects.is_none() && args.caller_ids.is_empty() && args.name.is_none());
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in ["asterism --json --set fleet=x fleet list", "asterism fleet list --json --set fleet=x"] {
            let cli = read(line).unwrap();
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.sets, ["fleet=x"], "{line}");
        }
        // `replay verify` has a --json of its own, which means the same.
        assert!(read("asterism --json replay verify x").unwrap().global.json);
        assert!(read("asterism replay verify x --json").is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let kind = |line: &str| read(line).map(drop).unwrap_err().kind();
        assert_eq!(kind("asterism campaign"), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        assert_eq!(kind("asterism campaign creat"), ErrorKind::InvalidSubcommand);
        assert_eq!(kind("asterism campaign create spring"), ErrorKind::MissingRequiredArgument);
        assert_eq!(kind("asterism call +1 --flow f --ring-timeout 30"), ErrorKind::ValueValidation);
        assert_eq!(kind("asterism completions tcsh"), ErrorKind::InvalidValue);
        let create = "asterism campaign create s --flow f --prompts p --trunk t --contacts c";
        assert_eq!(kind(&format!("{create} --max-attempts 21")), ErrorKind::ValueValidation);
        assert_eq!(kind(&format!("{create} --dry-run --start")), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn every_command_that_does_something_begins_its_help_with_examples() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for sub in command.get_subcommands() {
                walk(sub, &path);
            }
            let shared = path.starts_with(" asterism replay "); // their help is the auditor's program's
            if !command.has_subcommands() && !shared {
                let help = command.get_before_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Examples:\n"), "{path}");
                assert!(help.lines().all(|line| line.chars().count() <= 100), "{path}: a line is too long");
            }
        }
        walk(&command(), "");
    }
}
