//! Cutting sealed segments anew: where an archive ends inside a segment of this copy, what follows begins there.

use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use crate::error::Error;
use crate::merkle::Frontier;
use crate::sealed::{ContactsOf, Reader, SealedSegment, Writer};

/// Writes the events from `first` to the end of the segment that holds `first` into a sealed segment in `folder`, at most
/// about `events` of them.
/// `segments` follow one another from position 0, as a log's folder lists them; those before are read for their tree. The
/// file is the one a copy seals that indexes the same contacts, byte for byte.
///
/// # Errors
/// AST-L011 a segment is damaged, or none holds `first`, or no frame begins there.
pub fn recut(
    segments: &[(u64, u64, PathBuf)],
    first: u64,
    events: u64,
    folder: &Path,
    contacts: Option<ContactsOf>,
) -> Result<SealedSegment, Error> {
    let mut tree = Frontier::new();
    for (_, end, path) in segments {
        let mut reader = Reader::open(path)?;
        let anchor = reader.footer().anchor;
        let mut writer = None;
        while let Some(frame) = reader.next_frame()? {
            if let Some(writer) = writer.take_if(|_| tree.size() - first >= events) {
                return Writer::finish(writer, &anchor);
            }
            if tree.size() >= first {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    None if tree.size() == first => writer.insert(Writer::create(folder, &tree, contacts)?),
                    None => return Err(Error::damaged(path, first, "no frame begins there")),
                };
                writer.push(&frame)?;
            }
            frame.leaves.iter().for_each(|leaf| tree.push(*leaf));
        }
        if tree.size() != *end || tree.root() != reader.footer().root {
            return Err(Error::damaged(path, tree.size(), "its events do not have the root it names"));
        }
        if let Some(writer) = writer {
            return writer.finish(&anchor);
        }
    }
    Err(Error::damaged(folder, first, "no sealed segment holds that"))
}

/// The root of the log at a size at which a frame ends, from its sealed segments; `None` if they do not reach it, or no
/// frame ends there.
///
/// # Errors
/// AST-L011 a segment is damaged.
pub fn root_at(segments: &[(u64, u64, PathBuf)], size: u64) -> Result<Option<Hash>, Error> {
    let mut tree = Frontier::new();
    for (_, end, path) in segments {
        let mut reader = Reader::open(path)?;
        if size == *end {
            return Ok(Some(reader.footer().root));
        }
        while let Some(frame) = reader.next_frame()? {
            frame.leaves.iter().for_each(|leaf| tree.push(*leaf));
            if tree.size() >= size {
                return Ok((tree.size() == size).then(|| tree.root()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::copy::Copy;
    use crate::reader::LogFolder;
    use crate::testkit::{FLEET, Script};

    fn seal(folder: &Path, script: &Script, cuts: &[usize]) -> Vec<(u64, u64, PathBuf)> {
        let mut copy = Copy::open(folder, FLEET, None, |_| {}).unwrap().copy;
        for (index, frame) in script.accepted.iter().enumerate() {
            copy.append(frame).unwrap();
            if cuts.contains(&(index + 1)) {
                copy.seal().unwrap();
            }
        }
        copy.sealed().unwrap()
    }

    #[test]
    fn two_cuts_of_one_log_are_joined_into_the_same_log() {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::with_frames(60);
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        let short = seal(&one, &script, &[25]);
        let long = seal(&two, &script, &[10, 40, 60]);
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        std::fs::copy(&short[0].2, out.join(short[0].2.file_name().unwrap())).unwrap();
        let made = recut(&long, short[0].1, u64::MAX, &out, None).unwrap();
        assert_eq!((made.first, made.end), (short[0].1, long[1].1));
        std::fs::copy(&long[2].2, out.join(long[2].2.file_name().unwrap())).unwrap();
        let mut frames = LogFolder::open(&out, None).unwrap().frames();
        assert_eq!(frames.by_ref().map(Result::unwrap).count(), 60);
        let whole = LogFolder::open(&two, None).unwrap();
        let mut again = whole.frames();
        assert_eq!(again.by_ref().map(Result::unwrap).count(), 60);
        assert_eq!(frames.sequencer().root(), again.sequencer().root());
        let part = recut(&long, 0, 50, &dir.path().join("one"), None).unwrap();
        assert!(part.first == 0 && (50..100).contains(&part.end), "{}", part.end);
        let at = |index: usize| {
            let frame = &script.accepted[index];
            let mut sequencer = crate::Sequencer::new(FLEET, None);
            script.frames[..=index].iter().for_each(|(bytes, at)| drop(sequencer.judge(bytes, *at)));
            (frame.end(), Some(sequencer.root()))
        };
        for (size, root) in [at(9), at(20), at(59)] {
            assert_eq!(root_at(&long, size).unwrap(), root);
        }
        assert_eq!(root_at(&long, at(60).0).unwrap(), None, "not sealed");
        // A place inside a frame, and one behind the end.
        let inside = script.accepted.iter().find(|frame| frame.leaves.len() > 1 && frame.first > 5).unwrap();
        assert_eq!(root_at(&long, inside.first + 1).unwrap(), None);
        assert_eq!(recut(&long, inside.first + 1, 9, &out, None).unwrap_err().code(), "AST-L011");
        assert_eq!(recut(&long, long[2].1, 9, &out, None).unwrap_err().code(), "AST-L011");
    }
}
