//! What back ends can do wrong, over real sockets: answers that are broken, hostile or never end, servers that come and go,
//! more questions than one can take, certificates nobody vouches for. A caller hears the flow's fallback, never nonsense;
//! the log says what was wrong; nothing grows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use asterism_domain::logic::MAX_STEPS;
use asterism_proto::v1::StepQuestion;
use asterism_runtime::config::LogicConfig;
use support::calls::*;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const FALLBACK: [&str; 2] = ["play|sorry|0 sorry [] #", "hangup|16 end [] #"];

/// An answer that is well by HTTP, with this body.
fn ok(body: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    http("200 OK", body.as_ref())
}

fn xml(value: &str) -> Option<Vec<u8>> {
    ok(format!("<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"))
}

/// Kind of back end, its answer, the code the log has for it.
type Lie = (&'static str, Option<Vec<u8>>, &'static str);

fn broken_json() -> Vec<Lie> {
    let play = |prompt: &str| {
        format!("{{\"do\": [{{\"play\": {{\"prompts\": [\"{prompt}\"]}}}}], \"state\": \"a\"}}")
    };
    let utf16: Vec<u8> = play("menu").encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("http", ok(&play("menu").as_bytes()[..20]), "AST-Q101"), // truncated, with the right length for it
        ("http", ok([b"\xef\xbb\xbf", play("menu").as_bytes()].concat()), "AST-Q101"), // a byte order mark
        ("http", ok(utf16), "AST-Q101"),
        (
            "http",
            ok([b"{\"do\": [{\"hangup\": {}}], \"state\": \"caf\xe9\"}".as_slice()].concat()),
            "AST-Q101",
        ), // Latin-1
        ("http", ok(""), "AST-Q101"),
        ("http", ok("null"), "AST-Q103"),
        ("http", ok("{\"do\": {\"hangup\": {}}}"), "AST-Q103"),
        ("http", ok("{\"do\": [{\"hangup\": {\"cause\": \"16\"}}]}"), "AST-Q103"),
        ("http", ok("{\"do\": [{\"hangup\": {\"cause\": 1e300}}]}"), "AST-Q105"),
        (
            "http",
            ok("{\"do\": [{\"pause\": {\"duration_s\": 99999999999999999999}}], \"state\": \"a\"}"),
            "AST-Q105",
        ),
        ("http", ok(play("no-such-prompt")), "AST-Q108"),
        ("http", ok(play("menu|0&hangup")), "AST-Q106"),
        ("http", ok("{\"do\": [{\"goto\": \"nowhere\"}]}"), "AST-Q109"),
        ("http", ok("{\"do\": [{\"hangup\": {}}, {\"play\": {\"prompts\": [\"menu\"]}}]}"), "AST-Q107"), // a verb behind the last
        ("http", ok("{\"do\": [{\"tag\": \"a\"}]}"), "AST-Q107"), // and none at all
        ("http", ok("{\"do\": [{\"system\": \"reboot\"}], \"state\": \"a\"}"), "AST-Q107"),
        (
            "http",
            ok("{\"do\": [{\"set\": {\"a\": \"1\\r\\nAction: Originate\"}}, {\"hangup\": {}}]}"),
            "AST-Q105",
        ),
        (
            "http",
            ok(format!("{{\"do\": [{}{{\"hangup\": {{}}}}]}}", "{\"tag\": \"a\"},".repeat(6_000))),
            "AST-Q121",
        ), // too long
        (
            "http",
            ok(format!("{{\"do\": [{}{{\"hangup\": {{}}}}]}}", "{\"tag\": \"a\"},".repeat(100))),
            "AST-Q105",
        ),
        ("http", ok(format!("{}1{}", "{\"do\":".repeat(5_000), "}".repeat(5_000))), "AST-Q101"), // deep
    ]
}

fn broken_transport() -> Vec<Lie> {
    let chunked =
        |chunks: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes();
    vec![
        ("http", Some(chunked("ffffffffffffffff\r\n{}")), "AST-Q121"),
        ("http", Some(chunked(&format!("4000\r\n{}\r\n", " ".repeat(0x4000)).repeat(9))), "AST-Q121"),
        ("http", Some(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}".to_vec()), "AST-Q121"),
        (
            "http",
            Some(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(20_000)).into_bytes()),
            "AST-Q121",
        ),
        ("http", Some(vec![0; 4_096]), "AST-Q121"),
        ("http", None, "AST-Q120"), // says nothing and stays
        ("http", http("204 No Content", b""), "AST-Q121"),
        ("http", http("200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b\x08\x00"), "AST-Q101"),
    ]
}

fn broken_xml() -> Vec<Lie> {
    let bomb = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY l0 \"lol\">{}]><methodResponse><params><param><value>&l9;</value></param>\
         </params></methodResponse>",
        (1..10).fold(String::new(), |text, n| {
            text + &format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))
        })
    );
    let outside = "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><methodResponse><params><param><value>&b;</value>\
                   </param></params></methodResponse>";
    let deep = format!("{}{}", "<array><data><value>".repeat(1_000), "</value></data></array>".repeat(1_000));
    let many = format!("<array><data>{}</data></array>", "<value>1</value>".repeat(4_000));
    vec![
        ("xml-rpc", ok(bomb), "AST-Q101"),
        ("xml-rpc", ok(outside), "AST-Q101"),
        ("xml-rpc", xml("&#0;"), "AST-Q101"),
        ("xml-rpc", xml("&undeclared;"), "AST-Q101"),
        ("xml-rpc", xml(&deep), "AST-Q101"),
        ("xml-rpc", xml(&many), "AST-Q101"),
        (
            "xml-rpc",
            ok(b"<methodResponse><params><param><value><string>caf\xe9</string>".as_slice()),
            "AST-Q101",
        ),
        ("xml-rpc", xml("<int>99999999999999999999</int>"), "AST-Q101"),
        ("xml-rpc", xml("<boolean>yes</boolean>"), "AST-Q101"),
        (
            "xml-rpc",
            xml("<struct><member><name>do</name><value><string>hangup</string></value></member></struct>"),
            "AST-Q103",
        ),
        ("xml-rpc", ok("<methodCall><methodName>x</methodName></methodCall>"), "AST-Q101"),
        ("xml-rpc", ok("{\"do\": [{\"hangup\": {}}]}"), "AST-Q101"),
    ]
}

#[tokio::test]
async fn lies_of_every_kind_lead_to_the_fallback_and_the_log_says_what_was_wrong() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let lies: Vec<Lie> = [broken_json(), broken_transport(), broken_xml()].concat();
    let mut expected = Vec::new();
    for (contact, (kind, answer, code)) in (1..).zip(lies) {
        let shown = answer
            .as_ref()
            .map(|answer| String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned());
        let port = liar(answer).await;
        // A busy machine is no late back end; the one that says nothing is waited for in full.
        let limit_ms = if code == "AST-Q120" { 400 } else { 4_000 };
        let backend =
            format!("kind = \"{kind}\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout_ms = {limit_ms}");
        let flow = publish(&lab, &backend).await;
        assert_eq!(heard(&walk(&lab, &flow, contact, &[]).await), FALLBACK, "{kind} {shown:?}");
        expected.push((code, kind, shown));
    }
    let told = failures(&lab).await;
    assert_eq!(told.len(), expected.len());
    let wrong: Vec<_> = told.iter().zip(&expected).filter(|(told, expected)| told.0 != expected.0).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Reasons are short, and repeat nothing of what came.
    let hidden =
        |reason: &str| reason.len() < 400 && !reason.contains("passwd:") && !reason.contains("Originate");
    assert!(told.iter().all(|(_, reason)| hidden(reason)), "{told:?}");
    replica.stop().await;
}

/// A loop without a wait cannot be built from answers: each ends with a verb. One that never stops asking is stopped.
#[tokio::test]
async fn a_back_end_that_never_comes_to_an_end_is_ended() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let port = forever("{\"do\": [{\"play\": {\"prompts\": [\"menu\"]}}], \"state\": \"again\"}").await;
    let flow =
        publish(&lab, &format!("kind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout_ms = 4000"))
            .await;
    let said = walk_up_to(MAX_STEPS + 1, &lab, &flow, (1, &[])).await;
    assert_eq!(said.len() as u32, MAX_STEPS + 1);
    assert!(said[..MAX_STEPS as usize].iter().all(|answer| answer.reply == "play|menu|0"));
    assert_eq!(said.last().unwrap().reply, "hangup|16");
    assert_eq!(failures(&lab).await, []);
    replica.stop().await;
}

/// Answers every request on every connection with this body.
async fn forever(body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_forever(stream, body));
        }
    });
    port
}

async fn answer_forever<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S, body: &'static str) {
    let mut request = vec![0; 16 * 1024];
    // A question is one small write, so it is one read.
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let answer = http("200 OK", body.as_bytes()).unwrap();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_back_end_that_comes_and_goes_is_left_alone_while_it_is_ill_and_used_while_it_is_well() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let (is_well, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let port = flapping(is_well.clone(), asked.clone()).await;
    let flow =
        publish(&lab, &format!("kind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout_ms = 4000"))
            .await;
    let mut contact = 0;
    for _ in 0..2 {
        is_well.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            contact += 1;
            if heard(&walk(&lab, &flow, contact, &[]).await) == ["hangup|16 end [] #"] {
                break;
            }
            assert!(Instant::now() < deadline, "it is well again and nobody asks");
            tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
        }
        is_well.store(false, Ordering::Relaxed);
        let before = asked.load(Ordering::Relaxed);
        for _ in 0..40 {
            contact += 1;
            assert_eq!(heard(&walk(&lab, &flow, contact, &[]).await), FALLBACK);
        }
        let asked = asked.load(Ordering::Relaxed) - before;
        assert!((5..20).contains(&asked), "40 calls asked a server that is ill {asked} times");
    }
    let codes: std::collections::BTreeSet<String> =
        failures(&lab).await.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["AST-Q121", "AST-Q122"]);
    replica.stop().await;
}

/// Ends calls while it is well, says 503 while it is not.
async fn flapping(is_well: Arc<AtomicBool>, asked: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (is_well, asked) = (is_well.clone(), asked.clone());
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let (head, body) = if is_well.load(Ordering::Relaxed) {
                        ("200 OK", "{\"do\": [{\"hangup\": {}}]}")
                    } else {
                        ("503 Busy", "")
                    };
                    let answer = http(head, body.as_bytes());
                    if stream.write_all(&answer.unwrap()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// More calls than one back end may be asked for at the same time: those beyond hear the fallback at once.
#[tokio::test]
async fn a_back_end_is_asked_for_so_many_calls_at_once_and_no_more() {
    const AT_ONCE: usize = 256;
    let lab = Lab::start().await;
    let link = lab.server.service("one").unwrap();
    let replica = lab.replica_with(LogicConfig { concurrency: 1_000, ..LogicConfig::default() }, &link).await;
    let port = liar(None).await; // takes questions and says nothing
    let flow =
        publish(&lab, &format!("kind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout_ms = 4000"))
            .await;
    let calls = (1..=AT_ONCE as u32 + 44).map(|contact| {
        let question = StepQuestion {
            call: format!("lab-{contact}-1"),
            step: 1,
            flow: flow.clone(),
            verb: "start".to_owned(),
            campaign: "lab".to_owned(),
            deadline_ms: 9_000,
            ..StepQuestion::default()
        };
        let bus = &lab.bus;
        async move {
            let subject = asterism_nats::Subject::step(FLEET).unwrap();
            let bytes = prost::Message::encode_to_vec(&question);
            bus.request(&subject, bytes, PATIENCE).await.unwrap();
        }
    });
    futures_util::future::join_all(calls).await;
    let told = failures(&lab).await;
    let of = |code: &str| told.iter().filter(|(told, _)| told == code).count();
    assert_eq!((of("AST-Q123"), told.len()), (44, AT_ONCE + 44), "too many at once");
    assert_eq!(of("AST-Q120") + of("AST-Q123"), AT_ONCE + 44);
    replica.stop().await;
}

/// An authority (PEM) and, signed by it, a certificate for this name.
fn authority(name: &str) -> (String, ServerConfig) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (authority.pem(), config)
}

async fn https(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                answer_forever(stream, "{\"do\": [{\"hangup\": {}}]}").await;
            });
        }
    });
    port
}

#[tokio::test]
async fn https_is_spoken_with_whom_an_authority_of_ones_own_vouches_for_and_with_nobody_else() {
    let lab = Lab::start().await;
    let (pem, ours) = authority("localhost");
    let ((_, strange), (_, misnamed)) = (authority("localhost"), authority("elsewhere.example"));
    let ca_file = lab.dir.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let config = LogicConfig { ca_file: Some(ca_file), ..LogicConfig::default() };
    let replica = lab.replica_with(config, &lab.server.service("one").unwrap()).await;
    let servers = [https(ours).await, https(strange).await, https(misnamed).await];
    for (contact, (port, trusted)) in (1..).zip(servers.into_iter().zip([true, false, false])) {
        let url = format!("https://localhost:{port}/");
        let flow = publish(&lab, &format!("kind = \"http\"\nurl = \"{url}\"\ntimeout_ms = 4000")).await;
        let said = heard(&walk(&lab, &flow, contact, &[]).await);
        assert_eq!(said == ["hangup|16 end [] #"], trusted, "{said:?}");
    }
    let told = failures(&lab).await;
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(code, reason)| code == "AST-Q121" && reason.starts_with("no tls")), "{told:?}");
    replica.stop().await;
}
