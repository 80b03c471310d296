//! `asterism media`: prompts.

mod gc;
mod publish;
mod show;
mod switch;
mod verify;

use super::Context;
use crate::args::MediaCommand;
use crate::error::CliError;

pub(super) async fn run(context: &Context, command: MediaCommand) -> Result<(), CliError> {
    match command {
        MediaCommand::Publish(args) => publish::run(context, args).await,
        MediaCommand::List => show::list(context).await,
        MediaCommand::Show { set } => show::show(context, &set).await,
        MediaCommand::Diff { before, after } => show::diff(context, &before, &after).await,
        MediaCommand::Rollback { campaign, to, reason, dry_run } => {
            switch::rollback(context, &campaign, to.as_deref(), &reason, dry_run).await
        }
        MediaCommand::Verify { names } => verify::run(context, &names).await,
        MediaCommand::Gc { keep, reason, dry_run } => gc::run(context, keep, reason, dry_run).await,
    }
}
