//! Processes of this machine: told apart for sure, signalled as a group, and never left as zombies.

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Children this process started, in any `LocalCloud`: they are ours to reap even when that `LocalCloud` is gone.
static CHILDREN: Mutex<BTreeMap<u32, Child>> = Mutex::new(BTreeMap::new());

/// One process and no other: numbers are reused, but not together with the start time within one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub pid: i32,
    /// Clock ticks from boot to start; `None` where there is no `/proc`.
    pub start_ticks: Option<u64>,
    /// The kernel's name for this boot; `None` where there is no `/proc`.
    pub boot_id: Option<String>,
}

/// The fields we need of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    group: i32,
    start_ticks: u64,
}

impl Process {
    /// Identifies a running process. `None` if it has ended.
    pub fn observe(pid: i32) -> Option<Self> {
        if !has_proc() {
            return kill(Pid::from_raw(pid), None).is_ok().then_some(Self {
                pid,
                start_ticks: None,
                boot_id: None,
            });
        }
        let stat = stat(pid).filter(Stat::is_alive)?;
        Some(Self { pid, start_ticks: Some(stat.start_ticks), boot_id: boot_id() })
    }

    /// A process that has ended and of which only the number is known.
    pub fn ended(pid: i32) -> Self {
        Self { pid, start_ticks: Some(0), boot_id: boot_id() }
    }

    /// Whether it inherited the mark (`NAME=value` in its environment). Always, where there is no `/proc`.
    pub fn has_mark(&self, mark: &str) -> bool {
        self.start_ticks.is_none() || has_mark(self.pid, mark) == Some(true)
    }

    /// Whether this very process still runs. `held` says whether its inherited lock is held: the guard against a
    /// reused number where there is no `/proc`.
    pub fn is_alive(&self, held: impl FnOnce() -> bool) -> bool {
        reap();
        match self.start_ticks {
            Some(ticks) => {
                self.boot_id == boot_id()
                    && stat(self.pid).is_some_and(|s| s.start_ticks == ticks && s.is_alive())
            }
            None => kill(Pid::from_raw(self.pid), None) != Err(Errno::ESRCH) && held(),
        }
    }

    /// Sends a signal to the process and all of its group. Only call this for a process that [`Self::is_alive`].
    pub fn signal(&self, signal: Signal) {
        if self.pid > 1 {
            // ESRCH means it has just ended; anything else shows when it does not end.
            let _ = killpg(Pid::from_raw(self.pid), signal);
        }
    }

    /// Kills what is left of the group of a process that has ended. A group's number is not reused while it has
    /// members, but to be sure none may lack the mark; one that is just becoming another program shows nothing.
    pub fn sweep(&self, mark: &str) {
        if self.pid <= 1 || self.boot_id != boot_id() {
            return;
        }
        let in_group = |pid: &i32| stat(*pid).is_some_and(|s| s.group == self.pid && s.is_alive());
        let members: Vec<i32> = pids().filter(in_group).collect();
        let is_ours = |pid: &i32| has_mark(*pid, mark) != Some(false);
        if !members.is_empty() && members.iter().all(is_ours) {
            let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// Takes over a child to be reaped when it ends.
pub(super) fn keep(child: Child) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), child);
}

/// Reaps the children that have ended.
pub(super) fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|_, child| !matches!(child.try_wait(), Ok(Some(_))));
}

impl Stat {
    fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn has_proc() -> bool {
    stat(std::process::id().cast_signed()).is_some()
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in the second field may hold anything, so fields are counted from the last `)`.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, start_ticks })
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// `None` while the environment cannot be seen.
fn has_mark(pid: i32, mark: &str) -> Option<bool> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok().filter(|e| !e.is_empty())?;
    Some(environ.split(|&b| b == 0).any(|var| var == mark.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_stat_line_with_a_hostile_name() {
        let line = b"42 (a) R 1) S 7 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
        assert_eq!(parse_stat(line), Some(Stat { state: b'S', group: 40, start_ticks: 98765 }));
        assert_eq!(parse_stat(b"42 (a) S 7 40"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn a_process_is_itself_and_not_a_later_one_of_its_number() {
        let me = Process::observe(std::process::id().cast_signed()).unwrap();
        assert!(me.is_alive(|| true));
        let earlier = Process { start_ticks: me.start_ticks.map(|t| t - 1), ..me.clone() };
        let other_boot = Process { boot_id: Some("another".into()), ..me.clone() };
        if me.start_ticks.is_some() {
            assert!(!earlier.is_alive(|| true));
            assert!(!other_boot.is_alive(|| true));
        }
        let without_proc = Process { start_ticks: None, boot_id: None, ..me };
        assert!(without_proc.is_alive(|| true));
        assert!(!without_proc.is_alive(|| false));
    }

    proptest! {
        #[test]
        fn any_stat_line_is_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_stat(&bytes);
        }

        #[test]
        fn a_made_stat_line_is_read_back(name in "[ -~]{0,15}", group in 1i32.., ticks: u64) {
            let line = format!("1 ({name}) R 0 {group} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {ticks} 0");
            let want = Stat { state: b'R', group, start_ticks: ticks };
            prop_assert_eq!(parse_stat(line.as_bytes()), Some(want));
        }
    }
}
