//! `stt share`: a file or folder that members may fetch.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use clap::Args;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde::Serialize;
use serde_json::json;
use stt::{Mode, Node};
use stt_gateway::proto::v1::{
    ListSharedContentRequest, ShareContentRequest, UnshareContentRequest,
};
use stt_swarm::{ContentLibrary, LibraryStats};

use crate::{
    daemon::{self, Client, NodeArgs},
    drops,
    error::CliError,
    figures,
    listen::ListenArgs,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
};

#[derive(Args)]
#[command(mut_arg("dir", |argument| {
    argument.conflicts_with_all(["listen", "websocket", "limit"])
}))]
pub(crate) struct ShareCommand {
    /// The file or folder. Links in a folder are not followed.
    path: PathBuf,
    #[command(flatten)]
    listen: ListenArgs,
    /// An address at which others reach this machine, for the ticket; may be repeated. Unless it is
    /// given, the ticket names the address that is listened at, or this machine's own ones.
    #[arg(long, value_name = "IP:PORT")]
    address: Vec<SocketAddr>,
    /// Send at most so many megabytes a second, to all who fetch together.
    #[arg(long, value_name = "MB_PER_SECOND", value_parser = megabytes)]
    limit: Option<NonZeroU64>,
    /// Show the ticket as a QR code as well.
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    node: NodeArgs,
    /// Have the node of --dir share it no longer.
    #[arg(long, requires = "dir", conflicts_with_all = ["address", "qr", "bootstrap"])]
    end: bool,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl ShareCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        // Asked before the seed: nobody likes to type one for nothing.
        if !self.end {
            std::fs::metadata(&self.path)
                .map_err(|error| CliError::file("could not open", &self.path, &error))?;
        }
        if let Some(dir) = self.node.dir() {
            self.seed.watch_stdin();
            let done = network::run(self.share_by(dir, output))?;
            return done.ok_or_else(|| CliError::interrupted("sharing"));
        }
        let builder = self.listen.apply(self.seed.builder(output)?)?;
        let builder = builder.node_bandwidth(self.limit);
        network::run(async {
            let node = network::start(builder, Mode::Server).await?;
            let served = self.serve(&node, output).await;
            network::stop(&node).await;
            served
        })?;
        Ok(())
    }

    async fn serve(&self, node: &Node, output: &Output) -> Result<(), CliError> {
        let refused = |error| CliError::doing(self.not_shared(), &error);
        let library = ContentLibrary::new(node).map_err(refused)?;
        let swarm = members::take_part(node, true)?;
        let shared = library.share(&self.path).await.map_err(refused)?;
        // Told to those who join later, and again every 10 minutes.
        if let Err(error) = swarm.dht().provide_content(&shared.root).await {
            output.warning(&format!("others find this only by the ticket: {error}"));
        }
        let addresses = match self.address.as_slice() {
            [] => own_addresses(node.local_addr()),
            given => given.to_vec(),
        };
        let ticket = library
            .ticket(&shared, &addresses)
            .map_err(|error| CliError::doing("there is no ticket", &error))?
            .to_string();
        let told = Told {
            ticket,
            blake3: shared.root.to_string(),
            bytes: shared.bytes(),
            files: shared.folder.map_or(1, |folder| folder.files),
            folder: shared.folder.is_some(),
            skipped: shared.folder.map_or(0, |folder| folder.skipped),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            node_id: node.node_id().to_string(),
            name: shared.name,
        };
        self.tell(&told, &format!("on {} until Ctrl-C", node.local_addr()), output)?;
        tokio::join!(
            network::take_sessions(node),
            watch(&library, output),
            drops::watch(node, output),
            self.join.stay(&swarm, Some(output)),
        );
        Ok(())
    }

    fn not_shared(&self) -> String {
        format!("{} is not shared", self.path.display())
    }

    /// Has the node that runs in `dir` share it.
    async fn share_by(&self, dir: &Path, output: &Output) -> Result<(), CliError> {
        let client = daemon::connect(dir).await?;
        if self.end {
            return self.end_by(&client, output).await;
        }
        self.join.join_by(&client, output).await?;
        let record = client.record();
        let addresses: Vec<SocketAddr> = match (self.address.as_slice(), record.address.parse()) {
            ([], Ok(local)) => own_addresses(local),
            (given, _) => given.to_vec(),
        };
        let request = ShareContentRequest {
            path: daemon::path_for(&self.path)?,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        };
        let shared = client.content().share_content(request).await;
        let shared =
            shared.map_err(|status| CliError::refused(self.not_shared(), &status))?.into_inner();
        if !shared.not_announced.is_empty() {
            let why = &shared.not_announced;
            output.warning(&format!("others find this only by the ticket: {why}"));
        }
        let told = Told {
            ticket: shared.ticket,
            blake3: shared.hash,
            bytes: shared.bytes,
            files: shared.files,
            folder: shared.folder,
            skipped: shared.skipped,
            addresses: shared.addresses,
            node_id: record.node_id.clone(),
            name: shared.name,
        };
        self.tell(&told, "as long as the node runs; --end ends it", output)
    }

    /// Has it share that no longer.
    async fn end_by(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let refused =
            |status| CliError::refused(format!("{} is shared still", self.path.display()), &status);
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let shared = client.content().list_shared_content(ListSharedContentRequest {}).await;
        let shared = shared.map_err(refused)?.into_inner().contents;
        let Some(one) = shared.into_iter().find(|one| one.name == name) else {
            let what = format!("the node shares nothing called {name}");
            return Err(CliError::new("share.unknown", what));
        };
        let request = UnshareContentRequest { hash: one.hash.clone() };
        client.content().unshare_content(request).await.map_err(refused)?;
        output.note(&format!("{name} is shared no longer."));
        output.json_line(&json!({ "unshared": { "name": name, "blake3": one.hash } }));
        Ok(())
    }

    /// Prints the ticket, and what it is for.
    fn tell(&self, shared: &Told, until: &str, output: &Output) -> Result<(), CliError> {
        if self.qr {
            output.note(&qr_code(&shared.ticket)?);
        }
        let files = match shared.folder {
            false => String::new(),
            true => format!("{}, ", figures::counted(shared.files, "file")),
        };
        let skipped = shared.skipped;
        if skipped > 0 {
            let what = figures::counted(skipped, "link or special file");
            output.note(&format!("warning: {what} in it cannot be shared"));
        }
        output.note(&format!(
            "Sharing {} ({files}{}) {until}. Who has the seed gets it with: stt fetch TICKET",
            shared.name,
            figures::bytes(shared.bytes),
        ));
        output.result(&shared.ticket, &json!({ "shared": shared }));
        Ok(())
    }
}

/// What is told of a share.
#[derive(Serialize)]
struct Told {
    ticket: String,
    blake3: String,
    bytes: u64,
    files: u64,
    folder: bool,
    skipped: u64,
    name: String,
    addresses: Vec<String>,
    node_id: String,
}

/// Reads megabytes as bytes.
fn megabytes(text: &str) -> Result<NonZeroU64, String> {
    let wrong = || String::from("a number of megabytes, 0.1 to 100000");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.1..=100_000.0).contains(&number) {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see the range")]
    NonZeroU64::new((number * 1e6) as u64).ok_or_else(wrong)
}

/// Tells what was fetched, whenever that grew and then rested for a moment.
async fn watch(library: &ContentLibrary, output: &Output) {
    let mut told = LibraryStats::default();
    let mut last = library.stats();
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let now = library.stats();
        if now == last && now.answers != told.answers {
            told = now;
            output.note(&format!("{} were fetched so far.", figures::bytes(now.bytes)));
            output.json_line(&json!({
                "served": { "bytes": now.bytes, "answers": now.answers, "damaged": now.damaged }
            }));
        }
        last = now;
    }
}

/// The addresses of this machine that a socket at `local` is reached at.
fn own_addresses(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let mut found = Vec::new();
    if local.is_ipv6() {
        // An address of the documentation: the system only looks up its route.
        found.extend(source_for("[2001:db8::1]:9"));
    }
    found.extend(source_for("192.0.2.1:9"));
    if found.is_empty() {
        found.push(match local {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        });
    }
    found.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect()
}

/// The address that this machine would write to `to` from. Nothing is sent.
fn source_for(to: &str) -> Option<IpAddr> {
    let to: SocketAddr = to.parse().ok()?;
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

/// A ticket in upper case takes the denser alphanumeric mode, and is read the same.
fn qr_code(ticket: &str) -> Result<String, CliError> {
    QrCode::with_error_correction_level(ticket.to_uppercase(), EcLevel::L)
        .map(|code| code.render::<Dense1x2>().quiet_zone(true).build())
        .map_err(|_| CliError::new("ticket.qr", "the ticket does not fit into a QR code"))
}
