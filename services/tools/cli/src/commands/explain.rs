//! `asterism explain`: why somebody was not dialled, or when, by what and with which result, from the log.

use asterism_replay::explain::{NumbersKey, Subject, explain};
use asterism_replay::fold::Pass;

use super::{Context, sealed};
use crate::args::explain::ExplainArgs;
use crate::error::CliError;
use crate::ops::blocking;

/// How far around a moment is told.
const AROUND_MS: u64 = 2_000;

pub(super) async fn run(context: &Context, args: &ExplainArgs) -> Result<(), CliError> {
    let key = if args.subject.starts_with('+') {
        let path = sealed::keys(context, args.keys.as_ref())?.join("numbers.key");
        Some(NumbersKey::read(&path).map_err(CliError::from_text)?)
    } else {
        None
    };
    let subject = Subject::parse(&args.subject, key.as_ref(), AROUND_MS).map_err(CliError::from_text)?;
    let (folder, full) = (sealed::folder(context, args.log.as_ref()).await?, args.full);
    let told = blocking(move || {
        explain(&mut Pass { folder: &folder, anchor: None, progress: &mut |_| {} }, &subject, full)
    });
    let told = told.await?.map_err(CliError::from_text)?;
    context.out.result(&told, || {
        let mut text = Vec::new();
        let _ = told.print(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}
