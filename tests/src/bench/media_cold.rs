//! `media-cold`: a set of 200 prompts to 34 nodes that hold nothing, from one S3 server of this machine, against the tools
//! people copy buckets with. Each node is a process with a folder of its own, on both sides; both sides end with the disk
//! synced. Ours verifies each sound and shows the set at once, whole; theirs copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_agent::media::{Addresses, Fetched, Fetcher};
use asterism_object_store::FolderServer;
use asterism_proto::hash::Hash;
use asterism_proto::v1::SyncOrder;
use futures_util::future::BoxFuture;
use prost::Message as _;
use serde_json::json;

use super::media_set::{self, BUNDLE, DOCUMENT, PLAIN, Set};
use super::report::{Figure, median, scratch, spread};

const PROMPTS: usize = 200;
const NODES: usize = 34;
const ROUNDS: usize = 3;
/// How many times the fastest's seconds somebody may take in the first round and be measured again.
const FAR_BEHIND: f64 = 3.0;
/// Two to twelve seconds of µ-law.
const LENGTHS: std::ops::Range<u64> = 16_000..96_000;
const BUCKET: &str = "prompts";
const KEY: (&str, &str) = ("bench-id", "bench-secret");
const REGION: &str = "local";
/// The order of a node process; see [`node`].
const ORDER_VARIABLE: &str = "ASTERISM_BENCH_SYNC_ORDER";

/// One way to bring the set to a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Agent,
    S5cmd,
    Rclone,
    Aws,
}

const WAYS: [(Way, &str); 4] =
    [(Way::Agent, "agent"), (Way::S5cmd, "s5cmd"), (Way::Rclone, "rclone"), (Way::Aws, "aws")];

struct World {
    dir: tempfile::TempDir,
    tools: PathBuf,
    endpoint: String,
    set: Set,
}

/// If this process is one of the nodes: fetches what the order says into the folder, and says whether it is there.
pub fn node() -> Option<anyhow::Result<()>> {
    let order = std::env::var_os(ORDER_VARIABLE)?;
    let fetch = || {
        let folder = std::env::args_os().nth(1).context("the node's folder")?;
        let order = SyncOrder::decode(fs::read(order)?.as_slice())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let fetched = runtime.block_on(Fetcher::new(Path::new(&folder), 0).fetch(order, &Nowhere))?;
        ensure!(fetched == Fetched::Held, "the set was not fetched");
        Ok(())
    };
    Some(fetch())
}

/// The bundle holds everything: nothing else is asked for.
pub struct Nowhere;

impl Addresses for Nowhere {
    fn of<'a>(&'a self, _: &'a str, _: Vec<Hash>) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async { Err("no sound is anywhere but in the bundle".to_owned()) })
    }
}

/// Measures all ways in turn.
pub async fn run() -> anyhow::Result<Figure> {
    let tools = std::env::var_os("ASTERISM_MEDIA_TOOLS")
        .context("the tools to compare with are missing: tests/setup/media-tools.sh prints their folder")?;
    let dir = scratch()?;
    let set = media_set::write(&dir.path().join("source"), PROMPTS, LENGTHS, |_| 0)?;
    let server = FolderServer::start(&dir.path().join("s3"), BUCKET, KEY.0, KEY.1).await?;
    let endpoint = server.url();
    let endpoint = endpoint.rsplit_once("endpoint=").context("the server's address")?.1.to_owned();
    let world = World { dir, tools: tools.into(), endpoint, set };
    let rounds = tokio::task::spawn_blocking(move || world.rounds()).await??;
    drop(server);
    figure(&rounds)
}

impl World {
    /// For each round the seconds of each way.
    fn rounds(&self) -> anyhow::Result<(u64, Vec<Vec<[f64; 2]>>)> {
        let source = self.path("source");
        let bucket = format!("s3://{BUCKET}/");
        self.finish(
            self.aws().args(["s3", "cp", "--recursive", "--only-show-errors"]).arg(&source).arg(&bucket),
        )?;
        let [document_url, bundle_url] = [DOCUMENT, BUNDLE].map(|name| self.presigned(name));
        let order = self.set.order(document_url?, bundle_url?);
        fs::write(self.path("order"), order.encode_to_vec())?;
        // The first round warms up, and says who is so far behind that the others need not be kept waiting for him again.
        let first = self.round(None)?;
        let rounds =
            (0..ROUNDS).map(|_| self.round(Some(&first))).collect::<anyhow::Result<Vec<Vec<_>>>>()?;
        Ok((self.set.bytes, rounds))
    }

    /// The seconds of each way, for one node and for all. One that took over [`FAR_BEHIND`] times the fastest in the first round
    /// keeps its time of that.
    fn round(&self, first: Option<&Vec<[f64; 2]>>) -> anyhow::Result<Vec<[f64; 2]>> {
        let fastest = first.map(|times| times.iter().map(|time| time[1]).fold(f64::INFINITY, f64::min));
        let mut times = Vec::with_capacity(WAYS.len());
        for (at, (way, name)) in WAYS.iter().enumerate() {
            let known = first.map(|times| times[at]);
            if let Some(known) =
                known.filter(|known| fastest.is_some_and(|best| known[1] > best * FAR_BEHIND))
            {
                times.push(known);
                continue;
            }
            let time = [self.synced(*way, 1)?, self.synced(*way, NODES)?];
            eprintln!("media-cold: {name}: one node {:.2} s, {NODES} nodes {:.2} s", time[0], time[1]);
            times.push(time);
        }
        Ok(times)
    }

    /// Seconds until so many nodes that held nothing have the set on disk.
    fn synced(&self, way: Way, nodes: usize) -> anyhow::Result<f64> {
        let home = self.path("nodes");
        if home.exists() {
            fs::remove_dir_all(&home)?;
        }
        let folders: Vec<PathBuf> = (0..nodes).map(|node| home.join(node.to_string())).collect();
        for folder in &folders {
            fs::create_dir_all(folder)?;
        }
        self.finish(Command::new("sync").arg("-f").arg(&home))?;
        let began = Instant::now();
        let started: Vec<Child> = folders
            .iter()
            .map(|folder| Ok(self.node(way, folder)?.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
            .collect::<anyhow::Result<_>>()?;
        for mut node in started {
            ensure!(node.wait()?.success(), "a node ended without its prompts");
        }
        self.finish(Command::new("sync").arg("-f").arg(&home))?;
        let seconds = began.elapsed().as_secs_f64();
        for folder in &folders {
            self.set.check(&self.path("source"), |language, file| match way {
                Way::Agent => folder.join(language).join(&self.set.manifest).join(file),
                _ => folder.join(language).join(file),
            })?;
        }
        Ok(seconds)
    }

    /// What brings the set to one node.
    fn node(&self, way: Way, folder: &Path) -> anyhow::Result<Command> {
        let from = format!("s3://{BUCKET}/{PLAIN}");
        Ok(match way {
            Way::Agent => {
                let mut node = Command::new(std::env::current_exe()?);
                node.arg(folder).env(ORDER_VARIABLE, self.path("order"));
                node
            }
            Way::S5cmd => {
                let mut node = self.tool("s5cmd");
                node.args(["--endpoint-url", &self.endpoint, "--log", "error", "sync", &format!("{from}/*")]);
                node.arg(format!("{}/", folder.display()));
                node
            }
            Way::Rclone => {
                let mut node = self.tool("rclone");
                node.args([
                    "--config",
                    "/dev/null",
                    "--s3-provider",
                    "Other",
                    "--s3-env-auth",
                    "--s3-region",
                    REGION,
                ]);
                // Without the slash it first asks for an object of that name, is told 500 by a store that is folders, and asks on for minutes.
                node.args(["--s3-endpoint", &self.endpoint, "sync", &format!(":s3:{BUCKET}/{PLAIN}/")])
                    .arg(folder);
                node
            }
            Way::Aws => {
                let mut node = self.aws();
                node.args(["s3", "sync", "--only-show-errors", &from]).arg(folder);
                node
            }
        })
    }

    fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(self.tools.join(name));
        tool.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1).env("AWS_REGION", REGION);
        // A machine behind a proxy may name certificates there, for which rclone has no transport; this server has none.
        tool.env_remove("AWS_CA_BUNDLE");
        tool
    }

    fn aws(&self) -> Command {
        let mut aws = self.tool("aws");
        aws.args(["--endpoint-url", &self.endpoint]);
        aws
    }

    fn presigned(&self, name: &str) -> anyhow::Result<String> {
        let made = self.aws().args(["s3", "presign", &format!("s3://{BUCKET}/{name}")]).output()?;
        ensure!(made.status.success(), "aws s3 presign: {}", String::from_utf8_lossy(&made.stderr));
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    fn finish(&self, command: &mut Command) -> anyhow::Result<()> {
        let done = command.output()?;
        ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn figure((bytes, rounds): &(u64, Vec<Vec<[f64; 2]>>)) -> anyhow::Result<Figure> {
    let of = |way: usize, many: usize| rounds.iter().map(|round| round[way][many]).collect::<Vec<f64>>();
    // The fastest of the others, by its median.
    let fastest = |many: usize| {
        (1..WAYS.len())
            .min_by(|a, b| median(&of(*a, many)).total_cmp(&median(&of(*b, many))))
            .context("no baseline")
    };
    let ratio = |many: usize, other: usize| {
        let ratios: Vec<f64> =
            of(0, many).iter().zip(of(other, many)).map(|(ours, theirs)| theirs / ours).collect();
        median(&ratios)
    };
    let (one, all) = (fastest(0)?, fastest(1)?);
    let seconds = |many: usize| -> serde_json::Map<String, serde_json::Value> {
        WAYS.iter().enumerate().map(|(at, (_, name))| ((*name).to_owned(), spread(&of(at, many)))).collect()
    };
    Ok(Figure {
        value: median(&of(0, 1)),
        unit: "s",
        baseline: Some(median(&of(all, 1))),
        ratio: Some(ratio(1, all)),
        note: format!(
            "{PROMPTS} prompts in two languages ({:.1} MB) to {NODES} nodes at once that hold nothing, each a process with a \
             folder of its own, synced; baseline: {}, the fastest of s5cmd, rclone and aws s3 sync in this run (who took over {FAR_BEHIND} times the fastest has one round)",
            *bytes as f64 / 1e6,
            WAYS[all].1
        ),
        detail: json!({
            "nodes_34_s": seconds(1),
            "node_1_s": seconds(0),
            "node_1_ratio": ratio(0, one),
            "node_1_baseline": WAYS[one].1,
        }),
    })
}
