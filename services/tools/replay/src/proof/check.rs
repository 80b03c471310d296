//! Checking a proof file: every signature, hash and path, with nothing but the file.

use asterism_domain::wire;
use asterism_event_log::proof::{check_consistency, check_inclusion};
use asterism_event_log::sequencer::LogCreated;
use asterism_event_log::{Sequencer, SignatureCheck, StoredFrame, StreamAt, Verdict};
use asterism_proto::frame::{FRAME_MAX_EVENTS, FRAME_VERSION, OpenFrame};
use asterism_proto::hash::{Hash, event_leaf, leaf_hash, sha256};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{Origin, PublicKey, Role};
use prost::Message;
use serde::Serialize;

use super::{Claim, Hex, Placed, ProofFile, Signed};
use crate::explain::words;
use crate::when;

/// What a proof file proved, and what it did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// Fleet whose log it is.
    pub fleet: String,
    /// Header hash of the log's frame 1, hexadecimal.
    pub anchor: String,
    /// Whether that was compared with an anchor given from outside.
    pub anchor_given: bool,
    /// Size of the log, by its newest checkpoint here.
    pub size: u64,
    /// Its root, hexadecimal.
    pub root: String,
    /// The event; none in a proof of consistency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<ProvedEvent>,
    /// The older checkpoint's size and root; none in a proof of inclusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<(u64, String)>,
    /// What was proved, in sentences.
    pub proved: Vec<String>,
    /// What was not.
    pub not_proved: Vec<String>,
}

/// The event of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProvedEvent {
    /// Its position.
    pub position: u64,
    /// Its derived id, as `export` spells causes.
    pub id: String,
    /// Who wrote it.
    pub origin: String,
    /// The leader's term; 0 for nodes and processes.
    pub term: u64,
    /// The log's time of it.
    pub record_time_ms: u64,
    /// What it says, in words.
    pub what: String,
}

/// A signed event, opened. Its signature is checked by [`Opened::signed_by`]: the key comes from elsewhere.
struct Opened<'a> {
    signed: &'a Signed,
    header: v1::FrameHeader,
    origin: Origin,
    event: v1::Event,
}

impl<'a> Opened<'a> {
    fn new(signed: &'a Signed, fleet: &str, name: &str) -> Result<Self, String> {
        let header = v1::FrameHeader::decode(signed.header.0.as_slice())
            .map_err(|_| format!("the header of the {name} cannot be read"))?;
        if header.version != FRAME_VERSION {
            return Err(format!(
                "the {name} is in a frame of version {}; use a newer version",
                header.version
            ));
        }
        if header.fleet != fleet {
            return Err(format!("the {name} is of fleet {}, the log of {fleet}", header.fleet));
        }
        let origin = header.origin.parse().map_err(|_| format!("the {name} has no known origin"))?;
        let root: Hash = header.events_root.as_slice().try_into().unwrap_or_default();
        let leaf = leaf_hash(&[&signed.event.0]);
        let (index, count) = (u64::from(signed.index), u64::from(header.event_count));
        if count > FRAME_MAX_EVENTS as u64
            || !check_inclusion(&leaf, index, count, &hashes(&signed.path)?, &root)
        {
            return Err(format!("the {name} is not in the frame that was signed"));
        }
        let event = v1::Event::decode(signed.event.0.as_slice())
            .map_err(|_| format!("the {name} cannot be decoded"))?;
        Ok(Self { signed, header, origin, event })
    }

    fn signed_by(&self, key: Option<PublicKey>, name: &str) -> Result<(), String> {
        let key = key.ok_or_else(|| format!("the log names no key for {}", self.origin))?;
        let good = key.verifies(&self.signed.header.0, &self.signed.signature.0);
        if good { Ok(()) } else { Err(format!("the signature of the {name} is not {}'s", self.origin)) }
    }

    fn is(&self, kind: EventType) -> bool {
        self.event.r#type == kind as u32 && self.event.schema == 1
    }
}

fn hashes(path: &[Hex]) -> Result<Vec<Hash>, String> {
    let hash =
        |hex: &Hex| hex.0.as_slice().try_into().map_err(|_| "a path has a hash that is none".to_owned());
    path.iter().map(hash).collect()
}

/// Frame 1, judged by the log's own rule.
fn created(log: &Signed, anchor: Option<Hash>) -> Result<(String, LogCreated), String> {
    let whole = log.index == 0 && log.path.is_empty();
    let frame = OpenFrame::from_parts(
        log.header.0.clone(),
        log.signature.0.clone(),
        [&log.event.0].into_iter().collect(),
    )
    .ok()
    .filter(|_| whole)
    .ok_or("the log's first frame is damaged")?;
    let fleet = frame.header.fleet.clone();
    let found = frame.header_hash();
    if anchor.is_some_and(|anchor| anchor != found) {
        return Err(format!("it is of another log: that one's anchor is {}", hex::encode(found)));
    }
    let mut sequencer = Sequencer::new(&fleet, None);
    match sequencer.readmit(StoredFrame::new(frame, 0, StreamAt::default()), SignatureCheck::Check) {
        Verdict::Accepted(_) => {}
        Verdict::Refused { reason, .. } => return Err(format!("the log's first frame is not one: {reason}")),
        _ => return Err("the log's first frame is not one".into()),
    }
    let created = sequencer.created().cloned().ok_or("the log's first frame is not one")?;
    Ok((fleet, created))
}

/// Size and root of a checkpoint that the ledger signed.
fn checkpoint(signed: &Signed, fleet: &str, created: &LogCreated) -> Result<(u64, Hash), String> {
    let opened = Opened::new(signed, fleet, "checkpoint")?;
    if opened.origin != Origin::Role(Role::Ledger) || !opened.is(EventType::Checkpoint) {
        return Err("what stands for the checkpoint is not the ledger's checkpoint".into());
    }
    opened.signed_by(created.role_key(Role::Ledger), "checkpoint")?;
    let body = v1::Checkpoint::decode(opened.event.body.as_slice()).ok();
    let found = body.and_then(|body| Some((body.size, body.root.as_slice().try_into().ok()?)));
    found.ok_or_else(|| "the checkpoint names no root".into())
}

fn in_log(placed: &Placed, size: u64, root: &Hash, name: &str) -> Result<(), String> {
    let signed = &placed.signed;
    let leaf = event_leaf(&sha256(&signed.header.0), signed.index, placed.record_time_ms, &signed.event.0);
    let good = check_inclusion(&leaf, placed.position, size, &hashes(&placed.path)?, root);
    if good { Ok(()) } else { Err(format!("the {name} is not in the log that the ledger signed")) }
}

/// The key a node wrote its event with, from the scaler's word in the same log.
fn node_key(
    node: &str,
    event: (&Opened<'_>, u64),
    admission: &Placed,
    log: (&LogCreated, u64, &Hash),
) -> Result<Option<PublicKey>, String> {
    let ((event, position), (created, size, root)) = (event, log);
    let opened = Opened::new(&admission.signed, &event.header.fleet, "node's admission")?;
    if opened.origin != Origin::Role(Role::Scaler) || !opened.is(EventType::NodeAdmitted) {
        return Err("what stands for the node's admission is not the scaler's".into());
    }
    opened.signed_by(created.role_key(Role::Scaler), "node's admission")?;
    in_log(admission, size, root, "node's admission")?;
    let body = v1::NodeAdmitted::decode(opened.event.body.as_slice())
        .map_err(|_| "the node's admission cannot be decoded")?;
    if body.node != node || body.epoch != event.header.epoch || admission.position >= position {
        return Err("the node's admission is not the one the event was written under".into());
    }
    Ok(PublicKey::from_bytes(&body.public_key).ok())
}

/// Checks a proof file; the reason if it proves nothing.
pub fn check(file: &ProofFile, anchor: Option<Hash>) -> Result<Proved, String> {
    let (fleet, created) = created(&file.log, anchor)?;
    let mut result = match &file.claim {
        Claim::Inclusion { checkpoint, event, admission } => {
            inclusion(&fleet, &created, checkpoint, event, admission.as_ref())?
        }
        Claim::Consistency { old, new, path } => consistency(&fleet, &created, old, new, path)?,
    };
    result.anchor_given = anchor.is_some();
    if anchor.is_none() {
        let note = format!(
            "no --anchor was given: that this is the log you mean; compare {} with the fleet's anchor",
            result.anchor
        );
        result.not_proved.insert(0, note);
    }
    Ok(result)
}

fn inclusion(
    fleet: &str,
    created: &LogCreated,
    signed: &Signed,
    event: &Placed,
    admission: Option<&Placed>,
) -> Result<Proved, String> {
    let (size, root) = checkpoint(signed, fleet, created)?;
    let opened = Opened::new(&event.signed, fleet, "event")?;
    in_log(event, size, &root, "event")?;
    let mut proved = Vec::new();
    let key = match (&opened.origin, admission) {
        (Origin::Node(node), Some(admission)) => {
            let key = node_key(node, (&opened, event.position), admission, (created, size, &root))?;
            proved.push(format!(
                "node {node} was admitted with that key by the scaler, event #{}",
                admission.position
            ));
            key
        }
        (Origin::Node(node), None) => return Err(format!("the admission of node {node} is missing")),
        (_, Some(_)) => return Err("it has a node's admission, but its event is no node's".into()),
        (Origin::Role(Role::Fleet), None) => Some(created.fleet_key),
        (Origin::Role(role) | Origin::Proc(role, _), None) => created.role_key(*role),
    };
    opened.signed_by(key, "event")?;
    let (header, position) = (&opened.header, event.position);
    let what = wire::decode_bytes(&event.signed.event.0)
        .map_or_else(|why| format!("it is not put into words: {why}"), |(_, event)| words(&event));
    let id =
        format!("{}.{}.{}.{}", header.origin, hex::encode(&header.epoch), header.number, event.signed.index);
    let at = when::shown(event.record_time_ms);
    let claim = format!(
        "event #{position} of fleet {fleet}, written by {} and recorded at {at}, is in the log of size {size} that the \
         ledger signed",
        opened.origin
    );
    proved.splice(0..0, [claim, format!("it says: {what}")]);
    let mut not_proved =
        vec!["what else is in the log, and that nothing is left out: `verify` reads all of it".to_owned()];
    if header.term > 0 {
        not_proved.push(format!(
            "that its writer rightly led in term {}: `verify` follows the elections",
            header.term
        ));
    }
    not_proved.push("that later checkpoints go on from this one: `prove --consistency`".into());
    Ok(Proved {
        fleet: fleet.to_owned(),
        anchor: hex::encode(created.anchor),
        anchor_given: false,
        size,
        root: hex::encode(root),
        event: Some(ProvedEvent {
            position,
            id,
            origin: header.origin.clone(),
            term: header.term,
            record_time_ms: event.record_time_ms,
            what,
        }),
        old: None,
        proved,
        not_proved,
    })
}

fn consistency(
    fleet: &str,
    created: &LogCreated,
    old: &Signed,
    new: &Signed,
    path: &[Hex],
) -> Result<Proved, String> {
    let (old_size, old_root) = checkpoint(old, fleet, created)?;
    let (size, root) = checkpoint(new, fleet, created)?;
    if !check_consistency(old_size, size, &old_root, &root, &hashes(path)?) {
        return Err(format!("the log of size {size} does not begin with the one of size {old_size}"));
    }
    Ok(Proved {
        fleet: fleet.to_owned(),
        anchor: hex::encode(created.anchor),
        anchor_given: false,
        size,
        root: hex::encode(root),
        event: None,
        old: Some((old_size, hex::encode(old_root))),
        proved: vec![format!(
            "the log of fleet {fleet} of size {size} begins with the one of size {old_size}, event for event; the \
             ledger signed both"
        )],
        not_proved: vec!["what the events say, and that each follows the log's rules: `verify`".into()],
    })
}

impl Proved {
    /// For people.
    pub fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.proved.iter().try_for_each(|line| writeln!(out, "proved: {line}"))?;
        writeln!(out, "  root    {}", self.root)?;
        if let Some((_, root)) = &self.old {
            writeln!(out, "  before  {root}")?;
        }
        let compared = if self.anchor_given { "as given" } else { "not compared" };
        writeln!(out, "  anchor  {} ({compared})", self.anchor)?;
        self.not_proved.iter().try_for_each(|line| writeln!(out, "not proved: {line}"))
    }
}
