//! Who may resume: secrets that both ends derive and nobody sends (RESUME-3).

use stc::{Key, kdf};

use super::{machine::Positions, stored::Keys};
use crate::SessionId;

/// What a session gives to whoever resumes over it.
pub(super) const EXPORT: &str = "stt resume v1";

/// Whose proof it is.
#[derive(Clone, Copy)]
enum Side {
    Initiator,
    Responder,
}

fn proof(ticket: &Key, side: Side, link: &Key, asked: &Asked) -> Key {
    let side = match side {
        Side::Initiator => b"i",
        Side::Responder => b"r",
    };
    let numbers = [asked.attempt, asked.at.received, asked.at.committed].map(u64::to_be_bytes);
    let parts: [&[u8]; 4] = [side, link.as_bytes(), asked.id.as_bytes(), numbers.as_flattened()];
    kdf::derive(ticket, "proof", &parts)
}

fn next(ticket: &Key, link: &Key) -> Key {
    kdf::derive(ticket, "next", &[link.as_bytes()])
}

/// What one side says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) id: SessionId,
    pub(super) attempt: u64,
    pub(super) at: Positions,
}

/// The ticket of the side that dials.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) key: Key,
    attempt: u64,
}

impl Ticket {
    /// The first one: `export` is what the first session gave.
    pub(super) const fn new(export: Key) -> Self {
        Self { key: export, attempt: 0 }
    }

    /// What a process before this one had.
    pub(super) fn of_disk(keys: &Keys) -> Self {
        Self { key: keys.current.clone(), attempt: keys.attempt }
    }

    /// What the next process needs.
    pub(super) fn keys(&self) -> Keys {
        Keys { current: self.key.clone(), successor: None, attempt: self.attempt }
    }

    /// Asks to go on over the session that gave `link`.
    pub(super) fn ask(&mut self, id: SessionId, at: Positions, link: &Key) -> (Asked, [u8; 32]) {
        self.attempt += 1;
        let asked = Asked { id, attempt: self.attempt, at };
        (asked, *proof(&self.key, Side::Initiator, link, &asked).as_bytes())
    }

    /// The peer accepted: false if that was not the peer. From now on the next ticket counts.
    pub(super) fn accepted(
        &mut self,
        asked: &Asked,
        at: Positions,
        link: &Key,
        theirs: [u8; 32],
    ) -> bool {
        let answer = Asked { at, ..*asked };
        if asked.attempt != self.attempt
            || proof(&self.key, Side::Responder, link, &answer) != Key::from_bytes(theirs)
        {
            return false;
        }
        self.key = next(&self.key, link);
        true
    }
}

/// The tickets that the side that is dialled takes.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) current: Key,
    /// Counts as soon as it is used; until then the one before may be all that the peer has.
    pub(super) successor: Option<Key>,
    /// The highest so far: each is good once.
    pub(super) attempt: u64,
}

impl Holder {
    /// The first one: `export` is what the first session gave.
    pub(super) const fn new(export: Key) -> Self {
        Self { current: export, successor: None, attempt: 0 }
    }

    /// What a process before this one had.
    pub(super) fn of_disk(keys: &Keys) -> Self {
        let Keys { current, successor, attempt } = keys.clone();
        Self { current, successor, attempt }
    }

    /// What the next process needs, before the peer hears that its attempt was accepted.
    pub(super) fn keys(&self) -> Keys {
        let Self { current, successor, attempt } = self.clone();
        Keys { current, successor, attempt }
    }

    /// Whether the peer may go on: then `answer` gives its proof. Changes nothing if not.
    pub(super) fn check(
        &mut self,
        asked: &Asked,
        link: &Key,
        theirs: [u8; 32],
    ) -> Option<Accepted> {
        let theirs = Key::from_bytes(theirs);
        let is_known = |key: &&Key| proof(key, Side::Initiator, link, asked) == theirs;
        let ticket = [Some(&self.current), self.successor.as_ref()];
        let ticket = ticket.into_iter().flatten().find(is_known)?.clone();
        // What was sent before, and comes late or again.
        if asked.attempt <= self.attempt {
            return None;
        }
        self.attempt = asked.attempt;
        self.successor = Some(next(&ticket, link));
        self.current = ticket.clone();
        Some(Accepted { ticket, asked: *asked })
    }

    /// The peer sent something after the answer: it has the successor.
    pub(super) fn used(&mut self) {
        if let Some(successor) = self.successor.take() {
            self.current = successor;
        }
    }
}

/// A resumption that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    ticket: Key,
    asked: Asked,
}

impl Accepted {
    /// The proof that goes with the answer `at`.
    pub(super) fn answer(&self, at: Positions, link: &Key) -> [u8; 32] {
        let answer = Asked { at, ..self.asked };
        *proof(&self.ticket, Side::Responder, link, &answer).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; 32])
    }

    const AT: Positions = Positions { received: 3, committed: 2 };

    fn id() -> SessionId {
        SessionId::from_bytes([1; 8])
    }

    #[test]
    fn each_ticket_is_good_until_its_successor_was_used() {
        let (mut ticket, mut holder) = (Ticket::new(key(1)), Holder::new(key(1)));
        // The answers are lost: the first ticket stays good.
        for link in 2..5 {
            let (asked, proof) = ticket.ask(id(), AT, &key(link));
            assert!(holder.check(&asked, &key(link), proof).is_some());
        }
        let (asked, proof) = ticket.ask(id(), AT, &key(6));
        let accepted = holder.check(&asked, &key(6), proof).unwrap();
        let first = ticket.clone();
        assert!(ticket.accepted(&asked, AT, &key(6), accepted.answer(AT, &key(6))));
        // The peer may die here, with either.
        let mut before = (first, holder.clone());
        let (asked, proof) = before.0.ask(id(), AT, &key(7));
        assert!(before.1.check(&asked, &key(7), proof).is_some());
        let (asked, proof) = ticket.ask(id(), AT, &key(7));
        assert!(holder.clone().check(&asked, &key(7), proof).is_some());
        holder.used();
        let (asked, proof) = before.0.ask(id(), AT, &key(8));
        assert!(holder.check(&asked, &key(8), proof).is_none());
        let (asked, proof) = ticket.ask(id(), AT, &key(8));
        assert!(holder.check(&asked, &key(8), proof).is_some());
    }

    #[test]
    fn a_proof_is_good_once_and_for_what_it_says() {
        let (mut ticket, mut holder) = (Ticket::new(key(1)), Holder::new(key(1)));
        let (asked, proof) = ticket.ask(id(), AT, &key(2));
        let others = [
            Asked { attempt: 9, ..asked },
            Asked { at: Positions { received: 4, ..AT }, ..asked },
            Asked { id: SessionId::from_bytes([2; 8]), ..asked },
        ];
        for other in others {
            assert!(holder.check(&other, &key(2), proof).is_none());
        }
        assert!(holder.check(&asked, &key(3), proof).is_none(), "of another session");
        assert!(holder.check(&asked, &key(2), proof).is_some());
        assert!(holder.check(&asked, &key(2), proof).is_none(), "again");
        // What one side proved proves nothing of the other.
        assert!(!ticket.accepted(&asked, AT, &key(2), proof));
    }
}
