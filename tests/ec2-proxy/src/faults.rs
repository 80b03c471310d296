//! What goes wrong, as a test scripts it, and proof that it did.

use std::collections::BTreeMap;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this status and code; nothing is done.
    Error(u16, &'static str),
    /// The connection ends before anything is done.
    LoseRequest,
    /// It is done, and the connection ends without an answer.
    LoseAnswer,
    /// It waits until [`crate::Proxy::release`], before anything is done.
    HoldRequest,
    /// It is done, and the answer waits until [`crate::Proxy::release`].
    HoldAnswer,
    /// It is done, and the answer ends after so many bytes of body.
    CutAnswer(usize),
    /// It is done, and a web page of this status comes back.
    WebPage(u16),
    /// A listing ends with this page, although there is more; nothing says so.
    DropNextPage,
}

impl Fault {
    /// How hits of it are counted.
    pub fn name(self) -> String {
        match self {
            Self::Error(_, code) => code.to_owned(),
            Self::LoseRequest => "request lost".to_owned(),
            Self::LoseAnswer => "answer lost".to_owned(),
            Self::HoldRequest => "request held".to_owned(),
            Self::HoldAnswer => "answer held".to_owned(),
            Self::CutAnswer(_) => "answer cut".to_owned(),
            Self::WebPage(_) => "web page".to_owned(),
            Self::DropNextPage => "page dropped".to_owned(),
        }
    }
}

/// A planned fault: of an action (`*` is every one), after so many that pass, so many times.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The action.
    pub action: &'static str,
    /// Requests that pass before it.
    pub after: u32,
    /// Requests it happens to.
    pub times: u32,
    /// What happens.
    pub fault: Fault,
}

/// Machines of a kind the region has no more of, or only so many.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The type, or `*`.
    pub instance_type: String,
    /// The zone, or `*`.
    pub zone: String,
    /// `spot`, `on-demand` or `*`.
    pub market: String,
    /// How many there are left.
    pub left: u64,
    /// What a launch is told that finds fewer than it needs.
    pub code: String,
}

impl Pool {
    /// None of a type in a zone and a market.
    pub fn empty(instance_type: &str, zone: &str, market: &str) -> Self {
        Self {
            instance_type: instance_type.to_owned(),
            zone: zone.to_owned(),
            market: market.to_owned(),
            left: 0,
            code: "InsufficientInstanceCapacity".to_owned(),
        }
    }

    /// Whether a launch comes from it.
    pub fn gives(&self, instance_type: &str, zone: &str, market: &str) -> bool {
        let is = |mine: &str, asked: &str| mine == "*" || mine == asked;
        is(&self.instance_type, instance_type) && is(&self.zone, zone) && is(&self.market, market)
    }
}

/// The cloud's own slowness and what is planned. All zero and empty: an EC2 that is well.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// How long an instance is `pending`, ms.
    pub pending_ms: u64,
    /// How long one told to end is `shutting-down`, ms.
    pub shutting_down_ms: u64,
    /// Listings show what was true so long ago, ms.
    pub stale_ms: u64,
    /// A new instance is unknown by its id for so long, ms.
    pub not_found_ms: u64,
    /// Most instances of one page; 0 is what was asked for.
    pub page_most: usize,
    /// Whether the published buckets refuse what is too much.
    pub has_buckets: bool,
    /// Where there are no machines.
    pub pools: Vec<Pool>,
    /// Faults of single requests.
    pub planned: Vec<Planned>,
}

impl Script {
    /// Plans a fault for the next request of an action.
    pub fn next(&mut self, action: &'static str, fault: Fault) {
        self.plan(action, 0, 1, fault);
    }

    /// Plans a fault for each request of an action until the plan is cleared.
    pub fn always(&mut self, action: &'static str, fault: Fault) {
        self.plan(action, 0, u32::MAX, fault);
    }

    /// Plans a fault.
    pub fn plan(&mut self, action: &'static str, after: u32, times: u32, fault: Fault) {
        self.planned.push(Planned { action, after, times, fault });
    }

    /// The fault of this request, which is used up by it.
    pub fn take(&mut self, action: &str) -> Option<Fault> {
        let mut found = None;
        let is_of = |planned: &&mut Planned| planned.action == "*" || planned.action == action;
        for planned in self.planned.iter_mut().filter(is_of) {
            if planned.after > 0 {
                planned.after -= 1;
            } else if found.is_none() {
                planned.times = planned.times.saturating_sub(u32::from(planned.times < u32::MAX));
                found = Some(planned.fault);
            }
        }
        self.planned.retain(|planned| planned.times > 0);
        found
    }
}

/// A request as it came, and how it was answered.
#[derive(Debug, Clone)]
pub struct Call {
    /// When, by the proxy's clock.
    pub at_ms: u64,
    /// The action.
    pub action: String,
    /// Its parameters, as a form.
    pub form: String,
    /// The status; 0 if the connection ended without an answer.
    pub status: u16,
    /// EC2's error code; empty if it was done.
    pub code: String,
}

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Every request.
    pub calls: Vec<Call>,
    /// How often each fault and each slowness was met.
    pub hits: BTreeMap<String, u64>,
}

impl Record {
    /// Counts a hit.
    pub fn hit(&mut self, name: &str) {
        *self.hits.entry(name.to_owned()).or_default() += 1;
    }
}
