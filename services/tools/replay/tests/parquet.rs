//! Parquet says what the JSON lines say, in groups of rows that are whole; builds without it say how to get one.
#![allow(clippy::unwrap_used)]

mod support;

#[cfg(not(feature = "parquet"))]
use support::log;

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_how_to_get_one() {
    let folder = log();
    let (status, out, err) =
        support::program(&["export", folder.path().to_str().unwrap(), "--format", "parquet"]);
    assert!(status != 0 && out.is_empty() && err.contains("AST-V020"), "{err}");
}

#[cfg(feature = "parquet")]
mod with_parquet {
    use asterism_replay::export::{self, COLUMNS};
    use asterism_replay::fold::Pass;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use serde_json::Value;

    use super::support::{self, log};

    fn exported(
        folder: &std::path::Path,
        write: impl Fn(&mut Pass<'_>, &mut dyn std::io::Write) -> Result<u64, asterism_replay::Error>,
    ) -> (u64, Vec<u8>) {
        let mut out = Vec::new();
        let written = write(&mut Pass { folder, anchor: None, progress: &mut |_| {} }, &mut out).unwrap();
        (written, out)
    }

    fn said(field: &Field) -> Value {
        match field {
            Field::Null => Value::Null,
            Field::Long(number) | Field::TimestampMillis(number) => (*number).into(),
            Field::Str(text) => text.as_str().into(),
            Field::Bytes(bytes) => hex::encode(bytes.data()).into(),
            other => panic!("no column is a {other:?}"),
        }
    }

    fn same_as_json(folder: &std::path::Path, groups: usize) {
        let (count, lines) = exported(folder, export::jsonl);
        let (written, file) = exported(folder, export::parquet);
        assert_eq!(written, count);
        let reader = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
        assert_eq!(reader.num_row_groups(), groups);
        let mut rows = 0;
        for (row, line) in reader.get_row_iter(None).unwrap().zip(lines.split(|byte| *byte == b'\n')) {
            let expected: Value = serde_json::from_slice(line).unwrap();
            for (column, (name, field)) in COLUMNS.into_iter().zip(row.unwrap().get_column_iter()) {
                assert_eq!(name, column);
                // A list is text.
                let wanted = match &expected[column] {
                    Value::Array(list) => Value::String(Value::Array(list.clone()).to_string()),
                    other => other.clone(),
                };
                assert_eq!(said(field), wanted, "row {rows}, {column}");
            }
            rows += 1;
        }
        assert_eq!(rows, count);
    }

    #[test]
    fn it_says_what_the_json_lines_say() {
        same_as_json(log().path(), 1);
        let mut script = support::campaign();
        let load = support::encode(&support::load(), "");
        while script.sequencer.size() < 16_500 {
            script.write(support::NODE, vec![load.clone(); 60]);
        }
        let erased = asterism_domain::Event::ContactsErased {
            import: "one".into(),
            contacts: vec![],
            reason: "asked to be forgotten".into(),
        };
        support::write(&mut script, support::DIALER, &erased);
        same_as_json(support::sealed(&script).path(), 2);
    }
}
