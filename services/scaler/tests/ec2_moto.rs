//! The EC2 provider against a moto server, seen from outside by unsigned requests of our own.
//!
//! moto knows no idempotency: that an intent has one instance here is our own doing. What moto cannot do (refuse,
//! throttle, lose an answer) the front before it does.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../core/object-store/tests/moto/mod.rs"]
#[allow(dead_code)]
mod moto;

use std::collections::{BTreeMap, BTreeSet};

use asterism_scaler::cloud::ec2::{AccessKey, Ec2Cloud, Ec2Config};
use asterism_scaler::cloud::{Cloud, ErrorKind, InstanceState, LaunchRequest, code};
use moto::{Fault, Front, Moto};

const IMAGE: &str = "ami-12c6146b";

async fn cloud(fleet: &str, port: u16) -> Ec2Cloud {
    let config = Ec2Config {
        fleet: fleet.into(),
        region: Some("eu-west-1".into()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        key: Some(AccessKey { id: "test".into(), secret: "hunter2".into() }),
    };
    assert!(!format!("{config:?}").contains("hunter2"));
    Ec2Cloud::open(config).await.unwrap()
}

fn request(intent: &str) -> LaunchRequest {
    LaunchRequest {
        intent_id: intent.into(),
        instance_type: "c7g.large".into(),
        image_id: IMAGE.into(),
        user_data: Some("#cloud-config\n".into()),
        tags: BTreeMap::from([("team".into(), "voice & care".into())]),
        ..LaunchRequest::default()
    }
}

/// moto's own listing, one text per instance.
fn listed(moto: &Moto) -> Vec<String> {
    let xml = moto.ask("POST", "/", "ec2", "Action=DescribeInstances&Version=2016-11-15");
    assert!(xml.contains("DescribeInstancesResponse"), "{xml}");
    xml.split("<reservationId>").skip(1).map(str::to_owned).collect()
}

fn refusal(code: &str) -> &'static str {
    let xml = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>planned</Message></Error></Errors>\
         <RequestID>1</RequestID></Response>"
    );
    Box::leak(xml.into_boxed_str())
}

#[tokio::test]
async fn a_launch_is_tagged_and_guarded() {
    let Some(moto) = Moto::start("a_launch_is_tagged_and_guarded") else { return };
    let front = Front::before(&moto);
    let ours = cloud("blue", front.port).await;
    let first = ours.launch(&request("intent-1")).await.unwrap().remove(0);
    assert_eq!(first.intent_id.as_deref(), Some("intent-1"));
    assert!(first.launched_at_ms > 1_500_000_000_000 && first.private_address.is_some(), "{first:?}");

    let sent: Vec<_> = front.take_seen().into_iter().filter(|r| r.contains("Action=RunInstances")).collect();
    assert_eq!(sent.len(), 1);
    for part in [
        "MinCount=1",
        "MaxCount=1",
        "ClientToken=intent-1",
        "MetadataOptions.HttpTokens=required",
        "MetadataOptions.HttpPutResponseHopLimit=1",
        "InstanceInitiatedShutdownBehavior=terminate",
        "UserData=I2Nsb3VkLWNvbmZpZwo",
        "TagSpecification.2.ResourceType=volume",
    ] {
        assert!(sent[0].contains(part), "{part} is not in {}", sent[0]);
    }
    let stored = &listed(&moto)[0];
    for part in [
        "<key>asterism:fleet</key><value>blue</value>",
        "<key>asterism:intent</key><value>intent-1</value>",
        "<key>Name</key><value>asterism-blue</value>",
        "<key>team</key><value>voice &amp; care</value>",
        "<httpTokens>required</httpTokens>",
        "<httpPutResponseHopLimit>1</httpPutResponseHopLimit>",
        "<instanceType>c7g.large</instanceType>",
    ] {
        assert!(
            stored.split_whitespace().collect::<Vec<_>>().join(" ").contains(part),
            "{part} not in {stored}"
        );
    }
}

#[tokio::test]
async fn a_launch_template_gives_what_the_request_does_not() {
    let Some(moto) = Moto::start("a_launch_template_gives_what_the_request_does_not") else { return };
    let ask = format!(
        "Action=CreateLaunchTemplate&Version=2016-11-15&LaunchTemplateName=voice\
         &LaunchTemplateData.ImageId={IMAGE}&LaunchTemplateData.InstanceType=t3.micro"
    );
    let made = moto.ask("POST", "/", "ec2", &ask);
    let id = made.split("<launchTemplateId>").nth(1).and_then(|rest| rest.split('<').next()).expect(&made);
    let front = Front::before(&moto);
    let ours = cloud("lime", front.port).await;
    for (intent, template, instance_type) in [("by-id", id, ""), ("by-name", "voice", "c7g.large")] {
        let launch = LaunchRequest {
            image_id: String::new(),
            instance_type: instance_type.into(),
            launch_template: Some(template.into()),
            ..request(intent)
        };
        ours.launch(&launch).await.unwrap().remove(0);
    }
    let sent: Vec<_> = front.take_seen().into_iter().filter(|r| r.contains("Action=RunInstances")).collect();
    assert!(sent[0].contains(&format!("LaunchTemplate.LaunchTemplateId={id}")), "{}", sent[0]);
    assert!(!sent[0].contains("ImageId=") && !sent[0].contains("InstanceType="), "{}", sent[0]);
    assert!(sent[1].contains("LaunchTemplate.LaunchTemplateName=voice"), "{}", sent[1]);
    let types = [("by-id", "t3.micro"), ("by-name", "c7g.large")];
    let stored = listed(&moto);
    for (intent, instance_type) in types {
        let instance = stored.iter().find(|i| i.contains(&format!("<value>{intent}</value>"))).expect(intent);
        for part in [
            format!("<imageId>{IMAGE}</imageId>"),
            format!("<instanceType>{instance_type}</instanceType>"),
            "<httpTokens>required</httpTokens>".to_owned(),
        ] {
            assert!(instance.contains(&part), "{part} not in {instance}");
        }
    }
}

#[tokio::test]
async fn an_intent_is_one_instance_and_all_end() {
    let Some(moto) = Moto::start("an_intent_is_one_instance_and_all_end") else { return };
    let front = Front::before(&moto);
    let ours = cloud("blue", front.port).await;
    let first = ours.launch(&request("intent-1")).await.unwrap().remove(0);
    let restarted = cloud("blue", front.port).await;
    assert_eq!(
        restarted.launch(&request("intent-1")).await.unwrap().remove(0).instance_id,
        first.instance_id
    );
    let other = LaunchRequest { instance_type: "c7g.xlarge".into(), ..request("intent-1") };
    let error = restarted.launch(&other).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Permanent, code::INTENT_MISMATCH));

    // The answer of a launch that happened is lost: we do not know, and the repeat finds the same instance.
    front.plan([Fault::Pass, Fault::LoseAnswer]);
    let error = ours.launch(&request("intent-2")).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::UnknownOutcome, code::UNREACHABLE));
    let second = ours.launch(&request("intent-2")).await.unwrap().remove(0);
    assert_eq!(listed(&moto).len(), 2, "moto has more instances than intents");

    let green = cloud("green", moto.port).await;
    let theirs = green.launch(&request("intent-1")).await.unwrap().remove(0);
    let listing = ours.list().await.unwrap();
    assert!(listing.iter().all(|i| i.state == InstanceState::Running), "{listing:?}");
    let mine: BTreeSet<_> = listing.into_iter().map(|i| i.instance_id).collect();
    assert_eq!(mine, BTreeSet::from([first.instance_id.clone(), second.instance_id.clone()]));

    // One id that does not exist spoils a batch for all of them.
    let ids = [first.instance_id.clone(), "i-0123456789abcdef0".to_owned(), second.instance_id.clone()];
    let error = ours.terminate(&ids).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Transient, code::NO_SUCH_INSTANCE));
    ours.terminate(&[]).await.unwrap();
    ours.terminate(&[first.instance_id.clone(), second.instance_id]).await.unwrap();
    assert!(ours.list().await.unwrap().iter().all(|i| i.state == InstanceState::Terminated));
    green.terminate(&[theirs.instance_id]).await.unwrap();
    let states = listed(&moto);
    assert_eq!(states.len(), 3);
    assert!(states.iter().all(|i| i.contains("<name>terminated</name>")), "{states:?}");

    let again = ours.launch(&request("intent-1")).await.unwrap().remove(0);
    assert_eq!((again.instance_id, again.state), (first.instance_id, InstanceState::Terminated));
    assert_eq!(listed(&moto).len(), 3, "a spent intent launched again");
}

#[tokio::test]
async fn refusals_mean_what_the_scaler_must_do() {
    let Some(moto) = Moto::start("refusals_mean_what_the_scaler_must_do") else { return };
    let front = Front::before(&moto);
    let ours = cloud("red", front.port).await;
    let cases = [
        (500, "InsufficientInstanceCapacity", ErrorKind::Capacity, code::CAPACITY),
        (403, "UnauthorizedOperation", ErrorKind::Permanent, code::DENIED),
        (400, "InvalidAMIID.NotFound", ErrorKind::Permanent, code::NOT_THERE),
        (400, "VcpuLimitExceeded", ErrorKind::Capacity, code::QUOTA),
        (400, "MaxSpotInstanceCountExceeded", ErrorKind::Capacity, code::SPOT_QUOTA),
        (400, "InsufficientFreeAddressesInSubnet", ErrorKind::Capacity, code::SUBNET_FULL),
        (400, "RequestExpired", ErrorKind::Transient, code::CLOCK_OFF),
        (401, "AuthFailure", ErrorKind::Permanent, code::BAD_KEY),
        (500, "InternalError", ErrorKind::UnknownOutcome, code::UNREACHABLE),
        (400, "IdempotentInstanceTerminated", ErrorKind::Permanent, code::SPENT),
        // The last: it is silent for a while after it.
        (503, "RequestLimitExceeded", ErrorKind::Transient, code::THROTTLED),
    ];
    for (status, ec2_code, kind, ours_code) in cases {
        front.take_seen();
        front.plan([Fault::Pass, Fault::Answer(status, refusal(ec2_code))]);
        let error = ours.launch(&request("x")).await.unwrap_err();
        assert_eq!((error.kind, error.code), (kind, ours_code), "{error}");
        assert!(error.why.starts_with(ec2_code), "{error}");
        let by_itself = [code::SPENT, code::NO_SUCH_INSTANCE].contains(&ours_code);
        assert_eq!(error.next.is_empty(), by_itself, "{error}");
        let tried = front.take_seen().iter().filter(|r| r.contains("Action=RunInstances")).count();
        assert_eq!(tried, 1, "{ec2_code} was repeated by itself");
    }
    // When the cloud cannot be seen, nothing is launched blindly.
    front.plan([Fault::Answer(503, "<html>down</html>")]);
    assert_eq!(ours.launch(&request("x")).await.unwrap_err().kind, ErrorKind::Transient);
    front.plan([Fault::LoseAnswer]);
    assert_eq!(ours.list().await.unwrap_err().kind, ErrorKind::Transient);
    front.plan([Fault::Answer(503, refusal("RequestLimitExceeded"))]);
    let error = ours.terminate(&["i-0123456789abcdef0".to_owned(), "i-1".to_owned()]).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Transient, code::THROTTLED));
    assert!(listed(&moto).is_empty());
}

#[tokio::test]
async fn a_listing_is_complete_or_an_error() {
    let Some(moto) = Moto::start("a_listing_is_complete_or_an_error") else { return };
    let front = Front::before(&moto);
    let ours = cloud("pages", front.port).await.with_page(5);
    let run = format!(
        "Action=RunInstances&Version=2016-11-15&ImageId={IMAGE}&InstanceType=t3.micro&MinCount=1&MaxCount=1\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=asterism%3Afleet\
         &TagSpecification.1.Tag.1.Value=pages"
    );
    for _ in 0..12 {
        assert!(moto.ask("POST", "/", "ec2", &run).contains("<instanceId>"));
    }
    let all = ours.list().await.unwrap();
    assert_eq!(all.len(), 12);
    assert!(all.iter().all(|i| i.intent_id.is_none()), "an intent from nowhere");
    assert_eq!(front.take_seen().len(), 3, "not the pages we asked for");
    for good_pages in 0..3 {
        front.plan(vec![Fault::Pass; good_pages]);
        front.plan([Fault::Answer(503, refusal("InternalError"))]);
        let error = ours.list().await.unwrap_err();
        assert_eq!(
            (error.kind, error.code),
            (ErrorKind::Transient, code::UNREACHABLE),
            "after {good_pages} pages"
        );
    }
}
