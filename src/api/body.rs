//! Bodies: one tree in JSON, YAML or TOML.

use std::time::Duration;

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;

use super::{ApiError, ApiResult};
use crate::document::{self, Format};

/// A bulk of some ten thousand sources.
const BODY_BYTES_MAX: usize = 8 << 20;

/// For a whole body: a megabit a second is enough.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// A body's text and how it is written.
pub(super) struct Document {
    pub(super) text: String,
    pub(super) format: Format,
}

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?").to_owned());
        let format = match &content_type {
            Some(text) => Format::of_content_type(text).ok_or_else(|| ApiError::media_type(text))?,
            None => Format::Json,
        };
        // What is announced as too large is refused before a byte of it is read.
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(ApiError::too_large(BODY_BYTES_MAX));
        }
        let whole = tokio::time::timeout(BODY_PATIENCE, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
        let bytes = whole.map_err(|_| ApiError::too_slow(BODY_PATIENCE))?.map_err(|error| broken(&error))?;
        let text = String::from_utf8(bytes.into()).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
        Ok(Self { text, format })
    }
}

/// Why a body did not come whole. Who hung up hears nothing of it; who sends without an announced length may.
fn broken(error: &axum::Error) -> ApiError {
    let too_large = std::error::Error::source(error).is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
    if too_large { ApiError::too_large(BODY_BYTES_MAX) } else { ApiError::bad_request("the body broke off") }
}

impl Document {
    /// The body as a `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> ApiResult<T> {
        let invalid = |fault| ApiError::invalid("The body is not what is read here.", vec![fault]);
        document::typed(document::tree(&self.text, self.format).map_err(invalid)?).map_err(invalid)
    }
}
