//! A link on which chosen frames are acknowledged and yet never in the fleet's stream: they go to another fleet's.

use asterism_nats::{BusConfig, NatsServer, stream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{Bus, FLEET};

/// The fleet whose stream swallows them; a name as long as ours.
const ELSEWHERE: &str = "lax";

/// A way to the server on which the frame with this number is lost at its first try.
pub async fn losing(server: &NatsServer, bus: &Bus, number: u64) -> BusConfig {
    stream::ensure_stream(bus, ELSEWHERE, 1 << 20).await.unwrap();
    let config = server.service("lossy").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let address = config.url.trim_start_matches("nats://").to_owned();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let (mut to_client, (from_client, server)) = {
            let (read, write) = client.into_split();
            (write, (read, TcpStream::connect(address).await.unwrap()))
        };
        let (mut from_server, to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        forward(from_client, to_server, number).await;
    });
    BusConfig { url, ..config }
}

async fn forward(from: OwnedReadHalf, mut to: OwnedWriteHalf, number: u64) {
    let (mut from, mut lost) = (BufReader::new(from), false);
    let id_ends = format!(".{number}\r\n");
    let mut line = String::new();
    while from.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
        let mut body = Vec::new();
        if line.starts_with("PUB ") || line.starts_with("HPUB ") {
            let length: usize = line.split_whitespace().last().unwrap().parse().unwrap();
            body.resize(length + 2, 0);
            from.read_exact(&mut body).await.unwrap();
            let header = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            if !lost && header.contains("Nats-Msg-Id") && header.contains(&id_ends) {
                lost = true;
                line = line.replace(&format!(".ev.{FLEET}."), &format!(".ev.{ELSEWHERE}."));
            }
        }
        to.write_all(&[line.as_bytes(), &body].concat()).await.unwrap();
        line.clear();
    }
}
