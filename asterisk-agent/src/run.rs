//! `asterism-agent run`: opens what the node has, starts the tasks around the loop, and runs it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use asterism_nats::Subject;
use asterism_proto::{Origin, OriginKey, v1};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::bus::{self, Subjects, Trust};
use crate::config::RunArgs;
use crate::input::{INPUTS_MAX, Input, Inputs};
use crate::machine::Machine;
use crate::pbx::{self, PbxConfig};
use crate::recordings::Recorder;
use crate::shell::{self, Parts, Status};
use crate::spool::{Signer, Spool};
use crate::store::Store;
use crate::trunks::{Credentials, Place, Trunks};
use crate::{Error, address, files, health, media, notice, recordings, step_server};

/// How often a port that is taken is tried again: an agent that died a moment ago may still have it.
const PORT_RETRY: Duration = Duration::from_millis(100);
const PORT_TRIES: u32 = 20;

/// Runs until SIGTERM, SIGINT, or a failure nobody can wait out.
pub async fn run(args: RunArgs) -> Result<(), Error> {
    args.check()?;
    let bus_config = args.bus_config()?;
    let knows_log_key = args.node.log_key()?.is_some();
    let trust = Trust { log_key: args.node.log_key()?, refused: Arc::default() };
    if trust.log_key.is_none() {
        tracing::warn!(
            "no --log-key: whoever is on the bus can make this node drop facts that the log does not have"
        );
    }
    if let Some(path) = &args.media_ca_file {
        media::trust_file(path)?;
    }
    let step_secret = files::read_secret(&args.step_secret_file)?;
    files::private_dir(&args.dir)?;
    let journal_dir = args.journal_dir.clone().unwrap_or_else(|| args.dir.join("journal"));
    let sounds_dir = args.sounds_dir.clone().unwrap_or_else(|| args.dir.join("sounds"));
    let recordings_dir = args.recordings_dir.clone().unwrap_or_else(|| args.dir.join("recordings"));
    for dir in [&journal_dir, &sounds_dir, &recordings_dir] {
        std::fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    let (status, status_view) = watch::channel(Status::default());
    let health = listen(args.http_listen, "--http-listen").await?;
    tokio::spawn(health::serve(health, status_view, Arc::clone(&trust.refused)));

    let key = node_key(&args)?;
    let (store, loaded) = Store::open(&args.dir.join("store"), files::random()?)?;
    let epoch = loaded.epoch;
    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (pbx_commands, pbx_waiting) = mpsc::unbounded_channel();
    let fleet = args.node.fleet.clone();
    let subjects = Subjects::new(&fleet, &args.node.node)
        .map_err(|error| Error::Config { what: "--node or --fleet", why: error.to_string() })?;
    let registration = v1::Registration {
        node: args.node.node.clone(),
        intent: args.node.intent.clone(),
        public_key: key.public().to_bytes().to_vec(),
        epoch: epoch.to_vec(),
        token: args.node.token.clone(),
    };
    let mut machine = Machine::new(&args.node.node, args.node.capacity, loaded.machine);
    let adopted = machine.attempts().count();
    tracing::info!(node = args.node.node, %fleet, attempts = adopted, "agent starts");
    keep_held(&mut machine, &sounds_dir)?;

    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, args.step_port)), "--step-port").await?;
    tokio::spawn({
        let inputs = inputs.clone();
        async move { step_server::serve(listener, &step_secret, inputs).await }
    });
    let trunks = Arc::new(trunks(&args)?);
    tokio::spawn({
        let trunks = Arc::clone(&trunks);
        async move { trunks.keep_looking().await }
    });
    let pbx_config = PbxConfig {
        ami_port: args.ami_port,
        ami_user: args.ami_user.clone(),
        ami_secret_file: args.ami_secret_file.clone(),
        technology: "PJSIP".to_owned(),
        trunks: Arc::clone(&trunks),
    };
    tokio::spawn(pbx::run(pbx_config, inputs.clone(), pbx_waiting));
    let bus_task = bus::run(bus_config, subjects.clone(), fleet.clone(), registration, trust, inputs.clone());
    tokio::spawn(stop_on_signal(inputs.clone()));
    let (shown, public_address) = watch::channel(String::new());
    if let Some(server) = args.metadata_url.clone() {
        tokio::spawn(notice::watch(server.clone(), inputs.clone()));
        tokio::spawn(address::watch(server, Arc::clone(&trunks), pbx_commands.clone(), shown));
    }
    if args.exit_on_stdin_eof {
        exit_on_stdin_eof()?;
    }
    let prompts = Arc::new(media::Fetcher::new(&sounds_dir, args.media_max_kib_per_s.saturating_mul(1024)));
    let recorder = recorder(&args, &recordings_dir, subjects.addresses.clone(), inputs.clone());
    let parts = Parts {
        machine,
        spool: Spool::new(args.spool_mib * 1024 * 1024, loaded.spool),
        store,
        signer: Signer { fleet, origin: Origin::Node(args.node.node.clone()), epoch, key },
        subjects,
        witness: knows_log_key,
        step_timeout: args.step_timeout(),
        journal_dir,
        prompts,
        recorder,
        found: recordings::names(&recordings_dir)?,
        trunks,
        pbx: pbx_commands,
        public_address,
        inputs,
        status,
    };
    tokio::select! {
        ended = shell::run(parts, received) => ended,
        // It ends only with what waiting cannot cure; the calls go on without an agent until they end.
        Err(error) = bus_task => Err(error),
    }
}

fn recorder(args: &RunArgs, folder: &Path, subject: Subject, inputs: Inputs) -> Recorder {
    Recorder::start((folder, args.recordings_recipient.clone()), &args.node.node, subject, inputs)
}

/// Sets of prompts that are here from before; what the machine has no use for goes.
fn keep_held(machine: &mut Machine, sounds_dir: &Path) -> Result<(), Error> {
    for manifest in media::held(sounds_dir)? {
        if !machine.on_boot_manifest(&manifest) {
            media::remove(sounds_dir, &manifest)?;
        }
    }
    Ok(())
}

fn trunks(args: &RunArgs) -> Result<Trunks, Error> {
    let file = args.trunks_file.clone().unwrap_or_else(|| args.dir.join("trunks.conf"));
    let place = Place { advertised: args.advertised_address, bind_rtp: args.bind_rtp };
    let credentials = args.trunk_credentials_file.clone();
    // A file that cannot be used is told now, not with the first order.
    Credentials::load(credentials.as_deref())?;
    Trunks::open(file, place, args.ami_secret_file.clone(), credentials)
}

/// The node's key, made when the node is: a file only its owner can read.
fn node_key(args: &RunArgs) -> Result<OriginKey, Error> {
    let path = args.dir.join("node.nk");
    let unusable = |_| Error::Config { what: "DIR/node.nk", why: "not an nkey user seed".to_owned() };
    if !path.exists() {
        let key = OriginKey::from_entropy(files::random()?);
        files::write_private(&path, key.seed().map_err(unusable)?.as_bytes())?;
    }
    OriginKey::from_seed(&files::read_secret(&path)?).map_err(unusable)
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    let mut tries = 0;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(_) if tries < PORT_TRIES => {
                tries += 1;
                tokio::time::sleep(PORT_RETRY).await;
            }
            Err(source) => return Err(Error::Listen { address: address.to_string(), flag, source }),
        }
    }
}

async fn stop_on_signal(inputs: Inputs) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to; the agent ends by kill only");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new orders, then what is in the spool; calls that are up go on");
    let _ = inputs.send(Input::Stop).await; // the loop is gone already
}

/// The supervisor holds the other end: when it is gone, so is the machine it stood for, and we end at once.
fn exit_on_stdin_eof() -> Result<(), Error> {
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .stack_size(64 * 1024)
        .spawn(|| {
            let mut sink = std::io::sink();
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut sink); // an error is an end too
            tracing::info!("standard input ended: the supervisor is gone");
            std::process::exit(0);
        })
        .map(drop)
        .map_err(|error| Error::Start {
            what: "the thread that watches stdin".to_owned(),
            why: error.to_string(),
        })
}
