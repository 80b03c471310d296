//! Sealed files: old ones are read, searches find what a scan finds and open little, tiles stand beside them.

use std::path::Path;

use asterism_proto::Role;
use asterism_proto::v1::{self, EventType};
use prost::Message;

use super::copy::{open, write};
use crate::merkle::Frontier;
use crate::proof;
use crate::reader::LogFolder;
use crate::record::AcceptedFrame;
use crate::sealed::{ContactsOf, Found, Key, Reader, no_contacts};
use crate::segment::Backend;
use crate::testkit::{Script, Writer};
use crate::tiles::{TileFolder, tile_path};

/// Contacts as the tests spell them: the event's actor, `campaign/number`.
fn contacts(event: &v1::Event, each: &mut dyn FnMut(&str, u64)) {
    if let Some((campaign, number)) = event.actor.split_once('/') {
        each(campaign, number.parse().unwrap());
    }
}

/// An event of contact `n`, on one of three nodes, in one of two campaigns; its body does not compress.
fn event(n: u64) -> Vec<u8> {
    let campaign = ["spring", "autumn"][(n % 2) as usize];
    let noise = |part: u64| asterism_proto::hash::sha256(&(n * 1_000 + part).to_be_bytes());
    v1::Event {
        r#type: EventType::AttemptEnded as u32,
        schema: 1,
        correlation: format!("{campaign}-{n}.1"),
        campaign: campaign.to_owned(),
        node: format!("n{}", n % 3 + 1),
        actor: format!("{campaign}/{n}"),
        body: (0..30).flat_map(noise).collect(),
        ..v1::Event::default()
    }
    .encode_to_vec()
}

/// 600 contacts of three events each, the third long after the others.
fn busy() -> Script {
    let mut script = Script::begin();
    for n in 0..1_200 {
        let mut events = vec![event(n / 2)];
        events.extend((n > 600).then(|| event(n - 600)));
        script.write(3 + (n % 3) as usize, events);
    }
    script
}

/// Seals a script in three files.
fn sealed(script: &Script, folder: &Path, contacts: Option<ContactsOf>) {
    let (mut opened, _) = open(folder, Backend::File);
    if let Some(contacts) = contacts {
        opened.copy.index_contacts(contacts);
    }
    let mut begin = 0;
    for end in [script.frames.len() / 3, script.frames.len() / 2, script.frames.len()] {
        write(&mut opened.copy, script, begin..end, 30);
        assert!(opened.copy.unsealed_bytes() > opened.copy.unsealed_events());
        let segment = opened.copy.seal().unwrap().unwrap();
        assert_eq!((opened.copy.unsealed_events(), opened.copy.unsealed_bytes()), (0, 0));
        let footer = *Reader::open(&segment.path).unwrap().footer();
        assert_eq!(footer.index.unwrap().contacts, contacts.is_some());
        begin = end;
    }
}

/// What a scan of everything finds.
fn scan(script: &Script, about: impl Fn(&v1::Event, &AcceptedFrame) -> bool) -> Vec<u64> {
    let holds = |frame: &&AcceptedFrame| {
        frame.frame.events.iter().any(|event| about(&v1::Event::decode(event).unwrap(), frame))
    };
    script.accepted.iter().filter(holds).map(|frame| frame.first).collect()
}

#[test]
fn a_search_finds_what_a_scan_finds_and_opens_only_what_it_must() {
    let script = busy();
    let folder = tempfile::tempdir().unwrap();
    sealed(&script, folder.path(), Some(contacts));
    let log = LogFolder::open(folder.path(), None).unwrap();
    let search = |key: Key| {
        let mut find = log.find(key, contacts);
        let found: Vec<Found> = find.by_ref().map(Result::unwrap).collect();
        for Found { first, frame } in &found {
            let written = script.accepted.iter().find(|frame| frame.first == *first).unwrap();
            assert_eq!(*frame, written.to_stored(), "at {first}");
        }
        (found.iter().map(|found| found.first).collect::<Vec<_>>(), find.chunks())
    };
    let all = search(Key::Campaign("spring".into())).1;
    assert!(all.0 >= 10 && all.0 >= all.1, "{all:?} chunks");
    let call = |n: u64| format!("{}-{n}.1", ["spring", "autumn"][(n % 2) as usize]);
    for n in [0, 1, 299, 450, 599] {
        let (found, (_, opened)) = search(Key::Call(call(n)));
        assert_eq!(found, scan(&script, |event, _| event.correlation == call(n)), "call {n}");
        assert!(
            found.len() >= 2 && opened <= 3,
            "call {n}: {opened} chunks opened for {} frames",
            found.len()
        );
        let campaign = ["spring", "autumn"][(n % 2) as usize].to_owned();
        let contact = search(Key::Contact { campaign, contact: n });
        assert_eq!((contact.0, contact.1.1), (found, opened), "contact {n}");
    }
    assert_eq!(search(Key::Node("n2".into())).0, scan(&script, |event, _| event.node == "n2"));
    assert_eq!(
        search(Key::Campaign("autumn".into())).0,
        scan(&script, |event, _| event.campaign == "autumn")
    );
    let origin = "role/scaler".to_owned();
    let (found, (_, opened)) = search(Key::Origin(origin.clone()));
    assert_eq!(found, scan(&script, |_, frame| frame.frame.header.origin == origin));
    assert_eq!(opened, 1, "the scaler wrote at the beginning only");
    let times: Vec<u64> = script.accepted.iter().map(|frame| frame.record_time_ms).collect();
    let (from_ms, to_ms) = (times[500], times[520]);
    let (found, (_, opened)) = search(Key::Time { from_ms, to_ms });
    assert_eq!(found, scan(&script, |_, frame| (from_ms..=to_ms).contains(&frame.record_time_ms)));
    assert!(found.len() == 21 && opened <= 2, "{} frames, {opened} chunks", found.len());
    for nothing in
        [Key::Call("spring-9999.1".into()), Key::Node("n9".into()), Key::Time { from_ms: 0, to_ms: 9 }]
    {
        assert_eq!(search(nothing).0, Vec::<u64>::new());
    }
}

#[test]
fn contacts_are_found_in_files_that_do_not_index_them() {
    let script = busy();
    let folder = tempfile::tempdir().unwrap();
    sealed(&script, folder.path(), None);
    let log = LogFolder::open(folder.path(), None).unwrap();
    let mut find = log.find(Key::Contact { campaign: "autumn".into(), contact: 451 }, contacts);
    let found: Vec<u64> = find.by_ref().map(|found| found.unwrap().first).collect();
    assert_eq!(found, scan(&script, |event, _| event.actor == "autumn/451"));
    let (chunks, opened) = find.chunks();
    assert!(found.len() > 1 && chunks == opened, "{opened} of {chunks}");
}

#[test]
fn a_bent_index_is_noticed_by_a_search_and_by_a_reader() {
    let script = busy();
    let folder = tempfile::tempdir().unwrap();
    sealed(&script, folder.path(), Some(contacts));
    let (_, _, path) = crate::sealed::list(folder.path()).unwrap().remove(1);
    let whole = std::fs::read(&path).unwrap();
    let index = Reader::open(&path).unwrap().footer().index.unwrap();
    for byte in (index.at..index.at + index.bytes).step_by(397) {
        let mut bent = whole.clone();
        bent[byte as usize] ^= 1;
        std::fs::write(&path, bent).unwrap();
        let log = LogFolder::open(folder.path(), None).unwrap();
        let searched = log.find(Key::Call("spring-300.1".into()), contacts).find_map(Result::err);
        assert_eq!(searched.unwrap().code(), "AST-L011", "byte {byte}");
        let read = log.frames().find_map(Result::err);
        assert_eq!(read.unwrap().code(), "AST-L011", "byte {byte}");
    }
}

#[test]
fn a_file_of_version_01_is_read_and_searched() {
    let hex: String = include_str!("golden-segment-01.hex").split_whitespace().collect();
    let folder = tempfile::tempdir().unwrap();
    let bytes = hex::decode(hex).unwrap();
    let part = folder.path().join("old");
    std::fs::write(&part, &bytes).unwrap();
    let footer = *Reader::open(&part).unwrap().footer();
    assert_eq!((footer.first, footer.index), (0, None));
    std::fs::rename(part, folder.path().join(crate::sealed::file_name(0, footer.end))).unwrap();
    let log = LogFolder::open(folder.path(), None).unwrap();
    let frames: Vec<AcceptedFrame> = log.frames().map(Result::unwrap).collect();
    assert_eq!((frames.len() as u64, frames.last().unwrap().end()), (footer.frames, footer.end));
    let origin = "node/n1".to_owned();
    let found: Vec<u64> =
        log.find(Key::Origin(origin.clone()), no_contacts).map(|found| found.unwrap().first).collect();
    let by_node = frames.iter().filter(|frame| frame.frame.header.origin == origin);
    assert_eq!(found, by_node.map(|frame| frame.first).collect::<Vec<_>>());
    assert!(!found.is_empty());
    // An owner goes on behind it, and its tiles begin with the old events.
    let (mut opened, replayed) = open(folder.path(), Backend::Sled);
    assert!(replayed == frames, "other frames");
    let mut scaler = Writer::new("role/scaler", 0);
    let mark = opened.sequencer.mark(&scaler.origin).unwrap();
    (scaler.term, scaler.number) = (opened.sequencer.term(Role::Scaler), mark.number);
    scaler.epoch = mark.epoch.try_into().unwrap();
    let at = crate::StreamAt { sequence: 999, time_ms: 1_800_000_000_000 };
    let bytes = scaler.frame(vec![crate::testkit::admitted("n9", 9)]);
    let crate::Verdict::Accepted(frame) = opened.sequencer.judge(&bytes, at) else { panic!("refused") };
    opened.copy.append(&frame).unwrap();
    opened.copy.seal().unwrap().unwrap();
    tiles_are_whole(folder.path(), opened.sequencer.tree());
}

/// The tiles give the log's root at its size.
fn tiles_are_whole(folder: &Path, tree: &Frontier) {
    let mut tiles = TileFolder::new(folder, tree.size());
    assert_eq!(proof::tree_root(&mut tiles, tree.size()).unwrap(), tree.root());
}

#[test]
fn a_seal_leaves_tiles_that_prove_its_events_and_writes_lost_ones_again() {
    let script = busy();
    let folder = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(folder.path(), Backend::File);
    let count = script.frames.len();
    for (step, end) in [count / 4, count / 2, count - 100, count].into_iter().enumerate() {
        let begin = [0, count / 4, count / 2, count - 100][step];
        write(&mut opened.copy, &script, begin..end, 30);
        match step {
            // Lost with all of their folder, then the one that is not full bent.
            2 => std::fs::remove_dir_all(folder.path().join("tile")).unwrap(),
            3 => {
                let size = script.accepted[begin - 1].end();
                let width = (size % 256) as usize;
                std::fs::write(folder.path().join(tile_path(0, size / 256, width)), vec![7; 32 * width])
                    .unwrap();
            }
            _ => {}
        }
        opened.copy.seal().unwrap().unwrap();
        let last = &script.accepted[end - 1];
        let mut tree = Frontier::new();
        script.accepted[..end].iter().flat_map(|frame| &frame.leaves).for_each(|leaf| tree.push(*leaf));
        assert_eq!(tree.size(), last.end());
        tiles_are_whole(folder.path(), &tree);
        let mut tiles = TileFolder::new(folder.path(), tree.size());
        for (position, leaf) in [(last.first, last.leaves[0]), (0, script.accepted[0].leaves[0])] {
            let path = proof::inclusion(&mut tiles, position, tree.size()).unwrap().unwrap();
            assert!(proof::check_inclusion(&leaf, position, tree.size(), &path, &tree.root()), "{position}");
        }
    }
}
