//! Who may call.

use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use http::header::AUTHORIZATION;

use crate::{RequestError, Token, status::ToStatus};

/// Calls that need no token: supervisors and load balancers have none.
const OPEN: &str = "/grpc.health.v1.Health/";

/// The layer: turns away who does not show the token.
pub(crate) async fn check(
    Extract(token): Extract<Option<Token>>,
    request: Request,
    next: Next,
) -> Response {
    let open = request.uri().path().starts_with(OPEN);
    if open || is_shown(token.as_ref(), &request) {
        return next.run(request).await;
    }
    RequestError::Unauthenticated.to_status().into_http()
}

/// Whether the request shows the token, if there is one.
pub(crate) fn is_shown<B>(token: Option<&Token>, request: &http::Request<B>) -> bool {
    let Some(token) = token else { return true };
    let header = request.headers().get(AUTHORIZATION);
    header.is_some_and(|header| token.is_shown_by(header.as_bytes()))
}
