//! Webhooks: verified, stored, applied, answered, in this order.

pub(super) mod elevenlabs;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::keyring::Keys;
use super::{Server, body, reply};
use crate::commands::calling::inbox::{self, Incoming};
use crate::domain::event::{EventSource, Scope};
use crate::domain::signature::{callops, livekit, stripe, vapi};
use crate::error::message;

/// Bodies beyond this are hashed on a thread of their own.
const HASHED_AT_ONCE_BYTES: usize = 64 * 1024;

/// What a sender shows: the request but for its body, kept apart so that another thread can look at it.
#[derive(Clone)]
struct Shown {
    headers: HeaderMap,
    url: String,
    named: Option<String>,
    source: EventSource,
}

/// `POST /api/webhooks/call-status`.
pub(super) async fn call_status(State(server): State<Arc<Server>>, request: Request) -> Response {
    take(&server, request, EventSource::CallStatus, None).await
}

/// `POST /api/vapi/webhook`.
pub(super) async fn vapi(State(server): State<Arc<Server>>, request: Request) -> Response {
    take(&server, request, EventSource::Vapi, None).await
}

/// `POST /api/vapi/webhook/{account}`.
pub(super) async fn vapi_of(
    State(server): State<Arc<Server>>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    take(&server, request, EventSource::Vapi, Some(account)).await
}

/// `GET /api/vapi/webhook[/{account}]`: a line for whoever tries the address in a browser.
pub(super) async fn vapi_hello() -> &'static str {
    "callops takes Vapi's server messages here, by POST.\n"
}

/// `POST /api/webhooks/livekit`.
pub(super) async fn livekit(State(server): State<Arc<Server>>, request: Request) -> Response {
    take(&server, request, EventSource::LiveKit, None).await
}

/// `POST /api/webhooks/livekit/{account}`.
pub(super) async fn livekit_of(
    State(server): State<Arc<Server>>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    take(&server, request, EventSource::LiveKit, Some(account)).await
}

/// `POST /api/webhooks/stripe`.
pub(super) async fn stripe(State(server): State<Arc<Server>>, request: Request) -> Response {
    take(&server, request, EventSource::Stripe, None).await
}

/// `POST /api/webhooks/stripe/{account}`.
pub(super) async fn stripe_of(
    State(server): State<Arc<Server>>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    take(&server, request, EventSource::Stripe, Some(account)).await
}

async fn take(server: &Arc<Server>, request: Request, source: EventSource, named: Option<String>) -> Response {
    let (parts, body) = request.into_parts();
    let body = match body::read(server, body).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let shown = Shown { url: url_of(server, &parts.uri), headers: parts.headers, named, source };
    let scope = match verified(server, &shown, &body.bytes).await {
        Ok(Some(scope)) => scope,
        Ok(None) => return reply::stranger(),
        Err(error) => {
            tracing::warn!(error = %message(&error), "a webhook could not be verified");
            return reply::failed();
        }
    };
    // An event of a payment belongs to one account, by whatever way it comes: where several share a secret, to each.
    let scopes = match scope {
        Scope::Of(accounts) if source == EventSource::Stripe => {
            accounts.into_iter().map(|account| Scope::Of(vec![account])).collect()
        }
        scope => vec![scope],
    };
    let read = scopes.into_iter().map(|scope| Incoming::read(source, scope, &body.bytes));
    match read.collect::<Result<Vec<Incoming>, _>>() {
        Ok(incoming) => store_each(server, source, incoming, body).await,
        Err(problems) => reply::wrong_shape(&problems),
    }
}

/// Stores and applies a webhook, and answers its sender.
async fn store(server: &Arc<Server>, incoming: Incoming, body: body::Held) -> Response {
    store_each(server, incoming.source(), vec![incoming], body).await
}

/// As [`store`], for each account that a webhook is of. The sender is told of the last, since it knows of no other.
async fn store_each(server: &Arc<Server>, source: EventSource, incoming: Vec<Incoming>, body: body::Held) -> Response {
    // Its turn goes with the work, which goes on if the client does not wait for it.
    let work = move |app: std::rc::Rc<crate::app::App>| -> futures_util::future::LocalBoxFuture<'static, _> {
        Box::pin(async move {
            let mut receipt = Err(anyhow::anyhow!("the webhook is of nobody"));
            for one in &incoming {
                receipt = inbox::receive(&app, one).await;
                if receipt.is_err() {
                    break;
                }
            }
            drop(body);
            receipt
        })
    };
    match server.desk.ask(work).await.flatten() {
        Ok(receipt) => {
            let answer = json!({
                "applied": receipt.applied, "reason": receipt.reason, "event_id": receipt.event_id,
            });
            // A provider that is told of a failure sends once more what we have already.
            let is_missing = !receipt.is_known && source == EventSource::CallStatus;
            reply::object(if is_missing { StatusCode::NOT_FOUND } else { StatusCode::OK }, &answer)
        }
        Err(error) => {
            tracing::error!(error = %message(&error), source = %source, "a webhook could not be stored");
            reply::failed()
        }
    }
}

/// The address as the sender knows it.
fn url_of(server: &Server, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("{}{path}", server.public_url.as_deref().unwrap_or_default())
}

/// Whom a delivery speaks for. Where no secret fits, they are read anew, at most once a second: one may be new.
async fn verified(server: &Arc<Server>, shown: &Shown, body: &Bytes) -> anyhow::Result<Option<Scope>> {
    let now = server.clock.now();
    let keys = server.keyring.keys(server).await?;
    if let Some(scope) = fitting(server, keys, shown, body, now).await? {
        return Ok(Some(scope));
    }
    match server.keyring.newer_keys(server).await? {
        Some(keys) => fitting(server, keys, shown, body, now).await,
        None => Ok(None),
    }
}

async fn fitting(
    server: &Server,
    keys: Arc<Keys>,
    shown: &Shown,
    body: &Bytes,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<Scope>> {
    if body.len() <= HASHED_AT_ONCE_BYTES {
        return Ok(scope_of(&keys, shown, body, now));
    }
    // One at a time: strangers must not keep every processor busy with hashing.
    let _turn = server.hashing.acquire().await?;
    let (shown, body) = (shown.clone(), body.clone());
    Ok(tokio::task::spawn_blocking(move || scope_of(&keys, &shown, &body, now)).await?)
}

fn scope_of(keys: &Keys, shown: &Shown, body: &[u8], now: DateTime<Utc>) -> Option<Scope> {
    let header = |name: &str| shown.headers.get(name).and_then(|value| value.to_str().ok());
    match shown.source {
        EventSource::CallStatus => {
            let delivery = callops::Delivery {
                signature: header(callops::SIGNATURE_HEADER),
                timestamp: header(callops::TIMESTAMP_HEADER),
                body,
            };
            keys.call_status(&delivery, now)
        }
        // Its own path reads bodies in its own way.
        EventSource::ElevenLabs => None,
        EventSource::Vapi => {
            let delivery = vapi::Delivery { header: &header, method: "POST", url: &shown.url, body };
            keys.vapi(shown.named.as_deref(), &delivery, now)
        }
        EventSource::Stripe => keys.stripe(shown.named.as_deref(), header(stripe::SIGNATURE_HEADER), body, now),
        EventSource::LiveKit => keys.livekit(shown.named.as_deref(), header(livekit::TOKEN_HEADER), body, now),
    }
}
