//! What holds for every manifest and every text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn entry(name: &str, language: &str, ext: &str) -> PromptEntry {
    let sha256 = hex::encode(Sha256::digest(format!("{language}/{name}.{ext}")));
    let (name, language, ext) = (name.to_owned(), language.to_owned(), ext.to_owned());
    PromptEntry { name, language, ext, sha256, size_bytes: 8000, duration_ms: 1000 }
}

fn demo() -> ManifestDoc {
    ManifestDoc::new("demo", vec![entry("welcome", "en", "ulaw"), entry("bye", "en", "ulaw")]).unwrap()
}

fn refused(change: impl FnOnce(&mut ManifestDoc)) -> &'static str {
    let mut doc = demo();
    change(&mut doc);
    let code = doc.check().expect_err("refused").code();
    let bytes = serde_json::to_vec(&doc).unwrap();
    assert_eq!(ManifestDoc::parse(&bytes).expect_err("refused on reading too").code(), code);
    code
}

#[test]
fn the_canonical_text_and_its_id_never_change() {
    let one =
        ManifestDoc::new("demo", vec![PromptEntry { sha256: "0a".repeat(32), ..entry("bye", "en", "ulaw") }]);
    let text = String::from_utf8(one.as_ref().unwrap().to_json().unwrap()).unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"name":"demo","entries":[{{"name":"bye","language":"en","ext":"ulaw","sha256":"{}","size_bytes":8000,"duration_ms":1000}}]}}"#,
            "0a".repeat(32)
        )
    );
    assert_eq!(one.unwrap().id().unwrap(), "e3fa721f359025ffe7d06c620f1f8317");
}

#[test]
fn the_order_of_publishing_does_not_matter() {
    let other =
        ManifestDoc::new("demo", vec![entry("bye", "en", "ulaw"), entry("welcome", "en", "ulaw")]).unwrap();
    assert_eq!(other.id(), demo().id());
    assert_eq!(ManifestDoc::parse(&demo().to_json().unwrap()), Ok(demo()));
}

#[test]
fn another_spelling_of_the_same_manifest_is_refused() {
    let text = String::from_utf8(demo().to_json().unwrap()).unwrap();
    assert_eq!(ManifestDoc::parse(text.replace("\":", "\": ").as_bytes()), Err(Error::NotCanonical));
    assert_eq!(
        ManifestDoc::parse(text.replace("\"demo\"", "\"d\\u0065mo\"").as_bytes()),
        Err(Error::NotCanonical)
    );
    assert_eq!(refused(|doc| doc.entries.reverse()), "AST-M003");
    for bad in ["", "{", "[]", "{\"name\":\"demo\",\"entries\":[],\"extra\":1}"] {
        assert!(matches!(ManifestDoc::parse(bad.as_bytes()), Err(Error::Json { .. })), "{bad}");
    }
}

#[test]
fn what_could_harm_a_node_is_refused() {
    for name in ["", "..", "../x", "a/b", "Welcome", "a b", "a\u{0}", "ü", &"x".repeat(65)] {
        assert_eq!(refused(|doc| name.clone_into(&mut doc.entries[0].name)), "AST-M005", "{name:?}");
        assert_eq!(refused(|doc| name.clone_into(&mut doc.name)), "AST-M005", "{name:?}");
    }
    for language in ["", "e", "EN", "en_", "en/..", "en__GB", "..", "en_GB_and_much_more"] {
        assert_eq!(
            refused(|doc| language.clone_into(&mut doc.entries[0].language)),
            "AST-M006",
            "{language:?}"
        );
    }
    for ext in ["", "WAV", "pcm", "mp3", "ulaw/.."] {
        assert_eq!(refused(|doc| ext.clone_into(&mut doc.entries[0].ext)), "AST-M007", "{ext:?}");
    }
    for hash in [String::new(), "A".repeat(64), "a".repeat(63), "g".repeat(64)] {
        assert_eq!(refused(|doc| doc.entries[0].sha256.clone_from(&hash)), "AST-M008", "{hash:?}");
    }
}

#[test]
fn the_limits_hold_on_both_sides() {
    assert_eq!(refused(|doc| doc.entries[0].size_bytes = 0), "AST-M009");
    assert_eq!(refused(|doc| doc.entries[0].size_bytes = MAX_PROMPT_BYTES + 1), "AST-M009");
    assert_eq!(refused(|doc| doc.entries[0].duration_ms = 0), "AST-M010");
    assert_eq!(refused(|doc| doc.entries[0].duration_ms = MAX_DURATION_MS + 1), "AST-M010");
    assert_eq!(refused(|doc| doc.entries.clear()), "AST-M004");
    let many = |count: usize| (0..count).map(|n| entry(&format!("p{n}"), "en", "ulaw")).collect();
    assert!(ManifestDoc::new("many", many(MAX_ENTRIES)).unwrap().id().is_ok());
    assert_eq!(
        ManifestDoc::new("many", many(MAX_ENTRIES + 1)),
        Err(Error::EntryCount { count: MAX_ENTRIES + 1 })
    );
    assert!(matches!(
        ManifestDoc::parse(&vec![b' '; MAX_DOCUMENT_BYTES + 1]),
        Err(Error::DocumentTooLong { .. })
    ));
}

#[test]
fn one_file_is_named_once_whatever_the_case() {
    assert_eq!(refused(|doc| doc.entries[1] = doc.entries[0].clone()), "AST-M011");
    let twice = vec![entry("bye", "en_GB", "ulaw"), entry("bye", "en_gb", "ulaw")];
    assert_eq!(ManifestDoc::new("demo", twice), Err(Error::Twice { path: "en_gb/bye.ulaw".into() }));
    let formats = vec![entry("bye", "en", "ulaw"), entry("bye", "en", "alaw"), entry("bye", "de", "ulaw")];
    assert!(ManifestDoc::new("demo", formats).is_ok());
    assert_eq!(
        refused(|doc| {
            doc.entries[1].sha256 = doc.entries[0].sha256.clone();
            doc.entries[1].size_bytes += 1;
        }),
        "AST-M012"
    );
}

#[test]
fn a_manifest_tells_what_a_flow_lacks() {
    assert_eq!(demo().missing(["bye", "thanks", "welcome", "press-1-or-2"]), ["thanks", "press-1-or-2"]);
    assert_eq!(demo().size_bytes(), 16_000);
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(ManifestDoc::parse(&bytes).is_err());
    }

    #[test]
    fn a_damaged_manifest_is_refused_or_canonical(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = demo().to_json().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(doc) = ManifestDoc::parse(&bytes) {
            prop_assert_eq!(doc.to_json().unwrap(), bytes.clone());
            prop_assert_eq!(doc.id().unwrap(), manifest_id(&bytes));
        }
    }
}
