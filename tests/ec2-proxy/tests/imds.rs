//! The metadata service: no page without a token of its own, notices when they are given.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;

use asterism_ec2_proxy::imds::Metadata;

const ACTION: &str = "/latest/meta-data/spot/instance-action";

fn ask(service: &Metadata, method: &str, path: &str, header: &str) -> (u16, String) {
    let mut server = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    write!(server, "{method} {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n").unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return (0, String::new()) };
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn pages_need_a_token_and_notices_come_when_given() {
    let service = Metadata::start("i-1");
    assert_eq!(ask(&service, "GET", ACTION, "Accept: a").0, 401);
    assert_eq!(ask(&service, "PUT", "/latest/api/token", "Accept: a").0, 400);
    let (status, token) =
        ask(&service, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60");
    assert_eq!(status, 200);
    let with = format!("X-aws-ec2-metadata-token: {token}");
    assert_eq!(ask(&service, "GET", "/latest/meta-data/instance-id", &with), (200, "i-1".to_owned()));
    assert_eq!(ask(&service, "GET", "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token: 1").0, 401);
    assert_eq!(ask(&service, "GET", ACTION, &with).0, 404);
    service.interrupt("2026-12-01T12:00:00Z");
    let notice = "{\"action\": \"terminate\", \"time\": \"2026-12-01T12:00:00Z\"}";
    assert_eq!(ask(&service, "GET", ACTION, &with), (200, notice.to_owned()));
    service.recommend_rebalance("2026-12-01T11:50:00Z");
    assert_eq!(ask(&service, "GET", "/latest/meta-data/events/recommendations/rebalance", &with).0, 200);
    service.set_down(true);
    assert_eq!(ask(&service, "GET", ACTION, &with).0, 0);
    assert_eq!((service.refused(), service.requests().len()), (2, 9));
}
