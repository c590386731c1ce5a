//! Calls to a running node.

use std::{path::Path, time::Duration};

use stt_gateway::{
    Token,
    proto::v1::{
        content_service_client::ContentServiceClient, store_service_client::StoreServiceClient,
        swarm_service_client::SwarmServiceClient, system_service_client::SystemServiceClient,
        topic_service_client::TopicServiceClient,
    },
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::record::{Phase, Record, find};
use crate::error::CliError;

/// How long a node on this machine has to take a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows the token with every call.
#[derive(Clone)]
pub(crate) struct Shown(MetadataValue<Ascii>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// How its calls travel.
pub(crate) type Calls = InterceptedService<Channel, Shown>;

/// A connection to the node that runs in a directory.
pub(crate) struct Client {
    record: Record,
    calls: Calls,
}

impl Client {
    /// Connects to the node that runs in `dir`; `None` if none does.
    pub(crate) async fn connect(dir: &Path) -> Result<Option<Self>, CliError> {
        let Some(record) = find(dir)? else { return Ok(None) };
        if record.state == Phase::Stopping {
            let what = format!("the node in {} is stopping", dir.display());
            return Err(CliError::new("up.stopping", what));
        }
        let silent = |cause: &str| Self::silent(dir, cause);
        let token = Token::load(&record.token_file)
            .map_err(|error| CliError::doing("the node cannot be called", &error))?;
        let header = format!("Bearer {}", token.reveal());
        let mut header: MetadataValue<Ascii> =
            header.parse().map_err(|_| silent("its token is no header"))?;
        header.set_sensitive(true);
        let endpoint = Endpoint::from_shared(record.gateway.clone())
            .map_err(|error| silent(&error.to_string()))?
            .connect_timeout(PATIENCE);
        let channel = endpoint.connect().await.map_err(|error| silent(&error.to_string()))?;
        let calls = InterceptedService::new(channel, Shown(header));
        Ok(Some(Self { record, calls }))
    }

    /// The error for a node that does not answer.
    pub(crate) fn silent(dir: &Path, cause: &str) -> CliError {
        let what = format!("the node in {} does not answer: {cause}", dir.display());
        CliError::new("up.no_answer", what)
    }

    /// What the node told of itself.
    pub(crate) const fn record(&self) -> &Record {
        &self.record
    }

    /// The node itself.
    pub(crate) fn system(&self) -> SystemServiceClient<Calls> {
        SystemServiceClient::new(self.calls.clone())
    }

    /// The swarm that it takes part in.
    pub(crate) fn swarm(&self) -> SwarmServiceClient<Calls> {
        SwarmServiceClient::new(self.calls.clone())
    }

    /// Content of its machine, and of other members.
    pub(crate) fn content(&self) -> ContentServiceClient<Calls> {
        ContentServiceClient::new(self.calls.clone())
    }

    /// The store that it has open.
    pub(crate) fn store(&self) -> StoreServiceClient<Calls> {
        StoreServiceClient::new(self.calls.clone())
    }

    /// Topics of the swarm.
    pub(crate) fn topics(&self) -> TopicServiceClient<Calls> {
        TopicServiceClient::new(self.calls.clone())
    }
}

/// The error for a directory in which no node runs.
pub(crate) fn not_running(dir: &Path) -> CliError {
    CliError::new("up.not_running", format!("no node runs in {}", dir.display())).with_exit(3)
}
