//! Connecting, asking, answering, and what a node may not do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use asterism_nats::{
    Bus, BusConfig, Error, PublishFrameError, RequestError, Secret, ServiceError, ServiceSpec, Subject, Verb,
    serve,
};
use asterism_proto::{Origin, Role};
use futures_util::{FutureExt, StreamExt};
use support::{FLEET, Fixture, within};

const SOON: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_server_that_is_not_there_refuses_or_is_waited_for() {
    let mut fixture = Fixture::start().await;
    let config = fixture.server.service("a").unwrap();
    fixture.server.kill9();
    assert_eq!(Bus::connect(&config).await.unwrap_err().code(), "AST-N002");

    let (waits_tx, mut waits) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn(async move {
        Bus::connect_waiting(&config, |attempt, _| waits_tx.send(attempt).unwrap()).await
    });
    assert_eq!(within("the first wait", waits.recv()).await, Some(1));
    fixture.server.restart().await.unwrap();
    let bus = within("a connection", waiting).await.unwrap().unwrap();
    assert!(bus.is_connected());
    assert_eq!(bus.stats().connects, 1);
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    let fixture = Fixture::start().await;
    let wrong = BusConfig { password: Some(Secret::new("wrong")), ..fixture.server.service("a").unwrap() };
    let error = Bus::connect_waiting(&wrong, |_, _| panic!("waited")).await.unwrap_err();
    assert!(matches!(error, Error::AuthRefused { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    let none = BusConfig { user: None, password: None, ..wrong };
    assert_eq!(Bus::connect(&none).await.unwrap_err().code(), "AST-N003");
}

#[tokio::test]
async fn a_request_is_answered_refused_or_says_why_not() {
    let mut fixture = Fixture::start().await;
    let (asker, node) = (fixture.service("asker").await, fixture.node("i-1").await);
    let dial = Subject::command(FLEET, "i-1", Verb::Dial).unwrap();
    assert_eq!(asker.request(&dial, vec![], SOON).await, Err(RequestError::NoResponders));

    let mut orders = node.subscribe(&Subject::commands(FLEET, "i-1").unwrap(), None).await.unwrap();
    let answering = tokio::spawn({
        let node = node.clone();
        async move {
            let order = orders.next().await.unwrap();
            node.respond(order.reply.unwrap(), [&order.payload, &b" taken"[..]].concat()).await.unwrap();
            // The second one is heard and not answered.
            orders.next().await
        }
    });
    // The node's subscription and the request travel on two connections: the first ones may come before it.
    let answer = within("an answer", async {
        loop {
            match asker.request(&dial, b"order".to_vec(), SOON).await {
                Err(RequestError::NoResponders) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    })
    .await;
    assert_eq!(answer.unwrap(), b"order taken");
    assert_eq!(asker.request(&dial, vec![], SOON).await, Err(RequestError::Deadline));
    assert!(answering.await.unwrap().is_some());

    let mut connected = asker.connects();
    fixture.server.kill9();
    within("the broken link", async {
        while asker.is_connected() {
            tokio::time::sleep(SOON / 50).await;
        }
    })
    .await;
    assert_eq!(asker.request(&dial, vec![], SOON).await, Err(RequestError::Disconnected));
    fixture.server.restart().await.unwrap();
    within("the link", connected.changed()).await.unwrap();
    assert_eq!(asker.stats().connects, 2);
}

#[tokio::test]
async fn a_request_in_flight_ends_when_the_link_breaks() {
    let mut fixture = Fixture::start().await;
    let (asker, node) = (fixture.service("asker").await, fixture.service("node").await);
    let dial = Subject::command(FLEET, "i-1", Verb::Dial).unwrap();
    let mut orders = node.subscribe(&dial, None).await.unwrap();
    // One connection after the other: a round trip on the node's proves that its subscription is there.
    assert_eq!(
        node.request(&Subject::time(FLEET).unwrap(), vec![], SOON).await,
        Err(RequestError::NoResponders)
    );
    let asking = tokio::spawn(async move { asker.request(&dial, vec![], Duration::from_mins(1)).await });
    within("the order", orders.next()).await.unwrap();
    fixture.server.kill9();
    assert_eq!(within("the end", asking).await.unwrap(), Err(RequestError::Disconnected));
}

#[tokio::test]
async fn an_answer_asked_for_on_a_subject_of_the_stream_is_refused_and_counted() {
    let fixture = Fixture::start().await;
    let (bus, _) = fixture.with_stream().await;
    let subject = Subject::command(FLEET, "i-1", Verb::Have).unwrap();
    let mut orders = bus.subscribe(&subject, None).await.unwrap();

    let raw = support::raw_client(&fixture).await;
    let inject = Subject::event(FLEET, &support::dialer()).unwrap().as_str().to_owned();
    raw.publish_with_reply(subject.as_str().to_owned(), inject, "x".into()).await.unwrap();
    let order = within("the order", orders.next()).await.unwrap();
    assert_eq!(bus.respond(order.reply.unwrap(), b"frame".to_vec()).await.unwrap_err().code(), "AST-N008");
    assert_eq!(bus.stats().refused_replies, 1);
    assert_eq!(asterism_nats::stream::info(&bus, FLEET).await.unwrap().last_sequence, 0);
}

#[tokio::test]
async fn a_node_publishes_its_own_class_only_and_nothing_under_the_stream_api() {
    let fixture = Fixture::start().await;
    let (service, _) = fixture.with_stream().await;
    let node = fixture.node("i-1").await;
    let own = Origin::Node("i-1".into());
    let ack = node.publish_frame(FLEET, &own, b"fact".to_vec(), "i-1.e.1", None).await.unwrap();
    assert_eq!((ack.sequence, ack.duplicate), (1, false));

    let foreign = [support::dialer(), Origin::Proc(Role::LogicResponder, "x".into())];
    for (denied, origin) in (1..).zip(foreign) {
        let error = node.publish_frame(FLEET, &origin, b"forged".to_vec(), "f", None).await.unwrap_err();
        assert!(matches!(error, PublishFrameError::NotAcknowledged(_)), "{error}");
        assert_eq!(node.stats().server_errors, denied, "the server said that it denies {origin}");
    }
    assert!(asterism_nats::stream::info(&node, FLEET).await.is_err(), "a node may not ask about the stream");
    assert_eq!(asterism_nats::stream::info(&service, FLEET).await.unwrap().last_sequence, 1);
}

#[tokio::test]
async fn a_node_hears_neither_the_stream_nor_what_services_are_answered() {
    let fixture = Fixture::start().await;
    let (service, _) = fixture.with_stream().await;
    let node = support::raw_client_as(fixture.server.node("i-1").unwrap()).await;
    let mut heard = Vec::new();
    for subject in
        ["ast.v1.ev.demo.>", "ast.v1.role.>", "ast.v1.reg.demo", "_IN.svc.>", "_IN.>", "$SRV.>", ">"]
    {
        heard.push((subject, node.subscribe(subject).await.unwrap()));
    }
    let mut orders = node.subscribe("ast.v1.cmd.demo.i-1.*").await.unwrap();
    // A round trip on the node's connection: the server has judged the subscriptions.
    let _ = node.request("ast.v1.time.demo", "".into()).await;
    let fact = service.publish_frame(FLEET, &support::dialer(), b"secret".to_vec(), "d.1", None).await;
    fact.unwrap();
    let order = Subject::command(FLEET, "i-1", Verb::Dial).unwrap();
    service.publish(&order, b"order".to_vec()).await.unwrap();
    // What follows on one connection comes in order: with the order here, anything before it would be here too.
    assert_eq!(within("the order", orders.next()).await.unwrap().payload, "order");
    for (subject, mut subscriber) in heard {
        let message = subscriber.next().now_or_never().flatten();
        assert!(message.is_none(), "{subject}: {message:?}");
    }
}

#[tokio::test]
async fn a_back_end_hears_what_flows_ask_answers_it_and_may_do_nothing_else() {
    let fixture = Fixture::start().await;
    let (service, _) = fixture.with_stream().await;
    let web = support::raw_client_as(fixture.server.web("survey").unwrap()).await;
    let mut heard = Vec::new();
    for subject in ["ast.v1.ev.demo.>", "ast.v1.logic.>", "ast.v1.cmd.>", "_IN.svc.>", "$SRV.>", ">"] {
        heard.push((subject, web.subscribe(subject).await.unwrap()));
    }
    let subject = Subject::backend(FLEET, "survey").unwrap();
    let mut questions = web.queue_subscribe(subject.as_str().to_owned(), "web".to_owned()).await.unwrap();
    // Nothing it publishes but answers gets anywhere: the frame is not stored, the order not heard.
    let mut orders = service.subscribe(&Subject::commands(FLEET, "i-1").unwrap(), None).await.unwrap();
    for forged in ["ast.v1.ev.demo.proc.x", "ast.v1.cmd.demo.i-1.dial", "$JS.API.STREAM.INFO.AST_demo"] {
        web.publish(forged, "x".into()).await.unwrap();
    }
    web.flush().await.unwrap();
    let answering = tokio::spawn(async move {
        let question = questions.next().await.unwrap();
        web.publish(question.reply.unwrap(), "answer".into()).await.unwrap();
        web.flush().await.unwrap();
    });
    let answer = within("an answer", async {
        loop {
            match service.request(&subject, b"question".to_vec(), SOON).await {
                Err(RequestError::NoResponders) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    });
    assert_eq!(answer.await.unwrap(), b"answer");
    within("its end", answering).await.unwrap();
    assert!(orders.next().now_or_never().is_none());
    assert_eq!(asterism_nats::stream::info(&service, FLEET).await.unwrap().last_sequence, 0);
    for (subject, mut subscriber) in heard {
        let message = subscriber.next().now_or_never().flatten();
        assert!(message.is_none(), "{subject}: {message:?}");
    }
}

#[tokio::test]
async fn a_stopping_service_answers_what_it_has_taken() {
    let fixture = Fixture::start().await;
    let (responder, asker) = (fixture.service("responder").await, fixture.service("asker").await);
    let subject = Subject::step(FLEET).unwrap();
    let spec = ServiceSpec {
        name: "slow".into(),
        version: "0.1.0".into(),
        description: "answers when told".into(),
        subject: subject.clone(),
        queue: "slow".into(),
        concurrency: 1,
    };
    let (go, gate) = tokio::sync::watch::channel(false);
    let (taken_tx, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let service = serve(&responder, spec, move |question| {
        let mut gate = gate.clone();
        let _ = taken_tx.send(());
        async move {
            let _ = gate.wait_for(|open| *open).await;
            Ok(question.to_vec())
        }
    })
    .await
    .unwrap();
    let _ = responder.request(&Subject::time(FLEET).unwrap(), vec![], SOON).await;
    let asking = (0..3u8).map(|n| {
        let (asker, subject) = (asker.clone(), subject.clone());
        tokio::spawn(async move { asker.request(&subject, vec![n], support::PATIENCE).await })
    });
    let asking: Vec<_> = asking.collect();
    within("the first question", taken.recv()).await.unwrap();
    // One is being answered, two wait in the subscription; a round trip later both are there.
    let _ = responder.request(&Subject::time(FLEET).unwrap(), vec![], SOON).await;
    let stopping = tokio::spawn(service.stop());
    go.send_replace(true);
    within("the stop", stopping).await.unwrap();
    for (n, answer) in (0..).zip(asking) {
        assert_eq!(within("an answer", answer).await.unwrap(), Ok(vec![n]));
    }
}

#[tokio::test]
async fn a_service_answers_counts_and_tells_the_inventory() {
    let fixture = Fixture::start().await;
    let (responder, node) = (fixture.service("responder").await, fixture.node("i-1").await);
    let subject = Subject::step(FLEET).unwrap();
    let spec = ServiceSpec {
        name: "logic-responder".into(),
        version: "0.1.0".into(),
        description: "answers step questions".into(),
        subject: subject.clone(),
        queue: "logic".into(),
        concurrency: 2,
    };
    let service = serve(&responder, spec, |question| async move {
        match &question[..] {
            b"bad" => Err(ServiceError { code: 400, reason: "no such flow".into() }),
            _ => Ok([&b"answer to "[..], &question].concat()),
        }
    })
    .await
    .unwrap();
    // A round trip on the responder's connection: its subscriptions are known to the server.
    let _ = responder.request(&Subject::time(FLEET).unwrap(), vec![], SOON).await;

    assert_eq!(node.request(&subject, b"1".to_vec(), SOON).await.unwrap(), b"answer to 1");
    assert_eq!(
        node.request(&subject, b"bad".to_vec(), SOON).await,
        Err(RequestError::Service { code: 400, reason: "no such flow".into() })
    );
    let questions = (0..50).map(|n: u32| {
        let (node, subject) = (node.clone(), subject.clone());
        tokio::spawn(
            async move { node.request(&subject, n.to_string().into_bytes(), SOON * 10).await.unwrap() },
        )
    });
    for (n, answer) in questions.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), format!("answer to {n}").into_bytes());
    }
    within("the count", async {
        while service.handled() < 52 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let raw = support::raw_client(&fixture).await;
    let stats = within("STATS", raw.request("$SRV.STATS.logic-responder", "".into())).await.unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats.payload).unwrap();
    assert_eq!(stats["endpoints"][0]["num_requests"], 52);
    service.stop().await;
    // The same round trip: the server has heard of the end.
    let _ = responder.request(&Subject::time(FLEET).unwrap(), vec![], SOON).await;
    assert_eq!(node.request(&subject, b"1".to_vec(), SOON).await, Err(RequestError::NoResponders));
}
