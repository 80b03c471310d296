//! Which clock a contact lives by: its own column, else what its number says, else nothing.
//!
//! The table of prefixes is `data/zones.txt`; its header names its sources and their date. Where a number can be in
//! several zones (a mobile of Australia, toll-free numbers) the table has all of them, and a call has to suit each.
//! This file knows names only: what time it is somewhere belongs to those who decide when to call.

use std::str::FromStr;
use std::sync::LazyLock;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::E164;

/// The column that names a contact's zone, in any case.
pub const ZONE_COLUMN: &str = "timezone";
/// Longest name of a zone looked at, in bytes.
const MAX_NAME_BYTES: usize = 40;
/// Digits of the longest prefix of the table.
const LONGEST_PREFIX: u32 = 8;

/// The zones a contact may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneChoice {
    /// It is in this one.
    Named(Tz),
    /// It is in one of these, and nobody knows which: a call has to suit all.
    AllOf(&'static [Tz]),
    /// Nobody knows.
    Unknown,
}

impl ZoneChoice {
    /// The zones a call has to suit; none if unknown, and then there is no right time.
    pub fn zones(&self) -> &[Tz] {
        match self {
            Self::Named(zone) => std::slice::from_ref(zone),
            Self::AllOf(zones) => zones,
            Self::Unknown => &[],
        }
    }
}

/// A name that is no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no name of a time zone, like Europe/London")]
pub struct NoZone;

/// Reads the name of a zone of the IANA list, in any case, a space for `_` allowed. Of names without a region only UTC
/// is taken: `EST` is one fixed offset to the list and another clock to people. So is `Etc/GMT+5`, which is five hours
/// behind.
///
/// # Errors
/// It is no such name.
pub fn read(text: &str) -> Result<Tz, NoZone> {
    let text = text.trim();
    if text.len() > MAX_NAME_BYTES {
        return Err(NoZone);
    }
    let name = text.replace(' ', "_");
    if name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("etc/utc") {
        return Ok(Tz::UTC);
    }
    let region = name.split_once('/').ok_or(NoZone)?.0;
    if ["etc", "systemv"].iter().any(|odd| region.eq_ignore_ascii_case(odd)) {
        return Err(NoZone);
    }
    Tz::from_str(&name)
        .ok()
        .or_else(|| TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(&name)).copied())
        .ok_or(NoZone)
}

/// The zones of a contact: those of its column where it says something, else those of its number.
///
/// # Errors
/// The column holds no name of a zone. Nothing is guessed then.
pub fn choose(column: Option<&str>, number: E164) -> Result<ZoneChoice, NoZone> {
    match column.map(str::trim) {
        Some(name) if !name.is_empty() => read(name).map(ZoneChoice::Named),
        _ => Ok(match zones(number) {
            None | Some([]) => ZoneChoice::Unknown,
            Some([one]) => ZoneChoice::Named(*one),
            Some(several) => ZoneChoice::AllOf(several),
        }),
    }
}

/// The zones of a number, by the longest prefix the table has; `None` where it has none (satellites, unassigned codes).
pub fn zones(number: E164) -> Option<&'static [Tz]> {
    let digits = number.digits();
    let count = digits.checked_ilog10()? + 1;
    (1..=LONGEST_PREFIX.min(count)).rev().find_map(|length| {
        let prefix = digits / 10u64.pow(count - length);
        let at = TABLE.prefixes.binary_search_by_key(&prefix, |(prefix, _)| *prefix).ok()?;
        TABLE.sets.get(TABLE.prefixes[at].1).map(|zones| &**zones)
    })
}

struct Table {
    /// Prefix and index of its zones, by prefix. No prefix begins with 0, so its value is enough.
    prefixes: Vec<(u64, usize)>,
    sets: Vec<Box<[Tz]>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("../../data/zones.txt")));

impl Table {
    /// What cannot be read is left out, which falls back to a shorter prefix; a test holds the file to be whole.
    fn read(text: &str) -> Self {
        let mut table = Self { prefixes: Vec::new(), sets: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_ascii_whitespace();
            let names = words.next().unwrap_or_default().split(',');
            let Ok(zones) = names.map(Tz::from_str).collect::<Result<Vec<Tz>, _>>() else { continue };
            let set = table.sets.len();
            table.prefixes.extend(words.filter_map(|word| word.parse().ok()).map(|prefix| (prefix, set)));
            table.sets.push(zones.into());
        }
        table.prefixes.sort_unstable();
        table
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn names(number: &str) -> Vec<&'static str> {
        zones(E164::parse(number).unwrap()).unwrap_or_default().iter().map(|zone| zone.name()).collect()
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        let text = include_str!("../../data/zones.txt");
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let words: usize = lines.iter().map(|line| line.split(' ').count() - 1).sum();
        assert_eq!(TABLE.sets.len(), lines.len(), "each zone is known to chrono-tz");
        assert_eq!(TABLE.prefixes.len(), words, "each prefix is a number");
        assert!(words > 2_000, "{words}");
        for pair in TABLE.prefixes.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} twice", pair[0].0);
        }
        let longest = TABLE.prefixes.iter().map(|(prefix, _)| prefix.to_string().len()).max();
        assert_eq!(longest, Some(LONGEST_PREFIX as usize));
        for source in ["libphonenumber 9.", "Apache License 2.0", "tz database 20", "Date: 20"] {
            assert!(text.contains(source), "the header names {source}");
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        for (number, zones) in [
            ("+12025550123", &["America/New_York"][..]),
            ("+14155550123", &["America/Los_Angeles"]),
            ("+12082415555", &["America/Denver"]),
            ("+18085550123", &["Pacific/Honolulu"]),
            ("+442079460000", &["Europe/London"]),
            ("+447700900123", &["Europe/London"]),
            ("+491701234567", &["Europe/Berlin"]),
            ("+35315550123", &["Europe/Dublin"]),
            ("+74012345678", &["Europe/Kaliningrad"]),
            ("+212612345678", &["Africa/Casablanca"]),
            ("+213551234567", &["Africa/Algiers"]),
            ("+50588881234", &["America/Managua"]),
            ("+18675550123", &["America/Whitehorse"]),
            ("+18679795012", &["America/Toronto"]),
            ("+61255501234", &["Australia/Sydney"]),
            ("+34922123456", &["Atlantic/Canary"]),
        ] {
            assert_eq!(names(number), zones, "{number}");
        }
    }

    #[test]
    fn a_number_of_no_place_has_every_zone_of_its_country() {
        // A mobile of Australia may be in Perth, one of Spain in the Canaries, a toll-free one anywhere.
        let mobile = names("+61491570156");
        assert!(mobile.contains(&"Australia/Perth") && mobile.contains(&"Australia/Sydney"), "{mobile:?}");
        assert_eq!(names("+34612345678"), ["Atlantic/Canary", "Europe/Madrid"]);
        let russian = names("+79161234567");
        assert!(russian.contains(&"Asia/Kamchatka") && russian.contains(&"Europe/Moscow"), "{russian:?}");
        assert!(!russian.contains(&"Asia/Almaty"));
        let toll_free = names("+18005550199");
        assert!(toll_free.contains(&"Pacific/Honolulu") && toll_free.contains(&"America/New_York"));
    }

    #[test]
    fn the_column_goes_before_the_number_and_nothing_is_guessed() {
        let number = E164::parse("+442079460000").unwrap();
        assert_eq!(choose(Some(" Asia/Tokyo "), number), Ok(ZoneChoice::Named(Tz::Asia__Tokyo)));
        assert_eq!(choose(Some(" "), number), Ok(ZoneChoice::Named(Tz::Europe__London)));
        assert_eq!(choose(None, number), Ok(ZoneChoice::Named(Tz::Europe__London)));
        assert_eq!(choose(Some("London"), number), Err(NoZone));
        let mobile = choose(None, E164::parse("+61491570156").unwrap()).unwrap();
        assert!(matches!(mobile, ZoneChoice::AllOf(zones) if zones.len() > 3));
        // A satellite phone is nowhere, and so is a code nobody has.
        for nowhere in ["+881612345678", "+999123456789", "+80012345678"] {
            let unknown = choose(None, E164::parse(nowhere).unwrap()).unwrap();
            assert_eq!((unknown, unknown.zones()), (ZoneChoice::Unknown, &[][..]), "{nowhere}");
        }
    }

    #[test]
    fn names_of_the_list_are_zones_and_others_are_not() {
        assert_eq!(read("europe/london"), Ok(Tz::Europe__London));
        assert_eq!(read("America/New York"), Ok(Tz::America__New_York));
        assert_eq!(read("America/Argentina/Buenos_Aires"), Ok(Tz::America__Argentina__Buenos_Aires));
        assert_eq!(read("Utc"), Ok(Tz::UTC));
        for no_zone in ["", "EST", "GMT+1", "+01:00", "Etc/GMT+5", "Europe/", "Europe/Lodnon", "Mars/Olympus"]
        {
            assert_eq!(read(no_zone), Err(NoZone), "{no_zone:?}");
        }
        assert_eq!(read(&"Europe/London ".repeat(10)), Err(NoZone));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC{0,60}") {
            if let Ok(zone) = read(&text) {
                prop_assert_eq!(read(zone.name()), Ok(zone));
            }
        }

        #[test]
        fn every_number_finds_what_a_plain_search_finds(digits in "[1-9][0-9]{7,14}") {
            let number = E164::parse(&format!("+{digits}")).unwrap();
            let plain = TABLE.prefixes.iter()
                .filter(|(prefix, _)| digits.starts_with(&prefix.to_string()))
                .max_by_key(|(prefix, _)| *prefix)
                .map(|(_, set)| &*TABLE.sets[*set]);
            prop_assert_eq!(zones(number), plain);
        }
    }
}
