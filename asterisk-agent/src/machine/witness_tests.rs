//! Histories, honest and not, as a node is told them.
#![allow(clippy::unwrap_used)]

use asterism_proto::hash::{Hash, leaf_hash, tree_root};
use asterism_proto::v1;
use proptest::prelude::*;

use super::*;

const LOG: &str = "asterism/f-0011/log";

/// A log as its leaves.
#[derive(Clone)]
struct Tree(Vec<Hash>);

impl Tree {
    fn grow(&mut self, leaves: u64, seed: u64) {
        for _ in 0..leaves {
            let next = [self.0.len() as u64, seed].map(u64::to_be_bytes).concat();
            self.0.push(leaf_hash(&[&next]));
        }
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn root(&self, size: u64) -> Hash {
        tree_root(&self.0[..size as usize])
    }

    /// `PROOF(m, D_n)` word for word from RFC 9162, 2.1.4.1.
    fn proof(&self, from: u64, to: u64) -> Vec<Vec<u8>> {
        fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
            let n = leaves.len();
            if m == n {
                return if whole { vec![] } else { vec![tree_root(leaves)] };
            }
            let k = n.next_power_of_two() / 2;
            let (left, right) = leaves.split_at(k);
            if m <= k {
                [subproof(m, left, whole), vec![tree_root(right)]].concat()
            } else {
                [subproof(m - k, right, false), vec![tree_root(left)]].concat()
            }
        }
        if from == 0 || from == to {
            return vec![];
        }
        subproof(from as usize, &self.0[..to as usize], true).into_iter().map(|hash| hash.to_vec()).collect()
    }

    fn notice(&self, from: u64, to: u64) -> v1::NoticeBody {
        v1::NoticeBody {
            fleet: "f".into(),
            size: to,
            root: self.root(to).to_vec(),
            previous_size: from,
            previous_root: self.root(from).to_vec(),
            proof: self.proof(from, to),
            log: LOG.into(),
            ..Default::default()
        }
    }

    fn step(&self, from: u64, to: u64) -> v1::GrowthStep {
        v1::GrowthStep { from, to, to_root: self.root(to).to_vec(), path: self.proof(from, to) }
    }
}

fn tree(leaves: u64) -> Tree {
    let mut tree = Tree(vec![]);
    tree.grow(leaves, 0);
    tree
}

fn machine(witnessed: Witnessed) -> Machine {
    Machine::new("i-1", 5, Saved { witnessed, ..Saved::default() })
}

/// What the store would hold.
fn saved(out: &Output) -> Option<Witnessed> {
    out.changes.iter().rev().find_map(|change| match change {
        Change::PutWitnessed(witnessed) => Some(witnessed.as_ref().clone()),
        _ => None,
    })
}

fn cosigned(out: &Output) -> Option<u64> {
    out.effects.iter().find_map(|effect| match effect {
        Effect::Cosign { size, log, .. } if log == LOG => Some(*size),
        _ => None,
    })
}

/// Nothing is believed any more, now and after a restart, and no call is taken.
fn assert_refused(machine: &mut Machine, told: (Judged, Output), honest: &v1::NoticeBody) {
    let (judged, out) = told;
    assert_eq!((judged, cosigned(&out)), (Judged::Refused, None));
    let kept = saved(&out).unwrap();
    assert!(kept.refused.is_some());
    for machine in [machine, &mut self::machine(kept)] {
        assert_eq!(machine.on_notice(honest), (Judged::Refused, Output::default()));
        assert!(machine.why_not_ready().unwrap().starts_with("AST-A025"));
        let order = v1::DialOrder { term: 1, log_position: 1, attempts: vec![] };
        let out = machine.on_dial(1, order, 0);
        let Some(Effect::ReplyOrder { reply, .. }) = out.effects.first() else { unreachable!() };
        assert_eq!((reply.taken, reply.code.as_str()), (false, "AST-A025"));
    }
}

#[test]
fn a_log_that_only_grows_is_cosigned_at_each_of_a_thousand_checkpoints() {
    let (mut tree, mut machine, mut last) = (tree(0), machine(Witnessed::default()), 0);
    for round in 0..1_000u64 {
        tree.grow(1 + u64::from(round % 5 == 0) * (round % 4), round);
        let told = tree.notice(last, tree.size());
        let (judged, out) = machine.on_notice(&told);
        assert_eq!((judged, cosigned(&out)), (Judged::Proved, Some(tree.size())), "checkpoint {round}");
        if round % 100 == 99 {
            // The same again says nothing new, and one from before is late.
            assert_eq!(machine.on_notice(&told), (Judged::Proved, Output::default()));
            assert_eq!(machine.on_notice(&tree.notice(0, last)), (Judged::Late, Output::default()));
            machine = self::machine(saved(&out).unwrap());
        }
        last = tree.size();
    }
    assert_eq!(machine.witnessed(), tree.size());
}

#[test]
fn two_roots_of_one_size_are_two_histories() {
    let (honest, mut other) = (tree(20), tree(15));
    other.grow(5, 1);
    let start = || {
        let mut machine = machine(Witnessed::default());
        machine.on_notice(&honest.notice(0, 10));
        machine.on_notice(&honest.notice(10, 17));
        machine
    };
    let next = honest.notice(17, 20);
    // The newest, one before it, and one that is only said to be before.
    for told in [
        other.notice(10, 17),
        v1::NoticeBody { root: vec![1; 32], ..honest.notice(0, 10) },
        other.notice(17, 20),
    ] {
        let mut machine = start();
        let judged = machine.on_notice(&told);
        assert_refused(&mut machine, judged, &next);
    }
    assert_eq!(start().on_notice(&next).0, Judged::Proved);
}

#[test]
fn a_checkpoint_that_does_not_continue_the_log_is_refused() {
    let (honest, mut other) = (tree(20), tree(10));
    other.grow(10, 1);
    let mut machine = machine(Witnessed::default());
    machine.on_notice(&honest.notice(0, 17));
    // It admits what the node knows, and goes on from elsewhere.
    let told = v1::NoticeBody { previous_root: honest.root(17).to_vec(), ..other.notice(17, 20) };
    let judged = machine.on_notice(&told);
    assert_refused(&mut machine, judged, &honest.notice(17, 20));
}

#[test]
fn a_lost_notice_is_made_up_for_by_the_steps_and_by_nothing_else() {
    let tree = tree(40);
    let mut machine = machine(Witnessed::default());
    machine.on_notice(&tree.notice(0, 10));
    let third = tree.notice(25, 40);
    assert_eq!(machine.on_notice(&third), (Judged::Unproved, Output::default()));
    let steps = [tree.step(10, 25), tree.step(25, 40), tree.step(40, 40)];
    let mut bent = steps.clone();
    bent[1].path[0][3] ^= 1;
    for useless in [&[][..], &steps[..1], &steps[1..], &bent] {
        assert_eq!(machine.on_growth(&third, useless), (Judged::Unproved, Output::default()));
    }
    let elsewhere = v1::NoticeBody { log: "asterism/f-0012/log".into(), ..third.clone() };
    assert_eq!(machine.on_growth(&elsewhere, &steps).0, Judged::Unproved);
    assert_eq!(
        machine.on_notice(&v1::NoticeBody { log: "a\nb".into(), ..third.clone() }).0,
        Judged::Unproved
    );
    let (judged, out) = machine.on_growth(&third, &steps);
    assert_eq!((judged, cosigned(&out)), (Judged::Proved, Some(40)));
}

/// The log has all it has to say, and no checkpoint will cover it: it says so, once, and which frames those are.
#[test]
fn a_node_that_refuses_the_log_tells_it_both_heads_and_when_it_is_empty() {
    let tree = tree(17);
    let mut machine = machine(Witnessed::default());
    machine.on_gate(Gate::Admitted(true));
    machine.on_notice(&tree.notice(0, 17));
    let other = v1::NoticeBody { root: vec![2; 32], ..tree.notice(0, 17) };
    let (_, out) = machine.on_notice(&other);
    let [Fact { body: Body::LogRefused(told), .. }] = out.facts.as_slice() else { panic!("{out:?}") };
    assert_eq!((told.node.as_str(), told.reason.as_str()), ("i-1", "two roots of size 17"));
    assert_eq!((told.size, told.root.as_slice()), (17, &tree.root(17)[..]));
    assert_eq!((told.shown_size, told.shown_root.as_slice()), (17, &[2; 32][..]));

    let spool =
        |unpublished, frames| SpoolView { unpublished, uncovered_frames: frames, ..SpoolView::default() };
    let mut empties = Vec::new();
    let mut tick = |machine: &mut Machine, spool| {
        let out = machine.on_tick(1, 0, spool);
        assert!(!out.effects.contains(&Effect::RequestCheckpoint), "none would help");
        empties.extend(out.facts.into_iter().filter(|fact| !fact.is_routine()).map(|fact| fact.body));
        empties.len()
    };
    assert_eq!(tick(&mut machine, spool(false, Some((3, 9)))), 0, "it is not drained");
    machine.on_drain(1, &v1::DrainOrder { term: 1, drain: 4, undrain: false });
    assert_eq!(tick(&mut machine, spool(true, Some((3, 9)))), 0, "the log has not got it all");
    assert_eq!(tick(&mut machine, spool(false, Some((3, 9)))), 1);
    assert_eq!(machine.state_word(), "empty");
    assert_eq!(tick(&mut machine, spool(false, Some((3, 10)))), 1, "said once");
    let said = v1::NodeUncovered { node: "i-1".into(), drain: 4, from: 3, to: 9 };
    assert_eq!(empties, [Body::NodeUncovered(said)]);
}

proptest! {
    #[test]
    fn a_notice_with_any_byte_of_its_history_changed_is_never_cosigned(
        old in 1u64..40, more in 1u64..40, at: prop::sample::Index, flip in 1u8..
    ) {
        let tree = tree(old + more);
        let mut machine = machine(Witnessed::default());
        machine.on_notice(&tree.notice(0, old));
        let mut told = tree.notice(old, old + more);
        let bytes: Vec<&mut u8> = told.root.iter_mut()
            .chain(told.previous_root.iter_mut())
            .chain(told.proof.iter_mut().flatten())
            .collect();
        let at = at.index(bytes.len());
        for (index, byte) in bytes.into_iter().enumerate() {
            *byte ^= if index == at { flip } else { 0 };
        }
        let (judged, out) = machine.on_notice(&told);
        prop_assert_eq!((judged, cosigned(&out)), (Judged::Refused, None));
    }
}
