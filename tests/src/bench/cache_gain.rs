//! `cache-gain`: what a caller waits for a step of a slow back end with its answers kept, and without.
//!
//! A real responder process asks a back end over XML-RPC that thinks for 20 or 100 ms. 10,000 questions draw 1,000 keys by
//! Zipf's law; three of ten are of a kind that may not be kept. Three responders take turns: one that keeps nothing, one
//! that keeps in process, and one that may keep a single answer itself and has the rest in memcached. Each round is a new
//! version of the flow, so that each begins cold.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use asterism_domain::logic;
use asterism_nats::Subject;
use asterism_nats::server::SyncInterval;
use asterism_object_store::{FolderStore, ObjectName, ObjectStore};
use asterism_proto::v1::{ContactField, StepAnswer, StepQuestion};
use futures_util::StreamExt;
use prost::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::report::{Figure, median, quantile, rounded, spread};
use super::world::{FLEET, Process, World, call};

const QUESTIONS: usize = 10_000;
const KEYS: usize = 1_000;
/// Of ten questions so many may not be kept.
const OWN_OF_TEN: u64 = 3;
/// Questions at the same time.
const AT_ONCE: usize = 16;
/// Think times of the back end, ms, and the rounds of each.
const THINKS: [(u64, usize); 2] = [(20, 3), (100, 1)];

/// One way to keep answers.
struct Side {
    name: &'static str,
    world: World,
    store: FolderStore,
}

/// What one run came to.
#[derive(Default)]
struct Run {
    mean_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    asked: u64,
}

pub async fn run() -> anyhow::Result<Figure> {
    let memcached = memcached()?;
    let backend = Backend::start()?;
    let mut sides = Vec::new();
    let shared = format!("--set=logic.memcached={}", memcached.1);
    for (name, sets) in [
        ("without", vec!["--set=logic.cache_entries=0".to_owned()]),
        ("in_process", vec![]),
        ("memcached", vec!["--set=logic.cache_entries=1".to_owned(), shared]),
    ] {
        let world = World::start_with(SyncInterval::ServerDefault, &sets).await?;
        let store = FolderStore::open(&world.path().join("objects")).await?;
        sides.push(Side { name, world, store });
    }
    let drawn = draw();
    let once: std::collections::BTreeSet<&Option<usize>> = drawn.iter().filter(|key| key.is_some()).collect();
    let kept = drawn.iter().filter(|key| key.is_some()).count();
    let bound = QUESTIONS as f64 / (QUESTIONS - kept + once.len()) as f64;
    let (mut detail, mut figure) = (serde_json::Map::new(), None);
    for (think_ms, rounds) in THINKS {
        let mut runs: Vec<Vec<Run>> = sides.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for (side, runs) in sides.iter().zip(&mut runs) {
                runs.push(side.run(&backend, &drawn, (think_ms, round)).await.context(side.name)?);
            }
        }
        let ratios = |side: usize| -> Vec<f64> {
            runs[0].iter().zip(&runs[side]).map(|(without, with)| without.mean_ms / with.mean_ms).collect()
        };
        let mut of_think = serde_json::Map::new();
        for (index, side) in sides.iter().enumerate() {
            of_think.insert(side.name.to_owned(), described(&runs[index], &ratios(index)));
        }
        detail.insert(format!("think_{think_ms}_ms"), Value::Object(of_think));
        let means = |side: usize| median(&runs[side].iter().map(|run| run.mean_ms).collect::<Vec<_>>());
        figure.get_or_insert((means(1), means(0), median(&ratios(1))));
    }
    let (value, baseline, ratio) = figure.context("no round")?;
    detail.insert("bound".to_owned(), json!(rounded(bound)));
    detail.insert("ratio_of_bound".to_owned(), json!(rounded(ratio / bound)));
    detail.insert("questions_a_run".to_owned(), json!(QUESTIONS));
    Ok(Figure {
        value,
        unit: "ms",
        baseline: Some(baseline),
        ratio: Some(ratio),
        note: format!(
            "mean time from question on the bus to its committed answer, kept in process, cold start, {AT_ONCE} at once, \
             1,000 keys by Zipf 1.0, 30 % not cacheable, XML-RPC back end that thinks 20 ms; baseline: the same without cache"
        ),
        detail: Value::Object(detail),
    })
}

fn described(runs: &[Run], ratios: &[f64]) -> Value {
    let all = |pick: fn(&Run) -> f64| -> Vec<f64> { runs.iter().map(pick).collect() };
    json!({
        "mean_ms": spread(&all(|run| run.mean_ms)),
        "p50_ms": rounded(median(&all(|run| run.p50_ms))),
        "p99_ms": rounded(median(&all(|run| run.p99_ms))),
        "back_end_asked": median(&all(|run| run.asked as f64)),
        "gain": spread(ratios),
    })
}

impl Side {
    /// All questions once, cold; checks that each had the answer of its own key.
    async fn run(
        &self,
        backend: &Backend,
        drawn: &[Option<usize>],
        (think_ms, round): (u64, usize),
    ) -> anyhow::Result<Run> {
        let text = format!(
            "# {think_ms} {round}\nname = \"gain\"\nfallback = \"end\"\n[backend]\nkind = \"xml-rpc\"\n\
             url = \"http://127.0.0.1:{}/{think_ms}\"\ntimeout_ms = 4000\nprompts = [\"hello\"]\nfields = [\"key\"]\n\
             [states.end]\nhangup = {{}}\n",
            backend.port
        );
        let flow = logic::flow_id(text.as_bytes());
        self.store.put(&ObjectName::new(format!("flows/{flow}.toml"))?, text.into_bytes().into()).await?;
        let before = backend.asked.load(Ordering::Relaxed);
        let mut took: Vec<f64> = Vec::with_capacity(drawn.len());
        let campaign = format!("gain{think_ms}x{round}");
        let mut answers = futures_util::stream::iter(drawn.iter().enumerate())
            .map(|(contact, key)| self.ask(&campaign, &flow, contact, *key))
            .buffer_unordered(AT_ONCE);
        while let Some(ms) = answers.next().await {
            took.push(ms?);
        }
        Ok(Run {
            mean_ms: took.iter().sum::<f64>() / took.len() as f64,
            p50_ms: median(&took),
            p99_ms: quantile(&took, 990),
            asked: backend.asked.load(Ordering::Relaxed) - before,
        })
    }

    async fn ask(
        &self,
        campaign: &str,
        flow: &str,
        contact: usize,
        key: Option<usize>,
    ) -> anyhow::Result<f64> {
        let value = key.map_or_else(|| format!("own-{contact}"), |key| key.to_string());
        let question = StepQuestion {
            call: call(campaign, contact),
            step: 2,
            flow: flow.to_owned(),
            state: if key.is_some() { "kept" } else { "own" }.to_owned(),
            verb: "gather".to_owned(),
            status: "OK".to_owned(),
            digits: "1".to_owned(),
            campaign: campaign.to_owned(),
            fields: vec![ContactField { name: "key".to_owned(), value: value.clone() }],
            deadline_ms: 8_000,
            ..StepQuestion::default()
        };
        let began = Instant::now();
        let bytes = self
            .world
            .bus
            .request(&Subject::step(FLEET)?, question.encode_to_vec(), Duration::from_secs(10))
            .await?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let answer = StepAnswer::decode(bytes.as_slice())?;
        let said = answer.vars.first().map(|var| var.value.as_str());
        ensure!(answer.frame > 0 && said == Some(&value), "asked for {value}: {answer:?}");
        Ok(ms)
    }
}

/// Which key each question has; none for one that may not be kept. The same each time.
fn draw() -> Vec<Option<usize>> {
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            total += 1.0 / rank as f64;
            total
        })
        .collect();
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..QUESTIONS)
        .map(|_| {
            let at = random() as f64 / f64::from(1_u32 << 31) * total;
            (random() % 10 >= OWN_OF_TEN).then(|| sums.partition_point(|sum| *sum < at).min(KEYS - 1))
        })
        .collect()
}

fn memcached() -> anyhow::Result<(Process, String)> {
    let program =
        std::env::var_os("ASTERISM_MEMCACHED").context("no memcached: run tests/setup/memcached.sh")?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new(program)
        .args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-u", "nobody", "-m", "64"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let child = Process(child);
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(began.elapsed() < Duration::from_secs(10), "memcached does not listen");
        std::thread::sleep(Duration::from_millis(20)); // the pause of a poll
    }
    Ok((child, format!("127.0.0.1:{port}")))
}

/// A back end over XML-RPC on a thread of its own: thinks as long as its path says, and gives the key back.
struct Backend {
    port: u16,
    asked: Arc<AtomicU64>,
}

impl Backend {
    fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (port, asked) = (listener.local_addr()?.port(), Arc::<AtomicU64>::default());
        let count = asked.clone();
        std::thread::Builder::new().name("back end".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let served = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener)?;
                    loop {
                        let (stream, _) = listener.accept().await?;
                        stream.set_nodelay(true)?;
                        let count = count.clone();
                        tokio::spawn(async move { drop(serve(stream, &count).await) }); // until the other end goes
                    }
                })
            });
            if let Err::<(), _>(error) = served {
                eprintln!("asterism-bench: back end: {error:#}");
            }
        })?;
        Ok(Self { port, asked })
    }
}

async fn serve(stream: TcpStream, asked: &AtomicU64) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut think_ms, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            ensure!(stream.read_line(&mut line).await? > 0, "closed");
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            if let Some(path) = line.strip_prefix("POST /") {
                think_ms = path.split(' ').next().unwrap_or_default().parse()?;
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(think_ms)).await; // it thinks
        let answer = answer(std::str::from_utf8(&body)?).context("no question")?;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all([head, answer].concat().as_bytes()).await?;
    }
}

fn answer(body: &str) -> Option<String> {
    let of = |name: &str| {
        let (_, rest) = body.split_once(&format!("<name>{name}</name>"))?;
        let (_, rest) = rest.split_once("<string>")?;
        rest.split_once("</string>").map(|(value, _)| value)
    };
    let member =
        |name: &str, value: &str| format!("<member><name>{name}</name><value>{value}</value></member>");
    let object = |members: &str| format!("<struct>{members}</struct>");
    let list = |values: &str| format!("<array><data>{values}</data></array>");
    let value = |value: &str| format!("<value>{value}</value>");
    let set = object(&member("set", &object(&member("key", &format!("<string>{}</string>", of("key")?)))));
    let prompts = list(&value("<string>hello</string>"));
    let play = object(&member("play", &object(&member("prompts", &prompts))));
    let mut members = member("do", &list(&format!("{}{}", value(&set), value(&play))));
    members += &member("state", "<string>next</string>");
    if of("state")? == "kept" {
        let by = list(&value("<string>fields.key</string>"));
        members +=
            &member("cache", &object(&format!("{}{}", member("for_s", "<int>600</int>"), member("by", &by))));
    }
    let object = object(&members);
    Some(format!(
        "<?xml version=\"1.0\"?><methodResponse><params><param><value>{object}</value></param></params></methodResponse>"
    ))
}
