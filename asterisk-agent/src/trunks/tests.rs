//! What stands in the file of trunks, and who may have one.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::render::plain_trunk;

const SECRET: &str = "a1b2c3d4e5f6a7b8c9d0";

fn text(entry: &v1::TrunkEntry) -> Result<String, Error> {
    render(entry, &Place::loopback(), SECRET, &Credentials::parse("acc alice s3cret").unwrap())
}

fn with(change: impl FnOnce(&mut v1::TrunkSettings)) -> v1::TrunkEntry {
    let mut entry = plain_trunk("carrier", "192.0.2.10", 5070);
    change(entry.settings.as_mut().unwrap());
    entry
}

#[test]
fn each_setting_has_its_line() {
    let has = |entry: &v1::TrunkEntry, line: &str| {
        let text = text(entry).unwrap();
        assert!(text.lines().any(|one| one == line), "{line:?} is not in\n{text}");
    };
    has(&with(|_| {}), "contact = sip:192.0.2.10:5070");
    has(&with(|_| {}), "accountcode = launch");
    has(&with(|s| s.transport = 2), "contact = sip:192.0.2.10:5070\\;transport=tcp");
    has(&with(|s| s.transport = 3), "transport = tls");
    has(&with(|s| s.srtp = true), "media_encryption = sdes");
    has(&with(|s| s.hosts.push("b.example.com".into())), "contact = sip:b.example.com");
    has(&with(|s| s.hosts.push("b.example.com".into())), "match = b.example.com");
    has(&with(|s| (s.hosts, s.srv) = (vec![], "example.com".into())), "contact = sip:example.com");
    has(&with(|s| s.qualify_s = 60), "qualify_frequency = 60");
    has(&with(|s| s.codecs = vec!["g722".into(), "ulaw".into()]), "allow = g722,ulaw");
    has(&with(|s| s.caller_id_header = 2), "send_pai = yes");
    has(&with(|s| s.caller_id_header = 3), "send_rpid = yes");
    has(&with(|s| s.from_domain = "example.com".into()), "from_domain = example.com");
    has(
        &with(|s| s.outbound_proxy = "p.example.com:5062".into()),
        "outbound_proxy = sip:p.example.com:5062\\;lr",
    );
    has(&with(|s| s.credentials = "acc".into()), "password = s3cret");
    has(&with(|s| s.credentials = "acc".into()), "outbound_auth = carrier");
}

#[test]
fn what_cannot_be_used_is_refused_and_no_secret_is_in_the_reason() {
    let bends: [fn(&mut v1::TrunkEntry); 9] = [
        |e| e.trunk = "tls".into(),
        |e| e.trunk = "a\nb".into(),
        |e| e.settings = None,
        |e| e.settings.as_mut().unwrap().transport = 9,
        |e| e.settings.as_mut().unwrap().hosts = vec!["a]\n[b".into()],
        |e| e.settings.as_mut().unwrap().hosts = vec!["[::1]:5060".into()],
        |e| e.settings.as_mut().unwrap().codecs = vec!["ulaw\n".into()],
        |e| e.settings.as_mut().unwrap().outbound_proxy = "x;y".into(),
        |e| e.settings.as_mut().unwrap().credentials = "none".into(),
    ];
    for (number, bend) in bends.into_iter().enumerate() {
        let mut entry = with(|_| {});
        bend(&mut entry);
        let refused = text(&entry).expect_err(&format!("case {number} was taken")).to_string();
        assert!(refused.starts_with("AST-A026") && !refused.contains("s3cret"), "{refused}");
    }
}

#[test]
fn credentials_are_their_owners_alone_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    std::fs::write(&path, "# a carrier\nacc alice s3cret\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Credentials::load(Some(&path)).unwrap_err().to_string();
    assert!(refused.starts_with("AST-A001") && refused.contains("chmod 600"), "{refused}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let read = Credentials::load(Some(&path)).unwrap();
    assert_eq!(read.get("acc"), Some(("alice".into(), "s3cret".into())));
    assert_eq!((read.get("other"), format!("{read:?}")), (None, "{\"acc\"}".to_owned()));
    for bad in ["acc alice", "acc alice s3;cret", "acc alice s3cret\nacc b c", "acc al]ice x", "a b >c"] {
        let said = Credentials::parse(bad).unwrap_err();
        assert!(said.starts_with("line ") && !said.contains("s3"), "{said}");
    }
}

fn trunks(dir: &std::path::Path) -> Trunks {
    let secret = dir.join("ami");
    std::fs::write(&secret, SECRET).unwrap();
    Trunks::open(dir.join("trunks.conf"), Place::loopback(), secret, None).unwrap()
}

/// A PBX that has the endpoints it is asked for, all at this revision.
fn pbx(revision: &'static str) -> mpsc::UnboundedSender<PbxCommand> {
    let (sender, mut commands) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if let PbxCommand::Reload { endpoints, answer } = command {
                let found = endpoints.into_iter().map(|name| (name, revision.to_owned())).collect();
                let _ = answer.send(Ok(found));
            }
        }
    });
    sender
}

#[tokio::test]
async fn a_trunk_is_held_once_the_pbx_says_so_and_outlives_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let own = trunks(dir.path());
    let mut digits = with(|s| s.number_format = 2);
    digits.revision = "r2".into();
    let mut broken = with(|s| s.credentials = "none".into());
    broken.trunk = "other".into();
    let order = v1::TrunkOrder { term: 1, trunks: vec![digits.clone(), broken] };
    let (held, problem) = own.have(order.clone(), &pbx("r1")).await;
    assert!(
        held.is_empty() && problem.contains("other") && problem.contains("the pbx did not take it"),
        "{problem}"
    );
    let (held, problem) = own.have(order, &pbx("r2")).await;
    assert_eq!(held, [("carrier".to_owned(), "r2".to_owned())]);
    assert!(problem.starts_with("AST-A026: the trunk other"), "{problem}");
    assert_eq!(own.written("carrier", "+12025550123"), "12025550123");
    let again = trunks(dir.path());
    assert_eq!(again.written("carrier", "+12025550123"), "12025550123", "after a restart");
    let mode = std::fs::metadata(dir.path().join("trunks.conf")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (closed, _) = mpsc::unbounded_channel();
    let (held, problem) = again.have(v1::TrunkOrder { term: 1, trunks: vec![digits] }, &closed).await;
    assert!(held.is_empty() && problem == "the pbx is not up", "{problem}");
}

/// Each of a trunk's places has an endpoint, which prefers it and knows the others; the trunk is held once all are there.
#[tokio::test]
async fn a_trunk_of_several_places_has_an_endpoint_for_each() {
    let dir = tempfile::tempdir().unwrap();
    let own = trunks(dir.path());
    let mut three =
        with(|s| s.hosts = ["192.0.2.1", "192.0.2.2:5070", "192.0.2.2:5080"].map(Into::into).to_vec());
    three.revision = "r1".into();
    let text = text(&three).unwrap();
    for lines in [
        "[carrier.1]\ntype = aor\ncontact = sip:192.0.2.2:5070\n",
        "\naors = carrier,carrier.1,carrier.2\n",
        "\naors = carrier.1,carrier.2,carrier\n",
        "\naors = carrier.2,carrier,carrier.1\n",
        "match = 192.0.2.1\nmatch = 192.0.2.2\n\n",
    ] {
        assert_eq!(format!("{text}\n").matches(lines).count(), 1, "{lines:?} in\n{text}");
    }
    let order = v1::TrunkOrder { term: 1, trunks: vec![three] };
    let names = [0, 1, 2].map(|place| endpoint_at(SECRET, "carrier", place));
    let (sender, mut commands) = mpsc::unbounded_channel();
    let asked = tokio::spawn(async move {
        let Some(PbxCommand::Reload { endpoints, answer }) = commands.recv().await else { panic!() };
        let _ =
            answer.send(Ok(endpoints.iter().take(2).map(|name| (name.clone(), "r1".to_owned())).collect()));
        endpoints
    });
    let (held, problem) = own.have(order.clone(), &sender).await;
    assert!(held.is_empty() && problem.contains("the pbx did not take it"), "one is not there: {problem}");
    assert_eq!(asked.await.unwrap(), names);
    assert_eq!(own.have(order, &pbx("r1")).await.0.len(), 1);
    let mut turns = names.clone().map(|_| 0);
    for n in 0..300 {
        let name = own.target(SECRET, "carrier", &format!("c-{n}-1")).unwrap().0;
        turns[names.iter().position(|known| *known == name).unwrap()] += 1;
    }
    assert!(turns.iter().all(|count| (70..=130).contains(count)), "{turns:?}");
    assert_eq!(own.target(SECRET, "unknown", "c-1-1"), Ok((endpoint_at(SECRET, "unknown", 0), None)));
}

proptest! {
    #[test]
    fn no_value_adds_a_line(
        trunk in "[ -~\\n\\r;=\\[\\]]{0,20}", host in "[ -~\\n]{0,20}", domain in "[ -~\\n\\r]{0,20}", proxy in "[ -~\\n]{0,20}"
    ) {
        let lines = |text: &str| text.lines().count();
        let plain = text(&with(|s| s.outbound_proxy = "a.b".into())).unwrap();
        let mut bent = with(|s| (s.hosts, s.from_domain, s.outbound_proxy) = (vec![host], domain, proxy));
        bent.trunk = trunk;
        if let Ok(text) = text(&bent) {
            let spared = if bent.settings.unwrap().outbound_proxy.is_empty() { 2 } else { 0 };
            prop_assert_eq!(lines(&text) + spared, lines(&plain), "{}", text);
            prop_assert!(!text.contains('\r'));
        }
    }
}

#[test]
fn a_leg_leaves_by_the_trunk_of_its_call_with_the_number_as_that_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("ami");
    files::write_private(&secret, SECRET.as_bytes()).unwrap();
    let trunks = Trunks::open(dir.path().join("trunks.conf"), Place::loopback(), secret, None).unwrap();
    let dialled = |format: u32, address: &str, body: &str| {
        let entry = with(|settings| settings.number_format = format);
        *trunks.now.write().unwrap() = by_name(vec![entry]);
        let number = |text: &str| crate::machine::Number(text.to_owned());
        let whom = Whom { address: number(address), caller_id: number("+12025550100") };
        trunks.joining(7, body, &whom, ("carrier", "c-1-1"))
    };
    let by = endpoint_at(SECRET, "carrier", 0);
    for (format, address, to) in [
        (1, "+12025550188", "+12025550188"),
        (2, "+12025550188", "12025550188"),
        (3, "+12025550188", "0012025550188"),
        (2, "night_desk", "night_desk"),
    ] {
        let line = dialled(format, address, "dial|support|30|600").unwrap();
        assert_eq!(line, format!("1|7|dial|{to}|30|600|+12025550100|{by}|."));
    }
    for (address, body) in [("1@x", "dial|support|30|600"), ("+1", "hangup|16"), ("+1", "dial|support|0|1")] {
        let why = dialled(1, address, body).unwrap_err();
        assert!(why.starts_with("AST-A170"), "{why}");
    }
}
