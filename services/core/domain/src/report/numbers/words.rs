//! A campaign's numbers for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::CampaignNumbers;
use crate::campaign::stats::{OTHER_CODES, OTHERS};
use crate::outcome::CAUSES;

impl CampaignNumbers {
    /// Contacts over all states: as many as there are.
    pub fn contacts_total(&self) -> u32 {
        self.contacts.values().sum()
    }

    /// With a head that names the campaign, and where its contacts stand.
    pub fn text(&self) -> String {
        let mut text = format!("campaign {} ({})\n", self.campaign, self.status);
        let _ = writeln!(text, "  contacts {}", self.contacts_total());
        for (stands, count) in &self.contacts {
            let _ = writeln!(text, "    {count:>8}  {stands}");
        }
        text + &self.figures()
    }

    /// Without these.
    pub fn figures(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let steps = self.funnel.steps();
        let base = u64::from(self.funnel.imported.max(1));
        line("  funnel".to_owned());
        for (name, count) in steps {
            line(format!("    {count:>8}  {name:<9} {:>4} %", u64::from(count) * 100 / base));
        }
        line(format!("  attempts {}, of which {} are in flight", self.attempts, self.in_flight));
        for (attempts, count) in &self.attempts_per_contact {
            let s = if *attempts == 1 { "" } else { "s" };
            line(format!("    {count:>8}  contacts with {attempts} attempt{s}"));
        }
        let share = self.answer_seizure_permille;
        let share =
            share.map_or_else(|| "none".to_owned(), |share| format!("{}.{} %", share / 10, share % 10));
        line(format!(
            "  answer-seizure ratio {share} ({} answered of {} attempts that may have rung)",
            self.calls, self.seizures
        ));
        let average = self.average_talk_ms.map_or_else(|| "none".to_owned(), seconds);
        line(format!(
            "  average call duration {average} ({} in {} ended calls)",
            seconds(self.talk_ms),
            self.ended_calls
        ));
        text + &self.money() + &self.tables()
    }

    fn money(&self) -> String {
        let cost = &self.cost;
        let mut text = String::new();
        let each = |each: &Option<String>| each.clone().unwrap_or_else(|| "none: no answer".to_owned());
        if let Some(calls) = &cost.calls {
            let _ = writeln!(
                text,
                "  cost of calls {calls} (by the campaign's price); an answer {}",
                each(&cost.calls_per_answer)
            );
        }
        if let (Some(nodes), Some(fleet)) = (&cost.nodes, &cost.fleet) {
            let _ = writeln!(
                text,
                "  cost of nodes {nodes} (by the price book: its share, by slot time, of {fleet} for all nodes while it ran, \
                 idle time included); an answer {}",
                each(&cost.nodes_per_answer)
            );
        }
        if let Some(both) = &cost.per_answer {
            let _ = writeln!(text, "  cost per answer {both} (calls and nodes)");
        }
        if cost.calls.is_none() && cost.nodes.is_none() {
            let _ = writeln!(
                text,
                "  cost per answer unknown: the campaign has no price, and the log no price book"
            );
        }
        text
    }

    fn tables(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        for (hour, outcomes) in &self.hours {
            line(format!("  {hour}  {}", listed(outcomes, String::clone)));
        }
        for (trunk, causes) in &self.causes {
            line(format!(
                "  trunk {trunk} without an answer: {}",
                listed(causes, |cause| cause_in_words(*cause))
            ));
        }
        for (trunk, responses) in &self.responses {
            line(format!(
                "  trunk {trunk} without an answer: {}",
                listed(responses, |sip| sip_in_words(*sip))
            ));
        }
        for (state, count) in &self.flow_states {
            let state = if state.is_empty() { "(none)" } else { state };
            line(format!("    {count:>8}  calls ended in {state}"));
        }
        for (tag, count) in &self.tags {
            line(format!("    {count:>8}  steps with the tag {tag}"));
        }
        text
    }
}

fn listed<K>(counts: &BTreeMap<K, u32>, name: impl Fn(&K) -> String) -> String {
    let counts: Vec<String> = counts.iter().map(|(key, count)| format!("{} {count}", name(key))).collect();
    counts.join(", ")
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

fn cause_in_words(cause: u32) -> String {
    let known = CAUSES.iter().find(|(known, ..)| *known == cause);
    match (cause, known) {
        (OTHER_CODES, _) => format!("{OTHERS}:"),
        (_, Some((_, _, name))) => format!("Q.850 {cause} ({name}):"),
        _ => format!("Q.850 {cause}:"),
    }
}

fn sip_in_words(status: u32) -> String {
    match status {
        OTHER_CODES => format!("{OTHERS}:"),
        0 => "no SIP response:".to_owned(),
        _ => format!("SIP {status}:"),
    }
}
