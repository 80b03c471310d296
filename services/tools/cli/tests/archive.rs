//! `asterism archive` against what a real ledger has archived: list, fetch, verify, and everything that can be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use asterism_domain::Event;
use asterism_domain::wire::Envelope;
use asterism_ledger::LedgerConfig;
use asterism_proto::Role;
use asterism_runtime::commit::Term;
use asterism_runtime::testkit::{FLEET, Fixture, within};
use serde_json::Value;

/// What the program did.
#[derive(Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn ok(self) -> Value {
        assert_eq!(self.status, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or(Value::String(self.out))
    }

    fn code(self) -> String {
        assert_eq!(self.status, 1, "{self:?}");
        let error: Value = serde_json::from_str(self.err.lines().last().unwrap()).unwrap();
        error["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// A fleet whose ledger has archived three segments and ended.
struct Archived {
    fixture: Fixture,
    events: u64,
}

impl Archived {
    async fn make() -> Self {
        Self::make_of(1).await
    }

    /// With so many events in each of its sixty frames.
    async fn make_of(events: usize) -> Self {
        let fixture = Fixture::start().await;
        let deps = fixture.process("ledger").await;
        let archive = Some(format!("file://{}", fixture.dir.path().join("archive").display()));
        let config =
            LedgerConfig { checkpoint_every_ms: 200, archive, seal_every_ms: 100, ..LedgerConfig::default() };
        let ledger = tokio::spawn(asterism_ledger::run(config, deps.clone()));
        let key = deps.key(Role::Scaler).unwrap();
        let mut term = within("a term", Term::elect(&deps.log, Role::Scaler, &key, "test")).await.unwrap();
        let mut head = deps.log.head();
        for round in 0..3 {
            for frame in 0..20 {
                let intended = |event| Event::LaunchIntended {
                    intent: format!("{round}-{frame}-{event}"),
                    reason: "test".to_owned(),
                    instance_type: "sim".to_owned(),
                };
                let events: Vec<Event> = (0..events).map(intended).collect();
                within("a commit", term.commit(&events, &Envelope::default())).await.unwrap();
            }
            let size = deps.log.read(|state| state.size);
            within("the archive", async {
                while deps.log.read(|state| state.archived) < size {
                    head.changed().await.unwrap();
                }
            })
            .await;
        }
        deps.shutdown.request();
        within("the end", ledger).await.unwrap().unwrap();
        Self { events: deps.log.read(|state| state.archived), fixture }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.fixture.dir.path().join(name)
    }

    /// Runs the program with this fleet's keys; the archive is configured unless `archive` says otherwise.
    fn run(&self, args: &[&str], archive: Option<&Path>) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASTERISM_")) {
            command.env_remove(name);
        }
        let keys = format!("paths.keys_dir={}", self.path("keys").display());
        command.args(["--json", "--set", &format!("fleet={FLEET}"), "--set", &keys]);
        if let Some(archive) = archive {
            command.args(["--set", &format!("ledger.archive=file://{}", archive.display())]);
        }
        let output =
            command.args(args).current_dir(self.fixture.dir.path()).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn archive(&self, args: &[&str]) -> Ran {
        self.run(&[&["archive"], args].concat(), Some(&self.path("archive")))
    }

    /// The path of an object by its kind and its place among them.
    fn object(&self, kind: &str, nth: usize) -> PathBuf {
        let log = std::fs::read_dir(self.path("archive/log")).unwrap().next().unwrap().unwrap().path();
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(log.join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names.swap_remove(nth)
    }
}

#[tokio::test]
async fn what_was_archived_is_listed_fetched_and_verified_by_the_auditors_program() {
    let archived = Archived::make().await;
    let list = archived.archive(&["list"]).ok();
    let segments = list["segments"].as_array().unwrap();
    assert!(segments.len() >= 3);
    assert_eq!(segments.last().unwrap()["end"], archived.events);
    assert_eq!(
        (list["holes"].as_array().unwrap().len(), list["segments"][0]["first"].as_u64()),
        (0, Some(0))
    );
    let fetched = archived.archive(&["fetch", "copy"]).ok();
    assert_eq!((fetched["events"].as_u64(), fetched["kept"].as_u64()), (Some(archived.events), Some(0)));
    let anchor = hex::encode(archived.fixture.keyring.anchor());
    let verified = archived.run(&["replay", "verify", "copy", "--anchor", &anchor], None).ok();
    assert_eq!((&verified["root"], verified["events"].as_u64()), (&fetched["root"], Some(archived.events)));
    assert_eq!(archived.archive(&["verify"]).ok()["root"], fetched["root"]);

    // A fetch that broke off goes on: one file is missing, one was cut.
    let file = |nth: usize| {
        let (first, end) = (&segments[nth]["first"], &segments[nth]["end"]);
        let numbers = [first, end].map(|number| number.as_u64().unwrap());
        archived.path("copy").join(format!("segment-{:020}-{:020}.ast", numbers[0], numbers[1]))
    };
    std::fs::remove_file(file(1)).unwrap();
    let whole = std::fs::read(file(2)).unwrap();
    std::fs::write(file(2), &whole[..whole.len() / 2]).unwrap();
    let again = archived.archive(&["fetch", "copy"]).ok();
    assert_eq!(again["kept"].as_u64(), Some(segments.len() as u64 - 2));
    assert_eq!(std::fs::read(file(2)).unwrap(), whole);
    assert_eq!(archived.run(&["replay", "verify", "copy"], None).ok()["root"], fetched["root"]);
}

/// The archive has no tiles: they are derived, and what was fetched proves all that the ledger's own folder proves.
#[tokio::test]
async fn what_was_fetched_proves_every_event_and_the_growth_of_the_log_without_tiles() {
    // More than a tile is wide: hashes of whole tiles are in the next level's.
    let archived = Archived::make_of(20).await;
    archived.archive(&["fetch", "copy"]).ok();
    assert!(archived.path("log/ledger/tile/1").is_dir() && !archived.path("copy/tile").exists());
    let anchor = hex::encode(archived.fixture.keyring.anchor());
    let prove = |folder: &str, what: &[&str]| {
        let proof = format!("{}-{}.proof", folder.replace('/', "-"), what.join("-"));
        archived.run(&[&["replay", "prove", folder, "--out", &proof], what].concat(), None).ok();
        let proved = archived.run(&["replay", "check-proof", &proof, "--anchor", &anchor], None).ok();
        assert_eq!(proved["proof_ok"], true, "{proved}");
        std::fs::read_to_string(archived.path(&proof)).unwrap()
    };
    let list = archived.archive(&["list"]).ok();
    let ends: Vec<u64> =
        list["segments"].as_array().unwrap().iter().map(|one| one["end"].as_u64().unwrap()).collect();
    let has_checkpoint = |size: &u64| {
        let sizes = ["--consistency", &size.to_string(), &size.to_string()];
        archived.run(&[&["replay", "prove", "copy"], &sizes[..]].concat(), None).status == 0
    };
    let checkpoint_before =
        |end: u64| (1..end).rev().find(has_checkpoint).expect("a checkpoint in the segment").to_string();
    // Each seal is made behind a checkpoint; a frame may have come between the two.
    let newest = checkpoint_before(archived.events);
    let covered: u64 = newest.parse().unwrap();
    for position in ends.iter().map(|end| (end - 2).min(covered - 1)) {
        let (event, at) = (position.to_string(), ["--at", newest.as_str()]);
        let what = [&[event.as_str()][..], &at[..]].concat();
        assert_eq!(prove("copy", &what), prove("log/ledger", &what), "event {position}");
    }
    let old = checkpoint_before(ends[0]);
    let grown = ["--consistency", &old, &newest];
    assert_eq!(prove("copy", &grown), prove("log/ledger", &grown));
}

#[tokio::test]
async fn what_is_wrong_with_an_archive_is_said_with_its_code() {
    let archived = Archived::make().await;
    // None, an empty one, another log's.
    assert_eq!(archived.run(&["archive", "list"], None).code(), "AST-U100");
    assert_eq!(archived.run(&["archive", "list"], Some(&archived.path("nowhere"))).code(), "AST-U100");
    assert!(!archived.path("nowhere").exists(), "a look makes nothing");
    std::fs::create_dir(archived.path("empty")).unwrap();
    assert_eq!(archived.run(&["archive", "list"], Some(&archived.path("empty"))).code(), "AST-R071");
    let other = archived.path("other-keys");
    asterism_runtime::keys::Keyring::init(&other, FLEET, 1).unwrap();
    let keys = format!("paths.keys_dir={}", other.display());
    let (fleet, from) = (format!("fleet={FLEET}"), format!("file://{}", archived.path("archive").display()));
    for verb in ["list", "verify"] {
        // What is set behind the command stands for all that was set before it.
        let args = ["archive", verb, "--set", &fleet, "--set", &keys, "--from", &from];
        assert_eq!(archived.run(&args, None).code(), "AST-R073");
    }
    // A folder that is somebody else's.
    std::fs::create_dir(archived.path("mine")).unwrap();
    std::fs::write(archived.path("mine/notes.txt"), "mine").unwrap();
    assert_eq!(archived.archive(&["fetch", "mine"]).code(), "AST-U101");
    assert_eq!(std::fs::read(archived.path("mine/notes.txt")).unwrap(), b"mine");

    // A note that is gone, a segment that was bent, one that is missing.
    let note = archived.object("ck", 1);
    let text = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, text.replacen("asterism/", "asterisk/", 1)).unwrap();
    assert_eq!(archived.archive(&["verify"]).code(), "AST-R075");
    std::fs::write(&note, text).unwrap();
    let segment = archived.object("seg", 1);
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&segment, &bytes).unwrap();
    for args in [&["verify"][..], &["fetch", "bent"]] {
        assert_eq!(archived.archive(args).code(), "AST-R072");
    }
    bytes[middle] ^= 4;
    std::fs::write(&segment, &bytes).unwrap();
    archived.archive(&["verify"]).ok();
    std::fs::remove_file(archived.object("idx", 1)).unwrap();
    assert_eq!(archived.archive(&["list"]).ok()["holes"].as_array().unwrap().len(), 1);
    for args in [&["verify"][..], &["fetch", "holed"]] {
        assert_eq!(archived.archive(args).code(), "AST-R074");
    }
}
