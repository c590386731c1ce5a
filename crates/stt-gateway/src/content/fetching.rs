//! A fetch under way, and what its caller is told.

use std::{path::PathBuf, time::Duration};

use stt::transfer::Phase;
use stt_swarm::{ContentTicket, FetchOptions, Fetched, ProviderReport, TicketError};
use tonic::Status;

use super::absolute;
use crate::{
    RequestError,
    answers::Told,
    proto::v1::{
        FetchContentRequest, FetchContentResponse, FetchPhase, FetchProgress, FetchProvider,
        FetchSearch, FetchedContent, fetch_content_response::Part,
    },
    state::Shared,
    status::ToStatus,
};

/// How long to wait for a provider, unless the caller says otherwise, and the most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));
/// Tickets of one call.
const TICKETS: usize = ContentTicket::MAX_PROVIDERS;

/// What a call asks for.
pub(super) struct Fetch {
    ticket: ContentTicket,
    directory: PathBuf,
    name: Option<String>,
    patience: Duration,
}

impl Fetch {
    pub(super) fn of(request: FetchContentRequest) -> Result<Self, Status> {
        let directory = absolute("directory", &request.directory)?;
        if request.tickets.len() > TICKETS {
            let what = format!("at most {TICKETS} are allowed");
            return Err(RequestError::Invalid { field: "tickets", what }.to_status());
        }
        let mut tickets = request.tickets.iter().map(|text| text.parse::<ContentTicket>());
        let first = tickets.next().unwrap_or(Err(TicketError::Malformed));
        let mut ticket = first.map_err(|error| error.to_status())?;
        for other in tickets {
            let merged = other.and_then(|other| ticket.merge(other));
            merged.map_err(|error| error.to_status())?;
        }
        let patience = request.timeout_ms.map_or(PATIENCE.0, Duration::from_millis);
        let name = Some(request.name).filter(|name| !name.is_empty());
        Ok(Self { ticket, directory, name, patience: patience.min(PATIENCE.1) })
    }
}

const fn answer(part: Part) -> FetchContentResponse {
    FetchContentResponse { part: Some(part) }
}

/// Fetches it. What arrived is kept also when it ends early.
pub(super) async fn run(
    state: Shared,
    mut fetch: Fetch,
    told: Told<FetchContentResponse>,
) -> Result<FetchContentResponse, Status> {
    if let Some(swarm) = &state.swarm {
        let found = swarm.dht().add_providers(&mut fetch.ticket, fetch.patience).await;
        let (found, failure) = match found {
            Ok(found) => (found as u64, String::new()),
            // Those that the ticket names may do.
            Err(error) if !fetch.ticket.providers().is_empty() => (0, error.to_string()),
            Err(error) => return Err(error.to_status()),
        };
        let _ = told.send(Ok(answer(Part::Search(FetchSearch { found, failure })))).await;
    }
    let made = tokio::fs::create_dir_all(&fetch.directory).await;
    made.map_err(|error| {
        let what = format!("it cannot be made: {error}");
        RequestError::Invalid { field: "directory", what }.to_status()
    })?;
    let progress = told.clone();
    let options = FetchOptions::new().name(fetch.name).connect_timeout(fetch.patience).progress(
        move |step: stt_swarm::FetchProgress| {
            let phase = match step.phase {
                Phase::Checking => FetchPhase::Checking,
                Phase::Done => FetchPhase::Done,
                _ => FetchPhase::Moving,
            };
            // Who reads slowly hears less often.
            let _ = progress.try_send(Ok(answer(Part::Progress(FetchProgress {
                phase: phase.into(),
                name: step.name,
                done: step.done,
                total: step.total,
                providers: step.providers.iter().map(provider).collect(),
            }))));
        },
    );
    let fetched = stt_swarm::fetch(&state.node, &fetch.ticket, &fetch.directory, &options).await;
    Ok(answer(Part::Fetched(describe(&fetched.map_err(|error| error.to_status())?))))
}

fn provider(report: &ProviderReport) -> FetchProvider {
    FetchProvider {
        id: report.node_id.to_string(),
        bytes: report.bytes,
        bytes_per_second: report.bytes_per_second,
        dropped: report.dropped.as_ref().map(ToString::to_string).unwrap_or_default(),
        lied: report.lied,
    }
}

fn describe(fetched: &Fetched) -> FetchedContent {
    FetchedContent {
        path: fetched.path.display().to_string(),
        name: fetched.name.clone(),
        bytes: fetched.size,
        files: fetched.files,
        resumed: fetched.resumed,
        duplicates: fetched.duplicates,
        seconds: fetched.elapsed.as_secs_f64(),
        providers: fetched.providers.iter().map(provider).collect(),
    }
}
