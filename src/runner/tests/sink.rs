//! A sink over real HTTP, and a web server that grows: what runners meet outside.

use std::{
    io::Read,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flate2::read::GzDecoder;
use tokio::net::TcpListener;

async fn serve(router: Router, path: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}{path}")
}

type Answer = Arc<dyn Fn(&Post) -> Response + Send + Sync>;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Post {
    pub(crate) fn lines(&self) -> usize {
        self.body.lines().count()
    }
}

/// Answers POSTs as it is told, and keeps those that it took.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) url: String,
    taken: Arc<Mutex<Vec<Post>>>,
}

impl Sink {
    pub(crate) async fn start<R: IntoResponse>(answer: impl Fn(&Post) -> R + Send + Sync + 'static) -> Self {
        Self::at("/logs", answer).await
    }

    /// It takes POSTs to this path alone.
    pub(crate) async fn at<R: IntoResponse>(path: &str, answer: impl Fn(&Post) -> R + Send + Sync + 'static) -> Self {
        let taken = Arc::new(Mutex::new(vec![]));
        let answer: Answer = Arc::new(move |post| answer(post).into_response());
        let router = Router::new().route(path, post(take)).with_state((answer, taken.clone()));
        Self { url: serve(router, path).await, taken }
    }

    pub(crate) fn taken(&self) -> Vec<Post> {
        self.taken.lock().unwrap().clone()
    }

    /// The bodies of the records that it took, sorted.
    pub(crate) fn records(&self) -> Vec<String> {
        let taken = self.taken();
        let lines = taken.iter().flat_map(|post| post.body.lines());
        let mut records: Vec<String> = lines.map(super::body_of).collect();
        records.sort();
        records
    }
}

async fn take(State((answer, taken)): State<(Answer, Arc<Mutex<Vec<Post>>>)>, headers: HeaderMap, body: Bytes) -> Response {
    let plain = if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        plain
    } else {
        body.to_vec()
    };
    // Protobuf is no text: those tests look at the headers.
    let post = Post { headers, body: String::from_utf8_lossy(&plain).into_owned() };
    let response = answer(&post);
    if response.status().is_success() {
        taken.lock().unwrap().push(post);
    }
    response
}

/// Serves one growing file by Range.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) url: String,
    file: Arc<Mutex<Vec<u8>>>,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let file = Arc::new(Mutex::new(vec![]));
        let router = Router::new().route("/logs", get(range)).with_state(file.clone());
        Self { url: serve(router, "/logs").await, file }
    }

    pub(crate) fn append(&self, text: &str) {
        self.file.lock().unwrap().extend_from_slice(text.as_bytes());
    }
}

async fn range(State(file): State<Arc<Mutex<Vec<u8>>>>, headers: HeaderMap) -> Response {
    let file = file.lock().unwrap();
    let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    if first >= file.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let last = last.parse::<usize>().unwrap().min(file.len() - 1);
    let told = format!("bytes {first}-{last}/{}", file.len());
    (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, told)], file[first..=last].to_vec()).into_response()
}
