//! Digest credentials of carriers: a file of this node, or its environment.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::Error;

/// Largest file, in bytes.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// User and password by name. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    named: BTreeMap<String, (String, String)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.named.keys()).finish()
    }
}

impl Credentials {
    /// Reads a file of lines `NAME USER PASSWORD`, which only its owner may be able to read.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let bad = |why: String| Error::Config { what: "--trunk-credentials-file", why };
        let about = std::fs::metadata(path).map_err(Error::file("read", path))?;
        if about.permissions().mode() & 0o077 != 0 {
            return Err(bad(format!("others can read it: chmod 600 {}", path.display())));
        }
        if about.len() > FILE_MAX_BYTES {
            return Err(bad("over 64 KiB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        Self::parse(&text).map_err(bad)
    }

    /// The lines of a file. The error names the line, never what stands in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, user, password] = words.as_slice() else {
                return Err(format!("line {number}: expected NAME USER PASSWORD"));
            };
            if ![name, user, password].into_iter().all(|word| is_plain(word)) {
                return Err(format!("line {number}: a word is longer than 128 or has one of ;\\\"[] in it"));
            }
            if named.insert((*name).to_owned(), ((*user).to_owned(), (*password).to_owned())).is_some() {
                return Err(format!("line {number}: the name is there twice"));
            }
        }
        Ok(Self { named })
    }

    /// User and password of this name: of the file, else of `ASTERISM_TRUNK_NAME_USER` and `_PASSWORD`.
    pub fn get(&self, name: &str) -> Option<(String, String)> {
        let variable = |what: &str| {
            let name = name.to_ascii_uppercase().replace('-', "_");
            std::env::var(format!("ASTERISM_TRUNK_{name}_{what}")).ok().filter(|value| is_plain(value))
        };
        self.named.get(name).cloned().or_else(|| Some((variable("USER")?, variable("PASSWORD")?)))
    }
}

/// What can stand at the end of a line of pjsip.conf and is nothing else.
fn is_plain(word: &str) -> bool {
    (1..=128).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_graphic() && !b";\\\"[]".contains(&byte))
        && !word.starts_with(['>', '='])
}
