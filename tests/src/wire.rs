//! A link between nodes and the bus that can be cut: what is sent meanwhile waits, nobody is told, as on a network whose
//! packets get lost.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The link.
#[derive(Clone)]
pub struct Wire {
    /// Where the nodes connect.
    pub port: u16,
    to: Arc<AtomicU16>,
    links: Arc<Mutex<Vec<watch::Sender<bool>>>>,
}

impl Wire {
    /// Listens; what connects waits until it is told where to.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Self { port, to: Arc::default(), links: Arc::default() };
        let accepting = wire.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (cut, whole) = watch::channel(false);
                accepting.links.lock().unwrap().push(cut);
                tokio::spawn(join(near, accepting.to.clone(), whole));
            }
        });
        wire
    }

    /// The server behind it.
    pub fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::Release);
    }

    /// Cuts, or mends, every link that `which` says yes to, by its number. Gives how many are cut now.
    pub fn cut(&self, which: impl Fn(usize) -> bool) -> usize {
        let mut links = self.links.lock().unwrap();
        links.retain(|link| !link.is_closed());
        let cut = links.iter().enumerate().filter(|(number, link)| {
            link.send_replace(which(*number));
            which(*number)
        });
        cut.count()
    }
}

async fn join(near: TcpStream, to: Arc<AtomicU16>, whole: watch::Receiver<bool>) {
    while to.load(Ordering::Acquire) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", to.load(Ordering::Acquire))).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = carry(near_in, far_out, whole.clone()) => {}
        () = carry(far_in, near_out, whole) => {}
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut whole: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        if whole.wait_for(|cut| !cut).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
