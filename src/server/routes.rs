//! What is answered where.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::{Server, admin, books, cron, onboarding, reply, sessions, webhooks};

/// No request is waited for longer than this: storing an event waits for an import that holds the database.
const ANSWER_WITHIN: Duration = Duration::from_mins(3);

/// Whom a route is for, which decides on which address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Senders of webhooks and hosted cron services.
    Senders,
    /// Operators and their monitoring.
    Operators,
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path, as its description names it.
    pub path: &'static str,
    /// The methods that it takes, in lower case.
    pub methods: &'static [&'static str],
    /// Whom it is for.
    pub audience: Audience,
}

const fn route(path: &'static str, methods: &'static [&'static str], audience: Audience) -> Route {
    Route { path, methods, audience }
}

/// Every path there is.
pub const ROUTES: &[Route] = &[
    route("/api/webhooks/call-status", &["post"], Audience::Senders),
    route("/api/webhooks/livekit", &["post"], Audience::Senders),
    route("/api/webhooks/livekit/{account}", &["post"], Audience::Senders),
    route("/api/webhooks/stripe", &["post"], Audience::Senders),
    route("/api/webhooks/stripe/{account}", &["post"], Audience::Senders),
    route("/api/vapi/webhook", &["get", "post"], Audience::Senders),
    route("/api/vapi/webhook/{account}", &["get", "post"], Audience::Senders),
    route("/api/voice/post_call", &["post"], Audience::Senders),
    route("/api/voice/post_call/{account}", &["post"], Audience::Senders),
    route("/voice/post_call", &["post"], Audience::Senders),
    route("/voice/post_call/{account}", &["post"], Audience::Senders),
    route("/api/cron/process-calls", &["get", "post"], Audience::Senders),
    route("/api/cron/sweep-timeouts", &["get", "post"], Audience::Senders),
    route("/api/cron/collect-outcomes", &["get", "post"], Audience::Senders),
    route("/api/businesses/{tenant}/complete-onboarding", &["post"], Audience::Senders),
    route("/voice/sessions", &["post"], Audience::Senders),
    route("/voice/sessions/{id}/end", &["post"], Audience::Senders),
    route("/voice/sessions/{id}/status", &["get"], Audience::Senders),
    route("/voice/sessions/{id}/process", &["post"], Audience::Senders),
    route("/api/db/customers", &["get"], Audience::Senders),
    route("/api/db/invoices", &["get"], Audience::Senders),
    route("/api/zoho/contacts/{id}", &["get"], Audience::Senders),
    route("/healthz", &["get"], Audience::Operators),
    route("/metrics", &["get"], Audience::Operators),
    route("/openapi.json", &["get"], Audience::Operators),
];

/// What answers a path.
fn handler(path: &str) -> MethodRouter<Arc<Server>> {
    match path {
        "/api/webhooks/call-status" => post(webhooks::call_status),
        "/api/webhooks/livekit" => post(webhooks::livekit),
        "/api/webhooks/livekit/{account}" => post(webhooks::livekit_of),
        "/api/webhooks/stripe" => post(webhooks::stripe),
        "/api/webhooks/stripe/{account}" => post(webhooks::stripe_of),
        "/api/vapi/webhook" => post(webhooks::vapi).get(webhooks::vapi_hello),
        "/api/vapi/webhook/{account}" => post(webhooks::vapi_of).get(webhooks::vapi_hello),
        "/api/voice/post_call" | "/voice/post_call" => post(webhooks::elevenlabs::post_call),
        "/api/voice/post_call/{account}" | "/voice/post_call/{account}" => post(webhooks::elevenlabs::post_call_of),
        "/api/cron/process-calls" => get(cron::process_calls).post(cron::process_calls),
        "/api/cron/sweep-timeouts" => get(cron::sweep_timeouts).post(cron::sweep_timeouts),
        "/api/cron/collect-outcomes" => get(cron::collect_outcomes).post(cron::collect_outcomes),
        "/api/businesses/{tenant}/complete-onboarding" => post(onboarding::complete),
        "/voice/sessions" => post(sessions::begin),
        "/voice/sessions/{id}/end" => post(sessions::end),
        "/voice/sessions/{id}/status" => get(sessions::status),
        "/voice/sessions/{id}/process" => post(sessions::process),
        "/api/db/customers" => get(books::customers),
        "/api/db/invoices" => get(books::invoices),
        "/api/zoho/contacts/{id}" => get(books::contact),
        "/healthz" => get(admin::health),
        "/metrics" => get(admin::metrics),
        "/openapi.json" => get(admin::openapi),
        _ => MethodRouter::new(),
    }
}

/// The routes for one audience.
pub(super) fn router(server: &Arc<Server>, audience: Audience) -> Router {
    let mut router = Router::new();
    for route in ROUTES.iter().filter(|route| route.audience == audience) {
        router = router.route(route.path, handler(route.path));
    }
    router
        .fallback(async || reply::refusal(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path")
        })
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN))
        .layer(from_fn_with_state(Arc::clone(server), count))
        .with_state(Arc::clone(server))
}

/// Counts the answer. Paths are counted as they stand in [`ROUTES`], whatever strangers ask for.
async fn count(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let answer = next.run(request).await;
    let route = ROUTES.iter().find(|route| Some(route.path) == path.as_deref()).map_or("other", |route| route.path);
    server.counters.count(route, answer.status().as_u16());
    answer
}
