//! What both programs do at start and end.

use std::future::Future;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;

/// Longest secret, in bytes.
const MAX_SECRET_BYTES: usize = 128;
/// Shortest secret, in bytes.
const MIN_SECRET_BYTES: usize = 8;

/// Logs to standard error; `RUST_LOG` chooses what, warnings and the start by default.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}

/// Runs `main` on one thread: the programs are small and many stand on one machine.
pub fn block_on<E: From<Error>>(main: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_stack_size(256 * 1024)
        .build()
        .map_err(Error::Socket)?;
    runtime.block_on(main)
}

/// Reads a secret: one line of printable ASCII.
pub fn read_secret(path: &Path) -> Result<String, Error> {
    let file = std::fs::File::open(path).map_err(|source| Error::file("read", path, source))?;
    let mut text = String::new();
    let limit = MAX_SECRET_BYTES as u64 + 3; // one too many, and a line end
    file.take(limit).read_to_string(&mut text).map_err(|source| Error::file("read", path, source))?;
    let secret = text.trim_end();
    let fits = (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.len());
    if fits && secret.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(secret.to_owned())
    } else {
        Err(Error::Secret { path: path.to_owned() })
    }
}

/// Writes a port for the parent to find: whole or not at all.
pub fn write_port(path: &Path, port: u16) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    std::fs::write(&new, format!("{port}\n"))
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|source| Error::file("write", path, source))
}

/// Prints to standard output.
pub fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(text.as_bytes())
}

/// Returns on SIGUSR1: what Asterisk's console calls `core stop gracefully`.
pub async fn until_told_to_drain() -> Result<(), Error> {
    signal(SignalKind::user_defined1()).map_err(Error::Socket)?.recv().await;
    Ok(())
}

/// Returns on SIGTERM or SIGINT, or when standard input ends if `stdin_too`.
pub async fn until_told(stdin_too: bool) -> Result<(), Error> {
    let mut term = signal(SignalKind::terminate()).map_err(Error::Socket)?;
    let mut int = signal(SignalKind::interrupt()).map_err(Error::Socket)?;
    let (gone, mut parent_gone) = tokio::sync::oneshot::channel::<()>();
    let mut gone = Some(gone);
    if stdin_too {
        let gone = gone.take();
        // A plain thread: the runtime must not wait for a read that never ends.
        std::thread::Builder::new()
            .name("stdin".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                let mut buffer = [0; 256];
                while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
                drop(gone);
            })
            .map_err(Error::Socket)?;
    }
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = &mut parent_gone => {}
    }
    drop(gone);
    Ok(())
}
