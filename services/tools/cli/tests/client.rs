//! The client against a fake role on a real nats-server: what it repeats, what it does not, and under which id.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use asterism_cli::client::Client;
use asterism_cli::import::Options;
use asterism_cli::ops;
use asterism_dialer::commands::ImportContacts;
use asterism_nats::server::find_binary;
use asterism_nats::{Bus, NatsServer, Subject, Subscription};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::role::refusal;
use prost::Message;
use serde_json::{Value, json};

const FLEET: &str = "demo";
/// Arguments of verbs that take none.
const NOTHING: [u8; 0] = [];
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

struct Fixture {
    server: NatsServer,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let binary = find_binary().expect(
            "no nats-server: set ASTERISM_NATS_SERVER, put one on PATH, or run tests/setup/nats-server.sh",
        );
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        Self { server, dir }
    }

    async fn bus(&self, name: &str) -> Bus {
        Bus::connect(&self.server.service(name).unwrap()).await.unwrap()
    }

    async fn client(&self) -> Client {
        Client::new(self.bus("cli").await, FLEET)
    }

    async fn dialer(&self) -> FakeDialer {
        FakeDialer::on(self.bus("fake").await).await
    }

    fn list(&self, contacts: u32) -> PathBuf {
        let mut text = String::from("number,name\n");
        for n in 0..contacts {
            let _ = writeln!(text, "+1202555{n:04},person {n}");
        }
        let path = self.dir.path().join(format!("list-{contacts}.csv"));
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Answers the dialer's subject by a script; says what it was asked.
struct FakeDialer {
    bus: Bus,
    commands: Subscription,
}

impl FakeDialer {
    async fn on(bus: Bus) -> Self {
        let subject = Subject::role(FLEET, Role::Dialer).unwrap();
        Self { commands: bus.subscribe(&subject, None).await.unwrap(), bus }
    }

    /// Takes one command for each line of the script; `None` stays silent, as a leader that dies does.
    async fn play(&mut self, script: Vec<Option<RoleReply>>) -> Vec<RoleCommand> {
        let mut asked = Vec::new();
        let mut script = VecDeque::from(script);
        while let Some(line) = script.pop_front() {
            let message = within("a command", self.commands.next()).await.unwrap();
            asked.push(RoleCommand::decode(message.payload.as_ref()).unwrap());
            if let Some(reply) = line {
                self.bus.respond(message.reply.unwrap(), reply.encode_to_vec()).await.unwrap();
            }
        }
        asked
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

#[allow(clippy::unnecessary_wraps)] // a script holds answers and silences
fn done(position: u64) -> Option<RoleReply> {
    Some(RoleReply { position, ..RoleReply::default() })
}

#[tokio::test]
async fn a_process_that_does_not_lead_is_asked_again_under_the_same_id() {
    let fixture = Fixture::start().await;
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let args = json!({ "campaign": "a" });
    let not_leading = || Some(refusal("AST-R033", "this process does not lead"));
    let script = vec![not_leading(), not_leading(), done(7)];
    let (reply, asked) =
        tokio::join!(client.role(Role::Dialer, "campaign.start", &args), dialer.play(script));
    assert_eq!(reply.unwrap().position, 7);
    assert_eq!(asked.len(), 3);
    assert!(!asked[0].command_id.is_empty() && asked[0].actor.starts_with("cli"));
    assert!(asked.iter().all(|command| *command == asked[0]), "a repeat is the same command, byte for byte");
    let read: Value = serde_json::from_slice(&asked[0].json).unwrap();
    assert_eq!((asked[0].verb.as_str(), read), ("campaign.start", json!({ "campaign": "a" })));
}

#[tokio::test]
async fn a_leader_that_dies_while_it_is_asked_costs_a_repeat_and_nothing_else() {
    let fixture = Fixture::start().await;
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let (reply, asked) =
        tokio::join!(client.role(Role::Dialer, "campaign.list", &NOTHING), dialer.play(vec![None, done(3)]));
    assert_eq!(reply.unwrap().position, 3);
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn a_dialer_that_starts_late_is_waited_for() {
    let fixture = Fixture::start().await;
    let client = fixture.client().await;
    // On one connection the question leaves before the subscription, so the first try finds nobody.
    let mut late = None;
    let start_late =
        async { late.insert(FakeDialer::on(client.bus().clone()).await).play(vec![done(1)]).await };
    let (reply, asked) = tokio::join!(client.role(Role::Dialer, "campaign.list", &NOTHING), start_late);
    assert_eq!((reply.unwrap().position, asked.len()), (1, 1));
}

#[tokio::test]
async fn nobody_there_is_said_in_time_with_what_to_do() {
    let fixture = Fixture::start().await;
    let client = fixture.client().await.patience(Duration::from_millis(300));
    let began = Instant::now();
    let error = client.role(Role::Dialer, "campaign.list", &NOTHING).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
    assert_eq!((error.code.as_str(), error.next_command.as_str()), ("AST-U001", "asterism doctor"));
    assert!(
        error.to_string().contains("no dialer answered") && error.why.contains("nobody answers"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is_and_not_repeated() {
    let fixture = Fixture::start().await;
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let refused =
        RoleReply { next: "asterism campaign list".to_owned(), ..refusal("AST-D020", "no such campaign") };
    let (reply, asked) = tokio::join!(ops::start_campaign(&client, "nope"), dialer.play(vec![Some(refused)]));
    assert_eq!(asked.len(), 1);
    assert_eq!(
        reply.unwrap_err().to_string(),
        "AST-D020: the dialer refused campaign.start: no such campaign; next: asterism campaign list"
    );
}

#[tokio::test]
async fn an_answer_of_another_form_is_named() {
    let fixture = Fixture::start().await;
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let odd = RoleReply { json: b"{\"not\":\"a list\"}".to_vec(), ..RoleReply::default() };
    let (list, _) = tokio::join!(ops::campaigns(&client), dialer.play(vec![Some(odd)]));
    assert_eq!(list.unwrap_err().code, "AST-U003");
}

#[tokio::test]
async fn a_campaign_waits_until_the_dialer_has_read_what_was_just_published() {
    let fixture = Fixture::start().await;
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let new = serde_json::from_value(json!({ "campaign": "a", "flow": "f", "manifest": "m", "trunk": "t" }))
        .unwrap();
    let not_yet = || Some(refusal("AST-D003", "the flow has not been published"));
    let script = vec![not_yet(), Some(refusal("AST-D004", "the manifest has not been published")), done(1)];
    let (created, asked) = tokio::join!(ops::create_campaign(&client, &new), dialer.play(script));
    created.unwrap();
    assert_eq!(asked.len(), 3);
}

fn batches(asked: &[RoleCommand]) -> Vec<ImportContacts> {
    asked.iter().map(|command| serde_json::from_slice(&command.json).unwrap()).collect()
}

#[tokio::test]
async fn a_list_goes_in_batches_the_last_one_marked_and_goes_on_after_a_failure() {
    let fixture = Fixture::start().await;
    let all_rows = Options::default();
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let list = fixture.list(450);
    let mut progress = Vec::new();
    let first_try =
        ops::import_contacts(&client, "spring", &list, &all_rows, None, |p| progress.push(p.contacts));
    let script = vec![done(1), Some(refusal("AST-D041", "the disk of the keys is full"))];
    let (failed, asked) = tokio::join!(first_try, dialer.play(script));
    let error = failed.unwrap_err();
    assert_eq!(error.code, "AST-D041");
    assert_eq!(error.next_command, format!("asterism campaign import spring {}", list.display()));
    assert_eq!((asked.len(), progress), (2, vec![200]));

    let mut progress = Vec::new();
    let again =
        ops::import_contacts(&client, "spring", &list, &all_rows, None, |p| progress.push(p.contacts));
    let (summary, repeated) = tokio::join!(again, dialer.play(vec![done(1), done(2), done(3)]));
    let summary = summary.unwrap();
    assert_eq!((summary.good, progress), (450, vec![200, 400, 450]));
    assert_eq!(asked, repeated[..2], "what may be in the log already is asked under the same id");
    let import = &summary.file_sha256[..32];
    let ids: Vec<&str> = repeated.iter().map(|command| command.command_id.as_str()).collect();
    assert_eq!(ids, (0..3).map(|n| format!("imp-spring-{import}-{n}")).collect::<Vec<_>>());
    let batches = batches(&repeated);
    assert_eq!(
        batches.iter().map(|batch| (batch.rows.len(), batch.last)).collect::<Vec<_>>(),
        [(200, false), (200, false), (50, true)]
    );
    assert_eq!(batches[2].rows[49].number, "+12025550449");
    assert_eq!(batches[0].rows[0].fields.get("name").unwrap(), "person 0");
    assert!(batches.iter().all(|batch| batch.import == import && batch.campaign == "spring"));
}

#[tokio::test]
async fn only_the_first_rows_go_when_so_asked_and_an_exact_batch_is_still_the_last() {
    let fixture = Fixture::start().await;
    let all_rows = Options::default();
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let list = fixture.list(450);
    for (limit, wanted) in
        [(250, vec![(200, false), (50, true)]), (200, vec![(200, true)]), (1, vec![(1, true)])]
    {
        let script = wanted.iter().map(|_| done(1)).collect();
        let import = ops::import_contacts(&client, "c", &list, &all_rows, Some(limit), |_| ());
        let (summary, asked) = tokio::join!(import, dialer.play(script));
        assert_eq!(summary.unwrap().good, limit);
        let sizes: Vec<_> = batches(&asked).iter().map(|batch| (batch.rows.len(), batch.last)).collect();
        assert_eq!(sizes, wanted, "limit {limit}");
    }
}

#[tokio::test]
async fn a_list_without_a_good_row_asks_nobody() {
    let fixture = Fixture::start().await;
    let all_rows = Options::default();
    // Nobody answers here: a command sent would be an AST-U001.
    let client = fixture.client().await.patience(Duration::from_millis(100));
    let list = fixture.dir.path().join("bad.csv");
    std::fs::write(&list, "number\n12\nabc\n").unwrap();
    let error = ops::import_contacts(&client, "c", &list, &all_rows, None, |_| ()).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.why.as_str()), ("AST-U020", "2 rows, 2 rejected"));
}

#[tokio::test]
async fn one_number_goes_under_a_random_import() {
    let fixture = Fixture::start().await;
    let (client, mut dialer) = (fixture.client().await, fixture.dialer().await);
    let number = asterism_domain::contact::E164::parse("+12025550123").unwrap();
    let mut imports = Vec::new();
    for _ in 0..2 {
        let (sent, asked) =
            tokio::join!(ops::import_one(&client, "call-1", number), dialer.play(vec![done(1)]));
        sent.unwrap();
        let batch = batches(&asked).remove(0);
        assert_eq!((batch.rows.len(), batch.rows[0].number.as_str(), batch.last), (1, "+12025550123", true));
        imports.push(batch.import);
    }
    assert_ne!(imports[0], imports[1]);
}
