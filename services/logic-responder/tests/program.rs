//! The program: starts before everything it needs, says what it waits for, answers, and ends in order on SIGTERM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::{Child, Command, Stdio};

use asterism_nats::{Bus, server::SERVICE_USER};
use asterism_object_store::FolderStore;
use asterism_runtime::keys::Keyring;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What `/readyz` says; empty while nobody listens.
async fn readyz(port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return String::new() };
    let mut answer = String::new();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn until_readyz(port: u16, says: &str) {
    let wait = async {
        loop {
            let answer = readyz(port).await;
            if answer.contains(says) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(&format!("/readyz says {says}"), wait).await;
}

#[tokio::test]
async fn it_starts_first_waits_for_everything_answers_and_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (nats_port, http_port) = (free_port().await, free_port().await);
    let password = dir.path().join("nats").join(format!("password-{SERVICE_USER}"));
    std::fs::create_dir(dir.path().join("nats")).unwrap();
    std::fs::write(&password, "of-this-test").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let set = |key: &str, value: String| format!("--set={key}={value}");
    let program = Command::new(env!("CARGO_BIN_EXE_asterism-logic-responder"))
        .arg(set("fleet", FLEET.to_owned()))
        .arg(set("nats.url", format!("nats://127.0.0.1:{nats_port}")))
        .arg(set("nats.user", SERVICE_USER.to_owned()))
        .arg(set("nats.password_file", password.display().to_string()))
        .arg(set("paths.data_dir", dir.path().display().to_string()))
        .arg(set("logic.http_listen", format!("127.0.0.1:{http_port}")))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut program = Program(program);
    until_readyz(http_port, "AST-N002").await;

    let server = start_server(dir.path(), Some(nats_port)).await;
    until_readyz(http_port, "asterism init").await;

    let keyring = Keyring::init(&dir.path().join("keys"), FLEET, 1).unwrap();
    until_readyz(http_port, "\"keys\":\"ok\"").await;
    assert!(readyz(http_port).await.starts_with("HTTP/1.1 503"));

    let bus = Bus::connect(&server.service("test").unwrap()).await.unwrap();
    let log = open_log(&keyring, &bus, &dir.path().join("log"), 64 << 20).await;
    publish_flow(&FolderStore::open(&dir.path().join("objects")).await.unwrap()).await;
    until_readyz(http_port, "HTTP/1.1 200").await;
    let answer = ask(&bus, &question(1, "2")).await;
    assert_eq!(answer.reply, "play|thanks|0");

    kill(Pid::from_raw(program.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    let mut status = None;
    until("the program ends", || {
        status = program.0.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success(), "{status:?}");
    let origin = answer.origin.parse().unwrap();
    let mut head = log.head();
    within("the origin's end is in the log", head.wait_for(|head| head.size == 3)).await.unwrap();
    assert!(log.sequencer(|log, _, _| log.is_closed(&origin)));
}
