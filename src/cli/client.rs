//! The API's client: what it answers, or why there is no answer, in words.

use std::{cell::Cell, error::Error as _, fmt::Write, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::{ClientArgs, Exit, Failure};

/// For a connection to be there, where other addresses may be tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// Rows asked for at once: the API's most.
const PAGE_ROWS: usize = 1000;

/// Asks the first of its addresses that answers, and goes on with that one.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    bases: Vec<Url>,
    /// Which of them answered last.
    current: Cell<usize>,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let bases = args.api.iter().map(|text| base(text)).collect::<Result<Vec<_>, _>>()?;
        // Whoever installed a provider before installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(args.timeout).no_proxy();
        if bases.len() > 1 {
            // The next address is tried when a host is silent; one alone has the whole time.
            builder = builder.connect_timeout(CONNECT_PATIENCE.min(args.timeout));
        }
        if let Some(path) = &args.api_ca {
            let pem = std::fs::read(path).map_err(|error| Failure::usage(format!("--api-ca: cannot read {}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
            let certificates =
                certificates.ok_or_else(|| Failure::usage(format!("--api-ca: there is no certificate (PEM) in {}", path.display())))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| Failure::error(format!("cannot make an HTTP client: {}", causes(&error))))?;
        Ok(Self { http, bases, current: Cell::new(0), token: args.token.clone() })
    }

    fn url(&self) -> &Url {
        &self.bases[self.current.get()]
    }

    /// The same client of another node's API at `ADDRESS:PORT`; none where that is no address.
    pub(super) fn at(&self, address: &str) -> Option<Self> {
        let base = Url::parse(&format!("{}://{address}", self.url().scheme())).ok()?;
        Some(Self { bases: vec![base], current: Cell::new(0), ..self.clone() })
    }

    /// The API that it asks, or asked last.
    pub(super) fn base(&self) -> &str {
        self.url().as_str().trim_end_matches('/')
    }

    /// A request of `path` (segments, unescaped) below `/v1`.
    pub(super) fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url().clone();
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
        let response = self.reach(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        Err(problem(status, &body).unwrap_or_else(|| self.strange(status, "its body is no problem document")))
    }

    /// Sends it to the address of last time, and to the others in turn as long as nobody is there. A request that may have arrived is not repeated.
    async fn reach(&self, request: RequestBuilder) -> Result<reqwest::Response, Failure> {
        let request = request.build().map_err(|error| self.no_answer(&error))?;
        let below = request.url().as_str()[self.base().len()..].to_owned();
        let mut failures = Vec::new();
        for _ in 0..self.bases.len() {
            let url = Url::parse(&format!("{}{below}", self.base()));
            let (Some(mut attempt), Ok(url)) = (request.try_clone(), url) else { break };
            *attempt.url_mut() = url;
            match self.http.execute(attempt).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_connect() => failures.push(self.no_answer(&error)),
                Err(error) => return Err(self.no_answer(&error)),
            }
            self.current.set((self.current.get() + 1) % self.bases.len());
        }
        Err(match <[Failure; 1]>::try_from(failures) {
            Ok([only]) => only,
            Err(all) => {
                let lines: Vec<String> = all.iter().map(|failure| format!("\n  {failure}")).collect();
                Failure::error(format!("none of the {} addresses of --api answers:{}", self.bases.len(), lines.concat()))
            }
        })
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
        let base = self.base();
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
        Failure::error(format!("{} answers {status}, but not as a logvine API does ({why}): check --api", self.base()))
    }
}

/// The address of an API as people write it.
fn base(text: &str) -> Result<Url, Failure> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut base = Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // Who names a host alone means the port that agents have. A URL does not tell the default port of its scheme from none.
    let has_port = text.contains("://") || text.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    if let Some(url) = base.as_mut().filter(|_| !has_port) {
        let _ = url.set_port(Some(crate::config::HTTP_PORT));
    }
    base.ok_or_else(|| Failure::usage(format!("--api: `{text}` is not an address of an API: write one like http://127.0.0.1:7948")))
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
        let _ = write!(message, "\n  {}", in_verbs(action));
    }
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Exit::Conflict,
        _ => Exit::Error,
    };
    Some(Failure { exit, message })
}

/// What a caller of the API is told to ask, and the verb that asks it.
const VERBS: &[(&str, &str)] = &[
    ("`GET /v1/components`", "`logvine component list`"),
    ("`GET /v1/instances`", "`logvine instance list`"),
    ("`GET /v1/keys`", "`logvine key list`"),
    ("`GET /v1/nodes`", "`logvine node list`"),
    ("`GET /v1/operations`", "`logvine operation list`"),
    ("`GET /v1/runners`", "`logvine runner list`"),
    ("`GET /v1/settings`", "`logvine setting list`"),
    ("`GET /v1/sources`", "`logvine source list`"),
    ("`GET /v1/tags`", "`logvine tag list`"),
    ("See /openapi.json.", "See `--help`."),
];

/// An API's advice, for whoever types verbs and no URLs.
fn in_verbs(action: &str) -> String {
    VERBS.iter().fold(action.to_owned(), |text, (call, verb)| text.replace(call, verb))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn advice_names_verbs_that_there_are() {
        assert_eq!(in_verbs("`GET /v1/nodes` lists the nodes and their tags."), "`logvine node list` lists the nodes and their tags.");
        for verb in VERBS.iter().filter_map(|(_, verb)| verb.strip_prefix("`logvine ")) {
            let words = verb.trim_end_matches('`').split(' ');
            assert!(super::super::Cli::try_parse_from(std::iter::once("logvine").chain(words)).is_ok(), "{verb}");
        }
    }

    /// What is not found is advised by the address of its list: each list has its verb here, and no other address has one. `whole` sees that the API says so.
    #[test]
    fn each_list_of_the_api_is_told_by_its_verb() {
        let description: Value = serde_json::from_str(include_str!("../api/openapi.json")).unwrap();
        let list = |item: &Value| Some(item["get"]["operationId"].as_str()?.strip_suffix("_list")?.to_owned());
        let lists = description["paths"].as_object().unwrap().iter().filter_map(|(path, item)| Some((format!("`GET {path}`"), list(item)?)));
        let lists: Vec<_> = lists.map(|(call, what)| (call, format!("`logvine {what} list`"))).collect();
        let told = VERBS.iter().filter(|(call, _)| call.starts_with("`GET ")).map(|(call, verb)| ((*call).to_owned(), (*verb).to_owned()));
        assert_eq!(told.collect::<Vec<_>>(), lists);
    }

    #[test]
    fn an_address_may_be_written_short() {
        let url = |text: &str| base(text).map(|url| url.to_string()).map_err(|failure| failure.exit);
        assert_eq!(url("web-1"), Ok("http://web-1:7948/".to_owned()));
        assert_eq!(url("10.0.0.1:80"), Ok("http://10.0.0.1/".to_owned()));
        assert_eq!(url("https://logs.example"), Ok("https://logs.example/".to_owned()));
        assert_eq!(url("http://[::1]:7948/below"), Ok("http://[::1]:7948/below".to_owned()));
        for wrong in ["", "ftp://a", "http://"] {
            assert_eq!(url(wrong), Err(Exit::Usage), "{wrong}");
        }
    }

    /// RFC 9457: what is wrong, where, and what to do; the exit code by the status.
    #[test]
    fn a_problem_document_is_told_in_words() {
        let body = r#"{"title":"T","detail":"D","errors":[{"pointer":"/a","detail":"x\ny"},{"pointer":"","detail":"z"}],"action":"do"}"#;
        let failure = problem(StatusCode::PRECONDITION_FAILED, body).unwrap();
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Conflict, "T: D\n  /a: x\n    y\n  z\n  do"));
        assert_eq!(problem(StatusCode::NOT_FOUND, body).unwrap().exit, Exit::NotFound);
        assert_eq!(problem(StatusCode::BAD_GATEWAY, body).unwrap().exit, Exit::Error);
        assert!(problem(StatusCode::BAD_GATEWAY, "<html>").is_none());
    }
}
