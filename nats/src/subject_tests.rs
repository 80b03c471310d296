//! Golden tests of every subject, and what must be refused.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

#[test]
fn each_builder_gives_the_documented_subject_and_reads_back() {
    let node = Origin::Node("i-1".into());
    let cases: [(Subject, &str, Option<Parsed>); 18] = [
        (
            Subject::event("demo", &node).unwrap(),
            "ast.v1.ev.demo.node.i-1",
            Some(Parsed::Event { fleet: "demo".into(), origin: node }),
        ),
        (
            Subject::event("demo", &Origin::Proc(Role::LogicResponder, "x-1".into())).unwrap(),
            "ast.v1.ev.demo.proc.logic-responder-x-1",
            Some(Parsed::Event {
                fleet: "demo".into(),
                origin: Origin::Proc(Role::LogicResponder, "x-1".into()),
            }),
        ),
        (
            Subject::command("demo", "i-1", Verb::Dial).unwrap(),
            "ast.v1.cmd.demo.i-1.dial",
            Some(Parsed::Command { fleet: "demo".into(), node: "i-1".into(), verb: Verb::Dial }),
        ),
        (
            Subject::role("demo", Role::MediaSync).unwrap(),
            "ast.v1.role.demo.media-sync",
            Some(Parsed::RoleCommand { fleet: "demo".into(), role: Role::MediaSync }),
        ),
        (
            Subject::heartbeat("demo", "i-1").unwrap(),
            "ast.v1.hb.demo.i-1",
            Some(Parsed::Heartbeat { fleet: "demo".into(), node: "i-1".into() }),
        ),
        (
            Subject::resend("demo", &Origin::Node("i-1".into())).unwrap(),
            "ast.v1.cmd.demo.i-1.resend",
            Some(Parsed::Command { fleet: "demo".into(), node: "i-1".into(), verb: Verb::Resend }),
        ),
        (
            Subject::resend("demo", &Origin::Role(Role::Dialer)).unwrap(),
            "ast.v1.again.demo.role.dialer",
            Some(Parsed::Resend { fleet: "demo".into(), origin: Origin::Role(Role::Dialer) }),
        ),
        (Subject::resends("demo").unwrap(), "ast.v1.again.demo.*.*", None),
        (
            Subject::registration("demo").unwrap(),
            "ast.v1.reg.demo",
            Some(Parsed::Registration { fleet: "demo".into() }),
        ),
        (
            Subject::step("demo").unwrap(),
            "ast.v1.logic.demo.step",
            Some(Parsed::Step { fleet: "demo".into() }),
        ),
        (
            Subject::backend("demo", "survey").unwrap(),
            "ast.v1.ask.demo.survey",
            Some(Parsed::Backend { fleet: "demo".into(), flow: "survey".into() }),
        ),
        (
            Subject::checkpoint_request("demo").unwrap(),
            "ast.v1.req.demo.checkpoint",
            Some(Parsed::CheckpointRequest { fleet: "demo".into() }),
        ),
        (
            Subject::cosignature("demo", "i-1").unwrap(),
            "ast.v1.cosign.demo.i-1",
            Some(Parsed::Cosignature { fleet: "demo".into(), node: "i-1".into() }),
        ),
        (Subject::cosignatures("demo").unwrap(), "ast.v1.cosign.demo.*", None),
        (
            Subject::growth_request("demo").unwrap(),
            "ast.v1.req.demo.growth",
            Some(Parsed::GrowthRequest { fleet: "demo".into() }),
        ),
        (
            Subject::address_request("demo").unwrap(),
            "ast.v1.req.demo.media",
            Some(Parsed::AddressRequest { fleet: "demo".into() }),
        ),
        (Subject::events("demo").unwrap(), "ast.v1.ev.demo.>", None),
        (Subject::commands("demo", "i-1").unwrap(), "ast.v1.cmd.demo.i-1.*", None),
    ];
    for (subject, text, parsed) in cases {
        assert_eq!(subject.as_str(), text);
        assert_eq!(subject.parse().ok(), parsed, "{text}");
    }
}

#[test]
fn what_could_leave_its_token_is_refused() {
    for bad in ["", "a.b", "*", ">", "a b", "a\n", "é", &"x".repeat(65)] {
        assert!(Subject::events(bad).is_err(), "{bad:?}");
        assert!(Subject::heartbeat("demo", bad).is_err(), "{bad:?}");
        assert!(Subject::event("demo", &Origin::Node(bad.into())).is_err(), "{bad:?}");
        assert!(node_inbox(bad).is_err(), "{bad:?}");
        assert!(stream_name(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn only_inboxes_are_answered_on() {
    for good in ["_IN.node.i-1.abc", "_IN.svc.dialer.Xy.7", "_IN.cli.x"] {
        assert!(is_inbox(good), "{good}");
    }
    for bad in [
        "ast.v1.ev.demo.role.dialer",
        "_INBOX.abc",
        "_IN",
        "_IN.x",
        "_IN.a.>",
        "_IN.a.*",
        "_IN..a",
        "$JS.API.X",
    ] {
        assert!(!is_inbox(bad), "{bad}");
    }
    assert!(
        is_inbox_prefix(&node_inbox("i-1").unwrap()) && is_inbox_prefix(&service_inbox("dialer").unwrap())
    );
    assert!(!is_inbox_prefix("_INBOX.x") && !is_inbox_prefix("_IN") && !is_inbox_prefix("_IN.a.>"));
}

#[test]
fn the_table_of_the_readme_is_the_one_of_the_code() {
    let readme = include_str!("../conf/README.md");
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `ast."))
        .map(|row| row.trim_end_matches(" |").split(" | ").collect())
        .collect();
    assert_eq!(rows.len(), TABLE.len(), "rows of the table in nats/conf/README.md");
    for (row, known) in rows.iter().zip(TABLE) {
        let subject = format!("ast.{}", row[0].trim_end_matches('`'));
        assert_eq!([&[subject.as_str()], &row[1..]].concat(), known);
    }
}

#[test]
fn the_example_configurations_give_users_what_the_code_gives_them() {
    let one_box = include_str!("../conf/one-box.conf");
    let cluster = include_str!("../conf/cluster-common.conf");
    for permissions in [node_permissions(), web_permissions()] {
        let all = permissions.publish_allow.iter().chain(&permissions.publish_deny);
        for subject in all.chain(&permissions.subscribe_allow) {
            let subject = format!("\"{subject}\"");
            assert!(one_box.contains(&subject), "{subject} is missing in nats/conf/one-box.conf");
            assert!(cluster.contains(&subject), "{subject} is missing in nats/conf/cluster-common.conf");
        }
    }
}

fn any_token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,64}"
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,300}") {
        let _ = Parsed::from_text(&text);
        let _ = is_inbox(&text);
    }

    #[test]
    fn subjects_of_near_shape_read_or_not_but_never_panic(text in "ast\\.v1(\\.[a-z*>-]{0,9}){0,6}") {
        if let Ok(parsed) = Parsed::from_text(&text) {
            prop_assert!(!text.contains(['*', '>']), "{parsed:?}");
        }
    }

    #[test]
    fn built_subjects_read_back(fleet in any_token(), node in any_token(), verb in 0..Verb::ALL.len()) {
        let verb = Verb::ALL[verb];
        let subject = Subject::command(&fleet, &node, verb).unwrap();
        prop_assert_eq!(subject.parse().unwrap(), Parsed::Command { fleet: fleet.clone(), node: node.clone(), verb });
        let origin = Origin::Node(node.clone());
        let subject = Subject::event(&fleet, &origin).unwrap();
        prop_assert_eq!(subject.parse().unwrap(), Parsed::Event { fleet: fleet.clone(), origin });
        let subject = Subject::heartbeat(&fleet, &node).unwrap();
        prop_assert_eq!(subject.parse().unwrap(), Parsed::Heartbeat { fleet, node });
    }
}
