//! Frames of this node that the log will never have: neither the stream nor this node holds them. What the fleet must know
//! of the node and may have been in them is said again; its reducers take each of these as often as it comes.

use super::{Change, Machine, Output};
use crate::fact::{Body, Fact};
use asterism_proto::v1;

/// Attempts of one fact: a frame holds it, whatever their ids.
const HELD_PER_FACT: usize = 60;

impl Machine {
    /// This node has told somebody that it holds no frame up to this one, which the log misses. Ready, its manifests, the
    /// trunks of the newest order, the attempts it holds, its recordings and the end of its drain are said again, once for each longer loss. What
    /// was ordered before the agent was started anew the dialer owes, and orders again, as long as the log does not have it.
    pub fn on_frames_lost(&mut self, lost_to: u64) -> Output {
        let mut out = Output::default();
        if lost_to <= self.life.lost_to {
            return out;
        }
        self.life.lost_to = lost_to;
        self.announced = None;
        self.announce(&mut out);
        for manifest in &self.told {
            let body = v1::ManifestHeld { node: self.node.clone(), manifest: manifest.clone() };
            out.facts.push(Fact::of_node(Body::ManifestHeld(body)));
        }
        out.facts.extend(self.names_its_trunks());
        out.facts.extend(self.names_its_recordings());
        out.facts.extend(self.names_what_it_holds());
        if self.drain.empty_said {
            // Empty is said again once a checkpoint covers what is said now.
            self.drain.empty_said = false;
            out.changes.push(Change::PutDrain(self.drain.clone()));
        }
        out
    }

    /// The trunks the PBX proved to have.
    pub(super) fn names_its_trunks(&self) -> impl Iterator<Item = Fact> {
        self.trunks.iter().map(|(trunk, revision)| {
            let (node, trunk, revision) = (self.node.clone(), trunk.clone(), revision.clone());
            Fact::of_node(Body::TrunkHeld(v1::TrunkHeld { node, trunk, revision }))
        })
    }

    /// The active attempts, in as many facts as they need, which cover all ids together.
    fn names_what_it_holds(&self) -> impl Iterator<Item = Fact> {
        let ids: Vec<&String> = self.active.keys().collect();
        let mut groups: Vec<&[&String]> = ids.chunks(HELD_PER_FACT).collect();
        if groups.is_empty() {
            groups.push(&[]);
        }
        let (mut after, mut left) = (String::new(), groups.len());
        let mut facts = Vec::new();
        for group in groups {
            left -= 1;
            let last = group.last().map(ToString::to_string).unwrap_or_default();
            let until = if left == 0 { String::new() } else { last };
            let attempts = group.iter().map(ToString::to_string).collect();
            let body = v1::NodeHolds { node: self.node.clone(), attempts, after, until: until.clone() };
            facts.push(Fact::of_node(Body::NodeHolds(body)));
            after = until;
        }
        facts.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Gate, PbxUp, Saved, SpoolView, tests};

    fn ready() -> Machine {
        let mut machine = Machine::new("i-1", 2, Saved::default());
        machine.on_gate(Gate::Admitted(true));
        machine.on_gate(Gate::Clock(true));
        machine.on_pbx_up(PbxUp { boot_id: "b1".into(), ..PbxUp::default() }, 1);
        machine.on_manifest("m1");
        machine
    }

    #[test]
    fn what_the_fleet_must_know_of_a_node_is_said_again_once_for_each_loss() {
        let mut machine = ready();
        let out = machine.on_frames_lost(7);
        assert!(matches!(&out.facts[0].body, Body::NodeReady(ready) if ready.boot_id == "b1"));
        assert!(matches!(&out.facts[1].body, Body::ManifestHeld(held) if held.manifest == "m1"));
        let none = v1::NodeHolds { node: "i-1".into(), ..v1::NodeHolds::default() };
        assert_eq!(out.facts[2].body, Body::NodeHolds(none));
        assert_eq!(out.facts.len(), 3);
        // The ledger asks once a second until the loss is in the log.
        assert!(machine.on_frames_lost(7).facts.is_empty() && machine.on_frames_lost(5).facts.is_empty());
        assert_eq!(machine.on_frames_lost(9).facts.len(), 3);
    }

    #[test]
    fn the_trunks_it_has_are_said_again_and_those_it_may_not_have_are_not() {
        let held = |out: &Output| {
            let of = |fact: &Fact| match &fact.body {
                Body::TrunkHeld(held) => Some(format!("{} {}", held.trunk, held.revision)),
                _ => None,
            };
            out.facts.iter().filter_map(of).collect::<Vec<_>>()
        };
        let mut machine = ready();
        let two = [("a".to_owned(), "r1".to_owned()), ("b".to_owned(), "r1".to_owned())];
        machine.on_trunks_tried(1, &two, "");
        assert_eq!(held(&machine.on_frames_lost(3)), ["a r1", "b r1"]);
        machine.on_trunks_tried(
            2,
            &[("b".to_owned(), "r2".to_owned())],
            "AST-A026: the trunk a: no credentials",
        );
        assert_eq!(held(&machine.on_frames_lost(5)), ["b r2"]);
        machine.on_trunks_tried(3, &[], "the pbx is not up");
        assert!(held(&machine.on_frames_lost(7)).is_empty(), "nobody knows which it has");
    }

    #[test]
    fn a_node_whose_last_word_was_lost_says_it_again() {
        let mut machine = ready();
        machine.on_drain(1, &v1::DrainOrder { term: 1, drain: 3, undrain: false });
        let settled = SpoolView { settled: true, ..SpoolView::default() };
        let empties =
            |out: &Output| out.facts.iter().filter(|f| matches!(f.body, Body::NodeEmpty(_))).count();
        assert_eq!(empties(&machine.on_tick(2, 0, settled)), 1);
        assert_eq!(empties(&machine.on_tick(3, 0, settled)), 0);
        machine.on_frames_lost(4);
        assert_eq!(empties(&machine.on_tick(4, 0, settled)), 1);
    }

    #[test]
    fn what_it_holds_is_named_in_parts_that_cover_all_ids() {
        let mut machine = tests::ready(500);
        let ids: Vec<String> = (0..150).map(|n| format!("c-{n}-1")).collect();
        for some in ids.chunks(50) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            machine.on_dial(1, tests::order(1, &some), tests::NOW);
        }
        let out = machine.on_frames_lost(1);
        let parts: Vec<&v1::NodeHolds> = out
            .facts
            .iter()
            .filter_map(|fact| if let Body::NodeHolds(part) = &fact.body { Some(part) } else { None })
            .collect();
        assert_eq!(parts.iter().map(|part| part.attempts.len()).collect::<Vec<_>>(), [60, 60, 30]);
        assert_eq!((parts[0].after.as_str(), parts[2].until.as_str()), ("", ""));
        assert!(parts.windows(2).all(|pair| pair[0].until == pair[1].after));
        let mut named: Vec<_> = parts.iter().flat_map(|part| part.attempts.clone()).collect();
        assert!(parts[..2].iter().all(|part| part.attempts.last() == Some(&part.until)));
        named.sort();
        let mut ids = ids;
        ids.sort();
        assert_eq!(named, ids);
    }
}
