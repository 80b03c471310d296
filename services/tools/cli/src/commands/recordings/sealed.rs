//! Recordings that nodes have sealed: files of the age format, which any program of that format opens too.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use asterism_media_sync::records::RecordingLine;
use asterism_object_store::MAX_OBJECT_BYTES;
use asterism_proto::hash::sha256;
use serde_json::json;

use super::{Context, shown};
use crate::error::CliError;

/// How every file of the format begins.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// Largest file of identities that is read.
const IDENTITIES_MAX_BYTES: u64 = 64 * 1024;

/// Whether a recording is sealed.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// What its file is called.
pub(super) fn plain(line: &RecordingLine) -> String {
    format!("{}.wav", line.recording)
}

/// The same while it is sealed.
pub(super) fn closed(line: &RecordingLine) -> String {
    format!("{}.wav.age", line.recording)
}

/// Whether a recording was fetched before. The log has the hash of what the store has; of what was opened it is known that it
/// is as long as it says itself.
pub(super) fn is_there(folder: &Path, line: &RecordingLine, opens: bool) -> bool {
    let is = |bytes: &[u8]| hex::encode(sha256(bytes)) == line.sha256;
    let opened = |wav: &[u8]| {
        let said = wav.get(4..8).and_then(|size| Some(u32::from_le_bytes(size.try_into().ok()?)));
        let whole = said.is_some_and(|said| u64::from(said) + 8 == wav.len() as u64);
        wav.starts_with(b"RIFF") && whole && (wav.len() as u64) < line.size_bytes
    };
    let there = fs::read(folder.join(plain(line))).is_ok_and(|wav| is(&wav) || opens && opened(&wav));
    there || !opens && fs::read(folder.join(closed(line))).is_ok_and(|bytes| is(&bytes))
}

/// What opens recordings.
pub(super) struct Opener(Vec<Identity>);

impl Opener {
    /// Reads a file of identities: lines AGE-SECRET-KEY-1…, and comments.
    ///
    /// # Errors
    /// AST-U151 it cannot be read, or has none.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let failed = |why: String| {
            CliError::new("AST-U151", format!("{} opens no recording", shown(path)), why)
                .next("asterism recordings keygen FILE")
        };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(IDENTITIES_MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| failed(error.to_string()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = |line: &str| line.parse::<Identity>().map_err(|why| failed(why.to_owned()));
        let identities = lines.map(read).collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() {
            Err(failed("it has no line AGE-SECRET-KEY-1…".to_owned()))
        } else {
            Ok(Self(identities))
        }
    }

    /// What was said.
    ///
    /// # Errors
    /// AST-U152 it is sealed for somebody else, or is not whole.
    pub(super) fn open(&self, bytes: &[u8], recording: &str) -> Result<Vec<u8>, CliError> {
        let open = || -> Result<Vec<u8>, String> {
            let opened = age::Decryptor::new(bytes).map_err(|error| error.to_string())?;
            let identities = self.0.iter().map(|identity| identity as &dyn age::Identity);
            let opened = opened.decrypt(identities).map_err(|error| error.to_string())?;
            let mut plain = Vec::new();
            opened.take(MAX_OBJECT_BYTES).read_to_end(&mut plain).map_err(|error| error.to_string())?;
            Ok(plain)
        };
        open().map_err(|why| CliError::new("AST-U152", format!("recording {recording} is not opened"), why))
    }
}

/// Makes a key pair: the identity into a file of its owner's alone, the recipient to be shown.
pub(super) fn keygen(context: &Context, path: &Path) -> Result<(), CliError> {
    let identity = Identity::generate();
    let recipient = identity.to_public().to_string();
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "# recipient: {recipient}\n{}", identity.to_string().expose_secret())?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        let why = match error.kind() {
            ErrorKind::AlreadyExists => "it is there already, and what it opens would be lost".to_owned(),
            _ => error.to_string(),
        };
        CliError::new("AST-U153", format!("no key was made in {}", shown(path)), why)
    })?;
    let value = json!({ "identity": shown(path), "recipient": recipient });
    context.out.result(&value, || {
        format!(
            "{} opens what is sealed for\n{recipient}\nNodes seal with ASTERISM_RECORDINGS_RECIPIENT={recipient} in their agents' environment. \
             Without the file nobody can ever listen: keep a copy.\n",
            shown(path)
        )
    })
}
