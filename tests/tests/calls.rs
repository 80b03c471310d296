//! `POST /calls` as a program meets it: one call, once, by the rules, with a code and a reason for every no.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::TcpListener;

use asterism_tests::api::{Answered, Api};
use asterism_tests::stack::root;
use asterism_tests::up::Up;
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery";

fn post(api: &Api, key: &str, body: &Value) -> (u16, Value) {
    let answered = api.post(key, body);
    (answered.status, answered.json)
}

fn refused(api: &Api, key: &str, body: &Value, status: u16, code: &str) {
    let (got, said) = post(api, key, body);
    assert_eq!((got, said["error"]["code"].as_str()), (status, Some(code)), "{said:#}");
    assert!(!said.to_string().contains("5550"), "no number is repeated: {said}");
}

#[tokio::test]
async fn a_program_places_a_call_once_and_by_the_rules() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let sets = [
        format!("dialer.calls_listen=127.0.0.1:{port}"),
        format!("dialer.calls_token_file={}", file.display()),
    ];
    let mut up = Up::start_with(&["--set", &sets[0], "--set", &sets[1]]).await;
    let api = Api { port, token: TOKEN.to_owned() };
    let demo = root().join("compose/demo");
    // A test call publishes flow and prompts, and is one decision as well.
    let call = up.done_talking(&[
        "call",
        "+12025550100",
        "--flow",
        &demo.join("flow.toml").display().to_string(),
        "--prompts",
        &demo.join("prompts").display().to_string(),
    ]);
    assert!(call.contains("answered"), "{call}");
    up.done("dnc add +12025550150 --prefix 1202555016 --reason asked-to");
    let body = json!({ "number": "+12025550101", "flow": "demo", "fields": { "name": "Ada" } });
    doors(&api, &body);
    bad_bodies(&api);
    let dry = post(&api, "k0", &json!({ "number": "+12025550101", "flow": "demo", "dry_run": true }));
    assert_eq!((dry.0, &dry.1["forecast"]["now"]), (200, &json!(1)), "{:#}", dry.1);
    let (status, made) = post(&api, "k1", &body);
    assert_eq!((status, &made["repeated"]), (201, &json!(false)), "{made:#}");
    let (status, again) = post(&api, "k1", &body);
    assert_eq!((status, &again["repeated"], &again["call"]), (200, &json!(true), &made["call"]), "{again:#}");
    refused(&api, "k1", &json!({ "number": "+12025550102", "flow": "demo" }), 409, "AST-D057");
    let id = made["call"].as_str().unwrap().to_owned();
    up.until_of(&id, "it is done", |shown| shown["status"] == "completed").await;
    let token = format!("Bearer {TOKEN}");
    let Answered { status, json: seen, .. } =
        api.ask(&format!("GET /calls/{id}"), &[("authorization", &token)], "");
    assert_eq!((status, &seen["report"]["answered"]), (200, &json!(1)), "{seen:#}");
    assert_eq!(api.ask("GET /calls/call-no", &[("authorization", &token)], "").status, 404);
    over_another_trunk(&up, &api).await;
    let rings = up.rings();
    assert_eq!(rings.len(), 3, "{rings:?}");
    assert!(rings.values().all(|rang| *rang == 1), "{rings:?}");
    up.stop().await;
    let verified = up.run(&["replay", "verify", "fleet/log"]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
}

/// A trunk that was added while the fleet runs carries calls as those of the configuration do, and shows its own number.
async fn over_another_trunk(up: &Up, api: &Api) {
    up.done("trunk add backup --host 127.0.0.1:5999 --caller-id +12015550198");
    let body = json!({ "number": "+12025550103", "flow": "demo" });
    refused(api, "k2", &body, 422, "AST-D062"); // which of the two?
    let named = json!({ "number": "+12025550103", "flow": "demo", "trunk": "backup" });
    let (status, made) = post(api, "k2", &named);
    assert_eq!(status, 201, "{made:#}");
    let id = made["call"].as_str().unwrap();
    let shown = up.until_of(id, "it is done", |shown| shown["status"] == "completed").await;
    assert_eq!(shown["answered"], 1, "{shown:#}");
    let wrong =
        json!({ "number": "+12025550104", "flow": "demo", "trunk": "backup", "caller_id": "+12015540197" });
    refused(api, "k3", &wrong, 422, "AST-D009");
}

/// Who may not come in, and what cannot be a request.
fn doors(api: &Api, body: &Value) {
    let body = body.to_string();
    for token in ["", "Bearer ", "Bearer correct-horse-batterx", "Basic correct-horse-battery"] {
        let Answered { status, json: said, .. } =
            api.ask("POST /calls", &[("authorization", token), ("idempotency-key", "a")], &body);
        assert_eq!((status, said["error"]["code"].as_str()), (401, Some("AST-D052")), "{token:?}");
    }
    let token = format!("Bearer {TOKEN}");
    for key in ["", "a b", &"k".repeat(65)] {
        let Answered { status, json: said, .. } =
            api.ask("POST /calls", &[("authorization", &token), ("idempotency-key", key)], &body);
        assert_eq!((status, said["error"]["code"].as_str()), (400, Some("AST-D053")), "{key:?}");
    }
    let long = format!("{{\"number\": \"{}\"}}", "1".repeat(20_000));
    let Answered { status, json: said, .. } =
        api.ask("POST /calls", &[("authorization", &token), ("idempotency-key", "a")], &long);
    assert_eq!((status, said["error"]["code"].as_str()), (413, Some("AST-D055")));
}

/// A code and a reason for each; nothing of them is in the log.
fn bad_bodies(api: &Api) {
    for (body, status, code) in [
        (json!({ "flow": "demo" }), 400, "AST-D059"),
        (json!({ "number": "+12025550101", "flow": "demo", "loud": true }), 400, "AST-D059"),
        (json!({ "number": 12_025_550_101u64, "flow": "demo" }), 400, "AST-D059"),
        (json!({ "number": "2025550101", "flow": "demo" }), 422, "AST-I011"),
        (json!({ "number": "+12025550101", "flow": "nothing" }), 422, "AST-D064"),
        (json!({ "number": "+12025550101", "flow": "demo", "trunk": "nowhere" }), 422, "AST-D062"),
        (json!({ "number": "+12025550101", "flow": "demo", "ring_timeout_ms": 5 }), 422, "AST-D005"),
        (
            json!({ "number": "+12025550101", "flow": "demo", "rules": { "min_gap": "soon" } }),
            422,
            "AST-D063",
        ),
        (
            json!({ "number": "+12025550101", "flow": "demo", "rules": { "consent_required": true } }),
            422,
            "AST-D065",
        ),
        (json!({ "number": "+12025550150", "flow": "demo" }), 422, "AST-D065"),
        (json!({ "number": "+12025550161", "flow": "demo" }), 422, "AST-D065"),
        (
            json!({ "number": "+12025550101", "flow": "demo", "fields": { "note": "x".repeat(300) } }),
            422,
            "AST-D011",
        ),
        (
            json!({ "number": "+12025550101", "flow": "demo", "fields": { "timezone": "Mars" } }),
            422,
            "AST-D061",
        ),
    ] {
        refused(api, "bad", &body, status, code);
    }
}
