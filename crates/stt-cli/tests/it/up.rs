//! `stt up` and `stt status`, as processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{fs, net::TcpStream, path::Path, process::Output, time::Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use stt_gateway::proto::{
    health::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    v1::{
        AcceptStream, AddPeerRequest, ExchangeRequest, ExchangeResponse, FileChunk, GetFileRequest,
        OpenStream, UploadFileRequest, UploadHeader, exchange_request, exchange_response,
        file_service_client::FileServiceClient, peer_service_client::PeerServiceClient,
        stream_service_client::StreamServiceClient, upload_file_request::Part,
    },
};
use tonic::{Code, Streaming};

use crate::common::{home, stt};
use crate::daemon::{Daemon, LONG};

fn status(home: &Path, dir: &str, more: &[&str]) -> Output {
    stt().args(["status", "--dir"]).arg(home.join(dir)).args(more).output().unwrap()
}

/// The last line of JSON.
fn json(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_where_it_is_stays_and_comes_back_as_itself() {
    let home = home();
    let mut node = Daemon::start(home.path(), "a", &[]);
    let told = home.path().join("a/up.json");
    let text = fs::read_to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), node.up);
    #[cfg(unix)]
    for name in ["up.json", "token", "node.seed", "lock"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(home.path().join("a").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    let header = UploadHeader { key: "report".into(), ..Default::default() };
    let chunk = FileChunk { data: b"all is well"[..].into(), ..Default::default() };
    let parts = [Part::Header(header), Part::Chunk(chunk)];
    let parts = parts.map(|part| UploadFileRequest { part: Some(part) });
    let mut files = FileServiceClient::new(node.channel().await);
    let stored = files.upload_file(node.shown(stream::iter(parts))).await.unwrap().into_inner();
    assert_eq!(stored.size, 11);

    let shown = json(&status(home.path(), "a", &["--json"]));
    for name in ["node_id", "address", "gateway", "pid", "state"] {
        assert_eq!(shown["status"][name], node.up[name], "{name}");
    }
    assert_eq!(shown["status"]["health"], "healthy");
    assert_eq!(shown["status"]["components"]["store"]["status"], "healthy");
    assert_eq!((&shown["status"]["files"], &shown["status"]["peers"]), (&1.into(), &0.into()));
    let seen = status(home.path(), "a", &[]);
    assert!(seen.status.success(), "{seen:?}");
    let seen = String::from_utf8(seen.stdout).unwrap();
    for words in [node.told("node_id"), node.told("gateway"), "1 file, ", "health    healthy"] {
        assert!(seen.contains(words), "{words:?} is not in\n{seen}");
    }

    let second = stt()
        .args(["up", "--json", "--seed-file"])
        .arg(home.path().join("seed"))
        .arg("--dir")
        .arg(home.path().join("a"))
        .output()
        .unwrap();
    let refused = json(&second)["error"].take();
    assert_eq!(refused["code"], "up.running", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains(&node.process.id().to_string()));

    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
    assert!(!told.exists());
    let gone = status(home.path(), "a", &["--json"]);
    assert_eq!(gone.status.code(), Some(3));
    assert_eq!(json(&gone)["error"]["code"], "up.not_running");

    let again = Daemon::start(home.path(), "a", &[]);
    assert_eq!(again.told("node_id"), node.told("node_id"));
    let mut files = FileServiceClient::new(again.channel().await);
    let wanted = again.shown(GetFileRequest { key: "report".into() });
    assert_eq!(files.get_file(wanted).await.unwrap().into_inner(), stored);
}

#[test]
fn what_a_killed_node_left_behind_says_nothing() {
    let home = home();
    let mut node = Daemon::start(home.path(), "a", &[]);
    node.process.kill().unwrap();
    node.process.wait().unwrap();
    assert!(home.path().join("a/up.json").exists());
    assert_eq!(status(home.path(), "a", &[]).status.code(), Some(3));
    let again = Daemon::start(home.path(), "a", &[]);
    let shown = json(&status(home.path(), "a", &["--json"]));
    assert_eq!(shown["status"]["pid"], again.process.id());
}

#[test]
fn beyond_this_machine_the_gateway_does_not_listen() {
    let home = home();
    let refused = stt()
        .args(["up", "--listen", "127.0.0.1:0", "--gateway", "0.0.0.0:0", "--json", "--seed-file"])
        .arg(home.path().join("seed"))
        .arg("--dir")
        .arg(home.path().join("a"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(json(&refused)["error"]["code"], "gateway.unprotected");
    assert!(!home.path().join("a/up.json").exists());
}

/// A stream between two nodes, of which `a` begins it. It stays open.
async fn open_stream(a: &Daemon, b: &Daemon) -> Streaming<ExchangeResponse> {
    let (host, port) = b.told("address").rsplit_once(':').unwrap();
    let peer = AddPeerRequest {
        address: host.into(),
        port: port.parse().unwrap(),
        id: b.told("node_id").into(),
        ..Default::default()
    };
    let mut peers = PeerServiceClient::new(a.channel().await);
    let added = peers.add_peer(a.shown(peer)).await.unwrap().into_inner();
    let part = |part| ExchangeRequest { part: Some(part) };
    let open =
        part(exchange_request::Part::Open(OpenStream { peer: added.id, ..Default::default() }));
    let hello = part(exchange_request::Part::Data(b"hello"[..].into()));
    let requests = stream::iter([open, hello]).chain(stream::pending());
    let mut streams = StreamServiceClient::new(a.channel().await);
    let mut ours = streams.exchange(a.shown(requests)).await.unwrap().into_inner();
    assert!(ours.message().await.unwrap().is_some());

    let accept = part(exchange_request::Part::Accept(AcceptStream::default()));
    let answer = part(exchange_request::Part::Data(b"and you"[..].into()));
    let requests = stream::iter([accept, answer]).chain(stream::pending());
    let mut streams = StreamServiceClient::new(b.channel().await);
    let mut theirs = streams.exchange(b.shown(requests)).await.unwrap().into_inner();
    assert!(theirs.message().await.unwrap().is_some());
    let data = |bytes: &'static [u8]| Some(exchange_response::Part::Data(bytes.into()));
    assert_eq!(theirs.message().await.unwrap().unwrap().part, data(b"hello"));
    assert_eq!(ours.message().await.unwrap().unwrap().part, data(b"and you"));
    ours
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_time_whatever_is_open() {
    let home = home();
    let mut a = Daemon::start(home.path(), "a", &["--drain", "2"]);
    let b = Daemon::start(home.path(), "b", &[]);
    let silent = TcpStream::connect(a.told("gateway").strip_prefix("http://").unwrap()).unwrap();
    let mut health = HealthClient::new(a.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut exchange = open_stream(&a, &b).await;

    let begun = Instant::now();
    a.terminate();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(exchange.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(a.wait().code(), Some(0));
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let home = home();
    let mut a = Daemon::start(home.path(), "a", &["--drain", "3600"]);
    let b = Daemon::start(home.path(), "b", &[]);
    let mut health = HealthClient::new(a.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let _exchange = open_stream(&a, &b).await;
    a.terminate();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let shown = json(&status(home.path(), "a", &["--json"]));
    assert_eq!(shown["status"]["state"], "stopping");
    a.terminate();
    assert_eq!(a.wait().code(), None, "the signal ends it, as it would any program");
}

/// `stt up` in the directory `a` of `home`, which is to fail.
fn refused(home: &Path, more: &[&str]) -> Value {
    let args = ["up", "--listen", "127.0.0.1:0", "--json", "--seed-file"];
    let mut command = stt();
    command.args(args).arg(home.join("seed")).arg("--dir").arg(home.join("a")).args(more);
    json(&command.output().unwrap())["error"].take()
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let home = home();
    let told = |file: &str, variable: Option<&str>, flag: Option<&str>| {
        fs::create_dir_all(home.path().join("a")).unwrap();
        fs::write(home.path().join("a/stt.toml"), file).unwrap();
        let mut command = stt();
        command.args(["up", "--listen", "127.0.0.1:0", "--json", "--seed-file"]);
        command.arg(home.path().join("seed")).arg("--dir").arg(home.path().join("a"));
        if let Some(variable) = variable {
            command.env("STT_UP_GATEWAY", variable);
        }
        if let Some(flag) = flag {
            command.args(["--gateway", flag]);
        }
        // Nobody can listen there, and the refusal names the address.
        let error = json(&command.output().unwrap())["error"].take();
        assert_eq!(error["code"], "gateway.unprotected", "{error}");
        error.to_string()
    };
    let file = "gateway = \"192.0.2.1:1\"\n";
    assert!(told(file, None, None).contains("192.0.2.1"));
    assert!(told(file, Some("192.0.2.2:1"), None).contains("192.0.2.2"));
    assert!(told(file, Some("192.0.2.2:1"), Some("192.0.2.3:1")).contains("192.0.2.3"));
}

#[test]
fn what_stt_config_prints_is_a_file_that_works() {
    let home = home();
    let printed = stt().arg("config").output().unwrap();
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).unwrap();
    // All that has a default, said in the file.
    let said: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| {
            line.split_once(" = ").is_some_and(|(key, value)| {
                !key.contains(' ') && (!value.starts_with('"') || value.contains(':'))
            })
        })
        .filter(|line| !line.starts_with("listen") && !line.starts_with("websocket"))
        .collect();
    assert!(said.iter().any(|line| line.starts_with("gateway = \"127.0.0.1:0\"")), "{text}");
    assert!(said.iter().any(|line| line.starts_with("drain = 10")), "{text}");
    assert!(said.iter().any(|line| line.starts_with("no_reflection = false")), "{text}");
    let file = home.path().join("all.toml");
    fs::write(&file, said.join("\n")).unwrap();
    let mut node = Daemon::start(home.path(), "a", &["--config", file.to_str().unwrap()]);
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));

    let machine = json(&stt().args(["config", "--json"]).output().unwrap());
    let settings = machine["settings"].as_array().unwrap();
    let gateway = settings.iter().find(|one| one["key"] == "gateway").unwrap();
    assert_eq!(gateway["variable"], "STT_UP_GATEWAY");
    assert_eq!(gateway["default"], "127.0.0.1:0");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_what_to_do() {
    let home = home();
    fs::create_dir_all(home.path().join("a")).unwrap();
    for (file, code, words) in [
        ("gatway = \"127.0.0.1:0\"", "config.unknown_key", "`gateway` is the nearest"),
        ("sunshine = 1", "config.unknown_key", "prints all settings"),
        ("dir = \"elsewhere\"", "config.unknown_key", "`dir`"),
        ("drain = \"soon\"", "config.value", "soon"),
        ("drain = [1, 2]", "config.value", "a list"),
        ("drain = true", "config.value", "true or false"),
        ("no_reflection = \"yes\"", "config.value", "true or false"),
        ("gateway = 7", "config.value", "7"),
        ("[gateway]\nport = 7", "config.value", "no such value"),
        ("\ngateway = ", "config.syntax", "line 2"),
    ] {
        fs::write(home.path().join("a/stt.toml"), file).unwrap();
        let error = refused(home.path(), &[]);
        assert_eq!(error["code"], code, "{file}: {error}");
        assert!(error.to_string().contains(words), "{file}: {error}");
    }
    let missing = refused(home.path(), &["--config", "nowhere.toml"]);
    assert_eq!(missing["code"], "file.not_found");
    fs::write(home.path().join("a/stt.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(refused(home.path(), &[])["code"], "config.too_long");
}

#[cfg(target_os = "linux")]
#[test]
fn a_supervisor_is_told_when_it_is_ready_and_when_it_ends() {
    let home = home();
    let socket = home.path().join("notify");
    let listening = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    listening.set_read_timeout(Some(LONG)).unwrap();
    let mut process = stt()
        .args(["up", "--listen", "127.0.0.1:0", "--json", "--seed-file"])
        .arg(home.path().join("seed"))
        .arg("--dir")
        .arg(home.path().join("a"))
        .env("NOTIFY_SOCKET", &socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut told = [0; 64];
    let len = listening.recv(&mut told).unwrap();
    assert_eq!(told[..len].trim_ascii(), b"READY=1");
    assert_eq!(status(home.path(), "a", &[]).status.code(), Some(0));
    let id = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let len = listening.recv(&mut told).unwrap();
    assert_eq!(told[..len].trim_ascii(), b"STOPPING=1");
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

/// Where systemd is, it understands the unit.
#[cfg(target_os = "linux")]
#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/stt.service");
    let text = fs::read_to_string(unit).unwrap();
    assert!(text.contains("ExecStart=/usr/local/bin/stt up "));
    let here = text.replace("/usr/local/bin/stt", env!("CARGO_BIN_EXE_stt"));
    let home = home();
    let copy = home.path().join("stt.service");
    fs::write(&copy, here).unwrap();
    match std::process::Command::new("systemd-analyze").arg("verify").arg(&copy).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        verified => {
            // It may complain of the machine, but not of the unit.
            let verified = verified.unwrap();
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(!said.contains("stt.service:"), "{said}");
        }
    }
}
