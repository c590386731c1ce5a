//! Two movers in a seeded network, on a clock of its own: what is promised of pauses, and what
//! somebody on the path, another member or a stranger can do.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use stc::{Key, aead::Suite};

use super::{
    liveness::Traffic,
    migration::{Failure, Goal, Output, PathManager, Start},
    path::{Path, RouteKind, Via},
    path_message::{LEAST_LEN, Message, Random, RouteKeys},
};

const WAY: Duration = Duration::from_micros(500);
/// One datagram of data in each direction.
const DATA_EVERY: Duration = Duration::from_millis(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

fn random(seed: u64) -> Random {
    let mut random = fastrand::Rng::with_seed(seed);
    Box::new(move |out| {
        random.fill(out);
        true
    })
}

fn stand_in(end: usize) -> SocketAddr {
    SocketAddr::from(([240, 0, 0, if end == 0 { 1 } else { 2 }], 443))
}

fn web(end: usize) -> Path {
    Path { via: Via::WebSocket, remote: stand_in(end) }
}

enum Thing {
    Route(Vec<u8>),
    Data,
    Dialled(u64),
}

struct End {
    mover: PathManager,
    traffic: Traffic,
    sends: bool,
    next_data: Instant,
    last_arrival: Instant,
    longest: Duration,
    done: Option<Result<Path, Failure>>,
}

/// The initiator is end 0, behind a NAT; the responder end 1.
struct World {
    now: Instant,
    random: fastrand::Rng,
    loss: f64,
    ends: [End; 2],
    /// What others see of end 0: its port outside, by its own port.
    outside: BTreeMap<u32, u16>,
    /// Whether UDP gets through, from each end.
    udp_open: [bool; 2],
    websocket_listens: bool,
    websocket_open: bool,
    under_way: BTreeMap<(Instant, u64), (usize, Path, Thing)>,
    sent: u64,
    /// All route datagrams, with who sent them.
    captured: Vec<(usize, Path, Vec<u8>)>,
    /// Those that arrived.
    delivered: Vec<Vec<u8>>,
}

impl World {
    fn new(seed: u64, loss: f64) -> Self {
        let start = Instant::now();
        let exporter = Key::from_bytes([3; 32]);
        let end = |index: usize| {
            let initiator = index == 0;
            let remote = if initiator { address(1, 1) } else { address(9, 1000) };
            let path = Path { via: Via::Udp(0), remote };
            let start_with = Start {
                keys: RouteKeys::new(&exporter, Suite::preferred(), initiator),
                random: random(seed * 2 + index as u64),
                initiator,
                path,
                rtt: WAY * 2,
                can_dial: initiator,
                udp: initiator.then_some(path),
                traffic: Traffic::default(),
            };
            End {
                mover: PathManager::new(start, start_with),
                traffic: Traffic::default(),
                sends: true,
                next_data: start,
                last_arrival: start,
                longest: Duration::ZERO,
                done: None,
            }
        };
        Self {
            now: start,
            random: fastrand::Rng::with_seed(seed),
            loss,
            ends: [end(0), end(1)],
            outside: BTreeMap::from([(0, 1000)]),
            udp_open: [true; 2],
            websocket_listens: true,
            websocket_open: false,
            under_way: BTreeMap::new(),
            sent: 0,
            captured: Vec::new(),
            delivered: Vec::new(),
        }
    }

    /// Where what end `from` sends on `path` arrives: the path as the other end sees it.
    fn arrives_on(&self, from: usize, path: Path) -> Option<Path> {
        match path.via {
            Via::WebSocket => self.websocket_open.then(|| web(1 - from)),
            Via::Udp(_) if !self.udp_open[from] => None,
            Via::Udp(number) if from == 0 => {
                let port = *self.outside.get(&number)?;
                let to = u32::from(path.remote.port()) - 1;
                Some(Path { via: Via::Udp(to), remote: address(9, port) })
            }
            Via::Udp(number) => {
                let (inner, _) =
                    self.outside.iter().find(|(_, port)| **port == path.remote.port())?;
                let remote = address(1, u16::try_from(number + 1).unwrap());
                Some(Path { via: Via::Udp(*inner), remote })
            }
        }
    }

    fn send(&mut self, from: usize, path: Path, thing: Thing) {
        let Some(arrives) = self.arrives_on(from, path) else { return };
        if self.random.f64() < self.loss {
            return;
        }
        self.sent += 1;
        self.under_way.insert((self.now + WAY, self.sent), (1 - from, arrives, thing));
    }

    fn perform(&mut self, end: usize) {
        while let Some(output) = self.ends[end].mover.poll() {
            match output {
                Output::Send(path, bytes) => {
                    self.captured.push((end, path, bytes.clone()));
                    self.send(end, path, Thing::Route(bytes));
                }
                Output::Dial(number) if self.websocket_listens => {
                    // TCP, then the upgrade: two round trips.
                    self.sent += 1;
                    let at = self.now + WAY * 4;
                    self.under_way.insert((at, self.sent), (end, web(end), Thing::Dialled(number)));
                }
                Output::Dial(number) => {
                    let refused = Err(stc::Cause::text("refused"));
                    self.ends[end].mover.dialled(self.now, number, refused);
                }
                Output::Close(_) => self.websocket_open = false,
                Output::Invited(remote) => {
                    let path = Path { via: Via::Udp(0), remote };
                    self.ends[end].mover.follow(self.now, path);
                }
                Output::Done(result) => self.ends[end].done = Some(result),
                Output::Switch(_) | Output::Settled(_) => {}
            }
        }
        if self.ends[end].mover.is_asleep() && self.ends[end].sends {
            self.ends[end].mover.stirred(self.now);
        }
    }

    /// Runs for that long.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let own = self.ends.iter().flat_map(|end| {
                [end.mover.deadline(), end.sends.then_some(end.next_data)].into_iter().flatten()
            });
            let next = own.chain(arrival).min().unwrap_or(until).max(self.now);
            if next >= until {
                self.now = until;
                return;
            }
            self.now = next;
            while let Some(entry) = self.under_way.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to, path, thing) = entry.remove();
                self.arrive(to, path, thing);
            }
            for end in 0..2 {
                let now = self.now;
                let this = &mut self.ends[end];
                if this.sends && this.next_data <= now {
                    this.next_data = now + DATA_EVERY;
                    this.traffic.sealed += 1000;
                    let path = this.mover.path();
                    this.mover.stirred(now);
                    self.send(end, path, Thing::Data);
                }
                let this = &mut self.ends[end];
                if this.mover.deadline().is_some_and(|at| at <= now) {
                    this.mover.look(now, this.traffic);
                }
                self.perform(end);
            }
        }
    }

    fn arrive(&mut self, to: usize, path: Path, thing: Thing) {
        let now = self.now;
        let end = &mut self.ends[to];
        match thing {
            Thing::Data => {
                end.traffic.opened += 1000;
                end.longest = end.longest.max(now - end.last_arrival);
                end.last_arrival = now;
                end.mover.stirred(now);
            }
            Thing::Route(bytes) => {
                end.mover.receive(now, path, &bytes);
                self.delivered.push(bytes);
            }
            Thing::Dialled(number) => {
                self.websocket_open = true;
                self.ends[to].mover.dialled(now, number, Ok(path));
            }
        }
        self.perform(to);
    }

    /// Does `act`, runs for `time`, and returns the longest pause of either end since.
    fn pause(&mut self, time: Duration, act: impl FnOnce(&mut Self)) -> Duration {
        for end in &mut self.ends {
            end.longest = Duration::ZERO;
        }
        act(self);
        for end in 0..2 {
            self.perform(end);
        }
        self.run(time);
        let now = self.now;
        let silent = |end: &End| end.longest.max(now - end.last_arrival);
        let [a, b] = &self.ends;
        // Who is not sent anything has no pause.
        let (a, b) = (
            if b.sends { silent(a) } else { Duration::ZERO },
            if a.sends { silent(b) } else { Duration::ZERO },
        );
        a.max(b)
    }

    fn kinds(&self) -> [RouteKind; 2] {
        [0, 1].map(|end: usize| self.ends[end].mover.path().kind())
    }

    fn move_to(&mut self, end: usize, goal: Goal) {
        let now = self.now;
        self.ends[end].mover.move_to(now, goal);
    }
}

/// Who sends: both ends, only the initiator, only the responder.
const DIRECTIONS: [[bool; 2]; 3] = [[true, true], [true, false], [false, true]];

fn worlds(loss: f64) -> impl Iterator<Item = World> {
    (0..60).map(move |seed| {
        let mut world = World::new(seed, loss);
        world.run(ms(200 + seed));
        world
    })
}

#[test]
fn a_planned_change_pauses_at_most_25_ms() {
    for mut world in worlds(0.0) {
        // Another port of the initiator.
        let paused = world.pause(ms(300), |world| {
            world.outside.insert(1, 2000);
            let path = Path { via: Via::Udp(1), remote: address(1, 1) };
            world.move_to(0, Goal::Path(path, None));
        });
        assert!(paused <= ms(25), "{paused:?}");
        assert_eq!(world.ends[1].mover.path().remote, address(9, 2000));
        // To a WebSocket, and back, from either end.
        for end in [0, 1] {
            for kind in [RouteKind::WebSocket, RouteKind::Udp] {
                let paused = world.pause(ms(300), |world| world.move_to(end, Goal::Invite(kind)));
                assert!(paused <= ms(25), "end {end} to {kind}: {paused:?}");
                assert_eq!(world.kinds(), [kind, kind], "end {end}");
                assert!(world.ends[end].done.take().unwrap().is_ok());
            }
        }
    }
}

#[test]
fn a_silent_nat_rebind_pauses_at_most_100_ms() {
    for mut world in worlds(0.0) {
        for (at, port) in (0..9).zip(3000..) {
            // Two movers see only the data: acknowledgements flow both ways in any case.
            let paused = world.pause(ms(300), |world| {
                world.outside.insert(0, port);
            });
            assert!(paused <= ms(100), "time {at}: {paused:?}");
            assert_eq!(world.ends[1].mover.path().remote, address(9, port));
        }
    }
}

#[test]
fn dead_udp_pauses_at_most_500_ms_and_is_returned_to() {
    let blocked = [[false, false], [true, false], [false, true]];
    for (mut world, blocked) in worlds(0.0).zip(blocked.into_iter().cycle()) {
        let paused = world.pause(ms(1000), |world| world.udp_open = blocked);
        assert!(paused <= ms(500), "open {blocked:?}: {paused:?}");
        assert_eq!(world.kinds(), [RouteKind::WebSocket; 2], "open {blocked:?}");
        world.run(ms(3000));
        assert_eq!(world.kinds(), [RouteKind::WebSocket; 2], "nothing to return to yet");
        let paused = world.pause(ms(70_000), |world| world.udp_open = [true; 2]);
        assert!(paused <= ms(25), "{paused:?}");
        assert_eq!(world.kinds(), [RouteKind::Udp; 2]);
        assert!(!world.websocket_open, "closed once it was left");
    }
}

#[test]
fn without_a_websocket_it_waits_for_udp() {
    let mut world = World::new(1, 0.0);
    world.websocket_listens = false;
    world.run(ms(100));
    world.udp_open = [false; 2];
    let before = world.captured.len();
    world.run(ms(30_000));
    assert!(world.captured.len() - before < 60, "{}", world.captured.len() - before);
    world.udp_open = [true; 2];
    world.run(ms(6_000));
    assert_eq!(world.kinds(), [RouteKind::Udp; 2]);
    assert!(world.ends.iter().all(|end| !end.mover.is_in_doubt()));
}

#[test]
fn loss_alone_moves_nobody() {
    for mut world in worlds(0.1) {
        world.run(ms(5_000));
        assert_eq!(world.kinds(), [RouteKind::Udp; 2]);
    }
}

#[test]
fn changes_get_through_loss() {
    for mut world in worlds(0.2) {
        let paused = world.pause(ms(2_000), |world| {
            world.outside.insert(0, 4000);
        });
        assert!(paused <= ms(1_000), "{paused:?}");
        world.pause(ms(3_000), |world| world.move_to(1, Goal::Invite(RouteKind::WebSocket)));
        assert_eq!(world.kinds(), [RouteKind::WebSocket; 2]);
    }
}

#[test]
fn an_idle_session_says_nothing() {
    let mut world = World::new(5, 0.0);
    world.run(ms(100));
    world.ends.iter_mut().for_each(|end| end.sends = false);
    world.run(ms(500));
    let before = world.captured.len();
    world.run(ms(600_000));
    assert_eq!(world.captured.len(), before);
    assert!(world.ends.iter().all(|end| end.mover.is_asleep()));
}

/// Everything that was ever said about routes, said again from elsewhere: nobody answers, and
/// nothing moves.
#[test]
fn replayed_and_reflected_datagrams_do_nothing() {
    for directions in DIRECTIONS {
        let mut world = World::new(7, 0.0);
        (0..2).for_each(|end| world.ends[end].sends = directions[end]);
        world.run(ms(100));
        world.outside.insert(0, 5000);
        world.run(ms(300));
        world.move_to(0, Goal::Invite(RouteKind::WebSocket));
        world.perform(0);
        world.run(ms(300));
        world.move_to(0, Goal::Invite(RouteKind::Udp));
        world.perform(0);
        world.run(ms(300));
        let paths = [0, 1].map(|end: usize| world.ends[end].mover.path());
        let stranger = Path { via: Via::Udp(0), remote: address(66, 6) };
        let now = world.now;
        for bytes in std::mem::take(&mut world.delivered) {
            for end in 0..2 {
                assert!(!world.ends[end].mover.receive(now, stranger, &bytes));
                assert_eq!(world.ends[end].mover.poll(), None);
            }
        }
        assert_eq!(paths, [0, 1].map(|end: usize| world.ends[end].mover.path()));
    }
}

/// A datagram that was held back is fresh, so it is answered, as a NAT's doing would be: with less
/// than twice its length, and without being followed.
#[test]
fn what_is_passed_on_from_elsewhere_moves_nobody_and_amplifies_nothing() {
    let mut world = World::new(8, 0.0);
    world.run(ms(100));
    world.udp_open = [false; 2];
    world.websocket_listens = false;
    let before = world.captured.len();
    world.run(ms(2_000));
    let held: Vec<_> = world.captured.drain(before..).collect();
    assert!(!held.is_empty());
    let stranger = Path { via: Via::Udp(0), remote: address(66, 6) };
    let paths = [0, 1].map(|end: usize| world.ends[end].mover.path());
    let now = world.now;
    for (from, _, bytes) in held {
        let end = &mut world.ends[1 - from];
        assert!(end.mover.receive(now, stranger, &bytes));
        let mut answered = 0;
        while let Some(output) = end.mover.poll() {
            match output {
                Output::Send(path, bytes) if path == stranger => answered += bytes.len(),
                Output::Send(..) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(answered < 3 * bytes.len());
    }
    assert_eq!(paths, [0, 1].map(|end: usize| world.ends[end].mover.path()));
}

/// A member of the same seed has the masks, and keys of sessions of its own: they open nothing here.
#[test]
fn another_member_cannot_move_it() {
    let mut world = World::new(9, 0.0);
    world.run(ms(100));
    let now = world.now;
    let mut other = RouteKeys::new(&Key::from_bytes([4; 32]), Suite::preferred(), true);
    let elsewhere = Path { via: Via::Udp(0), remote: address(66, 6) };
    let mut random = random(1);
    for _ in 0..100 {
        for message in [
            Message::Ask { challenge: [1; 16], doubt: false },
            Message::Move { challenge: [1; 16], echo: [2; 16] },
            Message::Come { kind: RouteKind::Udp, port: 5 },
        ] {
            let bytes = other.seal(&message, &mut random).unwrap();
            assert!(bytes.len() >= LEAST_LEN);
            assert!(!world.ends[1].mover.receive(now, elsewhere, &bytes));
            assert_eq!(world.ends[1].mover.poll(), None);
        }
    }
}

/// A move needs a challenge that went out on the very path on which it comes.
#[test]
fn a_move_without_the_challenge_of_its_path_is_not_obeyed() {
    let mut world = World::new(10, 0.0);
    world.run(ms(100));
    let now = world.now;
    let exporter = Key::from_bytes([3; 32]);
    let mut peer = RouteKeys::new(&exporter, Suite::preferred(), true);
    let mut random = random(2);
    // The real peer's keys, with its sequence numbers used up by skipping ahead.
    for _ in 0..1_000 {
        peer.seal(&Message::Ask { challenge: [0; 16], doubt: false }, &mut random);
    }
    let responder = &mut world.ends[1].mover;
    let [here, there] = [6, 7].map(|port| Path { via: Via::Udp(0), remote: address(66, port) });
    let before = responder.path();
    let ask = peer.seal(&Message::Ask { challenge: [1; 16], doubt: false }, &mut random).unwrap();
    assert!(responder.receive(now, here, &ask));
    let Some(Output::Send(path, answer)) = responder.poll() else { panic!("no answer") };
    assert_eq!(path, here);
    let Some((_, Message::Answer { challenge, echo, here: is_here, seen })) = peer.open(&answer)
    else {
        panic!("not an answer")
    };
    assert_eq!((echo, is_here, seen), ([1; 16], false, here.remote));
    let mut move_with = |echo, path, at| {
        let bytes = peer.seal(&Message::Move { challenge: [2; 16], echo }, &mut random).unwrap();
        assert!(responder.receive(at, path, &bytes));
        while responder.poll().is_some() {}
        responder.path()
    };
    assert_eq!(move_with([9; 16], here, now), before, "a wrong challenge");
    assert_eq!(move_with(challenge, there, now), before, "another path");
    assert_eq!(move_with(challenge, here, now + ms(11_000)), before, "too late");
    assert_eq!(move_with(challenge, here, now), here);
}
