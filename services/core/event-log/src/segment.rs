//! Where the hot segment's blocks are kept: the trait and what its implementations share.

use std::path::Path;

use crate::error::Error;

/// Takes one stored block (its position and bytes); an error ends the scan.
pub type EachBlock<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'a;

/// The blocks of one hot segment, in order. Nothing is trusted on the way back: the caller checks every block.
pub trait SegmentStore: Send {
    /// Adds a block behind the last one. It is not durable yet.
    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), Error>;

    /// Makes everything appended durable, down to the disk.
    fn sync(&mut self) -> Result<(), Error>;

    /// Hands out all blocks in order, one at a time.
    fn scan(&mut self, each: &mut EachBlock<'_>) -> Result<(), Error>;

    /// Position of the last block.
    fn last(&mut self) -> Result<Option<u64>, Error>;

    /// Removes the blocks that begin at or after this position.
    fn truncate(&mut self, from: u64) -> Result<(), Error>;
}

/// Opens stores: sled by default, plain files as the control, a failing one in tests.
pub trait OpenStore: Send {
    /// Opens the store in a folder of its own, making it if it is not there.
    fn open(&self, folder: &Path) -> Result<Box<dyn SegmentStore>, Error>;
}

/// The backends there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// One sled database for each segment.
    #[default]
    Sled,
    /// One plain append-only file for each segment.
    File,
}

impl OpenStore for Backend {
    fn open(&self, folder: &Path) -> Result<Box<dyn SegmentStore>, Error> {
        Ok(match self {
            Self::Sled => Box::new(crate::sled_store::SledStore::open(folder)?),
            Self::File => Box::new(crate::file_store::FileStore::open(folder)?),
        })
    }
}
