//! An explicit gap: by the ledger alone, from the frame that is missing on, once.

use asterism_proto::v1::{self, EventType};

use crate::record::StreamAt;
use crate::sequencer::{RefusedReason, Verdict};
use crate::testkit::{Script, event, opaque};

fn lost(origin: &str, epoch: u8, from: u64, to: u64) -> Vec<u8> {
    let body =
        v1::FramesLost { origin: origin.into(), epoch: vec![epoch; 16], from, to, reason: "gone".into() };
    event(EventType::FramesLost, &body)
}

#[test]
fn frames_are_lost_by_the_ledgers_word_and_the_log_goes_on_behind_them() {
    let mut script = Script::begin();
    script.write(3, vec![opaque(1, 10)]);
    let mut node = script.writers[3].clone();
    let frames: Vec<_> = (0..5).map(|i| node.frame(vec![opaque(i, 30)])).collect(); // 2 to 6
    let at = |sequence| StreamAt { sequence, time_ms: 1_700_000_001_000 };
    let verdict = script.sequencer.judge(&frames[3], at(80));
    assert_eq!(verdict, Verdict::Gap { origin: "node/n1".into(), expected: 2, got: 5 });

    let wrong = [
        (2, lost("node/n1", 99, 2, 4)),        // another epoch
        (2, lost("node/n1", 11, 1, 4)),        // it has frame 1
        (2, lost("node/n1", 11, 3, 4)),        // frame 2 is missing too
        (2, lost("node/n1", 11, 2, 1)),        // nothing
        (2, lost("node/n1", 11, 2, u64::MAX)), // no number would be left
        (2, lost("node/zz", 11, 1, 4)),
        (2, lost("role/ledger", 4, 3, 4)), // its own
    ];
    for (writer, event) in wrong {
        let bytes = script.writers[writer].clone().frame(vec![event]);
        let verdict = script.sequencer.clone().judge(&bytes, at(81));
        let refused = matches!(verdict, Verdict::Refused { reason: RefusedReason::Body { .. }, .. });
        assert!(refused, "{verdict:?}");
    }
    for writer in [0, 1, 3, 4] {
        let bytes = script.writers[writer].clone().frame(vec![lost("node/n1", 11, 2, 4)]);
        let verdict = script.sequencer.clone().judge(&bytes, at(81));
        let refused = matches!(
            verdict,
            Verdict::Refused { reason: RefusedReason::NotAllowed { .. }, .. } | Verdict::Gap { .. }
        );
        assert!(refused, "{writer}: {verdict:?}");
    }

    let before = script.sequencer.size();
    script.write(2, vec![lost("node/n1", 11, 2, 4)]);
    // Whoever holds what was lost forgets it: the next checkpoint's marks say so.
    let news = script.sequencer.marks_since(before);
    assert!(news.iter().any(|mark| mark.origin == "node/n1" && mark.number == 4));
    for late in &frames[..3] {
        assert_eq!(script.sequencer.judge(late, at(90)), Verdict::Duplicate, "found again, too late");
    }
    script.publish(frames[3].clone());
    script.publish(frames[4].clone());
    // A stored log is judged by the same rules.
    let mut again = crate::Sequencer::new(crate::testkit::FLEET, None);
    for frame in &script.accepted {
        let verdict = again.readmit(frame.to_stored(), crate::SignatureCheck::Check);
        assert!(matches!(verdict, Verdict::Accepted(_)));
    }
    assert_eq!(again.root(), script.sequencer.root());
}
