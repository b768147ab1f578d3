//! The console's files. They hold nothing of the cluster, so whoever reaches this address may read them: what they show is asked for with a token.

use axum::{
    extract::{Path, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::ApiError;

/// Names have a hash of what is in them.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The console
#[utoipa::path(get, path = "/", operation_id = "console", tag = "process", responses((status = 200, content_type = "text/html")))]
pub(super) async fn index() -> Result<Response, ApiError> {
    page()
}

/// A file of the console: `GET /assets/{file}`.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let file = logvine_ui::asset(&path).ok_or_else(|| ApiError::no_route(&format!("/assets/{path}")))?;
    // Its name says what is in it.
    let tag = format!("\"{path}\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let takes_gzip = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("gzip"));
    let shared =
        [(header::CONTENT_TYPE, file.media_type), (header::CACHE_CONTROL, FOR_EVER), (header::VARY, "accept-encoding"), (header::ETAG, &tag)];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, shared).into_response());
    }
    Ok(match file.gzipped.filter(|_| takes_gzip) {
        Some(gzipped) => (shared, [(header::CONTENT_ENCODING, "gzip")], gzipped).into_response(),
        None => (shared, file.bytes).into_response(),
    })
}

/// Whether a request is a browser's that opens one of the console's own addresses (`/machines/web-1`).
pub(super) fn is_page(request: &Request) -> bool {
    let path = request.uri().path();
    let of_the_api = ["/v1", "/metrics", "/livez", "/readyz", "/openapi.json", "/assets"];
    let is_api = of_the_api.iter().any(|begin| path.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    matches!(*request.method(), Method::GET | Method::HEAD) && !is_api && accepts.contains("text/html")
}

/// The page, with a nonce of its own: Mantine writes style elements, and only those that carry it count.
pub(super) fn page() -> Result<Response, ApiError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| ApiError::bad_request(format!("this node has no random numbers to give: {error}")))?;
    let nonce = BASE64_STANDARD.encode(random);
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(|_| ApiError::bad_request("the page's policy is no header"))?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, logvine_ui::page(&nonce)).into_response())
}
