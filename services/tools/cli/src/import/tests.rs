//! Nasty files: what goes on, what is set aside, and what is said about it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::format_push_string, clippy::format_collect)] // files of a few lines, built to be read

use std::convert::Infallible;
use std::fs;
use std::io::Cursor;

use proptest::prelude::*;

use super::*;

struct Outcome {
    summary: Summary,
    numbers: Vec<String>,
    contacts: Vec<ContactRow>,
    rejects: String,
    batches: Vec<usize>,
}

fn run(file: &[u8], number_column: Option<&str>) -> Result<Outcome, Error> {
    let mapping = Mapping { number_column: number_column.map(str::to_owned), ..Mapping::default() };
    run_with(file, Options { mapping, ..Options::default() })
}

/// Looks at a file and imports it, as `import_file` does.
fn both<E: std::fmt::Display>(
    file: &[u8],
    options: &Options,
    sink: impl FnMut(Vec<ContactRow>) -> Result<(), E>,
) -> Result<Summary, Error> {
    let survey = survey::survey(file, options.encoding).unwrap();
    import(Cursor::new(file), "list.csv", &survey, options, sink)
}

fn run_with(file: &[u8], options: Options) -> Result<Outcome, Error> {
    let folder = tempfile::tempdir().unwrap();
    let rejects = folder.path().join("rejects.csv");
    let options = Options { rejects: Some(rejects.clone()), ..options };
    let (mut contacts, mut batches) = (Vec::new(), Vec::new());
    let summary = both(file, &options, |batch| {
        batches.push(batch.len());
        contacts.extend(batch);
        Ok::<(), Infallible>(())
    })?;
    assert_eq!(
        summary.rows,
        summary.good + summary.rejected + summary.duplicates,
        "every row is counted once"
    );
    assert_eq!(summary.good, contacts.len() as u64);
    assert_eq!(summary.rejects.is_some(), rejects.exists());
    let numbers = contacts.iter().map(|contact| contact.number.expose()).collect();
    Ok(Outcome {
        summary,
        numbers,
        contacts,
        rejects: fs::read_to_string(rejects).unwrap_or_default(),
        batches,
    })
}

fn ok(file: &str) -> Outcome {
    run(file.as_bytes(), None).unwrap()
}

fn fails(file: impl AsRef<[u8]>) -> (&'static str, String) {
    let error = run(file.as_ref(), None).err().expect("the file is refused");
    (error.code(), error.to_string())
}

/// Line, column and code of each reject.
fn places(rejects: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(rejects.as_bytes());
    assert_eq!(reader.headers().unwrap(), &REJECT_COLUMNS[..]);
    reader.records().map(|r| r.unwrap()).map(|r| format!("{}:{}:{} {}", &r[0], &r[1], &r[2], &r[3])).collect()
}

#[test]
fn a_plain_list_comes_through_with_its_fields() {
    let out = ok("number,name\n+12025550101,Ada\n+1 (202) 555-0102,\n");
    assert_eq!(out.numbers, ["+12025550101", "+12025550102"]);
    assert_eq!(out.contacts[0].fields, [("name".to_owned(), "Ada".to_owned())]);
    assert_eq!((out.summary.rows, out.summary.good, out.summary.rejected), (2, 2, 0));
    assert_eq!(out.summary.samples, out.contacts);
    assert_eq!(out.rejects, "");
}

#[test]
fn mark_separator_and_line_ends_do_not_matter() {
    let plain = ok("number,city\n+12025550101,Rome\n");
    for file in [
        "\u{feff}number,city\r\n+12025550101,Rome\r\n",
        "number;city\n+12025550101;Rome",
        "number\tcity\n+12025550101\tRome\n\n\n",
        "\"number\";\"city\"\n\"+12025550101\";\"Rome\"\n",
        "\n\n  \nnumber,city\n\n+12025550101,Rome\n,\n",
    ] {
        let out = ok(file);
        assert_eq!(out.contacts, plain.contacts, "{file:?}");
        assert_eq!(out.summary.rejected, 0, "{file:?}");
    }
    assert_eq!(ok("number;note\n+12025550101;a,b,c\n").contacts[0].fields[0].1, "a,b,c");
    assert_eq!(ok("phone\n+12025550101\n").summary.separator, ',');
}

#[test]
fn bad_rows_are_set_aside_and_good_ones_go_on() {
    let out = run(
        b"name,phone\n\
          Ada,+12025550101\n\
          Bob,1.20255E+10\n\
          Cy,(202) 555-0103\n\
          M\xc3\xbcller \xff,+12025550104\n\
          Eve\n\
          Fay,+12025550106,extra\n\
          Gil,+1 202 CALL ME\n\
          Hal,\n\
          Ida,+12025550101\n\
          Jo,\"+12025550110\"\n",
        None,
    )
    .unwrap();
    assert_eq!(out.numbers, ["+12025550101", "+12025550110"]);
    assert_eq!(
        places(&out.rejects),
        [
            "3:2:phone AST-I008",
            "4:2:phone AST-I011",
            "5:1:name AST-I001",
            "6:: AST-I002",
            "7:: AST-I002",
            "8:2:phone AST-I009",
            "9:2:phone AST-I007"
        ]
    );
    assert_eq!((out.summary.duplicates, out.summary.rejected), (1, 7));
    assert_eq!(out.summary.rejected_by_code["AST-I002"], 2);
    assert!(
        out.rejects.contains("format the column as text"),
        "a reject says how to mend it: {}",
        out.rejects
    );
    for private in ["Bob", "1.20255", "5550103", "CALL"] {
        assert!(!out.rejects.contains(private), "rejects hold no value of a row: {}", out.rejects);
    }
}

#[test]
fn an_open_quote_costs_one_row_and_not_the_file() {
    let mut file = "number,note\n+12025550101,\"never closed\n".to_owned();
    for n in 2..60 {
        file += &format!("+120255501{n:02},ok\n");
    }
    let out = ok(&file);
    assert_eq!(places(&out.rejects), ["2:: AST-I004"]);
    assert_eq!(out.summary.good, 58);
    let at_the_end = ok("number,note\n+12025550101,ok\n+12025550102,\"open\n+12025550103,ok\n");
    assert_eq!(places(&at_the_end.rejects), ["3:: AST-I004"]);
    assert_eq!(at_the_end.numbers, ["+12025550101", "+12025550103"]);
}

#[test]
fn line_breaks_inside_quotes_belong_to_the_value() {
    let out =
        ok("number,note\n+12025550101,\"two\r\nlines, one \"\"row\"\"\"\nbad,x\n+12025550102,5\" pipe\n");
    assert_eq!(out.contacts[0].fields[0].1, "two\nlines, one \"row\"");
    assert_eq!(out.contacts[1].fields[0].1, "5\" pipe");
    assert_eq!(places(&out.rejects), ["4:1:number AST-I009"]);
}

#[test]
fn rows_that_are_too_long_are_passed_over_in_bounded_memory() {
    let long = "x".repeat(MAX_ROW_BYTES * 3);
    let wide = ",".repeat(5000);
    let out = ok(&format!(
        "number,note\n+12025550101,{long}\n+12025550102,ok\n+12025550103,{wide}\n+12025550104,{}\n+12025550105,",
        "y".repeat(2000)
    ));
    assert_eq!(places(&out.rejects), ["2:: AST-I003", "4:: AST-I002", "5:2:note AST-I005"]);
    assert_eq!(out.numbers, ["+12025550102", "+12025550105"]);
    let quoted = ok(&format!(
        "number,note\n+12025550101,\"{}\n{}\"\n+12025550102,ok\n",
        "x".repeat(60_000),
        "y".repeat(60_000)
    ));
    assert_eq!(places(&quoted.rejects), ["2:: AST-I004", "3:: AST-I002"]);
    assert_eq!(quoted.numbers, ["+12025550102"]);
}

#[test]
fn a_file_that_cannot_be_a_list_is_refused_with_the_reason() {
    let (code, text) = fails("PK\x03\x04 and so on");
    assert!(code == "AST-I031" && text.contains("xlsx") && text.contains("CSV UTF-8"), "{text}");
    for empty in ["", "\n\n", "\u{feff}", "  \r\n"] {
        assert_eq!(fails(empty).0, "AST-I032", "{empty:?}");
    }
    assert_eq!(fails("\"number\n+12025550101\n").0, "AST-I033");
    assert_eq!(fails("number\r+12025550101\r").0, "AST-I033");
    assert_eq!(fails(b"num\xffber,\xc3\xbc,\xc3\xbc\n").0, "AST-I033");
    assert_eq!(fails("x".repeat(MAX_ROW_BYTES * 2)).0, "AST-I033");
    assert_eq!(fails("+12025550101,Ada\n").0, "AST-I026");
    let (code, text) = fails("name,tel\nAda,+12025550101\n");
    assert_eq!(code, "AST-I020");
    assert!(
        text.contains("name, tel") && text.contains("--number-column") && text.contains("list.csv"),
        "{text}"
    );
    assert_eq!(run(b"name,tel\nAda,+12025550101\n", Some("tel")).unwrap().numbers, ["+12025550101"]);
    let missing = survey_file(Path::new("no/such.csv"), &Options::default());
    assert_eq!(missing.unwrap_err().code(), "AST-I030");
    assert_eq!(survey_file(Path::new("/"), &Options::default()).unwrap_err().code(), "AST-I030");
}

#[test]
fn batches_are_bounded_and_a_failing_taker_ends_the_import() {
    let file: String =
        std::iter::once("number\n".to_owned()).chain((0..450).map(|n| format!("+1202555{n:04}\n"))).collect();
    assert_eq!(ok(&file).batches, [200, 200, 50]);
    let mut taken = 0;
    let error = both(file.as_bytes(), &Options::default(), |batch| {
        taken += batch.len();
        if taken > 200 { Err("no leader answers") } else { Ok(()) }
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "AST-I036: contacts up to line 401 of list.csv could not be handed on: no leader answers"
    );
}

#[test]
fn a_dry_run_counts_the_same_and_hands_nothing_on() {
    let file = "number\n+12025550101\n+12025550101\nbad\n";
    let options = Options { dry_run: true, ..Options::default() };
    let summary = both(file.as_bytes(), &options, |_| Err("nothing may arrive here")).unwrap();
    let real = ok(file).summary;
    assert_eq!(Summary { dry_run: false, rejects: real.rejects.clone(), ..summary }, real);
    assert_eq!(real.file_sha256, hex::encode(Sha256::digest(file)));
}

#[test]
fn rejects_replace_those_of_an_earlier_import_and_errors_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = folder.path().join("rejects.csv");
    let options = Options { rejects: Some(rejects.clone()), ..Options::default() };
    let take = |_| Ok::<(), Infallible>(());
    both(b"number\nbad\n", &options, take).unwrap();
    assert!(rejects.exists());
    assert!(both(b"number\n+12025550101\n", &options, take).unwrap().rejects.is_none());
    assert!(!rejects.exists());
    let options =
        Options { rejects: Some(folder.path().join("no/folder/rejects.csv")), ..Options::default() };
    assert_eq!(both(b"number\nbad\n", &options, take).unwrap_err().code(), "AST-I034");
}

#[test]
fn the_list_itself_is_never_taken_for_the_rejects() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.csv");
    fs::write(&list, "number\nbad\n").unwrap();
    let options = Options { rejects: Some(folder.path().join(".").join("list.csv")), ..Options::default() };
    let survey = survey_file(&list, &options).unwrap();
    let refused = import_file(&list, &survey, &options, |_| Ok::<(), Infallible>(())).unwrap_err();
    assert_eq!(refused.code(), "AST-I034");
    assert_eq!(fs::read_to_string(&list).unwrap(), "number\nbad\n");
}

#[test]
fn other_encodings_are_converted_and_said() {
    let text = "number,name\n+12025550101,Müller\n+12025550102,José\n";
    let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let windows: Vec<u8> = text.chars().map(|c| u32::from(c) as u8).collect();
    for (file, encoding, known) in [
        (windows.clone(), "windows-1252", "by its bytes"),
        (wide(u16::to_le_bytes), "UTF-16LE", "by its bytes"),
        ([&[0xff, 0xfe], &wide(u16::to_le_bytes)[..]].concat(), "UTF-16LE", "by its byte order mark"),
        ([&[0xfe, 0xff], &wide(u16::to_be_bytes)[..]].concat(), "UTF-16BE", "by its byte order mark"),
    ] {
        let out = run(&file, None).unwrap();
        assert_eq!((out.summary.encoding, out.summary.encoding_known), (encoding, known));
        assert_eq!(out.contacts, ok(text).contacts, "{encoding}");
        assert_eq!(out.summary.file_sha256, hex::encode(Sha256::digest(&file)), "the bytes' own hash");
    }
    let told = Options { encoding: Some(encoding_rs::ISO_8859_2), ..Options::default() };
    let polish = run_with(b"number,name\n+12025550101,\xb1\n", told).unwrap();
    assert_eq!(polish.contacts[0].fields[0].1, "ą");
}

#[test]
fn what_was_understood_is_counted() {
    let numbers = Numbers { region: numbers::region("GB"), mend: true, ..Numbers::default() };
    let mapping = Mapping { omitted: vec!["junk".to_owned()], ..Mapping::default() };
    let file = "number,junk,timezone,note\n\
                020 7946 0018,x,,ab\n\
                '+12025550101,x,,abcd\n\
                07700 900123,x,,\n\
                +61491570156,x,asia/tokyo,\n\
                +61491570157,x,,\n\
                +61491570158,x,Nowhere,\n\
                +44 (0)20 7946 0018,x,,same number\n";
    let summary =
        run_with(file.as_bytes(), Options { mapping, numbers, ..Options::default() }).unwrap().summary;
    assert_eq!((summary.good, summary.duplicates, summary.rejected), (5, 1, 1));
    assert_eq!((summary.national, summary.unassigned), (2, 1));
    assert_eq!(summary.mended.into_iter().collect::<Vec<_>>(), [("a leading '", 1)]);
    let zones = summary.zones;
    let named: Vec<_> = zones.named.into_iter().collect();
    assert_eq!(named, [("America/New_York", 1), ("Asia/Tokyo", 1), ("Europe/London", 2)]);
    assert_eq!((zones.several, zones.unknown), (1, 0));
    let fields: Vec<_> =
        summary.fields.iter().map(|f| (f.name.as_str(), f.filled, f.longest_bytes)).collect();
    assert_eq!(fields, [("timezone", 1, 10), ("note", 2, 4)]);
    assert_eq!(summary.rejected_by_code["AST-I027"], 1);
}

#[test]
fn a_file_that_changes_under_the_reader_is_noticed() {
    let survey = survey::survey(&b"number\n+12025550101\n"[..], None).unwrap();
    let other = Cursor::new(b"number\n+12025550102\n");
    let error = import(other, "list.csv", &survey, &Options::default(), |_| Ok::<(), Infallible>(()));
    assert_eq!(error.unwrap_err().code(), "AST-I037");
}

#[test]
fn no_reject_is_a_formula() {
    let out = ok("=cmd|' /C calc'!A0,number\nx,bad\n");
    assert_eq!(out.summary.rejected, 1);
    let out = run(b"number,=cmd()\n+12025550101,\xff \xc3\xbc\xc3\xbc\n", None).unwrap();
    for record in csv::Reader::from_reader(out.rejects.as_bytes()).records() {
        for cell in &record.unwrap() {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
        }
    }
    assert!(out.rejects.contains("'=cmd()"), "{}", out.rejects);
}

proptest! {
    #[test]
    fn any_bytes_are_imported_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = run(&bytes, None);
    }

    #[test]
    fn no_good_row_is_lost_between_bad_ones(kinds in proptest::collection::vec(0u8..6, 0..60)) {
        let mut file = "number,note\n".to_owned();
        let mut good = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            let number = format!("+1202555{index:04}");
            match kind {
                0 | 1 => { file += &format!("{number},ok\n"); good.push(number); }
                2 => { file += &format!("\"{number}\",\"a \"\"b\"\"\nc\"\n"); good.push(number); }
                3 => file += "nobody,x\n",
                4 => file += &format!("{number},a,b\n"),
                _ => file += "\n",
            }
        }
        prop_assert_eq!(ok(&file).numbers, good);
    }
}
