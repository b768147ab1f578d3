//! Writes: a command to the node, or a look at what it would concern.

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use logvine_cluster::{
    command::{Answer, Command, CommandError, Said},
    spec::SpecFault,
    view::{self, PlanView, TargetRow},
};
use logvine_gossip::Stamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ApiResult, App, access::Who, conflict::differences, counters::CountersPreview, known::explain, listing::Params, queues::QueuePreview,
    rewinds::RewindPreview,
};

/// Longer than a UUID, shorter than a nuisance in every node's catalog.
pub(super) const KEY_BYTES_MAX: usize = 128;

/// A reason is a sentence, and in every node's catalog for a week.
const REASON_BYTES_MAX: usize = 1_024;

/// What all writes take.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WriteQuery {
    /// Check it, say which nodes it would concern, and change nothing.
    pub(super) dry_run: bool,
    /// Why, for the log.
    pub(super) reason: Option<String>,
    /// Who asks.
    #[serde(skip)]
    actor: String,
    #[serde(skip)]
    idempotency_key: Option<String>,
    /// The revision that the change is for.
    #[serde(skip)]
    if_match: Option<Stamp>,
    /// How many nodes it is to concern.
    #[serde(skip)]
    pub(super) expected: Option<usize>,
}

impl WriteQuery {
    /// The reason of a body, where the query has none. Errors: it is longer than a sentence.
    pub(super) fn give_reason(&mut self, reason: Option<String>) -> ApiResult<()> {
        self.reason = self.reason.take().or(reason_of_body(reason)?);
        Ok(())
    }
}

/// Errors: it is longer than a sentence.
pub(super) fn reason_of_body(reason: Option<String>) -> ApiResult<Option<String>> {
    if let Some(reason) = reason.as_ref().filter(|reason| reason.len() > REASON_BYTES_MAX) {
        let detail = format!("is {} bytes long, and {REASON_BYTES_MAX} are the most", reason.len());
        return Err(ApiError::invalid("The reason is too long.", vec![SpecFault { pointer: "/reason".to_owned(), detail }]));
    }
    Ok(reason)
}

/// Errors: it is longer than a sentence.
pub(super) fn reason_of_query(reason: Option<&str>) -> ApiResult<()> {
    if reason.is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
        return Err(ApiError::bad_request(format!("reason: at most {REASON_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The revision that a change is for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the description's words; `Writing` reads the headers")]
pub(super) struct RevisionHeaders {
    /// Only if what is changed is still at this revision, in quotes as a GET's ETag has it.
    #[serde(rename = "If-Match")]
    #[param(pattern = "^\"[0-9]+\"$", nullable = false)]
    if_match: Option<String>,
    /// `*`: only if there is nothing yet.
    #[serde(rename = "If-None-Match")]
    #[param(pattern = "^[*]$", nullable = false)]
    if_none_match: Option<String>,
}

/// What all writes take, from the query and the headers.
pub(super) struct Writing(pub(super) WriteQuery);

impl<S: Send + Sync> FromRequestParts<S> for Writing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Params(query) = Params::<WriteQuery>::from_request_parts(parts, state).await?;
        let key = parts.headers.get("idempotency-key").map(|key| key.to_str().unwrap_or_default().to_owned());
        let right = |key: &String| (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.as_ref().is_some_and(|key| !right(key)) {
            return Err(ApiError::bad_request(format!("Idempotency-Key: 1 to {KEY_BYTES_MAX} visible characters of ASCII")));
        }
        reason_of_query(query.reason.as_deref())?;
        let actor = parts.extensions.get::<Who>().map(ToString::to_string).unwrap_or_default();
        Ok(Self(WriteQuery { actor, idempotency_key: key, if_match: if_match(&parts.headers)?, ..query }))
    }
}

/// What became of a write.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct Written {
    /// `GET /v1/operations/{id}` shows how it goes on; null for a dry run.
    pub(super) operation: Option<String>,
    /// Whether two other live nodes, or all there are, have it on disk too. One that is not within ten minutes is withdrawn, and never published.
    pub(super) accepted: bool,
    /// The stamp of what is there now; null for a dry run.
    revision: Option<String>,
    dry_run: bool,
    /// The nodes that it concerns, with what became of it on each.
    pub(super) targets: Vec<TargetRow>,
    /// Of a dry run: the sources that it would move, and what each node would have; null where it moves none by its nature.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanView>,
    /// Of a dry run of `rewind`: what would be read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rewind: Option<RewindPreview>,
    /// Of a dry run of `drop-queue`: what would be thrown away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<QueuePreview>,
    /// Of a dry run of `clear-counters`: what would be forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counters: Option<CountersPreview>,
}

impl IntoResponse for Written {
    /// 200: all targets have carried it out; 207: some could not, or not yet; 202: it is not accepted yet.
    fn into_response(self) -> Response {
        let is_done = self.dry_run || self.targets.iter().all(|row| row.state == "applied");
        let status = match (self.dry_run || self.accepted, is_done) {
            (false, _) => StatusCode::ACCEPTED,
            (true, true) => StatusCode::OK,
            (true, false) => StatusCode::MULTI_STATUS,
        };
        (status, Json(self)).into_response()
    }
}

/// Carries `command` out, or only looks.
pub(super) async fn write(app: &App, query: &WriteQuery, command: Command) -> ApiResult<Written> {
    match obey(app, query, command).await? {
        Ok(written) => Ok(written),
        Err(error) => Err(explain(app, error).await),
    }
}

/// The same, for those who have something to say to the refusal.
pub(super) async fn obey(app: &App, query: &WriteQuery, command: Command) -> ApiResult<Result<Written, CommandError>> {
    let command = match query.expected {
        Some(targets) => Command::Expect { targets, command: Box::new(command) },
        None => command,
    };
    let Some(revision) = query.if_match else { return carry_out(app, query, command).await };
    let conditional = Command::If { revision, command: Box::new(command.clone()) };
    match carry_out(app, query, conditional).await? {
        Err(CommandError::Conflict { wanted, revision }) => {
            let differences = app.agent().look(move |node, _| differences(node, &command)).await?;
            Err(ApiError::revision(wanted, revision, differences))
        }
        result => Ok(result),
    }
}

async fn carry_out(app: &App, query: &WriteQuery, command: Command) -> ApiResult<Result<Written, CommandError>> {
    if query.dry_run {
        let foreseen = app.agent().change(move |node, now| {
            let foreseen = node.foresee(now, command)?;
            Ok::<_, CommandError>((view::would_be(node, &foreseen.targets), foreseen))
        });
        let (targets, foreseen) = match foreseen.await? {
            Ok(foreseen) => foreseen,
            Err(error) => return Ok(Err(error)),
        };
        // It takes a second for a hundred thousand sources; neither the node nor other requests wait for it.
        let planned = tokio::task::spawn_blocking(move || foreseen.plan().and_then(Result::ok).map(|plan| view::plan(&plan)));
        let plan = planned.await.map_err(|_| ApiError::bad_request("planning this made this node's planner fail: report it with the command"))?;
        return Ok(Ok(Written { dry_run: true, targets, plan, ..Written::default() }));
    }
    let said = Said { actor: query.actor.clone(), reason: query.reason.clone(), idempotency_key: query.idempotency_key.clone() };
    let (actor, reason) = (said.actor.clone(), said.reason.clone());
    match app.agent().command(command, said).await? {
        Err(error) => Ok(Err(error)),
        Ok(Answer { operation, revision, accepted }) => {
            tracing::info!(operation, actor, reason, accepted, "an operator's command");
            let id = operation.clone();
            let targets = app.agent().look(move |node, _| view::targets_of(node, &id)).await?;
            let revision = (revision > Stamp::ZERO).then(|| revision.to_string());
            Ok(Ok(Written { operation: Some(operation), accepted, revision, targets, ..Written::default() }))
        }
    }
}

/// The revision that `If-Match` asks for; `If-None-Match: *` asks that there is none.
pub(super) fn if_match(headers: &HeaderMap) -> ApiResult<Option<Stamp>> {
    if let Some(value) = headers.get(header::IF_NONE_MATCH) {
        let all = value == "*";
        return if all { Ok(Some(Stamp::ZERO)) } else { Err(ApiError::bad_request("If-None-Match: only `*` is understood: there is nothing yet")) };
    }
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim().trim_matches('"');
    text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("If-Match: `{text}` is not a revision: send one that a GET has given")))
}
