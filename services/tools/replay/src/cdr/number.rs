//! Numbers behind their import's key. The log has them sealed; whoever has the key folder can open them, until a key is
//! erased.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use asterism_domain::ContactId;
use asterism_domain::campaign::Campaign;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::Deserialize;

use crate::Error;
use crate::cli::read_key;

/// Bytes of the nonce before what is sealed.
const NONCE_BYTES: usize = 24;

/// A fleet's key folder: `import-<id>.key` each.
pub struct Keys {
    folder: PathBuf,
    /// Keys read so far; `None` was erased.
    known: BTreeMap<String, Option<[u8; 32]>>,
}

/// What is sealed of a contact.
#[derive(Deserialize)]
pub(crate) struct Person {
    /// Canonical.
    pub(crate) number: String,
    /// Custom columns.
    pub(crate) fields: BTreeMap<String, String>,
}

impl Keys {
    /// The keys in a folder.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let bad = |why: String| Error::File { path: folder.to_owned(), why };
        let found = std::fs::metadata(folder).map_err(|error| bad(error.to_string()))?;
        if !found.is_dir() {
            return Err(bad("it is no folder of keys".into()));
        }
        Ok(Self { folder: folder.to_owned(), known: BTreeMap::new() })
    }

    fn path(&self, import: &str) -> PathBuf {
        self.folder.join(format!("import-{import}.key"))
    }

    fn key(&mut self, import: &str) -> Result<Option<[u8; 32]>, Error> {
        if let Some(known) = self.known.get(import) {
            return Ok(*known);
        }
        let path = self.path(import);
        let gone = std::fs::metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let key = if gone { None } else { Some(read_key(&path)?) };
        self.known.insert(import.to_owned(), key);
        Ok(key)
    }

    /// A contact's number; empty if it or its key was erased. A key that does not open it is an error.
    pub(crate) fn number(&mut self, campaign: &Campaign, contact: ContactId) -> Result<String, Error> {
        Ok(self.person(campaign, contact)?.map_or_else(String::new, |person| person.number))
    }

    /// What is sealed of a contact; none if it or its key was erased. A key that does not open it is an error.
    pub(crate) fn person(
        &mut self,
        campaign: &Campaign,
        contact: ContactId,
    ) -> Result<Option<Person>, Error> {
        let contact = campaign.contacts.get(contact as usize);
        let found =
            contact.and_then(|contact| Some((contact, campaign.imports.get(usize::from(contact.import))?)));
        let Some((contact, import)) = found else { return Ok(None) };
        if contact.erased {
            return Ok(None);
        }
        let Some(key) = self.key(import)? else { return Ok(None) };
        open(&key, import, &contact.sealed).map(Some).ok_or_else(|| Error::File {
            path: self.path(import),
            why: "it does not open the contacts of its import; it is another fleet's".into(),
        })
    }
}

/// XChaCha20-Poly1305, nonce first, bound to the import's id: as the services seal.
fn open(key: &[u8; 32], import: &str, sealed: &[u8]) -> Option<Person> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
    let payload = Payload { msg: rest, aad: import.as_bytes() };
    let plain = XChaCha20Poly1305::new(key.into()).decrypt(XNonce::from_slice(nonce), payload).ok()?;
    postcard::take_from_bytes(&plain).ok().map(|(person, _)| person)
}
