//! The key of an S3 server in a file: id and secret, for its owner alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::Error;

/// Longest key file in bytes.
const MAX_KEY_FILE_BYTES: u64 = 1_024;

/// Who signs.
pub(crate) struct Key {
    pub id: String,
    pub secret: String,
}

/// Reads a key file. What is in it is in no error.
pub(crate) async fn read(path: &Path) -> Result<Key, Error> {
    let bad = |why: String| Error::KeyFile { path: path.display().to_string(), why };
    let about = tokio::fs::metadata(path).await.map_err(|error| bad(error.to_string()))?;
    if !about.is_file() || about.len() > MAX_KEY_FILE_BYTES {
        return Err(bad(format!("it is no file of at most {MAX_KEY_FILE_BYTES} bytes")));
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err(bad("others can read it: chmod 600".to_owned()));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| bad(error.to_string()))?;
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [id, secret] => Ok(Key { id: id.to_owned(), secret: secret.to_owned() }),
        _ => Err(bad("it does not hold two words, the key's id and its secret".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_key_is_two_words_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("some-id some-secret\n", 0o600);
        let key = read(&path).await.unwrap();
        assert_eq!((key.id.as_str(), key.secret.as_str()), ("some-id", "some-secret"));
        for (text, mode, why) in [
            ("some-id some-secret", 0o640, "chmod 600"),
            ("some-secret", 0o600, "two words"),
            ("some-id some-secret 3", 0o600, "two words"),
            (&"x".repeat(1_025), 0o600, "at most 1024 bytes"),
        ] {
            write(text, mode);
            let said = read(&path).await.err().expect(why).to_string();
            assert!(said.starts_with("AST-B014: ") && said.contains(why), "{said}");
            assert!(!said.contains("some-"), "{said} shows the key");
        }
        let said = read(&dir.path().join("none")).await.err().unwrap().to_string();
        assert!(said.contains("No such file"), "{said}");
    }
}
