//! `carrier-recorder`: counts rings outside all nodes.

use std::net::SocketAddr;
use std::path::PathBuf;

use asterism_pbx_sim::recorder::{Recorder, RecorderConfig};
use asterism_pbx_sim::start;
use clap::Parser;

/// Records each ring of the simulated carrier on disk before the node hears of it.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File to write the port to once it listens.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// The rings file, lines of `unix_ms,attempt_id,number,node`. Appended if it exists.
    #[arg(long)]
    out: PathBuf,
    /// End when standard input ends, that is when the parent is gone.
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    start::log();
    start::block_on(async move {
        let recorder = Recorder::start(&RecorderConfig { listen: args.listen, out: args.out }).await?;
        if let Some(path) = &args.port_file {
            start::write_port(path, recorder.addr().port())?;
        }
        tracing::info!(addr = %recorder.addr(), rings = recorder.count().rings, "carrier recorder ready");
        start::until_told(args.exit_on_stdin_eof).await?;
        Ok(())
    })
}
