//! Feeding stored frames to a sequencer and to the caller when a copy is opened.
//!
//! Signatures cost most of it, so they are checked on a thread of their own, by batches, while the next frames are read
//! and judged. The caller gets a frame only once its signature was checked. Frames with events of the log's own (keys,
//! elections, checkpoints) are checked at once, since what they say decides about others.
//!
//! A frame its origin did not sign ends this pass, before anything was changed on the disk; another pass that checks each
//! frame where it stands then finds its place.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use asterism_proto::PublicKey;

use crate::error::Error;
use crate::record::{AcceptedFrame, StoredFrame};
use crate::replay::{check_end, check_start, readmit, readmit_later};
use crate::sealed;
use crate::sequencer::{RefusedReason, Sequencer};
use crate::steps::ahead;

/// Frames, and about the bytes of their events, of a batch.
const BATCH_FRAMES: usize = 128;
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches that may be under way: with the one that is filled and the largest frames, below 16 MiB.
const BATCHES: usize = 8;
/// A few signatures are not worth a thread.
const ALONE_MAX: usize = 16;

/// Frames that were judged, with the key of whoever must have signed; none if that was checked.
type Batch = Vec<(AcceptedFrame, Option<PublicKey>)>;

/// Index of the first frame that its origin did not sign.
fn first_forged(batch: &Batch) -> Option<usize> {
    batch.iter().position(|(frame, key)| key.is_some_and(|key| !frame.frame.signed_by(&key)))
}

/// The thread that checks signatures. Batches come back in order.
struct Checker {
    work: SyncSender<Batch>,
    done: Receiver<(Batch, Option<usize>)>,
    thread: JoinHandle<()>,
}

impl Checker {
    /// `None` if there is no thread to be had: then everything is checked here.
    fn start() -> Option<Self> {
        let (work, queue) = mpsc::sync_channel::<Batch>(BATCHES);
        let (done_in, done) = mpsc::sync_channel(BATCHES);
        let check = move || {
            for batch in queue {
                let forged = first_forged(&batch);
                if done_in.send((batch, forged)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-signatures".into()).spawn(check).ok()?;
        Some(Self { work, done, thread })
    }
}

/// See the module's text.
pub(super) struct Feeder<'a> {
    folder: PathBuf,
    pub(super) sequencer: Sequencer,
    on_frame: &'a mut dyn FnMut(&AcceptedFrame),
    /// Whether each signature is checked where its frame stands.
    strict: bool,
    /// Log size the caller has seen; a second pass hands out what follows.
    seen: u64,
    batch: Batch,
    batch_bytes: usize,
    checker: Option<Checker>,
    /// Batches the checker has.
    under_way: usize,
    forged: bool,
}

impl<'a> Feeder<'a> {
    /// Begins behind what the sequencer has judged. With `seen` the pass is the second one, and the caller has seen the
    /// log up to there.
    pub(super) fn new(
        folder: &Path,
        sequencer: Sequencer,
        on_frame: &'a mut dyn FnMut(&AcceptedFrame),
        seen: Option<u64>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            sequencer,
            on_frame,
            strict: seen.is_some(),
            seen: seen.unwrap_or(0),
            batch: Vec::new(),
            batch_bytes: 0,
            checker: None,
            under_way: 0,
            forged: false,
        }
    }

    /// What the caller has seen, if a frame was found that its origin did not sign.
    pub(super) fn forged_behind(&self) -> Option<u64> {
        self.forged.then_some(self.seen)
    }

    /// Replays one frame.
    pub(super) fn feed(&mut self, stored: StoredFrame) -> Result<(), Error> {
        if self.strict {
            let frame = readmit(&mut self.sequencer, &self.folder, stored)?;
            self.hand_out(&frame);
            return Ok(());
        }
        let (frame, unsigned) = readmit_later(&mut self.sequencer, &self.folder, stored)?;
        self.batch_bytes += frame.frame.events.bytes_len();
        self.batch.push((frame, unsigned));
        if self.batch.len() >= BATCH_FRAMES || self.batch_bytes >= BATCH_BYTES {
            self.check_batch()?;
            self.take_checked(BATCHES - 1)?;
        }
        Ok(())
    }

    fn hand_out(&mut self, frame: &AcceptedFrame) {
        if frame.first >= self.seen {
            self.seen = frame.end();
            (self.on_frame)(frame);
        }
    }

    /// Gives the batch to the checker; a small one with nothing before it is checked here.
    fn check_batch(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if self.checker.is_none() && batch.len() > ALONE_MAX {
            self.checker = Checker::start();
        }
        let batch = match &self.checker {
            Some(checker) => match checker.work.send(batch) {
                Ok(()) => {
                    self.under_way += 1;
                    return Ok(());
                }
                Err(mpsc::SendError(batch)) => batch,
            },
            None => batch,
        };
        let forged = first_forged(&batch);
        self.checked(&batch, forged)
    }

    /// Takes back what is checked, and waits until at most so many batches are under way.
    fn take_checked(&mut self, at_most: usize) -> Result<(), Error> {
        while self.under_way > 0
            && let Some(checker) = &self.checker
        {
            let next = if self.under_way > at_most {
                checker.done.recv().ok()
            } else {
                checker.done.try_recv().ok()
            };
            match next {
                Some((batch, forged)) => {
                    self.under_way -= 1;
                    self.checked(&batch, forged)?;
                }
                None if self.under_way > at_most => {
                    // Only a panic of the checker ends it.
                    let panic = self.checker.take().map(|checker| checker.thread.join());
                    if let Some(Err(panic)) = panic {
                        std::panic::resume_unwind(panic);
                    }
                    return Err(Error::Failed);
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn checked(&mut self, batch: &Batch, forged: Option<usize>) -> Result<(), Error> {
        for (frame, _) in batch.iter().take(forged.unwrap_or(batch.len())) {
            self.hand_out(frame);
        }
        if forged.is_none() {
            return Ok(());
        }
        self.forged = true;
        Err(Error::Rule { position: self.seen, why: RefusedReason::Signature.to_string() })
    }

    /// Waits until every frame so far is checked, and hands them out: before anything is repaired or removed, and at the
    /// end.
    pub(super) fn vouch(&mut self) -> Result<(), Error> {
        if self.forged {
            return Err(Error::Rule { position: self.seen, why: RefusedReason::Signature.to_string() });
        }
        self.check_batch()?;
        self.take_checked(0)
    }

    /// Replays a whole sealed segment and compares its root.
    pub(super) fn feed_sealed(&mut self, path: &Path) -> Result<(), Error> {
        let mut reader = sealed::Reader::open(path)?;
        check_start(&reader, &self.sequencer)?;
        let read = |each: &mut dyn FnMut(StoredFrame) -> Result<bool, Error>| {
            while let Some(frame) = reader.next_frame()? {
                if !each(frame)? {
                    break;
                }
            }
            Ok(())
        };
        ahead(read, |frame| self.feed(frame))?;
        check_end(&reader, &self.sequencer)
    }
}
