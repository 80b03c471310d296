//! A set of prompts for the benches of media: its sounds as files, the document and the bundle that nodes are sent to.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use asterism_domain::media::{ManifestDoc, PromptEntry};
use asterism_proto::hash::sha256;
use asterism_proto::v1::SyncOrder;

/// Sounds below this folder of the set's own are what a node has in the end, and what the other tools copy.
pub const PLAIN: &str = "plain";
/// Names of the manifest's document and the bundle beside it.
pub const DOCUMENT: &str = "document.json";
pub const BUNDLE: &str = "bundle";
const LANGUAGES: [&str; 2] = ["de", "en"];

/// A set whose files are on this disk.
pub struct Set {
    pub manifest: String,
    pub doc: ManifestDoc,
    pub bytes: u64,
}

/// Writes `prompts` prompts in two languages, of `lengths` bytes each, below `folder`. `salt` makes sounds differ between
/// sets; only those that `changed` names do.
pub fn write(
    folder: &Path,
    prompts: usize,
    lengths: std::ops::Range<u64>,
    changed: impl Fn(usize) -> u64,
) -> anyhow::Result<Set> {
    let mut entries = Vec::with_capacity(prompts);
    for number in 0..prompts {
        let language = LANGUAGES[number % LANGUAGES.len()];
        let name = format!("prompt-{:05}", number / LANGUAGES.len());
        let sound = noise(number as u64 | changed(number) << 32, &lengths);
        let dir = folder.join(PLAIN).join(language);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("{name}.ulaw")), &sound)?;
        entries.push(PromptEntry {
            name,
            language: language.to_owned(),
            ext: "ulaw".to_owned(),
            sha256: hex::encode(sha256(&sound)),
            size_bytes: sound.len() as u64,
            duration_ms: (sound.len() / 8) as u64,
        });
    }
    let doc = ManifestDoc::new("bench", entries)?;
    fs::write(folder.join(DOCUMENT), doc.to_json()?)?;
    let mut bundle = Vec::new();
    for entry in &doc.entries {
        bundle.extend(fs::read(folder.join(PLAIN).join(entry.path()))?);
    }
    ensure!(bundle.len() as u64 == doc.size_bytes(), "two prompts of the set have the same sound");
    fs::write(folder.join(BUNDLE), &bundle)?;
    Ok(Set { manifest: doc.id()?, bytes: bundle.len() as u64, doc })
}

impl Set {
    /// The order for it, with these addresses of document and bundle.
    pub fn order(&self, document_url: String, bundle_url: String) -> SyncOrder {
        SyncOrder {
            term: 1,
            manifest: self.manifest.clone(),
            document_url,
            bundle_url,
            keep: vec![self.manifest.clone()],
            ..SyncOrder::default()
        }
    }

    /// Whether `of(language, file)` is each sound as it was published.
    pub fn check(&self, from: &Path, of: impl Fn(&str, &str) -> std::path::PathBuf) -> anyhow::Result<()> {
        for entry in &self.doc.entries {
            let path = entry.path();
            let Some((language, file)) = path.split_once('/') else { anyhow::bail!("{path} is no sound") };
            let there = of(language, file);
            let same = fs::read(&there).is_ok_and(|bytes| {
                fs::read(from.join(PLAIN).join(&path)).is_ok_and(|published| published == bytes)
            });
            ensure!(same, "{} is not as it was published", there.display());
        }
        Ok(())
    }
}

/// Sound that no compression shortens: a fixed sequence for each seed.
fn noise(seed: u64, lengths: &std::ops::Range<u64>) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = lengths.start + next() % (lengths.end - lengths.start);
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length as usize).collect()
}
