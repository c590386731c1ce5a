//! What the fuzzer calls (`fuzz/`): datagrams about routes, and the rules of both ends.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use stc::{Key, aead::Suite};

#[cfg(fuzzing)]
pub use super::{frame::fuzz as frames, http::fuzz as request};
use super::{
    liveness::Traffic,
    migration::{Goal, Output, PathManager, Start},
    path::{Path, RouteKind, Via},
    path_message::{RouteKeys, put_body, take_body},
    target::Target,
};

/// Datagrams under way at once, at most.
const UNDER_WAY: usize = 64;

fn keys(initiator: bool) -> RouteKeys {
    RouteKeys::new(&Key::from_bytes([7; 32]), Suite::Aes256Gcm, initiator)
}

/// A body is read as it was written, and what nobody sealed says nothing.
///
/// # Panics
/// When it does.
pub fn route_datagram(bytes: &[u8]) {
    if let Some((sequence, message)) = take_body(bytes) {
        let mut again = Vec::new();
        put_body(sequence, &message, &mut again);
        assert_eq!(take_body(&again), Some((sequence, message)));
    }
    assert!(keys(false).open(bytes).is_none());
}

/// An address that is understood means the same when it is written again.
///
/// # Panics
/// When it doesn't.
pub fn address(text: &str) {
    let Some(target) = Target::parse(text) else { return };
    let (scheme, place) = match &target {
        Target::Any(place) => ("", place),
        Target::Udp(place) => ("udp://", place),
        Target::WebSocket(place) => ("ws://", place),
        Target::SecureWebSocket(place) => ("wss://", place),
    };
    assert!(!place.host.is_empty() && place.path.starts_with('/'));
    let again = format!("{scheme}{place}{}", place.path);
    assert_eq!(Target::parse(&again), Some(target));
}

/// One of a few paths.
fn path(number: u8) -> Path {
    let port = u16::from(number % 4) + 1;
    let websocket = number & 0x80 != 0;
    let via = if websocket { Via::WebSocket } else { Via::Udp(u32::from(number >> 2 & 1)) };
    let ip = if websocket { [240, 0, 0, 1] } else { [10, 0, 0, number >> 3 & 3] };
    Path { via, remote: SocketAddr::from((ip, port)) }
}

fn end(initiator: bool, now: Instant) -> Option<PathManager> {
    let mut counter = u64::from(initiator);
    let start = Start {
        keys: keys(initiator),
        // Predictable, and never the same.
        random: Box::new(move |out| {
            for chunk in out.chunks_mut(8) {
                counter = counter.wrapping_add(2);
                let bytes = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
                chunk.copy_from_slice(bytes.get(..chunk.len()).unwrap_or_default());
            }
            true
        }),
        initiator,
        path: path(0),
        rtt: Duration::from_millis(20),
        can_dial: initiator,
        udp: None,
        traffic: Traffic { sealed: 0, opened: 0 },
    };
    Some(PathManager::new(now, start))
}

/// Both ends of a session, and between them somebody who delivers, repeats, changes, withholds and
/// moves what they say about routes, while networks come and go and applications have wishes.
///
/// # Panics
/// When a changed or repeated datagram counts, an end sends elsewhere without having been answered
/// there, or one thing to do makes more than a few.
pub fn routes(bytes: &[u8]) {
    let mut now = Instant::now();
    let (Some(one), Some(other)) = (end(true, now), end(false, now)) else { return };
    let mut ends = [one, other];
    let mut under_way: VecDeque<(usize, Path, Vec<u8>, bool)> = VecDeque::new();
    let mut traffic = Traffic { sealed: 0, opened: 0 };
    let mut dial = 0;
    for step in bytes.chunks_exact(3) {
        let [act, which, value] = *step else { return };
        let at = usize::from(which & 1);
        let Some(end) = ends.get_mut(at) else { return };
        let before = end.path();
        match act % 12 {
            0..4 => {
                // What was sent to this end: the next of it, as it was or changed, once or twice.
                let Some(next) = under_way.iter().position(|(to, ..)| *to == at) else { continue };
                let Some((to, came_on, mut datagram, fresh)) = under_way.remove(next) else {
                    continue;
                };
                let came_on = if which & 4 == 0 { came_on } else { path(value) };
                let changed = act % 12 == 3 && value != 0;
                let place = usize::from(which >> 3) * datagram.len() / 32;
                if let (true, Some(byte)) = (changed, datagram.get_mut(place)) {
                    *byte ^= value;
                }
                let counts = end.receive(now, came_on, &datagram);
                assert!(!counts || (fresh && !changed));
                if which & 2 != 0 && !changed && under_way.len() < UNDER_WAY {
                    under_way.push_back((to, came_on, datagram, false));
                }
            }
            4 => {
                under_way.pop_front();
            }
            5 | 6 => {
                now +=
                    Duration::from_millis(u64::from(value) * if which & 2 == 0 { 1 } else { 50 });
                if which & 4 != 0 {
                    traffic.sealed += u64::from(value);
                }
                if which & 8 != 0 {
                    traffic.opened += u64::from(value);
                }
                end.look(now, traffic);
            }
            7 => {
                let kind = if value & 1 == 0 { RouteKind::Udp } else { RouteKind::WebSocket };
                let goal =
                    if which & 2 == 0 { Goal::Path(path(value), None) } else { Goal::Invite(kind) };
                end.move_to(now, goal);
            }
            8 => end.follow(now, path(value)),
            9 => {
                let refused = || stc::Cause::text("");
                let result = if which & 2 == 0 { Ok(path(value | 0x80)) } else { Err(refused()) };
                end.dialled(now, dial, result);
            }
            10 => end.lost(now, path(value)),
            _ => end.stirred(now),
        }
        let mut outputs = 0;
        while let Some(output) = end.poll() {
            outputs += 1;
            assert!(outputs <= 16, "{output:?}");
            match output {
                Output::Send(path, datagram) if under_way.len() < UNDER_WAY => {
                    under_way.push_back((1 - at, path, datagram, true));
                }
                Output::Dial(number) => dial = number,
                _ => {}
            }
        }
        // Only what the peer said on a path, or its end, makes an end send elsewhere.
        assert!(end.path() == before || act % 12 < 4 || matches!(act % 12, 9 | 10));
    }
}
