//! Records between the two ends of a session (docs/streams.md, CTL-1).
//!
//! Each direction has one stream for them, opened when there is something to say; most sessions
//! never need it. A record is a type, a length and its body, so that an end can skip types that it
//! does not know.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::{Buf, Bytes, BytesMut};
use stc::Cause;
use stt_transport::{RecvStream, Renewal};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    SessionShared,
    labelled::{self, GivenUp},
    resets::{self, Reset},
};
use crate::{
    CloseReason,
    stream::{StreamShared, header::Header, reassembly::Reassembly, varint},
};

/// The peer may write up to an offset: QUIC stream, offset after the header.
const CREDIT: u64 = 1;
/// Asks the peer for a [`PONG`] with the same number.
const PING: u64 = 2;
/// Answers a [`PING`].
const PONG: u64 = 3;
/// Asks for fresh keys (CTL-2): a message of [`Renewal`].
const RENEW: u64 = 4;
/// Answers a [`RENEW`].
const RENEWED: u64 = 5;
/// Gives up a direction of a protocol's stream (CTL-3): a [`GivenUp`].
const GIVEN_UP: u64 = 6;
/// Names a direction that was reset (CTL-4): a [`Reset`].
const RESET: u64 = 7;
/// Answers that may wait to be sent; a peer that asks more often than it reads gets fewer.
const MAX_PONGS: usize = 64;
/// Pings of this side that may wait for their answers.
const MAX_PINGS: usize = 64;
/// Directions given up whose records may wait; who gives up another one waits until they are taken.
const MAX_GIVEN_UP: usize = 64;
/// Longest body of a record.
const MAX_BODY: u64 = 1_024;

/// What may wait behind a hole in the peer's records, with its places: this stream has no credit.
const MAX_WAITING: usize = 256 << 10;

/// What is to be said, and who is to hear what the peer says.
#[derive(Debug)]
pub(crate) struct Control {
    /// Limits to be sent, by QUIC stream; a newer one replaces an older one.
    raises: Mutex<HashMap<u64, u64>>,
    /// Sending directions, by QUIC stream.
    senders: Mutex<HashMap<u64, Arc<StreamShared>>>,
    /// Numbers that the peer asked to have back.
    pongs: Mutex<Vec<u64>>,
    /// Who waits for the answer with a number.
    pings: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    /// The record about fresh keys that is to be sent: of one side a question, of the other an answer.
    renewal: Mutex<Option<(u64, Vec<u8>)>>,
    /// Numbers of pings to be sent.
    asks: Mutex<Vec<u64>>,
    /// Records about directions given up, each with its place.
    given_up: Mutex<Vec<(u64, Vec<u8>, OwnedSemaphorePermit)>>,
    given_up_places: Arc<Semaphore>,
    next_ping: AtomicU64,
    ping_turns: Semaphore,
    work: Notify,
    writing: AtomicBool,
    /// The peer has opened its stream.
    reading: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            raises: Mutex::default(),
            senders: Mutex::default(),
            pongs: Mutex::default(),
            pings: Mutex::default(),
            renewal: Mutex::default(),
            asks: Mutex::default(),
            given_up: Mutex::default(),
            given_up_places: Arc::new(Semaphore::new(MAX_GIVEN_UP)),
            next_ping: AtomicU64::new(0),
            ping_turns: Semaphore::new(MAX_PINGS),
            work: Notify::new(),
            writing: AtomicBool::new(false),
            reading: AtomicBool::new(false),
        }
    }
}

impl Control {
    fn raises(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.raises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<u64, Arc<StreamShared>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_sender(&self, quic: u64, stream: &Arc<StreamShared>) {
        self.senders().insert(quic, Arc::clone(stream));
    }

    pub(super) fn remove_sender(&self, quic: u64) {
        self.senders().remove(&quic);
    }

    /// Says that the peer may write up to `limit` on its stream `quic`.
    pub(super) fn raise(&self, session: &Arc<SessionShared>, quic: u64, limit: u64) {
        self.raises().insert(quic, limit);
        self.start_writing(session);
    }

    fn start_writing(&self, session: &Arc<SessionShared>) {
        self.work.notify_one();
        if !self.writing.swap(true, Ordering::AcqRel) {
            tokio::spawn(write(Arc::clone(session)));
        }
    }

    fn pings(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.pings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pongs(&self) -> MutexGuard<'_, Vec<u64>> {
        self.pongs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the peer for a sign of life and waits for it, after a turn if many others wait.
    pub(super) async fn ping(&self, session: &Arc<SessionShared>) {
        let Ok(_turn) = self.ping_turns.acquire().await else { return };
        let (answered, answer) = oneshot::channel();
        let number = self.next_ping.fetch_add(1, Ordering::Relaxed);
        {
            let mut pings = self.pings();
            // Those who stopped waiting.
            pings.retain(|_, waiting| !waiting.is_closed());
            pings.insert(number, answered);
        }
        self.asks.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        self.start_writing(session);
        // The sender is dropped only when this is no longer waited for.
        let _ = answer.await;
    }

    /// Says that a direction was given up, once there is room.
    pub(super) async fn give_up(&self, session: &Arc<SessionShared>, end: GivenUp) {
        let mut body = Vec::new();
        end.put(&mut body);
        self.say_given_up(session, GIVEN_UP, body).await;
    }

    /// Says which direction was reset, once there is room.
    pub(super) async fn reset(&self, session: &Arc<SessionShared>, reset: Reset) {
        let mut body = Vec::new();
        reset.put(&mut body);
        self.say_given_up(session, RESET, body).await;
    }

    async fn say_given_up(&self, session: &Arc<SessionShared>, kind: u64, body: Vec<u8>) {
        let Ok(place) = Arc::clone(&self.given_up_places).acquire_owned().await else { return };
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.push((kind, body, place));
        drop(given_up);
        self.start_writing(session);
    }

    /// Has both ends send something now, whatever else there is to say.
    pub(super) fn nudge(&self, session: &Arc<SessionShared>) {
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        // One that waits to be sent does as well: a peer that takes none could make routes change.
        if asks.is_empty() {
            asks.push(self.next_ping.fetch_add(1, Ordering::Relaxed));
        }
        drop(asks);
        self.start_writing(session);
    }

    fn renewal(&self) -> MutexGuard<'_, Option<(u64, Vec<u8>)>> {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for fresh keys, unless some are under way.
    pub(super) fn renew(&self, session: &Arc<SessionShared>) {
        if let Some(message) = session.renewal.ask() {
            *self.renewal() = Some((RENEW, message));
            self.start_writing(session);
        }
    }

    /// Does what a record about fresh keys says. True when there is an answer to be written.
    fn renewed(&self, renewal: &Renewal, kind: u64, body: &[u8]) -> Result<bool, &'static str> {
        if kind == RENEWED {
            return renewal.take_answer(body).map(|()| false);
        }
        let mut waiting = self.renewal();
        if waiting.is_some() {
            // Who got no answer yet has nothing to ask.
            return Err("a renewal was asked for before the last one was answered");
        }
        *waiting = Some((RENEWED, renewal.answer(body)?));
        Ok(true)
    }

    /// Everything to be said, as records.
    pub(super) fn take_records(&self) -> Bytes {
        let mut out = BytesMut::new();
        for (quic, limit) in self.raises().drain() {
            put_record(&mut out, CREDIT, &[quic, limit]);
        }
        let asks = std::mem::take(&mut *self.asks.lock().unwrap_or_else(PoisonError::into_inner));
        for number in asks {
            put_record(&mut out, PING, &[number]);
        }
        for number in self.pongs().drain(..) {
            put_record(&mut out, PONG, &[number]);
        }
        let mut put = |kind, body: &[u8]| {
            varint::put(&mut out, kind);
            varint::put(&mut out, u64::try_from(body.len()).unwrap_or(0));
            out.extend_from_slice(body);
        };
        if let Some((kind, body)) = self.renewal().take() {
            put(kind, &body);
        }
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, body, _place) in given_up.drain(..) {
            put(kind, &body);
        }
        drop(given_up);
        out.freeze()
    }

    /// Does what one record says. True when there is an answer to be written.
    pub(super) fn apply(&self, kind: u64, mut body: Bytes) -> Result<bool, &'static str> {
        let mut number = || varint::take(&mut body).ok_or("a control record is cut");
        match kind {
            CREDIT => {
                let (quic, limit) = (number()?, number()?);
                // A stream that is over needs no credit.
                let stream = self.senders().get(&quic).cloned();
                if let Some(stream) = stream {
                    stream.outbound.raise(limit);
                }
                Ok(false)
            }
            PING => {
                let mut pongs = self.pongs();
                if pongs.len() < MAX_PONGS {
                    pongs.push(number()?);
                }
                Ok(true)
            }
            PONG => {
                if let Some(waiting) = self.pings().remove(&number()?) {
                    // Who asked may have stopped waiting.
                    let _ = waiting.send(());
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }
}

fn put_record(out: &mut BytesMut, kind: u64, numbers: &[u64]) {
    varint::put(out, kind);
    let body: usize = numbers.iter().map(|number| varint::len(*number)).sum();
    varint::put(out, u64::try_from(body).unwrap_or(0));
    for number in numbers {
        varint::put(out, *number);
    }
}

/// Writes records until the session ends.
async fn write(session: Arc<SessionShared>) {
    let Ok(mut quic) = session.connection.open_uni().await else { return };
    // Credit that waits behind data may never get through: the data may wait for this credit.
    quic.set_priority(i32::MAX);
    let first = &session.precedence;
    let mut header = BytesMut::new();
    Header::Control.put(&mut header);
    quic.expect_more(true);
    if first.write(i32::MAX, quic.write_chunk(header.freeze())).await.is_err() {
        return;
    }
    quic.expect_more(false);
    loop {
        let records = session.control.take_records();
        if records.is_empty() {
            tokio::select! {
                () = session.control.work.notified() => continue,
                _ = session.closed() => return,
            }
        }
        if first.write(i32::MAX, quic.write_chunk(records)).await.is_err() {
            return;
        }
    }
}

/// Reads the peer's records until its stream ends.
pub(super) async fn read(
    session: &Arc<SessionShared>,
    mut quic: RecvStream,
    header_len: u64,
    early: Vec<(u64, Bytes)>,
) {
    let broken = |rule: &str| session.abort(CloseReason::Protocol { cause: Cause::text(rule) });
    if session.control.reading.swap(true, Ordering::AcqRel) {
        return broken("there is a second control stream");
    }
    let mut bytes = Reassembly::default();
    for (offset, piece) in early {
        bytes.insert(offset, piece);
    }
    bytes.ready().advance(usize::try_from(header_len).unwrap_or(usize::MAX));
    let mut parser = Parser::default();
    loop {
        if bytes.waiting_cost() > MAX_WAITING {
            return broken("too much of the control stream came out of order");
        }
        loop {
            let applied = match parser.next(&mut bytes) {
                Ok(Some((kind @ (RENEW | RENEWED), body))) => {
                    session.control.renewed(&session.renewal, kind, &body)
                }
                Ok(Some((GIVEN_UP, body))) => match GivenUp::parse(&body) {
                    Some(end) => {
                        labelled::peer_gave_up(session, end);
                        Ok(false)
                    }
                    None => Err("a control record is cut"),
                },
                Ok(Some((RESET, body))) => match Reset::parse(&body) {
                    Some(reset) => {
                        let reset = session.peer_headers().tell(reset);
                        if let Some(reset) = reset {
                            resets::ended(session, reset);
                        }
                        Ok(false)
                    }
                    None => Err("a control record is cut"),
                },
                Ok(Some((kind, body))) => session.control.apply(kind, body),
                Ok(None) => break,
                Err(rule) => Err(rule),
            };
            match applied {
                Ok(true) => session.control.start_writing(session),
                Ok(false) => {}
                Err(rule) => return broken(rule),
            }
        }
        match quic.read_chunk(usize::MAX).await {
            Ok(Some(chunk)) => bytes.insert(chunk.offset, chunk.bytes),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Cuts bytes into records.
#[derive(Debug, Default)]
pub(super) struct Parser {
    kind: Option<u64>,
    length: Option<u64>,
}

impl Parser {
    pub(super) fn next(
        &mut self,
        bytes: &mut Reassembly,
    ) -> Result<Option<(u64, Bytes)>, &'static str> {
        if self.kind.is_none() {
            self.kind = varint::take(&mut bytes.ready());
        }
        let Some(kind) = self.kind else { return Ok(None) };
        if self.length.is_none() {
            self.length = varint::take(&mut bytes.ready());
        }
        let Some(length) = self.length else { return Ok(None) };
        if length > MAX_BODY {
            return Err("a control record is too long");
        }
        let length = usize::try_from(length).map_err(|_| "a control record is too long")?;
        let Some(body) = bytes.take_exact(length) else { return Ok(None) };
        *self = Self::default();
        Ok(Some((kind, body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(wire: &[u8], cut: usize) -> Result<Vec<(u64, Bytes)>, &'static str> {
        let (mut parser, mut bytes, mut out) = (Parser::default(), Reassembly::default(), vec![]);
        for (at, piece) in wire.chunks(cut).enumerate() {
            bytes.insert((at * cut) as u64, Bytes::copy_from_slice(piece));
            while let Some(record) = parser.next(&mut bytes)? {
                out.push(record);
            }
        }
        Ok(out)
    }

    #[test]
    fn records_survive_any_cut_and_only_the_newest_limit_is_said() {
        let control = Control::default();
        control.raises().insert(6, 70_000);
        control.raises().insert(6, 1 << 40);
        let wire = control.take_records();
        for cut in 1..=wire.len() {
            let got = records(&wire, cut).unwrap();
            assert_eq!(got.len(), 1);
            let (kind, mut body) = got[0].clone();
            assert_eq!(kind, CREDIT);
            assert_eq!(varint::take(&mut body), Some(6));
            assert_eq!(varint::take(&mut body), Some(1 << 40));
        }
        assert!(control.take_records().is_empty());
    }

    #[test]
    fn a_record_that_would_need_much_memory_is_refused_by_its_length() {
        let mut wire = BytesMut::new();
        varint::put(&mut wire, 9);
        varint::put(&mut wire, MAX_BODY + 1);
        assert!(records(&wire, 1).is_err());
    }

    #[test]
    fn a_ping_is_answered_and_floods_are_cut() {
        let control = Control::default();
        for number in 0..1_000u32 {
            let body = BytesMut::from(&[u8::try_from(number % 64).unwrap()][..]).freeze();
            assert_eq!(control.apply(PING, body), Ok(true));
        }
        let answers = records(&control.take_records(), 3).unwrap();
        assert_eq!(answers.len(), MAX_PONGS);
        assert!(answers.iter().all(|(kind, _)| *kind == PONG));
    }

    #[test]
    fn who_takes_no_answer_gets_no_second_one() {
        let (control, (_, bob)) = (Control::default(), Renewal::sides());
        let ask = || Renewal::sides().0.ask().unwrap();
        for _ in 0..3 {
            assert_eq!(control.renewed(&bob, RENEW, &ask()), Ok(true));
            bob.catch_up();
            let refused = control.renewed(&bob, RENEW, &ask());
            assert_eq!(refused, Err("a renewal was asked for before the last one was answered"));
            assert!(!bob.is_under_way());
            let sent = records(&control.take_records(), 7).unwrap();
            assert!(matches!(sent.as_slice(), [(RENEWED, _)]), "{sent:?}");
        }
    }

    #[test]
    fn unknown_records_are_skipped_and_cut_ones_refused() {
        let control = Control::default();
        assert_eq!(control.apply(77, Bytes::from_static(b"later version")), Ok(false));
        assert!(control.apply(CREDIT, Bytes::from_static(&[1])).is_err());
    }
}
