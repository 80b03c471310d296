//! Instances as processes of this machine, one folder each.
//!
//! The id of an instance is made from its intent, so a launch is idempotent by where it looks. A launcher may die
//! between any two steps; the next one finds out how far it came:
//! 1. `launch.json` exists: the instance exists. Without a process it is completed.
//! 2. The process inherits a locked file (its standard input) and writes its own number before it becomes the agent.
//!    So "lock free and no number" proves that no agent ever ran, and only then one is started.
//! 3. `process.json` names the process for good; with it (or a number of a dead process) nothing is started again.
//!
//! An instance whose process has ended is a machine that is gone: what is left of its process group is killed and the
//! end is written down, whoever notices first.

mod files;
mod process;

use std::fs::{self, OpenOptions};
use std::io::ErrorKind as Io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use self::files::{EndRecord, INTENT_VARIABLE, InstanceDir, LaunchRecord, Locked, folder_error, write_whole};
use self::process::Process;
use super::{Cloud, CloudError, ErrorKind, Instance, InstanceState, LaunchRequest, code};

/// How long `terminate` waits for a process group to end by itself, in milliseconds, unless told otherwise.
pub const TERMINATE_GRACE_MS: u64 = 5_000;
/// How long a killed process may take to disappear.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// How often a process that should end is looked at.
const END_POLL: Duration = Duration::from_millis(10);
/// How long a process started by a launcher that died may take to write its number.
const ADOPT_WAIT: Duration = Duration::from_secs(5);
/// How long a terminated instance stays in the listing, in milliseconds (about as long as EC2 shows it).
const TERMINATED_LISTED_MS: u64 = 3_600_000;
/// Most instance folders a listing reads, those of long terminated instances included.
const MAX_INSTANCES: usize = 10_000;
/// Hex digits of an instance id after `i-`.
const ID_DIGITS: usize = 17;
/// Writes its own number, then becomes the agent. `$1` is the file, the rest the command.
const START_SCRIPT: &str = r#"echo "$$" > "$1" && shift && exec "$@""#;

/// How local instances are made.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// The agent program; it is run as `agent instance --dir <folder> --node <instance id> <args>`.
    pub agent_bin: PathBuf,
    /// Further arguments.
    pub args: Vec<String>,
    /// Further environment; the `ASTERISM_` variables of the user data and `ASTERISM_INTENT` are added, the rest is
    /// inherited.
    pub env: Vec<(String, String)>,
    /// Where the instances' folders are; created when missing.
    pub dir: PathBuf,
}

/// The provider `local`. Several of them, also in several processes, may work on one folder.
#[derive(Debug, Clone)]
pub struct LocalCloud {
    inner: Arc<Inner>,
    grace: Duration,
}

#[derive(Debug)]
struct Inner {
    config: LocalConfig,
    instances: PathBuf,
}

impl LocalCloud {
    /// Opens or makes the folder of the instances. Instances started earlier are found again.
    pub fn new(config: LocalConfig) -> Result<Self, CloudError> {
        let instances = config.dir.join("instances");
        let made = fs::create_dir_all(&instances).and_then(|()| instances.canonicalize());
        let instances = made.map_err(|e| folder_error("making", &instances, &e))?;
        Ok(Self {
            inner: Arc::new(Inner { config, instances }),
            grace: Duration::from_millis(TERMINATE_GRACE_MS),
        })
    }

    /// Changes how long `terminate` waits before it kills, in milliseconds.
    #[must_use]
    pub fn with_grace(mut self, grace_ms: u64) -> Self {
        self.grace = Duration::from_millis(grace_ms);
        self
    }

    /// The folder of an instance: the agent's files, `stdout.log` and `stderr.log`.
    pub fn instance_dir(&self, instance_id: &str) -> Option<PathBuf> {
        is_instance_id(instance_id).then(|| self.inner.instances.join(instance_id))
    }

    /// File and process work blocks, so it runs on the blocking threads of the runtime.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, CloudError> + Send + 'static,
    ) -> Result<T, CloudError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.unwrap_or_else(|e| {
            Err(CloudError::new(ErrorKind::UnknownOutcome, code::FOLDER, "a file operation", e.to_string()))
        })
    }
}

#[async_trait]
impl Cloud for LocalCloud {
    /// One at a time, whatever is asked for: a machine has no fleet of them.
    async fn launch(&self, r: &LaunchRequest) -> Result<Vec<Instance>, CloudError> {
        r.validate()?;
        let r = r.clone();
        self.run(move |inner| inner.launch(&r).map(|instance| vec![instance])).await
    }

    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        self.run(Inner::list).await
    }

    /// A process has none.
    async fn volumes(&self) -> Result<Vec<String>, CloudError> {
        Ok(Vec::new())
    }

    async fn addresses(&self) -> Result<Vec<String>, CloudError> {
        Ok(Vec::new())
    }

    async fn associate(&self, _: &str, address: &str) -> Result<(), CloudError> {
        let why =
            "processes of this machine have no public address: scaler.ec2.addresses is of the provider ec2";
        Err(CloudError::new(ErrorKind::Permanent, code::BAD_REQUEST, format!("address {address}"), why))
    }

    async fn disassociate(&self, _: &str, _: &str) -> Result<(), CloudError> {
        Ok(())
    }

    async fn terminate(&self, ids: &[String]) -> Result<(), CloudError> {
        let (ids, grace) = (ids.to_vec(), self.grace);
        self.run(move |inner| inner.terminate(&ids, grace)).await
    }
}

impl Inner {
    fn launch(&self, r: &LaunchRequest) -> Result<Instance, CloudError> {
        let at = InstanceDir::new(&self.instances, &instance_id(&r.intent_id));
        at.create()?;
        let locked = at.lock()?;
        let request_sha256 = r.digest()?;
        let record = match at.launch()? {
            Some(known) if known.intent_id != r.intent_id || known.request_sha256 != request_sha256 => {
                let why = "it was launched before with other parameters; make a new intent";
                let what = format!("intent {}", r.intent_id);
                return Err(CloudError::new(ErrorKind::Permanent, code::INTENT_MISMATCH, what, why));
            }
            Some(known) => known,
            None => {
                self.check_agent()?;
                if let Some(data) = &r.user_data {
                    write_whole(&at.path("user-data"), data.as_bytes())?;
                }
                let record =
                    LaunchRecord { intent_id: r.intent_id.clone(), request_sha256, launched_at_ms: now_ms() };
                at.write_launch(&locked, &record)?;
                record
            }
        };
        if settle(&at, &locked, &record)? {
            self.check_agent()?;
            self.spawn(&at, &locked, &record)?;
        }
        describe(&at, record)
    }

    /// Said before anything is written, so that a wrong path does not leave an instance behind.
    fn check_agent(&self) -> Result<(), CloudError> {
        let path = &self.config.agent_bin;
        let why = match fs::metadata(path) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(()),
            Ok(_) => "it is not an executable file".to_owned(),
            Err(e) => e.to_string(),
        };
        Err(CloudError::new(
            ErrorKind::Permanent,
            code::NO_AGENT,
            format!("agent program {}", path.display()),
            why,
        ))
    }

    /// Starts the process; only called when it is proven that none was started.
    fn spawn(&self, at: &InstanceDir, locked: &Locked, record: &LaunchRecord) -> Result<(), CloudError> {
        let what = format!("starting instance {}", at.id);
        let Some(alive) = at.wait_lock_alive()? else {
            return Err(CloudError::new(ErrorKind::Transient, code::BUSY, what, "its lock is held"));
        };
        let log = |name: &str| {
            let path = at.dir.join(name);
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .map_err(|e| folder_error("opening", &path, &e))
        };
        let child = Command::new("/bin/sh")
            .args(["-c", START_SCRIPT, "asterism-node"])
            .arg(at.path("pid"))
            .arg(&self.config.agent_bin)
            .args(["instance", "--dir"])
            .arg(&at.dir)
            .args(["--node", &at.id])
            .args(&self.config.args)
            .envs(self.config.env.iter().map(|(k, v)| (k, v)))
            .envs(variables(&fs::read_to_string(at.path("user-data")).unwrap_or_default()))
            .env(INTENT_VARIABLE, &record.intent_id)
            .stdin(Stdio::from(alive))
            .stdout(log("stdout.log")?)
            .stderr(log("stderr.log")?)
            .process_group(0)
            .spawn()
            .map_err(|e| match e.kind() {
                Io::WouldBlock | Io::OutOfMemory => {
                    CloudError::new(ErrorKind::Capacity, code::NO_ROOM, what.as_str(), e.to_string())
                }
                _ => CloudError::new(ErrorKind::Permanent, code::NO_AGENT, what.as_str(), e.to_string()),
            })?;
        let pid = child.id().cast_signed();
        // Not reaped yet, so the number is still this child's, even if the child has ended.
        let process = Process::observe(pid).unwrap_or_else(|| Process::ended(pid));
        process::keep(child);
        at.write_process(locked, &process)
    }

    fn list(&self) -> Result<Vec<Instance>, CloudError> {
        process::reap();
        let mut found = Vec::new();
        let entries =
            fs::read_dir(&self.instances).map_err(|e| folder_error("listing", &self.instances, &e))?;
        for (count, entry) in entries.enumerate() {
            let entry = entry.map_err(|e| folder_error("listing", &self.instances, &e))?;
            if count >= MAX_INSTANCES {
                let why = format!("more than {MAX_INSTANCES}; remove those of old fleets");
                let what = self.instances.display().to_string();
                return Err(CloudError::new(ErrorKind::Permanent, code::TOO_MANY, what, why));
            }
            let Some(id) = entry.file_name().to_str().filter(|id| is_instance_id(id)).map(str::to_owned)
            else {
                continue;
            };
            let at = InstanceDir::new(&self.instances, &id);
            // Without this record nothing was promised and nothing was started.
            let Some(record) = at.launch()? else { continue };
            match at.terminated()? {
                Some(end) if now_ms().saturating_sub(end.at_ms) > TERMINATED_LISTED_MS => continue,
                Some(_) => {}
                None => {
                    if let Some(locked) = at.try_lock()? {
                        settle(&at, &locked, &record)?;
                    }
                }
            }
            found.push(describe(&at, record)?);
        }
        found.sort_by(|a, b| a.instance_id.cmp(&b.instance_id));
        Ok(found)
    }

    /// Asks all of them to end, then waits for all of them, so that ten take no longer than one.
    fn terminate(&self, ids: &[String], grace: Duration) -> Result<(), CloudError> {
        let (mut ending, mut first_error) = (Vec::new(), None);
        for id in ids {
            match self.begin_end(id) {
                Ok(at) => ending.extend(at),
                Err(e) => first_error = first_error.or(Some(e)),
            }
        }
        let deadline = Instant::now() + grace;
        let mut left = wait_for_ends(ending, deadline)?;
        if !left.is_empty() {
            for at in &left {
                if let Some(process) = at.process()?.filter(|p| runs(at, p)) {
                    process.signal(Signal::SIGKILL);
                }
            }
            left = wait_for_ends(left, Instant::now() + KILL_WAIT)?;
        }
        if let Some(at) = left.first() {
            let what = format!("instance {}", at.id);
            let why = "its process does not end, not even by sigkill";
            first_error = Some(CloudError::new(ErrorKind::Transient, code::UNKILLABLE, what, why));
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Writes down that the instance is to end and tells its process. `None` when it has ended.
    fn begin_end(&self, id: &str) -> Result<Option<InstanceDir>, CloudError> {
        let none = || {
            let what = format!("instance {id:.40}");
            CloudError::new(ErrorKind::Transient, code::NO_SUCH_INSTANCE, what, "no such local instance")
        };
        if !is_instance_id(id) {
            return Err(none());
        }
        let at = InstanceDir::new(&self.instances, id);
        let record = at.launch()?.ok_or_else(none)?;
        let locked = at.lock()?;
        if at.terminated()?.is_some() {
            return Ok(None);
        }
        if at.terminating()?.is_none() {
            at.write_terminating(&locked, &EndRecord { at_ms: now_ms() })?;
        }
        if let Some(process) = find_process(&at, &locked, &record.mark())?.filter(|p| runs(&at, p)) {
            process.signal(Signal::SIGTERM);
        }
        Ok(Some(at))
    }
}

/// Waits until the processes have ended and writes their ends down; gives back those that still run.
fn wait_for_ends(mut ending: Vec<InstanceDir>, deadline: Instant) -> Result<Vec<InstanceDir>, CloudError> {
    loop {
        let mut left = Vec::new();
        for at in ending {
            if at.process()?.is_some_and(|p| runs(&at, &p)) {
                left.push(at);
            } else if let Some(record) = at.launch()? {
                let locked = at.lock()?;
                settle(&at, &locked, &record)?;
            }
        }
        if left.is_empty() || Instant::now() >= deadline {
            return Ok(left);
        }
        ending = left;
        thread::sleep(END_POLL);
    }
}

/// The recorded process of an instance; one that a dead launcher started and did not record is recorded now.
/// `None` proves that none was started.
fn find_process(at: &InstanceDir, locked: &Locked, mark: &str) -> Result<Option<Process>, CloudError> {
    let deadline = Instant::now() + ADOPT_WAIT;
    loop {
        if let Some(process) = at.process()? {
            return Ok(Some(process));
        }
        // The order matters: a process writes its number while it holds the lock.
        let is_held = at.try_lock_alive()?.is_none();
        let is_late = Instant::now() >= deadline;
        let found = match at.pid()? {
            None if !is_held => return Ok(None),
            None if is_late => {
                let why = "a process holds its lock and does not say which it is";
                let what = format!("instance {}", at.id);
                return Err(CloudError::new(ErrorKind::UnknownOutcome, code::UNSEEN, what, why));
            }
            None => None,
            // A process that is just becoming another program shows no environment for a moment.
            Some(pid) => match Process::observe(pid) {
                Some(process) if process.has_mark(mark) => Some(process),
                Some(_) if is_held && !is_late => None,
                _ => Some(Process::ended(pid)),
            },
        };
        if let Some(process) = found {
            at.write_process(locked, &process)?;
            return Ok(Some(process));
        }
        thread::sleep(END_POLL);
    }
}

/// Writes down the end of an instance whose process has ended, or that was ended before it had one. Gives back
/// whether a process still has to be started.
fn settle(at: &InstanceDir, locked: &Locked, record: &LaunchRecord) -> Result<bool, CloudError> {
    if at.terminated()?.is_some() {
        return Ok(false);
    }
    let mark = record.mark();
    match find_process(at, locked, &mark)? {
        Some(process) if runs(at, &process) => return Ok(false),
        Some(process) => process.sweep(&mark),
        None if at.terminating()?.is_none() => return Ok(true),
        None => {}
    }
    at.write_terminated(locked, &EndRecord { at_ms: now_ms() })?;
    Ok(false)
}

fn describe(at: &InstanceDir, record: LaunchRecord) -> Result<Instance, CloudError> {
    let state = if at.terminated()?.is_some() {
        InstanceState::Terminated
    } else if at.terminating()?.is_some() {
        InstanceState::ShuttingDown
    } else {
        match at.process()? {
            Some(process) if runs(at, &process) => InstanceState::Running,
            // Terminated is said only when nothing of it is left.
            Some(_) => InstanceState::ShuttingDown,
            None => InstanceState::Pending,
        }
    };
    Ok(Instance {
        instance_id: at.id.clone(),
        intent_id: Some(record.intent_id),
        state,
        launched_at_ms: record.launched_at_ms,
        private_address: (state == InstanceState::Running).then(|| "127.0.0.1".to_owned()),
    })
}

fn runs(at: &InstanceDir, process: &Process) -> bool {
    process.is_alive(|| matches!(at.try_lock_alive(), Ok(None)))
}

/// The `ASTERISM_` variables in user data, one a line: a machine's own unit would read them from there.
fn variables(user_data: &str) -> Vec<(&str, &str)> {
    let named = |(name, _): &(&str, &str)| {
        name.strip_prefix("ASTERISM_").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
    };
    user_data.lines().filter_map(|line| line.split_once('=')).filter(named).collect()
}

/// The id of the one instance of an intent.
fn instance_id(intent_id: &str) -> String {
    let hash = hex::encode(Sha256::digest(intent_id.as_bytes()));
    format!("i-{}", &hash[..ID_DIGITS])
}

/// Ids come from outside and become paths.
fn is_instance_id(id: &str) -> bool {
    let digits = id.strip_prefix("i-").unwrap_or_default();
    digits.len() == ID_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
