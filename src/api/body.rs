//! Bodies: one tree in JSON, YAML or TOML.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::header::CONTENT_TYPE,
};
use serde::de::DeserializeOwned;

use super::{ApiError, ApiResult};
use crate::document::{self, Format};

/// A bulk of some ten thousand sources.
const BODY_BYTES_MAX: usize = 8 << 20;

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
        let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|_| ApiError::too_large(BODY_BYTES_MAX))?;
        let text = String::from_utf8(bytes.into()).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
        Ok(Self { text, format })
    }
}

impl Document {
    /// The body as a `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> ApiResult<T> {
        let invalid = |fault| ApiError::invalid("The body is not what is read here.", vec![fault]);
        document::typed(document::tree(&self.text, self.format).map_err(invalid)?).map_err(invalid)
    }
}
