//! The commands, one file per noun. Each gets the [`Context`] and says what became of it.

mod archive;
mod call;
mod campaign;
mod config;
mod contacts;
mod dnc;
mod doctor;
mod emergency;
mod explain;
mod fleet;
mod init;
mod lab;
mod log;
mod logic;
mod media;
mod plan;
mod prices;
mod recordings;
mod replay;
mod resolve;
mod sealed;
mod trunk;
mod webhook;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use asterism_domain::contact::E164;
use asterism_object_store::ObjectStore;
use asterism_runtime::config::Config;

use crate::args::{self, Cli, Command, Global, Number};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

/// Where a configuration is looked for when none is named.
pub const CONFIG_FILES: [&str; 2] = ["asterism.toml", "asterism-data/asterism.toml"];

/// What every command has.
pub struct Context {
    /// The global flags.
    pub global: Global,
    /// Where results go.
    pub out: Output,
}

impl Context {
    /// The configuration file, if there is one.
    pub fn config_file(&self) -> Option<PathBuf> {
        let found = || CONFIG_FILES.iter().map(PathBuf::from).find(|path| path.is_file());
        self.global.config.clone().or_else(found)
    }

    /// The configuration, checked.
    pub fn config(&self) -> Result<Config, CliError> {
        let file = self.config_file();
        Ok(Config::load(file.as_deref(), std::env::vars(), &self.global.sets)?)
    }

    /// The configuration and a connection.
    async fn client(&self) -> Result<(Config, Client), CliError> {
        let config = self.config()?;
        let client = Client::connect(&config).await?;
        Ok((config, client))
    }
}

/// The object store of a configuration.
async fn store(config: &Config) -> Result<Arc<dyn ObjectStore>, CliError> {
    let url = config
        .objects_url()
        .map_err(|error| CliError::new("AST-U006", "the working directory is gone", error.to_string()))?;
    Ok(asterism_object_store::open(&url).await?)
}

/// Reads a number without repeating it in the error.
fn number(number: &Number, flag: &str) -> Result<E164, CliError> {
    E164::parse(&number.0).map_err(|problem| {
        let why = format!("{problem}; {}", problem.fix());
        CliError::usage(problem.code(), format!("{flag} is no number that can be called"), why)
    })
}

/// A path as it is shown.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Does what the command line says.
///
/// # Errors
/// Whatever the command says; it is not printed yet.
pub async fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { global, command } = cli;
    let out = Output { json: global.json, verbose: global.verbose };
    let context = Context { global, out };
    match command {
        Command::Up(args) => {
            let settings = crate::up::Settings::read(&context.global, &args)?;
            // With the AWS SDKs the future is large: it stays off the stack.
            let run = Box::pin(crate::up::run(*args, settings, out)).await;
            run.map_err(|error| CliError::from_text(format!("{error:#}")))?;
        }
        Command::Campaign(command) => Box::pin(campaign::run(&context, command)).await?,
        Command::Contacts(command) => contacts::run(&context, command).await?,
        Command::Dnc(command) => dnc::run(&context, command).await?,
        Command::Emergency(command) => emergency::run(&context, command).await?,
        Command::Trunk(command) => trunk::run(&context, command).await?,
        Command::Webhook(command) => webhook::run(&context, command).await?,
        Command::Call(args) => return Box::pin(call::run(&context, args)).await,
        Command::Fleet(command) => fleet::run(&context, command).await?,
        Command::Media(command) => media::run(&context, command).await?,
        Command::Recordings(command) => recordings::run(&context, command).await?,
        Command::Logic(command) => return Box::pin(logic::run(&context, &command)).await,
        Command::Lab(command) => lab::run(&context, &command)?,
        Command::Plan(args) => Box::pin(plan::run(&context, &args)).await?,
        Command::Prices(command) => return prices::run(&context, &command),
        Command::Explain(args) => explain::run(&context, &args).await?,
        Command::Log(command) => log::run(&context, &command).await?,
        Command::Archive(command) => archive::run(&context, &command).await?,
        Command::Replay(command) => return replay::run(&command),
        Command::Init(args) => init::run(&context, &args)?,
        Command::Doctor => return Box::pin(doctor::run(&context)).await,
        Command::Config(command) => config::run(&context, &command)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::command(), "asterism", &mut script);
            context.out.raw(&script)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
