//! `stt fetch`: a file or folder that members share, from all of them at once.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use stt::{Mode, Node, transfer::printable};
use stt_gateway::proto::v1::{
    FetchContentRequest, FetchProvider, FetchedContent, fetch_content_response::Part,
};
use stt_swarm::{ContentTicket, FetchOptions, Fetched, ProviderReport, Swarm, TicketError, fetch};
use tonic::Status;

use crate::{
    daemon::{self, Client, NodeArgs},
    error::CliError,
    figures,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
    path_text::with_path,
    progress,
};

/// Longest ticket that is read from a file.
const MAX_TICKET: u64 = 16 << 10;

#[derive(Args)]
pub(crate) struct FetchCommand {
    /// The line that `stt share` printed, a file that holds it, or `-` for standard input. With
    /// tickets of several members for the same content it comes from all of them.
    #[arg(required = true)]
    tickets: Vec<String>,
    /// Where the file or folder is put; made if it is not there.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Give it another name.
    #[arg(long)]
    name: Option<String>,
    /// Seconds to wait for each provider's answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = network::seconds)]
    timeout: f64,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl FetchCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let mut tickets = self.tickets.iter().map(|argument| ticket(argument));
        let mut ticket = tickets.next().unwrap_or_else(|| Err(unusable(TicketError::Malformed)))?;
        for other in tickets {
            ticket.merge(other?).map_err(unusable)?;
        }
        std::fs::create_dir_all(&self.out)
            .map_err(|error| CliError::file("could not make", &self.out, &error))?;
        if let Some(dir) = self.node.dir() {
            self.seed.watch_stdin();
            let fetched = network::run(self.fetch_by(dir, &ticket, output))?;
            let fetched = fetched.ok_or_else(|| network::interrupted("fetching"))?;
            report(output, &fetched);
            return Ok(());
        }
        let builder = self.seed.builder(output)?.host(network::any_host());
        let options = FetchOptions::new()
            .name(self.name.clone())
            .connect_timeout(Duration::from_secs_f64(self.timeout))
            .progress(progress::of_fetch(output));
        let fetched = network::run(async {
            let node = network::start(builder, Mode::Client).await?;
            // Sessions that it opened are used, and end with it.
            let _swarm = self.add_providers(&node, &mut ticket, output).await?;
            let fetched = fetch(&node, &ticket, &self.out, &options).await.map_err(|error| {
                CliError::doing(format!("{} was not fetched", printable(ticket.name())), &error)
            });
            network::stop(&node).await;
            fetched
        })?;
        let fetched = fetched.ok_or_else(|| network::interrupted("fetching"))?;
        report(output, &fetched.into());
        Ok(())
    }

    /// Has the node that runs in `dir` fetch it.
    async fn fetch_by(
        &self,
        dir: &Path,
        ticket: &ContentTicket,
        output: &Output,
    ) -> Result<Done, CliError> {
        let client = daemon::connect(dir).await?;
        self.join.join_by(&client, output).await?;
        let request = FetchContentRequest {
            tickets: vec![ticket.to_string()],
            directory: daemon::path_for(&self.out)?,
            name: self.name.clone().unwrap_or_default(),
            timeout_ms: u64::try_from(Duration::from_secs_f64(self.timeout).as_millis()).ok(),
        };
        let refused = |status: Status| {
            CliError::refused(format!("{} was not fetched", printable(ticket.name())), &status)
        };
        let answers = client.content().fetch_content(request).await.map_err(refused)?;
        let (mut answers, show) = (answers.into_inner(), progress::of_fetch_by(output));
        while let Some(answer) = answers.message().await.map_err(refused)? {
            match answer.part {
                Some(Part::Search(search)) if search.failure.is_empty() => {
                    found(search.found, output);
                }
                Some(Part::Search(search)) => output.warning(&search.failure),
                Some(Part::Progress(progress)) => show(progress),
                Some(Part::Fetched(fetched)) => return Ok(fetched.into()),
                None => {}
            }
        }
        Err(Client::silent(dir, "it did not say how the fetch ended"))
    }

    /// Names in the ticket who else has it, as the swarm knows, if there is a way into it.
    async fn add_providers(
        &self,
        node: &Node,
        ticket: &mut ContentTicket,
        output: &Output,
    ) -> Result<Option<Swarm>, CliError> {
        if self.join.is_empty() {
            return Ok(None);
        }
        let swarm = members::take_part(node, false)?;
        let searched = async {
            self.join.join(&swarm, output).await?;
            let patience = Duration::from_secs_f64(self.timeout);
            let found = swarm.dht().add_providers(ticket, patience).await;
            found.map_err(|error| CliError::doing("the swarm knows nobody who has it", &error))
        };
        match searched.await {
            Ok(providers) => found(u64::try_from(providers).unwrap_or(u64::MAX), output),
            // Those that the ticket names may do.
            Err(error) if !ticket.providers().is_empty() => {
                output.warning(error.to_string().trim_end());
            }
            Err(error) => return Err(error),
        }
        Ok(Some(swarm))
    }
}

fn unusable(error: TicketError) -> CliError {
    CliError::doing("the ticket cannot be used", &error)
}

/// Reads the ticket that `argument` is or names.
fn ticket(argument: &str) -> Result<ContentTicket, CliError> {
    if ContentTicket::is_like(argument) {
        return argument.parse().map_err(unusable);
    }
    let path = Path::new(argument);
    let mut text = String::new();
    let read = if argument == "-" {
        std::io::stdin().take(MAX_TICKET).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_TICKET).read_to_string(&mut text))
    };
    match read {
        Ok(_) => text.parse().map_err(unusable),
        // Most likely it was meant to be one.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(unusable(TicketError::Malformed))
        }
        Err(error) => Err(CliError::file("could not read", path, &error)),
    }
}

fn found(providers: u64, output: &Output) {
    if providers > 0 {
        let providers = figures::counted(providers, "provider");
        output.note(&format!("The swarm names {providers} more."));
    }
    output.json_line(&json!({ "found": { "providers": providers } }));
}

/// What was fetched, by whichever node.
struct Done {
    path: PathBuf,
    name: String,
    size: u64,
    files: u64,
    resumed: u64,
    duplicates: u64,
    seconds: f64,
    providers: Vec<Source>,
}

/// What one provider did.
pub(crate) struct Source {
    node_id: String,
    bytes: u64,
    bytes_per_second: f64,
    dropped: Option<String>,
    lied: bool,
}

impl From<&ProviderReport> for Source {
    fn from(report: &ProviderReport) -> Self {
        Self {
            node_id: report.node_id.to_string(),
            bytes: report.bytes,
            bytes_per_second: report.bytes_per_second,
            dropped: report.dropped.as_ref().map(ToString::to_string),
            lied: report.lied,
        }
    }
}

impl From<FetchProvider> for Source {
    fn from(provider: FetchProvider) -> Self {
        Self {
            node_id: provider.id,
            bytes: provider.bytes,
            bytes_per_second: provider.bytes_per_second,
            dropped: Some(provider.dropped).filter(|why| !why.is_empty()),
            lied: provider.lied,
        }
    }
}

impl From<Fetched> for Done {
    fn from(fetched: Fetched) -> Self {
        Self {
            providers: fetched.providers.iter().map(Source::from).collect(),
            path: fetched.path,
            name: fetched.name,
            size: fetched.size,
            files: fetched.files,
            resumed: fetched.resumed,
            duplicates: fetched.duplicates,
            seconds: fetched.elapsed.as_secs_f64(),
        }
    }
}

impl From<FetchedContent> for Done {
    fn from(fetched: FetchedContent) -> Self {
        Self {
            path: fetched.path.into(),
            name: fetched.name,
            size: fetched.bytes,
            files: fetched.files,
            resumed: fetched.resumed,
            duplicates: fetched.duplicates,
            seconds: fetched.seconds,
            providers: fetched.providers.into_iter().map(Source::from).collect(),
        }
    }
}

fn report(output: &Output, fetched: &Done) {
    let elapsed = Duration::try_from_secs_f64(fetched.seconds).unwrap_or_default();
    let moved = fetched.size.saturating_sub(fetched.resumed);
    let megabytes_per_second = figures::megabytes_per_second(moved, elapsed);
    let speed = figures::speed(megabytes_per_second);
    let resumed = match fetched.resumed {
        0 => String::new(),
        at => format!(", {} of it earlier", figures::bytes(at)),
    };
    let files = match fetched.files {
        1 => String::new(),
        files => format!("{}, ", figures::counted(files, "file")),
    };
    let used = fetched.providers.iter().filter(|provider| provider.bytes > 0).count();
    let used = u64::try_from(used).unwrap_or(u64::MAX);
    output.note(&format!(
        "Fetched {} ({files}{}{resumed}) from {} in {}, {speed}. All of it is verified.",
        printable(&fetched.path.display().to_string()),
        figures::bytes(fetched.size),
        figures::counted(used, "provider"),
        figures::duration(elapsed),
    ));
    for provider in fetched.providers.iter().filter(|provider| provider.lied) {
        let why = provider.dropped.as_ref().map(|cause| printable(cause));
        let why = why.unwrap_or_default();
        output.note(&format!("warning: {} {why}", provider.node_id));
    }
    let told = json!({
        "name": fetched.name,
        "bytes": fetched.size,
        "files": fetched.files,
        "resumed": fetched.resumed,
        "duplicates": fetched.duplicates,
        "seconds": fetched.seconds,
        "megabytes_per_second": megabytes_per_second,
        "providers": providers(&fetched.providers),
    });
    output.json_line(&json!({ "fetched": with_path(told, "path", &fetched.path) }));
}

/// What machines are told of providers.
pub(crate) fn providers(sources: &[Source]) -> Vec<Value> {
    let value = |source: &Source| {
        json!({
            "node_id": source.node_id,
            "bytes": source.bytes,
            "bytes_per_second": source.bytes_per_second,
            "dropped": source.dropped,
            "lied": source.lied,
        })
    };
    sources.iter().map(value).collect()
}
