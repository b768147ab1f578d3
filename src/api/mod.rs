//! The HTTP API (DESIGN §8.2): a handler parses, asks the node's loop, shapes an answer. It decides nothing.

mod access;
mod body;
mod carried_out;
mod components;
mod conflict;
mod connections;
mod console;
mod counters;
#[cfg(test)]
mod description;
mod events;
mod instances;
mod keys;
mod known;
mod listing;
mod live;
mod nodes;
mod operations;
mod plan;
mod problem;
mod process;
mod queues;
mod rewinds;
mod runners;
mod series;
mod settings;
mod sources;
mod written;

use std::{net::TcpListener, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::Request,
    http::{HeaderName, Method, Uri},
    middleware,
    routing::get,
};
use axum_server::tls_rustls::RustlsConfig;
use logvine_gossip::seal::ClusterId;
use tower_http::{
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::Level;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    access::{Access, Role, token_hash},
    problem::{ApiError, ApiResult, Problem},
};
use self::{carried_out::Writes, connections::Limited};
use crate::{
    agent::{AgentHandle, Asking, Keys},
    config::{Config, TlsFiles},
    events::EventLog,
    series::Series,
};

/// What handlers share. Clones are the same.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    agent: AgentHandle,
    asking: Asking,
    keys: Keys,
    events: EventLog,
    series: Series,
    access: Access,
    cluster: ClusterId,
    name: String,
}

impl App {
    /// The API of a node.
    #[expect(clippy::too_many_arguments, reason = "what handlers share, given once")]
    pub fn new(
        agent: AgentHandle,
        asking: Asking,
        keys: Keys,
        events: EventLog,
        series: Series,
        config: &Config,
        access: Access,
        cluster: ClusterId,
    ) -> Self {
        Self(Arc::new(Shared { agent, asking, keys, events, series, access, cluster, name: config.name.to_string() }))
    }

    fn agent(&self) -> &AgentHandle {
        &self.0.agent
    }

    fn series(&self) -> &Series {
        &self.0.series
    }

    fn asking(&self) -> &Asking {
        &self.0.asking
    }

    fn keys(&self) -> &Keys {
        &self.0.keys
    }

    fn events(&self) -> &EventLog {
        &self.0.events
    }

    fn access(&self) -> &Access {
        &self.0.access
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "logvine", description = "A node's API. Any node answers for the whole cluster.", license(name = "Apache-2.0")),
    components(schemas(Problem, live::TapWord, logvine_runner::tap::Stage)),
    tags(
        (name = "nodes"), (name = "runners"), (name = "operations"), (name = "sources"), (name = "events"), (name = "keys"), (name = "settings"), (name = "process")
    )
)]
struct Description;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(nodes::this))
        .routes(routes!(nodes::cluster))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::one, nodes::forget))
        .routes(routes!(nodes::set_tags))
        .routes(routes!(nodes::drain))
        .routes(routes!(nodes::undrain))
        .routes(routes!(nodes::tags))
        .routes(routes!(nodes::rename_tag))
        .routes(routes!(runners::list))
        .routes(routes!(runners::one, runners::put, runners::delete))
        .routes(routes!(runners::revisions))
        .routes(routes!(operations::verb))
        .routes(routes!(operations::list, operations::bulk))
        .routes(routes!(operations::one))
        .routes(routes!(instances::list))
        .routes(routes!(live::instance))
        .routes(routes!(components::list))
        .routes(routes!(series::series))
        .routes(routes!(live::tap))
        .routes(routes!(live::try_read))
        .routes(routes!(live::try_parse))
        .routes(routes!(live::try_transform))
        .routes(routes!(live::try_send))
        .routes(routes!(sources::list))
        .routes(routes!(sources::one))
        .routes(routes!(sources::patch))
        .routes(routes!(sources::check))
        .routes(routes!(plan::plan))
        .routes(routes!(events::list))
        .routes(routes!(keys::list, keys::install))
        .routes(routes!(keys::seal_with))
        .routes(routes!(keys::remove))
        .routes(routes!(settings::list))
        .routes(routes!(settings::set, settings::unset))
        .routes(routes!(process::livez))
        .routes(routes!(process::readyz))
        .routes(routes!(process::metrics))
        .routes(routes!(process::openapi))
        .routes(routes!(console::index))
}

fn router(app: App) -> Router {
    let request_id = HeaderName::from_static("x-request-id");
    let span = |request: &Request| {
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        tracing::debug_span!("request", method = %request.method(), path = request.uri().path(), id)
    };
    let (router, _) = routes().split_for_parts();
    router
        .route("/assets/{file}", get(console::asset))
        .fallback(|request: Request| async move {
            if console::is_page(&request) { console::page() } else { Err(ApiError::no_route(request.uri().path())) }
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move { ApiError::no_method(method.as_str(), uri.path()) })
        .layer(middleware::from_fn_with_state(Writes::new(), carried_out::to_the_end))
        .layer(middleware::from_fn_with_state(app.clone(), access::guard))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(DefaultOnFailure::new().level(Level::DEBUG)))
        .layer(PropagateRequestIdLayer::new(request_id.clone()))
        .layer(SetRequestIdLayer::new(request_id, MakeRequestUuid))
        .with_state(app)
}

/// A certificate and its key, ready to serve with.
#[derive(Debug, Clone)]
pub struct Tls(RustlsConfig);

impl Tls {
    /// Reads the two files. Errors: they cannot be read, hold no PEM, or do not belong together.
    pub async fn load(files: &TlsFiles) -> anyhow::Result<Self> {
        let loaded = RustlsConfig::from_pem_file(&files.cert, &files.key).await;
        let doing =
            || format!("cannot use the certificate {} with the key {}; check --http-cert and --http-key", files.cert.display(), files.key.display());
        Ok(Self(loaded.with_context(doing)?))
    }
}

/// Serves the API until it is dropped. Errors: the listener failed.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, app: App) -> anyhow::Result<()> {
    let service = router(app).into_make_service();
    let limited = Limited::new();
    match tls {
        Some(Tls(config)) => {
            let mut server = axum_server::from_tcp_rustls(listener, config)?.map(|acceptor| acceptor.acceptor(limited));
            Limited::prepare(&mut server);
            server.serve(service).await?;
        }
        None => {
            let mut server = axum_server::from_tcp(listener)?.acceptor(limited);
            Limited::prepare(&mut server);
            server.serve(service).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
