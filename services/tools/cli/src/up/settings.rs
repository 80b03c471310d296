//! What the services of `asterism up` are set to: a configuration file, variables and `--set`, over what `up` chooses.
//! What `up` itself decides cannot be given: it is refused, never ignored.

use std::path::{Path, PathBuf};

use asterism_nats::NatsServer;
use asterism_runtime::config::{Config, ConfigError};

use super::args::{PbxKind, UpArgs};
use super::system::{FLEET, TRUNK};
use crate::args::Global;
use crate::error::CliError;

/// How the file that `up` leaves for other commands begins.
const HEADER: &str = "# Written by `asterism up`; other commands find this system by it.\n";
const SERVER: &str = "`up` starts a nats-server of its own";
const FOLDER: &str = "`up` has one folder for all, --dir";
const LOCAL: &str = "the nodes of `up` are processes of this machine";
const SILENT: &str = "`up` serves no health pages; the programs of the services do";
const NODE: &str = "a node is told this by the program that starts it, not by a configuration";

/// Keys and whole sections that `up` decides, each with the reason or the flag that is meant.
const OWN: [(&str, &str); 34] = [
    ("fleet", "the fleet of `up` is called local"),
    ("nats.url", SERVER),
    ("nats.user", SERVER),
    ("nats.password_file", SERVER),
    ("nats.ca_file", SERVER),
    ("nats.insecure", SERVER),
    ("nats.stream_replicas", SERVER),
    ("paths.data_dir", FOLDER),
    ("paths.keys_dir", FOLDER),
    ("objects.url", FOLDER),
    ("ledger.archive", FOLDER),
    ("scaler.provider", LOCAL),
    ("scaler.ec2", LOCAL),
    ("scaler.agent_bin", LOCAL),
    ("scaler.agent_args", LOCAL),
    ("scaler.pbx", "say --pbx"),
    ("trunks.carrier.uri", "say --trunk"),
    ("trunks.carrier.live", "say --live"),
    ("trunks.carrier.allowed_numbers", "say --allow"),
    ("dialer.http_listen", SILENT),
    ("scaler.http_listen", SILENT),
    ("logic.http_listen", SILENT),
    ("media.http_listen", SILENT),
    ("ledger.http_listen", SILENT),
    ("agent.http_listen", SILENT),
    ("agent.node", NODE),
    ("agent.intent", NODE),
    ("agent.capacity", "say scaler.node_capacity or --capacity"),
    ("agent.heartbeat_ms", NODE),
    ("agent.load_every_ms", NODE),
    ("agent.pbx", "say --pbx"),
    ("agent.ami", NODE),
    ("agent.step_listen", NODE),
    ("agent.spool_max_bytes", NODE),
];

/// What was given, checked before anything is started or cleared.
#[derive(Clone, Debug)]
pub struct Settings {
    file: Option<PathBuf>,
    sets: Vec<String>,
    own: Vec<String>,
}

impl Settings {
    /// Reads and checks what was given.
    ///
    /// # Errors
    /// AST-U079 `up` decides the key itself; AST-C0xx as of any configuration.
    pub fn read(global: &Global, args: &UpArgs) -> Result<Self, CliError> {
        if let Some(file) = global.config.as_deref().filter(|file| is_ours(file)) {
            let what = format!("{} is written by `asterism up` itself", file.display());
            let why = "leave out --config (or ASTERISM_CONFIG), or name a file of settings";
            return Err(CliError::new("AST-U079", what, why));
        }
        let settings = Self { file: global.config.clone(), sets: global.sets.clone(), own: chosen(args) };
        let config = settings.load(&[])?;
        refuse_own(&config, args)?;
        Ok(settings)
    }

    fn load(&self, more: &[String]) -> Result<Config, ConfigError> {
        let own = [self.own.as_slice(), more].concat();
        Config::load_over(&own, self.file.as_deref(), std::env::vars(), &self.sets)
    }

    /// The configuration of the running system, and its file for other commands.
    pub(super) fn finish(
        &self,
        dir: &Path,
        nats: &NatsServer,
        objects_url: &str,
    ) -> anyhow::Result<(Config, PathBuf)> {
        let config = self.load(&[
            format!("fleet={FLEET}"),
            format!("nats.url={}", nats.service("up")?.url),
            "nats.user=service".to_owned(),
            format!("nats.password_file={}", nats.password_file("service").display()),
            format!("paths.data_dir={}", dir.display()),
            format!("paths.keys_dir={}", dir.join("keys").display()),
            format!("objects.url={objects_url}"),
            format!("ledger.archive=file://{}", dir.join("archive").display()),
        ])?;
        let mut table = toml::Table::try_from(&config)?;
        without(&mut table, &toml::Table::try_from(Config::default())?);
        let path = dir.join("asterism.toml");
        std::fs::write(&path, format!("{HEADER}{}", toml::to_string(&table)?))?;
        Ok((config, path))
    }
}

/// What `up` chooses by its flags; what is given by name wins over those without a flag.
fn chosen(args: &UpArgs) -> Vec<String> {
    let uri = if args.pbx == PbxKind::Sim { "sip:127.0.0.1:5060" } else { &args.trunk };
    let mut own = vec![
        "scaler.launch_per_minute=60".to_owned(),
        format!("trunks.{TRUNK}.uri={uri}"),
        format!("trunks.{TRUNK}.max_channels=10000"),
        format!("trunks.{TRUNK}.calls_per_second=10000"),
        format!("trunks.{TRUNK}.live={}", args.live),
        format!("trunks.{TRUNK}.allowed_numbers={}", args.allowed.join(",")),
    ];
    own.extend(args.max_nodes.map(|nodes| format!("scaler.max_nodes={nodes}")));
    own.extend(args.capacity.map(|slots| format!("scaler.node_capacity={slots}")));
    own
}

/// Refuses every key that was given and that `up` decides, all at once.
fn refuse_own(config: &Config, args: &UpArgs) -> Result<(), CliError> {
    let mut own: Vec<(String, &str)> = OWN.iter().map(|(key, why)| ((*key).to_owned(), *why)).collect();
    if args.max_nodes.is_some() {
        own.push(("scaler.max_nodes".to_owned(), "--max-nodes says so already"));
    }
    if args.capacity.is_some() {
        own.push(("scaler.node_capacity".to_owned(), "--capacity says so already"));
    }
    let refused: Vec<String> = own
        .iter()
        .filter_map(|(key, why)| {
            let place = config.source_of(key)?.to_string();
            let key = if place == format!("--set {key}") { String::new() } else { format!("{key}: ") };
            Some(format!("AST-U079: {place}: {key}cannot be set here: {why}"))
        })
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(CliError::from_text(refused.join("\n"))) }
}

/// Whether a file was written by `up`.
fn is_ours(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.starts_with(HEADER))
}

/// Takes out what is as it would be without a file.
fn without(table: &mut toml::Table, default: &toml::Table) {
    table.retain(|key, value| match (value, default.get(key)) {
        (toml::Value::Table(inner), Some(toml::Value::Table(default))) => {
            without(inner, default);
            !inner.is_empty()
        }
        (value, default) => Some(&*value) != default,
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        global: Global,
        #[command(flatten)]
        up: UpArgs,
    }

    fn read(words: &[&str]) -> Result<Config, CliError> {
        let line = Line::parse_from([&["up"], words].concat());
        Ok(Settings::read(&line.global, &line.up)?.load(&[])?)
    }

    #[test]
    fn settings_of_the_services_are_taken_and_flags_are_settings() {
        let config = read(&[
            "--set=trunks.carrier.calls_per_second=5",
            "--set=dialer.tick_ms=40",
            "--max-nodes=3",
            "--allow=+12025550123",
            "--allow=+12025550124",
        ])
        .unwrap();
        let trunk = &config.trunks[TRUNK];
        assert_eq!((trunk.calls_per_second, trunk.max_channels, trunk.allowed_numbers.len()), (5, 10_000, 2));
        assert_eq!((config.dialer.tick_ms, config.scaler.max_nodes), (40, 3));
        assert_eq!((config.scaler.node_capacity, config.scaler.launch_per_minute), (20, 60));
        assert_eq!(read(&["--set=scaler.max_nodes=4"]).unwrap().scaler.max_nodes, 4);
    }

    #[test]
    fn what_up_decides_itself_is_refused_with_place_and_reason() {
        let say = |words: &[&str]| read(words).expect_err("refused").to_string();
        assert_eq!(
            say(&["--set=nats.url=nats://10.0.0.1:4222", "--set=nats.insecure=true", "--set=fleet=x"]),
            "AST-U079: --set fleet: cannot be set here: the fleet of `up` is called local\n\
             AST-U079: --set nats.url: cannot be set here: `up` starts a nats-server of its own\n\
             AST-U079: --set nats.insecure: cannot be set here: `up` starts a nats-server of its own"
        );
        assert!(say(&["--set=trunks.carrier.uri=sip:127.0.0.1"]).ends_with("say --trunk"));
        assert!(read(&["--set=trunks.b.uri=sip:127.0.0.1"]).unwrap().trunks.contains_key("b"));
        assert!(say(&["--max-nodes=2", "--set=scaler.max_nodes=3"]).contains("--max-nodes says so already"));
        // A mistake is told as of any configuration.
        assert!(say(&["--set=dialer.tik_ms=50"]).starts_with("AST-C003: --set dialer.tik_ms: "));
        assert!(say(&["--set=dialer.tick_ms=5"]).starts_with("AST-C010: --set dialer.tick_ms: "));
        assert!(say(&["--set=dialer"]).starts_with("AST-C006: --set dialer: "));
    }

    #[test]
    fn every_key_that_is_refused_exists() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let password = format!("--set=nats.password_file={}", password.display());
        let user = ["--set=nats.user=a", password.as_str()];
        for (key, _) in OWN {
            // One of these is of the key's kind; a key that is not there would be AST-C003 for all of them.
            let values = [
                "1",
                "2000",
                "2000000",
                "true",
                "127.0.0.1:80",
                "sim",
                "local",
                "nats://127.0.0.1:4222",
                "file:///a",
                "sip:127.0.0.1",
                "+12025550123",
            ];
            let key_set = if key == "scaler.ec2" { "scaler.ec2.region" } else { key };
            let said = values.map(|value| {
                let with: &[&str] = match key {
                    "nats.user" => &user[1..],
                    "nats.password_file" => return read(&user).expect_err(key).to_string(),
                    _ => &[],
                };
                let set = format!("--set={key_set}={value}");
                let words: Vec<&str> = with.iter().copied().chain([set.as_str()]).collect();
                read(&words).err().map(|error| error.to_string()).unwrap_or_default()
            });
            assert!(said.iter().any(|said| said.contains("AST-U079")), "{key}: {said:#?}");
        }
    }

    #[test]
    fn a_file_is_taken_and_the_one_up_wrote_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.toml");
        let flag = format!("--config={}", file.display());
        std::fs::write(&file, "[dialer]\ntick_ms = 30\n[trunks.carrier]\ncaller_id = '+12025550123'\n")
            .unwrap();
        let config = read(&[&flag]).unwrap();
        assert_eq!(config.dialer.tick_ms, 30);
        assert_eq!(config.trunks[TRUNK].uri, "sip:127.0.0.1:5060");
        assert!(config.trunks[TRUNK].caller_id.is_some());
        std::fs::write(&file, "[dialer]\ntick_ms = 30\n[nats]\nurl = 'nats://127.0.0.1:1'\n").unwrap();
        let said = read(&[&flag]).expect_err("refused").to_string();
        assert!(said.contains("settings.toml:4: nats.url: cannot be set here"), "{said}");
        std::fs::write(&file, HEADER).unwrap();
        assert!(
            read(&[&flag]).expect_err("refused").to_string().contains("is written by `asterism up` itself")
        );
        std::fs::remove_file(&file).unwrap();
        assert!(read(&[&flag]).expect_err("refused").to_string().starts_with("AST-C001"));
    }

    #[test]
    fn the_file_for_other_commands_holds_what_is_not_a_default() {
        let config = read(&["--set=dialer.tick_ms=30", "--max-nodes=8"]).unwrap();
        let mut table = toml::Table::try_from(&config).unwrap();
        without(&mut table, &toml::Table::try_from(Config::default()).unwrap());
        assert_eq!(table.keys().collect::<Vec<_>>(), ["dialer", "scaler", "trunks"]);
        assert_eq!(table["dialer"].to_string(), "{ tick_ms = 30 }");
        assert_eq!(table["scaler"].to_string(), "{ launch_per_minute = 60 }");
    }
}
