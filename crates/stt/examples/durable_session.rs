//! A session that outlives processes: a till sends sales to a ledger, and both are killed while it
//! does. Each sale stands in the ledger once, in order.
//!
//! `cargo run --example durable_session`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use common::Outcome;
use stt::{
    Identity, Mode, Node, NodeBuilder, SharedSeed,
    resume::{Continuity, ResumeOptions},
};

const SALES: u64 = 2_000;
/// Both sides know it; a real one comes from `stt seed new`.
const SEED: [u8; 32] = [42; 32];

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => show(),
        [role, dir, port] => {
            let runtime = tokio::runtime::Runtime::new()?;
            let (dir, port) = (Path::new(dir), port.parse()?);
            runtime.block_on(async {
                match *role {
                    "ledger" => ledger(dir, port).await,
                    _ => till(dir, port).await,
                }
            })
        }
        _ => Err("run it without arguments".into()),
    }
}

/// A node that is the same at every start: nobody else can take up its sessions.
fn builder(name: &str) -> NodeBuilder {
    let seed = SharedSeed::from_key(stc::Key::from_bytes(SEED));
    let builder = Node::builder(seed).host("127.0.0.1").node_seed(name).persistent_identity(true);
    // A peer that is killed says nothing, and is missed after this time.
    builder.heartbeat(Duration::from_millis(200)).idle_timeout(Duration::from_secs(1))
}

async fn ledger(dir: &Path, port: u16) -> Outcome {
    let node = builder("the ledger's own secret").port(port).start(Mode::Server).await?;
    let sessions = Continuity::open(&node, ResumeOptions::default(), dir.join("ledger")).await?;
    let session = match sessions.restored().pop() {
        Some(session) => session,
        None => sessions.accept().await.ok_or("stopped")?,
    };
    // What was written after the last commit comes again: it is taken back first.
    let path = dir.join("sales.txt");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let committed = usize::try_from(session.next_received())?;
    let kept: String = text.split_inclusive('\n').take(committed).collect();
    fs::write(&path, kept)?;
    let mut file = OpenOptions::new().append(true).open(&path)?;
    while let Some(sale) = session.receive().await? {
        writeln!(file, "{}", String::from_utf8_lossy(&sale.data))?;
        // Against a loss of power the file would have to be synced here, a few sales at a time.
        session.commit(sale.position)?;
    }
    session.close().await?;
    session.ended().await;
    // A till that has not heard so yet asks again: a real ledger goes on with other sessions.
    std::future::pending().await
}

async fn till(dir: &Path, port: u16) -> Outcome {
    let node = builder("the till's own secret").start(Mode::Client).await?;
    let sessions = Continuity::open(&node, ResumeOptions::default(), dir.join("till")).await?;
    let session = match sessions.restored().pop() {
        Some(session) => session,
        None => {
            let ledger = Identity::persistent(b"the ledger's own secret")?.node_id();
            sessions.connect(&format!("127.0.0.1:{port}"), ledger).await?
        }
    };
    // The disk has all before this one.
    for number in session.next_sent()..SALES {
        let position = session.send(format!("sale {number}")).await?;
        // A till that prints a receipt waits until the sale cannot be lost any more.
        if number % 100 == 0 {
            session.durable(position).await?;
        }
    }
    session.close().await?;
    while session.receive().await?.is_some() {}
    session.ended().await;
    sessions.close().await;
    Ok(())
}

/// The two processes; those that still run at the end are killed.
struct Processes(Vec<(&'static str, Child)>);

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn show() -> Outcome {
    let dir = tempfile::tempdir()?;
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let start = |role: &'static str| -> Outcome<(&'static str, Child)> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok((role, command.arg(role).arg(dir.path()).arg(&port).spawn()?))
    };
    let mut running = Processes(vec![start("ledger")?, start("till")?]);
    let sales = || {
        let text = fs::read_to_string(dir.path().join("sales.txt")).unwrap_or_default();
        text.lines().count()
    };
    let since = Instant::now();
    let mut kills = [(400, "ledger"), (900, "till"), (1_400, "ledger")].into_iter().peekable();
    loop {
        if since.elapsed() > Duration::from_secs(120) {
            return Err("it takes too long".into());
        }
        if let Some((_, role)) = kills.next_if(|(at, _)| sales() >= *at) {
            for process in running.0.iter_mut().filter(|(name, _)| *name == role) {
                process.1.kill()?;
                process.1.wait()?;
                println!("killed the {role} after {} sales", sales());
                *process = start(role)?;
            }
        }
        let till = running.0.iter_mut().find(|(name, _)| *name == "till");
        if let Some((_, child)) = till
            && child.try_wait()?.is_some()
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = fs::read_to_string(dir.path().join("sales.txt"))?;
    let expected: Vec<_> = (0..SALES).map(|number| format!("sale {number}")).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    println!("{SALES} sales, each once and in order");
    Ok(())
}
