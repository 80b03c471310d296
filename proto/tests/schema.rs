//! The schema may only grow: the `.proto` files against `proto/schema.txt`, the form that was agreed on.
//!
//! What stands in a log must be readable for ever, and a rolling update has two versions on the bus. So nothing of the
//! schema is ever removed, renamed, renumbered or given another type; new fields, messages and values are welcome.
//! `UPDATE_EXPECT=1 cargo test -p asterism-proto --test schema` writes a schema that has grown; it writes no other.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use protox::prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor,
};

/// What to do instead, at the end of every refusal.
const INSTEAD: &str = "\n\
    What was written by this schema must be readable for ever. Instead:\n\
    - a field that is no longer needed stays; stop reading it and say so in its comment;\n\
    - another type, label or name: add a new field with the next free number;\n\
    - another meaning of an event: raise its schema and add a step to asterism-domain's upcast.rs;\n\
    - another event: add a message and an EventType value with a number that was never used.";

/// Numbered things of one message or enum: number, then its name and what else must stay.
type Numbered = BTreeMap<i64, (String, String)>;

/// A schema as names and numbers.
#[derive(Debug, Clone, Default, PartialEq)]
struct Schema(BTreeMap<String, Numbered>);

impl Schema {
    fn compile(include: &Path) -> Self {
        let listing = std::fs::read_dir(include.join("asterism/v1")).unwrap();
        let files: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
        let set = protox::compile(files, [include]).unwrap();
        Self::of(&DescriptorPool::from_file_descriptor_set(set).unwrap())
    }

    /// One file of text, for the tests of the rules.
    fn parse_proto(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.proto"), format!("syntax = \"proto3\";\npackage t;\n{text}"))
            .unwrap();
        let set = protox::compile(["a.proto"], [folder.path()]).unwrap();
        Self::of(&DescriptorPool::from_file_descriptor_set(set).unwrap())
    }

    fn of(pool: &DescriptorPool) -> Self {
        let mut schema = Self::default();
        for message in pool.all_messages() {
            let fields = message.fields().map(|field| numbered(&message, &field)).collect();
            schema.0.insert(format!("message {}", message.full_name()), fields);
        }
        for kind in pool.all_enums() {
            schema.0.insert(format!("enum {}", kind.full_name()), values(&kind));
        }
        schema
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, numbered) in &self.0 {
            writeln!(text, "{name}").unwrap();
            for (number, (name, shape)) in numbered {
                writeln!(text, "{}", format!("  {number} {name} {shape}").trim_end()).unwrap();
            }
        }
        text
    }

    fn read(text: &str) -> Self {
        let mut schema = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(entry) = line.strip_prefix("  ") {
                let mut words = entry.splitn(3, ' ');
                let number = words.next().unwrap().parse().unwrap();
                let entry = (words.next().unwrap().to_owned(), words.next().unwrap_or_default().to_owned());
                schema.0.get_mut(&current).unwrap().insert(number, entry);
            } else {
                line.clone_into(&mut current);
                schema.0.insert(current.clone(), Numbered::new());
            }
        }
        schema
    }

    /// Every way in which `new` cannot read what this one wrote, or the other way round.
    fn broken_by(&self, new: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        for (thing, before) in &self.0 {
            match new.0.get(thing) {
                None => broken.push(format!("{thing} was removed or renamed")),
                Some(after) => {
                    broken.extend(before.iter().filter_map(|old| changed(thing, old, after)));
                }
            }
        }
        broken
    }
}

fn numbered(message: &MessageDescriptor, field: &FieldDescriptor) -> (i64, (String, String)) {
    let label = match (field.cardinality(), field.containing_oneof()) {
        (Cardinality::Repeated, _) if field.is_packed() => "repeated-packed".to_owned(),
        (Cardinality::Repeated, _) => "repeated".to_owned(),
        (_, Some(oneof)) => format!("oneof-{}", oneof.name()),
        _ => "singular".to_owned(),
    };
    assert!(!field.is_map(), "{}: a map has no order; use a repeated message", message.full_name());
    (i64::from(field.number()), (field.name().to_owned(), format!("{label} {:?}", field.kind())))
}

fn values(kind: &EnumDescriptor) -> Numbered {
    kind.values().map(|value| (i64::from(value.number()), (value.name().to_owned(), String::new()))).collect()
}

/// What became of one numbered thing, if that breaks anything.
fn changed(thing: &str, (number, old): (&i64, &(String, String)), after: &Numbered) -> Option<String> {
    let (name, shape) = old;
    let Some((new_name, new_shape)) = after.get(number) else {
        let moved = after.iter().find(|(_, (other, _))| other == name).map(|(at, _)| at);
        return Some(match moved {
            Some(at) => format!("{thing}: {name} had number {number}, now {at}"),
            None => format!("{thing}: {name} = {number} was removed"),
        });
    };
    if new_name != name {
        return Some(format!("{thing}: number {number} was {name}, now it is {new_name}"));
    }
    (new_shape != shape).then(|| format!("{thing}: {name} = {number} was `{shape}`, now it is `{new_shape}`"))
}

#[test]
fn the_schema_has_only_grown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = folder.join("schema.txt");
    let new = Schema::compile(folder);
    assert_eq!(Schema::read(&new.text()), new, "the text says all of it");
    let old = Schema::read(&std::fs::read_to_string(&golden).unwrap_or_default());
    let broken = old.broken_by(&new);
    assert!(broken.is_empty(), "the schema broke its word:\n- {}{INSTEAD}", broken.join("\n- "));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&golden, new.text()).unwrap();
    } else {
        assert!(
            old == new,
            "the schema has grown, which is fine: `UPDATE_EXPECT=1 cargo test -p asterism-proto --test schema` \
             writes proto/schema.txt anew; commit it"
        );
    }
}

const BEFORE: &str = "
    message A { string name = 1; uint32 size = 2; repeated bytes parts = 3; B b = 4; K kind = 5; }
    message B { uint64 x = 1; }
    enum K { NONE = 0; ONE = 1; TWO = 2; }";

fn verdict(from: &str, to: &str) -> Vec<String> {
    assert!(BEFORE.contains(from), "{from}");
    Schema::parse_proto(BEFORE).broken_by(&Schema::parse_proto(&BEFORE.replace(from, to)))
}

#[test]
fn what_grows_breaks_nothing() {
    assert_eq!(verdict("uint64 x = 1;", "uint64 x = 1; uint64 y = 7;"), [""; 0]);
    assert_eq!(verdict("TWO = 2;", "TWO = 2; THREE = 3;"), [""; 0]);
    assert_eq!(verdict("message B", "message C { B b = 1; }\n message B"), [""; 0]);
}

#[test]
fn each_way_to_break_it_is_refused_by_name() {
    let cases = [
        ("message B { uint64 x = 1; }", "message B { }", "message t.B: x = 1 was removed"),
        ("B b = 4; K kind = 5; }\n    message B", "K kind = 5; }\n    message B", "b = 4 was removed"),
        ("message B { uint64 x = 1; }", "message B { uint64 x = 2; }", "x had number 1, now 2"),
        ("uint32 size = 2;", "uint64 size = 2;", "was `singular uint32`, now it is `singular uint64`"),
        ("uint32 size = 2;", "sint32 size = 2;", "was `singular uint32`, now it is `singular sint32`"),
        ("string name = 1;", "bytes name = 1;", "was `singular string`, now it is `singular bytes`"),
        ("uint32 size = 2;", "repeated uint32 size = 2;", "now it is `repeated-packed uint32`"),
        ("repeated bytes parts = 3;", "bytes parts = 3;", "was `repeated bytes`, now it is `singular bytes`"),
        ("uint32 size = 2;", "optional uint32 size = 2;", "now it is `oneof-_size uint32`"),
        ("string name = 1;", "string title = 1;", "number 1 was name, now it is title"),
        ("string name = 1; uint32 size = 2;", "string size = 1; uint32 name = 2;", "number 2 was size"),
        ("B b = 4;", "A b = 4;", "was `singular t.B`, now it is `singular t.A`"),
        ("ONE = 1; ", "", "enum t.K: ONE = 1 was removed"),
        ("TWO = 2;", "TWO = 3;", "enum t.K: TWO had number 2, now 3"),
        ("TWO = 2;", "DEUX = 2;", "number 2 was TWO, now it is DEUX"),
    ];
    for (from, to, expected) in cases {
        let broken = verdict(from, to);
        assert!(broken.iter().any(|text| text.contains(expected)), "{from} -> {to}: {broken:?}");
    }
    let gone = Schema::parse_proto(BEFORE).broken_by(&Schema::parse_proto("enum K { NONE = 0; }"));
    assert!(gone.contains(&"message t.A was removed or renamed".to_owned()), "{gone:?}");
}
