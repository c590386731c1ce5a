//! How long data pauses while a session changes its route, on real sockets, through a relay in user
//! space that can delay, lose, forget and die. Messages of 400 bytes are sent every millisecond; a
//! pause is the longest time between two arrivals around the change.
//!
//! `cargo bench -p stt --bench routes`; about five minutes, of which most is waiting. `near` (no
//! delay), `delay` (the relay holds everything back for half a millisecond) and `loss` (and loses one
//! in a hundred) do one path alone. The round trip that the path really has is printed: timers are
//! no finer than a millisecond.

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

const ROUNDS: usize = 5;
const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 0);

/// Two nodes, a relay between them, and both ends of their session.
struct Setting {
    client: Node,
    server: Node,
    relay: Relay,
    /// To the same server over IPv6, where the machine has that.
    wide: Option<Relay>,
    ours: Session,
    theirs: Session,
}

/// Who sends while the route changes.
#[derive(Clone, Copy)]
enum Sender {
    Client,
    Server,
}

impl Setting {
    async fn new(delay: Duration, loss: u64) -> Self {
        let seed = SharedSeed::from_key(stc::Key::generate().unwrap());
        let builder = |host| Node::builder(seed.clone()).host(host);
        let (server, has_v6) = match builder("::").websocket(V4).start(Mode::Server).await {
            Ok(server) => (server, true),
            Err(_) => {
                let server = builder("127.0.0.1").websocket(V4).start(Mode::Server).await;
                (server.unwrap(), false)
            }
        };
        let client = builder("127.0.0.1").start(Mode::Client).await.unwrap();
        let port = server.local_addr().port();
        let relay_to = async |any: SocketAddr| {
            let relay = Relay::start(SocketAddr::new(any.ip(), port)).await;
            relay.set_delay(delay);
            relay.set_loss(loss);
            relay
        };
        let relay = relay_to(V4).await;
        let wide = if has_v6 { Some(relay_to(V6).await) } else { None };
        let ours = client.connect(&format!("udp://{}", relay.address)).await.unwrap();
        let theirs = server.accept().await.unwrap();
        Self { client, server, relay, wide, ours, theirs }
    }

    /// The longest pause while messages flow and `act` happens in the middle.
    async fn pause(&self, sender: Sender, act: impl AsyncFnOnce(&Self)) -> Duration {
        let stop = Arc::new(AtomicBool::new(false));
        let longest = Arc::new(Mutex::new((Duration::ZERO, Instant::now())));
        let (from, to) = match sender {
            Sender::Client => (&self.ours, &self.theirs),
            Sender::Server => (&self.theirs, &self.ours),
        };
        let stream = from.open_stream().unwrap();
        let (to, noted) = (to.clone(), Arc::clone(&longest));
        let hearing = tokio::spawn(async move {
            let stream = to.accept_stream().await.unwrap();
            while stream.receive().await.unwrap().is_some_and(|message| message.len() > 1) {
                let mut noted = noted.lock().unwrap();
                *noted = (noted.0.max(noted.1.elapsed()), Instant::now());
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
        longest.lock().unwrap().0 = Duration::ZERO;
        act(self).await;
        sleep(Duration::from_millis(700)).await;
        // One that has not ended counts, too.
        let (longest, last) = *longest.lock().unwrap();
        let pause = longest.max(last.elapsed());
        stop.store(true, Relaxed);
        let _stream = saying.await.unwrap();
        hearing.await.unwrap();
        pause
    }
}

/// Rounds of one change on one path; half of them with data in the other direction.
async fn rounds(
    what: &str,
    promised: Option<u64>,
    (delay, loss): (Duration, u64),
    act: impl AsyncFn(&Setting),
) {
    for (sender, name) in [(Sender::Client, "client"), (Sender::Server, "server")] {
        let mut pauses = Vec::new();
        for _ in 0..ROUNDS {
            let setting = Setting::new(delay, loss).await;
            pauses.push(setting.pause(sender, async |setting| act(setting).await).await);
        }
        pauses.sort_unstable();
        let ms = |pause: Duration| pause.as_secs_f64() * 1e3;
        let (least, median, most) = (pauses[0], pauses[ROUNDS / 2], pauses[ROUNDS - 1]);
        let verdict = match promised {
            None => String::new(),
            Some(limit) if ms(most) <= limit as f64 => format!("held: {limit} ms"),
            Some(limit) if ms(median) <= limit as f64 => format!("{limit} ms: not by the worst"),
            Some(limit) => format!("NOT HELD: {limit} ms"),
        };
        println!(
            "{what:<34} {name} sends {:>7.1} ms  ({:.1} to {:.1})  {verdict}",
            ms(median),
            ms(least),
            ms(most)
        );
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let half_ms = Duration::from_micros(500);
    let paths =
        [("near", (Duration::ZERO, 0)), ("delay", (half_ms, 0)), ("loss", (half_ms, 10_000))];
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let any_named = paths.iter().any(|(name, _)| named(name));
    for (name, path) in paths.into_iter().filter(|(name, _)| !any_named || named(name)) {
        let setting = Setting::new(path.0, path.1).await;
        let mut round_trips = Vec::new();
        for _ in 0..21 {
            round_trips.push(setting.ours.ping().await.unwrap());
        }
        round_trips.sort_unstable();
        let round_trip = round_trips[10].as_secs_f64() * 1e3;
        drop(setting);
        println!("{name}: round trip {round_trip:.1} ms, {} % lost", path.1 as f64 / 1e4);
        rounds("  nothing happens", None, path, async |_| {}).await;
        rounds("  the client takes another port", Some(25), path, async |setting| {
            setting.client.rebind(V4).unwrap();
        })
        .await;
        rounds("  the server takes another port", Some(25), path, async |setting| {
            let at = SocketAddr::new(setting.server.local_addr().ip(), 0);
            setting.server.rebind(at).unwrap();
        })
        .await;
        rounds("  IPv4 to IPv6", Some(25), path, async |setting| {
            let Some(wide) = &setting.wide else { return };
            setting.client.rebind(V6).unwrap();
            setting.ours.move_to(&format!("udp://{}", wide.address)).await.unwrap();
        })
        .await;
        rounds("  to a WebSocket, by the client", Some(25), path, async |setting| {
            setting.ours.move_to_kind(RouteKind::WebSocket).await.unwrap();
        })
        .await;
        rounds("  there and back, by the client", Some(25), path, async |setting| {
            setting.ours.move_to_kind(RouteKind::WebSocket).await.unwrap();
            sleep(Duration::from_millis(100)).await;
            setting.ours.move_to_kind(RouteKind::Udp).await.unwrap();
        })
        .await;
        rounds("  there and back, by the server", Some(25), path, async |setting| {
            setting.theirs.move_to_kind(RouteKind::WebSocket).await.unwrap();
            sleep(Duration::from_millis(100)).await;
            setting.theirs.move_to_kind(RouteKind::Udp).await.unwrap();
        })
        .await;
        rounds("  the client's NAT forgets", Some(100), path, async |setting| {
            setting.relay.forget();
        })
        .await;
        rounds("  the server's NAT forgets", Some(100), path, async |setting| {
            setting.relay.forget_server();
        })
        .await;
        rounds("  UDP dies", Some(500), path, async |setting| setting.relay.set_dead(true)).await;
    }
}
