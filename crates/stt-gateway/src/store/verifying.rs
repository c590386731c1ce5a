//! A store that is being verified, and what its caller is told.

use tonic::Status;

use super::failed;
use crate::{
    answers::Told,
    proto::v1::{VerifyProgress, VerifyStoreResponse, verify_store_response::Part},
    state::Shared,
};

const fn answer(part: Part) -> VerifyStoreResponse {
    VerifyStoreResponse { part: Some(part) }
}

pub(super) async fn run(
    state: Shared,
    told: Told<VerifyStoreResponse>,
) -> Result<VerifyStoreResponse, Status> {
    let report = state.chamber.verify(|contents, bytes| {
        // Who reads slowly hears less often.
        let _ = told.try_send(Ok(answer(Part::Progress(VerifyProgress { contents, bytes }))));
    });
    let report = report.await.map_err(failed)?;
    for problem in &report.problems {
        if told.send(Ok(answer(Part::Problem(problem.into())))).await.is_err() {
            break;
        }
    }
    Ok(answer(Part::Report((&report).into())))
}
