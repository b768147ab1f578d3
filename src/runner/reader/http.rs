//! Follows a growing remote file by Range (RFC 9110 section 14).

use std::sync::Arc;

use logvine_cluster::{
    checkpoint::{FileKey, Position},
    spec::{HttpReaderSpec, SourceSpec},
};

use super::{Read, ReadError, Reader};
use crate::policy::{Dialer, Policy};

/// What all `http` sources of an instance share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpReaders {
    _dialer: Dialer,
}

impl HttpReaders {
    /// Errors: a header is malformed.
    pub fn new(_spec: &HttpReaderSpec, policy: Arc<Policy>) -> Result<Self, ReadError> {
        Ok(Self { _dialer: Dialer::new(policy, |builder| builder).map_err(|error| ReadError::new(error.to_string()))? })
    }

    /// Follows `source` from `resume` (of `Checkpoint::resume`) on; None: from the spec's `start_at`. Errors: the URL is malformed or forbidden.
    pub fn open(&self, _source: &SourceSpec, _resume: Option<(FileKey, Position)>) -> Result<HttpReader, ReadError> {
        Ok(HttpReader {})
    }
}

/// Follows one remote file.
#[derive(Debug)]
pub struct HttpReader {}

impl Reader for HttpReader {
    async fn next(&mut self) -> Result<Read, ReadError> {
        Ok(Read::AtEnd)
    }

    fn lag_bytes(&self) -> u64 {
        0
    }
}
