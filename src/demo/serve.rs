//! Serves a directory of growing files over HTTP with Range, as any web server does: so that a remote source needs no agent beside it.

use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    routing::get,
};
use logvine_cluster::name::Name;

/// The most bytes in one answer to a Range request. A server may give less than it was asked for (RFC 9110 §15.3.7); the reader asks again.
const PART_BYTES_MAX: u64 = 1 << 20;

/// `GET` and `HEAD` of `/NAME` for the files in `dir` (RFC 9110 §14). One range a request; others get the whole file.
pub fn router(dir: PathBuf) -> Router {
    Router::new().route("/{name}", get(file)).with_state(dir)
}

/// What a Range header asks of a file of a given length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// No range, or one that a server may ignore.
    Whole,
    /// First byte and how many.
    Part { start: u64, bytes: u64 },
    /// Nothing of the file is in it.
    Unsatisfiable,
}

/// RFC 9110 §14.1.2: `bytes=a-b`, `bytes=a-`, `bytes=-n`.
fn asked(header: Option<&str>, length: u64) -> Asked {
    let range = header.and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.trim().split_once('-'));
    let (start, end) = match range {
        Some(("", last)) => match last.parse::<u64>() {
            Ok(0) => return Asked::Unsatisfiable,
            Ok(last) => (length.saturating_sub(last), length),
            Err(_) => return Asked::Whole,
        },
        Some((start, "")) => match start.parse() {
            Ok(start) => (start, length),
            Err(_) => return Asked::Whole,
        },
        Some((start, end)) => match (start.parse::<u64>(), end.parse::<u64>()) {
            (Ok(start), Ok(end)) if start <= end => (start, end.saturating_add(1).min(length)),
            _ => return Asked::Whole,
        },
        None => return Asked::Whole,
    };
    if start >= length { Asked::Unsatisfiable } else { Asked::Part { start, bytes: (end - start).min(PART_BYTES_MAX) } }
}

async fn file(State(dir): State<PathBuf>, UrlPath(name): UrlPath<String>, method: Method, headers: HeaderMap) -> Response<Body> {
    // A name has no slash and does not begin with a dot: it cannot lead out of the directory.
    let Some(path) = name.parse::<Name>().ok().map(|name| dir.join(name.as_str())) else { return empty(StatusCode::NOT_FOUND) };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    match tokio::task::spawn_blocking(move || answer(&path, range.as_deref(), method == Method::HEAD)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => empty(StatusCode::NOT_FOUND),
        _ => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn answer(path: &Path, range: Option<&str>, head: bool) -> std::io::Result<Response<Body>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let (status, start, bytes, content_range) = match asked(range, length) {
        Asked::Whole => (StatusCode::OK, 0, length, None),
        Asked::Part { start, bytes } => (StatusCode::PARTIAL_CONTENT, start, bytes, Some(format!("bytes {start}-{}/{length}", start + bytes - 1))),
        Asked::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0, Some(format!("bytes */{length}"))),
    };
    let mut content = Vec::new();
    if !head {
        file.seek(SeekFrom::Start(start))?;
        file.take(bytes).read_to_end(&mut content)?;
    }
    let mut response = Response::new(if head { Body::empty() } else { Body::from(content) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    if let Some(content_range) = content_range {
        headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(content_range).expect("digits and ASCII"));
    }
    Ok(response)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 §14.1.2, §14.2, §15.5.17.
    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(asked(None, 100), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-"), 100), Asked::Part { start: 0, bytes: 100 });
        assert_eq!(asked(Some("bytes=10-19"), 100), Asked::Part { start: 10, bytes: 10 });
        assert_eq!(asked(Some("bytes=90-500"), 100), Asked::Part { start: 90, bytes: 10 });
        assert_eq!(asked(Some("bytes=-5"), 100), Asked::Part { start: 95, bytes: 5 });
        assert_eq!(asked(Some("bytes=-500"), 100), Asked::Part { start: 0, bytes: 100 });
        for unsatisfiable in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(asked(Some(unsatisfiable), 100), Asked::Unsatisfiable, "{unsatisfiable}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Unsatisfiable);
        for ignored in ["bytes=9-3", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=-"] {
            assert_eq!(asked(Some(ignored), 100), Asked::Whole, "{ignored}");
        }
    }

    async fn get(router: &Router, name: &str, range: Option<&str>) -> (StatusCode, Option<String>, String) {
        let mut request = axum::http::Request::builder().uri(format!("/{name}"));
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let response = tower::ServiceExt::oneshot(router.clone(), request.body(Body::empty()).unwrap()).await.unwrap();
        let content_range = response.headers().get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, content_range, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_growing_file_is_followed_by_range() {
        let dir = tempfile::tempdir().unwrap();
        let router = router(dir.path().to_owned());
        std::fs::write(dir.path().join("app.log"), "one\ntwo\n").unwrap();
        assert_eq!(get(&router, "app.log", Some("bytes=4-")).await, (StatusCode::PARTIAL_CONTENT, Some("bytes 4-7/8".into()), "two\n".into()));
        assert_eq!(get(&router, "app.log", Some("bytes=8-")).await, (StatusCode::RANGE_NOT_SATISFIABLE, Some("bytes */8".into()), String::new()));
        std::fs::write(dir.path().join("app.log"), "one\ntwo\nthree\n").unwrap();
        assert_eq!(get(&router, "app.log", Some("bytes=8-")).await, (StatusCode::PARTIAL_CONTENT, Some("bytes 8-13/14".into()), "three\n".into()));
        assert_eq!(get(&router, "app.log", None).await, (StatusCode::OK, None, "one\ntwo\nthree\n".into()));
    }

    #[tokio::test]
    async fn nothing_outside_the_directory_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        for name in ["..%2Fsecret", "%2E%2E%2Fsecret", "missing.log"] {
            assert_eq!(get(&router(inner.clone()), name, None).await.0, StatusCode::NOT_FOUND, "{name}");
        }
    }
}
