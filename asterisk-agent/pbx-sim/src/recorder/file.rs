//! The rings file: one line per ring, `unix_ms,attempt_id,number,node`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use asterism_agent::dialplan::is_channel_id;

use super::{MAX_LINE_BYTES, MAX_RINGS, is_node, is_number};
use crate::Error;

/// One line of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Ring {
    /// When the recorder took it, in ms since the Unix epoch.
    pub unix_ms: u64,
    /// The attempt.
    pub attempt_id: String,
    /// The number dialled.
    pub number: String,
    /// The node that dialled.
    pub node: String,
}

/// Shows everything but the number.
impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("unix_ms", &self.unix_ms)
            .field("attempt_id", &self.attempt_id)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Reads one line without its line end.
    pub fn parse(line: &str) -> Result<Self, Error> {
        let mut fields = line.split(',');
        let (Some(at), Some(id), Some(number), Some(node), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(Error::BadRing);
        };
        let unix_ms = at.parse().map_err(|_| Error::BadRing)?;
        if !(is_channel_id(id) && is_number(number) && is_node(node)) {
            return Err(Error::BadRing);
        }
        Ok(Self { unix_ms, attempt_id: id.into(), number: number.into(), node: node.into() })
    }

    /// The line with its line end.
    pub fn line(&self) -> String {
        format!("{},{},{},{}\n", self.unix_ms, self.attempt_id, self.number, self.node)
    }
}

/// What a rings file adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingCount {
    /// All rings.
    pub rings: u64,
    /// Distinct attempts among them.
    pub attempts: u64,
    /// Attempts that rang more than once.
    pub double_rings: u64,
}

/// Counts rings as they come.
#[derive(Default)]
pub(super) struct Counter {
    rings_of: HashMap<Box<str>, u32>,
    count: RingCount,
}

impl Counter {
    pub(super) fn add(&mut self, attempt_id: &str) {
        self.count.rings += 1;
        match self.rings_of.get_mut(attempt_id) {
            None => {
                self.rings_of.insert(attempt_id.into(), 1);
                self.count.attempts += 1;
            }
            Some(n) => {
                if *n == 1 {
                    self.count.double_rings += 1;
                }
                *n = n.saturating_add(1);
            }
        }
    }

    pub(super) fn count(&self) -> RingCount {
        self.count
    }
}

/// Reads a rings file line by line and counts; `each` sees every ring.
///
/// A last line without its line end was never answered `OK` and does not count. Errors: [`Error::File`] if it cannot
/// be read, [`Error::BadLine`] for a line that is no ring, [`Error::TooManyRings`] past [`MAX_RINGS`].
pub fn read_rings(path: &Path, mut each: impl FnMut(&Ring)) -> Result<RingCount, Error> {
    let file = File::open(path).map_err(|source| Error::file("open", path, source))?;
    let mut counter = Counter::default();
    scan(path, file, |ring| {
        counter.add(&ring.attempt_id);
        each(ring);
    })?;
    Ok(counter.count())
}

/// Reads whole lines; returns how many bytes they take.
fn scan(path: &Path, file: File, mut each: impl FnMut(&Ring)) -> Result<u64, Error> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let (mut line, mut bytes, mut number) = (Vec::with_capacity(MAX_LINE_BYTES), 0, 0);
    loop {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line);
        let read = read.map_err(|source| Error::file("read", path, source))?;
        if read == 0 {
            return Ok(bytes);
        }
        number += 1;
        if number > MAX_RINGS {
            return Err(Error::TooManyRings);
        }
        let bad = || Error::BadLine { path: path.to_owned(), line: number };
        let Some(text) = line.strip_suffix(b"\n") else {
            // Either the torn end of the file or a line that is too long.
            return if line.len() > MAX_LINE_BYTES { Err(bad()) } else { Ok(bytes) };
        };
        let text = std::str::from_utf8(text).map_err(|_| bad())?;
        each(&Ring::parse(text).map_err(|_| bad())?);
        bytes += read as u64;
    }
}

/// The file as its one writer sees it: appended and synced in groups, cut back where a write failed half way.
pub(super) struct RingsFile {
    path: PathBuf,
    file: File,
    /// Bytes known to be whole lines.
    good_bytes: u64,
    pub(super) counter: Counter,
}

impl RingsFile {
    /// Opens or creates the file, counts what it holds, and cuts a torn last line off.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |what| move |source| Error::file(what, path, source);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("open"))?;
        file.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
        let mut counter = Counter::default();
        let reader = file.try_clone().map_err(failed("open"))?;
        let good_bytes = scan(path, reader, |ring| counter.add(&ring.attempt_id))?;
        file.set_len(good_bytes).map_err(failed("cut"))?;
        file.sync_all().map_err(failed("sync"))?;
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // The file's own name must survive too.
            File::open(folder).and_then(|f| f.sync_all()).map_err(failed("sync the folder of"))?;
        }
        Ok(Self { path: path.to_owned(), file, good_bytes, counter })
    }

    /// Appends these rings and syncs once. On an error none of them counts.
    pub(super) fn append(&mut self, rings: &[Ring]) -> Result<(), Error> {
        if self.counter.count().rings + rings.len() as u64 > MAX_RINGS {
            return Err(Error::TooManyRings);
        }
        let mut text = String::with_capacity(rings.len() * 64);
        for ring in rings {
            text.push_str(&ring.line());
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Nothing of the group was answered, so nothing of it may stay.
            let cut = self.file.set_len(self.good_bytes);
            tracing::error!(cut = cut.is_ok(), "rings file could not be written");
            return Err(Error::file("write", &self.path, source));
        }
        self.good_bytes += text.len() as u64;
        for ring in rings {
            self.counter.add(&ring.attempt_id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn ring(id: &str) -> Ring {
        Ring { unix_ms: 1, attempt_id: id.into(), number: "+15550100123".into(), node: "n1".into() }
    }

    #[test]
    fn a_restart_appends_and_cuts_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rings.csv");
        RingsFile::open(&path).unwrap().append(&[ring("a"), ring("b"), ring("a"), ring("a")]).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"17,c,+1555").unwrap();
        let expected = RingCount { rings: 4, attempts: 2, double_rings: 1 };
        assert_eq!(read_rings(&path, |_| {}).unwrap(), expected);

        let mut file = RingsFile::open(&path).unwrap();
        assert_eq!(file.counter.count(), expected);
        file.append(&[ring("b")]).unwrap();
        let mut ids = Vec::new();
        let count = read_rings(&path, |r| ids.push(r.attempt_id.clone())).unwrap();
        assert_eq!(count, RingCount { rings: 5, attempts: 2, double_rings: 2 });
        assert_eq!(ids, ["a", "b", "a", "a", "b"]);
    }

    #[test]
    fn a_line_that_is_no_ring_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rings.csv");
        for bad in ["1,a,5,n,x\n", "x,a,5,n\n", "1,a b,5,n\n", &format!("1,{},5,n\n", "a".repeat(400))] {
            std::fs::write(&path, format!("{}{bad}", ring("a").line())).unwrap();
            assert!(matches!(read_rings(&path, |_| {}), Err(Error::BadLine { line: 2, .. })), "{bad}");
            assert!(matches!(RingsFile::open(&path), Err(Error::BadLine { line: 2, .. })), "{bad}");
        }
        assert!(matches!(read_rings(&folder.path().join("none"), |_| {}), Err(Error::File { .. })));
    }

    proptest! {
        #[test]
        fn rings_round_trip(unix_ms in any::<u64>(), id in "[A-Za-z0-9._-]{1,149}", number in "\\+?[0-9]{1,15}", node in "[a-z0-9-]{1,64}") {
            let ring = Ring { unix_ms, attempt_id: id, number, node };
            let line = ring.line();
            prop_assert!(line.len() <= MAX_LINE_BYTES);
            prop_assert_eq!(Ring::parse(line.trim_end()).unwrap(), ring);
        }

        #[test]
        fn arbitrary_lines_never_panic(line in ".{0,80}") {
            let _ = Ring::parse(&line);
        }
    }
}
