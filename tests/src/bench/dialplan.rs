//! A dialplan that asks: HTTP to the agent's step server, one kept connection per call, as `CURL()` does.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use asterism_agent::dialplan::{LastVerb, Question, SECRET_HEADER, STEP_PATH};
use asterism_agent::instance::Ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer with its head, bytes.
const ANSWER_MAX_BYTES: usize = 4096;

/// Where an instance's step server is, and what it wants to hear.
#[derive(Clone)]
pub struct StepServer {
    port: u16,
    secret: String,
}

impl StepServer {
    /// Of the instance whose folder this is.
    pub fn of(instance: &Path) -> anyhow::Result<Self> {
        let ports: Ports = serde_json::from_slice(&fs::read(instance.join("ports.json"))?)?;
        let secret = fs::read_to_string(instance.join("secret/step"))?.trim().to_owned();
        Ok(Self { port: ports.step, secret })
    }
}

/// One call's connection.
pub struct Asker {
    stream: TcpStream,
    server: StepServer,
    call: String,
    flow: String,
    step: u32,
}

impl Asker {
    /// Connects for a call that has taken its first step already.
    pub async fn connect(server: &StepServer, call: &str, flow: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await?;
        stream.set_nodelay(true)?;
        let (call, flow) = (call.to_owned(), flow.to_owned());
        Ok(Self { stream, server: server.clone(), call, flow, step: 1 })
    }

    /// Asks for the next step, and gives back the line that answers it.
    pub async fn ask(&mut self) -> anyhow::Result<String> {
        self.step += 1;
        self.again().await
    }

    /// Asks for the same step again: the agent knows the answer, so neither bus nor store has a part in it.
    pub async fn again(&mut self) -> anyhow::Result<String> {
        let body = Question {
            channel_id: self.call.clone(),
            step: self.step,
            misses: 0,
            flow: self.flow.clone(),
            last_verb: LastVerb::Pause,
            status: "OK".to_owned(),
            digits: String::new(),
            listened: None,
            leg: None,
        }
        .encode();
        let request = format!(
            "POST {STEP_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUser-Agent: asterisk-libcurl-agent/1.0\r\nAccept: */*\r\n\
             {SECRET_HEADER}: {}\r\nContent-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            self.server.port,
            self.server.secret,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let line = self.read_answer().await.with_context(|| format!("step {}", self.step))?;
        let own = format!("1|{}|", self.step);
        ensure!(line.starts_with(&own), "asked for step {}, answered {line:?}", self.step);
        Ok(line)
    }

    async fn read_answer(&mut self) -> anyhow::Result<String> {
        let mut bytes = Vec::with_capacity(512);
        loop {
            ensure!(bytes.len() < ANSWER_MAX_BYTES, "the answer is too long");
            ensure!(self.stream.read_buf(&mut bytes).await? > 0, "the agent closed the connection");
            let text = std::str::from_utf8(&bytes)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            ensure!(head.starts_with("HTTP/1.1 200 "), "{}", head.lines().next().unwrap_or_default());
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.context("an answer without a length")? {
                return Ok(body.to_owned());
            }
        }
    }
}
