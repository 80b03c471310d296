//! `diff`: what changed between two moments, from one verified pass.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;

use asterism_domain::campaign::{Campaign, ContactStatus};
use asterism_domain::{Event, State};
use serde::Serialize;

use crate::explain::{Line, line};
use crate::fold::{self, At, Pass};
use crate::{Error, when};

/// Contacts and incidents listed of each kind without `--all`; all are counted.
pub const LISTED: usize = 20;

/// A moment that was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Events before it.
    pub size: u64,
    /// Record time of the last of them, ms since 1970.
    pub at_ms: u64,
}

/// A value that is not what it was. None: it was not, or is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// At the first moment.
    pub from: Option<T>,
    /// At the second.
    pub to: Option<T>,
}

/// What changed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Difference {
    /// The first moment.
    pub from: Moment,
    /// The second.
    pub to: Moment,
    /// Campaigns that changed: status and counts, by name.
    pub campaigns: BTreeMap<String, BTreeMap<String, Change<String>>>,
    /// Contacts (campaign/number) that changed their state: the first of them.
    pub contacts: Vec<(String, Change<String>)>,
    /// How many did.
    pub contacts_changed: u64,
    /// Nodes that came, went or changed their state.
    pub nodes: BTreeMap<String, Change<String>>,
    /// Terms of roles that got another leader.
    pub leaders: BTreeMap<String, Change<u64>>,
    /// Who leads since, as the elections say.
    pub holders: BTreeMap<String, String>,
    /// Incidents between: the first of them.
    pub incidents: Vec<Line>,
    /// How many there were.
    pub incidents_counted: u64,
    /// Decisions between that came too late to take effect.
    pub voids: u64,
}

/// What changed from one moment to the other. With `all`, every contact and incident is listed.
pub fn diff(pass: &mut Pass<'_>, from: At, to: At, all: bool) -> Result<Difference, Error> {
    let listed = if all { usize::MAX } else { LISTED };
    let (mut state, mut before) = (State::default(), None::<State>);
    let mut found = Difference::default();
    let mut ended = false;
    pass.each(&mut |_, event| {
        if before.is_none() && from.is_before(event) {
            before = Some(state.clone());
        }
        if to.is_before(event) {
            ended = true;
            return Ok(ControlFlow::Break(()));
        }
        let incidents = state.incidents;
        let no_effect = fold::apply(&mut state, event);
        if before.is_some() {
            if let Event::LeaderElected { role, holder, .. } = &event.event {
                found.holders.insert(role.clone(), holder.clone());
            }
            if state.incidents > incidents {
                found.incidents_counted += 1;
                if found.incidents.len() < listed {
                    found.incidents.push(line(event, no_effect));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    to.within(state.size)?;
    // Reading stopped at the second moment and the first was not met; or both are behind the log's end.
    let behind = matches!((from, to), (At::Time(from), At::Time(to)) if from > to);
    if (ended && before.is_none()) || behind {
        return Err(Error::Order { from: shown(from), to: shown(to) });
    }
    from.within(state.size)?;
    let before = before.unwrap_or_else(|| state.clone());
    found.compare(&before, &state, listed);
    Ok(found)
}

fn shown(at: At) -> String {
    match at {
        At::Size(size) => format!("{size} events"),
        At::Time(at_ms) => when::shown(at_ms),
    }
}

/// The entries of two maps that differ.
fn changes<K: Ord + Clone, T: PartialEq>(from: BTreeMap<K, T>, to: BTreeMap<K, T>) -> BTreeMap<K, Change<T>> {
    let mut both: BTreeMap<K, Change<T>> =
        from.into_iter().map(|(key, from)| (key, Change { from: Some(from), to: None })).collect();
    for (key, to) in to {
        both.entry(key).or_insert(Change { from: None, to: None }).to = Some(to);
    }
    both.retain(|_, change| change.from != change.to);
    both
}

/// A campaign in words and numbers, by name.
fn counts(campaign: &Campaign) -> BTreeMap<String, String> {
    let counts = &campaign.counts;
    let mut all: BTreeMap<String, String> = [
        ("imported", counts.imported),
        ("waiting", counts.waiting),
        ("in flight", counts.in_flight),
        ("excluded", counts.excluded),
        ("uncertain", counts.uncertain),
        ("erased", counts.erased),
        ("attempts", counts.attempts),
        ("refused", counts.refused),
        ("rang", counts.rang),
        ("never rang", counts.never_rang),
        ("answered", counts.answered),
        ("duplicates", counts.duplicates),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_owned(), count.to_string()))
    .collect();
    for (outcome, count) in &counts.settled {
        all.insert(format!("settled {}", outcome.name()), count.to_string());
    }
    all.insert("status".into(), format!("{:?}", campaign.status).to_lowercase());
    all
}

fn contact(status: &ContactStatus) -> String {
    match status {
        ContactStatus::Waiting => "waiting".into(),
        ContactStatus::InFlight => "in flight".into(),
        ContactStatus::Settled(outcome) => format!("settled {}", outcome.name()),
        ContactStatus::Uncertain => "uncertain".into(),
        ContactStatus::Erased => "erased".into(),
        ContactStatus::Excluded(rule) => format!("excluded {}", rule.name()),
    }
}

fn nodes(state: &State) -> BTreeMap<String, String> {
    let status = |node: &asterism_domain::fleet::Node| format!("{:?}", node.status).to_lowercase();
    state.fleet.nodes.iter().map(|(id, node)| (id.clone(), status(node))).collect()
}

impl Difference {
    fn compare(&mut self, before: &State, after: &State, listed: usize) {
        let moment = |state: &State| Moment { size: state.size, at_ms: state.at };
        (self.from, self.to) = (moment(before), moment(after));
        self.nodes = changes(nodes(before), nodes(after));
        self.leaders = changes(before.terms.clone(), after.terms.clone());
        self.voids = after.voids - before.voids;
        for (id, campaign) in &after.campaigns {
            let old = before.campaigns.get(id);
            let changed = changes(old.map(counts).unwrap_or_default(), counts(campaign));
            if !changed.is_empty() {
                self.campaigns.insert(id.clone(), changed);
            }
            for (number, row) in campaign.contacts.iter().enumerate() {
                let from = old.and_then(|old| old.contacts.get(number));
                if from.is_some_and(|from| from.status == row.status) {
                    continue;
                }
                self.contacts_changed += 1;
                if self.contacts.len() < listed {
                    let from = from.map(|from| contact(&from.status));
                    let change = Change { from, to: Some(contact(&row.status)) };
                    self.contacts.push((format!("{id}/{number}"), change));
                }
            }
        }
    }

    /// For people.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Moment { size, at_ms } = self.from;
        writeln!(out, "from {size} events, the last at {}", when::shown(at_ms))?;
        let Moment { size, at_ms } = self.to;
        writeln!(out, "to   {size} events, the last at {}", when::shown(at_ms))?;
        for (campaign, changed) in &self.campaigns {
            writeln!(out, "campaign {campaign}")?;
            changed
                .iter()
                .try_for_each(|(name, change)| writeln!(out, "  {name:<24} {}", change.arrow("-")))?;
        }
        if self.contacts_changed > 0 {
            writeln!(out, "contacts that changed: {}", self.contacts_changed)?;
            let mut list = self.contacts.iter();
            list.try_for_each(|(id, change)| writeln!(out, "  {id:<24} {}", change.arrow("new")))?;
            let more = self.contacts_changed - self.contacts.len() as u64;
            if more > 0 {
                writeln!(out, "  and {more} more; --all lists them")?;
            }
        }
        for (node, change) in &self.nodes {
            writeln!(out, "node {node}: {}", change.arrow("new"))?;
        }
        for (role, change) in &self.leaders {
            let holder = self.holders.get(role).map(String::as_str).unwrap_or_default();
            writeln!(out, "leader of the {role}: term {}, {holder}", change.arrow("none"))?;
        }
        if self.incidents_counted > 0 {
            writeln!(out, "incidents: {}", self.incidents_counted)?;
            self.incidents.iter().try_for_each(|line| line.print(out))?;
            let more = self.incidents_counted - self.incidents.len() as u64;
            if more > 0 {
                writeln!(out, "  and {more} more; --all lists them")?;
            }
        }
        if self.voids > 0 {
            writeln!(out, "decisions that came too late: {}", self.voids)?;
        }
        Ok(())
    }
}

impl<T: std::fmt::Display> Change<T> {
    fn arrow(&self, none: &str) -> String {
        let side = |value: &Option<T>| value.as_ref().map_or_else(|| none.to_owned(), ToString::to_string);
        format!("{} → {}", side(&self.from), side(&self.to))
    }
}
