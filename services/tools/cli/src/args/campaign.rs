//! `asterism campaign`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{Millis, Number};

/// `asterism campaign`.
#[derive(Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign: publish its flow and prompts, import its contacts
    Create(Box<CreateArgs>),
    /// Import a list into a campaign, or go on with one that was interrupted; no contact is imported twice
    Import(ImportArgs),
    /// List the campaigns with their numbers
    #[command(before_help = "Examples:\n  asterism campaign list\n  asterism --json campaign list\n")]
    List,
    /// Show one campaign: contacts by state, funnel, outcomes by hour, ratios, causes by trunk, tags, cost
    #[command(
        before_help = "Examples:\n  asterism campaign show spring\n  asterism campaign show spring --log copy/   # offline, from sealed segments\n"
    )]
    Show {
        /// The campaign
        #[arg(value_name = "ID")]
        campaign: String,
        /// A folder of sealed segments: the numbers are read from them, and no server is asked
        #[arg(long, value_name = "DIR")]
        log: Option<PathBuf>,
    },
    /// Write a campaign's contacts, or its attempts, one row each: CSV, JSON lines or Parquet
    Export(ExportArgs),
    /// Change a campaign's limits, trunks and rules, also while it runs
    #[command(
        before_help = "Examples:\n  asterism campaign set spring --max-channels 50 --reason \"fewer lines\"\n  asterism campaign set spring --rules rules.toml --reason \"evening hours\"\n  asterism campaign set spring --trunk backup --trunk carrier --reason \"carrier is ill\"\n"
    )]
    Set(Box<SetArgs>),
    /// Check a file of rules and say how it is understood
    #[command(before_help = "Examples:\n  asterism campaign rules rules.toml\n")]
    Rules(RulesArgs),
    /// Start dialling
    #[command(before_help = "Examples:\n  asterism campaign start spring\n")]
    Start {
        /// The campaign
        #[arg(value_name = "ID")]
        campaign: String,
    },
    /// Stop dialling for now; calls in progress go on
    #[command(before_help = "Examples:\n  asterism campaign pause spring --reason \"wrong prompt\"\n")]
    Pause(ReasonArgs),
    /// Go on after a pause
    #[command(before_help = "Examples:\n  asterism campaign resume spring\n")]
    Resume {
        /// The campaign
        #[arg(value_name = "ID")]
        campaign: String,
    },
    /// End the campaign for good; calls in progress go on, contacts not dialled stay as they are
    #[command(before_help = "Examples:\n  asterism campaign stop spring --reason \"goal reached\"\n")]
    Stop(ReasonArgs),
    /// Dial every contact on a trunk that leads outside, not only the allowed numbers. Real people will be called
    #[command(
        before_help = "Examples:\n  asterism campaign go-live spring --reason \"approved by the client\"\n"
    )]
    GoLive(ReasonArgs),
    /// Dial uncertain contacts once more. They may have been rung already, so nothing but this does it
    Redial(RedialArgs),
}

/// `asterism campaign redial`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism campaign redial spring --dry-run   # how many are uncertain
  asterism campaign redial spring --reason \"node lost, client agrees\"   # all of them
  asterism campaign redial spring --number +4930123456 --reason \"asked for it\"
")]
pub struct RedialArgs {
    /// The campaign; one that is complete runs again
    #[arg(value_name = "ID")]
    pub campaign: String,
    /// Only this number; may be given several times [default: every uncertain contact]
    #[arg(long, value_name = "NUMBER")]
    pub number: Vec<Number>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Say how many would be dialled, and dial nobody
    #[arg(long)]
    pub dry_run: bool,
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated, with a header
    Csv,
    /// One JSON object a line
    Jsonl,
    /// Apache Parquet, with types (builds with the feature `parquet`)
    Parquet,
}

/// How CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CsvMode {
    /// RFC 4180: cells are exactly what there is
    Strict,
    /// For spreadsheets: no cell is a formula, numbers with + and leading zeros stay text
    Spreadsheet,
}

/// `asterism campaign export`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism campaign export spring > contacts.csv              # numbers masked
  asterism campaign export spring --reveal --csv spreadsheet --out contacts.csv
  asterism campaign export spring --attempts --format jsonl
  asterism campaign export spring --format parquet --out contacts.parquet --log copy/
")]
pub struct ExportArgs {
    /// The campaign
    #[arg(value_name = "ID")]
    pub campaign: String,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
    /// One row for each attempt, not for each contact
    #[arg(long)]
    pub attempts: bool,
    /// How CSV is written
    #[arg(long, value_enum, value_name = "MODE", default_value_t = CsvMode::Strict)]
    pub csv: CsvMode,
    /// Numbers in full, and the fields of the list; without it numbers are masked
    #[arg(long)]
    pub reveal: bool,
    /// A folder of sealed segments [default: the ledger's on this machine, sealed now]
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// The fleet's key folder: without it, or where a key was erased, numbers are empty [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `asterism campaign rules`.
#[derive(Args)]
pub struct RulesArgs {
    /// The rules: TOML, see the README
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `asterism campaign set`. What is not named stays as it is.
#[derive(Args)]
pub struct SetArgs {
    /// The campaign
    #[arg(value_name = "ID")]
    pub campaign: String,
    /// Most attempts at the same time; 0 leaves it to the trunk
    #[arg(long, value_name = "N")]
    pub max_channels: Option<u32>,
    /// Most attempts started in a second; 0 leaves it to the trunk
    #[arg(long, value_name = "N")]
    pub calls_per_second: Option<u32>,
    /// How long a callee may ring, 1s to 2m
    #[arg(long, value_name = "TIME")]
    pub ring_timeout: Option<Millis>,
    /// Attempts per contact, 1 to 20
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub max_attempts: Option<u32>,
    /// A number callees see; all of them, where several are given
    #[arg(long = "caller-id", value_name = "+NUMBER")]
    pub caller_ids: Vec<Number>,
    /// A trunk; all of them, where several are given: tried by their priority, then in this order
    #[arg(long = "trunk", value_name = "NAME")]
    pub trunks: Vec<String>,
    /// Whom it may ring and when: a file that replaces the rules it has
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// A campaign and why.
#[derive(Args)]
pub struct ReasonArgs {
    /// The campaign
    #[arg(value_name = "ID")]
    pub campaign: String,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// How a list is read.
#[derive(Args)]
pub struct ListArgs {
    /// The column with the numbers [default: the one named number, phone, msisdn or e164]
    #[arg(long, value_name = "NAME")]
    pub number_column: Option<String>,
    /// Give a field another name than its column has, like --map city=Ort; may be repeated
    #[arg(long = "map", value_name = "FIELD=COLUMN")]
    pub map: Vec<String>,
    /// Leave a column out; may be repeated
    #[arg(long = "omit", value_name = "COLUMN")]
    pub omit: Vec<String>,
    /// The country of numbers without + and country code, like GB; without it they are refused
    #[arg(long, value_name = "CC", conflicts_with = "add_plus")]
    pub region: Option<String>,
    /// Numbers are international, with or without their +
    #[arg(long)]
    pub add_plus: bool,
    /// Take off what spreadsheets put around numbers where no digit is lost: a leading ' or =, ="…", a trailing .0
    #[arg(long)]
    pub mend: bool,
    /// Refuse numbers in ranges their country has not given out, those reserved for fiction among them
    #[arg(long)]
    pub assigned_only: bool,
    /// Leave out numbers that a campaign has, or any campaign with `all`; may be repeated
    #[arg(long, value_name = "all|CAMPAIGN")]
    pub skip_known: Vec<String>,
    /// The file's encoding, like windows-1252 [default: by its bytes]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
    /// Where rejected rows go, each with line, column, reason and fix [default: <file>.rejects.csv]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

/// `asterism campaign import`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism campaign import spring list.csv --dry-run                 # what would be imported
  asterism campaign import spring list.csv --region GB               # numbers like 020 7946 0000
  asterism campaign import spring list.csv --number-column Tel --map city=Ort --omit Notiz
")]
pub struct ImportArgs {
    /// The campaign
    #[arg(value_name = "ID")]
    pub campaign: String,
    /// The contacts: CSV with a header row
    #[arg(value_name = "FILE")]
    pub contacts: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub list: ListArgs,
    /// Show what would be imported, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `asterism campaign create`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism campaign create spring --flow flow.toml --prompts prompts/ --trunk carrier \\
    --contacts list.csv --dry-run             # check everything, change nothing
  asterism campaign create spring --flow flow.toml --prompts prompts/ --trunk carrier \\
    --contacts list.csv --start
  asterism campaign create test --flow flow.toml --prompts english --trunk carrier \\
    --contacts list.csv --allow +12025550123  # outside trunk: only this number until go-live
")]
pub struct CreateArgs {
    /// The campaign's id: 1 to 40 of letters, digits, - and _
    #[arg(value_name = "ID")]
    pub campaign: String,
    /// Name for people [default: the id]
    #[arg(long)]
    pub name: Option<String>,
    /// The flow: a file, or the name or id of a published one
    #[arg(long, value_name = "FILE|NAME|ID")]
    pub flow: String,
    /// The prompts: a folder, or the name or id of published ones
    #[arg(long, value_name = "DIR|NAME|ID")]
    pub prompts: String,
    /// A trunk; several are tried by their priority, then in this order
    #[arg(long = "trunk", value_name = "NAME", required = true)]
    pub trunks: Vec<String>,
    /// The contacts: CSV with a header row; numbers with + and country code
    #[arg(long, value_name = "FILE")]
    pub contacts: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub list: ListArgs,
    /// Most attempts at the same time; 0 leaves it to the trunk
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_channels: u32,
    /// Most attempts started in a second; 0 leaves it to the trunk
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub calls_per_second: u32,
    /// How long a callee may ring, 1s to 2m
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub ring_timeout: Millis,
    /// Attempts per contact that reach the carrier, 1 to 20
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub max_attempts: u32,
    /// A number callees see; of several each attempt shows one [default: the trunk's]
    #[arg(long = "caller-id", value_name = "+NUMBER")]
    pub caller_ids: Vec<Number>,
    /// Whom it may ring and when: hours, do-not-call lists, caps, retries. See the README
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Dial every contact even on a trunk that leads outside this machine. Real people will be called
    #[arg(long)]
    pub live: bool,
    /// A number that may be dialled on such a trunk before go-live; may be repeated, up to 64 times
    #[arg(long = "allow", value_name = "+NUMBER")]
    pub allowed: Vec<Number>,
    /// Check flow, prompts and list, show what would be imported, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Start dialling after the import
    #[arg(long, conflicts_with = "dry_run")]
    pub start: bool,
}
