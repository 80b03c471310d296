//! One survey as four kinds of flow: decided by its own file, over HTTP, over XML-RPC and on the bus, by the examples of
//! `compose/logic` as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use asterism_nats::server::WEB_USER;
use asterism_nats::{NatsServer, Subject};

use crate::child::Guarded;
use crate::stack::{FLEET, root};

/// The ways, and what each flow is called.
pub const WAYS: [&str; 4] = ["file", "http", "xml-rpc", "nats"];
/// Every prompt of the survey, and how long it is, ms.
const PROMPTS: [(&str, u32); 9] = [
    ("greeting", 600),
    ("menu", 500),
    ("q1", 500),
    ("q2", 500),
    ("q3", 500),
    ("thanks", 600),
    ("bye", 600),
    ("engaged", 600),
    ("sorry", 600),
];
const RATE_HZ: u32 = 8_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a tone of its own for each prompt into a folder.
pub fn write_prompts(dir: &Path) -> PathBuf {
    let folder = dir.join("survey-prompts");
    fs::create_dir_all(&folder).unwrap();
    for (nth, (name, ms)) in (0..).zip(PROMPTS) {
        let period = 20 + 3 * nth;
        let wave = |n: u32| i32::try_from(n % period).unwrap() * 16_000 / period.cast_signed() - 8_000;
        let samples = (0..RATE_HZ / 1_000 * ms).flat_map(|n| (wave(n) as i16).to_le_bytes());
        fs::write(folder.join(format!("{name}.wav")), wav(&samples.collect::<Vec<u8>>())).unwrap();
    }
    folder
}

/// RIFF WAVE around samples of 16 bits.
fn wav(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((length + 36).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([1, 0, 1, 0]); // PCM, one channel
    file.extend(RATE_HZ.to_le_bytes());
    file.extend((RATE_HZ * 2).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

/// The survey by one of the ways, with what answers it.
pub struct Survey {
    /// One of [`WAYS`].
    pub way: &'static str,
    /// The flow's document.
    pub file: PathBuf,
    /// The back end's process.
    pub backend: Option<Guarded>,
}

impl Survey {
    /// Writes the flow of a way into the folder and starts its back end.
    pub fn start(way: &'static str, nats: &NatsServer, dir: &Path) -> Self {
        let examples = root().join("compose/logic");
        let script = |name: &str| examples.join(name).display().to_string();
        let arguments = match way {
            "http" => vec![script("http_backend.py"), "0".to_owned()],
            "xml-rpc" => vec![script("xmlrpc_backend.py"), "0".to_owned()],
            _ => {
                let subject = Subject::backend(FLEET, &format!("survey-{way}")).unwrap().to_string();
                let password = nats.password_file(WEB_USER).display().to_string();
                let server = ["127.0.0.1".to_owned(), nats.port.to_string()];
                vec![script("bus_backend.py"), server[0].clone(), server[1].clone(), subject, password]
            }
        };
        let file = dir.join(format!("survey-{way}.toml"));
        if way == "file" {
            let text = fs::read_to_string(examples.join("survey.toml")).unwrap();
            fs::write(&file, text.replace("name = \"survey\"", "name = \"survey-file\"")).unwrap();
            return Self { way, file, backend: None };
        }
        let words: Vec<&str> = ["-B"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let name = format!("backend-{way}");
        let mut backend = Guarded::start(&name, Path::new("python3"), &words, dir);
        let at = listens(&mut backend, &dir.join(format!("{name}.out")));
        let url = match way {
            "nats" => String::new(),
            _ => format!("url = \"http://127.0.0.1:{at}/next\"\n"),
        };
        let document = format!(
            "name = \"survey-{way}\"\nfallback = \"sorry\"\n[backend]\nkind = \"{way}\"\ntimeout_ms = 650\n{url}\
             prompts = [\"greeting\", \"menu\", \"q1\", \"q2\", \"q3\", \"thanks\", \"bye\", \"engaged\"]\n\
             [destinations.support-en]\nnumber = \"+14155550157\"\n[destinations.support-de]\nnumber = \"+14155550186\"\n\
             [states.sorry]\nplay = [\"sorry\"]\nnext = \"end\"\n[states.end]\nhangup = {{}}\n"
        );
        fs::write(&file, document).unwrap();
        Self { way, file, backend: Some(backend) }
    }
}

/// Waits until it says where it listens; that.
fn listens(backend: &mut Guarded, out: &Path) -> String {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(out).unwrap_or_default();
        if let Some(at) = text.lines().find_map(|line| line.strip_prefix("listening on ")) {
            return at.to_owned();
        }
        assert!(backend.runs() && began.elapsed() < PATIENCE, "a back end does not start\n{text}");
        std::thread::sleep(Duration::from_millis(20)); // the pause of a poll
    }
}
