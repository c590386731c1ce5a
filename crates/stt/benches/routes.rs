//! How long data pauses while a session changes its route, on real sockets, through a relay in user
//! space that can delay, lose, forget and die. Messages of 400 bytes are sent every millisecond; a
//! pause is the longest time between two arrivals around the change.
//!
//! `cargo bench -p stt --bench routes`; about four minutes, of which most is waiting. With `near`,
//! only the paths without delay and loss.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark is run by its author"
)]

#[path = "../tests/common/path.rs"]
mod relay;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use relay::Relay;
use stt::{Mode, Node, RouteKind, Session, SharedSeed};
use tokio::time::sleep;

const ROUNDS: usize = 9;
const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Two nodes, a relay between them, and both ends of their session.
struct Setting {
    client: Node,
    server: Node,
    relay: Relay,
    ours: Session,
    theirs: Session,
}

impl Setting {
    async fn new(delay: Duration, loss: u64) -> Self {
        let seed = SharedSeed::from_key(stc::Key::generate().unwrap());
        let builder = || Node::builder(seed.clone()).host("127.0.0.1");
        let server = builder().websocket(V4).start(Mode::Server).await.unwrap();
        let client = builder().start(Mode::Client).await.unwrap();
        let relay = Relay::start(server.local_addr()).await;
        relay.set_delay(delay);
        relay.set_loss(loss);
        let ours = client.connect(&format!("udp://{}", relay.address)).await.unwrap();
        let theirs = server.accept().await.unwrap();
        Self { client, server, relay, ours, theirs }
    }

    /// The longest pause while messages flow and `act` happens in the middle.
    async fn pause(&self, act: impl AsyncFnOnce(&Self)) -> Duration {
        let stop = Arc::new(AtomicBool::new(false));
        let longest = Arc::new(Mutex::new(Duration::ZERO));
        let stream = self.ours.open_stream().unwrap();
        let (theirs, noted) = (self.theirs.clone(), Arc::clone(&longest));
        let hearing = tokio::spawn(async move {
            let stream = theirs.accept_stream().await.unwrap();
            let mut last = Instant::now();
            while stream.receive().await.unwrap().is_some_and(|message| message.len() > 1) {
                let mut longest = noted.lock().unwrap();
                *longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        });
        let stopped = Arc::clone(&stop);
        let saying = tokio::spawn(async move {
            while !stopped.load(Relaxed) {
                stream.send(&[0; 400]).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            stream.send(&[0]).await.unwrap();
            stream
        });
        sleep(Duration::from_millis(200)).await;
        *longest.lock().unwrap() = Duration::ZERO;
        act(self).await;
        sleep(Duration::from_millis(600)).await;
        let pause = *longest.lock().unwrap();
        stop.store(true, Relaxed);
        let _stream = saying.await.unwrap();
        hearing.await.unwrap();
        pause
    }
}

fn print(what: &str, limit: &str, mut pauses: Vec<Duration>) {
    pauses.sort_unstable();
    let ms = |pause: Duration| pause.as_secs_f64() * 1e3;
    let (least, median, most) = (pauses[0], pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
    println!(
        "{what:<44} {:>7.1} ms  ({:.1} to {:.1})  promised {limit}",
        ms(median),
        ms(least),
        ms(most)
    );
}

async fn rounds(
    what: &str,
    limit: &str,
    (delay, loss): (Duration, u64),
    act: impl AsyncFn(&Setting),
) {
    let mut pauses = Vec::new();
    for _ in 0..ROUNDS {
        let setting = Setting::new(delay, loss).await;
        pauses.push(setting.pause(async |setting| act(setting).await).await);
    }
    print(what, limit, pauses);
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let half_ms = Duration::from_micros(500);
    let only_near = std::env::args().any(|argument| argument == "near");
    let paths = [
        ("near", (Duration::ZERO, 0)),
        ("1 ms", (half_ms, 0)),
        ("1 ms, 1 % loss", (half_ms, 10_000)),
    ];
    for (name, path) in paths.into_iter().take(if only_near { 1 } else { 3 }) {
        println!("{name}");
        rounds("  nothing happens", "-", path, async |_| {}).await;
        rounds("  the client takes another port", "25 ms", path, async |setting| {
            setting.client.rebind(V4).unwrap();
        })
        .await;
        rounds("  the server takes another port", "25 ms", path, async |setting| {
            setting.server.rebind(V4).unwrap();
        })
        .await;
        rounds("  UDP to WebSocket", "25 ms", path, async |setting| {
            setting.ours.move_to_kind(RouteKind::WebSocket).await.unwrap();
        })
        .await;
        rounds("  UDP to WebSocket and back", "25 ms", path, async |setting| {
            setting.theirs.move_to_kind(RouteKind::WebSocket).await.unwrap();
            sleep(Duration::from_millis(100)).await;
            setting.theirs.move_to_kind(RouteKind::Udp).await.unwrap();
        })
        .await;
        rounds("  a NAT forgets", "100 ms", path, async |setting| setting.relay.forget()).await;
        rounds("  UDP dies", "500 ms", path, async |setting| setting.relay.set_dead(true)).await;
    }
}
