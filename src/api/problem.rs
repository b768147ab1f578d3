//! Errors as problem documents (RFC 9457), in one `IntoResponse`.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use logvine_cluster::{command::CommandError, spec::SpecFault};
use logvine_gossip::Stamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    agent::Unavailable,
    near::{did_you_mean, nearest},
};

/// A problem document (RFC 9457). `type` is stable; the words are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:logvine:…`
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// What is wrong where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Where a name is not known: the known ones that are near, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// What to do.
    pub action: String,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Into the body (RFC 6901); empty: the whole of it.
    pub pointer: String,
    pub detail: String,
}

impl From<SpecFault> for Fault {
    fn from(fault: SpecFault) -> Self {
        Self { pointer: fault.pointer, detail: fault.detail }
    }
}

/// Why a request was refused. Nothing was changed, save where the kind says that this is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(Box<Problem>);

/// What a handler gives.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>, action: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            nearest: Vec::new(),
            action: action.into(),
        }))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "urn:logvine:bad-request", "The request is not understood", detail, "See /openapi.json.")
    }

    pub(super) fn invalid(detail: impl Into<String>, faults: Vec<SpecFault>) -> Self {
        let mut error =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:logvine:invalid", "The body has faults", detail, "Mend each of them and send it again.");
        error.0.errors = faults.into_iter().map(Fault::from).collect();
        error
    }

    pub(super) fn key(detail: impl Into<String>) -> Self {
        let action = "`logvine keygen --next FILE` makes a key for the cluster of the key in FILE.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:logvine:key", "This is no key for this cluster", detail, action)
    }

    pub(super) fn unheard(nodes: Vec<String>) -> Self {
        let detail = format!("It would leave {} node{} unheard.", nodes.len(), if nodes.len() == 1 { "" } else { "s" });
        let action = "Repeat the step before (it reaches those that missed it), or have the cluster forget nodes that do not return. With force=true it is \
                      done all the same; a node that is left behind comes back when its key file has the present key and it is started again.";
        let mut error = Self::new(StatusCode::CONFLICT, "urn:logvine:unheard", "Not all nodes are ready for this step", detail, action);
        error.0.errors = nodes.into_iter().map(|detail| Fault { pointer: String::new(), detail }).collect();
        error
    }

    pub(super) fn not_found(what: &str, name: &str, list: &str) -> Self {
        let detail = format!("There is no {what} `{name}`.");
        Self::new(StatusCode::NOT_FOUND, "urn:logvine:not-found", "Not found", detail, format!("`{list}` lists what there is."))
    }

    /// Says what to do in other words.
    pub(super) fn hint(mut self, action: String) -> Self {
        self.0.action = action;
        self
    }

    /// Adds the names that were probably meant.
    pub(super) fn near<'a>(mut self, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let found = nearest(given, known);
        if !found.is_empty() {
            let detail = self.0.detail.trim_end_matches('.');
            self.0.detail = format!("{detail}{}", did_you_mean(&found));
            self.0.nearest = found.into_iter().map(str::to_owned).collect();
        }
        self
    }

    pub(super) fn not_running(runner: &str) -> Self {
        let detail = format!("{runner} runs on no live node that is meant.");
        let action = "`GET /v1/instances` says where it should run, and why it does not.";
        Self::new(StatusCode::CONFLICT, "urn:logvine:not-running", "It does not run", detail, action)
    }

    pub(super) fn unreachable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "urn:logvine:unreachable", "The node does not answer", detail, "Try again, or at that node itself.")
    }

    pub(super) fn no_route(path: &str) -> Self {
        let detail = format!("There is nothing at {path}.");
        Self::new(StatusCode::NOT_FOUND, "urn:logvine:no-route", "No such address", detail, "See /openapi.json for what there is.")
    }

    pub(super) fn no_method(method: &str, path: &str) -> Self {
        let detail = format!("{path} does not know {method}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "urn:logvine:no-method", "No such method here", detail, "See /openapi.json.")
    }

    pub(super) fn ambiguous(name: &str, ids: &[String]) -> Self {
        let detail = format!("`{name}` means {} nodes.", ids.len());
        let mut error = Self::new(
            StatusCode::CONFLICT,
            "urn:logvine:ambiguous",
            "More than one node is meant",
            detail,
            "Use one of the ids, or more digits of it.",
        );
        error.0.errors = ids.iter().map(|id| Fault { pointer: String::new(), detail: id.clone() }).collect();
        error
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("The body is over {bytes_max} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "urn:logvine:too-large", "The body is too large", detail, "Send it in parts.")
    }

    /// A list in the body is longer than is looked at.
    pub(super) fn too_many(pointer: &str, count: usize, most: usize) -> Self {
        let detail = format!("{pointer} has {count} entries, and {most} is the most.");
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:logvine:too-many", "Too much at once", detail, "Send it in parts.");
        error.0.errors = vec![Fault { pointer: pointer.to_owned(), detail: format!("{count} entries, of which {most} may be sent at once") }];
        error
    }

    pub(super) fn too_slow(patience: Duration) -> Self {
        let detail = format!("The body was not there within {} s.", patience.as_secs());
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "urn:logvine:too-slow",
            "The request is too slow",
            detail,
            "Send it again, in parts if the way is slow.",
        )
    }

    /// Somebody else changed it since it was read; `differences` are the places where both say something else.
    pub(super) fn revision(wanted: Stamp, present: Stamp, differences: Vec<Fault>) -> Self {
        let (detail, action) = if wanted == Stamp::ZERO {
            let detail = format!("The change is for what nobody had written, and it was written meanwhile: it is at revision {present}.");
            (detail, format!("Read it, and repeat the change with If-Match: \"{present}\"; for one more, choose another name."))
        } else if present == Stamp::ZERO {
            (format!("The change is for revision {wanted}, and there is nothing now."), "Send it without If-Match to create it again.".to_owned())
        } else {
            let detail = format!("The change is for revision {wanted}, and what it changes is at revision {present} now.");
            (detail, format!("Read it again and repeat the change with If-Match: \"{present}\"."))
        };
        let mut error = Self::new(StatusCode::PRECONDITION_FAILED, "urn:logvine:revision", "It was changed meanwhile", detail, action);
        error.0.errors = differences;
        error
    }

    pub(super) fn media_type(given: &str) -> Self {
        let detail = format!("`{given}` is not a content type that is read here.");
        let action = "Send application/json, application/yaml or application/toml, and say so in Content-Type.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "urn:logvine:media-type", "The body's type is not known", detail, action)
    }

    pub(super) fn wrong_host(host: &str) -> Self {
        let detail = format!("`{host}` is not a name of this node's API.");
        let action = "Call it by its address, or start its agent with --http-host NAME.";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "urn:logvine:wrong-host", "Wrong host", detail, action)
    }

    pub(super) fn wrong_origin(origin: &str) -> Self {
        let detail = format!("A page of {origin} may not change this cluster.");
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:logvine:wrong-origin",
            "Wrong origin",
            detail,
            "Use this node's own console, or a client that is no browser.",
        )
    }

    pub(super) fn no_token() -> Self {
        let action = "Send `Authorization: Bearer TOKEN` (LOGVINE_TOKEN for the command line).";
        let detail = "This node wants a token, and none that it knows was sent.";
        Self::new(StatusCode::UNAUTHORIZED, "urn:logvine:no-token", "No token", detail, action)
    }

    pub(super) fn role(has: &str, wants: &str) -> Self {
        let detail = format!("The token's role is {has}; this wants {wants}.");
        Self::new(StatusCode::FORBIDDEN, "urn:logvine:role", "Not allowed", detail, "Use a token of that role.")
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        let action = match error {
            Unavailable::Stopping => "Ask another node.",
            Unavailable::TimedOut => "Look whether it was carried out, then repeat it.",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "urn:logvine:unavailable", "This node cannot answer", error.to_string(), action)
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::NotFound { kind, name } => Self::not_found(kind, &name, &format!("GET /v1/{kind}s")),
            CommandError::Invalid { faults } => Self::invalid(detail, faults),
            CommandError::Conflict { wanted, revision } => Self::revision(wanted, revision, Vec::new()),
            CommandError::Unconditional => Self::new(
                StatusCode::BAD_REQUEST,
                "urn:logvine:unconditional",
                "The change cannot be conditional",
                "If-Match and If-None-Match are not looked at here: what this changes has no revision, or several.".to_owned(),
                "Send it without that header; of several runners send one at a time.",
            ),
            CommandError::TooMany { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:logvine:too-many", "Too much at once", detail, "Send it in parts.")
            }
            CommandError::TooManyDesired { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:logvine:too-many",
                "Too much at once",
                detail,
                "If all nodes are meant, say `all`: that is one word for each runner. Else name fewer runners at a time.",
            ),
            CommandError::NobodySelected { .. } | CommandError::NothingPlaced => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:logvine:nobody",
                "No node is meant",
                detail,
                "`GET /v1/nodes` lists the nodes and their tags.",
            ),
            CommandError::Unexpected { .. } => {
                let fault = SpecFault { pointer: "/expected_count".to_owned(), detail };
                Self::invalid("It concerns another number of nodes than expected: look at a dry run again.", vec![fault])
            }
            CommandError::NoQueue { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:logvine:no-queue",
                "It has no disk queue",
                detail,
                "Runners with a `syslog`, `http_push` or `stdin` reader have one.",
            ),
            CommandError::NothingRuns => Self::new(
                StatusCode::CONFLICT,
                "urn:logvine:nothing-runs",
                "Nothing runs there",
                detail,
                "`GET /v1/instances` lists what runs where.",
            ),
            CommandError::ClockOff(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:logvine:clock-off",
                "This node's clock is off",
                detail,
                "Set its clock (is NTP running?), or send it to another node meanwhile.",
            ),
            CommandError::State(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:logvine:state",
                "It cannot be stored",
                detail,
                "Mend the reason, or ask another node.",
            ),
            CommandError::Alive { .. } => Self::new(
                StatusCode::CONFLICT,
                "urn:logvine:alive",
                "The node lives",
                detail,
                "Stop it first, and wait until it is down or has left. To take it out of service, drain it.",
            ),
            CommandError::Stopping => Self::from(Unavailable::Stopping),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use logvine_gossip::ClockOff;

    use super::*;

    #[test]
    fn a_clock_that_is_off_is_said_with_its_offset_and_what_to_do() {
        let error = CommandError::ClockOff(ClockOff { ahead: true, by: Duration::from_secs(95) });
        let ApiError(problem) = ApiError::from(error);
        assert_eq!((problem.status, problem.kind), (503, "urn:logvine:clock-off"));
        assert!(problem.detail.contains("95 s ahead of the median of its peers"), "{}", problem.detail);
        assert!(problem.action.contains("Set its clock"), "{}", problem.action);
    }

    #[test]
    fn a_bulk_over_too_many_nodes_is_told_its_size_and_how_to_do_it_instead() {
        let ApiError(problem) = ApiError::from(CommandError::TooManyDesired { runners: 1_000, nodes: 101, most: 100_000 });
        assert_eq!((problem.status, problem.kind), (422, "urn:logvine:too-many"));
        assert!(problem.detail.contains("1000 runners on each of 101 nodes is more than 100000"), "{}", problem.detail);
        assert!(problem.action.contains("say `all`"), "{}", problem.action);
    }
}
