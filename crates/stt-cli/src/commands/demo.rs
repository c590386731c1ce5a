//! `stt demo`: two nodes on this machine, a real file between them, and the proof.
//!
//! The nodes are processes of their own: this program as `stt receive` and as `stt send`. Nothing
//! here knows more than what they print, except for the two files, which it compares itself, and for
//! the stranger's knocks, which it sends itself.

use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
};

use clap::Args;
use serde_json::{Value, json};
use stc::Key;

use crate::{
    demo::{child::Child, stranger},
    error::CliError,
    figures,
    output::Output,
    private_file, progress, signals,
};

/// Bytes of the file that is made when none is given.
const GENERATED: u64 = 256 << 20;

#[derive(Args)]
pub(crate) struct DemoCommand {
    /// The file to send. [default: a random one of 256 MiB]
    file: Option<PathBuf>,
}

/// What the demonstration found.
struct Proof {
    name: String,
    bytes: u64,
    hash: blake3::Hash,
    sender: String,
    receiver: String,
    session: String,
    handshake_ms: f64,
    round_trip_ms: f64,
    seconds: f64,
    megabytes_per_second: f64,
    datagrams: u64,
    lost: u64,
    knocks: stranger::Knocks,
}

impl DemoCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        // Told of a signal, it removes its directory and ends its nodes.
        let _hold = signals::hold();
        let home = tempfile::tempdir()
            .map_err(|error| CliError::new("demo.directory", format!("no directory: {error}")))?;
        let file = match self.file {
            Some(file) => file,
            None => generate(&home.path().join("demo.bin"), output)?,
        };
        let seed = home.path().join("seed");
        let key = Key::generate().map_err(|error| CliError::doing("no seed was made", &error))?;
        private_file::create(&seed, key.to_printable().as_bytes())?;

        let proof = demonstrate(&file, home.path(), &seed, output).map_err(|error| {
            // Ctrl-C reaches the nodes too, and what they say of it is not the cause.
            if signals::seen() { CliError::interrupted("the demonstration") } else { error }
        })?;
        show(&proof, output);
        if proof.knocks.answered_bytes > 0 {
            let bytes = proof.knocks.answered_bytes;
            return Err(CliError::new("demo.answered", format!("a stranger got {bytes} bytes")));
        }
        Ok(())
    }
}

/// Lets the two processes run and checks what they did.
fn demonstrate(file: &Path, home: &Path, seed: &Path, output: &Output) -> Result<Proof, CliError> {
    let inbox = home.join("received");
    let mut receiver = Child::start("receiver", seed, |command| {
        command.args(["receive", "--listen", "127.0.0.1:0", "--once", "--dir"]).arg(&inbox);
    })?;
    let listening = receiver.wait_for("listening", |_| {})?;
    let address = text(&listening, "address")?;
    let knocked: SocketAddr = address.parse().map_err(|_| missing("address"))?;

    let before = stranger::knock(knocked)?;
    let mut sender = Child::start("sender", seed, |command| {
        command.arg("send").arg(file).args(["--to", &address]);
    })?;
    let connected = sender.wait_for("connected", |_| {})?;
    // A session is alive now, so there is more to find out.
    let knocking = thread::spawn(move || stranger::knock(knocked));

    let total = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let bar = progress::bar(output, Some(total));
    bar.set_message("sending ");
    let sent = sender.wait_for("sent", |line| {
        let done = line.get("progress").and_then(|step| step.get("done")?.as_u64());
        if let Some(done) = done {
            bar.set_position(done);
            output.json_line(line);
        }
    })?;
    bar.finish_and_clear();
    let received = receiver.wait_for("received", |_| {})?;
    sender.finish()?;
    receiver.finish()?;
    let during =
        knocking.join().unwrap_or_else(|_| Err(CliError::new("demo.knock", "nobody knocked")))?;

    let hash = hash_of(file)?;
    let path = PathBuf::from(text(&received, "path")?);
    if hash_of(&path)? != hash {
        return Err(CliError::new(
            "demo.differs",
            "the received file is not the one that was sent",
        ));
    }
    let session = sent.get("session").ok_or_else(|| missing("session"))?;
    let peer = received.get("session").ok_or_else(|| missing("session"))?;
    let id = text(session, "session_id")?;
    if id != text(peer, "session_id")? {
        return Err(CliError::new("demo.session", "the two nodes name different sessions"));
    }
    Ok(Proof {
        name: text(&received, "name")?,
        bytes: number(&sent, "bytes")?,
        hash,
        sender: text(&connected, "node_id")?,
        receiver: text(&listening, "node_id")?,
        session: id,
        handshake_ms: float(session, "handshake_ms")?,
        round_trip_ms: float(session, "round_trip_ms")?,
        seconds: float(&sent, "seconds")?,
        megabytes_per_second: float(&sent, "megabytes_per_second")?,
        datagrams: number(session, "datagrams_sent")?,
        lost: number(session, "packets_lost")?,
        knocks: before.and(during),
    })
}

fn show(proof: &Proof, output: &Output) {
    let knocks = &proof.knocks;
    let text = format!(
        "\
file           {name}, {bytes}
blake3         {hash}
               the same on both sides
session        {session}
sender         {sender}
receiver       {receiver}
handshake      {handshake:.2} ms
throughput     {speed} ({seconds:.2} s)
round trip     {round_trip:.2} ms
datagrams      {datagrams} sent, {lost} lost
a stranger     sent {knock_count} datagrams ({knock_bytes}) to the port and got {answered} bytes back",
        name = proof.name,
        bytes = figures::bytes(proof.bytes),
        hash = proof.hash,
        session = proof.session,
        sender = proof.sender,
        receiver = proof.receiver,
        handshake = proof.handshake_ms,
        speed = figures::speed(proof.megabytes_per_second),
        seconds = proof.seconds,
        round_trip = proof.round_trip_ms,
        datagrams = figures::count(proof.datagrams),
        lost = figures::count(proof.lost),
        knock_count = figures::count(knocks.datagrams),
        knock_bytes = figures::bytes(knocks.bytes),
        answered = knocks.answered_bytes,
    );
    output.result(
        &text,
        &json!({
            "proof": {
                "name": proof.name,
                "bytes": proof.bytes,
                "blake3": proof.hash.to_string(),
                "session_id": proof.session,
                "sender_id": proof.sender,
                "receiver_id": proof.receiver,
                "handshake_ms": proof.handshake_ms,
                "seconds": proof.seconds,
                "megabytes_per_second": proof.megabytes_per_second,
                "round_trip_ms": proof.round_trip_ms,
                "datagrams_sent": proof.datagrams,
                "packets_lost": proof.lost,
                "stranger": {
                    "datagrams": knocks.datagrams,
                    "bytes": knocks.bytes,
                    "answered_bytes": knocks.answered_bytes,
                },
            }
        }),
    );
}

/// Makes a file that nobody has and that does not compress.
fn generate(path: &Path, output: &Output) -> Result<PathBuf, CliError> {
    let failed = |error: io::Error| CliError::file("could not write", path, &error);
    let seed: [u8; 32] =
        stc::random::bytes().map_err(|error| CliError::doing("no file was made", &error))?;
    let mut random = blake3::Hasher::new_keyed(&seed).finalize_xof();
    let mut file = File::create(path).map_err(failed)?;
    let bar = progress::bar(output, Some(GENERATED));
    bar.set_message("making a file ");
    let mut block = vec![0; 1 << 20];
    let mut left = GENERATED;
    while left > 0 {
        if signals::seen() {
            return Err(CliError::interrupted("the demonstration"));
        }
        random.fill(&mut block);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(block.get(..len).unwrap_or_default()).map_err(failed)?;
        left -= u64::try_from(len).unwrap_or(left);
        bar.set_position(GENERATED - left);
    }
    bar.finish_and_clear();
    Ok(path.to_owned())
}

fn hash_of(path: &Path) -> Result<blake3::Hash, CliError> {
    let mut hasher = blake3::Hasher::new();
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(drop))
        .map_err(|error| CliError::file("could not read", path, &error))?;
    Ok(hasher.finalize())
}

fn missing(field: &str) -> CliError {
    CliError::new("demo.words", format!("a node did not say its {field}"))
}

fn text(value: &Value, field: &str) -> Result<String, CliError> {
    value.get(field).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| missing(field))
}

fn number(value: &Value, field: &str) -> Result<u64, CliError> {
    value.get(field).and_then(Value::as_u64).ok_or_else(|| missing(field))
}

fn float(value: &Value, field: &str) -> Result<f64, CliError> {
    value.get(field).and_then(Value::as_f64).ok_or_else(|| missing(field))
}
