//! Where a store is: `file:///folder` or `s3://bucket/prefix?endpoint=...&region=...&key_file=...`.

use std::path::{Path, PathBuf};

use crate::{Error, name};

/// Longest address in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// A parsed store address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An absolute folder of this machine.
    Folder(PathBuf),
    /// A bucket.
    S3(S3Location),
}

/// A bucket, and how to reach it. Credentials never stand in an address; they come from a file it names, the environment
/// or the machine's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// What every object name is put behind: empty, or ending with `/`.
    pub prefix: String,
    /// The region; the environment decides when it is absent.
    pub region: Option<String>,
    /// Another server than Amazon's, spoken to with the bucket in the path.
    pub endpoint: Option<String>,
    /// The file with the key's id and secret, for servers that are not Amazon's: two words, readable by its owner alone.
    pub key_file: Option<PathBuf>,
}

impl Location {
    /// Understands an address or says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadUrl { url: url.chars().take(200).collect(), why: why.to_owned() };
        if url.len() > MAX_URL_BYTES {
            return Err(bad("it is longer than 2048 bytes"));
        }
        if let Some(path) = url.strip_prefix("file://") {
            let path = percent_decode(path).ok_or_else(|| bad("a percent escape is broken"))?;
            if !path.starts_with('/') || path.contains('\0') {
                return Err(bad("the folder is not absolute"));
            }
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        let Some(rest) = url.strip_prefix("s3://") else {
            return Err(bad("it starts with neither file:// nor s3://"));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if !is_bucket(bucket) {
            return Err(bad("the bucket's name is not 3-63 of a-z, 0-9, '.' and '-'"));
        }
        let prefix = prefix.trim_end_matches('/');
        name::check_prefix(prefix).map_err(|_| bad("the prefix is not a plain object name"))?;
        let mut at = S3Location {
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            region: None,
            endpoint: None,
            key_file: None,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad("a parameter has no value"))?;
            let value = percent_decode(value).ok_or_else(|| bad("a percent escape is broken"))?;
            if key == "key_file" {
                if !value.starts_with('/') || value.contains('\0') {
                    return Err(bad("the key file is not an absolute path"));
                }
                if at.key_file.replace(value.into()).is_some() {
                    return Err(bad("a parameter is given twice"));
                }
                continue;
            }
            let slot = match key {
                "region" if is_region(&value) => &mut at.region,
                "region" => return Err(bad("the region has characters outside a-z, 0-9 and '-'")),
                "endpoint" if is_endpoint(&value) => &mut at.endpoint,
                "endpoint" => return Err(bad("the endpoint is not an http:// or https:// address")),
                _ => return Err(bad("it has a parameter other than region, endpoint and key_file")),
            };
            if slot.replace(value).is_some() {
                return Err(bad("a parameter is given twice"));
            }
        }
        Ok(Self::S3(at))
    }
}

pub(crate) fn is_bucket(s: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (3..=63).contains(&s.len())
        && s.bytes().all(|b| plain(b) || b == b'.' || b == b'-')
        && s.bytes().next().is_some_and(plain)
        && s.bytes().last().is_some_and(plain)
}

fn is_region(s: &str) -> bool {
    (1..=32).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_endpoint(s: &str) -> bool {
    let host = s.strip_prefix("http://").or_else(|| s.strip_prefix("https://"));
    host.is_some_and(|h| {
        !h.is_empty()
            && h.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'?' | b'#' | b'"' | b'\\'))
    })
}

/// The `file://` address of an absolute path.
pub(crate) fn file_url(path: &Path) -> String {
    format!("file://{}", percent_encode(path))
}

/// A path as a part of an address.
pub fn percent_encode(path: &Path) -> String {
    let mut url = String::new();
    for &b in path.as_os_str().as_encoded_bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'~') {
            url.push(char::from(b));
        } else {
            url.push('%');
            url.push_str(&hex::encode_upper([b]));
        }
    }
    url
}

/// Undoes `%XX`; `None` when an escape is broken or the result is not UTF-8.
fn percent_decode(s: &str) -> Option<String> {
    let mut out = Vec::with_capacity(s.len());
    let mut rest = s.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            out.extend(hex::decode(digits).ok()?);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn understands_both_kinds() {
        assert_eq!(Location::parse("file:///var/a%20b").unwrap(), Location::Folder("/var/a b".into()));
        let s3 =
            "s3://media-1/fleet/a/?endpoint=http://127.0.0.1:5000&region=eu-west-1&key_file=/etc/a%20key";
        let s3 = Location::parse(s3).unwrap();
        assert_eq!(
            s3,
            Location::S3(S3Location {
                bucket: "media-1".into(),
                prefix: "fleet/a/".into(),
                region: Some("eu-west-1".into()),
                endpoint: Some("http://127.0.0.1:5000".into()),
                key_file: Some("/etc/a key".into()),
            })
        );
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for bad in [
            "",
            "/var/media",
            "file://relative",
            "file:///a%2",
            "http://x",
            "s3://",
            "s3://ab",
            "s3://Bucket",
            "s3://bucket/../x",
            "s3://bucket?color=red",
            "s3://bucket?region=a&region=b",
            "s3://bucket?endpoint=ftp://x",
            "s3://bucket?endpoint=http://user:pass@x",
            "s3://bucket?region",
            "s3://bucket?key_file=key",
            "s3://bucket?key_file=/a&key_file=/b",
        ] {
            assert_eq!(Location::parse(bad).expect_err(bad).code(), "AST-B002", "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(url in "(s3://|file://|)\\PC{0,100}") {
            let _ = Location::parse(&url);
        }

        #[test]
        fn a_folder_survives_its_address(path in "/\\PC{0,60}") {
            prop_assume!(!path.contains('\0'));
            let url = file_url(Path::new(&path));
            prop_assert_eq!(Location::parse(&url).unwrap(), Location::Folder(path.into()));
        }
    }
}
