//! Frames of this node that the log will never have: neither the stream nor this node holds them. What the fleet must know
//! of the node and may have been in them is said again; its reducers take each of these as often as it comes.

use super::{Change, Machine, Output};
use crate::fact::{Body, Fact};
use asterism_proto::v1;

impl Machine {
    /// This node has told somebody that it holds no frame up to this one, which the log misses. Ready, its manifests and
    /// the end of its drain are said again, once for each longer loss.
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
        if self.drain.empty_said {
            // Empty is said again once a checkpoint covers what is said now.
            self.drain.empty_said = false;
            out.changes.push(Change::PutDrain(self.drain.clone()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Gate, PbxUp, Saved, SpoolView};

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
        assert_eq!(out.facts.len(), 2);
        // The ledger asks once a second until the loss is in the log.
        assert!(machine.on_frames_lost(7).facts.is_empty() && machine.on_frames_lost(5).facts.is_empty());
        assert_eq!(machine.on_frames_lost(9).facts.len(), 2);
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
}
