//! A request and its answer, whatever service is asked: keys, faults and delays are the same for all of them.

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::faults::{Fault, Over, Picked};
use super::reply::{Manner, Reply};
use super::{Inner, Sandbox};

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its key is nobody's.
    Stranger,
    /// The service is not there for now.
    Unavailable,
    /// The service fails with this status.
    Failure(u16),
    /// Requests come too fast.
    TooManyRequests,
    /// The account has no credits.
    NoCredits,
    /// The number cannot be called.
    Number,
    /// The agent does not exist.
    Agent,
    /// Every line is taken.
    Concurrency,
}

/// How a service reads requests and says no.
pub(super) trait Dialect {
    /// The organisation whose key the request shows; `keys` holds that of each.
    fn organisation(&self, headers: &HeaderMap, keys: &HashMap<String, String>) -> Option<String>;
    /// The phone that a body asks to call.
    fn phone<'b>(&self, body: &'b Value) -> Option<&'b str>;
    /// Whether a request is for a call: faults are for those, unless a rule says otherwise.
    fn places(&self, method: &Method, _path: &str) -> bool {
        method == Method::POST
    }
    /// What a body says.
    fn read(&self, bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
    }
    /// What a path is counted as.
    fn kind(&self, path: &str) -> String;
    /// How it says no.
    fn refuse(&self, refusal: Refusal) -> Reply;
    /// The key of an answer that holds the id of the call.
    fn id_key(&self) -> &'static str;
    /// How it says no with a code, where its errors have codes.
    fn refuse_by_code(&self, status: u16, _code: &str) -> Reply {
        self.refuse(Refusal::Failure(status))
    }
    /// How it says in an answer that the call was not made, where it does such a thing.
    fn say_failed(&self, _message: &str) -> Reply {
        self.refuse(Refusal::Unavailable)
    }
}

/// A request that came in, as far as everything that can go wrong needs to know it.
pub(super) struct Incoming<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl Sandbox {
    /// Notes the request, checks the key, lets faults that keep it from being carried out happen, and else carries it
    /// out; faults of the answer come last.
    pub(super) async fn handle(
        &self,
        dialect: &impl Dialect,
        incoming: Incoming<'_>,
        act: impl FnOnce(&mut Inner, &str, &Picked) -> Result<Reply, Reply>,
    ) -> Response {
        let (reply, latency, noted) = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            let now = inner.now();
            inner.advance(now);
            let org = dialect.organisation(incoming.headers, &inner.keys);
            let body = (!incoming.body.is_empty()).then(|| dialect.read(incoming.body));
            let phone = body.as_ref().and_then(|body| dialect.phone(body));
            let (method, path) = (incoming.method, incoming.uri.path());
            let picked = inner.faults.pick(method.as_str(), path, phone, dialect.places(method, path));
            let kind = dialect.kind(path);
            let noted = inner.requests.note(now, &kind, (method, incoming.uri), org.as_deref(), body, &picked);
            let reply = match (org, &picked.fault) {
                (None, _) | (_, Some(Fault::Unauthorized)) => dialect.refuse(Refusal::Stranger),
                (Some(org), fault) => match fault.as_ref().and_then(|fault| refused(dialect, fault, now)) {
                    Some(refused) => refused,
                    None => act(inner, &org, &picked)
                        .map_or_else(|refused| refused, |reply| spoil(dialect, reply, fault.as_ref())),
                },
            };
            // Whoever is told by webhook may hear of the call before the answer to the request.
            inner.advance(now);
            (reply, inner.latency, noted)
        };
        let delay = latency + reply.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.lock().requests.answered(noted, reply.status_seen());
        reply.into_response()
    }
}

/// What the client gets when the fault keeps the request from being carried out.
fn refused(dialect: &impl Dialect, fault: &Fault, now: DateTime<Utc>) -> Option<Reply> {
    Some(match fault {
        Fault::RefuseAndDrop => Reply::hang_up(),
        Fault::SlowRefuse(delay) => dialect.refuse(Refusal::Unavailable).after(*delay),
        Fault::TooManyRequests(retry_after) => {
            dialect.refuse(Refusal::TooManyRequests).retry_after(retry_after.header(now))
        }
        Fault::ServerError { status, rings: false } => dialect.refuse(Refusal::Failure(*status)),
        Fault::PaymentRequired => dialect.refuse(Refusal::NoCredits),
        Fault::NumberInvalid => dialect.refuse(Refusal::Number),
        Fault::AssistantMissing => dialect.refuse(Refusal::Agent),
        Fault::Coded { status, code } => dialect.refuse_by_code(*status, code),
        Fault::SuccessFalse { message, rings: false } => dialect.say_failed(message),
        Fault::OverConcurrency(Over::Http400, _) => dialect.refuse(Refusal::Concurrency),
        _ => return None,
    })
}

/// What the client gets of the answer to a request that was carried out.
fn spoil(dialect: &impl Dialect, reply: Reply, fault: Option<&Fault>) -> Reply {
    match fault {
        Some(Fault::AcceptAndDrop) => Reply::hang_up(),
        Some(Fault::DelayAnswer(delay)) => reply.after(*delay),
        Some(Fault::ServerError { status, rings: true }) => dialect.refuse(Refusal::Failure(*status)),
        Some(Fault::SuccessFalse { message, rings: true }) => dialect.say_failed(message),
        Some(Fault::BrokenJson) => reply.with(Manner::Garbage),
        Some(Fault::CutBody) => reply.with(Manner::Cut),
        Some(Fault::NoId) => reply.without(dialect.id_key()),
        _ => reply,
    }
}
