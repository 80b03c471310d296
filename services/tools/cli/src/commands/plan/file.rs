//! A campaign as a file describes it, before it exists: planned without a fleet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use asterism_domain::campaign::outlook::{Outlook, Supposed, supposed};
use asterism_domain::fleet::learnt::Learnt;
use asterism_domain::rules::CampaignRules;
use serde::Deserialize;

use crate::args::Millis;
use crate::commands::{campaign, shown};
use crate::error::CliError;
use crate::import;

/// Longest file.
const MAX_BYTES: u64 = 64 * 1024;

/// The file. Paths in it begin at its folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Option<String>,
    /// So many people without a zone, or
    contacts: Option<u32>,
    /// so many of each zone, or
    #[serde(default)]
    zones: BTreeMap<String, u32>,
    /// a list as `campaign create` reads it.
    list: Option<PathBuf>,
    /// Whom it may ring and when: a file as for `campaign create --rules`.
    rules: Option<PathBuf>,
    max_attempts: Option<u32>,
    max_channels: Option<u32>,
    calls_per_second: Option<u32>,
    /// Percent of attempts that are answered.
    answered: Option<u32>,
    holding: Option<String>,
    boot: Option<String>,
    #[serde(default)]
    trunk: Vec<Trunk>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trunk {
    #[serde(default)]
    max_channels: u32,
    #[serde(default)]
    calls_per_second: u32,
}

/// Reads the file.
///
/// # Errors
/// AST-P031 it cannot be read, AST-P032 what is wrong in it, or what is wrong with the list or the rules it names.
pub(super) fn read(path: &Path, now_ms: u64) -> Result<Outlook, CliError> {
    let unreadable = |why: String| {
        CliError::new("AST-P031", format!("the campaign file {} cannot be read", shown(path)), why)
    };
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > MAX_BYTES {
        return Err(unreadable(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let wrong = |why: String| {
        CliError::new("AST-P032", format!("the campaign file {} cannot be planned", shown(path)), why)
    };
    let document: Document = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let beside = |name: &PathBuf| path.parent().unwrap_or(Path::new("")).join(name);
    let rules = match &document.rules {
        Some(name) => campaign::rules_file(&beside(name))?,
        None => CampaignRules::default(),
    };
    let ways = usize::from(document.contacts.is_some())
        + usize::from(!document.zones.is_empty())
        + usize::from(document.list.is_some());
    if ways != 1 {
        return Err(wrong("expected one of `contacts`, `zones` and `list`".to_owned()));
    }
    let people = match &document.list {
        Some(name) => listed(&beside(name))?,
        None if document.zones.is_empty() => {
            BTreeMap::from([(String::new(), document.contacts.unwrap_or_default())])
        }
        None => document.zones.clone(),
    };
    let asked = asked(document, people, rules).map_err(wrong)?;
    Ok(supposed(asked, now_ms))
}

/// What the numbers in it say, each within its bounds.
fn asked(
    document: Document,
    people: BTreeMap<String, u32>,
    rules: CampaignRules,
) -> Result<Supposed, String> {
    let within = |name: &str, value: Option<u32>, or: u32, least: u32, most: u32| match value.unwrap_or(or) {
        value if (least..=most).contains(&value) => Ok(value),
        value => Err(format!("{name} is {value}, expected {least} to {most}")),
    };
    let time = |name: &str, text: Option<&String>, or: u64| {
        let read = text.map(|text| text.parse::<Millis>().map_err(|why| format!("{name}: {why}")));
        read.transpose().map(|time| time.map_or(or, |time| u64::from(time.0)))
    };
    let answered = within("answered", document.answered, 100, 0, 100)?;
    let holding_ms = time("holding", document.holding.as_ref(), 30_000)?;
    let boot_ms = time("boot", document.boot.as_ref(), 90_000)?;
    if holding_ms == 0 || boot_ms == 0 {
        return Err("holding and boot take some time".to_owned());
    }
    Ok(Supposed {
        name: document.name.unwrap_or_else(|| "a campaign to be".to_owned()),
        rules,
        people,
        max_attempts: within("max_attempts", document.max_attempts, 1, 1, 20)?,
        answered_permille: answered * 10,
        max_channels: document.max_channels.unwrap_or_default(),
        calls_per_second: document.calls_per_second.unwrap_or_default(),
        trunks: document.trunk.iter().map(|trunk| (trunk.max_channels, trunk.calls_per_second)).collect(),
        learnt: Learnt::assumed(holding_ms, boot_ms),
    })
}

/// The people of a list by their zones, as an import would take them.
fn listed(path: &Path) -> Result<BTreeMap<String, u32>, CliError> {
    let options = import::Options { dry_run: true, ..import::Options::default() };
    let survey = import::survey_file(path, &options)?;
    let summary = import::import_file(path, &survey, &options, |_| Ok::<(), String>(()))?;
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let mut people: BTreeMap<String, u32> =
        summary.zones.named.iter().map(|(zone, people)| ((*zone).to_owned(), count(*people))).collect();
    // One of several zones, or none: the campaign's default zone, if it has one.
    let rest = count(summary.zones.several.saturating_add(summary.zones.unknown));
    if rest > 0 {
        people.insert(String::new(), rest);
    }
    Ok(people)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Result<Outlook, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spring.toml");
        std::fs::write(folder.path().join("rules.toml"), "default_zone = 'UTC'\nmin_gap = '4h'\n").unwrap();
        let list = "number,timezone\n+12025550101,America/New_York\n+12025550102,UTC\n+12025550103,UTC\n";
        std::fs::write(folder.path().join("people.csv"), list).unwrap();
        std::fs::write(&path, text).unwrap();
        read(&path, 1_796_205_600_000).map_err(|error| format!("{} {}", error.code, error.why))
    }

    #[test]
    fn a_file_says_what_a_campaign_will_ask_for() {
        let told = planned(
            "name = 'spring'\ncontacts = 900\nrules = 'rules.toml'\nmax_attempts = 2\nanswered = 40\nholding = '45s'\n\
             max_channels = 50\n[[trunk]]\nmax_channels = 30\n[[trunk]]\nmax_channels = 10\ncalls_per_second = 4\n",
        )
        .unwrap();
        assert_eq!((told.name.as_str(), told.max_channels, told.calls_per_second), ("spring", 40, 0));
        assert_eq!((told.lists[0].contacts, told.lists[0].calls), (900, 1_440));
        assert_eq!((told.retry_ms, told.learnt.holding().mean_ms().div_ceil(1_000)), (14_400_000, 45));
        let listed = planned("list = 'people.csv'\n").unwrap();
        let people: Vec<u32> = listed.lists.iter().map(|list| list.contacts).collect();
        assert_eq!(people, [1, 2], "New York and UTC");
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for (text, want) in [
            ("contacts = 1\nlist = 'people.csv'\n", "AST-P032 expected one of"),
            ("name = 'x'\n", "AST-P032 expected one of"),
            ("contacts = 1\nanswered = 140\n", "AST-P032 answered is 140"),
            ("contacts = 1\nholding = '0s'\n", "AST-P032 holding and boot"),
            ("contacts = 1\nholding = '9'\n", "AST-P032 holding: expected a time"),
            ("contacts = -1\n", "AST-P032"),
            ("contacts = 1\nwindows = 1\n", "AST-P032 unknown field"),
            ("contacts = 1\nrules = 'none.toml'\n", "AST-U123"),
            ("list = 'none.csv'\n", "AST-I"),
        ] {
            let said = planned(text).unwrap_err();
            assert!(said.starts_with(want), "{text}: {said}");
        }
        let gone = read(Path::new("/nowhere/spring.toml"), 0).unwrap_err();
        assert_eq!(gone.code, "AST-P031");
    }
}
