//! `POST /calls` with two dialer processes: whichever is asked, and however often under one key, one call is placed by the
//! one that leads; where nobody leads it says so, and when to ask again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use asterism_cli::ops;
use asterism_domain::campaign::CampaignStatus;
use asterism_nats::{Bus, Lease, LeaseEvent, LeaseTiming};
use asterism_proto::Role;
use asterism_tests::api::{Answered, Api};
use asterism_tests::stack::{FLEET, SERVICES, Stack, StackOptions, StackPbx, root};
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery";
const PATIENCE: Duration = Duration::from_mins(2);
const DIALER: &str = "asterism-dialer";
const STANDBY: &str = "standby-dialer";

/// A place to take calls, and the variables that say so.
fn office(token: &Path) -> (Api, Vec<(String, String)>) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = [
        ("ASTERISM_DIALER__CALLS_LISTEN", format!("127.0.0.1:{port}")),
        ("ASTERISM_DIALER__CALLS_TOKEN_FILE", token.display().to_string()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    (Api { port, token: TOKEN.to_owned() }, env)
}

fn call(last: u32) -> Value {
    json!({ "number": format!("+120255501{last:02}"), "flow": "demo" })
}

/// Asks on a thread of its own: what stands beside it goes on.
async fn post(api: &Api, key: &'static str, body: Value) -> Answered {
    let api = api.clone();
    tokio::task::spawn_blocking(move || api.post(key, &body)).await.unwrap()
}

/// Until it takes calls.
async fn listens(api: &Api) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", api.port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "nobody listens on {}", api.port);
        tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
    }
}

fn term(stack: &Stack) -> u64 {
    stack.log.read(|state| state.terms.get(Role::Dialer.name()).copied().unwrap_or_default())
}

async fn start(env: Vec<(String, String)>) -> Stack {
    let options = StackOptions { max_nodes: 1, capacity: 5, pbx: StackPbx::Sim };
    let services = SERVICES.map(|one| (one, if one == DIALER { env.clone() } else { Vec::new() }));
    let stack = Box::pin(Stack::start_on(options, Vec::new(), &[], &services)).await.unwrap();
    let store = asterism_object_store::open(&stack.config.objects_url().unwrap()).await.unwrap();
    let demo = root().join("compose/demo");
    let store = store.as_ref();
    ops::publish_prompts(&stack.client, store, &demo.join("prompts"), "demo").await.unwrap();
    ops::publish_flow(&stack.client, store, &demo.join("flow.toml")).await.unwrap();
    stack.wait("a dialer leads", PATIENCE, |state| state.terms.contains_key(Role::Dialer.name())).await;
    stack
}

#[tokio::test]
async fn whoever_is_asked_the_one_that_leads_places_the_call_and_places_it_once() {
    let secret = tempfile::tempdir().unwrap();
    let token = secret.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let ((leader, leads), (standby, stands_by)) = (office(&token), office(&token));
    let mut stack = Box::pin(start(leads.clone())).await;
    stack.start_rival(DIALER, STANDBY, &stands_by);
    listens(&leader).await;
    listens(&standby).await;

    // One key, three times: through the standby, of the leader, through the standby again.
    let made = post(&standby, "k1", call(1)).await;
    assert_eq!((made.status, &made.json["repeated"]), (201, &json!(false)), "{made:#?}");
    for api in [&leader, &standby] {
        let again = post(api, "k1", call(1)).await;
        assert_eq!((again.status, &again.json["call"]), (200, &made.json["call"]), "{again:#?}");
    }
    // Of both at the same moment.
    let (one, other) = tokio::join!(post(&standby, "k2", call(2)), post(&leader, "k2", call(2)));
    let mut both = [one.status, other.status];
    both.sort_unstable();
    assert_eq!((both, &one.json["call"]), ([200, 201], &other.json["call"]), "{one:#?} {other:#?}");
    // What the leader refuses the standby refuses in the same words.
    for (key, body) in [("k1", call(9)), ("k3", json!({ "flow": "demo" })), ("k3", json!({ "number": "12" }))]
    {
        let (mine, its) = (post(&leader, key, body.clone()).await, post(&standby, key, body).await);
        assert!(mine.status >= 400, "{mine:#?}");
        assert_eq!((mine.status, &mine.json), (its.status, &its.json));
    }
    assert_eq!(term(&stack), 1, "the standby has never led");

    // The leader dies: the standby looks for one until it leads itself, or says that it found none.
    stack.kill_service(DIALER);
    let mut answered = post(&standby, "k4", call(4)).await;
    let began = Instant::now();
    while answered.status == 503 {
        assert!(began.elapsed() < PATIENCE, "{answered:#?}");
        answered = post(&standby, "k4", call(4)).await;
    }
    assert_eq!(answered.status, 201, "{answered:#?}");
    assert_eq!(term(&stack), 2);

    nobody_leads(&mut stack, &leads, &leader).await;
    let done = |status: CampaignStatus| status == CampaignStatus::Completed;
    stack
        .wait("every call is done", PATIENCE, |state| {
            state.campaigns.len() == 4 && state.campaigns.values().all(|one| done(one.status))
        })
        .await;
    let rings = stack.rings();
    assert_eq!((rings.rings, rings.double_rings), (4, 0), "{rings:?}");
    stack.replay_agrees().await;
}

/// The lease is held by somebody who answers nothing: this is what a dialer says that cannot lead and finds no leader.
async fn nobody_leads(stack: &mut Stack, env: &[(String, String)], api: &Api) {
    stack.kill_service(STANDBY);
    let bus = Bus::connect(&stack.nats.service("sitter").unwrap()).await.unwrap();
    let mut sits = Lease::campaign_with(&bus, FLEET, Role::Dialer, "sitter", LeaseTiming::default()).unwrap();
    let held = tokio::time::timeout(PATIENCE, sits.next()).await.expect("the lease comes free");
    assert!(matches!(held, LeaseEvent::Held { .. }), "{held:?}");
    stack.start_rival(DIALER, "late-dialer", env);
    listens(api).await;
    let refused = post(api, "k5", call(5)).await;
    assert_eq!((refused.status, &refused.json["error"]["code"]), (503, &json!("AST-D143")), "{refused:#?}");
    assert!(refused.head.contains("\r\nretry-after: 1"), "{}", refused.head);
    assert!(sits.is_held(), "nobody took the lease meanwhile");
    sits.release().await;
    let began = Instant::now();
    loop {
        let answered = post(api, "k5", call(5)).await;
        match answered.status {
            201 => break,
            503 if began.elapsed() < PATIENCE => {}
            _ => panic!("{answered:#?}"),
        }
    }
}
