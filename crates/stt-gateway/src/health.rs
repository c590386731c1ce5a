//! `grpc.health.v1`, as its standard says.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    RequestError,
    answers::Answers,
    proto::health::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
        health_server::Health,
    },
    state::{Phase, Shared},
    status::ToStatus,
};

/// Services, and whether they serve.
type Board = Arc<BTreeMap<String, bool>>;

/// The status of each service, and who waits for it to change.
pub(crate) struct HealthBoard {
    board: watch::Sender<Board>,
}

impl HealthBoard {
    /// The whole server, named by the empty text, and `services`: none serves yet.
    pub(crate) fn new(services: &[&str]) -> Self {
        let names = services.iter().copied().chain([""]);
        let board = names.map(|name| (name.to_owned(), false)).collect();
        Self { board: watch::Sender::new(Arc::new(board)) }
    }

    /// Sets all of them.
    pub(crate) fn set_all(&self, serving: bool) {
        self.board.send_modify(|board| {
            let names = board.keys().cloned();
            *board = Arc::new(names.map(|name| (name, serving)).collect());
        });
    }
}

fn status_of(board: &Board, service: &str) -> Option<ServingStatus> {
    let serving = board.get(service)?;
    Some(if *serving { ServingStatus::Serving } else { ServingStatus::NotServing })
}

/// The service.
pub(crate) struct HealthService(pub(crate) Shared);

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = status_of(&self.0.health.board.borrow(), &name)
            .ok_or_else(|| RequestError::UnknownService { name }.to_status())?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let state = Arc::clone(&self.0);
        let mut board = state.health.board.subscribe();
        board.mark_changed();
        let begin = (state, board, name, None);
        let changes = stream::unfold(begin, |(state, mut board, name, told)| async move {
            loop {
                let now = {
                    let board = board.borrow_and_update();
                    status_of(&board, &name).unwrap_or(ServingStatus::ServiceUnknown)
                };
                if told != Some(now) {
                    let answer = HealthCheckResponse { status: now.into() };
                    return Some((Ok(answer), (state, board, name, Some(now))));
                }
                tokio::select! {
                    biased;
                    changed = board.changed() => changed.ok()?,
                    // Nothing changes any more, and a call that stays would hold up the end.
                    () = state.reached(Phase::Draining) => return None,
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
