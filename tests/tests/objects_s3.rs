//! `asterism up` with its objects behind an S3 server of its own: services, commands and nodes go the way they go to
//! Amazon's, a campaign plays what was published, and the system finds its objects again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use asterism_tests::stack::root;
use asterism_tests::up::Up;

/// Three people.
const PEOPLE: &str = "number\n+12025550150\n+12025550151\n+12025550152\n";

#[tokio::test]
async fn a_campaign_plays_what_an_s3_server_of_this_process_keeps() {
    let mut up = Up::start_with(&["--objects", "s3"]).await;
    let demo = root().join("compose/demo");
    let (prompts, flow) = (demo.join("prompts"), demo.join("flow.toml"));
    up.done(&format!("media publish {} --name demo", prompts.display()));
    fs::write(up.path().join("people.csv"), PEOPLE).unwrap();
    let flow = flow.display();
    up.done(&format!(
        "campaign create spring --flow {flow} --prompts demo --trunk carrier --contacts people.csv --start"
    ));
    up.until_of("spring", "everyone is settled", |show| show["status"] == "completed").await;
    assert_eq!(up.rings().values().sum::<usize>(), 3);

    // The objects are files of the bucket's folder, under their names; nothing is where the other kind would look.
    let data = up.path().join("fleet");
    assert!(data.join("s3/objects/blobs").is_dir());
    assert!(!data.join("objects").exists());
    let config = fs::read_to_string(data.join("asterism.toml")).unwrap();
    let key = fs::read_to_string(data.join("keys/objects-key")).unwrap();
    assert!(config.contains("s3://objects?region=local&endpoint=http://127.0.0.1:"), "{config}");
    assert!(key.split_whitespace().all(|word| !config.contains(word)), "the key stands in the configuration");
    assert_eq!(up.done("media verify").trim(), "1 sets, 4 sounds, 0 bad");
    up.stop().await;
}
