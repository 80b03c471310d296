//! A segment as one plain file that only grows: blocks behind one another. The control of the sled store.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::block::{BLOCK_PREFIX_BYTES, block_first, block_length};
use crate::disk::{self, make_folder, sync_folder};
use crate::error::Error;
use crate::segment::{EachBlock, SegmentStore};

/// Name of the file in the segment's folder.
const FILE_NAME: &str = "blocks";

/// See the module's text.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: File,
    length: u64,
    last: Option<u64>,
}

impl FileStore {
    /// Opens or makes the file. Bytes behind the last whole block stay until [`SegmentStore::truncate`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        make_folder(folder)?;
        let path = folder.join(FILE_NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::io("opening the segment", &path, error))?;
        sync_folder(folder)?;
        let mut store = Self { path, file, length: 0, last: None };
        let (mut length, mut last) = (0, None);
        store.walk(&mut |first, block| {
            (length, last) = (length + block.len() as u64, Some(first));
            Ok(())
        })?;
        (store.length, store.last) = (length, last);
        Ok(store)
    }

    fn failed(&self, doing: &'static str, error: std::io::Error) -> Error {
        Error::io(doing, &self.path, error)
    }

    /// Whole blocks from the beginning; ends where the bytes are no longer those of a block.
    fn walk(&self, each: &mut EachBlock<'_>) -> Result<(), Error> {
        let reading = |error| self.failed("reading the segment", error);
        // The same open file: its folder may have been renamed. Writes seek before they write.
        let mut file = self.file.try_clone().map_err(reading)?;
        file.seek(SeekFrom::Start(0)).map_err(reading)?;
        let mut reader = BufReader::with_capacity(256 * 1024, file);
        let mut block = Vec::new();
        loop {
            let mut prefix = [0; BLOCK_PREFIX_BYTES];
            if !fill(&mut reader, &mut prefix).map_err(reading)? {
                return Ok(());
            }
            let Some(length) = block_length(&prefix) else { return Ok(()) };
            block.clear();
            block.extend_from_slice(&prefix);
            block.resize(length, 0);
            let Some(rest) = block.get_mut(BLOCK_PREFIX_BYTES..) else { return Ok(()) };
            if !fill(&mut reader, rest).map_err(reading)? {
                return Ok(());
            }
            let Some(first) = block_first(&block) else { return Ok(()) };
            each(first, &block)?;
        }
    }
}

/// Fills the buffer; `false` if the file ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl SegmentStore for FileStore {
    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), Error> {
        self.file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(block))
            .map_err(|error| self.failed("writing a block", error))?;
        self.length += block.len() as u64;
        self.last = Some(first);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        disk::sync_data(&self.file, &self.path).map_err(|error| self.failed("syncing the segment", error))
    }

    fn scan(&mut self, each: &mut EachBlock<'_>) -> Result<(), Error> {
        self.walk(each)
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.last)
    }

    fn truncate(&mut self, from: u64) -> Result<(), Error> {
        let (mut length, mut last, mut ended) = (0, None, false);
        self.walk(&mut |first, block| {
            ended |= first >= from;
            if !ended {
                (length, last) = (length + block.len() as u64, Some(first));
            }
            Ok(())
        })?;
        self.file
            .set_len(length)
            .and_then(|()| disk::sync_data(&self.file, &self.path))
            .map_err(|error| self.failed("cutting the segment", error))?;
        (self.length, self.last) = (length, last);
        Ok(())
    }
}
