//! How one end of a session keeps, loses and changes its route: pure rules.
//!
//! Bytes, time and randomness go in; datagrams, decisions and a deadline come out. Each end decides
//! where *it* sends. To make the peer send elsewhere, one asks on the new path, gets a challenge
//! there, and echoes it in a sealed datagram (docs/protocol.md, ROUTE-4 to ROUTE-7).

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    liveness::{Traffic, Verdict, Watch},
    path::{Path, RouteKind},
    path_message::{Challenge, Message, Random, RouteKeys},
    replay_window::SequenceWindow,
};
use crate::wire::FIRST_RTT;

/// Silence is asked about no sooner than this: an acknowledgement may be held back as long.
const LEAST_PACE: Duration = Duration::from_millis(25);
/// The same in round trips.
const PACE_RTTS: u32 = 3;
/// First wait for an answer while moving, at least; it doubles up to the second one.
const MOVE_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long a move is tried.
const MOVE_TIME: Duration = Duration::from_secs(5);
/// Waits between two looks whether a route that was given up works again: first, longest.
const HOME_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Answers in a row that show that it does.
const HOME_ANSWERS: u32 = 2;
/// Waits between two attempts to open a WebSocket: first, longest.
const DIAL_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a path that was left is kept for what is still under way.
const LINGER: Duration = Duration::from_secs(1);
/// A first round trip as long as this may be none: what an engine assumes that has no sample yet, or
/// the time until what was lost of a handshake was said again.
const DOUBTFUL: Duration = FIRST_RTT;
/// Questions by which it is measured then: the wait after the first, which doubles, and how many.
const SOUNDINGS: (Duration, u32) = (Duration::from_millis(100), 5);
/// Questions and challenges remembered, and for how long.
const MAX_OPEN: usize = 16;
const OPEN_TIME: Duration = Duration::from_secs(10);

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send this, sealed and not yet masked.
    Send(Path, Vec<u8>),
    /// Everything that leaves from now on takes this path.
    Switch(Path),
    /// The peer sends to this end of the path as well.
    Settled(Path),
    /// Open a WebSocket to the peer, and report the outcome to [`PathManager::dialled`] with this
    /// number.
    Dial(u64),
    /// The peer wants to be reached at this address: [`PathManager::follow`] it.
    Invited(SocketAddr),
    /// The WebSocket of this path is not needed any more.
    Close(Path),
    /// What came of [`PathManager::move_to`].
    Done(Result<Path, Failure>),
}

/// Why a planned move came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody answered on the new path.
    NoAnswer,
    /// No WebSocket could be opened.
    Dial(stc::Cause),
    /// A later wish took its place; the driver says so.
    Superseded,
}

/// Where a move leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To this path; the peer may be asked to come there from its side, to this port of ours.
    Path(Path, Option<u16>),
    /// To a path of this kind, which the peer has to make.
    Invite(RouteKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The application wants it.
    Planned,
    /// The peer asked for it.
    Invited,
    /// The peer sends to an address that we no longer have.
    Rebound,
    /// The route is dead.
    Dead,
    /// The better route works again.
    Return,
}

#[derive(Debug)]
struct Attempt {
    goal: Goal,
    cause: Cause,
    /// The peer's challenge on the new path.
    echo: Option<Challenge>,
    tries: u32,
    next: Instant,
    until: Instant,
    /// Where we sent before.
    left: Path,
}

/// A challenge, the path it went out on, and when.
#[derive(Clone, Copy, Debug)]
struct Open {
    challenge: Challenge,
    path: Path,
    at: Instant,
}

/// A route that was given up and is looked after.
#[derive(Clone, Copy, Debug)]
struct Home {
    path: Path,
    next: Instant,
    wait: Duration,
    answers: u32,
}

/// The round trip is being measured.
#[derive(Clone, Copy, Debug)]
struct Sounding {
    next: Instant,
    asked: u32,
}

/// The peer's WebSocket, which this end can open.
#[derive(Clone, Copy, Debug)]
struct Dialling {
    next: Instant,
    wait: Duration,
    under_way: Option<Cause>,
}

/// One end's rules.
pub(crate) struct PathManager {
    keys: RouteKeys,
    random: Random,
    window: SequenceWindow,
    initiator: bool,
    chosen: Path,
    rtt: Duration,
    sounding: Option<Sounding>,
    watch: Watch,
    questions: VecDeque<Open>,
    challenges: VecDeque<Open>,
    /// Number of the newest move that the peer was allowed.
    newest_move: u64,
    /// The peer said that it sends elsewhere, and the responder waits whether it says so again.
    elsewhere: bool,
    attempt: Option<Attempt>,
    home: Option<Home>,
    dialling: Option<Dialling>,
    dials: u64,
    /// Where the peer is reached over UDP, as far as it is known.
    udp: Option<Path>,
    closing: Vec<(Path, Instant)>,
    out: VecDeque<Output>,
}

/// What a mover starts with.
pub(crate) struct Start {
    pub(crate) keys: RouteKeys,
    pub(crate) random: Random,
    pub(crate) initiator: bool,
    pub(crate) path: Path,
    pub(crate) rtt: Duration,
    /// Whether this end knows where to open a WebSocket to the peer.
    pub(crate) can_dial: bool,
    /// Where the peer is reached over UDP, when the session does not begin there.
    pub(crate) udp: Option<Path>,
    pub(crate) traffic: Traffic,
}

impl PathManager {
    pub(crate) fn new(now: Instant, start: Start) -> Self {
        let dialling = Dialling { next: now, wait: DIAL_WAIT.0, under_way: None };
        Self {
            keys: start.keys,
            random: start.random,
            window: SequenceWindow::default(),
            initiator: start.initiator,
            chosen: start.path,
            rtt: start.rtt,
            sounding: (start.rtt >= DOUBTFUL).then_some(Sounding { next: now, asked: 0 }),
            watch: Watch::new(now, start.traffic),
            questions: VecDeque::new(),
            challenges: VecDeque::new(),
            newest_move: 0,
            elsewhere: false,
            attempt: None,
            home: None,
            dialling: start.can_dial.then_some(dialling),
            dials: 0,
            udp: start.udp,
            closing: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// Where this end sends.
    pub(crate) const fn path(&self) -> Path {
        self.chosen
    }

    /// What is to be done next.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::look`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref().map(|attempt| attempt.next);
        let home = self.home.map(|home| home.next);
        let sounding = self.sounding.map(|sounding| sounding.next);
        let closing = self.closing.iter().map(|(_, at)| *at).min();
        [self.watch.deadline(), attempt, home, sounding, closing].into_iter().flatten().min()
    }

    /// Whether it wants to hear of the next datagram.
    pub(crate) const fn is_asleep(&self) -> bool {
        self.watch.deadline().is_none()
    }

    /// Whether there was traffic since the last look.
    pub(crate) fn has_missed(&self, traffic: Traffic) -> bool {
        self.watch.has_missed(traffic)
    }

    /// Whether questions about the route are open.
    #[cfg(test)]
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.watch.is_in_doubt()
    }

    /// Datagrams of the session come or go again.
    pub(crate) fn stirred(&mut self, now: Instant) {
        self.watch.stir(now, self.pace());
    }

    fn pace(&self) -> Duration {
        LEAST_PACE.max(self.rtt.saturating_mul(PACE_RTTS))
    }

    // --- wishes ---

    /// Moves because the application wants it.
    pub(crate) fn move_to(&mut self, now: Instant, goal: Goal) {
        self.supersede();
        match (goal, self.udp) {
            (Goal::Path(path, _), _) if path == self.chosen => {
                self.out.push_back(Output::Done(Ok(path)));
            }
            (Goal::Invite(kind), _) if kind == self.chosen.kind() => {
                self.out.push_back(Output::Done(Ok(self.chosen)));
            }
            (Goal::Invite(RouteKind::WebSocket), _) if self.dialling.is_some() => {
                self.dial(Cause::Planned);
            }
            (Goal::Invite(RouteKind::Udp), Some(udp)) => {
                self.begin(now, Goal::Path(udp, None), Cause::Planned);
            }
            _ => self.begin(now, goal, Cause::Planned),
        }
    }

    /// Opens a WebSocket and moves to it, because the application wants it.
    pub(crate) fn open(&mut self, now: Instant) {
        self.supersede();
        self.dialling.get_or_insert(Dialling { next: now, wait: DIAL_WAIT.0, under_way: None });
        self.dial(Cause::Planned);
    }

    /// This end's UDP sockets changed: `renew` gives the path that takes the place of one.
    pub(crate) fn rebound(&mut self, renew: impl Fn(Path) -> Option<Path>) {
        if let Some(udp) = self.udp.and_then(&renew) {
            self.udp = Some(udp);
        }
        if let Some(home) = &mut self.home
            && let Some(path) = renew(home.path)
        {
            home.path = path;
        }
    }

    /// Gives up what was wished before.
    fn supersede(&mut self) {
        self.attempt = None;
        if let Some(dialling) = &mut self.dialling {
            dialling.under_way = None;
        }
        self.home = None;
    }

    /// Whether this is, or is to be, the session's path.
    pub(crate) fn uses(&self, path: Path) -> bool {
        let goal = self.attempt.as_ref().map(|attempt| attempt.goal);
        path == self.chosen
            || matches!(goal, Some(Goal::Path(goal, _)) if goal == path)
            || self.closing.iter().any(|(closing, _)| *closing == path)
    }

    /// The WebSockets that are the session's: the one that it uses, goes to, or left a moment ago.
    pub(crate) fn websockets(&self) -> impl Iterator<Item = Path> {
        let goal = self.attempt.as_ref().and_then(|attempt| match attempt.goal {
            Goal::Path(path, _) => Some(path),
            Goal::Invite(_) => None,
        });
        let left = self.closing.iter().map(|(path, _)| *path);
        let all = [Some(self.chosen), goal].into_iter().flatten().chain(left);
        all.filter(|path| path.kind() == RouteKind::WebSocket)
    }

    /// Moves to where the peer wants to be reached.
    pub(crate) fn follow(&mut self, now: Instant, path: Path) {
        if self.attempt.is_none() && path != self.chosen {
            self.begin(now, Goal::Path(path, None), Cause::Invited);
        }
    }

    /// What came of [`Output::Dial`].
    pub(crate) fn dialled(&mut self, now: Instant, number: u64, result: Result<Path, stc::Cause>) {
        let current = number == self.dials;
        let Some(dialling) = self.dialling.as_mut().filter(|_| current) else {
            // A later wish took its place.
            self.out.extend(result.ok().map(Output::Close));
            return;
        };
        let cause = dialling.under_way.take();
        match (result, cause) {
            (Ok(path), Some(cause)) => {
                dialling.wait = DIAL_WAIT.0;
                let needed = cause != Cause::Dead || self.watch.is_in_doubt();
                let free = self.attempt.as_ref().is_none_or(|other| other.cause == Cause::Dead);
                if needed && free {
                    self.begin(now, Goal::Path(path, None), cause);
                } else {
                    self.out.push_back(Output::Close(path));
                }
            }
            (Ok(path), None) => self.out.push_back(Output::Close(path)),
            (Err(why), cause) => {
                dialling.next = now + dialling.wait;
                dialling.wait = (dialling.wait * 2).min(DIAL_WAIT.1);
                if cause == Some(Cause::Planned) {
                    self.out.push_back(Output::Done(Err(Failure::Dial(why))));
                }
            }
        }
    }

    /// The WebSocket of a path is gone.
    pub(crate) fn lost(&mut self, now: Instant, path: Path) {
        self.closing.retain(|(closing, _)| *closing != path);
        if path == self.chosen {
            // What came through it last may be the session's end, which nobody has read yet.
            self.watch.give_up(now, now + MOVE_WAIT.0);
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.goal == Goal::Path(path, None)) {
            self.finish(Err(Failure::NoAnswer));
        }
    }

    // --- time ---

    /// Does what is due.
    pub(crate) fn look(&mut self, now: Instant, traffic: Traffic) {
        if self.watch.deadline().is_some_and(|due| due <= now) {
            let verdict = self.watch.look(now, traffic, self.pace());
            if verdict != Verdict::Fine {
                self.ask(now, self.chosen, true);
            }
            if verdict == Verdict::Dead {
                self.flee(now);
            }
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.next <= now) {
            self.retry(now);
        }
        if let Some(home) = &mut self.home
            && home.next <= now
        {
            home.answers = 0;
            home.next = now + home.wait;
            home.wait = (home.wait * 2).min(HOME_WAIT.1);
            let path = home.path;
            self.ask(now, path, false);
        }
        if let Some(sounding) = &mut self.sounding
            && sounding.next <= now
        {
            sounding.next = now + SOUNDINGS.0 * (1 << sounding.asked);
            sounding.asked += 1;
            self.sounding.take_if(|sounding| sounding.asked >= SOUNDINGS.1);
            self.ask(now, self.chosen, false);
        }
        let due = |at: &Instant| *at <= now;
        for (path, _) in self.closing.extract_if(.., |(_, at)| due(at)) {
            if path != self.chosen {
                self.out.push_back(Output::Close(path));
            }
        }
    }

    /// The route is dead: looks for another.
    fn flee(&mut self, now: Instant) {
        if self.attempt.as_ref().is_some_and(|attempt| attempt.cause != Cause::Dead) {
            return;
        }
        if self.chosen.kind() == RouteKind::WebSocket
            && self.attempt.is_none()
            && let Some(udp) = self.udp
        {
            self.begin(now, Goal::Path(udp, None), Cause::Dead);
        }
        if self.dialling.is_some_and(|dialling| dialling.next <= now) {
            self.dial(Cause::Dead);
        }
    }

    fn dial(&mut self, cause: Cause) {
        if let Some(dialling) = &mut self.dialling
            && dialling.under_way.is_none_or(|under_way| under_way == Cause::Dead)
        {
            if dialling.under_way.is_none() {
                self.dials += 1;
                self.out.push_back(Output::Dial(self.dials));
            }
            dialling.under_way = Some(cause);
        }
    }

    // --- moving ---

    fn begin(&mut self, now: Instant, goal: Goal, cause: Cause) {
        self.attempt = Some(Attempt {
            goal,
            cause,
            echo: None,
            tries: 0,
            next: now,
            until: now + MOVE_TIME,
            left: self.chosen,
        });
        self.retry(now);
    }

    /// Says again what was not answered.
    fn retry(&mut self, now: Instant) {
        let rtt = self.rtt;
        let chosen = self.chosen;
        let Some(attempt) = &mut self.attempt else { return };
        if attempt.until <= now {
            self.finish(Err(Failure::NoAnswer));
            return;
        }
        let wait = MOVE_WAIT.0.max(rtt * 2);
        let doublings = attempt.tries.saturating_sub(1).min(8);
        attempt.next = now + (wait * (1 << doublings)).min(MOVE_WAIT.1.max(rtt * 2));
        attempt.tries += 1;
        let (goal, echo, again) = (attempt.goal, attempt.echo, attempt.tries > 2);
        match goal {
            Goal::Path(path, _) if path == chosen && echo.is_some() => {
                self.ask_to_move(now, path, echo.unwrap_or_default());
            }
            Goal::Path(path, port) => {
                self.ask(now, path, false);
                // The peer's NAT lets it through only when it has asked there itself.
                if let Some(port) = port.filter(|_| again && path != chosen) {
                    self.say(chosen, &Message::Come { kind: path.kind(), port });
                }
            }
            Goal::Invite(kind) => self.say(chosen, &Message::Come { kind, port: 0 }),
        }
    }

    /// Ends the attempt.
    fn finish(&mut self, result: Result<Path, Failure>) {
        let Some(attempt) = self.attempt.take() else { return };
        if let (Err(_), Goal::Path(path, _)) = (&result, attempt.goal)
            && path.kind() == RouteKind::WebSocket
            && path != self.chosen
        {
            self.out.push_back(Output::Close(path));
        }
        if attempt.cause == Cause::Planned {
            self.out.push_back(Output::Done(result));
        }
    }

    /// Sends on `path` from now on.
    fn switch(&mut self, now: Instant, path: Path) {
        if path != self.chosen {
            self.chosen = path;
            self.out.push_back(Output::Switch(path));
        }
        self.watch.answered(now, self.pace());
    }

    /// Both ends use `chosen`; before, it was `left`.
    fn settle(&mut self, now: Instant, left: Path, cause: Option<Cause>) {
        let chosen = self.chosen;
        self.elsewhere = false;
        self.out.push_back(Output::Settled(chosen));
        match chosen.kind() {
            RouteKind::Udp => {
                self.udp = Some(chosen);
                self.home = None;
            }
            RouteKind::WebSocket if cause == Some(Cause::Dead) => {
                let home =
                    |path| Home { path, next: now + HOME_WAIT.0, wait: HOME_WAIT.0, answers: 0 };
                self.home = (left.kind() == RouteKind::Udp).then(|| home(left)).or(self.home);
            }
            RouteKind::WebSocket => self.home = None,
        }
        if left != chosen && left.kind() == RouteKind::WebSocket {
            // Each once, however often the peer goes to and fro.
            self.closing.retain(|(path, _)| *path != left);
            self.closing.push((left, now + LINGER));
        }
    }

    // --- what the peer says ---

    /// Takes in an unmasked datagram that came on `path`. False if the peer did not make it, or it
    /// was there before: then nothing happens at all.
    pub(crate) fn receive(&mut self, now: Instant, path: Path, datagram: &[u8]) -> bool {
        let Some((sequence, message)) = self.keys.open(datagram) else { return false };
        if !self.window.take(sequence) {
            return false;
        }
        match message {
            Message::Ask { challenge, doubt } => {
                self.answer(now, path, challenge);
                if doubt && path == self.chosen && self.watch.doubted(now, self.pace()) {
                    self.ask(now, path, false);
                }
            }
            Message::Move { challenge, echo } => {
                let proved = self.challenges.iter().any(|open| {
                    open.challenge == echo
                        && open.path == path
                        && now.saturating_duration_since(open.at) < OPEN_TIME
                });
                if proved && sequence > self.newest_move {
                    self.newest_move = sequence;
                    self.obey(now, path);
                }
                self.answer(now, path, challenge);
            }
            Message::Answer { challenge, echo, here, .. } => {
                self.answered(now, path, challenge, echo, here);
            }
            Message::Come { kind, port } => self.invited(kind, port),
        }
        true
    }

    /// The peer proved that it is at the other end of `path`, and wants us to send there.
    fn obey(&mut self, now: Instant, path: Path) {
        let left = self.chosen;
        self.switch(now, path);
        self.settle(now, left, None);
        let reached = self.attempt.as_ref().is_some_and(|attempt| match attempt.goal {
            Goal::Path(goal, _) => goal.via == path.via,
            Goal::Invite(kind) => kind == path.kind(),
        });
        if reached {
            self.finish(Ok(path));
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        path: Path,
        challenge: Challenge,
        echo: Challenge,
        here: bool,
    ) {
        let asked = self.questions.iter().find(|open| open.challenge == echo && open.path == path);
        let Some(asked) = asked.copied() else { return };
        self.questions.retain(|open| open.challenge != echo);
        let sample = now.saturating_duration_since(asked.at);
        if path == self.chosen {
            let is_first = self.sounding.take().is_some();
            self.rtt = if is_first { sample } else { (self.rtt * 7 + sample) / 8 };
        }

        if let Some(attempt) = &mut self.attempt
            && matches!(attempt.goal, Goal::Path(goal, _) if goal == path)
        {
            attempt.echo = Some(challenge);
            if path != self.chosen {
                self.rtt = sample;
            }
            self.switch(now, path);
            if here {
                self.arrive(now);
            } else {
                self.ask_to_move(now, path, challenge);
            }
        } else if path == self.chosen {
            self.watch.answered(now, self.pace());
            if here {
                self.elsewhere = false;
            } else if self.initiator || std::mem::replace(&mut self.elsewhere, true) {
                self.begin(now, Goal::Path(path, None), Cause::Rebound);
                if let Some(attempt) = &mut self.attempt {
                    attempt.echo = Some(challenge);
                }
                self.ask_to_move(now, path, challenge);
            } else {
                self.ask(now, path, false);
            }
        } else if let Some(home) = &mut self.home
            && home.path == path
        {
            home.answers += 1;
            if home.answers >= HOME_ANSWERS && self.attempt.is_none() {
                self.begin(now, Goal::Path(path, None), Cause::Return);
            } else {
                self.ask(now, path, false);
            }
        }
    }

    /// The attempt came to its end: the peer sends to the new path.
    fn arrive(&mut self, now: Instant) {
        let Some(attempt) = &self.attempt else { return };
        let (left, cause) = (attempt.left, attempt.cause);
        self.settle(now, left, Some(cause));
        self.finish(Ok(self.chosen));
    }

    fn invited(&mut self, kind: RouteKind, port: u16) {
        match kind {
            RouteKind::WebSocket => {
                if self.chosen.kind() != kind && self.attempt.is_none() {
                    self.dial(Cause::Invited);
                }
            }
            RouteKind::Udp => {
                let known = if self.chosen.kind() == kind { Some(self.chosen) } else { self.udp };
                if let Some(known) = known {
                    let port = if port == 0 { known.remote.port() } else { port };
                    self.out.push_back(Output::Invited(SocketAddr::new(known.remote.ip(), port)));
                }
            }
        }
    }

    // --- what this end says ---

    fn ask(&mut self, now: Instant, path: Path, doubt: bool) {
        if let Some(challenge) = self.open_question(now, path) {
            self.say(path, &Message::Ask { challenge, doubt });
        }
    }

    fn ask_to_move(&mut self, now: Instant, path: Path, echo: Challenge) {
        if let Some(challenge) = self.open_question(now, path) {
            self.say(path, &Message::Move { challenge, echo });
        }
    }

    fn answer(&mut self, now: Instant, path: Path, echo: Challenge) {
        let Some(challenge) = self.draw() else { return };
        remember(&mut self.challenges, Open { challenge, path, at: now });
        let here = path == self.chosen;
        self.say(path, &Message::Answer { challenge, echo, here, seen: path.remote });
    }

    fn open_question(&mut self, now: Instant, path: Path) -> Option<Challenge> {
        let challenge = self.draw()?;
        remember(&mut self.questions, Open { challenge, path, at: now });
        Some(challenge)
    }

    fn draw(&mut self) -> Option<Challenge> {
        let mut challenge = Challenge::default();
        (self.random)(&mut challenge).then_some(challenge)
    }

    fn say(&mut self, path: Path, message: &Message) {
        if let Some(datagram) = self.keys.seal(message, &mut self.random) {
            self.out.push_back(Output::Send(path, datagram));
        }
    }
}

/// Keeps the newest ones.
fn remember(all: &mut VecDeque<Open>, open: Open) {
    if all.len() >= MAX_OPEN {
        all.pop_front();
    }
    all.push_back(open);
}
