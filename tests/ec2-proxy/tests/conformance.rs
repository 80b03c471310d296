//! The proxy by its own word: `conformance.golden` asks it line by line and holds what it answers, and what bare moto
//! answers where that differs.
//!
//! Lines: `#` a comment; `!` a line of the script; `>` a request (`>>` one bare moto is spared); `<` its answer; `=` bare moto's, if it is another.
//! `$a` is the first instance that was seen, `$b` the second; `$next` the newest page's token. Answers are written anew
//! with `UPDATE_EXPECT=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use asterism_ec2_proxy::xml::{Element, parse};
use asterism_ec2_proxy::{Clock, Fault, Moto, Pool, Proxy, ask, code_of};

/// One server that is asked, and the names its instances got.
#[derive(Default)]
struct Side {
    port: u16,
    names: BTreeMap<String, String>,
    next: String,
}

impl Side {
    fn name(&mut self, id: &str) -> String {
        let count = self.names.len();
        let letter =
            if count < 26 { char::from(b'a' + count as u8).to_string() } else { format!("z{count}") };
        self.names.entry(id.to_owned()).or_insert(letter).clone()
    }

    /// One request and its answer in our words.
    fn ask(&mut self, request: &str) -> String {
        let mut form = format!("Action={}", request.replace(' ', "&")).replace("$next", &self.next);
        for (id, letter) in &self.names {
            form = form.replace(&format!("${letter}"), id);
        }
        let form = form.replace('$', "i-0"); // an instance this side never had
        let Some(answer) = ask(self.port, &form) else { return "no answer".to_owned() };
        let document = parse(&answer.body);
        let code = code_of(&answer);
        let Some(document) = document else { return format!("{} unreadable", answer.status) };
        if answer.status != 200 || !code.is_empty() {
            return format!("{} {code}", answer.status);
        }
        document.at(&["nextToken"]).clone_into(&mut self.next);
        let nested = document.items("reservationSet").flat_map(|r| r.items("instancesSet"));
        let changed = |item: &Element| {
            (item.at(&["instanceId"]).to_owned(), item.at(&["currentState", "name"]).to_owned())
        };
        let listed = |item: &Element| {
            (item.at(&["instanceId"]).to_owned(), item.at(&["instanceState", "name"]).to_owned())
        };
        let mut instances: Vec<_> = nested
            .chain(document.items("instancesSet").filter(|i| !i.at(&["instanceState", "name"]).is_empty()))
            .map(listed)
            .collect();
        instances.extend(
            document
                .items("instancesSet")
                .filter(|i| !i.at(&["currentState", "name"]).is_empty())
                .map(changed),
        );
        let mut text = answer.status.to_string();
        for (id, state) in instances {
            let name = self.name(&id);
            let _ = write!(text, " {name}:{state}");
        }
        if !self.next.is_empty() {
            text += " and more";
        }
        text
    }
}

/// One line of the script.
fn script(proxy: &Proxy, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
    match words[0] {
        "pass" => return proxy.clock().advance(number(1)),
        "hits" => return assert_eq!(proxy.hits(&words[2..].join(" ")), number(1), "{line}"),
        _ => {}
    }
    proxy.script(|script| match words[0] {
        "pending" => script.pending_ms = number(1),
        "shutting-down" => script.shutting_down_ms = number(1),
        "stale" => script.stale_ms = number(1),
        "not-found" => script.not_found_ms = number(1),
        "page" => script.page_most = number(1) as usize,
        "buckets" => script.has_buckets = words[1] == "on",
        "clear" => *script = asterism_ec2_proxy::Script::default(),
        "pool" => {
            let mut pool = Pool { left: number(4), ..Pool::empty(words[1], words[2], words[3]) };
            pool.code = words.get(5).map_or(pool.code, |code| (*code).to_owned());
            script.pools.push(pool);
        }
        "next" => {
            let action: &'static str = Box::leak(words[1].to_owned().into_boxed_str());
            let fault = match words[2] {
                "lose-request" => Fault::LoseRequest,
                "lose-answer" => Fault::LoseAnswer,
                "cut-answer" => Fault::CutAnswer(200),
                "web-page" => Fault::WebPage(503),
                "drop-next-page" => Fault::DropNextPage,
                code => Fault::Error(503, Box::leak(code.to_owned().into_boxed_str())),
            };
            let after = words.get(3).map_or(0, |after| after.parse().unwrap());
            script.plan(action, after, 1, fault);
        }
        _ => panic!("no line of a script: {line}"),
    });
}

#[test]
fn the_proxy_does_what_ec2_does_and_moto_does_not() {
    let Some(moto) = Moto::start("the_proxy_does_what_ec2_does_and_moto_does_not") else { return };
    let Some(bare) = Moto::start("the_proxy_does_what_ec2_does_and_moto_does_not") else { return };
    let proxy = Proxy::with_clock(&moto, Clock::manual());
    let (mut ours, mut theirs) =
        (Side { port: proxy.port, ..Side::default() }, Side { port: bare.port, ..Side::default() });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance.golden");
    let golden = std::fs::read_to_string(&file).unwrap();
    let (mut said, mut requests) = (String::new(), 0);
    for line in golden.lines().filter(|line| !line.starts_with(['<', '='])) {
        said += line;
        said.push('\n');
        if let Some(line) = line.strip_prefix("! ") {
            script(&proxy, line);
        } else if let Some(request) = line.strip_prefix(">> ") {
            let _ = writeln!(said, "< {}", ours.ask(request));
        } else if let Some(request) = line.strip_prefix("> ") {
            requests += 1;
            let (answer, bare) = (ours.ask(request), theirs.ask(request));
            let _ = writeln!(said, "< {answer}");
            if bare != answer {
                let _ = writeln!(said, "= {bare}");
            }
        }
    }
    assert!(requests > 30, "the golden file asks {requests} times");
    // What the proxy says it launched is what moto has: it makes nothing up.
    assert_eq!(moto.instances().len(), ours.names.len());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &said).unwrap();
    }
    assert!(said == golden, "not as {}:\n{said}", file.display());
}
