//! Receivers on real sockets: a good one, and all kinds of bad ones.
#![allow(clippy::unwrap_used)]
use super::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream as Peer};
use std::thread::{self, JoinHandle};
use std::time::Instant;

const SECRET: &str = "correct-horse-battery";

fn receiver(port: u16, timeout_ms: u64) -> Receiver {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let config = WebhookConfig {
        url: Some(format!("http://127.0.0.1:{port}/hook?key=1")),
        secret_file: Some(file),
        timeout_ms,
        ..WebhookConfig::default()
    };
    Receiver::new(&config).unwrap().unwrap()
}

/// Takes one connection, reads a whole request and does as told; what it read.
fn serve(then: impl FnOnce(&mut Peer) + Send + 'static) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !seen.ends_with(b"}") {
            let count = peer.read(&mut buffer).unwrap();
            assert!(count > 0, "the request breaks off");
            seen.extend_from_slice(&buffer[..count]);
        }
        then(&mut peer);
        String::from_utf8(seen).unwrap()
    });
    (port, task)
}

async fn posted(then: impl FnOnce(&mut Peer) + Send + 'static, timeout_ms: u64) -> Result<(), String> {
    let (port, task) = serve(then);
    let done = receiver(port, timeout_ms).post(b"{}".to_vec(), 1_700_000_000).await;
    // The connection is closed behind it, by this thread.
    tokio::task::spawn_blocking(|| task.join()).await.unwrap().unwrap();
    done
}

fn say(text: &'static str) -> impl FnOnce(&mut Peer) {
    move |peer: &mut Peer| peer.write_all(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_request_is_signed_over_time_and_body() {
    let (port, task) = serve(say("HTTP/1.1 204 No Content\r\n\r\n"));
    assert_eq!(receiver(port, 30_000).post(b"{\"a\":1}".to_vec(), 1_700_000_000).await, Ok(()));
    let seen = task.join().unwrap();
    assert!(seen.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{seen}");
    // `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac correct-horse-battery`
    let signed = "t=1700000000,v1=f6a0700e04bb6b78b44aa6d2fca45282525e9cd248c9db2bf19dae98b5e69abe";
    assert!(seen.contains(&format!("\r\nasterism-signature: {signed}\r\n")), "{seen}");
    assert!(!seen.contains(SECRET));
}

#[tokio::test]
async fn only_2xx_is_taken_and_redirects_are_not_followed() {
    assert_eq!(posted(say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), 30_000).await, Ok(()));
    let refused = posted(say("HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\n+12025550"), 30_000).await;
    assert_eq!(refused, Err("it said 500".to_owned()), "nothing of its words");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let moved = posted(
        move |peer| {
            let head = format!(
                "HTTP/1.1 307 There\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n"
            );
            peer.write_all(head.as_bytes()).unwrap();
        },
        30_000,
    )
    .await;
    assert_eq!(moved, Err("it said 307: redirects are not followed".to_owned()));
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody went there");
}

#[tokio::test]
async fn a_slow_a_dead_and_a_flooding_receiver_end_by_the_deadline() {
    let began = Instant::now();
    let silent = posted(|peer| drop(peer.read(&mut [0; 1])), 300).await;
    assert_eq!(silent, Err("no answer within 300 ms".to_owned()));
    let hangs_up = posted(|_| {}, 30_000).await.unwrap_err();
    assert!(hangs_up.starts_with("the connection broke"), "{hangs_up}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = receiver(free, 30_000).post(b"{}".to_vec(), 1).await.unwrap_err();
    assert!(nobody.starts_with("no connection"), "{nobody}");
    let headers =
        posted(|peer| while peer.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").is_ok() {}, 30_000);
    let headers = headers.await.unwrap_err();
    assert!(headers.starts_with("the connection broke"), "{headers}");
    // It has said 200: the flood behind that is cut off, and costs a quarter of the deadline at most.
    let body = posted(
        |peer| {
            let _ = peer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while peer.write_all(b"5\r\nxxxxx\r\n").is_ok() {}
        },
        30_000,
    );
    assert_eq!(body.await, Ok(()));
    assert!(began.elapsed() < Duration::from_secs(25), "none of them took the whole deadline");
}

#[test]
fn a_secret_is_long_enough_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let config = WebhookConfig {
        url: Some("https://example.com/hook/private".to_owned()),
        secret_file: Some(file.clone()),
        ..WebhookConfig::default()
    };
    let said = |config: &WebhookConfig| Receiver::new(config).unwrap_err().to_string();
    assert!(said(&config).starts_with("AST-D140"), "{}", said(&config));
    std::fs::write(&file, "too-short").unwrap();
    assert!(said(&config).contains("at least 16") && !said(&config).contains("too-short"));
    std::fs::write(&file, SECRET).unwrap();
    let ready = Receiver::new(&config).unwrap().unwrap();
    assert_eq!(
        (ready.shown(), format!("{ready:?}")),
        ("https://example.com", "Receiver(\"https://example.com\")".into())
    );
    let bad = WebhookConfig { ca_file: Some(file), ..config };
    assert!(said(&bad).starts_with("AST-D141"), "{}", said(&bad));
    let none = WebhookConfig { secret_file: None, secret_env: Some("NO_SUCH_VARIABLE_9".to_owned()), ..bad };
    assert!(said(&WebhookConfig { ca_file: None, ..none }).contains("NO_SUCH_VARIABLE_9"));
}
