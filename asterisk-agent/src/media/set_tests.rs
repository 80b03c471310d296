//! Sets of any size: by their document, their bundle, and by asking for what is lacking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;

use asterism_domain::media::{ManifestDoc, PromptEntry};
use asterism_proto::hash::sha256;

use super::*;

/// A store of one set, and what it is asked for.
struct Shop {
    dir: tempfile::TempDir,
    asked: Mutex<Vec<usize>>,
    /// What it says instead, when it is asked.
    lie: Option<Lie>,
}

type Lie = fn(Vec<String>) -> Result<Vec<String>, String>;

impl Shop {
    fn open() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), asked: Mutex::default(), lie: None }
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.dir.path().join(name).display())
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    /// Publishes texts as sounds, as media-sync does, and the order for them.
    fn publish(&self, sounds: &[(String, &str, String)]) -> v1::SyncOrder {
        let entries = sounds.iter().map(|(name, language, text)| {
            self.put(&hex::encode(sha256(text.as_bytes())), text.as_bytes());
            PromptEntry {
                name: name.clone(),
                language: (*language).to_owned(),
                ext: "ulaw".to_owned(),
                sha256: hex::encode(sha256(text.as_bytes())),
                size_bytes: text.len() as u64,
                duration_ms: 1,
            }
        });
        let doc = ManifestDoc::new("set", entries.collect()).unwrap();
        let text_of: BTreeMap<String, &String> =
            sounds.iter().map(|(_, _, text)| (hex::encode(sha256(text.as_bytes())), text)).collect();
        let mut once = BTreeSet::new();
        let new = doc.entries.iter().filter(|entry| once.insert(&entry.sha256));
        let bundle: String = new.map(|entry| text_of[&entry.sha256].as_str()).collect();
        let manifest = doc.id().unwrap();
        self.put(&format!("{manifest}.json"), &doc.to_json().unwrap());
        self.put(&format!("{manifest}.bundle"), bundle.as_bytes());
        v1::SyncOrder {
            term: 1,
            document_url: self.url(&format!("{manifest}.json")),
            bundle_url: self.url(&format!("{manifest}.bundle")),
            manifest,
            ..v1::SyncOrder::default()
        }
    }

    fn asked(&self) -> Vec<usize> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Addresses for Shop {
    fn of<'a>(&'a self, _: &'a str, sounds: Vec<Hash>) -> BoxFuture<'a, Result<Vec<String>, String>> {
        self.asked.lock().unwrap().push(sounds.len());
        let urls = sounds.iter().map(|sound| self.url(&hex::encode(sound))).collect();
        Box::pin(async move { self.lie.map_or(Ok::<fn(_) -> _, _>(Ok), Ok).and_then(|say| say(urls)) })
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn texts(many: usize, language: &'static str) -> Vec<(String, &'static str, String)> {
    (0..many).map(|n| (format!("p{n}"), language, format!("{language} {n}"))).collect()
}

/// Ten thousand prompts with `ASTERISM_TEST_FULL=1`, else a tenth: each is a file, written, hashed and synced.
fn many() -> usize {
    if std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|full| full == "1") { 10_000 } else { 1_000 }
}

#[test]
fn ten_thousand_prompts_come_in_one_piece_and_of_the_next_set_only_what_is_new() {
    let (shop, node) = (Shop::open(), tempfile::tempdir().unwrap());
    let fetcher = Fetcher::new(node.path(), 0);
    let half = many() / 2;
    let mut sounds = [texts(half, "en"), texts(half, "de")].concat();
    let first = shop.publish(&sounds);
    assert_eq!(run(fetcher.fetch(first.clone(), &shop)).unwrap(), Fetched::Held);
    assert_eq!(shop.asked(), [0_usize; 0], "the bundle has them all");
    let of = |order: &v1::SyncOrder, path: &str| {
        let (language, file) = path.split_once('/').unwrap();
        node.path().join(language).join(&order.manifest).join(file)
    };
    let last = half - 1;
    assert_eq!(fs::read_to_string(of(&first, &format!("de/p{last}.ulaw"))).unwrap(), format!("de {last}"));

    // One is said anew, and one sound has a second name in another language.
    sounds[77].2 = "en 77 again".to_owned();
    sounds.pop();
    sounds.push(("same".to_owned(), "fr", "en 3".to_owned()));
    let second = shop.publish(&sounds);
    assert_eq!(run(fetcher.fetch(second.clone(), &shop)).unwrap(), Fetched::Held);
    assert_eq!(shop.asked(), [1]);
    assert_eq!(fs::read(of(&first, "en/p77.ulaw")).unwrap(), b"en 77", "calls that play the old one keep it");
    assert_eq!(fs::read(of(&second, "en/p77.ulaw")).unwrap(), b"en 77 again");
    assert_eq!(fs::read(of(&second, "fr/same.ulaw")).unwrap(), b"en 3");
    assert_eq!(
        fs::metadata(of(&second, "en/p3.ulaw")).unwrap().nlink(),
        3,
        "what was there is not there twice"
    );

    // Nothing is asked for twice, and nothing is fetched for what is held.
    fs::remove_dir_all(shop.dir.path()).unwrap();
    assert_eq!(run(fetcher.fetch(second.clone(), &shop)).unwrap(), Fetched::Held);
    let mut both = [first.manifest.clone(), second.manifest.clone()];
    both.sort();
    assert_eq!(held(node.path()).unwrap(), both);
    remove(node.path(), &first.manifest).unwrap();
    assert_eq!(held(node.path()).unwrap(), [second.manifest.as_str()]);
    assert!(!node.path().join("de").join(&first.manifest).exists());
    assert_eq!(fs::read(of(&second, "en/p3.ulaw")).unwrap(), b"en 3");
}

#[test]
fn a_bundle_that_is_not_the_set_is_made_up_for_sound_by_sound() {
    type Bend = fn(&mut Vec<u8>);
    let bends: [(Bend, &[usize]); 5] = [
        (|bytes| bytes[0] ^= 1, &[1]),
        (|bytes| bytes.truncate(bytes.len() - 1), &[1]),
        (|bytes| bytes.truncate(15), &[597]),
        (Vec::clear, &[600]),
        (|bytes| bytes.rotate_left(4), &[600]),
    ];
    for (number, (bend, wanted)) in bends.into_iter().enumerate() {
        let (shop, node) = (Shop::open(), tempfile::tempdir().unwrap());
        let order =
            shop.publish(&(1_000..1_600).map(|n| (format!("p{n}"), "en", n.to_string())).collect::<Vec<_>>());
        let path = order.bundle_url.strip_prefix("file://").unwrap().to_owned();
        let mut bytes = fs::read(&path).unwrap();
        bend(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let fetcher = Fetcher::new(node.path(), 0);
        assert_eq!(run(fetcher.fetch(order.clone(), &shop)).unwrap(), Fetched::Held, "{number}");
        assert_eq!(shop.asked().iter().sum::<usize>(), wanted.iter().sum::<usize>(), "{number}");
        assert_eq!(held(node.path()).unwrap(), [order.manifest], "{number}");
    }
}

#[test]
fn what_lies_about_a_set_leaves_nothing_behind() {
    let lies: [(Lie, &str); 4] = [
        (|_| Err("the bus is away".to_owned()), "the bus is away"),
        (|mut urls| Ok(urls.drain(1..).collect()), "too few addresses"),
        (|urls| Ok(urls.into_iter().rev().collect()), "not what the manifest says"),
        (
            |urls| Ok(urls.iter().map(|_| "file:///nonexistent".to_owned()).collect()),
            "cannot read its source",
        ),
    ];
    for (lie, why) in lies {
        let (mut shop, node) = (Shop::open(), tempfile::tempdir().unwrap());
        shop.lie = Some(lie);
        let mut order = shop.publish(&texts(10, "en"));
        order.bundle_url.clear();
        let error = run(Fetcher::new(node.path(), 0).fetch(order, &shop)).unwrap_err().to_string();
        assert!(error.starts_with("AST-A007") && error.contains(why), "{error}");
        let appeared = names(&node.path().join("en")).unwrap();
        assert!(appeared.iter().all(|name| name.starts_with(BESIDE)), "{why}: {appeared:?}");
        assert!(held(node.path()).unwrap().is_empty());
        assert_eq!(names(&node.path().join("en")).unwrap(), [""; 0], "{why}: swept at the next start");
    }
    // A document that is another one, or none.
    let (shop, node) = (Shop::open(), tempfile::tempdir().unwrap());
    let order = shop.publish(&texts(10, "en"));
    let other = shop.publish(&texts(11, "en"));
    for url in [other.document_url, shop.url("none"), String::new()] {
        let bent = v1::SyncOrder { document_url: url, ..order.clone() };
        assert!(run(Fetcher::new(node.path(), 0).fetch(bent, &shop)).is_err());
        assert!(held(node.path()).unwrap().is_empty());
    }
}

#[test]
fn a_changed_sound_of_another_set_is_not_linked() {
    let (shop, node) = (Shop::open(), tempfile::tempdir().unwrap());
    let fetcher = Fetcher::new(node.path(), 0);
    let mut sounds = texts(10, "en");
    let first = shop.publish(&sounds);
    run(fetcher.fetch(first.clone(), &shop)).unwrap();
    fs::write(node.path().join("en").join(&first.manifest).join("p4.ulaw"), "en X").unwrap();
    sounds.pop();
    let second = shop.publish(&sounds);
    run(fetcher.fetch(second.clone(), &shop)).unwrap();
    assert_eq!(shop.asked(), [1]);
    assert_eq!(held(node.path()).unwrap(), [second.manifest], "the damaged one lost its list");
}

#[test]
fn what_was_begun_is_swept_and_an_order_is_carried_out_once_at_a_time() {
    let (shop, node) = (Shop::open(), tempfile::tempdir().unwrap());
    fs::create_dir_all(node.path().join("en/.tmp-m9/menu")).unwrap();
    let (half, stock) = (node.path().join("en").join("0f".repeat(16)), node.path().join("en/digits"));
    for dir in [&half, &stock] {
        fs::create_dir_all(dir).unwrap();
    }
    assert!(held(node.path()).unwrap().is_empty());
    assert!(!node.path().join("en/.tmp-m9").exists());
    assert!(!half.exists() && stock.exists(), "what has no list is half of a manifest; the rest is not ours");
    let order = shop.publish(&texts(10, "en"));
    let fetcher = Fetcher::new(node.path(), 0);
    let both =
        run(async { tokio::join!(fetcher.fetch(order.clone(), &shop), fetcher.fetch(order.clone(), &shop)) });
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (Fetched::Held, Fetched::Busy));
    assert_eq!(run(fetcher.fetch(order, &shop)).unwrap(), Fetched::Held);
}
