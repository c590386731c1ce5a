//! Sessions that nobody uses: what they hold in memory, and what they cost the processor.
//!
//! Both ends run in processes of their own, which this program starts from itself.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use clap::ValueEnum;
use serde_json::{Value, json};
use stt::Mode;
use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    How, Result,
    compare::{Contender, Metric, Target, alternate},
    process::{processor_time, resident},
    quinn_peer,
    report::Report,
    stage::Peer,
    stt_peer, websocket_peer,
};

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Sessions of STT over UDP.
    Stt,
    /// Connections of quinn.
    Quinn,
    /// Sessions of STT over WebSockets.
    SttWebSocket,
    /// WebSockets of tokio-tungstenite, with its default settings.
    Tungstenite,
}

/// Sessions set up at once.
const AT_ONCE: usize = 32;
/// Silence after which nothing of the handshakes is going on any more.
const SETTLE: Duration = Duration::from_secs(3);

pub fn memory(how: How, report: &mut Report) -> Result<()> {
    let sessions = how.sessions.unwrap_or(how.amount(2_000, 500));
    let run = |kind| move || resident_each(kind, sessions);
    let metrics = vec![
        Metric::new("at the server", "KiB", Some(Target::AtMost(40.0))),
        Metric::new("at the client", "KiB", Some(Target::AtMost(40.0))),
    ];
    // Memory is nearly the same every time.
    let how = How { rounds: Some(how.rounds().min(3)), ..how };
    let contenders = vec![
        Contender::new(Peer::Stt, "stt", run(Kind::Stt)),
        Contender::new(Peer::Quinn, "quinn", run(Kind::Quinn)),
    ];
    let title = format!("resident memory of an idle session, {sessions} of them");
    report.add(&alternate(how, &title, metrics, contenders)?);
    Ok(())
}

/// KiB of one session at the server and at the client, each in a process of its own.
pub fn resident_each(kind: Kind, sessions: usize) -> Result<Vec<f64>> {
    let mut ends = Ends::start(kind)?;
    let before = [ends.server.ask("memory")?, ends.client.ask("memory")?];
    ends.connect(sessions)?;
    std::thread::sleep(SETTLE);
    let after = [ends.server.ask("memory")?, ends.client.ask("memory")?];
    let each = |end: usize| (after[end] - before[end]) / sessions as f64;
    Ok(vec![each(0), each(1)])
}

pub fn processor(how: How, report: &mut Report) -> Result<()> {
    let sessions = how.sessions.unwrap_or(how.amount(1_000, 200));
    let watch = Duration::from_secs(if how.quick { 5 } else { 60 });
    let run = |peer| {
        move || {
            let mut ends = Ends::start(peer)?;
            ends.connect(sessions)?;
            std::thread::sleep(SETTLE);
            let before = [ends.server.ask("processor")?, ends.client.ask("processor")?];
            std::thread::sleep(watch);
            let after = [ends.server.ask("processor")?, ends.client.ask("processor")?];
            let share = |end: usize| (after[end] - before[end]) / watch.as_secs_f64() * 100.0;
            Ok(vec![share(0), share(1)])
        }
    };
    let metrics = vec![
        Metric::new("server", "% of one core", Some(Target::AtMost(1.0))),
        Metric::new("client", "% of one core", Some(Target::AtMost(1.0))),
    ];
    // A minute each; what is measured is a sum over the minute already.
    let how = How { rounds: Some(1), ..how };
    let contenders = vec![
        Contender::new(Peer::Stt, "stt", run(Kind::Stt)),
        Contender::new(Peer::Quinn, "quinn", run(Kind::Quinn)),
    ];
    let seconds = watch.as_secs();
    let title = format!("processor time of {sessions} idle sessions over {seconds} s");
    report.add(&alternate(how, &title, metrics, contenders)?);
    report.note("a sign of life every 30 s on both sides of each");
    Ok(())
}

/// A server and a client in processes of their own.
struct Ends {
    server: End,
    client: End,
}

struct End {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for End {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    fn start(kind: Kind, arguments: &[String]) -> Result<Self> {
        let peer = kind.to_possible_value().ok_or("no such kind")?.get_name().to_owned();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", &peer])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, input, output })
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn tell(&mut self, what: &str) -> Result<Value> {
        writeln!(self.input, "{what}")?;
        self.read()
    }

    fn ask(&mut self, what: &str) -> Result<f64> {
        Ok(self.tell(what)?.as_f64().ok_or("no number")?)
    }
}

impl Ends {
    fn start(peer: Kind) -> Result<Self> {
        let mut server = End::start(peer, &[])?;
        let hello = server.read()?;
        let address = hello["address"].as_str().ok_or("no address")?.to_owned();
        let mut client = End::start(peer, &["--to".into(), address])?;
        writeln!(client.input, "{hello}")?;
        client.read()?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self { server, client })
    }

    fn connect(&mut self, sessions: usize) -> Result<()> {
        let made = self.client.tell(&format!("connect {sessions}"))?;
        if made.as_u64() != u64::try_from(sessions).ok() {
            return Err(format!("{made} of {sessions} sessions were made").into());
        }
        Ok(())
    }
}

/// Is one of the ends: says where it is and does what it is told, line by line.
pub fn hold(peer: Kind, to: Option<SocketAddr>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut lines = std::io::stdin().lines();
    let _inside = runtime.enter();
    let holder = match to {
        None => runtime.block_on(Holder::server(peer))?,
        Some(to) => {
            let hello = serde_json::from_str(&lines.next().ok_or("no greeting")??)?;
            runtime.block_on(Holder::client(peer, to, &hello))?
        }
    };
    println!("{}", holder.hello()?);
    let mut kept = Vec::new();
    for line in lines {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match word {
            "memory" => json!(resident()?),
            "processor" => json!(processor_time()?.as_secs_f64()),
            "connect" => {
                runtime.block_on(holder.connect(rest.parse()?, &mut kept))?;
                json!(kept.len())
            }
            other => return Err(format!("what is `{other}`?").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

/// The endpoint of a process that holds sessions.
enum Holder {
    /// `scheme` is that of addresses to connect to.
    Stt {
        node: stt::Node,
        to: Option<SocketAddr>,
        scheme: &'static str,
    },
    TungsteniteServer(SocketAddr),
    TungsteniteClient(SocketAddr),
    QuinnServer(quinn::Endpoint),
    QuinnClient {
        endpoint: quinn::Endpoint,
        config: quinn::ClientConfig,
        to: SocketAddr,
    },
}

/// A session that is held.
enum Kept {
    Stt { _session: stt::Session },
    Tungstenite { _socket: websocket_peer::Plain },
    Quinn { _connection: quinn::Connection },
}

const QUINN: quinn_peer::Terms =
    quinn_peer::Terms { equal_windows: false, fixed_mtu: false, keep_alive: true };

impl Holder {
    async fn server(peer: Kind) -> Result<Self> {
        let here = Handle::current();
        match peer {
            Kind::Stt => {
                let terms = stt_peer::Terms::default();
                let node = stt_peer::node(&here, terms, Mode::Server).await?;
                Ok(Self::Stt { node, to: None, scheme: "udp" })
            }
            Kind::SttWebSocket => {
                let builder = stt_peer::builder(stt_peer::Terms::default())?;
                let node = builder.websocket(websocket_peer::ANY).start(Mode::Server).await?;
                Ok(Self::Stt { node, to: None, scheme: "ws" })
            }
            Kind::Tungstenite => Ok(Self::TungsteniteServer(websocket_peer::hold().await?)),
            Kind::Quinn => {
                let endpoint = quinn_peer::server(&here, QUINN).await?;
                let accepting = endpoint.clone();
                tokio::spawn(async move {
                    while let Some(incoming) = accepting.accept().await {
                        tokio::spawn(async move {
                            if let Ok(connection) = incoming.await {
                                connection.closed().await;
                            }
                        });
                    }
                });
                Ok(Self::QuinnServer(endpoint))
            }
        }
    }

    async fn client(peer: Kind, to: SocketAddr, hello: &Value) -> Result<Self> {
        match peer {
            Kind::Stt | Kind::SttWebSocket => {
                let terms = stt_peer::Terms::default();
                let node = stt_peer::node(&Handle::current(), terms, Mode::Client).await?;
                let scheme = if peer == Kind::Stt { "udp" } else { "ws" };
                Ok(Self::Stt { node, to: Some(to), scheme })
            }
            Kind::Tungstenite => Ok(Self::TungsteniteClient(to)),
            Kind::Quinn => {
                let trusted = serde_json::from_value(hello["certificate"].clone())?;
                let config = quinn_peer::client_config_trusting(QUINN, trusted)?;
                let endpoint = quinn_peer::endpoint(QUINN, None)?;
                Ok(Self::QuinnClient { endpoint, config, to })
            }
        }
    }

    /// What the other process has to know.
    fn hello(&self) -> Result<Value> {
        Ok(match self {
            Self::Stt { node, .. } => {
                json!({ "address": node.websocket_addr().unwrap_or(node.local_addr()) })
            }
            Self::TungsteniteServer(at) | Self::TungsteniteClient(at) => json!({ "address": at }),
            Self::QuinnServer(endpoint) => json!({
                "address": endpoint.local_addr()?,
                "certificate": quinn_peer::certificate()?,
            }),
            Self::QuinnClient { endpoint, .. } => json!({ "address": endpoint.local_addr()? }),
        })
    }

    async fn connect(&self, sessions: usize, kept: &mut Vec<Kept>) -> Result<()> {
        let mut attempts = JoinSet::new();
        for at in 0..sessions {
            if at >= AT_ONCE
                && let Some(made) = attempts.join_next().await
            {
                kept.push(made??);
            }
            match self {
                Self::Stt { node, to, scheme } => {
                    let (node, to) = (node.clone(), to.ok_or("no address")?);
                    let to = format!("{scheme}://{to}");
                    attempts.spawn(async move {
                        let session = stt_peer::connect_to(&node, &to).await?;
                        Result::Ok(Kept::Stt { _session: session })
                    });
                }
                Self::TungsteniteClient(to) => {
                    let to = *to;
                    attempts.spawn(async move {
                        Ok(Kept::Tungstenite { _socket: websocket_peer::plain(to).await? })
                    });
                }
                Self::QuinnClient { endpoint, config, to } => {
                    let (endpoint, config, to) = (endpoint.clone(), config.clone(), *to);
                    attempts.spawn(async move {
                        let connecting = endpoint.connect_with(config, to, "localhost")?;
                        Ok(Kept::Quinn { _connection: connecting.await? })
                    });
                }
                Self::QuinnServer(_) | Self::TungsteniteServer(_) => {
                    return Err("a server does not connect".into());
                }
            }
        }
        while let Some(made) = attempts.join_next().await {
            kept.push(made??);
        }
        Ok(())
    }
}
