//! What a notice says. The number is whole, as its receiver needs it; here alone, and never in a log line.

use std::collections::BTreeMap;

use asterism_domain::State;
use asterism_domain::campaign::ContactStatus;
use asterism_domain::ids::AttemptId;
use asterism_domain::recording;
use asterism_domain::webhook::{Notice, NoticeId, SettledContact};
use asterism_runtime::role::Deps;
use asterism_runtime::seal;
use serde_json::{Map, Value, json};

/// What names a person, still sealed.
struct Sealed {
    import: String,
    bytes: Box<[u8]>,
}

/// The body of a request.
pub(super) async fn compose(deps: &Deps, notices: &[NoticeId]) -> Vec<u8> {
    let (tag, told) = deps.log.read(|state| {
        let told = notices.iter().filter_map(|id| Some((*id, state.webhook.owed.get(id)?)));
        let told: Vec<_> = told.map(|(id, notice)| (say(state, id, notice), sealed(state, notice))).collect();
        (state.log_tag.clone(), told)
    });
    let (fleet, keyring) = (deps.log.fleet().to_owned(), deps.keyring.clone());
    // Keys are files.
    let opened = tokio::task::spawn_blocking(move || {
        let mut keys: BTreeMap<String, Option<[u8; 32]>> = BTreeMap::new();
        let mut all = Vec::with_capacity(told.len());
        for (mut notice, sealed) in told {
            if let Some(Sealed { import, bytes }) = sealed {
                let key = keys.entry(import.clone()).or_insert_with(|| keyring.import(&import, false).ok());
                let person = key.and_then(|key| seal::open(&key, &import, &bytes).ok());
                // Erased people have no number any more; what happened stands.
                notice.insert("erased".to_owned(), json!(person.is_none()));
                notice.insert("number".to_owned(), json!(person.as_ref().map(|person| &person.number)));
                notice.insert(
                    "fields".to_owned(),
                    json!(person.map(|person| person.fields).unwrap_or_default()),
                );
            }
            all.push(Value::Object(notice));
        }
        all
    });
    let notices = opened.await.unwrap_or_default();
    json!({ "fleet": fleet, "log": tag, "notices": notices }).to_string().into_bytes()
}

fn sealed(state: &State, notice: &Notice) -> Option<Sealed> {
    let contact = notice.contact.as_ref()?.contact;
    let campaign = state.campaigns.get(&notice.campaign)?;
    let person = campaign.contacts.get(contact as usize)?;
    let import = campaign.imports.get(usize::from(person.import))?.clone();
    Some(Sealed { import, bytes: person.sealed.clone() })
}

pub(super) fn say(state: &State, id: NoticeId, notice: &Notice) -> Map<String, Value> {
    let mut said = Map::new();
    let mut put = |key: &str, value: Value| said.insert(key.to_owned(), value);
    put("id", json!(format!("{}-{id}", state.log_tag)));
    put("kind", json!(notice.kind));
    put("time_ms", json!(notice.at));
    put("campaign", json!(notice.campaign));
    match (&notice.contact, &notice.recording) {
        (Some(contact), _) => settled(&notice.campaign, contact, &mut put),
        (None, Some((id, made))) => {
            put("recording", json!(id));
            put("attempt", json!(id.call.to_string()));
            put("contact", json!(id.call.contact));
            put("object", json!(recording::object(state, id, &made.sha256)));
            put("sha256", json!(hex::encode(made.sha256)));
            put("size_bytes", json!(made.size_bytes));
            put("duration_ms", json!(made.duration_ms));
        }
        (None, None) => ended(state, &notice.campaign, &mut put),
    }
    said
}

fn settled(campaign: &str, settled: &SettledContact, put: &mut dyn FnMut(&str, Value) -> Option<Value>) {
    put("contact", json!(settled.contact));
    match &settled.status {
        ContactStatus::Settled(outcome) => {
            put("status", json!("settled"));
            put("outcome", json!(outcome.name()));
        }
        ContactStatus::Excluded(rule) => {
            put("status", json!("excluded"));
            put("rule", json!(rule.name()));
        }
        _ => drop(put("status", json!("uncertain"))),
    }
    put("attempts", json!(settled.attempts));
    put("rang", json!(settled.rang));
    put("digits", json!(settled.digits));
    if let Some(end) = &settled.end {
        let (campaign, contact, ordinal) = (campaign.to_owned(), settled.contact, end.ordinal);
        put("attempt", json!(AttemptId { campaign, contact, ordinal }.to_string()));
        put("ring_ms", json!(end.ring_ms));
        put("talk_ms", json!(end.talk_ms));
        put("flow_state", json!(end.path));
        put("cause", json!(end.cause));
        put("sip_status", json!(end.sip_status));
    }
}

/// A stopped campaign's calls may still be up: it is told as it stands when it is told.
fn ended(state: &State, id: &str, put: &mut dyn FnMut(&str, Value) -> Option<Value>) {
    let Some(campaign) = state.campaigns.get(id) else { return };
    let counts = &campaign.counts;
    put("status", json!(campaign.status));
    put("name", json!(campaign.name));
    put("as_of", json!(state.size));
    put("contacts", json!(counts.imported));
    put("waiting", json!(counts.waiting));
    put("in_flight", json!(counts.in_flight));
    put("settled", json!(counts.settled_total()));
    put("excluded", json!(counts.excluded));
    put("uncertain", json!(counts.uncertain));
    put("erased", json!(counts.erased));
    put("attempts", json!(counts.attempts));
    put("answered", json!(counts.answered));
    let outcomes: BTreeMap<&str, u32> = counts.settled.iter().map(|(one, n)| (one.name(), *n)).collect();
    put("outcomes", json!(outcomes));
}
