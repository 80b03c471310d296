//! Objects as files of one folder.
//!
//! A write goes to `.tmp/` on the same file system, is synced, and then gets its name in one step: `rename` to
//! replace, `link` to create (which fails when the name exists). The folder that holds the name is synced before the
//! call returns, also when the object was there before: whoever is told "exists" may rely on it after a power cut.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;

use crate::location::file_url;
use crate::{
    Entry, Error, MAX_OBJECT_BYTES, MAX_PAGE_ENTRIES, ObjectMeta, ObjectName, ObjectStore, Page, PutResult,
    Upload, check_content, name,
};

/// Where half-written files live; no object name can start with a dot.
const TMP_DIR: &str = ".tmp";
/// A temporary file older than this belongs to a process that died.
const TMP_MAX_AGE: Duration = Duration::from_hours(1);
/// Most stale temporary files removed by one `open`.
const MAX_TMP_REMOVED: usize = 10_000;
/// Most files and folders directly in one folder that a listing sorts in memory.
const MAX_DIR_ENTRIES: usize = 1_000_000;
/// Folders remembered as already synced; beyond it the memory starts afresh.
const MAX_SYNCED_DIRS: usize = 4_096;

/// A store whose objects are the files below one folder. Cheap to clone; clones share nothing that matters.
#[derive(Debug, Clone)]
pub struct FolderStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    next_tmp: AtomicU64,
    synced_dirs: Mutex<HashSet<PathBuf>>,
}

impl FolderStore {
    /// Opens the folder (created when missing) and removes what dead writers left in its `.tmp`.
    pub async fn open(root: &Path) -> Result<Self, Error> {
        let root = root.to_owned();
        let inner = blocking(move || Inner::open(&root)).await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_if_absent(&self, name: &ObjectName, bytes: Bytes) -> Result<PutResult, Error> {
        let name = name.clone();
        self.run(move |inner| inner.create(&name, &bytes)).await
    }

    async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), Error> {
        let name = name.clone();
        self.run(move |inner| inner.replace(&name, &bytes)).await
    }

    async fn get(&self, name: &ObjectName, max_bytes: u64) -> Result<Bytes, Error> {
        let name = name.clone();
        self.run(move |inner| inner.read(&name, max_bytes)).await
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectMeta>, Error> {
        let name = name.clone();
        self.run(move |inner| inner.head(&name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>, limit: usize) -> Result<Page, Error> {
        name::check_prefix(prefix)?;
        let after = after.map_or(String::new(), |n| n.as_str().to_owned());
        let mut walk = Walk {
            prefix: prefix.to_owned(),
            after,
            limit: limit.clamp(1, MAX_PAGE_ENTRIES),
            found: Vec::new(),
            more: false,
        };
        self.run(move |inner| {
            walk.visit(&inner.root, "")?;
            let next = if walk.more { walk.found.last().map(|e| e.name.clone()) } else { None };
            Ok(Page { entries: walk.found, next })
        })
        .await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        let name = name.clone();
        self.run(move |inner| inner.delete(&name)).await
    }

    async fn fetch_url(&self, name: &ObjectName, _valid_for_s: u32) -> Result<String, Error> {
        Ok(file_url(&self.inner.path(name)))
    }

    async fn upload_url(
        &self,
        name: &ObjectName,
        _sha256: &[u8; 32],
        _valid_for_s: u32,
    ) -> Result<Upload, Error> {
        Ok(Upload { url: file_url(&self.inner.path(name)), headers: Vec::new() })
    }
}

impl Inner {
    fn open(root: &Path) -> Result<Self, Error> {
        let is_new = !root.exists();
        let tmp = root.join(TMP_DIR);
        fs::create_dir_all(&tmp).map_err(|e| at_path("creating", &tmp, e))?;
        let root = root.canonicalize().map_err(|e| at_path("opening", root, e))?;
        remove_stale(&tmp).map_err(|e| at_path("cleaning", &tmp, e))?;
        // The parent of a folder that was there may be closed to us, and is none of our business.
        if let Some(parent) = root.parent().filter(|_| is_new) {
            sync_dir(parent).map_err(|e| at_path("syncing", parent, e))?;
        }
        Ok(Self { root, next_tmp: AtomicU64::new(0), synced_dirs: Mutex::default() })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn create(&self, name: &ObjectName, bytes: &[u8]) -> Result<PutResult, Error> {
        check_content(name, bytes)?;
        let path = self.path(name);
        self.make_dirs(name, &path)?;
        if path.is_file() {
            self.sync_holder(name, &path)?;
            return Ok(PutResult::Exists);
        }
        let tmp = self.write_tmp(name, bytes)?;
        let result = match fs::hard_link(&tmp.0, &path) {
            Ok(()) => PutResult::Created,
            Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_file() => PutResult::Exists,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::NameTaken { name: name.clone() });
            }
            Err(e) => return Err(at_name("naming", name, e)),
        };
        self.sync_holder(name, &path)?;
        Ok(result)
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), Error> {
        check_content(name, bytes)?;
        let path = self.path(name);
        let tmp = self.write_tmp(name, bytes)?;
        self.make_dirs(name, &path)?;
        fs::rename(&tmp.0, &path).map_err(|e| at_name("naming", name, e))?;
        self.sync_holder(name, &path)
    }

    fn read(&self, name: &ObjectName, max_bytes: u64) -> Result<Bytes, Error> {
        let max_bytes = max_bytes.min(MAX_OBJECT_BYTES);
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Err(Error::NotFound { name: name.clone() }),
            Err(e) => return Err(at_name("opening", name, e)),
        };
        let meta = file.metadata().map_err(|e| at_name("reading", name, e))?;
        if !meta.is_file() {
            return Err(Error::NotFound { name: name.clone() });
        }
        let too_large = |size_bytes| Error::TooLarge { name: name.clone(), size_bytes, max_bytes };
        if meta.len() > max_bytes {
            return Err(too_large(meta.len()));
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        // A file that grows while it is read is no object of ours, but it must not eat the memory either.
        file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|e| at_name("reading", name, e))?;
        if bytes.len() as u64 > max_bytes {
            return Err(too_large(bytes.len() as u64));
        }
        check_content(name, &bytes)?;
        Ok(bytes.into())
    }

    fn head(&self, name: &ObjectName) -> Result<Option<ObjectMeta>, Error> {
        match fs::metadata(self.path(name)) {
            Ok(meta) if meta.is_file() => {
                let age =
                    meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                Ok(Some(ObjectMeta { size_bytes: meta.len(), modified_at_ms: age.as_millis() as u64 }))
            }
            Ok(_) => Ok(None),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(at_name("reading", name, e)),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        let path = self.path(name);
        if path.is_dir() {
            return Ok(()); // a folder is not an object, so there is nothing of this name
        }
        match fs::remove_file(&path) {
            Ok(()) => self.sync_holder(name, &path),
            Err(e) if is_absent(&e) => Ok(()),
            Err(e) => Err(at_name("deleting", name, e)),
        }
    }

    /// Writes and syncs the bytes under a name nobody else uses.
    fn write_tmp(&self, name: &ObjectName, bytes: &[u8]) -> Result<TmpFile, Error> {
        let turn = self.next_tmp.fetch_add(1, Ordering::Relaxed);
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = self.root.join(TMP_DIR).join(format!("{}-{now_ns}-{turn}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| at_name("creating a temporary file for", name, e))?;
        let tmp = TmpFile(path);
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| at_name("writing", name, e))?;
        Ok(tmp)
    }

    /// Makes the folders of a name. Each is synced into its parent once per process, whoever made it: the process
    /// that did may have died before it could.
    fn make_dirs(&self, name: &ObjectName, path: &Path) -> Result<(), Error> {
        let holder = path.parent().unwrap_or(&self.root);
        let relative = holder.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut dir = self.root.clone();
        for part in relative.components() {
            let parent = dir.clone();
            dir.push(part);
            match fs::create_dir(&dir) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    return Err(Error::NameTaken { name: name.clone() });
                }
                Err(e) => return Err(at_name("making a folder for", name, e)),
            }
            let known = self.synced_dirs.lock().unwrap_or_else(PoisonError::into_inner).contains(&dir);
            if !known {
                sync_dir(&parent).map_err(|e| at_path("syncing", &parent, e))?;
                let mut synced = self.synced_dirs.lock().unwrap_or_else(PoisonError::into_inner);
                if synced.len() >= MAX_SYNCED_DIRS {
                    synced.clear();
                }
                synced.insert(dir.clone());
            }
        }
        Ok(())
    }

    fn sync_holder(&self, name: &ObjectName, path: &Path) -> Result<(), Error> {
        let holder = path.parent().unwrap_or(&self.root);
        sync_dir(holder).map_err(|e| at_name("syncing the folder of", name, e))
    }
}

/// A temporary file, removed when dropped; after a rename there is nothing left to remove.
struct TmpFile(PathBuf);

impl Drop for TmpFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// One page being collected: a walk in byte order of the full names, which is S3's order too.
struct Walk {
    prefix: String,
    after: String,
    limit: usize,
    found: Vec<Entry>,
    more: bool,
}

impl Walk {
    /// Visits a folder whose objects' names start with `base`. Depth is bounded by the length of a name.
    fn visit(&mut self, dir: &Path, base: &str) -> Result<(), Error> {
        for (key, path, size_bytes) in sorted_entries(dir, base)? {
            if self.more {
                return Ok(());
            }
            let Some(size_bytes) = size_bytes else {
                let in_prefix = key.starts_with(&self.prefix) || self.prefix.starts_with(&key);
                let all_before = self.after > key && !self.after.starts_with(&key);
                if in_prefix && !all_before {
                    self.visit(&path, &key)?;
                }
                continue;
            };
            if !key.starts_with(&self.prefix) || key <= self.after {
                continue;
            }
            // A file no object name can have was put there by somebody else; it is not part of the store.
            let Ok(name) = ObjectName::new(key) else { continue };
            if self.found.len() == self.limit {
                self.more = true;
                return Ok(());
            }
            self.found.push(Entry { name, size_bytes });
        }
        Ok(())
    }
}

/// What stands directly in a folder: `(key, path, size)`, folders with a `/` at the end of the key and no size.
fn sorted_entries(dir: &Path, base: &str) -> Result<Vec<(String, PathBuf, Option<u64>)>, Error> {
    let mut entries = Vec::new();
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(e) if is_absent(&e) && !base.is_empty() => return Ok(entries),
        Err(e) => return Err(at_path("listing", dir, e)),
    };
    for entry in listing {
        let entry = entry.map_err(|e| at_path("listing", dir, e))?;
        let Ok(part) = entry.file_name().into_string() else { continue };
        if part.starts_with('.') {
            continue;
        }
        let meta = match fs::metadata(entry.path()) {
            Ok(meta) => meta,
            Err(e) if is_absent(&e) => continue, // deleted while we looked
            Err(e) => return Err(at_path("reading", &entry.path(), e)),
        };
        if meta.is_dir() {
            entries.push((format!("{base}{part}/"), entry.path(), None));
        } else if meta.is_file() {
            entries.push((format!("{base}{part}"), entry.path(), Some(meta.len())));
        }
        if entries.len() > MAX_DIR_ENTRIES {
            return Err(Error::TooMany {
                what: format!("entries in {}", dir.display()),
                max: MAX_DIR_ENTRIES,
            });
        }
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

fn remove_stale(tmp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(tmp)?.take(MAX_TMP_REMOVED) {
        let entry = entry?;
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_some_and(|a| a > TMP_MAX_AGE) {
            // Another process may be cleaning too; a file that is gone is what we wanted.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn at_name(action: &'static str, name: &ObjectName, e: io::Error) -> Error {
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full { name: name.clone() },
        ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::DirectoryNotEmpty => {
            Error::NameTaken { name: name.clone() }
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::Denied { what: format!("object {name}"), why: e.to_string() }
        }
        _ => Error::Io { action, what: name.to_string(), source: e },
    }
}

fn at_path(action: &'static str, path: &Path, e: io::Error) -> Error {
    match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::Denied { what: format!("folder {}", path.display()), why: e.to_string() }
        }
        _ => Error::Io { action, what: path.display().to_string(), source: e },
    }
}

/// File work blocks, so it runs on the blocking threads of the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Io {
            action: "running",
            what: "a file operation".to_owned(),
            source: io::Error::other(e),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_full_disk_and_a_closed_folder_have_their_own_codes() {
        let name = ObjectName::new("a/b").unwrap();
        let code = |kind: ErrorKind| at_name("writing", &name, kind.into()).code();
        assert_eq!(code(ErrorKind::StorageFull), "AST-B006");
        assert_eq!(code(ErrorKind::QuotaExceeded), "AST-B006");
        assert_eq!(code(ErrorKind::PermissionDenied), "AST-B007");
        assert_eq!(code(ErrorKind::ReadOnlyFilesystem), "AST-B007");
        assert_eq!(code(ErrorKind::Interrupted), "AST-B008");
    }

    #[test]
    fn only_old_temporary_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        drop(Inner::open(dir.path()).unwrap());
        let (old, young) = (dir.path().join(".tmp/old"), dir.path().join(".tmp/young"));
        fs::write(&young, b"x").unwrap();
        let file = File::create(&old).unwrap();
        file.set_modified(SystemTime::now() - 2 * TMP_MAX_AGE).unwrap();
        drop(Inner::open(dir.path()).unwrap());
        assert!(!old.exists());
        assert!(young.exists());
    }
}
