//! Every interleaving of sending, taking, committing, dialling, cutting, arriving, losing, syncing
//! and crashing, with few messages, dials and crashes; and long random walks with many.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use stc::Key;

use super::{
    frame::Frame,
    machine::{Bounds, Change, Item, Machine, Positions, Progress, Taken},
    stored::{Role, Stored},
    tokens::{Asked, Holder, Ticket},
};
use crate::{NodeId, SessionId};

fn id() -> SessionId {
    SessionId::from_bytes([5; 8])
}

fn export(link: usize) -> Key {
    Key::from_bytes([u8::try_from(link % 251).unwrap(); 32])
}

/// One of the two ends.
#[derive(Clone)]
struct End {
    machine: Machine,
    sent: u64,
    sends: u64,
    got: u64,
    expects: u64,
    has_ended: bool,
    saw_end: bool,
    /// Link in the world, and its number in the machine once it is attached.
    link: Option<(usize, u64)>,
    /// What its disk has, if it has one.
    disk: Option<Stored>,
    /// What was handed to the disk and is not synced.
    syncing: Option<(Vec<Change>, Progress)>,
    /// What its application was ever given, by position.
    given: Vec<Bytes>,
    crashes: u8,
}

// Room for one message and a half, so that it is full at times.
const BOUNDS: Bounds = Bounds { outbox: 2 * 130, inbox: 130 };

impl End {
    fn new(sends: u64, expects: u64, role: Option<Role>) -> Self {
        let ids = (NodeId::from_bytes([1; 32]), id());
        let disk = role.map(|role| Stored::new(ids.0, ids.1, role, first_ticket()));
        let machine = disk
            .as_ref()
            .map_or_else(|| Machine::new(BOUNDS), |stored| Machine::of_disk(BOUNDS, stored));
        Self {
            disk,
            syncing: None,
            given: Vec::new(),
            crashes: 0,
            machine,
            sent: 0,
            sends,
            got: 0,
            expects,
            has_ended: false,
            saw_end: false,
            link: None,
        }
    }

    fn send(&mut self) -> bool {
        if self.sent == self.sends {
            return !std::mem::replace(&mut self.has_ended, true)
                && self.machine.push(Item::End).is_ok();
        }
        let stream = u32::try_from(self.sent % 3).unwrap();
        // One that was lost with its process is sent again as something else.
        let data = [&self.sent.to_be_bytes()[..], &[self.crashes]].concat().into();
        let Ok(position) = self.machine.push(Item::Message { stream, data }) else { return false };
        assert_eq!(position, self.sent);
        self.sent += 1;
        true
    }

    fn take(&mut self) -> bool {
        match self.machine.take() {
            Taken::Message(message) => {
                assert_eq!(message.position, self.got, "lost, doubled or out of order");
                assert_eq!(message.data[..8], self.got.to_be_bytes());
                match self.given.get(usize::try_from(self.got).unwrap()) {
                    Some(given) => assert_eq!(*given, message.data, "another one"),
                    None => self.given.push(message.data),
                }
                assert_eq!(u64::from(message.stream), self.got % 3);
                assert!(!self.saw_end);
                self.got += 1;
                true
            }
            Taken::End => {
                assert_eq!(self.got, self.expects, "the end came too early");
                !std::mem::replace(&mut self.saw_end, true)
            }
            Taken::Nothing => false,
        }
    }

    fn commit(&mut self) -> bool {
        assert!(!self.machine.commit(self.got), "what was never given out");
        let before = self.machine.positions().committed;
        self.got > before && self.machine.commit(self.got - 1)
    }

    /// Hands to the disk what has changed.
    fn sync(&mut self) -> bool {
        if self.disk.is_none() || self.syncing.is_some() || !self.machine.has_changes() {
            return false;
        }
        // At most one message at a time.
        self.syncing = Some(self.machine.changes(1));
        true
    }

    fn synced(&mut self) -> bool {
        let Some((changes, progress)) = self.syncing.take() else { return false };
        let disk = self.disk.as_mut().unwrap();
        assert!(changes.into_iter().all(|change| disk.change(change)), "does not follow");
        assert_eq!(disk.progress(), progress);
        self.machine.on_disk(progress);
        true
    }

    /// The process ends, with its application; of what was on the way to the disk this many
    /// records are there. The next one goes on.
    fn crash(&mut self, kept: usize) {
        let promised = self.machine.synced();
        let disk = self.disk.as_mut().unwrap();
        let (changes, _) = self.syncing.take().unwrap_or_default();
        assert!(changes.into_iter().take(kept).all(|change| disk.change(change)));
        self.machine = Machine::of_disk(BOUNDS, disk);
        self.crashes += 1;
        // What the applications of both ends were promised.
        let now = disk.progress();
        assert!(now.sent >= promised.sent && now.committed >= promised.committed);
        assert!(self.machine.taken() <= self.got + u64::from(self.saw_end), "skipped");
        self.has_ended = disk.has_ended;
        self.saw_end = disk.end.is_some();
        self.sent = self.machine.last() - u64::from(self.has_ended);
        self.got = self.machine.taken() - u64::from(self.saw_end);
    }
}

fn first_ticket() -> Key {
    Key::from_bytes([255; 32])
}

#[derive(Clone, Default)]
struct Link {
    to_acceptor: VecDeque<Frame>,
    to_dialler: VecDeque<Frame>,
    /// Who has not given it up.
    dialler: bool,
    acceptor: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Send(bool),
    Take(bool),
    Commit(bool),
    /// Puts one frame onto the link.
    Write(bool),
    /// One frame arrives.
    Arrive(usize, bool),
    /// All under way in one direction is lost.
    Lose(usize, bool),
    Dial,
    Cut(bool),
    /// The disk is handed something.
    Sync(bool),
    /// It has it.
    Synced(bool),
    /// The process ends when the disk has so many records of what it was handed.
    Crash(bool, usize),
}

#[derive(Clone)]
struct World {
    /// The dialler, then the acceptor.
    ends: [End; 2],
    ticket: Ticket,
    holder: Holder,
    asked: Option<Asked>,
    links: Vec<Link>,
    dials: usize,
    crashes: usize,
}

const fn side(is_dialler: bool) -> usize {
    if is_dialler { 0 } else { 1 }
}

impl World {
    /// With `crashes`, both have disks.
    fn new(from_dialler: u64, from_acceptor: u64, dials: usize, crashes: usize) -> Self {
        let disk = |role| (crashes > 0).then_some(role);
        let dialler = disk(Role::Dialled("there".to_owned()));
        Self {
            ends: [
                End::new(from_dialler, from_acceptor, dialler),
                End::new(from_acceptor, from_dialler, disk(Role::Accepted)),
            ],
            ticket: Ticket::new(first_ticket()),
            holder: Holder::new(first_ticket()),
            crashes,
            asked: None,
            links: Vec::new(),
            dials,
        }
    }

    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for is_dialler in [true, false] {
            let end = &self.ends[side(is_dialler)];
            acts.extend([Act::Send(is_dialler), Act::Take(is_dialler), Act::Commit(is_dialler)]);
            if end.link.is_some() {
                acts.extend([Act::Write(is_dialler), Act::Cut(is_dialler)]);
            }
            if end.disk.is_some() {
                acts.extend([Act::Sync(is_dialler), Act::Synced(is_dialler)]);
            }
            if self.crashes > 0 {
                let most = end.syncing.as_ref().map_or(0, |(changes, _)| changes.len());
                acts.extend((0..=most).map(|kept| Act::Crash(is_dialler, kept)));
            }
        }
        for (at, link) in self.links.iter().enumerate() {
            for (queue, to_dialler, is_open) in
                [(&link.to_acceptor, false, link.acceptor), (&link.to_dialler, true, link.dialler)]
            {
                if !queue.is_empty() && is_open {
                    acts.push(Act::Arrive(at, to_dialler));
                }
                // A link that nobody gave up loses nothing.
                let is_whole = link.dialler && link.acceptor;
                if !queue.is_empty() && !is_whole {
                    acts.push(Act::Lose(at, to_dialler));
                }
            }
        }
        if self.links.len() < self.dials && self.ends[0].link.is_none() {
            acts.push(Act::Dial);
        }
        acts
    }

    /// False if it changes nothing.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Send(who) => self.ends[side(who)].send(),
            Act::Take(who) => self.ends[side(who)].take(),
            Act::Commit(who) => self.ends[side(who)].commit(),
            Act::Write(who) => self.write(who),
            Act::Arrive(at, to_dialler) => self.arrive(at, to_dialler),
            Act::Lose(at, to_dialler) => {
                let link = &mut self.links[at];
                if to_dialler {
                    link.to_dialler.clear()
                } else {
                    link.to_acceptor.clear()
                }
                true
            }
            Act::Dial => {
                self.dial();
                true
            }
            Act::Cut(who) => {
                self.cut(who);
                true
            }
            Act::Sync(who) => self.ends[side(who)].sync(),
            Act::Synced(who) => self.ends[side(who)].synced(),
            Act::Crash(who, kept) => {
                self.crashes -= 1;
                self.cut(who);
                self.ends[side(who)].crash(kept);
                let keys = &mut self.ends[side(who)].disk.as_mut().unwrap();
                if who {
                    keys.next_attempts();
                    self.ticket = Ticket::of_disk(&keys.keys);
                    self.asked = None;
                } else {
                    self.holder = Holder::of_disk(&keys.keys);
                }
                true
            }
        }
    }

    fn dial(&mut self) {
        let at = self.links.len();
        let now = self.ends[0].machine.positions();
        let (asked, proof) = self.ticket.ask(id(), now, &export(at));
        let mut link = Link { dialler: true, acceptor: true, ..Link::default() };
        let Asked { id, attempt, at: positions } = asked;
        link.to_acceptor.push_back(Frame::Resume { id, attempt, at: positions, proof });
        self.links.push(link);
        self.asked = Some(asked);
        // Not attached before the answer.
        self.ends[0].link = Some((at, 0));
    }

    fn cut(&mut self, who: bool) {
        let end = &mut self.ends[side(who)];
        end.machine.detach();
        if let Some((at, _)) = end.link.take() {
            let link = &mut self.links[at];
            if who { link.dialler = false } else { link.acceptor = false }
        }
    }

    fn write(&mut self, who: bool) -> bool {
        let end = &mut self.ends[side(who)];
        let Some((at, number)) = end.link else { return false };
        let Some(frame) = end.machine.next_frame(number) else { return false };
        let link = &mut self.links[at];
        if who {
            link.to_acceptor.push_back(frame)
        } else {
            link.to_dialler.push_back(frame)
        }
        true
    }

    fn arrive(&mut self, at: usize, to_dialler: bool) -> bool {
        let link = &mut self.links[at];
        let queue = if to_dialler { &mut link.to_dialler } else { &mut link.to_acceptor };
        let end = &self.ends[side(to_dialler)];
        let is_data = matches!(queue.front(), Some(Frame::Message { .. } | Frame::End { .. }));
        if is_data && !end.machine.has_room() {
            return false;
        }
        let Some(frame) = queue.pop_front() else { return false };
        match frame {
            Frame::Resume { id, attempt, at: theirs, proof } => {
                self.accept(at, &Asked { id, attempt, at: theirs }, proof);
            }
            Frame::Accepted { at: theirs, proof } => {
                let asked = self.asked.take().unwrap();
                assert!(self.ticket.accepted(&asked, theirs, &export(at), proof));
                let end = &mut self.ends[0];
                if let Some(disk) = &mut end.disk {
                    disk.keys = self.ticket.keys();
                }
                let number = end.machine.attach(theirs, asked.at).unwrap();
                end.link = Some((at, number));
            }
            Frame::Refused(_) => panic!("locked out"),
            frame => {
                let end = &mut self.ends[side(to_dialler)];
                if !to_dialler && end.link.is_some_and(|(current, _)| current == at) {
                    self.holder.used();
                }
                // A frame of a link before reaches a reader that does not know yet.
                let number = end.link.filter(|(current, _)| *current == at);
                end.machine.frame(number.map_or(0, |(_, number)| number), frame).unwrap();
            }
        }
        true
    }

    fn accept(&mut self, at: usize, asked: &Asked, proof: [u8; 32]) {
        let Some(accepted) = self.holder.check(asked, &export(at), proof) else {
            assert!(!self.links[at].dialler, "the newest attempt was refused");
            self.links[at].acceptor = false;
            return;
        };
        self.cut(false);
        let end = &mut self.ends[1];
        if let Some(disk) = &mut end.disk {
            disk.keys = self.holder.keys();
        }
        let now: Positions = end.machine.positions();
        let number = end.machine.attach(asked.at, now).unwrap();
        end.link = Some((at, number));
        let proof = accepted.answer(now, &export(at));
        self.links[at].to_dialler.push_back(Frame::Accepted { at: now, proof });
    }

    /// Dials once more, and goes on without a cut until nothing more happens.
    fn finish(mut self) {
        self.cut(true);
        self.dials = self.links.len() + 1;
        self.dial();
        loop {
            let mut acts = self.acts();
            acts.retain(|act| {
                !matches!(act, Act::Cut(_) | Act::Lose(..) | Act::Dial | Act::Crash(..))
            });
            let is_old = |act: &Act| matches!(act, Act::Arrive(at, _) if *at + 1 < self.dials);
            acts.retain(|act| !is_old(act));
            let mut happened = false;
            for act in acts {
                happened |= self.act(act);
            }
            if !happened {
                break;
            }
        }
        for end in &self.ends {
            assert_eq!((end.got, end.sent), (end.expects, end.sends));
            assert!(end.machine.is_finished(), "not finished");
            assert_eq!(end.machine.acknowledged(), end.sends + 1);
            assert_eq!(end.machine.unacknowledged_bytes(), 0);
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for end in &self.ends {
            (&end.machine, end.sent, end.got, end.has_ended, end.saw_end, end.link)
                .hash(&mut hasher);
            (&end.syncing, &end.given, end.crashes).hash(&mut hasher);
            format!("{:?}", end.disk.as_ref().map(|disk| (&disk.items, disk.progress())))
                .hash(&mut hasher);
            if let Some(disk) = &end.disk {
                (disk.keys.current.as_bytes(), disk.keys.attempt).hash(&mut hasher);
                disk.keys.successor.as_ref().map(|key| *key.as_bytes()).hash(&mut hasher);
            }
        }
        let successor = self.holder.successor.as_ref().map(|key| *key.as_bytes());
        (self.ticket.key.as_bytes(), self.holder.current.as_bytes(), successor).hash(&mut hasher);
        self.holder.attempt.hash(&mut hasher);
        self.asked.is_some().hash(&mut hasher);
        for link in &self.links {
            (link.dialler, link.acceptor).hash(&mut hasher);
            for queue in [&link.to_acceptor, &link.to_dialler] {
                format!("{queue:?}").hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// Visits every state that can be reached, and from each of them goes to a good end.
fn explore(from_dialler: u64, from_acceptor: u64, dials: usize, crashes: usize) -> usize {
    let start = World::new(from_dialler, from_acceptor, dials, crashes);
    let mut seen = HashSet::from([start.hash()]);
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        for act in world.acts() {
            let mut next = world.clone();
            if next.act(act) && seen.insert(next.hash()) {
                next.clone().finish();
                open.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn nothing_is_lost_or_doubled_in_any_interleaving() {
    for (from_dialler, from_acceptor, dials) in [(1, 0, 2), (0, 1, 2)] {
        let states = explore(from_dialler, from_acceptor, dials, 0);
        assert!(states > 1_000, "{states}");
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_processes_die() {
    for (from_dialler, from_acceptor) in [(1, 0), (0, 1)] {
        let states = explore(from_dialler, from_acceptor, 1, 1);
        println!("{from_dialler} and {from_acceptor} messages: {states} states");
        assert!(states > 1_000, "{states}");
    }
}

#[test]
#[ignore = "heavy: more messages and dials at once"]
fn nothing_is_lost_or_doubled_in_more_interleavings() {
    for (from_dialler, from_acceptor, dials, crashes) in [
        (1, 1, 2, 0),
        (2, 0, 2, 0),
        (1, 0, 3, 0),
        (0, 1, 3, 0),
        (1, 0, 1, 2),
        (0, 1, 1, 2),
        (1, 0, 2, 1),
        (0, 1, 2, 1),
    ] {
        let states = explore(from_dialler, from_acceptor, dials, crashes);
        println!(
            "{from_dialler} and {from_acceptor} messages, {dials} dials, {crashes} crashes: \
             {states} states"
        );
    }
}

#[test]
fn nothing_is_lost_or_doubled_on_long_walks() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let crashes = if seed % 3 == 0 { 0 } else { 50 };
        let mut world = World::new(rng.u64(0..40), rng.u64(0..40), usize::MAX, crashes);
        for _ in 0..1_500 {
            let acts = world.acts();
            let act = acts[rng.usize(..acts.len())];
            // Cuts and crashes are rarer than the rest.
            if !matches!(act, Act::Cut(_) | Act::Crash(..)) || rng.u8(..8) == 0 {
                world.act(act);
            }
        }
        world.finish();
    }
}

#[test]
fn a_peer_that_breaks_the_rules_is_found_out() {
    use super::machine::Broken;
    let message = |position| Frame::Message { position, stream: 0, data: Bytes::new() };
    let machine = || {
        let mut machine = Machine::new(Bounds { outbox: 1000, inbox: 1000 });
        for _ in 0..3 {
            machine.push(Item::Message { stream: 0, data: Bytes::new() }).unwrap();
        }
        let link = machine.attach(Positions::default(), Positions::default()).unwrap();
        machine.next_frame(link).unwrap();
        (machine, link)
    };
    let (mut one, link) = machine();
    assert_eq!(one.frame(link, message(1)), Err(Broken::OutOfOrder));
    assert_eq!(one.frame(link, Frame::Committed { before: 2 }), Err(Broken::NeverSent));
    assert_eq!(one.frame(link, Frame::Committed { before: 1 }), Ok(()));
    assert_eq!(one.frame(link, Frame::Committed { before: 0 }), Err(Broken::Forgot));
    assert_eq!(one.frame(link, Frame::Open), Err(Broken::OutOfOrder));
    one.detach();
    let told = one.positions();
    let at = |received, committed| Positions { received, committed };
    assert_eq!(one.attach(at(1, 0), told), Err(Broken::Forgot));
    assert_eq!(one.attach(at(4, 1), told), Err(Broken::NeverSent));
    assert_eq!(one.attach(at(1, 2), told), Err(Broken::NeverSent));
    one.attach(at(3, 1), told).unwrap();
    assert_eq!(one.give_back().len(), 2);

    let (mut one, link) = machine();
    one.frame(link, Frame::End { position: 0 }).unwrap();
    assert_eq!(one.frame(link, message(1)), Err(Broken::OutOfOrder), "after the end");
    assert!(!one.commit(0), "the end is not the application's to commit");
}
