//! `asterism campaign redial`: uncertain contacts, once more.

use asterism_dialer::commands::{Redial, Redialled};
use asterism_domain::contact::E164;
use asterism_proto::Role;
use serde_json::json;

use super::{list_next, with_status};
use crate::args::campaign::RedialArgs;
use crate::commands::{Context, number};
use crate::error::CliError;

pub(super) async fn redial(context: &Context, args: RedialArgs) -> Result<(), CliError> {
    let RedialArgs { campaign, number: named, reason, dry_run } = args;
    let numbers = named.iter().map(|text| number(text, "--number").map(E164::expose));
    let asked = Redial {
        campaign: campaign.clone(),
        numbers: numbers.collect::<Result<_, _>>()?,
        reason: reason.unwrap_or_default(),
        dry_run,
    };
    let (_, client) = context.client().await?;
    let said = client.role_json(Role::Dialer, "campaign.redial", &asked).await;
    let done: Redialled = match said {
        Ok(done) => done,
        Err(refused) => return Err(with_status(&client, &campaign, list_next(refused)).await),
    };
    let value = json!({ "campaign": campaign, "contacts": done.contacts, "dry_run": dry_run });
    context.out.result(&value, || {
        let contacts = match done.contacts {
            1 => "1 uncertain contact".to_owned(),
            many => format!("{many} uncertain contacts"),
        };
        if dry_run {
            format!(
                "campaign {campaign} has {contacts} meant by this. They may have been rung already; nobody is dialled.\n\
                 Next: the same with --reason instead of --dry-run\n"
            )
        } else {
            format!("campaign {campaign}: {contacts} will be dialled once more, each as a new attempt\n")
        }
    })
}
