//! The key schedule: from a Noise transcript to the keys of packets (docs/protocol.md, KEY-3 to KEY-6).

use stc::{Key, aead::Suite, kdf};

/// The secrets of one level, one for each direction (KEY-3).
#[derive(Clone)]
pub(crate) struct LevelSecrets {
    pub(crate) suite: Suite,
    pub(crate) initiator: Key,
    pub(crate) responder: Key,
}

/// What a Noise transcript has come to: the two halves of a split, and the handshake hash.
///
/// Both go into every key (KEY-4). The hash alone is known to everyone who holds the seed, the split alone
/// would not bind the messages.
pub(crate) struct Transcript {
    pub(crate) split: [Key; 2],
    pub(crate) hash: [u8; 32],
}

/// Cipher of Initial packets, before there is a choice.
pub(crate) const INITIAL_SUITE: Suite = Suite::Aes256Gcm;

impl LevelSecrets {
    pub(super) fn new(root: &Key, suite: Suite) -> Self {
        let side = |label| kdf::derive(root, label, &[&[suite.id()]]);
        Self {
            suite,
            initiator: side("stt/1 secret initiator"),
            responder: side("stt/1 secret responder"),
        }
    }

    /// The secrets of Initial packets, from the seed and the first connection id.
    pub(crate) fn initial(seed_initial: &Key, connection_id: &[u8]) -> Self {
        let root = kdf::derive(seed_initial, "stt/1 level initial", &[connection_id]);
        Self::new(&root, INITIAL_SUITE)
    }

    /// The secrets that follow them at a key update (KEY-6), into which a renewal goes or none (KEY-7).
    pub(crate) fn next(&self, fresh: Option<&Key>) -> Self {
        let suite = [self.suite.id()];
        let next = |secret| match fresh {
            None => kdf::derive(secret, "stt/1 key update", &[&suite]),
            Some(fresh) => kdf::derive(secret, "stt/1 key update", &[&suite, fresh.as_bytes()]),
        };
        Self {
            suite: self.suite,
            initiator: next(&self.initiator),
            responder: next(&self.responder),
        }
    }
}

impl Transcript {
    pub(super) fn root(&self, label: &str, suite: Suite) -> Key {
        let [first, second] = &self.split;
        kdf::derive(first, label, &[second.as_bytes(), &self.hash, &[suite.id()]])
    }

    /// The secrets of Handshake packets, and the responder's confirmation, after message 2.
    pub(crate) fn handshake(&self, suite: Suite) -> (LevelSecrets, Key) {
        let root = self.root("stt/1 level handshake", suite);
        let confirm = kdf::derive(&root, "stt/1 confirm", &[]);
        (LevelSecrets::new(&root, suite), confirm)
    }

    /// The secrets of a session, after message 3.
    pub(crate) fn session(&self, suite: Suite) -> SessionSecrets {
        let root = self.root("stt/1 level session", suite);
        SessionSecrets {
            packets: LevelSecrets::new(&root, suite),
            final_confirm: kdf::derive(&root, "stt/1 final", &[]),
            exporter: kdf::derive(&root, "stt/1 exporter", &[]),
            session_id: kdf::derive(&root, "stt/1 session id", &[]),
        }
    }
}

/// What both sides hold at the end of a handshake (KEY-5).
pub(crate) struct SessionSecrets {
    pub(crate) packets: LevelSecrets,
    /// The responder's FINAL record.
    pub(crate) final_confirm: Key,
    /// Root of everything that applications derive from a session.
    pub(crate) exporter: Key,
    /// Its first 8 bytes name the session.
    pub(crate) session_id: Key,
}
