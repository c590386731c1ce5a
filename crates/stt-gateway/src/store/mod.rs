//! `StoreService`: the store as a whole, by hash and by name.

mod messages;
mod verifying;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use stt_store::{Keep, StoreError};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    RequestError,
    answers::{self, Answers},
    download,
    files::PREFIX,
    proto::v1::{
        CollectStoreRequest, CollectStoreResponse, ContentHeader, GetContentRequest,
        GetContentResponse, GetStoreStatsRequest, ListContentsRequest, ListContentsResponse,
        PutContentHeader, PutContentRequest, PutContentResponse, RemoveContentRequest,
        RemoveContentResponse, StoreStats, VerifyStoreRequest, VerifyStoreResponse,
        get_content_response, list_contents_response, put_content_header, put_content_request,
        store_service_server::StoreService,
    },
    state::Shared,
    status::ToStatus,
    upload::Upload,
};

/// Stores that are verified at once: each reads all there is.
const VERIFYING: usize = 2;

/// The service.
pub(crate) struct StoreOver {
    state: Shared,
    verifying: Arc<Semaphore>,
}

impl StoreOver {
    pub(crate) fn new(state: Shared) -> Self {
        Self { state, verifying: Arc::new(Semaphore::new(VERIFYING)) }
    }
}

fn failed(error: StoreError) -> Status {
    error.to_status()
}

/// Names that the gateway keeps its own entries under are not for callers.
fn check_name(field: &'static str, name: &str) -> Result<(), Status> {
    if !name.starts_with(PREFIX) {
        return Ok(());
    }
    let what = format!("{PREFIX} begins the names of the gateway's own entries");
    Err(RequestError::Invalid { field, what }.to_status())
}

/// What keeps the content that is put.
fn keep(first: Option<PutContentRequest>) -> Result<Keep, Status> {
    use put_content_header::Keep as Asked;
    let Some(put_content_request::Part::Header(PutContentHeader { keep })) =
        first.and_then(|first| first.part)
    else {
        let what = "the first message is the header".to_owned();
        return Err(RequestError::Invalid { field: "part", what }.to_status());
    };
    Ok(match keep {
        Some(Asked::Name(name)) => {
            check_name("name", &name)?;
            Keep::Named(name)
        }
        Some(Asked::Cached(true)) => Keep::Cached,
        Some(Asked::Cached(false)) | None => Keep::Pinned,
    })
}

#[tonic::async_trait]
impl StoreService for StoreOver {
    async fn put_content(
        &self,
        request: Request<Streaming<PutContentRequest>>,
    ) -> Result<Response<PutContentResponse>, Status> {
        let chamber = &self.state.chamber;
        let mut requests = request.into_inner();
        let keep = keep(requests.message().await?)?;
        let before = match &keep {
            Keep::Named(name) => chamber.resolve(name).await.ok(),
            _ => None,
        };
        let mut upload = Upload::new(requests, true, |request| match request.part {
            Some(put_content_request::Part::Chunk(chunk)) => Some(chunk),
            _ => None,
        });
        let stored = chamber.put_reader(&mut upload, keep).await;
        if let Some(status) = upload.failure.take() {
            return Err(status);
        }
        let id = stored.map_err(failed)?;
        let before = before.filter(|before| *before != id);
        Ok(Response::new(PutContentResponse {
            id: id.to_string(),
            bytes: upload.size,
            name_pointed_to: before.map(|before| before.to_string()).unwrap_or_default(),
        }))
    }

    type GetContentStream = Answers<GetContentResponse>;

    async fn get_content(
        &self,
        request: Request<GetContentRequest>,
    ) -> Result<Response<Self::GetContentStream>, Status> {
        use get_content_response::Part;
        let chamber = &self.state.chamber;
        let id = chamber.find(&request.into_inner().item).await.map_err(failed)?;
        let reader = chamber.reader(&id).await.map_err(failed)?;
        let bytes = reader.len();
        let answer = |part| GetContentResponse { part: Some(part) };
        let header = answer(Part::Header(ContentHeader { id: id.to_string(), bytes }));
        let chunks = download::chunks(reader, String::new(), 0..bytes, || {});
        let chunks = chunks.map_ok(move |chunk| answer(Part::Chunk(chunk)));
        Ok(Response::new(Box::pin(stream::iter([Ok(header)]).chain(chunks))))
    }

    type ListContentsStream = Answers<ListContentsResponse>;

    async fn list_contents(
        &self,
        _request: Request<ListContentsRequest>,
    ) -> Result<Response<Self::ListContentsStream>, Status> {
        use list_contents_response::Part;
        let listed = self.state.chamber.contents_stream().map(|info| {
            let part = match info.map_err(failed)? {
                Ok(info) => Part::Content(info.into()),
                Err(problem) => Part::Problem((&problem).into()),
            };
            Ok(ListContentsResponse { part: Some(part) })
        });
        Ok(Response::new(Box::pin(listed)))
    }

    async fn remove_content(
        &self,
        request: Request<RemoveContentRequest>,
    ) -> Result<Response<RemoveContentResponse>, Status> {
        let item = request.into_inner().item;
        check_name("item", &item)?;
        let removed = self.state.chamber.remove_item(&item).await.map_err(failed)?;
        Ok(Response::new(removed.into()))
    }

    type VerifyStoreStream = Answers<VerifyStoreResponse>;

    async fn verify_store(
        &self,
        _request: Request<VerifyStoreRequest>,
    ) -> Result<Response<Self::VerifyStoreStream>, Status> {
        let turn = Arc::clone(&self.verifying).try_acquire_owned().map_err(|_| {
            RequestError::Full { what: "stores being verified", limit: VERIFYING }.to_status()
        })?;
        Ok(Response::new(answers::of_work(Arc::clone(&self.state), turn, verifying::run)))
    }

    async fn collect_store(
        &self,
        request: Request<CollectStoreRequest>,
    ) -> Result<Response<CollectStoreResponse>, Status> {
        let collected = self.state.chamber.collect(request.into_inner().dry_run).await;
        Ok(Response::new(collected.map_err(failed)?.into()))
    }

    async fn get_store_stats(
        &self,
        _request: Request<GetStoreStatsRequest>,
    ) -> Result<Response<StoreStats>, Status> {
        let chamber = &self.state.chamber;
        let stats: StoreStats = chamber.stats().await.map_err(failed)?.into();
        Ok(Response::new(StoreStats { place: chamber.place(), ..stats }))
    }
}
