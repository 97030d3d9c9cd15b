//! What clients sent, for tests that want to see it.

use std::collections::BTreeMap;

use axum::http::{Method, Uri};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::faults::Picked;

/// Requests beyond this are counted but not kept.
const MAX_KEPT: usize = 200_000;

#[derive(Debug, Serialize)]
struct Request {
    at: DateTime<Utc>,
    method: String,
    path: String,
    query: Option<String>,
    org: Option<String>,
    body: Option<Value>,
    fault: Option<String>,
    /// None while it is not answered, and for ever when it is not.
    status: Option<u16>,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    kept: Vec<Request>,
    counts: BTreeMap<String, u64>,
}

/// A request that was noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted(Option<usize>);

impl Requests {
    pub(super) fn note(
        &mut self,
        at: DateTime<Utc>,
        kind: &str,
        (method, uri): (&Method, &Uri),
        org: Option<&str>,
        body: Option<Value>,
        picked: &Picked,
    ) -> Noted {
        *self.counts.entry(format!("{method} {kind}")).or_default() += 1;
        if self.kept.len() >= MAX_KEPT {
            return Noted(None);
        }
        self.kept.push(Request {
            at,
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            org: org.map(str::to_owned),
            body,
            fault: picked.kind.clone(),
            status: None,
        });
        Noted(Some(self.kept.len() - 1))
    }

    pub(super) fn answered(&mut self, noted: Noted, status: Option<u16>) {
        if let Some(request) = noted.0.and_then(|index| self.kept.get_mut(index)) {
            request.status = status;
        }
    }

    pub(super) fn counts(&self) -> Value {
        json!(self.counts)
    }

    pub(super) fn to_json(&self) -> Value {
        json!(self.kept)
    }
}
