//! The commands that use a network, as a person runs them: processes, files, exit codes, words.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Output, Stdio},
};

use serde_json::Value;

use crate::common::{home, stt};

/// A receiver that runs, and is ended with this.
struct Receiver {
    process: Child,
    address: String,
    websocket: Option<String>,
    node_id: String,
    /// All that it told first.
    told: Value,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Receiver {
    fn start(home: &Path, more: &[&str]) -> Self {
        Self::at(home, "127.0.0.1:0", more)
    }

    fn at(home: &Path, listen: &str, more: &[&str]) -> Self {
        let mut process = stt()
            .args(["receive", "--listen", listen, "--json", "--seed-file"])
            .arg(home.join("seed"))
            .arg("--dir")
            .arg(home.join("in"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let field = |name: &str| line["listening"][name].as_str().map(str::to_owned);
        let (address, node_id) = (field("address").unwrap(), field("node_id").unwrap());
        let (websocket, told) = (field("websocket"), line["listening"].clone());
        Self { address, websocket, node_id, told, process, lines }
    }

    /// What it says under `key` next.
    fn wait_for(&mut self, key: &str) -> Value {
        loop {
            let mut line: Value =
                serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            if let Some(value) = line.get_mut(key) {
                return value.take();
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(home: &Path, file: &Path, to: &str, more: &[&str]) -> Output {
    stt()
        .arg("send")
        .arg(file)
        .args(["--to", to, "--seed-file"])
        .arg(home.join("seed"))
        .args(more)
        .output()
        .unwrap()
}

/// The error on a line of JSON.
fn error(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    line["error"].take()
}

#[test]
fn the_demonstration_proves_itself_with_a_file_of_ones_own() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("some file.bin");
    fs::write(&file, vec![7; 3_000_000]).unwrap();
    let shown = stt().arg("demo").arg(&file).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    for words in [
        "some file.bin, 3.00 MB",
        blake3::hash(&[7; 3_000_000]).to_hex().as_str(),
        "session  ",
        "sender  ",
        "receiver  ",
        "handshake  ",
        "MB/s",
        "round trip  ",
        "0 lost",
        "and got 0 bytes back",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
}

#[test]
fn a_seed_file_is_private_and_never_overwritten() {
    let home = home();
    let path = home.path().join("seed");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let before = fs::read(&path).unwrap();
    let again = stt().args(["--json", "seed", "new", "--out"]).arg(&path).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(error(&again)["code"], "file.exists");
    assert_eq!(fs::read(&path).unwrap(), before);

    let printed = stt().args(["seed", "new"]).output().unwrap();
    let seed = String::from_utf8(printed.stdout).unwrap();
    assert!(stc::Key::parse(&seed).is_ok(), "{seed}");
    let shown = stt().args(["seed", "new", "--qr"]).output().unwrap();
    assert!(String::from_utf8(shown.stderr).unwrap().contains('█'));
}

#[test]
fn files_go_from_process_to_process_and_are_not_overwritten() {
    let home = home();
    let mut receiver = Receiver::start(home.path(), &[]);
    let file = home.path().join("report.txt");
    fs::write(&file, b"all is well").unwrap();

    let peer = receiver.node_id.clone();
    let sent = send(home.path(), &file, &receiver.address, &["--peer", &peer]);
    assert!(sent.status.success(), "{sent:?}");
    assert!(String::from_utf8(sent.stderr).unwrap().contains("The receiver has verified it."));
    let received = receiver.wait_for("received");
    assert_eq!(received["name"], "report.txt");
    assert_eq!(received["blake3"], blake3::hash(b"all is well").to_hex().as_str());
    assert_eq!(fs::read(home.path().join("in/report.txt")).unwrap(), b"all is well");

    let again = send(home.path(), &file, &receiver.address, &["--json"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(error(&again)["code"], "transfer.declined_exists");
    assert_eq!(receiver.wait_for("error")["code"], "transfer.exists");

    let hostile = send(home.path(), &file, &receiver.address, &["--name", "../../up\u{1b}[2J"]);
    assert!(hostile.status.success(), "{hostile:?}");
    assert!(home.path().join("in/up_[2J").exists());
}

#[test]
fn directories_and_several_paths_go_over_one_session() {
    let home = home();
    let mut receiver = Receiver::start(home.path(), &[]);
    let (photos, file) = (home.path().join("photos"), home.path().join("a.txt"));
    fs::create_dir_all(photos.join("2026")).unwrap();
    fs::write(photos.join("2026/cat.jpg"), b"meow").unwrap();
    fs::write(&file, b"all is well").unwrap();
    let also = file.to_str().unwrap();
    let sent = send(home.path(), &photos, &receiver.address, &[also]);
    assert!(sent.status.success(), "{sent:?}");
    let first = receiver.wait_for("received");
    assert_eq!((&first["name"], &first["files"]), (&"photos".into(), &1.into()));
    assert_eq!(receiver.wait_for("received")["name"], "a.txt");
    let inbox = home.path().join("in");
    assert_eq!(fs::read(inbox.join("photos/2026/cat.jpg")).unwrap(), b"meow");
    assert_eq!(fs::read(inbox.join("a.txt")).unwrap(), b"all is well");

    // What is there already keeps nothing else from going.
    fs::remove_file(inbox.join("a.txt")).unwrap();
    let again = send(home.path(), &photos, &receiver.address, &[also, "--json"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(error(&again)["code"], "transfer.declined_exists");
    assert_eq!(fs::read(inbox.join("a.txt")).unwrap(), b"all is well");
    assert_eq!(fs::read_dir(&inbox).unwrap().count(), 2);
}

/// For networks that let no UDP through.
#[test]
fn a_file_crosses_a_websocket() {
    let home = home();
    let file = home.path().join("report.txt");
    fs::write(&file, b"all is well").unwrap();
    let mut receiver = Receiver::start(home.path(), &["--websocket"]);
    let websocket = receiver.websocket.clone().unwrap();
    assert_eq!(websocket, format!("ws://{}", receiver.address), "the same number");
    let sent = send(home.path(), &file, &websocket, &[]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(receiver.wait_for("received")["name"], "report.txt");

    let mut elsewhere = Receiver::start(home.path(), &["--websocket=127.0.0.1:0", "--overwrite"]);
    let sent = send(home.path(), &file, elsewhere.websocket.as_ref().unwrap(), &[]);
    assert!(sent.status.success(), "{sent:?}");
    elsewhere.wait_for("received");
    assert_eq!(Receiver::start(home.path(), &[]).websocket, None, "only when it is wanted");

    let named = stt()
        .args(["receive", "--listen", "localhost:0", "--websocket", "--json", "--seed-file"])
        .arg(home.path().join("seed"))
        .output()
        .unwrap();
    assert_eq!(error(&named)["code"], "usage.listen");
}

#[test]
fn a_transfer_goes_on_after_the_receiver_was_killed() {
    let home = home();
    let file = home.path().join("big.bin");
    let data: Vec<u8> = (0..96u32 << 20).map(|at| at.to_le_bytes()[2]).collect();
    fs::write(&file, &data).unwrap();

    let mut receiver = Receiver::start(home.path(), &[]);
    let address = receiver.address.clone();
    let sending = {
        let (home, file) = (home.path().to_owned(), file.clone());
        std::thread::spawn(move || send(&home, &file, &address, &["--json"]))
    };
    while receiver.wait_for("progress")["done"].as_u64().unwrap() < 1 << 20 {}
    drop(receiver);
    let part = fs::read_dir(home.path().join("in")).unwrap().next().unwrap().unwrap();
    assert!(part.file_name().to_str().unwrap().ends_with(".part"));
    // A sender whose receiver was killed waits for its idle timeout; nobody needs to see that here.
    drop(sending);

    let mut receiver = Receiver::start(home.path(), &["--once"]);
    let sent = send(home.path(), &file, &receiver.address, &["--json"]);
    assert!(sent.status.success(), "{sent:?}");
    let received = receiver.wait_for("received");
    assert!(received["resumed_at"].as_u64().unwrap() >= 1 << 20, "{received}");
    assert!(receiver.process.wait().unwrap().success());
    assert!(fs::read(home.path().join("in/big.bin")).unwrap() == data);
}

/// Sends a signal to a process.
#[cfg(unix)]
fn signal(process: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
}

/// A file that takes a while.
#[cfg(unix)]
fn long_file(home: &Path) -> std::path::PathBuf {
    let file = home.join("long.bin");
    fs::File::create(&file).unwrap().set_len(600 << 20).unwrap();
    file
}

#[cfg(unix)]
#[test]
fn a_receiver_that_is_told_to_end_tells_its_senders() {
    let home = home();
    let file = long_file(home.path());
    let mut receiver = Receiver::start(home.path(), &[]);
    let address = receiver.address.clone();
    let sending = {
        let home = home.path().to_owned();
        std::thread::spawn(move || send(&home, &file, &address, &["--json"]))
    };
    receiver.wait_for("progress");
    signal(&receiver.process, rustix::process::Signal::TERM);
    assert_eq!(receiver.wait_for("cut_off"), 1);
    let sent = sending.join().unwrap();
    assert_eq!(error(&sent)["code"], "stream.session_ended", "{sent:?}");
    assert!(receiver.process.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn an_interrupted_sender_does_not_keep_itself_out() {
    use std::os::unix::process::ExitStatusExt;
    let home = home();
    let file = long_file(home.path());
    let receiver = Receiver::start(home.path(), &["--overwrite"]);
    for ending in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let mut sender = stt()
            .args(["send", "--json", "--to", &receiver.address, "--seed-file"])
            .arg(home.path().join("seed"))
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(sender.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("progress") {}
        signal(&sender, ending);
        assert_eq!(sender.wait().unwrap().signal(), Some(ending.as_raw()));
        let again = send(home.path(), &file, &receiver.address, &["--json"]);
        assert!(again.status.success(), "{ending:?}: {again:?}");
    }
}

#[test]
fn ping_counts_what_does_not_come_back() {
    let home = home();
    let mut receiver = Receiver::start(home.path(), &[]);
    let mut ping = stt()
        .args(["ping", &receiver.address, "-c", "3", "-i", "300", "--timeout", "5", "--json"])
        .arg("--seed-file")
        .arg(home.path().join("seed"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(ping.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("\"ping\":1") {}
    receiver.process.kill().unwrap();
    let rest: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(ping.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line["ping"] == 3 && line["ms"].is_null()), "{rest:?}");
    let figures = rest.last().unwrap();
    assert_eq!(figures["asked"], 3);
    assert!(figures["answers"].as_u64().unwrap() < 3, "{figures}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_receiver_whose_directory_takes_no_files_says_so_at_once() {
    let home = home();
    let refused = stt()
        .args(["receive", "--json", "--listen", "127.0.0.1:0", "--dir", "/proc", "--seed-file"])
        .arg(home.path().join("seed"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(error(&refused)["code"].as_str().unwrap().starts_with("file."), "{refused:?}");
}

#[test]
fn a_receiver_tells_what_earlier_transfers_left() {
    let home = home();
    let dir = home.path().join("in");
    fs::create_dir(&dir).unwrap();
    for (digit, age) in [("a", 30), ("b", 1)] {
        let path = dir.join(format!(".stt-{}.part", digit.repeat(32)));
        fs::write(&path, "four").unwrap();
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age * 86_400);
        fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }
    let receiver = Receiver::start(home.path(), &[]);
    let told = &receiver.told;
    assert_eq!((&told["unfinished_files"], &told["removed_files"]), (&1.into(), &1.into()));
    assert_eq!((&told["unfinished_bytes"], &told["removed_bytes"]), (&4.into(), &4.into()));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
}

#[test]
fn a_name_is_reached_at_whichever_of_its_addresses_somebody_listens() {
    use std::net::{SocketAddr, ToSocketAddrs};
    let home = home();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let ip = listen.parse::<SocketAddr>().unwrap().ip();
        let known = ("localhost", 1).to_socket_addrs().unwrap().any(|at| at.ip() == ip);
        if !known || std::net::UdpSocket::bind((ip, 0)).is_err() {
            continue;
        }
        let receiver = Receiver::at(home.path(), listen, &[]);
        let port = receiver.address.rsplit(':').next().unwrap();
        let ping = stt()
            .args(["ping", &format!("localhost:{port}"), "-c", "1", "--json", "--seed-file"])
            .arg(home.path().join("seed"))
            .output()
            .unwrap();
        assert!(ping.status.success(), "{listen}: {ping:?}");
    }
}

#[test]
fn a_seed_that_is_there_can_be_shown_again() {
    let home = home();
    let seed = fs::read_to_string(home.path().join("seed")).unwrap();
    let show = |more: &[&str]| {
        let mut command = stt();
        command.args(["seed", "show", "--seed-file"]).arg(home.path().join("seed")).args(more);
        let shown = command.output().unwrap();
        assert!(shown.status.success(), "{shown:?}");
        String::from_utf8(shown.stdout).unwrap()
    };
    assert_eq!(show(&[]), seed);
    assert!(show(&["--qr"]).contains('█'));
    let told: Value = serde_json::from_str(&show(&["--json"])).unwrap();
    assert_eq!(told["seed"], seed.trim_end());
}

#[test]
fn ping_finds_a_node_and_says_what_may_be_wrong_when_it_does_not() {
    let home = home();
    let receiver = Receiver::start(home.path(), &[]);
    let seed = fs::read_to_string(home.path().join("seed")).unwrap();
    let ping = |seed: &str| {
        stt()
            .args(["ping", &receiver.address, "-c", "3", "-i", "1", "--timeout", "0.5", "--json"])
            .env("STT_SEED", seed)
            .output()
            .unwrap()
    };
    let found = ping(&seed);
    assert!(found.status.success(), "{found:?}");
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains(&receiver.node_id) && text.contains("\"answers\":3"), "{text}");

    let other = stc::Key::generate().unwrap().to_printable();
    let lost = ping(&other);
    assert_eq!(lost.status.code(), Some(1));
    let error = error(&lost);
    assert_eq!(error["code"], "connect.no_answer");
    assert!(error["hint"].as_str().unwrap().contains("wrong seed"), "{error}");
}

#[test]
fn what_is_missing_is_said_plainly() {
    let home = home();
    let file = home.path().join("a");
    fs::write(&file, b"x").unwrap();
    let no_seed = stt().arg("send").arg(&file).args(["--to", "127.0.0.1:9", "--json"]).output();
    let no_seed = no_seed.unwrap();
    assert_eq!(error(&no_seed)["code"], "seed.missing");
    let empty = home.path().join("empty");
    fs::write(&empty, b"\n").unwrap();
    let empty_seed =
        stt().args(["ping", "127.0.0.1:9", "--json", "--seed-file"]).arg(&empty).output();
    assert_eq!(error(&empty_seed.unwrap())["code"], "password.empty");
    let no_file = send(home.path(), &home.path().join("none"), "127.0.0.1:9", &["--json"]);
    assert_eq!(error(&no_file)["code"], "file.not_found");
    #[cfg(unix)]
    {
        let device = send(home.path(), Path::new("/dev/null"), "127.0.0.1:9", &["--json"]);
        assert_eq!(error(&device)["code"], "transfer.not_a_file");
    }
    let more = [file.to_str().unwrap(), "--name", "b", "--json"];
    let one_name = send(home.path(), &file, "127.0.0.1:9", &more);
    assert_eq!(error(&one_name)["code"], "usage.name");
    let bad_address = send(home.path(), &file, "nowhere", &["--json"]);
    assert_eq!(error(&bad_address)["code"], "address.malformed");
    let guessable = stt()
        .args(["ping", "127.0.0.1:9", "--strict-seed", "--json"])
        .env("STT_SEED", "password")
        .output();
    assert_eq!(error(&guessable.unwrap())["code"], "seed.guessable");
    assert_eq!(stt().arg("send").output().unwrap().status.code(), Some(2));
}

/// Who is dropped gets no answer, so the other side has to tell its operator why.
#[test]
fn the_side_that_drops_says_why() {
    let (home, other) = (home(), home());
    let mut receiver = Receiver::start(home.path(), &[]);
    let failed = stt()
        .args(["ping", &receiver.address, "--timeout", "2", "--json", "--seed-file"])
        .arg(other.path().join("seed"))
        .output()
        .unwrap();
    let error = error(&failed);
    assert_eq!(error["code"], "connect.no_answer");
    for words in ["wrong seed", "clock", "dropped"] {
        assert!(error["hint"].as_str().unwrap().contains(words), "{error}");
    }
    let dropped = receiver.wait_for("dropped");
    assert_eq!(dropped["reason"], "unknown");
    assert!(dropped["count"].as_u64().unwrap() >= 1);
    assert!(dropped["meaning"].as_str().unwrap().contains("another seed"));

    let failed = stt()
        .args(["ping", &receiver.address, "--timeout", "2", "--json", "--seed-file"])
        .arg(home.path().join("seed"))
        .args(["--peer", &"ab".repeat(32)])
        .output()
        .unwrap();
    assert!(!failed.status.success());
    assert_eq!(receiver.wait_for("dropped")["reason"], "other_node");
}

/// Results wait for their reader, and nothing else does.
#[test]
fn a_reader_that_stops_reading_holds_up_no_transfer() {
    use std::time::{Duration, Instant};
    use stt::{Mode, Node, SharedSeed, transfer};
    const FILES: u32 = 300;
    let home = home();
    // Its standard output is a pipe of 64 KiB, of which nothing is read from here on.
    let mut receiver = Receiver::start(home.path(), &[]);
    let file = home.path().join("small");
    fs::write(&file, b"small").unwrap();
    let seed = fs::read_to_string(home.path().join("seed")).unwrap();
    let seed = SharedSeed::from_text(&seed).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await.unwrap();
        let session = node.connect(&receiver.address).await.unwrap();
        for number in 0..FILES {
            let name = format!("{number}-{}", "long".repeat(40));
            let options = transfer::SendOptions::new().name(name);
            let sending = transfer::send(&session, &file, &options);
            let sent = tokio::time::timeout(Duration::from_secs(60), sending).await;
            sent.unwrap_or_else(|_| panic!("stuck at file {number}")).unwrap();
        }
    });
    assert_eq!(fs::read_dir(home.path().join("in")).unwrap().count(), 300);
    signal(&receiver.process, rustix::process::Signal::INT);
    let until = Instant::now() + Duration::from_secs(60);
    while receiver.process.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "Ctrl-C does not end it");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A name stands for all addresses that it has.
#[test]
fn a_name_to_listen_at_is_listened_at_by_all_its_addresses() {
    use std::net::{SocketAddr, ToSocketAddrs};
    let home = home();
    let addresses: Vec<SocketAddr> = ("localhost", 1).to_socket_addrs().unwrap().collect();
    let receiver = Receiver::at(home.path(), "localhost:0", &[]);
    let port = receiver.address.parse::<SocketAddr>().unwrap().port();
    for address in addresses {
        if std::net::UdpSocket::bind((address.ip(), 0)).is_err() {
            continue;
        }
        let at = SocketAddr::new(address.ip(), port).to_string();
        let ping = stt()
            .args(["ping", &at, "-c", "1", "--json", "--seed-file"])
            .arg(home.path().join("seed"))
            .output()
            .unwrap();
        assert!(ping.status.success(), "{at}: {ping:?}");
    }
}

#[test]
fn a_new_seed_for_machines_comes_with_its_code() {
    let made = stt().args(["seed", "new", "--json", "--qr"]).output().unwrap();
    let told: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(told["qr"].as_str().unwrap().contains('█') && told["seed"].is_string());
}

/// A seed file that was cut would otherwise be a phrase that nobody else has.
#[test]
fn a_seed_file_may_have_comments_and_must_be_whole() {
    let home = home();
    let receiver = Receiver::start(home.path(), &[]);
    let seed = fs::read_to_string(home.path().join("seed")).unwrap();
    let ping = |text: &str| {
        let file = home.path().join("other");
        fs::write(&file, text).unwrap();
        let mut command = stt();
        command.args(["ping", &receiver.address, "-c", "1", "--json", "--seed-file"]).arg(file);
        command.output().unwrap()
    };
    assert!(ping(&format!("# of the group\n{seed}\n")).status.success());
    let cut: String = seed.chars().take(30).collect();
    assert_eq!(error(&ping(&cut))["code"], "key.not_a_key");
}
