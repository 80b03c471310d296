//! A real nats-server, a key folder, and processes that each have a copy of the log of their own: for the tests of the
//! services above.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::future::Future;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use asterism_nats::server::find_binary;
use asterism_nats::{Bus, LeaseTiming, NatsServer};

use crate::archive::Archive;
use crate::keys::Keyring;
use crate::leader::now_ms;
use crate::log::{Log, LogConfig, LogError, SealAt};
use crate::role::Deps;
use crate::shutdown::Shutdown;

/// The fleet of the tests.
pub const FLEET: &str = "demo";
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A fleet without services.
#[derive(Debug)]
pub struct Fixture {
    /// The server.
    pub server: NatsServer,
    /// Every key.
    pub keyring: Keyring,
    /// Holds `keys`, `nats` and `log`; gone with the test.
    pub dir: tempfile::TempDir,
}

impl Fixture {
    /// Starts the server and makes keys.
    pub async fn start() -> Self {
        let binary = find_binary().expect(
            "no nats-server: set ASTERISM_NATS_SERVER, put one on PATH, or run tests/setup/nats-server.sh",
        );
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        let keyring = Keyring::init(&dir.path().join("keys"), FLEET, now_ms()).unwrap();
        Self { server, keyring, dir }
    }

    /// A connection with a service's rights.
    pub async fn service(&self, name: &str) -> Bus {
        Bus::connect(&self.server.service(name).unwrap()).await.unwrap()
    }

    /// What one process has: a connection and a copy.
    pub async fn process(&self, name: &str) -> Deps {
        self.process_with(name, None).await.unwrap()
    }

    /// [`Fixture::process`] with an archive to restore the copy from.
    pub async fn process_with(&self, name: &str, archive: Option<&Archive>) -> Result<Deps, LogError> {
        let bus = self.service(name).await;
        let config = LogConfig {
            fleet: FLEET.to_owned(),
            dir: self.dir.path().join("log").join(name),
            anchor: self.keyring.anchor(),
            first_frame: self.keyring.first_frame().to_vec(),
            stream_max_bytes: 64 * 1024 * 1024,
            seal: SealAt::default(),
        };
        let log = within("open the log", Box::pin(Log::open_with(config, bus.clone(), archive))).await?;
        Ok(Deps {
            bus,
            log,
            keyring: self.keyring.clone(),
            holder: name.to_owned(),
            lease_timing: LeaseTiming::faster(10),
            shutdown: Shutdown::new(),
        })
    }

    /// A process's log folder as a crash would leave it, as that of another: everything synced, nothing closed.
    pub async fn crash(&self, from: &Deps, to: &str) {
        from.log.sync().await.unwrap();
        let log = self.dir.path().join("log");
        copy_folder(&log.join(&from.holder), &log.join(to));
    }

    /// Starts a service's program on this fleet.
    pub fn program(&self, path: &str) -> Program {
        self.program_with(path, &[])
    }

    /// [`Fixture::program`] with settings, `section.key=value`.
    pub fn program_with(&self, path: &str, sets: &[String]) -> Program {
        let below = |name: &str| self.dir.path().join(name).display().to_string();
        let password = self.server.password_file("service").display().to_string();
        let mut command = Command::new(path);
        for (key, value) in [
            ("fleet", FLEET),
            ("nats.url", &self.server.url),
            ("nats.user", "service"),
            ("nats.password_file", &password),
            ("paths.data_dir", &below("data")),
            ("paths.keys_dir", &below("keys")),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        for set in sets {
            command.args(["--set", set]);
        }
        Program(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// Copies files and folders; sockets and the like stay.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

/// A process that is gone with the test.
#[derive(Debug)]
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

impl Program {
    /// Kills it, and waits until it is gone.
    pub async fn kill9(&mut self) {
        self.0.kill().unwrap();
        assert!(!self.ended().await.success());
    }

    /// Tells it to stop, and waits for how it ends.
    pub async fn terminate(&mut self) -> ExitStatus {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.ended().await
    }

    async fn ended(&mut self) -> ExitStatus {
        within("the end of the process", async {
            loop {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
            }
        })
        .await
    }
}

/// Fails the test when something takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}")
    };
    value
}
