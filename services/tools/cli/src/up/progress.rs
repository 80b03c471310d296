//! The live view of `asterism up --demo` on a terminal; without one, a line now and then.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use asterism_domain::State;
use asterism_domain::campaign::Campaign;
use asterism_domain::fleet::plan::cost_micro_usd;
use asterism_domain::fleet::{FleetPolicy, NodeStatus};
use asterism_domain::report::answered;
use asterism_runtime::leader::now_ms;

use super::system::System;

/// Calls per second are counted over this long.
const RATE_OVER: Duration = Duration::from_secs(5);
/// Without a terminal, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is on the screen.
pub struct Progress {
    terminal: bool,
    silent: bool,
    lines: usize,
    note: String,
    last_line: Option<Instant>,
    rang: VecDeque<(Instant, u32)>,
}

impl Progress {
    /// A view on standard error.
    pub fn start() -> Self {
        Self { silent: false, terminal: std::io::stderr().is_terminal(), ..Self::silent() }
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self {
            terminal: false,
            silent: true,
            lines: 0,
            note: String::new(),
            last_line: None,
            rang: VecDeque::new(),
        }
    }

    /// Says what is being done.
    pub fn note(&mut self, note: &str) {
        note.clone_into(&mut self.note);
        if !self.silent && !self.terminal {
            eprintln!("{note}");
        }
    }

    /// Draws the present state.
    pub fn draw(&mut self, system: &System) {
        if self.silent {
            return;
        }
        self.sample(system);
        if self.terminal {
            let text = self.board(system);
            let mut out = std::io::stderr().lock();
            if self.lines > 0 {
                let _ = write!(out, "\x1b[{}A\x1b[J", self.lines);
            }
            let _ = out.write_all(text.as_bytes());
            self.lines = text.lines().count();
        } else if self.last_line.is_none_or(|at| at.elapsed() > LINE_EVERY) {
            self.last_line = Some(Instant::now());
            eprintln!("{}", self.line(system));
        }
    }

    /// Leaves what was drawn last.
    pub fn finish(&mut self) {
        self.lines = 0;
    }

    fn line(&self, system: &System) -> String {
        let (rate, note) = (self.rate(), self.note.clone());
        system.deps.log.read(|state| {
            let totals = Totals::of(state);
            format!(
                "{note}: {} settled, {} waiting, {} ringing, {} up, {rate} calls/s, {} nodes, {}",
                totals.settled,
                totals.waiting,
                state.in_flight - state.up,
                state.up,
                state.fleet.existing().count(),
                dollars(cost(system, state)),
            )
        })
    }

    fn board(&self, system: &System) -> String {
        let (rate, note) = (self.rate(), self.note.clone());
        system.deps.log.read(|state| {
            let totals = Totals::of(state);
            let mut text = String::new();
            let end = match (totals.waiting, rate) {
                (0, _) => "soon".to_owned(),
                (_, 0) => "unknown".to_owned(),
                (waiting, rate) => format!("in {} s", waiting / rate),
            };
            let _ = writeln!(text, "⁂ {note}");
            let _ = writeln!(
                text,
                "contacts  {} settled · {} waiting · {} in flight · {} uncertain of {}",
                totals.settled, totals.waiting, state.in_flight, totals.uncertain, totals.imported
            );
            let _ = writeln!(
                text,
                "calls     {} ringing · {} up · {rate} a second · end {end}",
                state.in_flight - state.up,
                state.up
            );
            let outcomes: Vec<String> = state
                .campaigns
                .values()
                .flat_map(|campaign| &campaign.counts.settled)
                .map(|(outcome, count)| format!("{count} {}", outcome.name()))
                .collect();
            let _ = writeln!(text, "outcomes  {}", outcomes.join(" · "));
            let _ = writeln!(
                text,
                "cost      {} · {} an hour now · {} · {} node-seconds",
                dollars(cost(system, state)),
                dollars(state.fleet.micro_usd_per_hour()),
                per_call(cost(system, state), answered(state)),
                state.fleet.node_ms(now_ms()) / 1000
            );
            nodes(&mut text, system, state);
            text
        })
    }

    fn sample(&mut self, system: &System) {
        let rang = system
            .deps
            .log
            .read(|state| state.campaigns.values().map(|campaign| campaign.counts.rang).sum::<u32>());
        let now = Instant::now();
        self.rang.push_back((now, rang));
        while self.rang.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_OVER) {
            self.rang.pop_front();
        }
    }

    /// Attempts that reached the carrier, a second.
    fn rate(&self) -> u32 {
        let (Some((from, before)), Some((to, after))) = (self.rang.front(), self.rang.back()) else {
            return 0;
        };
        let elapsed_ms = to.duration_since(*from).as_millis().max(1) as u64;
        (u64::from(after - before) * 1000 / elapsed_ms) as u32
    }
}

#[derive(Default)]
struct Totals {
    imported: u32,
    settled: u32,
    waiting: u32,
    uncertain: u32,
}

impl Totals {
    fn of(state: &State) -> Self {
        let mut totals = Self::default();
        for Campaign { counts, .. } in state.campaigns.values() {
            totals.imported += counts.imported;
            totals.settled += counts.settled_total();
            totals.waiting += counts.waiting;
            totals.uncertain += counts.uncertain;
        }
        totals
    }
}

fn nodes(text: &mut String, system: &System, state: &State) {
    let heard = system.heartbeats.snapshot();
    for (id, node) in state.fleet.existing() {
        let status = match node.status {
            NodeStatus::Launched => "launched",
            NodeStatus::Admitted => "admitted",
            NodeStatus::Ready if node.pbx_up => "ready",
            NodeStatus::Ready => "pbx down",
            NodeStatus::Draining => "draining",
            _ => "ending",
        };
        let held = node.attempts.len();
        let width = if node.capacity > 0 { held * 20 / node.capacity as usize } else { 0 };
        let cpu = heard.get(id).map_or(0, |heard| heard.heartbeat.cpu_permille / 10);
        let _ = writeln!(
            text,
            "{id:<20} {status:<9} [{:<20}] {held}/{} slots, {cpu} % cpu",
            "#".repeat(width.min(20)),
            node.capacity
        );
    }
}

/// What the fleet has cost by now, micro-dollars.
pub fn cost(system: &System, state: &State) -> u64 {
    let policy: FleetPolicy = asterism_scaler::ScalerConfig::from(&system.config).policy;
    let now = now_ms();
    state.fleet.spent_micro_usd(now).unwrap_or_else(|| cost_micro_usd(state.fleet.node_ms(now), &policy))
}

/// What each call has cost, for people.
pub fn per_call(micro_usd: u64, calls: u64) -> String {
    micro_usd.checked_div(calls).map_or_else(|| "no call yet".to_owned(), |each| dollars(each) + " a call")
}

/// Micro-dollars for people.
pub fn dollars(micro_usd: u64) -> String {
    format!("${}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000)
}
