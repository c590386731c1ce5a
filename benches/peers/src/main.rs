//! STT measured against quinn with rustls: the same machine, the same run, the same cipher.
//!
//! Rounds alternate between the two, so that what else the machine does falls on both; the table
//! shows medians, quartiles, and the median of the ratios of the rounds.
//!
//! | look for | in |
//! |---|---|
//! | what is measured | `bulk`, `echo`, `messages`, `handshakes`, `idle`, `overhead`, `websocket` |
//! | the peers | `stt_peer`, `quinn_peer`, `websocket_peer` |
//! | where their tasks run | `stage` |
//! | rounds, medians, the table | `compare`, `report` |
//! | memory and processor time | `process` |

mod bulk;
mod compare;
mod echo;
mod handshakes;
mod idle;
mod messages;
mod overhead;
mod process;
mod quinn_peer;
mod report;
mod stage;
mod stt_peer;
mod tcp_peer;
mod websocket;
mod websocket_peer;

use clap::{Parser, Subcommand};

/// What any step here may fail with.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures STT against quinn + rustls (AES-256-GCM, aws-lc-rs) over the loopback interface.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    how: How,
}

/// How thorough, and how to print.
#[derive(clap::Args, Clone, Copy)]
struct How {
    /// Fewer rounds of less work: a minute for everything, and noisier.
    #[arg(long, global = true)]
    quick: bool,
    /// Prints one JSON document instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Rounds of each comparison. Default: 9, or 3 with --quick.
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Runs only this side: for a profiler.
    #[arg(long, global = true, value_enum)]
    only: Option<stage::Peer>,
    /// Idle sessions of `memory` (default: 2,000), `idle` (1,000) and `web-socket` (500).
    #[arg(long, global = true)]
    sessions: Option<usize>,
}

impl How {
    fn rounds(self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 }).max(1)
    }

    /// `full` amount of work, or `quick`.
    fn amount(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

#[derive(Subcommand, Clone, Copy)]
enum What {
    /// Bytes over one stream, with defaults and on equal terms.
    Bulk,
    /// Round trips of 64 bytes on an open stream.
    Echo,
    /// Messages of 100 bytes on one stream.
    Messages,
    /// Sessions set up per second.
    Handshakes,
    /// Memory of an idle session.
    Memory,
    /// Bytes and datagrams of a handshake and of a message.
    Overhead,
    /// Processor time of a node with idle sessions.
    Idle,
    /// WebSockets: bytes over one stream, and memory of an idle connection.
    WebSocket,
    /// All of them.
    All,
    /// One end of the idle sessions, in a process of its own.
    #[command(hide = true)]
    Hold {
        #[arg(value_enum)]
        peer: idle::Kind,
        /// Connect to this address; without it, be connected to.
        #[arg(long)]
        to: Option<std::net::SocketAddr>,
    },
}

fn main() -> Result<()> {
    let Arguments { what, how } = Arguments::parse();
    if let What::Hold { peer, to } = what {
        return idle::hold(peer, to);
    }
    let mut report = report::Report::new(how.json);
    match what {
        What::Bulk => bulk::run(how, &mut report)?,
        What::Echo => echo::run(how, &mut report)?,
        What::Messages => messages::run(how, &mut report)?,
        What::Handshakes => handshakes::run(how, &mut report)?,
        What::Memory => idle::memory(how, &mut report)?,
        What::Overhead => overhead::run(how, &mut report)?,
        What::Idle => idle::processor(how, &mut report)?,
        What::WebSocket => websocket::run(how, &mut report)?,
        What::All => {
            bulk::run(how, &mut report)?;
            echo::run(how, &mut report)?;
            messages::run(how, &mut report)?;
            handshakes::run(how, &mut report)?;
            overhead::run(how, &mut report)?;
            idle::memory(how, &mut report)?;
            idle::processor(how, &mut report)?;
            websocket::run(how, &mut report)?;
        }
        What::Hold { .. } => {}
    }
    report.finish();
    Ok(())
}
