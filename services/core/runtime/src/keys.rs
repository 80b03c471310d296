//! The key folder: the fleet's keys, frame 1 of the log, and the keys personal data is sealed under.
//!
//! ```text
//! fleet.nk  role-<role>.nk     nkey seeds, 0600
//! log-created.frame  anchor    frame 1 of the log and the hash every copy checks it against
//! numbers.key                  keys the hashes of numbers
//! import-<id>.key              seals the contacts of one import; erasing it erases them
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use asterism_proto::frame::FrameDraft;
use asterism_proto::hash::Hash;
use asterism_proto::v1::{self, EventType};
use asterism_proto::{OpenFrame, Origin, OriginKey, PublicKey, Role};
use prost::Message;

/// What can go wrong with the key folder.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file cannot be read or written.
    #[error("AST-K001: {path}: {error}; check the folder's owner, or run `asterism init` if it is new")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("AST-K002: {path} holds no {what}; restore it from a backup")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The folder belongs to another fleet.
    #[error("AST-K003: {path} belongs to fleet `{found}`, not `{wanted}`; use another keys_dir")]
    OtherFleet {
        /// The file.
        path: PathBuf,
        /// Its fleet.
        found: String,
        /// The configured one.
        wanted: String,
    },
    /// The random source failed.
    #[error("AST-K004: no randomness from the system")]
    Random,
}

/// An opened key folder.
#[derive(Clone, Debug)]
pub struct Keyring {
    dir: PathBuf,
    anchor: Hash,
    first_frame: Vec<u8>,
}

impl Keyring {
    /// Opens the folder of a fleet, creating keys and frame 1 if the folder has none.
    pub fn init(dir: &Path, fleet: &str, now_ms: u64) -> Result<Self, KeyringError> {
        if !dir.join("log-created.frame").exists() {
            create(dir, fleet, now_ms)?;
        }
        Self::open(dir, fleet)
    }

    /// Opens the folder of a fleet.
    pub fn open(dir: &Path, fleet: &str) -> Result<Self, KeyringError> {
        let path = dir.join("log-created.frame");
        let first_frame = read(&path)?;
        let content = |what| KeyringError::Content { path: path.clone(), what };
        let frame = OpenFrame::read(&first_frame).map_err(|_| content("signed frame"))?;
        if frame.header.fleet != fleet {
            let found = frame.header.fleet.clone();
            return Err(KeyringError::OtherFleet { path, found, wanted: fleet.to_owned() });
        }
        let anchor_path = dir.join("anchor");
        let text = read(&anchor_path)?;
        let anchor = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| hex::decode(text.trim()).ok())
            .and_then(|bytes| Hash::try_from(bytes).ok())
            .ok_or(KeyringError::Content { path: anchor_path, what: "hash of 64 hex digits" })?;
        Ok(Self { dir: dir.to_owned(), anchor, first_frame })
    }

    /// The trust anchor: header hash of frame 1.
    pub fn anchor(&self) -> Hash {
        self.anchor
    }

    /// Frame 1 of the log.
    pub fn first_frame(&self) -> &[u8] {
        &self.first_frame
    }

    /// The key that signs this log's checkpoints and their notices, as frame 1 names it.
    pub fn log_key(&self) -> Result<PublicKey, KeyringError> {
        let path = self.dir.join("log-created.frame");
        log_key(&self.first_frame, &self.anchor)
            .ok_or(KeyringError::Content { path, what: "log key under the anchor" })
    }

    /// A role's key.
    pub fn role(&self, role: Role) -> Result<OriginKey, KeyringError> {
        let path = self.dir.join(format!("role-{role}.nk"));
        let seed = read(&path)?;
        std::str::from_utf8(&seed)
            .ok()
            .and_then(|seed| OriginKey::from_seed(seed).ok())
            .ok_or(KeyringError::Content { path, what: "nkey user seed" })
    }

    /// The key of number hashes.
    pub fn numbers(&self) -> Result<[u8; 32], KeyringError> {
        self.secret("numbers.key")
    }

    /// The key of an import, made and synced if it is new.
    pub fn import(&self, import: &str, create: bool) -> Result<[u8; 32], KeyringError> {
        let name = format!("import-{import}.key");
        let path = self.dir.join(&name);
        if create && !path.exists() {
            write_secret(&path, hex::encode(random::<32>()?).as_bytes())?;
        }
        self.secret(&name)
    }

    /// Deletes the key of an import: overwritten, synced, unlinked, the folder synced. `false` if there is none. What
    /// keeps old blocks (backups, snapshots, some disks) is beyond it.
    pub fn erase_import(&self, import: &str) -> Result<bool, KeyringError> {
        let path = self.dir.join(format!("import-{import}.key"));
        let mut found = false;
        // A crash while the key was made may have left it under its first name.
        for path in [path.with_extension("new"), path] {
            let io = |error| KeyringError::Io { path: path.clone(), error };
            let mut file = match fs::OpenOptions::new().write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io(error)),
            };
            let length = file.metadata().map_err(io)?.len() as usize;
            file.write_all(&vec![b'0'; length]).and_then(|()| file.sync_all()).map_err(io)?;
            fs::remove_file(&path).map_err(io)?;
            found = true;
        }
        if found {
            let io = |error| KeyringError::Io { path: self.dir.clone(), error };
            fs::File::open(&self.dir).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(found)
    }

    fn secret(&self, name: &str) -> Result<[u8; 32], KeyringError> {
        let path = self.dir.join(name);
        let text = read(&path)?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| hex::decode(text.trim()).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(KeyringError::Content { path, what: "key of 64 hex digits" })
    }
}

/// The log key that frame 1 names, if it is the anchor's frame.
pub(crate) fn log_key(first_frame: &[u8], anchor: &Hash) -> Option<PublicKey> {
    let frame = OpenFrame::read(first_frame).ok().filter(|frame| frame.header_hash() == *anchor)?;
    let event = v1::Event::decode(frame.events.first()?).ok()?;
    let created = v1::LogCreated::decode(event.body.as_slice()).ok()?;
    PublicKey::from_bytes(&created.log_key).ok().filter(|_| event.r#type == EventType::LogCreated as u32)
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], KeyringError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyringError::Random)?;
    Ok(bytes)
}

fn create(dir: &Path, fleet: &str, now_ms: u64) -> Result<(), KeyringError> {
    fs::create_dir_all(dir).map_err(|error| KeyringError::Io { path: dir.to_owned(), error })?;
    let mut role_keys = Vec::new();
    let public = |role: Role| -> Result<Vec<u8>, KeyringError> {
        let name = if role == Role::Fleet { "fleet.nk".to_owned() } else { format!("role-{role}.nk") };
        let key = make_key(&dir.join(name))?;
        Ok(key.public().to_bytes().to_vec())
    };
    let fleet_key = public(Role::Fleet)?;
    let mut log_key = Vec::new();
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Fleet) {
        let public_key = public(role)?;
        if role == Role::Ledger {
            log_key.clone_from(&public_key);
        }
        role_keys.push(v1::RoleKey { role: role.name().to_owned(), public_key });
    }
    let numbers = dir.join("numbers.key");
    if !numbers.exists() {
        write_secret(&numbers, hex::encode(random::<32>()?).as_bytes())?;
    }
    let body =
        v1::LogCreated { fleet: fleet.to_owned(), fleet_key, log_key, role_keys, created_at_ms: now_ms };
    first_frame(dir, fleet, now_ms, &body)
}

fn first_frame(dir: &Path, fleet: &str, now_ms: u64, body: &v1::LogCreated) -> Result<(), KeyringError> {
    let event = v1::Event {
        r#type: EventType::LogCreated as u32,
        schema: 1,
        occurred_at_ms: now_ms,
        body: body.encode_to_vec(),
        ..v1::Event::default()
    }
    .encode_to_vec();
    let path = dir.join("log-created.frame");
    let key = make_key(&dir.join("fleet.nk"))?;
    let origin = Origin::Role(Role::Fleet);
    let draft =
        FrameDraft { fleet, origin: &origin, epoch: random::<16>()?, number: 1, term: 0, based_on: 0 };
    let content = |_| KeyringError::Content { path: path.clone(), what: "signed frame" };
    let bytes = draft.sign(&key, vec![event]).map_err(content)?;
    let frame = OpenFrame::read(&bytes).map_err(content)?;
    let anchor = frame.header_hash();
    write_secret(&dir.join("anchor"), hex::encode(anchor).as_bytes())?;
    write_secret(&path, &bytes)
}

/// The key in a file, made if there is none: a crash between two files of `create` changes no key.
fn make_key(path: &Path) -> Result<OriginKey, KeyringError> {
    let bad = || KeyringError::Content { path: path.to_owned(), what: "nkey user seed" };
    if path.exists() {
        let seed = read(path)?;
        let text = std::str::from_utf8(&seed).map_err(|_| bad())?;
        return OriginKey::from_seed(text).map_err(|_| bad());
    }
    let key = OriginKey::from_entropy(random()?);
    let seed = key.seed().map_err(|_| bad())?;
    write_secret(path, seed.as_bytes())?;
    Ok(key)
}

fn read(path: &Path) -> Result<Vec<u8>, KeyringError> {
    fs::read(path).map_err(|error| KeyringError::Io { path: path.to_owned(), error })
}

/// Writes a file only its owner can read: whole or not at all, synced with its folder.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), KeyringError> {
    let io = |error| KeyringError::Io { path: path.to_owned(), error };
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&temporary, path).map_err(io)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_opens_to_the_same_keys_and_refuses_another_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let made = Keyring::init(dir.path(), "one", 1).unwrap();
        let again = Keyring::init(dir.path(), "one", 2).unwrap();
        assert_eq!(made.anchor(), again.anchor());
        assert_eq!(made.first_frame(), again.first_frame());
        let key = made.role(Role::Dialer).unwrap().public();
        assert_eq!(key, again.role(Role::Dialer).unwrap().public());
        assert_eq!(made.log_key().unwrap(), made.role(Role::Ledger).unwrap().public());
        assert!(Keyring { anchor: [0; 32], ..made.clone() }.log_key().is_err(), "another log's anchor");
        assert!(matches!(Keyring::open(dir.path(), "two"), Err(KeyringError::OtherFleet { .. })));
        for entry in fs::read_dir(dir.path()).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn an_import_key_is_made_once_and_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keyring::init(dir.path(), "one", 1).unwrap();
        assert!(keys.import("a", false).is_err());
        let made = keys.import("a", true).unwrap();
        assert_eq!(keys.import("a", true).unwrap(), made);
        assert_ne!(keys.import("b", true).unwrap(), made);
    }

    #[test]
    fn an_erased_key_is_overwritten_before_it_is_unlinked_and_erasing_again_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keyring::init(dir.path(), "one", 1).unwrap();
        let key = hex::encode(keys.import("a", true).unwrap());
        let other = keys.import("ab", true).unwrap();
        let path = dir.path().join("import-a.key");
        // A second name for the same file shows what became of its bytes.
        fs::hard_link(&path, dir.path().join("link")).unwrap();
        fs::write(dir.path().join("import-a.new"), &key).unwrap();
        assert!(keys.erase_import("a").unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("link")).unwrap(), "0".repeat(64));
        assert!(!path.exists() && !dir.path().join("import-a.new").exists());
        assert!(keys.import("a", false).is_err());
        assert!(!keys.erase_import("a").unwrap());
        assert_eq!(keys.import("ab", false).unwrap(), other, "another import's key stays");
    }
}
