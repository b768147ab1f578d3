//! Asks for a part of one remote file, and says what came.

use bytes::{Bytes, BytesMut};
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, LOCATION, RANGE},
};

use super::{CHUNK_BYTES_MAX, ReadError};
use crate::policy::{Dialer, denied};

/// Redirects in a row that are followed.
const REDIRECTS_MAX: u32 = 5;

/// A file that a web server has. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    dialer: Dialer,
    url: Url,
    /// The URL without what may be secret in it.
    shown: String,
    /// Whether headers are sent that are meant for this server alone.
    has_headers: bool,
}

/// What a server has of the range that it was asked for.
pub(super) enum Part {
    /// The bytes from where they were asked for, as many as came; the file's size where it was told; whether fewer came than were promised, and why.
    Bytes { bytes: Bytes, size: Option<u64>, broken: Option<String> },
    /// The file ends before the range begins.
    Beyond,
    /// There is no such file: 404 or 410.
    Missing(StatusCode),
}

impl Remote {
    /// Errors: the URL is malformed or forbidden.
    pub(super) fn new(dialer: &Dialer, url: &str, has_headers: bool) -> Result<Self, ReadError> {
        let url: Url = url.parse().map_err(|error| ReadError::new(format!("`{url}` is not a URL: {error}")))?;
        dialer.client(&url).map_err(|denied| ReadError::new(denied.to_string()))?;
        Ok(Self { dialer: dialer.clone(), shown: shown(&url), url, has_headers })
    }

    /// Asks for a range and for no less: fewer bytes only where the file ends; none where there is none.
    pub(super) async fn ask_whole(&self, from: u64, most: u64) -> Result<Bytes, ReadError> {
        match self.ask(from, usize::try_from(most).unwrap_or(CHUNK_BYTES_MAX)).await? {
            Part::Beyond | Part::Missing(_) => Ok(Bytes::new()),
            Part::Bytes { bytes, broken: None, .. } => Ok(bytes),
            Part::Bytes { broken: Some(broken), .. } => Err(self.broke_off(&broken)),
        }
    }

    /// Asks for `most` bytes from `from` on.
    pub(super) async fn ask(&self, from: u64, most: usize) -> Result<Part, ReadError> {
        let response = self.send(&format!("bytes={from}-{}", from + most as u64 - 1)).await?;
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(
                self.error(format_args!("it is sent compressed ({encoding:?}) though that was not asked for; let the server send it as it is"))
            );
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (first, last, size) = content_range(response.headers())
                    .ok_or_else(|| self.error(format_args!("its answer 206 has no Content-Range with the one range that was asked for")))?;
                if first != from {
                    return Err(self.error(format_args!("it was asked for the bytes from {from} on and sent those from {first} on")));
                }
                let promised = usize::try_from(last + 1 - first).unwrap_or(most).min(most);
                Ok(body(response, promised, size).await)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Part::Beyond),
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => Ok(Part::Missing(status)),
            // A range that is the whole file may be answered as such by a server that knows Range.
            StatusCode::OK if response.content_length() == Some(0) => Ok(Part::Bytes { bytes: Bytes::new(), size: Some(0), broken: None }),
            StatusCode::OK if from == 0 && accepts_ranges(&response) && response.content_length().is_some_and(|length| length <= most as u64) => {
                let size = response.content_length();
                let promised = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(most);
                Ok(body(response, promised, size).await)
            }
            status => Err(self.refused(status)),
        }
    }

    /// Sends the request, to where redirects lead as far as the policy allows. What may be secret in a header does not go to another server.
    async fn send(&self, range: &str) -> Result<Response, ReadError> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let client = self.dialer.client(&url).map_err(|denied| ReadError::new(denied.to_string()))?;
            let request = client.get(url.clone()).header(RANGE, range).header(ACCEPT_ENCODING, "identity");
            let response = request.send().await.map_err(|error| match denied(&error) {
                Some(denied) => ReadError::new(denied.to_string()),
                None => self.error(format_args!("{}", causes(&error))),
            })?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = self.redirected(&url, &response)?;
        }
        Err(self.error(format_args!("it leads through more than {REDIRECTS_MAX} redirects; name the URL where they end")))
    }

    fn redirected(&self, from: &Url, response: &Response) -> Result<Url, ReadError> {
        let status = response.status();
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let Some(url) = to.and_then(|to| from.join(to).ok()).filter(|url| ["http", "https"].contains(&url.scheme())) else {
            return Err(self.error(format_args!("the server answers {status} and leads to no URL; name the file's own URL")));
        };
        if url.origin() != from.origin() && self.has_headers {
            let told = shown(&url);
            return Err(self.error(format_args!(
                "the server answers {status} and leads to {told}, another server, to which the reader's `headers` are not sent; name that URL instead"
            )));
        }
        if from.scheme() == "https" && url.scheme() == "http" {
            return Err(
                self.error(format_args!("the server answers {status} and leads from https to {}; name that URL if you trust the way", shown(&url)))
            );
        }
        Ok(url)
    }

    /// What to say of a file that is not there.
    pub(super) fn missing(&self, status: StatusCode) -> ReadError {
        self.error(format_args!("the server answers {status}: there is no such file (yet); it is asked again until there is one"))
    }

    pub(super) fn broke_off(&self, why: &str) -> ReadError {
        self.error(format_args!("its answer broke off: {why}"))
    }

    fn refused(&self, status: StatusCode) -> ReadError {
        match status {
            StatusCode::OK => self.error(format_args!(
                "the server does not support Range requests for it (it answered 200 with all of the file); let the server serve it as a static file"
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.error(format_args!("the server answers {status}: let it allow this node, or give credentials under `headers` of the reader"))
            }
            status => self.error(format_args!("the server answers {status}")),
        }
    }

    pub(super) fn error(&self, what: std::fmt::Arguments<'_>) -> ReadError {
        ReadError::new(format!("cannot read {}: {what}", self.shown))
    }
}

/// Takes at most `promised` bytes. Those that came before the connection broke are as good as others.
async fn body(mut response: Response, promised: usize, size: Option<u64>) -> Part {
    let mut bytes = BytesMut::new();
    let mut broken = None;
    while bytes.len() < promised {
        match response.chunk().await {
            Ok(Some(more)) => bytes.extend_from_slice(&more[..more.len().min(promised - bytes.len())]),
            Ok(None) => {
                broken = Some(format!("{} of {promised} bytes came", bytes.len()));
                break;
            }
            Err(error) => {
                broken = Some(causes(&error));
                break;
            }
        }
    }
    Part::Bytes { bytes: bytes.freeze(), size, broken }
}

/// First and last byte and the size, of `bytes 0-9/10` (RFC 9110 section 14.4); the size may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    (first <= last && last < u64::MAX && size.is_none_or(|size| last < size)).then_some((first, last, size))
}

fn accepts_ranges(response: &Response) -> bool {
    response.headers().get(ACCEPT_RANGES).is_some_and(|unit| unit == "bytes")
}

/// A URL without user, password and query.
pub(in crate::reader) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// An error with its causes. reqwest's own text names the URL, with what may be secret in it.
pub(in crate::reader) fn causes(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut told = Vec::new();
    while let Some(error) = cause {
        told.push(error.to_string());
        cause = error.source();
    }
    match (told.last(), error.is_timeout()) {
        (_, true) => "no answer in time".to_owned(),
        (Some(last), _) => last.clone(),
        (None, _) => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        let read = |text: &str| content_range(&[(CONTENT_RANGE, text.parse().unwrap())].into_iter().collect());
        assert_eq!(read("bytes 0-9/10"), Some((0, 9, Some(10))));
        assert_eq!(read("bytes 5-9/*"), Some((5, 9, None)));
        for wrong in ["bytes 9-5/10", "bytes 0-9/5", "items 0-9/10", "bytes */10", "bytes 0-18446744073709551615/*", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
