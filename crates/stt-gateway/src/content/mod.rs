//! `ContentService`: files and folders of this machine, shared and fetched.

mod fetching;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use stt::ContentId;
use stt_swarm::{ContentLibrary, ContentTicket, Shared as Offered};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{
    RequestError,
    answers::{self, Answers},
    proto::v1::{
        FetchContentRequest, FetchContentResponse, ListSharedContentRequest,
        ListSharedContentResponse, ShareContentRequest, SharedContent, UnshareContentRequest,
        UnshareContentResponse, content_service_server::ContentService,
    },
    state::Shared,
    status::ToStatus,
};

/// Fetches under way at once.
const FETCHES: usize = 16;

/// The service.
pub(crate) struct ContentOver {
    state: Shared,
    library: ContentLibrary,
    fetches: Arc<Semaphore>,
}

impl ContentOver {
    pub(crate) fn new(state: Shared, library: ContentLibrary) -> Self {
        Self { state, library, fetches: Arc::new(Semaphore::new(FETCHES)) }
    }

    /// Where others reach the node, if nobody says otherwise.
    fn own_addresses(&self) -> Vec<SocketAddr> {
        let local = self.state.node.local_addr();
        if local.ip().is_unspecified() { Vec::new() } else { vec![local] }
    }

    fn describe(
        &self,
        offered: &Offered,
        addresses: &[SocketAddr],
    ) -> Result<SharedContent, Status> {
        let ticket = self.library.ticket(offered, addresses);
        let folder = offered.folder.unwrap_or_default();
        Ok(SharedContent {
            ticket: ticket.map_err(|error| error.to_status())?.to_string(),
            hash: offered.root.to_string(),
            name: offered.name.clone(),
            bytes: offered.bytes(),
            files: offered.folder.map_or(1, |folder| folder.files),
            folder: offered.folder.is_some(),
            skipped: folder.skipped,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            not_announced: String::new(),
        })
    }

    /// Tells the swarm, now and from then on; if that fails, why.
    async fn announce(&self, root: &ContentId) -> String {
        let Some(swarm) = &self.state.swarm else { return RequestError::NoSwarm.to_string() };
        let told = swarm.dht().provide_content(root).await;
        told.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

/// A path that means the same to the caller and to the node.
fn absolute(field: &'static str, path: &str) -> Result<PathBuf, Status> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let what = "it is not absolute".to_owned();
    Err(RequestError::Invalid { field, what }.to_status())
}

#[tonic::async_trait]
impl ContentService for ContentOver {
    async fn share_content(
        &self,
        request: Request<ShareContentRequest>,
    ) -> Result<Response<SharedContent>, Status> {
        let request = request.into_inner();
        let path = absolute("path", &request.path)?;
        let parse = |text: &String| {
            text.parse::<SocketAddr>().map_err(|error| {
                let what = format!("{text:?}: {error}");
                RequestError::Invalid { field: "addresses", what }.to_status()
            })
        };
        let given = request.addresses.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if given.len() > ContentTicket::MAX_ADDRESSES {
            let what = format!("at most {} are allowed", ContentTicket::MAX_ADDRESSES);
            return Err(RequestError::Invalid { field: "addresses", what }.to_status());
        }
        let addresses = if given.is_empty() { self.own_addresses() } else { given };
        let offered = self.library.share(&path).await.map_err(|error| error.to_status())?;
        let mut shared = self.describe(&offered, &addresses)?;
        shared.not_announced = self.announce(&offered.root).await;
        Ok(Response::new(shared))
    }

    async fn unshare_content(
        &self,
        request: Request<UnshareContentRequest>,
    ) -> Result<Response<UnshareContentResponse>, Status> {
        let hash = request.into_inner().hash;
        let root = hash.parse::<ContentId>().map_err(|error| error.to_status())?;
        if !self.library.unshare(root) {
            return Err(RequestError::NotShared { hash }.to_status());
        }
        if let Some(swarm) = &self.state.swarm {
            // What others know of it is over in half an hour anyway.
            let _ = swarm.dht().stop_providing_content(&root).await;
        }
        Ok(Response::new(UnshareContentResponse {}))
    }

    async fn list_shared_content(
        &self,
        _request: Request<ListSharedContentRequest>,
    ) -> Result<Response<ListSharedContentResponse>, Status> {
        let mut offered = self.library.contents();
        offered.sort_by(|a, b| (&a.name, a.root).cmp(&(&b.name, b.root)));
        let addresses = self.own_addresses();
        let contents = offered.iter().map(|one| self.describe(one, &addresses));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        Ok(Response::new(ListSharedContentResponse { contents }))
    }

    type FetchContentStream = Answers<FetchContentResponse>;

    async fn fetch_content(
        &self,
        request: Request<FetchContentRequest>,
    ) -> Result<Response<Self::FetchContentStream>, Status> {
        let turn = Arc::clone(&self.fetches).try_acquire_owned().map_err(|_| {
            RequestError::Full { what: "fetches under way", limit: FETCHES }.to_status()
        })?;
        let fetch = fetching::Fetch::of(request.into_inner())?;
        let work = |state, told| fetching::run(state, fetch, told);
        Ok(Response::new(answers::of_work(Arc::clone(&self.state), turn, work)))
    }
}
