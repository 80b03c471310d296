//! The child: its folder, its ports, what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use asterism_nats::NatsServer;
use asterism_nats::server::{NODE_USER, SERVICE_USER, find_binary};
use support::Fixture;

/// A program, written by another process: written here, a child forked by another test at that moment would hold it open
/// and it could not be started.
fn script(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("nats-server");
    let write = r#"printf '%s' "$TEXT" > "$FILE" && chmod 755 "$FILE""#;
    let mut sh = std::process::Command::new("sh");
    let status = sh.args(["-c", write]).env("TEXT", text).env("FILE", &path).status().unwrap();
    assert!(status.success());
    path
}

#[tokio::test]
async fn an_old_server_and_a_program_that_is_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for said in ["nats-server: v2.11.9", "bash 5", ""] {
        let old = script(dir.path(), &format!("#!/bin/sh\necho '{said}'\n"));
        let error = NatsServer::start(&old, &dir.path().join("x"), None).await.unwrap_err();
        assert_eq!(error.code(), "AST-N010", "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let none = dir.path().join("missing");
    assert_eq!(NatsServer::start(&none, &dir.path().join("x"), None).await.unwrap_err().code(), "AST-N013");
}

#[tokio::test]
async fn a_taken_port_is_said_and_passwords_are_for_the_owner_only() {
    let fixture = Fixture::start().await;
    let taken = fixture.server.port;
    let other = fixture.dir.path().join("other");
    let error = NatsServer::start(&find_binary().unwrap(), &other, Some(taken)).await.unwrap_err();
    assert_eq!(error.code(), "AST-N011", "{error}");

    for user in [SERVICE_USER, NODE_USER] {
        let mode = std::fs::metadata(fixture.server.password_file(user)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{user}");
    }
    let config = fixture.dir.path().join("nats/nats-server.conf");
    assert_eq!(std::fs::metadata(config).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_folder_has_one_server_and_what_a_killed_parent_left_is_ended() {
    let fixture = Fixture::start().await;
    let (binary, dir) = (find_binary().unwrap(), fixture.dir.path().join("nats"));
    assert_eq!(NatsServer::start(&binary, &dir, None).await.unwrap_err().code(), "AST-N014");

    // A server on another folder of ours, started by someone who is gone.
    let left = fixture.dir.path().join("left");
    let mut server = NatsServer::start(&binary, &left, None).await.unwrap();
    let bytes = std::fs::read(left.join("nats-server.conf")).unwrap();
    server.kill9();
    drop(server);
    let conf = left.join("nats-server.conf");
    std::fs::write(&conf, bytes).unwrap();
    let mut orphan = std::process::Command::new(&binary).arg("--config").arg(&conf).spawn().unwrap();
    std::fs::write(left.join("nats-server.pid"), orphan.id().to_string()).unwrap();
    let ended = tokio::task::spawn_blocking(move || orphan.wait().unwrap());
    let next = NatsServer::start(&binary, &left, None).await.unwrap();
    support::within("the end of the left-over server", ended).await.unwrap();
    assert_ne!(next.pid, 0);
}

#[tokio::test]
async fn it_stops_in_order_and_keeps_its_passwords_and_store() {
    let fixture = Fixture::start().await;
    let (bus, info) = fixture.with_stream().await;
    let frame = support::publish_until_acknowledged(&bus, b"kept", "d.1").await;
    let config = fixture.server.service("again").unwrap();
    let Fixture { server, dir } = fixture;
    server.stop().await;
    let again = NatsServer::start(&find_binary().unwrap(), &dir.path().join("nats"), None).await.unwrap();
    let fixture = Fixture { server: again, dir };
    assert_eq!(fixture.server.service("again").unwrap().password, config.password);
    let bus = fixture.service("again").await;
    let now = asterism_nats::stream::info(&bus, support::FLEET).await.unwrap();
    assert_eq!((now.stream_id, now.last_sequence), (info.stream_id, frame));
}

#[test]
fn the_example_configurations_are_valid() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let dir = tempfile::tempdir().unwrap();
    for file in ["cluster-common.conf", "one-box.conf", "cluster-a.conf", "cluster-b.conf", "cluster-c.conf"]
    {
        let text = std::fs::read_to_string(conf.join(file)).unwrap();
        std::fs::write(dir.path().join(file), without_tls(&text)).unwrap();
        if file == "cluster-common.conf" {
            continue;
        }
        let output = std::process::Command::new(find_binary().expect("a nats-server"))
            .args(["-t", "-c"])
            .arg(dir.path().join(file))
            .env("AST_SERVICE_PASSWORD", "a")
            .env("AST_NODE_PASSWORD", "b")
            .env("AST_WEB_PASSWORD", "c")
            .output()
            .unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The server reads certificates even when it only tests a configuration; there are none here.
fn without_tls(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside |= line.trim() == "tls {";
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line.trim() != "}";
    }
    kept
}
