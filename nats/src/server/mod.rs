//! A nats-server as a child process: for `asterism up`, one box and the tests.
//!
//! It listens on loopback only, syncs each frame, and knows three users: `service`, which may do everything, and `node` and
//! `web`, which may do what [`crate::subject::node_permissions`] and [`crate::subject::web_permissions`] say. Its folder holds everything: configuration, passwords,
//! store, log. The folder is locked while it runs, because two servers on one store destroy it.

mod config;
mod files;

use std::fmt;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use crate::bus::BusConfig;
use crate::error::Error;
use crate::secret::Secret;

/// The oldest server that has what the stream needs.
const VERSION_MIN: (u64, u64) = (2, 12);
/// How long the server may take until it accepts connections; a large store is read first.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a starting server is asked.
const START_POLL: Duration = Duration::from_millis(10);
/// Longest greeting read from whoever listens on the port.
const GREETING_MAX_BYTES: u64 = 8192;
/// How long the greeting may take.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a free port is chosen anew when another process was quicker.
const PORT_TRIES: u32 = 20;
/// How long a restart waits for its own port.
const RESTART_PORT_WAIT: Duration = Duration::from_secs(5);
/// The user of the services.
pub const SERVICE_USER: &str = "service";
/// The user of the nodes.
pub const NODE_USER: &str = "node";
/// The user of back ends on the bus.
pub const WEB_USER: &str = "web";

/// When the server syncs what it stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before it acknowledges: what was acknowledged survives a power cut. The product runs this way.
    #[default]
    Always,
    /// Whenever the server's own default says, minutes later; only to measure what `Always` costs.
    ServerDefault,
}

/// A running nats-server. Dropping it kills it; its store stays.
pub struct NatsServer {
    /// `nats://127.0.0.1:port`.
    pub url: String,
    /// The process id of the current run.
    pub pid: u32,
    /// The port on loopback; a restart keeps it.
    pub port: u16,
    binary: PathBuf,
    dir: PathBuf,
    sync_interval: SyncInterval,
    service_password: Secret,
    node_password: Secret,
    web_password: Secret,
    child: Option<Child>,
    _lock: File,
}

impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsServer").field("url", &self.url).field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// How one start attempt failed.
enum Failed {
    PortTaken,
    Other(Error),
}

impl NatsServer {
    /// Starts a server whose everything is in `dir`, on a given port or a free one, and waits until it accepts
    /// connections.
    ///
    /// # Errors
    /// AST-N010 too old, AST-N011 port taken, AST-N012 did not come up, AST-N013 a file, AST-N014 folder in use.
    pub async fn start(binary: &Path, dir: &Path, port: Option<u16>) -> Result<Self, Error> {
        Self::start_with(binary, dir, port, SyncInterval::Always).await
    }

    /// The same with another sync interval; a restart keeps it.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn start_with(
        binary: &Path,
        dir: &Path,
        port: Option<u16>,
        sync_interval: SyncInterval,
    ) -> Result<Self, Error> {
        check_version(binary).await?;
        let lock = files::prepare(dir)?;
        files::end_left_over(dir).await?;
        let mut server = Self {
            url: String::new(),
            pid: 0,
            port: 0,
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            sync_interval,
            service_password: files::password(dir, SERVICE_USER)?,
            node_password: files::password(dir, NODE_USER)?,
            web_password: files::password(dir, WEB_USER)?,
            child: None,
            _lock: lock,
        };
        for _ in 0..PORT_TRIES {
            let candidate = match port {
                Some(port) => port,
                None => free_port()?,
            };
            match server.launch(candidate).await {
                Ok(()) => return Ok(server),
                Err(Failed::PortTaken) if port.is_none() => {}
                Err(Failed::PortTaken) => return Err(Error::PortTaken { port: candidate }),
                Err(Failed::Other(error)) => return Err(error),
            }
        }
        Err(Error::ServerStart { reason: "no free port was found".to_owned(), log: server.log_file() })
    }

    /// A bus configuration for a service of this name.
    pub fn service(&self, process: &str) -> Result<BusConfig, Error> {
        let inbox = crate::subject::service_inbox(process)?;
        Ok(self.user(process, &inbox, SERVICE_USER, &self.service_password))
    }

    /// A bus configuration for a node.
    pub fn node(&self, node: &str) -> Result<BusConfig, Error> {
        let inbox = crate::subject::node_inbox(node)?;
        Ok(self.user(node, &inbox, NODE_USER, &self.node_password))
    }

    /// A bus configuration for a back end.
    pub fn web(&self, name: &str) -> Result<BusConfig, Error> {
        let inbox = crate::subject::service_inbox(name)?;
        Ok(self.user(name, &inbox, WEB_USER, &self.web_password))
    }

    fn user(&self, name: &str, inbox: &str, user: &str, password: &Secret) -> BusConfig {
        BusConfig {
            url: self.url.clone(),
            user: Some(user.to_owned()),
            password: Some(password.clone()),
            ..BusConfig::loopback(name, inbox)
        }
    }

    /// The file with a user's password, readable by its owner only.
    pub fn password_file(&self, user: &str) -> PathBuf {
        files::password_file(&self.dir, user)
    }

    /// What the server logs.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join(files::LOG)
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Kills the process as kill -9 does, and waits until it is gone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_file(self.dir.join(files::PID));
        }
    }

    /// Starts it again on the same port and store, killing what runs.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill9();
        let deadline = Instant::now() + RESTART_PORT_WAIT;
        loop {
            match self.launch(self.port).await {
                Ok(()) => return Ok(()),
                Err(Failed::PortTaken) if Instant::now() < deadline => {
                    tokio::time::sleep(START_POLL * 5).await;
                }
                Err(Failed::PortTaken) => return Err(Error::PortTaken { port: self.port }),
                Err(Failed::Other(error)) => return Err(error),
            }
        }
    }

    /// Asks it to stop in order and waits; kills it if it does not.
    pub async fn stop(mut self) {
        if let Some(child) = &self.child {
            files::terminate(child.id());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.is_running() && Instant::now() < deadline {
            tokio::time::sleep(START_POLL).await;
        }
        self.kill9();
    }

    async fn launch(&mut self, port: u16) -> Result<(), Failed> {
        let name = config::unique_name().map_err(Failed::Other)?;
        let log = self.log_file();
        let text = config::render(&config::Settings {
            name: &name,
            port,
            store: &self.dir.join(files::STORE),
            sync_interval: self.sync_interval,
            service_password: self.service_password.reveal(),
            node_password: self.node_password.reveal(),
            web_password: self.web_password.reveal(),
        });
        let config_file = self.dir.join(files::CONFIG);
        files::write_private(&config_file, &text).map_err(Failed::Other)?;
        let output = files::create_log(&log).map_err(Failed::Other)?;
        let errors =
            output.try_clone().map_err(|source| Failed::Other(Error::File { path: log.clone(), source }))?;
        let mut child = Command::new(&self.binary)
            .arg("--config")
            .arg(&config_file)
            // Ctrl-C goes to our whole group; the server must outlive the drain it asks for.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(|source| Failed::Other(Error::File { path: self.binary.clone(), source }))?;
        let came_up = wait_until_up(&mut child, port, &name, &log).await;
        if let Err(failed) = came_up {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed);
        }
        self.pid = child.id();
        self.port = port;
        self.url = format!("nats://127.0.0.1:{port}");
        self.child = Some(child);
        files::write_private(&self.dir.join(files::PID), &self.pid.to_string()).map_err(Failed::Other)
    }
}

async fn wait_until_up(child: &mut Child, port: u16, name: &str, log: &Path) -> Result<(), Failed> {
    let failed = |reason: String| Failed::Other(Error::ServerStart { reason, log: log.to_owned() });
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                let last = files::last_line(log);
                return Err(if last.contains("address already in use") {
                    Failed::PortTaken
                } else {
                    failed(format!("{status}: {last}"))
                });
            }
            Err(error) => return Err(failed(error.to_string())),
        }
        // The name in the greeting tells our child from another server on that port.
        if greeting(port).await.is_some_and(|line| line.contains(&format!("\"server_name\":\"{name}\""))) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(failed(format!(
                "not ready after {} s: {}",
                START_TIMEOUT.as_secs(),
                files::last_line(log)
            )));
        }
        tokio::time::sleep(START_POLL).await;
    }
}

/// The first line a server sends; it says its name.
async fn greeting(port: u16) -> Option<String> {
    let reading = async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream.take(GREETING_MAX_BYTES)).read_line(&mut line).await.ok()?;
        Some(line)
    };
    tokio::time::timeout(GREETING_TIMEOUT, reading).await.ok().flatten()
}

/// A port that is free now, outside the range the system gives to outgoing connections: there a client that reconnects
/// to a stopped server could be given the server's own port.
///
/// # Errors
/// AST-N011 when none was found.
pub fn free_port() -> Result<u16, Error> {
    let mut taken = 0;
    for _ in 0..200 {
        let mut random = [0u8; 2];
        if getrandom::fill(&mut random).is_err() {
            break;
        }
        let port = 10_240 + u16::from_le_bytes(random) % 22_000;
        match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(_) => taken = port,
        }
    }
    Err(Error::PortTaken { port: taken })
}

async fn check_version(binary: &Path) -> Result<(), Error> {
    let output = tokio::process::Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::File { path: binary.to_owned(), source })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.lines().next().unwrap_or_default();
    match parse_version(said) {
        Some(version) if version >= VERSION_MIN => Ok(()),
        _ => Err(Error::ServerVersion { binary: binary.to_owned(), found: said.chars().take(80).collect() }),
    }
}

/// `nats-server: v2.15.1` gives (2, 15).
fn parse_version(said: &str) -> Option<(u64, u64)> {
    let version = said.strip_prefix("nats-server: v")?;
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Finds a nats-server: the one `ASTERISM_NATS_SERVER` names, else the first that is new enough on PATH or in the project's
/// cache folder above the working directory. `None` when there is none.
pub fn find_binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ASTERISM_NATS_SERVER").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).collect();
    let here = std::env::current_dir().unwrap_or_default();
    let cached = here.ancestors().map(|dir| dir.join(".cache/nats-server/nats-server"));
    on_path.into_iter().chain(cached).find(|file| file.is_file() && is_new_enough(file))
}

fn is_new_enough(binary: &Path) -> bool {
    Command::new(binary).arg("--version").stdin(Stdio::null()).output().is_ok_and(|output| {
        let said = String::from_utf8_lossy(&output.stdout);
        parse_version(said.lines().next().unwrap_or_default()) >= Some(VERSION_MIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_read_as_the_server_prints_them() {
        assert_eq!(parse_version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(parse_version("nats-server: v2.12.0-RC.1"), Some((2, 12)));
        assert_eq!(parse_version("nats-server: v2"), None);
        assert_eq!(parse_version("bash 5.2"), None);
    }

    proptest! {
        #[test]
        fn any_version_line_is_read_without_panic(line in "\\PC{0,80}") {
            let _ = parse_version(&line);
        }
    }
}
