//! What the server says about itself, on an address that strangers do not reach.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::{Server, reply};
use crate::domain::event::EventState;
use crate::store::events;

/// How long the database may take to answer a question about health.
const HEALTHY_WITHIN: Duration = Duration::from_secs(5);
/// The description of all that the server answers.
const OPENAPI: &str = include_str!("openapi.json");

/// `GET /healthz`: whether a webhook could be stored, as far as one question tells.
pub(super) async fn health(State(server): State<Arc<Server>>) -> Response {
    let question = server.desk.ask(|app| {
        Box::pin(async move {
            app.db().await?.check_schema().await?;
            anyhow::Ok(())
        })
    });
    match tokio::time::timeout(HEALTHY_WITHIN, question).await {
        Ok(Ok(Ok(()))) => reply::object(StatusCode::OK, &json!({"status": "ok"})),
        _ => reply::object(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "the database does not answer"})),
    }
}

/// `GET /metrics`, in the format of `OpenMetrics`.
pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let mut text = String::new();
    server.counters.write(&mut text);
    let now = server.clock.now();
    let waiting = server.desk.ask(|app| {
        Box::pin(async move {
            let mut tx = app.db().await?.read().await?;
            anyhow::Ok(events::waiting(&mut tx).await?)
        })
    });
    if let Ok(Ok(Ok(waiting))) = tokio::time::timeout(HEALTHY_WITHIN, waiting).await {
        text.push_str("# HELP callops_events_waiting Webhooks that are stored and not applied.\n");
        text.push_str("# TYPE callops_events_waiting gauge\n");
        let of = |state| waiting.iter().find(|(known, ..)| *known == state);
        for state in [EventState::Pending, EventState::Unmatched] {
            let count = of(state).map_or(0, |(_, count, _)| *count);
            let _ = writeln!(text, "callops_events_waiting{{state=\"{state}\"}} {count}");
        }
        text.push_str("# HELP callops_events_oldest_seconds The age of the oldest of them.\n");
        text.push_str("# TYPE callops_events_oldest_seconds gauge\n# UNIT callops_events_oldest_seconds seconds\n");
        for state in [EventState::Pending, EventState::Unmatched] {
            let age = of(state).map_or(0, |(.., oldest)| (now - *oldest).num_seconds().max(0));
            let _ = writeln!(text, "callops_events_oldest_seconds{{state=\"{state}\"}} {age}");
        }
    }
    text.push_str("# HELP callops_runs_under_way Runs that were started over HTTP and are not over.\n");
    text.push_str("# TYPE callops_runs_under_way gauge\n");
    let _ = writeln!(text, "callops_runs_under_way {}", server.runs.under_way());
    text.push_str("# EOF\n");
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
