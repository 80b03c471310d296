//! Calls that walk a flow over the bus, and servers that lie to them.

use asterism_domain::{Event, logic};
use asterism_object_store::{ObjectName, ObjectStore};
use asterism_proto::v1::{ContactField, StepAnswer, StepQuestion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Lab, ask, decisions};

/// Publishes the survey with this back end; its id.
pub async fn publish(lab: &Lab, backend: &str) -> String {
    let text = format!(
        "name = \"survey\"\nfallback = \"sorry\"\n[backend]\n{backend}\n\
         prompts = [\"greeting\", \"menu\", \"q1\", \"q2\", \"q3\", \"thanks\", \"bye\"]\n\
         [states.sorry]\nplay = [\"sorry\"]\nnext = \"end\"\n[states.end]\nhangup = {{}}\n"
    );
    put(lab, text).await
}

pub async fn put(lab: &Lab, text: String) -> String {
    let id = logic::flow_id(text.as_bytes());
    let name = ObjectName::new(format!("flows/{id}.toml")).unwrap();
    lab.store.put(&name, text.into_bytes().into()).await.unwrap();
    id
}

/// A call that answers what it is asked with these keys, until it ends: what was said to it.
pub async fn walk(lab: &Lab, flow: &str, contact: u32, keys: &[&str]) -> Vec<StepAnswer> {
    walk_up_to(10, lab, flow, (contact, keys)).await
}

/// [`walk`], for calls that go on for longer.
pub async fn walk_up_to(
    steps: u32,
    lab: &Lab,
    flow: &str,
    (contact, keys): (u32, &[&str]),
) -> Vec<StepAnswer> {
    let mut said = Vec::<StepAnswer>::new();
    let (mut state, mut vars) = (String::new(), Vec::<ContactField>::new());
    let mut digits = "";
    for step in 1..=steps {
        let verb = said.last().map_or("start", |answer| answer.reply.split('|').next().unwrap()).to_owned();
        let question = StepQuestion {
            call: format!("lab-{contact}-1"),
            step,
            flow: flow.to_owned(),
            state,
            verb,
            status: if step == 1 { String::new() } else { "OK".to_owned() },
            digits: digits.to_owned(),
            campaign: "lab".to_owned(),
            vars: vars.clone(),
            deadline_ms: 5_000,
            ..StepQuestion::default()
        };
        let answer = ask(&lab.bus, &question).await;
        assert_eq!(answer.code, "", "{answer:?}");
        (state, vars) = (answer.next_state.clone(), answer.vars.clone());
        digits = keys.get(step as usize - 1).copied().unwrap_or_default();
        let ends = answer.reply.starts_with("hangup") || answer.reply.starts_with("optout");
        said.push(answer);
        if ends {
            return said;
        }
    }
    panic!("the call does not end: {said:?}")
}

/// What a caller notices of it, and what it leaves.
pub fn heard(said: &[StepAnswer]) -> Vec<String> {
    let line = |answer: &StepAnswer| {
        let vars: Vec<String> = answer.vars.iter().map(|var| format!("{}={}", var.name, var.value)).collect();
        format!("{} {} [{}] #{}", answer.reply, answer.next_state, vars.join(" "), answer.tags.join("#"))
    };
    said.iter().map(line).collect()
}

/// The failures the log tells, by code.
pub async fn failures(lab: &Lab) -> Vec<(String, String)> {
    let frames = lab.frames().await;
    let all = decisions(&frames).into_values();
    all.filter_map(|event| match event {
        Event::LogicFailed { code, reason, .. } => Some((code, reason)),
        _ => None,
    })
    .collect()
}

/// A server that answers every request with these bytes, or never.
pub async fn liar(answer: Option<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                let _ = stream.read(&mut buffer).await;
                match answer {
                    Some(answer) => {
                        let _ = stream.write_all(&answer).await;
                    }
                    None => std::future::pending().await,
                }
            });
        }
    });
    port
}

#[allow(clippy::unnecessary_wraps)] // as a liar takes it
pub fn http(head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}
