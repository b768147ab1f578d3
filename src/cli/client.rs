//! The API's client: what it answers, or why there is no answer, in words.

use std::{error::Error as _, fmt::Write};

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::{ClientArgs, Exit, Failure};

/// Rows asked for at once: the API's most.
const PAGE_ROWS: usize = 1000;

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let text = if args.api.contains("://") { args.api.clone() } else { format!("http://{}", args.api) };
        let base = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base =
            base.ok_or_else(|| Failure::usage(format!("--api: `{}` is not an address of an API: write one like http://127.0.0.1:7948", args.api)))?;
        // Whoever installed a provider before installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(args.timeout).no_proxy();
        if let Some(path) = &args.api_ca {
            let pem = std::fs::read(path).map_err(|error| Failure::usage(format!("--api-ca: cannot read {}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
            let certificates =
                certificates.ok_or_else(|| Failure::usage(format!("--api-ca: there is no certificate (PEM) in {}", path.display())))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| Failure::error(format!("cannot make an HTTP client: {}", causes(&error))))?;
        Ok(Self { http, base, token: args.token.clone() })
    }

    /// The same client of another node's API at `ADDRESS:PORT`; none where that is no address.
    pub(super) fn at(&self, address: &str) -> Option<Self> {
        let base = Url::parse(&format!("{}://{address}", self.base.scheme())).ok()?;
        Some(Self { base, ..self.clone() })
    }

    /// The API that it asks.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request of `path` (segments, unescaped) below `/v1`.
    pub(super) fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends it, and turns a problem document into a failure.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        let response = self.open(request).await?;
        let status = response.status();
        let body = response.text().await.map_err(|error| self.no_answer(&error))?;
        let value =
            if body.is_empty() { Value::Null } else { serde_json::from_str(&body).map_err(|error| self.strange(status, &error.to_string()))? };
        Ok((status, value))
    }

    /// Sends it; the body is still to be read.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<reqwest::Response, Failure> {
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        Err(problem(status, &body).unwrap_or_else(|| self.strange(status, "its body is no problem document")))
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        Ok(self.send(self.request(Method::GET, path, &[])).await?.1)
    }

    /// All rows of a list, page after page, or the first `limit`.
    pub(super) async fn list(&self, path: &[&str], query: &[(&str, &str)], limit: Option<usize>) -> Result<Vec<Value>, Failure> {
        let most = limit.unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        let mut cursor = None::<String>;
        while rows.len() < most {
            let page = (most - rows.len()).min(PAGE_ROWS).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &page));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let (status, mut answer) = self.send(self.request(Method::GET, path, &query)).await?;
            let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) else { return Err(self.strange(status, "it is no list")) };
            rows.extend(items);
            cursor = answer.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let base = self.base.as_str().trim_end_matches('/');
        let cause = causes(error);
        // rustls's words: its error is wrapped too deep to be asked for its kind.
        let untrusted = cause.strip_prefix("invalid peer certificate: ");
        Failure::error(if let Some(why) = untrusted {
            format!("the certificate of the API at {base} is not trusted ({why}): name the CA that signed it with --api-ca")
        } else if error.is_timeout() {
            format!("the API at {base} did not answer in time: is its node overloaded? `--timeout` waits longer")
        } else if error.is_connect() {
            format!("no agent answers at {base} ({cause}): start one with `logvine agent`, or name another node's API with --api or LOGVINE_API")
        } else {
            format!("the API at {base} broke off: {cause}; is it http:// or https://?")
        })
    }

    fn strange(&self, status: StatusCode, why: &str) -> Failure {
        Failure::error(format!("{} answers {status}, but not as a logvine API does ({why}): check --api", self.base))
    }
}

/// The innermost cause says what happened; the outer ones only that a request failed.
fn causes(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// An RFC 9457 document in words; None if it is none.
fn problem(status: StatusCode, body: &str) -> Option<Failure> {
    let document: Value = serde_json::from_str(body).ok()?;
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let title = text("title")?;
    let mut message = text("detail").map_or_else(|| title.to_owned(), |detail| format!("{title}: {detail}"));
    for fault in document.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let part = |key: &str| fault.get(key).and_then(Value::as_str).unwrap_or_default();
        let detail = part("detail").replace('\n', "\n    ");
        let pointer = part("pointer");
        let _ = if pointer.is_empty() { write!(message, "\n  {detail}") } else { write!(message, "\n  {pointer}: {detail}") };
    }
    if let Some(action) = text("action") {
        let _ = write!(message, "\n  {action}");
    }
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Exit::Conflict,
        _ => Exit::Error,
    };
    Some(Failure { exit, message })
}
