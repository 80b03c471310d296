//! What only S3 can get wrong: lost answers, half bodies, refusals. The shared promises are in `suite.rs`.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod moto;

use std::io::{Read, Write};
use std::net::TcpStream;

use asterism_object_store::{Location, ObjectName, ObjectStore, PutResult, S3Store, sha256_name};
use bytes::Bytes;
use moto::{Fault, Front, Moto};

const SLOW_DOWN: &str =
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
const MIB: u64 = 1024 * 1024;

fn name(s: &str) -> ObjectName {
    ObjectName::new(s).unwrap()
}

async fn store(bucket: &str, port: u16) -> S3Store {
    let url = format!("s3://{bucket}/fleet/a?region=eu-west-1&endpoint=http://127.0.0.1:{port}");
    let Location::S3(at) = Location::parse(&url).unwrap() else { panic!("{url} is not s3") };
    S3Store::open_with_key(at, "test", "test").await.unwrap()
}

#[tokio::test]
async fn lost_answers_and_slow_downs_change_nothing() {
    let Some(moto) = Moto::start("lost_answers_and_slow_downs_change_nothing") else { return };
    moto.make_bucket("spoilt");
    let front = Front::before(&moto);
    let store = store("spoilt", front.port).await;
    let at = sha256_name(b"content");
    let content = Bytes::from_static(b"content");

    // Our create arrived, its answer did not: the repeat must not say that somebody else was first.
    front.plan([Fault::LoseAnswer]);
    assert_eq!(store.put_if_absent(&at, content.clone()).await.unwrap(), PutResult::Created);
    front.plan([Fault::Answer(503, SLOW_DOWN), Fault::LoseAnswer]);
    assert_eq!(store.put_if_absent(&at, content.clone()).await.unwrap(), PutResult::Exists);

    front.plan([Fault::Answer(503, SLOW_DOWN), Fault::CutBody(3), Fault::LoseAnswer]);
    assert_eq!(store.get(&at, MIB).await.unwrap(), content);
    front.plan([Fault::Answer(500, ""), Fault::LoseAnswer]);
    store.put(&name("x"), content.clone()).await.unwrap();
    front.plan([Fault::LoseAnswer]);
    assert_eq!(store.list("", None, 10).await.unwrap().entries.len(), 2);
    front.plan([Fault::LoseAnswer]);
    store.delete(&name("x")).await.unwrap();
    assert_eq!(store.head(&name("x")).await.unwrap(), None);

    front.take_seen();
    front.plan(vec![Fault::Answer(503, SLOW_DOWN); 5]);
    let error = store.get(&at, MIB).await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("AST-B009", true));
    assert_eq!(front.take_seen().len(), 5, "the sdk repeats too, or we do not");
}

#[tokio::test]
async fn refusals_and_rot_are_told_apart() {
    let Some(moto) = Moto::start("refusals_and_rot_are_told_apart") else { return };
    moto.make_bucket("rot");
    let front = Front::before(&moto);
    let store_ = store("rot", front.port).await;
    let at = name("plain");
    store_.put(&at, Bytes::from_static(b"before")).await.unwrap();
    let sent = front.take_seen().join("");
    assert!(sent.contains("x-amz-checksum-sha256"), "s3 cannot check what arrives: {sent}");
    front.plan([Fault::Answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")]);
    assert_eq!(store_.get(&at, MIB).await.unwrap_err().code(), "AST-B007");
    assert_eq!(front.take_seen().len(), 1, "a refusal was repeated");

    // Other bytes arrive than were stored: the metadata gives them away, or the name does.
    front.plan([Fault::SwapBody("beFore")]);
    assert_eq!(store_.get(&at, MIB).await.unwrap_err().code(), "AST-B005");
    let blob = sha256_name(b"good");
    moto.ask("PUT", &format!("/rot/fleet/a/{blob}"), "s3", "evil");
    assert_eq!(store_.get(&blob, MIB).await.unwrap_err().code(), "AST-B005");

    let nowhere = store("no-such-bucket", front.port).await;
    assert_eq!(nowhere.put(&at, Bytes::new()).await.unwrap_err().code(), "AST-B010");
    assert_eq!(nowhere.list("", None, 1).await.unwrap_err().code(), "AST-B010");
}

#[tokio::test]
async fn foreign_keys_do_not_stop_a_listing_and_a_signed_url_is_enough() {
    let Some(moto) = Moto::start("foreign_keys_do_not_stop_a_listing") else { return };
    moto.make_bucket("shared");
    for key in
        ["fleet/a/", "fleet/a/.hidden", "fleet/a/a%20b", "fleet/a/b//c", "fleet/a/good", "fleet/b/other"]
    {
        moto.ask("PUT", &format!("/shared/{key}"), "s3", "x");
    }
    let store = store("shared", moto.port).await;
    for limit in 1..4 {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = store.list("", after.as_ref(), limit).await.unwrap();
            names.extend(page.entries.into_iter().map(|e| e.name.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(names, ["good"]);
    }

    let url = store.fetch_url(&name("good"), 60).await.unwrap();
    assert!(url.contains("X-Amz-Signature=") && url.contains("X-Amz-Expires=60"), "{url}");
    let path = url.strip_prefix(&format!("http://127.0.0.1:{}", moto.port)).unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", moto.port)).unwrap();
    write!(server, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", moto.port)
        .unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nx"), "{answer}");
}

#[tokio::test]
async fn a_large_object_goes_in_parts_and_is_whole_or_absent() {
    let Some(moto) = Moto::start("a_large_object_goes_in_parts") else { return };
    moto.make_bucket("large");
    let front = Front::before(&moto);
    let store = store("large", front.port).await;
    let large: Bytes = (0..40 * MIB).map(|i| (i / 1_000 % 251) as u8).collect::<Vec<_>>().into();
    let at = name("segment");

    // Head, begin twice, the first part three times, two more parts, and an end whose answer is lost, found by its mark.
    let busy = Fault::Answer(503, SLOW_DOWN);
    let lost = Fault::LoseAnswer;
    front.plan([Fault::Pass, lost.clone(), Fault::Pass, busy, lost.clone(), Fault::Pass, Fault::Pass]);
    let forgotten =
        "<Error><Code>NoSuchUpload</Code><Message>The upload may have been completed.</Message></Error>";
    front.plan([Fault::Pass, lost, Fault::Answer(404, forgotten)]);
    assert_eq!(store.put_if_absent(&at, large.clone()).await.unwrap(), PutResult::Created);
    let seen: Vec<String> =
        front.take_seen().iter().filter_map(|request| request.lines().next().map(str::to_owned)).collect();
    let parts = seen.iter().filter(|request| request.contains("partNumber=")).count();
    assert_eq!((seen.len(), parts), (11, 5), "{seen:#?}");
    assert!(store.get(&at, 64 * MIB).await.unwrap() == large, "it came back different");
    front.take_seen();
    assert_eq!(store.put_if_absent(&at, large.clone()).await.unwrap(), PutResult::Exists);
    assert_eq!(front.take_seen().len(), 1, "what is there is sent again");

    // A part that never comes through: nothing is there, and the parts are given back.
    let other = name("other");
    front.plan([Fault::Pass, Fault::Pass].into_iter().chain(vec![Fault::Answer(503, SLOW_DOWN); 5]));
    assert!(store.put_if_absent(&other, large.clone()).await.unwrap_err().is_transient());
    assert_eq!(store.head(&other).await.unwrap(), None);
    assert!(front.take_seen().iter().any(|request| request.starts_with("DELETE ")), "parts are left");

    // Replaced whole; and where somebody else was first, it stays.
    store.put(&at, large.slice(1..)).await.unwrap();
    assert!(store.get(&at, 64 * MIB).await.unwrap() == large.slice(1..), "it came back different");
    // moto forgets the condition of the last request, so the front refuses as S3 does.
    let (race, nobody) = (name("race"), Fault::Answer(404, ""));
    store.put(&race, Bytes::from_static(b"first")).await.unwrap();
    front.take_seen();
    let taken =
        Fault::Answer(412, "<Error><Code>PreconditionFailed</Code><Message>It exists.</Message></Error>");
    front.plan([nobody].into_iter().chain(vec![Fault::Pass; 4]).chain([taken]));
    assert_eq!(store.put_if_absent(&race, large).await.unwrap(), PutResult::Exists);
    let end = front.take_seen().into_iter().rfind(|request| request.starts_with("POST ")).unwrap();
    assert!(end.to_ascii_lowercase().contains("if-none-match: *"), "{end}");
    assert_eq!(store.get(&race, MIB).await.unwrap(), Bytes::from_static(b"first"));
}
