//! Who does not get in learns nothing, so the side that turned it away has to tell its operator why: a
//! wrong seed, a wrong clock, a recording and another version, each in a sentence of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, ChildStderr, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use crate::common::{home, stt};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use stc::{Key, kdf, random};

/// A receiver as a person runs it.
struct Receiver {
    process: Child,
    address: SocketAddr,
    says: Lines<BufReader<ChildStderr>>,
}

impl Receiver {
    fn start(home: &Path) -> Self {
        let mut process = stt()
            .args(["receive", "--listen", "127.0.0.1:0", "--seed-file"])
            .arg(home.join("seed"))
            .arg("--dir")
            .arg(home.join("in"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = says.next().unwrap().unwrap();
        let address = listening.strip_prefix("Listening on ").unwrap().split(' ').next().unwrap();
        Self { address: address.parse().unwrap(), process, says }
    }

    /// Whom it turned away for the first time, and why.
    fn turned_away(&mut self) -> String {
        let line = self.says.next().unwrap().unwrap();
        assert!(line.starts_with("Turned away "), "{line}");
        line
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ping(home: &Path, to: SocketAddr) -> Output {
    stt()
        .args(["ping", &to.to_string(), "-c", "1", "--timeout", "2", "--seed-file"])
        .arg(home.join("seed"))
        .output()
        .unwrap()
}

/// A first packet with a genuine knock of that time, and noise for the rest. Made from the words of
/// docs/protocol.md alone: KEY-2, KNOCK-1, KNOCK-2, MASK-2.
fn first_packet(seed: &Key, version: u8, time: u64) -> Vec<u8> {
    let knock = kdf::derive(seed, "stt/1 knock", &[]);
    let key = |label| *kdf::derive(&knock, label, &[]).as_bytes();
    let nonce: [u8; 8] = random::bytes().unwrap();
    let mask = blake3::keyed_hash(&key("stt/1 knock mask"), &nonce);
    let time = u32::try_from(time).unwrap().to_be_bytes();
    let time = time.iter().zip(mask.as_bytes()).map(|(time, mask)| time ^ mask);
    let mut knock: Vec<u8> = nonce.into_iter().chain(time).collect();
    let mac = blake3::keyed_hash(&key("stt/1 knock mac"), &knock);
    knock.extend(&mac.as_bytes()[..8]);

    // Length, then an Initial packet (RFC 9000, section 17.2.2) of 1,200 bytes.
    let mut masked = 1_200_u16.to_be_bytes().to_vec();
    masked.extend([0xc3, b'S', b'T', b'T', version, 20]);
    masked.extend(knock);
    masked.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x44, 0x89]);
    masked.extend(vec![7; 2 + 1_200 - 16 - masked.len()]);
    let sample: [u8; 16] = random::bytes().unwrap();
    let key = kdf::derive(seed, "stt/1 mask long", &[]);
    let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_256, key.as_bytes()).unwrap()).unwrap();
    key.less_safe_encrypt(&mut masked, EncryptionContext::Iv128(sample.into())).unwrap();
    masked.extend(sample);
    masked
}

/// Forwards datagrams between one client and a node, and keeps what goes to the node.
fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let recorded = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let kept = Arc::clone(&recorded);
    // It ends with the process.
    thread::spawn(move || {
        let (mut buffer, mut client) = ([0; 65_536], None);
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            if from == to {
                client.map(|client| socket.send_to(datagram, client));
            } else {
                client = Some(from);
                kept.lock().unwrap().push(datagram.to_vec());
                let _ = socket.send_to(datagram, to);
            }
        }
    });
    (address, recorded)
}

#[test]
fn each_reason_has_a_sentence_of_its_own() {
    let (home, other) = (home(), home());
    let mut receiver = Receiver::start(home.path());
    let seed = Key::parse(fs::read_to_string(home.path().join("seed")).unwrap().trim()).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();

    // A wrong seed. The side that has it is told all that it may be.
    let lost = ping(other.path(), receiver.address);
    assert_eq!(lost.status.code(), Some(1));
    let explained = String::from_utf8(lost.stderr).unwrap();
    for words in ["wrong seed", "wrong clock", "another version", "firewall", "turned away"] {
        assert!(explained.contains(words), "{words:?} is not in\n{explained}");
    }
    let wrong_seed = receiver.turned_away();
    assert!(wrong_seed.contains("a peer with another seed"), "{wrong_seed}");

    // A clock that is ten minutes off.
    let send = |receiver: &Receiver, datagram: &[u8]| {
        stranger.send_to(datagram, receiver.address).unwrap();
    };
    send(&receiver, &first_packet(&seed, 1, now - 600));
    let wrong_clock = receiver.turned_away();
    assert!(wrong_clock.contains("clock and this one differ"), "{wrong_clock}");

    // One that is off by less, right after the start: it may be a recording.
    send(&receiver, &first_packet(&seed, 1, now - 60));
    let before = receiver.turned_away();
    assert!(before.contains("before its start"), "{before}");

    // A recording.
    let (path, recorded) = relay(receiver.address);
    let found = ping(home.path(), path);
    assert!(found.status.success(), "{found:?}");
    let first_flight = recorded.lock().unwrap()[0].clone();
    send(&receiver, &first_flight);
    let replay = receiver.turned_away();
    assert!(replay.contains("was used before"), "{replay}");

    // Another version of the wire.
    send(&receiver, &first_packet(&seed, 2, now));
    let version = receiver.turned_away();
    assert!(version.contains("another version of the wire"), "{version}");

    let mut sentences = [wrong_seed, wrong_clock, before, replay, version];
    sentences.sort_unstable();
    assert!(sentences.windows(2).all(|two| two[0] != two[1]), "{sentences:?}");
    // It has read all of it, and said what it thinks to its operator only.
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(stranger.recv(&mut [0; 1]).is_err(), "nobody got an answer");
}
