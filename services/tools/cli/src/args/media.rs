//! `asterism media`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values;

/// `asterism media`.
#[derive(Subcommand)]
pub enum MediaCommand {
    /// Convert sounds, check them, upload and publish them
    #[command(before_help = "\
Examples:
  asterism media publish prompts/
  asterism media publish prompts/ --name spring --dry-run
  asterism media publish prompts/ --campaign spring --reason \"said anew\"
  asterism media publish hello.flac bye.mp3 --name spring --format ulaw --format alaw
")]
    Publish(PublishArgs),
    /// List what is published
    #[command(before_help = "Examples:\n  asterism media list\n")]
    List,
    /// Show the prompts of a set, and who plays it
    #[command(
        before_help = "Examples:\n  asterism media show spring\n  asterism --json media show 3f2a91c0\n"
    )]
    Show {
        /// Its name (then the newest of that name) or the beginning of its id
        #[arg(value_name = "SET")]
        set: String,
    },
    /// Show what one set has that another has not, or has otherwise
    #[command(before_help = "Examples:\n  asterism media diff 3f2a91c0 spring\n")]
    Diff {
        /// The older set
        #[arg(value_name = "SET")]
        before: String,
        /// The newer set
        #[arg(value_name = "SET")]
        after: String,
    },
    /// Let a campaign play again what it played before, or any other set. Calls in progress keep what they have
    #[command(
        before_help = "Examples:\n  asterism media rollback spring --reason \"wrong voice\"\n  asterism media rollback spring --to 3f2a91c0\n"
    )]
    Rollback {
        /// The campaign
        #[arg(value_name = "CAMPAIGN")]
        campaign: String,
        /// The set [default: what it played before]
        #[arg(long, value_name = "SET")]
        to: Option<String>,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every sound of the sets back from the store and check it against its hash
    #[command(before_help = "Examples:\n  asterism media verify\n  asterism media verify spring\n")]
    Verify {
        /// Sets [default: all that are published]
        #[arg(value_name = "SET")]
        names: Vec<String>, // `sets` is what `--set` has
    },
    /// Retire sets that newer ones have replaced and no campaign needs, and remove sounds that no set has
    #[command(before_help = "Examples:\n  asterism media gc --dry-run\n  asterism media gc --keep 1\n")]
    Gc {
        /// How many sets of each name stay besides those campaigns need
        #[arg(long, value_name = "N", default_value_t = 3)]
        keep: u32,
        /// Why, for the log
        #[arg(long, default_value = "nothing needs it")]
        reason: String,
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// `asterism media publish`.
#[derive(Args)]
pub struct PublishArgs {
    /// A folder (folders in it named like a language, en or de, are languages), or files: WAV, FLAC, MP3, Ogg Vorbis, .ulaw, .alaw,
    /// each named like its prompt
    #[arg(value_name = "DIR|FILE", required = true)]
    pub sounds: Vec<PathBuf>,
    /// Name for people [default: the folder's]
    #[arg(long)]
    pub name: Option<String>,
    /// Asterisk's tag of the language of sounds that are in no folder of a language
    #[arg(long, default_value = crate::ops::LANGUAGE)]
    pub language: String,
    /// What nodes play, once for each codec the trunks use: ulaw, alaw, sln16 (for G.722 and Opus) [default: ulaw]
    #[arg(long = "format", value_name = "FORMAT", value_parser = values::format)]
    pub formats: Vec<asterism_media_sync::publish::Format>,
    /// A campaign that plays them from now on, also while it runs. Calls in progress keep what they have
    #[arg(long, value_name = "ID")]
    pub campaign: Option<String>,
    /// Why the campaign gets them, for the log
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Convert and check only
    #[arg(long)]
    pub dry_run: bool,
}
