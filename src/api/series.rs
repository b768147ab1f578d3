//! How runners did lately.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ApiError, ApiResult, App, listing::Params, problem::Problem};
use crate::series::{LONG_STEP_S, STEP_S, SeriesView};

/// Which past.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesQuery {
    /// Of this runner; without it of all together.
    runner: Option<String>,
    /// Seconds from one point to the next: 10 (for an hour) or 60 (for a day).
    #[param(default = 10)]
    step: Option<u64>,
}

/// What the asked node saw lately, for sparklines: rates, lag and running instances of a runner, or of all together
#[utoipa::path(get, path = "/v1/series", operation_id = "series", tag = "runners", params(SeriesQuery),
    responses((status = 200, body = SeriesView), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn series(State(app): State<App>, Params(query): Params<SeriesQuery>) -> ApiResult<Json<SeriesView>> {
    let step = query.step.unwrap_or(STEP_S);
    if ![STEP_S, LONG_STEP_S].contains(&step) {
        return Err(ApiError::bad_request(format!("step: {step} is neither {STEP_S} nor {LONG_STEP_S}")));
    }
    let found = app.series().view(query.runner.as_deref(), step);
    found.map(Json).ok_or_else(|| ApiError::not_found("past of a runner", query.runner.as_deref().unwrap_or_default(), "GET /v1/runners"))
}
