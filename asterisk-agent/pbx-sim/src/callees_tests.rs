//! Tests of the table of habits.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use proptest::prelude::*;

use super::*;

#[test]
fn weights_are_met_and_numbers_keep_their_habit() {
    let table = Callees::default();
    let total: u32 = ORDER.iter().map(|h| table.weights.of(*h)).sum();
    let mut seen = std::collections::HashMap::new();
    for n in 0..20_000 {
        let number = format!("+1555010{n:05}");
        let callee = table.callee(&number);
        assert!(callee == table.callee(&number));
        *seen.entry(callee.habit).or_insert(0_u32) += 1;
    }
    for habit in ORDER {
        let expected = 20_000 * table.weights.of(habit) / total;
        let got = seen.get(&habit).copied().unwrap_or(0);
        // five standard deviations of the rarest and a tenth of the common
        assert!(got.abs_diff(expected) <= expected / 10 + 70, "{habit:?}: {got}, expected {expected}");
    }
}

#[test]
fn the_seed_changes_habits() {
    let (a, b) = (Callees::default(), Callees { seed: 2, ..Callees::default() });
    let differ =
        (0..1000).filter(|n| a.callee(&n.to_string()).habit != b.callee(&n.to_string()).habit).count();
    assert!((500..1000).contains(&differ), "{differ}");
}

#[test]
fn an_exact_number_does_as_told() {
    let table = Callees::parse(
        "seed = 7\n[weights]\nbusy = 0\n[[number]]\nnumber = \"+15550100151\"\nhabit = \"press_1\"\n\
         ring_ms = 300\ndigits = \"1\"\npress_at_ms = 1500\n[[number]]\nnumber = \"+15550100157\"\n\
         habit = \"hang_up_early\"\nhang_up_at_ms = 1500\n",
    )
    .unwrap();
    let callee = table.callee("+15550100151");
    assert_eq!((callee.habit, callee.ring_ms), (Habit::Press1, 300));
    assert!(callee.presses == Presses::At { digits: "1".into(), at_ms: 1500 });
    assert_eq!(table.callee("+15550100157").hang_up_at_ms, Some(1500));
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (text, part) in [
        ("seed = 1\nsed = 2\n", "line 2: unknown field `sed`"),
        ("[ring]\nmin_ms = 5\nmax_ms = 1\n", "ring: min_ms is above max_ms"),
        ("[[number]]\nnumber = \"1\"\nhabit = \"sings\"\n", "line 3: unknown variant `sings`"),
        ("[[number]]\nnumber = \"1\"\nhabit = \"busy\"\ndigits = \"a\"\n", "number 1: digits"),
    ] {
        let why = Callees::parse(text).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
    let zero = ORDER.iter().fold(String::from("[weights]\n"), |text, habit| {
        let name = toml::Value::try_from(habit).unwrap();
        text + name.as_str().unwrap() + " = 0\n"
    });
    assert_eq!(Callees::parse(&zero).unwrap_err(), "weights: all are zero");
}

#[test]
fn the_printed_table_reads_back() {
    let table = Callees::default();
    assert_eq!(Callees::parse(&table.to_toml()).unwrap(), table);
}

proptest! {
    #[test]
    fn every_number_gets_durations_in_range(number in ".{0,40}", seed in any::<u64>()) {
        let table = Callees { seed, ..Callees::default() };
        let callee = table.callee(&number);
        prop_assert!(callee.ring_ms == 0 || (300..=900).contains(&callee.ring_ms));
        prop_assert!((200..=600).contains(&callee.press_after_ms));
        prop_assert!((400..=900).contains(&table.prompt_ms(&number)));
    }

    #[test]
    fn arbitrary_files_never_panic(text in "(?s).{0,200}") {
        let _ = Callees::parse(&text);
    }
}

#[test]
fn the_table_of_the_tests_reads_and_goes_by_the_last_digits() {
    let table = Callees::parse(include_str!("../callees-script.toml")).unwrap();
    for (end, habit) in [("0151", Habit::Press1), ("0186", Habit::Busy), ("0199", Habit::Silent)] {
        assert_eq!(table.callee(&format!("+155501{end}")).habit, habit);
    }
    assert_eq!(table.callee("+15550100187").ring_ms, 300);
    assert!(table.callee("+15550100183").early_media && table.callee("+15550100156").says_why);
}
