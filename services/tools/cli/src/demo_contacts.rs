//! The demo's contact list: numbers nobody has. North America keeps 555-0100 to 555-0199 of each area code for
//! fiction, Ofcom keeps ranges for drama in the United Kingdom.
//!
//! `compose/demo/contacts.csv` is what [`csv`] gives for [`SHIPPED_CONTACTS`]; a test keeps the two equal.

use std::fmt::Write as _;

/// Contacts of the file that ships with the demo.
pub const SHIPPED_CONTACTS: usize = 1_000;
/// Most contacts there are numbers for.
pub const MAX_CONTACTS: usize = AREA_CODES.len() * PER_AREA_CODE + DRAMA_RANGES.len() * PER_DRAMA_RANGE;

const PER_AREA_CODE: usize = 100;
const PER_DRAMA_RANGE: usize = 1_000;
/// In the shipped file every tenth contact is in the United Kingdom, as long as both last.
const DRAMA_EVERY: usize = 10;

/// Area codes in use; each has 555-0100 to 555-0199 for fiction.
const AREA_CODES: [u32; 100] = [
    201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228, 229,
    231, 234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 276, 281, 301, 302, 303, 304,
    305, 307, 308, 309, 310, 312, 313, 314, 315, 316, 317, 318, 319, 320, 321, 323, 325, 330, 334, 336, 337,
    339, 347, 351, 352, 360, 361, 386, 401, 402, 404, 405, 406, 407, 408, 409, 410, 412, 413, 414, 415, 417,
    419, 423, 424, 425, 432, 434, 435, 440, 443, 469, 478, 479, 480, 484, 501, 502,
];

/// Ofcom's drama ranges: the digits before the last three.
const DRAMA_RANGES: [&str; 14] = [
    "44207946 0",
    "44113496 0",
    "44114496 0",
    "44115496 0",
    "44116496 0",
    "44117496 0",
    "44118496 0",
    "44121496 0",
    "44131496 0",
    "44141496 0",
    "44151496 0",
    "44161496 0",
    "44191498 0",
    "447700900 ",
];

const FIRST_NAMES: [&str; 24] = [
    "Ada",
    "Alan",
    "Annie",
    "Barbara",
    "Blaise",
    "Carl",
    "Charles",
    "Claude",
    "Donald",
    "Dorothy",
    "Edsger",
    "Emmy",
    "Grace",
    "Hedy",
    "Ida",
    "John",
    "Katherine",
    "Konrad",
    "Leslie",
    "Margaret",
    "Mary",
    "Niklaus",
    "Radia",
    "Sophie",
];

/// A list of `count` contacts (at most [`MAX_CONTACTS`]) with a number each and a first name. The same count always
/// gives the same text.
pub fn csv(count: usize) -> String {
    let mut text = String::with_capacity(24 * (count + 1));
    text.push_str("number,first_name\n");
    for (index, number) in numbers().take(count).enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "+{number},{}", FIRST_NAMES[index % FIRST_NAMES.len()]);
    }
    text
}

fn numbers() -> impl Iterator<Item = String> {
    let mut america = AREA_CODES
        .into_iter()
        .flat_map(|area| (0..PER_AREA_CODE).map(move |line| format!("1{area}5550{}", 100 + line)));
    let mut britain = DRAMA_RANGES.into_iter().flat_map(|range| {
        let digits = range.replace(' ', "");
        (0..PER_DRAMA_RANGE).map(move |line| format!("{digits}{line:03}"))
    });
    (0..MAX_CONTACTS).filter_map(move |index| {
        if (index + 1).is_multiple_of(DRAMA_EVERY) {
            britain.next().or_else(|| america.next())
        } else {
            america.next().or_else(|| britain.next())
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::path::Path;

    use super::*;
    use crate::import::survey::survey;
    use crate::import::{Options, import};

    #[test]
    fn the_shipped_file_is_what_this_module_writes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../compose/demo/contacts.csv");
        let text = csv(SHIPPED_CONTACTS);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap() == text,
            "UPDATE_EXPECT=1 writes {} anew",
            path.display()
        );
    }

    #[test]
    fn every_number_there_is_imports_once_and_is_fiction() {
        let mut numbers = Vec::new();
        let text = csv(MAX_CONTACTS + 1);
        let (survey, options) = (survey(text.as_bytes(), None).unwrap(), Options::default());
        let file = std::io::Cursor::new(text);
        let summary = import(file, "demo", &survey, &options, |batch| {
            numbers.extend(batch.into_iter().map(|contact| contact.number.expose()));
            Ok::<(), Infallible>(())
        })
        .unwrap();
        assert_eq!((summary.good, summary.rejected, summary.duplicates), (MAX_CONTACTS as u64, 0, 0));
        for number in numbers {
            let fiction = match number.strip_prefix("+1") {
                Some(rest) => rest.len() == 10 && rest[3..].starts_with("55501"),
                None => number.starts_with("+44") && number.len() == 13,
            };
            assert!(fiction, "{number} may belong to somebody");
        }
    }
}
