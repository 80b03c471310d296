//! Envelope encryption of recordings, where the fleet has a recipient: a file of the age format (age-encryption.org/v1), whose
//! own key is sealed for that recipient. The node has only the public half: what it has sent, and what it has sealed and not
//! sent yet, it cannot read itself.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use age::x25519::Recipient;

use super::{EXTENSION, path_of};
use crate::files;

/// Behind the name of a sealed recording.
pub(super) const SEALED: &str = ".wav.age";

/// A recipient as it is written: `age1…`.
///
/// # Errors
/// It is none.
pub fn recipient(text: &str) -> Result<Recipient, String> {
    text.parse().map_err(|why| format!("no recipient of the age format (age1…): {why}"))
}

fn sealed_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{SEALED}"))
}

/// Whether a recording is sealed.
pub(super) fn is_sealed(folder: &Path, name: &str) -> bool {
    sealed_path(folder, name).exists()
}

/// The file of a recording: sealed if it is, else as the PBX wrote it.
pub(super) fn file_of(folder: &Path, name: &str) -> PathBuf {
    let sealed = sealed_path(folder, name);
    if sealed.exists() { sealed } else { path_of(folder, name) }
}

/// Seals what the PBX wrote, if it is to be and is not yet. What was sealed before a crash stays as it is: the log may have
/// its hash already. Blocks.
pub(super) fn seal(folder: &Path, name: &str, recipient: Option<&Recipient>) -> io::Result<PathBuf> {
    let (plain, sealed) = (path_of(folder, name), sealed_path(folder, name));
    if !sealed.exists() {
        let Some(recipient) = recipient else { return Ok(plain) };
        let mut from = File::open(&plain)?;
        let part = folder.join(format!("{name}.part"));
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(recipient as _)).map_err(io::Error::other)?;
        let mut into = encryptor.wrap_output(File::create(&part)?)?;
        io::copy(&mut from, &mut into)?;
        into.finish()?.sync_all()?;
        fs::rename(&part, &sealed)?;
        files::sync_dir(folder).map_err(io::Error::other)?;
        asterism_nats::crash::point("recording.sealed");
    }
    remove(&plain)?;
    Ok(sealed)
}

/// Removes a recording in either form.
pub(super) fn remove_all(folder: &Path, name: &str) -> io::Result<()> {
    remove(&path_of(folder, name))?;
    remove(&sealed_path(folder, name))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The name of a recording's file without what is behind it; none if it is no recording.
pub(super) fn name_of(file: &str) -> Option<&str> {
    file.strip_suffix(SEALED).or_else(|| file.strip_suffix(EXTENSION))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;

    use age::x25519::Identity;

    use super::*;

    const NAME: &str = "c-0-1-2";

    #[test]
    fn what_is_sealed_opens_by_its_identity_alone_and_is_sealed_once() {
        let dir = tempfile::tempdir().unwrap();
        let (identity, folder) = (Identity::generate(), dir.path());
        fs::write(path_of(folder, NAME), b"what was said").unwrap();
        let to = recipient(&identity.to_public().to_string()).unwrap();
        let sealed = seal(folder, NAME, Some(&to)).unwrap();
        assert!(!path_of(folder, NAME).exists() && file_of(folder, NAME) == sealed);
        let bytes = fs::read(&sealed).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"was said"));
        let open = |identity: &Identity| {
            let decryptor = age::Decryptor::new(bytes.as_slice()).unwrap();
            let mut plain = Vec::new();
            decryptor.decrypt(std::iter::once(identity as _)).ok()?.read_to_end(&mut plain).unwrap();
            Some(plain)
        };
        assert_eq!(open(&identity).unwrap(), b"what was said");
        assert!(open(&Identity::generate()).is_none());
        // Whoever died behind it finds it as it is, and what the PBX wrote goes.
        fs::write(path_of(folder, NAME), b"what was said").unwrap();
        assert_eq!(seal(folder, NAME, Some(&to)).unwrap(), sealed);
        assert_eq!((fs::read(&sealed).unwrap(), path_of(folder, NAME).exists()), (bytes.clone(), false));
        assert_eq!(seal(folder, NAME, None).unwrap(), sealed, "also where nobody seals any more");
        remove_all(folder, NAME).unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }

    #[test]
    fn a_recipient_is_read_or_said_to_be_none() {
        for bad in ["", "age1", "AGE-SECRET-KEY-1QQQ", "ssh-ed25519 AAAA"] {
            assert!(recipient(bad).is_err(), "{bad}");
        }
        assert_eq!(["a.wav", "a.wav.age", "a.part", "a"].map(name_of), [Some("a"), Some("a"), None, None]);
    }
}
