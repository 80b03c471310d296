//! Small files that matter: written whole, for their owner only, and synced with their folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::Error;

/// Creates a folder and those above it, for its owner only.
pub(crate) fn private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))
}

/// Writes a file its owner alone can read: beside its place first, then moved there, so that it is whole or absent.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, 0o600)
}

/// The same for a file anyone may read.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = Path::new(&name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(beside)
        .map_err(Error::file("create", beside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", beside))?;
    fs::rename(beside, path).map_err(Error::file("create", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", path))
}

/// Reads a secret from a file, without the line end.
pub(crate) fn read_secret(path: &Path) -> Result<String, Error> {
    const SECRET_MAX_BYTES: usize = 1024;
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.len() > SECRET_MAX_BYTES {
        return Err(Error::Config { what: "a secret's file", why: "empty or over 1 KiB".to_owned() });
    }
    Ok(text.to_owned())
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Start { what: "the random generator".to_owned(), why: error.to_string() })?;
    Ok(bytes)
}

/// The secret in the file, which is made with a random one if it is not there.
pub(crate) fn secret_or_new(path: &Path) -> Result<String, Error> {
    if !path.exists() {
        write_private(path, hex::encode(random::<24>()?).as_bytes())?;
    }
    read_secret(path)
}
