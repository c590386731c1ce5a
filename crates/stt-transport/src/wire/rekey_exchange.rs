//! Fresh keys for a session that lives long, from a new key exchange inside of it
//! (docs/protocol.md, KEY-7).
//!
//! `Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s`: both static keys are known since the handshake, so two
//! messages do. What they agree on goes into a later key update, whose number the responder picks
//! far enough ahead that neither side has made those keys already.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use stc::{Key, aead::Suite, kdf};
use tokio::sync::Notify;

use super::{key_schedule::LevelSecrets, noise::Noise};
use crate::identity::Identity;

const NOISE: &str = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
/// Bytes of either message: an ephemeral key and a tag.
pub(crate) const MESSAGE_LEN: usize = 32 + 16;
/// Updates from the newest keys made to those that the exchange goes into. Sides are never more than
/// one apart, and the engine makes keys one ahead.
const AHEAD: u64 = 4;

/// What a renewal is made of, beside chance.
pub(crate) struct Parties {
    pub(crate) identity: Arc<Identity>,
    pub(crate) peer_static: [u8; 32],
    /// Root of everything that the session exports.
    pub(crate) exporter: Key,
    pub(crate) suite: Suite,
    pub(crate) initiator: bool,
    /// The ephemeral key, for vectors.
    #[cfg(test)]
    pub(crate) ephemeral: Option<[u8; 32]>,
}

/// The renewals of one session.
pub struct Renewal {
    parties: Parties,
    psk: Key,
    state: Mutex<State>,
    /// The session is to ask for one.
    due: Notify,
    /// Keys are to be updated until they are fresh.
    agreed: Notify,
    is_under_way: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Generation of the newest keys made: those of the handshake are 0.
    made: u64,
    /// Initiator, between the two messages.
    asked: Option<Noise>,
    /// What goes into the keys of that generation.
    fresh: Option<(u64, Key)>,
    /// Generation of the keys that the last renewal went into.
    goal: u64,
    /// How many there were.
    done: u64,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewal(..)")
    }
}

impl Renewal {
    pub(crate) fn new(parties: Parties) -> Self {
        Self {
            psk: kdf::derive(&parties.exporter, "stt/1 renewal psk", &[]),
            parties,
            state: Mutex::default(),
            due: Notify::new(),
            agreed: Notify::new(),
            is_under_way: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secrets that follow `current` at the next key update, which are made in advance.
    pub(crate) fn next(&self, current: &LevelSecrets) -> LevelSecrets {
        let mut state = self.state();
        state.made += 1;
        let (made, goal) = (state.made, state.goal);
        if made > goal {
            self.is_under_way.store(false, Relaxed);
        }
        let fresh = state.fresh.take_if(|(generation, _)| *generation == made);
        state.done += u64::from(fresh.is_some());
        drop(state);
        current.next(fresh.as_ref().map(|(_, fresh)| fresh))
    }

    /// Generation of the keys in use: how often they were updated.
    #[cfg(any(test, feature = "testing"))]
    pub fn generation(&self) -> u64 {
        self.state().made.saturating_sub(1)
    }

    /// How often fresh keys were made.
    #[cfg(any(test, feature = "testing"))]
    pub fn done(&self) -> u64 {
        self.state().done
    }

    /// Whether this side is the one that asks.
    pub const fn is_ours(&self) -> bool {
        self.parties.initiator
    }

    /// Whether one was agreed on whose keys are not in use yet.
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Relaxed)
    }

    /// Has the session ask for one.
    pub(crate) fn want(&self) {
        self.due.notify_one();
    }

    /// Waits until it is time for this side to [`ask`](Self::ask): every twelve hours.
    pub async fn due(&self) {
        self.due.notified().await;
    }

    /// Waits until one was agreed on.
    pub(crate) async fn agreed(&self) {
        self.agreed.notified().await;
    }

    /// Initiator: the message that asks. `None` while another one waits for its answer or is under
    /// way.
    pub fn ask(&self) -> Option<Vec<u8>> {
        if !self.parties.initiator || self.is_under_way() || self.state().asked.is_some() {
            return None;
        }
        let mut noise = self.noise()?;
        let mut message = vec![0; MESSAGE_LEN];
        let length = noise.write_message(&[], &mut message).ok()?;
        message.truncate(length);
        self.state().asked = Some(noise);
        Some(message)
    }

    /// Responder: what answers the message that asks: the generation (8), and message 2.
    ///
    /// # Errors
    /// The rule that the peer broke.
    pub fn answer(&self, asked: &[u8]) -> Result<Vec<u8>, &'static str> {
        if self.parties.initiator {
            return Err("a renewal was asked for by the side that answers");
        }
        if self.is_under_way() {
            return Err("a renewal was asked for while one was under way");
        }
        let mut noise = self.noise().ok_or("no keys could be made")?;
        read(&mut noise, asked)?;
        let mut message = vec![0; MESSAGE_LEN];
        let length = noise.write_message(&[], &mut message).map_err(|_| "no keys could be made")?;
        message.truncate(length);
        let fresh = self.fresh(&mut noise)?;
        let mut state = self.state();
        let generation = state.made + AHEAD;
        self.agree(&mut state, generation, fresh);
        Ok([generation.to_be_bytes().as_slice(), &message].concat())
    }

    /// Initiator: takes what answered [`Self::ask`].
    ///
    /// # Errors
    /// The rule that the peer broke.
    pub fn take_answer(&self, answer: &[u8]) -> Result<(), &'static str> {
        let (generation, message) =
            answer.split_first_chunk::<8>().ok_or("a renewal's record is cut")?;
        let generation = u64::from_be_bytes(*generation);
        let mut state = self.state();
        let mut noise = state.asked.take().ok_or("a renewal that nobody asked for")?;
        read(&mut noise, message)?;
        let fresh = self.fresh(&mut noise)?;
        // Further ahead than that it can't be: sides are one apart at most when it is sent.
        if generation <= state.made || generation - state.made > AHEAD + 2 {
            return Err("a renewal of keys that are made already, or never will be");
        }
        self.agree(&mut state, generation, fresh);
        drop(state);
        self.agreed.notify_one();
        Ok(())
    }

    fn agree(&self, state: &mut State, generation: u64, fresh: Key) {
        state.fresh = Some((generation, fresh));
        state.goal = generation;
        self.is_under_way.store(true, Relaxed);
    }

    fn noise(&self) -> Option<Noise> {
        let Parties { identity, peer_static, initiator, .. } = &self.parties;
        let own = identity.static_key();
        let noise = Noise::new(NOISE, Some(own), |builder| {
            let builder = builder
                .local_private_key(own.secret().as_bytes())?
                .remote_public_key(peer_static)?
                .psk(0, self.psk.as_bytes())?
                .prologue(b"stt/1 renewal")?;
            #[cfg(test)]
            let builder = match &self.parties.ephemeral {
                Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
                None => builder,
            };
            if *initiator { builder.build_initiator() } else { builder.build_responder() }
        });
        noise.ok()
    }

    fn fresh(&self, noise: &mut Noise) -> Result<Key, &'static str> {
        let transcript = noise.transcript().ok_or("no keys could be made")?;
        Ok(transcript.root("stt/1 renewal", self.parties.suite))
    }
}

#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
impl Renewal {
    fn side(of: &Arc<Identity>, peer: &Arc<Identity>, exporter: u8, initiator: bool) -> Self {
        Self::new(Parties {
            identity: Arc::clone(of),
            peer_static: *peer.static_key().public(),
            exporter: Key::from_bytes([exporter; 32]),
            suite: Suite::Aes256Gcm,
            initiator,
            #[cfg(test)]
            ephemeral: None,
        })
    }

    /// The renewals of both sides of a session: the same session each time.
    #[must_use]
    pub fn sides() -> (Self, Self) {
        let identity = |byte| Arc::new(Identity::from_key(&Key::from_bytes([byte; 32])).unwrap());
        let (alice, bob) = (identity(1), identity(2));
        (Self::side(&alice, &bob, 3, true), Self::side(&bob, &alice, 3, false))
    }

    /// Updates keys until those that the last renewal went into are in use.
    pub fn catch_up(&self) {
        let key = |byte| Key::from_bytes([byte; 32]);
        let secrets =
            LevelSecrets { suite: Suite::Aes256Gcm, initiator: key(5), responder: key(6) };
        while self.is_under_way() {
            self.next(&secrets);
        }
    }
}

/// Takes a message in, which carries nothing but keys.
fn read(noise: &mut Noise, message: &[u8]) -> Result<(), &'static str> {
    if message.len() != MESSAGE_LEN {
        return Err("a renewal's record is cut");
    }
    let read = noise.read_message(message, &mut [0; MESSAGE_LEN]);
    read.map(drop).map_err(|_| "a renewal did not verify")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(byte: u8) -> Arc<Identity> {
        Arc::new(Identity::from_key(&Key::from_bytes([byte; 32])).unwrap())
    }

    fn secrets(byte: u8) -> LevelSecrets {
        LevelSecrets {
            suite: Suite::Aes256Gcm,
            initiator: Key::from_bytes([byte; 32]),
            responder: Key::from_bytes([byte + 1; 32]),
        }
    }

    #[test]
    fn both_sides_make_the_same_keys_and_nobody_can_who_knows_only_the_old_ones() {
        let (alice, bob) = Renewal::sides();
        let mut keys = [secrets(5), secrets(5)];
        // Who stole the keys of the session, and everything that follows from them alone.
        let mut stolen = secrets(5);
        for generation in 1..20 {
            if generation == 4 {
                let ask = alice.ask().unwrap();
                alice.take_answer(&bob.answer(&ask).unwrap()).unwrap();
            }
            keys = [alice.next(&keys[0]), bob.next(&keys[1])];
            stolen = stolen.next(None);
            assert!(keys[0].initiator == keys[1].initiator);
            assert!(keys[0].responder == keys[1].responder);
            let healed = generation >= 3 + AHEAD;
            assert_eq!(stolen.initiator != keys[0].initiator, healed, "{generation}");
            assert_eq!(stolen.responder != keys[0].responder, healed, "{generation}");
            assert_eq!(alice.is_under_way(), (4..=3 + AHEAD).contains(&generation));
        }
        assert_eq!((alice.done(), bob.done()), (1, 1));
        assert_eq!((alice.generation(), bob.generation()), (18, 18));
    }

    #[test]
    fn who_has_the_sessions_keys_and_no_static_key_cannot_answer() {
        let (alice, bob) = Renewal::sides();
        let mallory = Renewal::side(&identity(9), &identity(1), 3, false);
        let ask = alice.ask().unwrap();
        assert_eq!(mallory.answer(&ask), Err("a renewal did not verify"));
        // Nor does an honest answer fit into another session.
        let other = Renewal::side(&identity(2), &identity(1), 4, false);
        assert_eq!(other.answer(&ask), Err("a renewal did not verify"));
        let mut answer = bob.answer(&ask).unwrap();
        *answer.last_mut().unwrap() ^= 1;
        assert_eq!(alice.take_answer(&answer), Err("a renewal did not verify"));
    }

    #[test]
    fn what_is_out_of_turn_is_refused() {
        let (alice, bob) = Renewal::sides();
        assert_eq!(bob.ask(), None);
        assert!(alice.answer(&[0; MESSAGE_LEN]).is_err());
        assert!(alice.take_answer(&[0; 8 + MESSAGE_LEN]).is_err());
        let ask = alice.ask().unwrap();
        assert_eq!(alice.ask(), None, "one at a time");
        assert!(bob.answer(&ask[1..]).is_err());
        let answer = bob.answer(&ask).unwrap();
        assert_eq!(bob.answer(&ask), Err("a renewal was asked for while one was under way"));
        // Made in the meantime: it would be too late, and the two sides would part.
        let mut keys = secrets(5);
        for _ in 0..AHEAD {
            keys = alice.next(&keys);
        }
        assert!(alice.take_answer(&answer).is_err());
    }
}
