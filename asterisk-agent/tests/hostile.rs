//! Nothing from outside is evaluated by a real Asterisk: what an agent that lies replies, what the far end of a call says in
//! its headers, and what somebody says who calls in. Whatever would be run leaves a file or a word in the PBX's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::alone::{Alone, free_udp, sipp};
use support::real::installed;

/// Replies the dialplan must not use, each by its call. No id begins another one: Asterisk takes a channel whose id begins
/// with a new one's for the same.
/// The first two bytes of `1|1|` make them look right.
const LIES: [(&str, &[u8]); 24] = [
    ("shell-prompt", b"1|1|play|${SHELL(touch /tmp/canary-prompt)}|0||||."),
    ("shell-verb", b"1|1|${SHELL(touch /tmp/canary-verb)}|x|||||."),
    ("shell-step", b"1|${SHELL(touch /tmp/canary-step)}|pause|1|||||."),
    ("expression", b"1|$[0+1]|pause|1|||||."),
    ("nested", b"1|1|play|${${R}}|0||||."),
    ("file", b"1|1|play|${FILE(/etc/passwd)}|0||||."),
    ("comma", b"1|1|play|menu,noanswer|0||||."),
    ("quote", b"1|1|play|\"menu\"|0||||."),
    ("paren", b"1|1|pause|1)|||||."),
    ("semicolon", b"1|1|play|menu;touch|0||||."),
    ("backslash", b"1|1|play|menu\\|0||||."),
    ("backtick", b"1|1|play|`touch /tmp/canary-backtick`|0||||."),
    ("newline", b"1|1|pause|1|||||.\nexten => s,1,System(touch)"),
    ("ami", b"1|1|pause|1|||||.\r\nAction: Command\r\nCommand: core stop now\r\n\r\n"),
    ("at", b"1|1|dial|1|9|9||x@asterism|."),
    ("space", b"1|1|pause|1 |||||."),
    ("high", b"1|1|play|men\xc3\xbc|0||||."),
    ("unknown-verb", b"1|1|System|touch|||||."),
    ("not-a-verb", b"1|1||hangup|||||."),
    ("no-mark", b"1|1|pause|1|||||"),
    ("more-fields", b"1|1|pause|1||||||."),
    ("other-step", b"1|2|pause|1|||||."),
    ("other-version", b"2|1|pause|1|||||."),
    ("empty", b""),
];

/// A bracket is `SIPp`'s own in a scenario: `[expr]` there is this.
const EXPRESSION: [&str; 3] = ["-key", "expr", "$["];

/// The lie first, and what is right when asked again.
fn lies(form: &str) -> Vec<u8> {
    let call = form.strip_prefix("c=").and_then(|rest| rest.split('&').next()).unwrap();
    if form.contains("&m=0&") {
        match call {
            "long" => return format!("1|1|play|{}|0||||.", "x/".repeat(600)).into_bytes(),
            call => {
                if let Some((_, lie)) = LIES.iter().find(|(id, _)| *id == call) {
                    return lie.to_vec();
                }
            }
        }
    }
    if call == "talks" && form.contains("&n=1&") {
        return b"1|1|pause|60|||||.".to_vec();
    }
    b"1|1|hangup|16|||||.".to_vec()
}

/// What evaluation leaves behind: files, or words of functions and expressions that are not there.
fn nothing_was_run(asterisk: &Alone) {
    assert_eq!(asterisk.files_named("canary"), Vec::<std::path::PathBuf>::new());
    let log = asterisk.log();
    for trace in
        ["SHELL", "not registered", "ast_yyerror", "System", "canary", "Can't find trailing", "passwd"]
    {
        assert!(!log.contains(trace), "{trace:?} is in the log of the PBX:\n{log}");
    }
}

#[tokio::test]
async fn a_reply_that_could_be_evaluated_is_not_used() {
    let Some((root, program)) = installed("agent: real Asterisk, hostile replies") else { return };
    let (here, carrier) = (tempfile::tempdir().unwrap(), free_udp());
    let mut asterisk = Alone::start(&root, carrier, lies).await;
    let _carrier = sipp(&program, here.path(), "carrier.xml", carrier, &[]).await;
    let ids: Vec<&str> = LIES.iter().map(|(id, _)| *id).chain(["long"]).collect();
    for id in &ids {
        asterisk.call(id, "+15550100158").await;
    }
    asterisk.until_ended(&ids).await;
    for id in ids {
        let asked = asterisk.asked(id);
        assert_eq!(asked.len(), 2, "{id}: {asked:?}");
        assert!(asked[0].contains("&n=1&m=0&") && asked[1].contains("&n=1&m=1&"), "{id}: {asked:?}");
        let ended = asterisk.ended(id);
        assert!(ended[0].contains("&v=hangup&st=done&"), "{id}: {ended:?}");
    }
    nothing_was_run(&asterisk);
}

#[tokio::test]
async fn what_the_far_end_says_is_never_evaluated() {
    let Some((root, program)) = installed("agent: real Asterisk, hostile far end") else { return };
    let (here, carrier) = (tempfile::tempdir().unwrap(), free_udp());
    let mut asterisk = Alone::start(&root, carrier, lies).await;
    let far_end = sipp(&program, here.path(), "hostile.xml", carrier, &EXPRESSION).await;
    asterisk.call("talks", "+15550100150").await;
    asterisk.until_ended(&["talks"]).await;
    let ended = asterisk.ended("talks");
    assert!(ended[0].contains("&n=1&v=pause&st=&d=&ta=&cause=16&"), "{ended:?}");
    // Whoever calls in comes by the carrier's address, so that it is the trunk's.
    drop(far_end);
    let to = format!("127.0.0.1:{}", asterisk.sip_port);
    let more = [&EXPRESSION[..], &["-m", "1", &to]].concat();
    let mut caller = sipp(&program, here.path(), "hostile_in.xml", carrier, &more).await;
    let status = tokio::task::spawn_blocking(move || caller.0.wait().unwrap()).await.unwrap();
    assert!(status.success(), "whoever calls in is not sent away: {status}");
    nothing_was_run(&asterisk);
}
