//! The endpoints of the trunks, as the agent wrote them for Asterisk: the file is read as pjsip.conf would be.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

/// Largest file read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its trunk: its AOR's name up to the dot that numbers the places of one.
    pub(crate) trunk: String,
    /// The settings' revision.
    pub(crate) account_code: String,
}

/// All of them; none while there is no file.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(RwLock<Option<BTreeMap<String, Endpoint>>>);

impl Endpoints {
    pub(crate) fn read(path: Option<&Path>) -> Self {
        let endpoints = Self::default();
        endpoints.reload(path);
        endpoints
    }

    /// Reads the file again.
    pub(crate) fn reload(&self, path: Option<&Path>) {
        let fits = |path: &&Path| std::fs::metadata(path).is_ok_and(|about| about.len() <= FILE_MAX_BYTES);
        let text = path.filter(fits).and_then(|path| std::fs::read_to_string(path).ok());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = text.map(|text| parse(&text));
    }

    /// Whether a dial to it can begin.
    pub(crate) fn exists(&self, name: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_none_or(|known| known.contains_key(name))
    }

    /// The endpoint of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Endpoint> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(name).cloned()
    }
}

fn parse(text: &str) -> BTreeMap<String, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for section in text.split("\n[").map(|section| section.trim_start_matches('[')) {
        let Some((name, lines)) = section.split_once(']') else { continue };
        let value = |key: &str| {
            let pairs = lines.lines().filter_map(|line| line.split_once('='));
            pairs.into_iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
        };
        if value("type").as_deref() == Some("endpoint") {
            let (aors, account_code) =
                (value("aors").unwrap_or_default(), value("accountcode").unwrap_or_default());
            let trunk = aors.split([',', '.']).next().unwrap_or_default().to_owned();
            endpoints.insert(name.to_owned(), Endpoint { trunk, account_code });
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_their_trunk_and_revision() {
        let text = "\n[a]\ntype = aor\n\n[0f]\ntype = endpoint\naccountcode = r1\naors = a,a.1\n\n[a.1]\ntype = aor\n\n\
                    [0e]\ntype = endpoint\naccountcode = r1\naors = a.1,a\n[a]\ntype = identify\n";
        let read = parse(text);
        let one = Endpoint { trunk: "a".into(), account_code: "r1".into() };
        assert_eq!(read, [("0e".into(), one.clone()), ("0f".into(), one)].into());
        assert!(Endpoints::read(None).exists("anything"));
    }
}
