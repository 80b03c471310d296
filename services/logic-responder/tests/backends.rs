//! Back ends over real sockets: one survey by HTTP, XML-RPC and the bus has the same decisions; those that are slow, away or
//! lie lead to the flow's fallback, and the log says what was wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use asterism_nats::Subject;
use asterism_nats::server::WEB_USER;
use support::calls::*;
use support::*;

/// One of the examples, running.
struct Python(Child, u16);

impl Python {
    fn start(script: &str) -> Self {
        Self::start_with(&[script, "0"])
    }

    fn start_with(words: &[&str]) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../compose/logic");
        let mut child = Command::new("python3")
            .arg("-B")
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        Self(child, said.parse().unwrap_or_default()) // a subject is no port
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn one_survey_is_the_same_by_its_own_file_by_http_by_xml_rpc_and_by_the_bus() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let (http, xml) = (Python::start("http_backend.py"), Python::start("xmlrpc_backend.py"));
    let subject = Subject::backend(FLEET, "survey").unwrap();
    let (port, password) = (lab.server.port.to_string(), lab.server.password_file(WEB_USER));
    let words = ["bus_backend.py", "127.0.0.1", &port, subject.as_str(), password.to_str().unwrap()];
    let _bus = Python::start_with(&words);
    let flows = [
        put(&lab, include_str!("../../../compose/logic/survey.toml").to_owned()).await,
        publish(&lab, &format!("kind = \"http\"\nurl = \"http://127.0.0.1:{}/next\"", http.1)).await,
        publish(&lab, &format!("kind = \"xml-rpc\"\nurl = \"http://127.0.0.1:{}/next\"", xml.1)).await,
        publish(&lab, "kind = \"nats\"").await,
    ];
    for (contact, flow) in (10..).step_by(10).zip(&flows) {
        let said = heard(&walk(&lab, flow, contact, &["7", "2", "3", "1", "5"]).await);
        assert_eq!(failures(&lab).await, []);
        assert_eq!(
            said,
            [
                "gather|greeting&menu|1|8|1|# language [] #",
                "gather|menu|1|8|1|# again [] #",
                "gather|q1|1|8|1|# q1 [language=de] #de",
                "gather|q2|1|8|1|# q2 [language=de q1=3] #",
                "gather|q3|1|8|1|# q3 [language=de q1=3 q2=1] #",
                "play|thanks|0 thanks [language=de q1=3 q2=1 q3=5] #",
                "hangup|16 end [language=de q1=3 q2=1 q3=5] #",
            ]
        );
        let gone = walk(&lab, flow, contact + 1, &["1", "9"]).await;
        assert_eq!(heard(&gone).last().unwrap(), "optout|bye stop [language=en q1=9] #opted-out");
    }
    replica.stop().await;
}

/// An open connection that says nothing keeps nobody else waiting: the examples are asked by several connections at once.
#[tokio::test]
async fn the_examples_answer_several_calls_at_once() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let (http, xml) = (Python::start("http_backend.py"), Python::start("xmlrpc_backend.py"));
    for (kind, port, contact) in [("http", http.1, 100), ("xml-rpc", xml.1, 200)] {
        let flow = publish(
            &lab,
            &format!("kind = \"{kind}\"\nurl = \"http://127.0.0.1:{port}/next\"\ntimeout_ms = 4000"),
        )
        .await;
        let _idle = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let walks = (0..16).map(|call| {
            let (lab, flow) = (&lab, &flow);
            async move { heard(&walk(lab, flow, contact + call, &["1", "9"]).await) }
        });
        for said in futures_util::future::join_all(walks).await {
            assert_eq!(said.last().unwrap(), "optout|bye stop [language=en q1=9] #opted-out", "{kind}");
        }
    }
    assert_eq!(failures(&lab).await, []);
    replica.stop().await;
}

#[tokio::test]
async fn a_back_end_that_is_slow_away_or_lies_leads_to_the_fallback_and_the_log_says_why() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let ok = "200 OK";
    let xml = |value: &str| {
        let body = format!(
            "<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
        );
        http(ok, body.as_bytes())
    };
    let cases: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        ("http", None, "AST-Q120"),
        ("http", http("500 Oh", b""), "AST-Q121"),
        ("http", http("302 Elsewhere\r\nLocation: http://127.0.0.1:1/", b""), "AST-Q121"),
        ("http", Some(b"SSH-2.0-OpenSSH\r\n".to_vec()), "AST-Q121"),
        ("http", Some(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"do\":".to_vec()), "AST-Q121"),
        ("http", http(ok, &vec![b' '; 70 * 1024]), "AST-Q121"),
        ("http", http(ok, b"<html>hello</html>"), "AST-Q101"),
        ("http", http(ok, b"{\"do\": [{\"hangup\": {}}], \"caller\": \"+15550100\"}"), "AST-Q102"),
        ("http", http(ok, b"{\"do\": [{\"play\": {\"prompts\": [\"../../etc/passwd\"]}}], \"state\": \"a\"}"), "AST-Q106"),
        ("http", http(ok, b"{\"do\": [{\"play\": {\"prompts\": [\"nowhere\"]}}], \"state\": \"a\"}"), "AST-Q108"),
        ("http", http(ok, "[".repeat(2_000).as_bytes()), "AST-Q101"),
        ("xml-rpc", xml("<!DOCTYPE a>"), "AST-Q101"),
        ("xml-rpc", http(ok, b"<!DOCTYPE a [<!ENTITY b 'c'>]><methodResponse/>"), "AST-Q101"),
        ("xml-rpc", xml("<int>5</int>"), "AST-Q103"),
        ("xml-rpc", xml("<struct><member><name>do</name><value><array><data/></array></value></member></struct>"), "AST-Q105"),
        (
            "xml-rpc",
            http(ok, b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value></member></struct></value></fault></methodResponse>"),
            "AST-Q121",
        ),
    ];
    let mut expected = Vec::new();
    for (contact, (kind, answer, code)) in (1..).zip(cases) {
        let port = liar(answer).await;
        let flow = publish(
            &lab,
            &format!("kind = \"{kind}\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout_ms = 400"),
        )
        .await;
        let said = walk(&lab, &flow, contact, &[]).await;
        assert_eq!(heard(&said), ["play|sorry|0 sorry [] #", "hangup|16 end [] #"], "{kind} {code}");
        expected.push(code);
    }
    // Nobody subscribes to the bus's subject; nobody listens at the port; the key is not there.
    for (contact, (backend, code)) in (100..).zip([
        ("kind = \"nats\"", "AST-Q121"),
        ("kind = \"http\"\nurl = \"http://127.0.0.1:1/\"", "AST-Q121"),
        ("kind = \"http\"\nurl = \"http://127.0.0.1:1/\"\nkey = \"mine\"", "AST-Q124"),
    ]) {
        let flow = publish(&lab, backend).await;
        assert_eq!(walk(&lab, &flow, contact, &[]).await.len(), 2);
        expected.push(code);
    }
    let told = failures(&lab).await;
    let codes: Vec<&str> = told.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, expected, "{told:?}");
    assert!(
        told.iter().all(|(_, reason)| !reason.contains("15550100")),
        "nothing of an answer's values: {told:?}"
    );
    replica.stop().await;
}
