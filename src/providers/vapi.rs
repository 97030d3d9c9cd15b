//! Vapi: places calls and reads what became of them.

mod assistant;
mod ended_reason;
pub mod webhook;

use std::collections::HashSet;

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use self::ended_reason::ended_before_dialling;
pub use self::ended_reason::outcome_of;
use super::http::{Answer, Http, LastLook, ReadError, dial, found, id_path, once, read, text, unbuilt};
use crate::domain::dial::{CallReport, DialAnswer, DialRequest, DialResult, ProviderState, RefusalClass};
use crate::domain::outcome::Outcome;
use crate::domain::secret::Secret;

/// Where the real service answers.
pub const BASE_URL: &str = "https://api.vapi.ai";

/// A client of one Vapi organisation.
#[derive(Clone, Debug)]
pub struct Vapi {
    http: Http,
    key: Secret,
    base_url: String,
}

/// Which calls to list. Both ends of the time range belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only calls by this assistant.
    pub assistant_id: Option<String>,
    /// Only calls from this line.
    pub phone_number_id: Option<String>,
    /// Only calls created at or after.
    pub created_ge: Option<DateTime<Utc>>,
    /// Only calls created at or before.
    pub created_le: Option<DateTime<Utc>>,
    /// Calls per page, 1 to 1000; the service's default is 100.
    pub limit: Option<u16>,
}

/// One answer to a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The calls, in the provider's order.
    pub calls: Vec<CallReport>,
    /// The provider's clock when it answered.
    pub provider_date: Option<DateTime<Utc>>,
}

/// How much a listing of a range may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLimits {
    /// Calls per page, 1 to 1000.
    pub page: u16,
    /// Requests in all.
    pub requests: u32,
}

impl Default for RangeLimits {
    fn default() -> Self {
        Self { page: 1000, requests: 200 }
    }
}

/// A listing of a whole range. What it shows is there; only where `gap` is none does it also prove what is not.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct RangeListing {
    /// Every call seen, once.
    pub calls: Vec<CallReport>,
    /// Why the range was not read to the end.
    pub gap: Option<ReadError>,
    /// The provider's clock at the last answer.
    pub provider_date: Option<DateTime<Utc>>,
    /// How many requests were answered or failed.
    pub requests: u32,
}

impl Vapi {
    /// A client that sends to `base_url` ([`BASE_URL`], or a sandbox) with `key`.
    pub fn new(http: Http, key: Secret, base_url: impl Into<String>) -> Self {
        Self { http, key, base_url: base_url.into().trim_end_matches('/').to_owned() }
    }

    /// Asks for a call, exactly once. The attempt's id travels as the call's name, as the customer's external id and
    /// in the assistant's metadata, because the service has no idempotency key and this is all that can be found again.
    pub async fn place(&self, request: &DialRequest) -> DialResult {
        self.place_if(request, &LastLook::default()).await
    }

    /// As [`Vapi::place`], unless the last look forbids it: then it was certainly not sent.
    pub async fn place_if(&self, request: &DialRequest, last_look: &LastLook) -> DialResult {
        let body = match place_body(request) {
            Ok(body) => body,
            Err((class, reason)) => {
                let answer = DialAnswer::Refused { class, reason, http_status: None, retry_after: None };
                return DialResult { answer, provider_date: None };
            }
        };
        dial(self.send(Method::POST, "/call"), body.to_string(), last_look, judge).await
    }

    /// The record of one call; none when the service does not know it, which may only mean not yet.
    ///
    /// # Errors
    /// When the answer is no record, or there is none.
    pub async fn get(&self, id: &str) -> Result<Option<CallReport>, ReadError> {
        let Some(path) = id_path("/call", id) else { return Ok(None) };
        let request = self.send(Method::GET, &path).map_err(|error| unbuilt(&error))?;
        found(read(request).await).and_then(|answer| answer.map(|answer| one_report(&answer)).transpose())
    }

    /// Takes a call back, or erases the record of one that has ended; sent once. Gives the record as the service
    /// answered it, none when the service does not know the call. Read the call afterwards to learn whether it rang.
    ///
    /// # Errors
    /// When the answer is no record, or there is none: the call may be deleted nevertheless.
    pub async fn delete(&self, id: &str) -> Result<Option<CallReport>, ReadError> {
        let Some(path) = id_path("/call", id) else { return Ok(None) };
        let request = self.send(Method::DELETE, &path).map_err(|error| unbuilt(&error))?;
        // The contract demands a body; a list of ids in it would take the place of the id in the path.
        let request = request.json(&json!({}));
        found(once(request).await).and_then(|answer| answer.map(|answer| one_report(&answer)).transpose())
    }

    /// One page of calls. A page as long as its limit may not be all there is.
    ///
    /// # Errors
    /// When the answer is no list of records, or there is none.
    pub async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        let mut query: Vec<(&str, String)> = Vec::new();
        let mut add = |key, value: Option<String>| query.extend(value.map(|value| (key, value)));
        add("assistantId", filter.assistant_id.clone());
        add("phoneNumberId", filter.phone_number_id.clone());
        add("createdAtGe", filter.created_ge.map(instant));
        add("createdAtLe", filter.created_le.map(instant));
        add("limit", filter.limit.map(|limit| limit.to_string()));
        let request = self.send(Method::GET, "/call").map_err(|error| unbuilt(&error))?.query(&query);
        let answer = read(request).await?;
        let broken = |body: String| ReadError::Broken { status: answer.status, body };
        let records: Vec<Value> =
            serde_json::from_slice(&answer.body).map_err(|error| broken(format!("{error}: {}", answer.excerpt())))?;
        let calls = records
            .into_iter()
            .map(|record| report_of(record).ok_or_else(|| broken("a call without an id".to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Page { calls, provider_date: answer.date })
    }

    /// Every call from `from` to `to` (both inclusive): the range is halved until each page is shorter than its limit,
    /// because the service has no cursor and promises no order.
    pub async fn list_range(
        &self,
        filter: &ListFilter,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limits: RangeLimits,
    ) -> RangeListing {
        let mut listing = RangeListing { calls: Vec::new(), gap: None, provider_date: None, requests: 0 };
        let mut seen = HashSet::new();
        let mut ranges = vec![(from.timestamp_millis(), to.timestamp_millis() + 1)];
        while let Some((from, to)) = ranges.pop() {
            if listing.requests == limits.requests {
                listing.gap = Some(ReadError::Incomplete { reason: format!("more than {} requests", limits.requests) });
                break;
            }
            listing.requests += 1;
            let filter = ListFilter {
                created_ge: DateTime::from_timestamp_millis(from),
                created_le: DateTime::from_timestamp_millis(to),
                limit: Some(limits.page),
                ..filter.clone()
            };
            let page = match self.list(&filter).await {
                Ok(page) => page,
                Err(error) => {
                    listing.gap = Some(error);
                    break;
                }
            };
            listing.provider_date = page.provider_date.or(listing.provider_date);
            let length = page.calls.len();
            listing.calls.extend(page.calls.into_iter().filter(|call| seen.insert(call.provider_call_id.clone())));
            // A service that ignored our limit would cut at its default.
            if length < usize::from(limits.page) && length != DEFAULT_PAGE {
                continue;
            }
            if from == to {
                let reason = format!("{length} calls of one millisecond fill a page");
                listing.gap = Some(ReadError::Incomplete { reason });
                break;
            }
            let middle = from + (to - from) / 2;
            // The halves meet in no instant that the service can write: its times are in milliseconds.
            ranges.push((from, middle));
            ranges.push((middle + 1, to));
        }
        listing
    }

    /// The organisation that the key belongs to, as any call of it shows; none while it has no calls.
    ///
    /// # Errors
    /// As [`Vapi::list`].
    pub async fn org_id(&self) -> Result<Option<String>, ReadError> {
        let page = self.list(&ListFilter { limit: Some(1), ..ListFilter::default() }).await?;
        Ok(page.calls.into_iter().find_map(|call| call.org_id))
    }

    fn send(&self, method: Method, path: &str) -> Result<RequestBuilder, reqwest::Error> {
        let client = self.http.client(&self.base_url)?;
        Ok(client.request(method, format!("{}{path}", self.base_url)).bearer_auth(self.key.expose()))
    }
}

/// The longest `name` and `customer.externalId` that the service takes.
const MAX_NAME_CHARS: usize = 40;
const MAX_EXTENSION_CHARS: usize = 10;
const DEFAULT_PAGE: usize = 100;

/// The request for a call; an error says whose fault it is that there can be none.
fn place_body(request: &DialRequest) -> Result<Value, (RefusalClass, String)> {
    let agent = |key: &str| {
        let id = request.agent.get(key).and_then(Value::as_str).filter(|id| !id.is_empty());
        id.ok_or_else(|| (RefusalClass::Campaign, format!("the campaign's vapi agent has no `{key}`")))
    };
    let id = &request.attempt_id;
    let mut customer = json!({"number": request.to, "externalId": id});
    if let Some(name) = request.customer_name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        customer["name"] = name.chars().take(MAX_NAME_CHARS).collect::<String>().into();
    }
    if let Some(extension) = request.extension.as_deref().filter(|extension| !extension.is_empty()) {
        if extension.chars().count() > MAX_EXTENSION_CHARS {
            // Cut short it would reach somebody else.
            let reason = format!("the extension `{extension}` is longer than {MAX_EXTENSION_CHARS} characters");
            return Err((RefusalClass::Number, reason));
        }
        customer["extension"] = extension.into();
    }
    Ok(json!({
        "assistantId": agent("assistant_id")?,
        "phoneNumberId": agent("phone_number_id")?,
        "customer": customer,
        "name": id,
        "assistantOverrides": {"variableValues": request.variables, "metadata": {"attempt_id": id}},
    }))
}

/// What a complete answer to the request for a call proves.
fn judge(answer: &Answer) -> DialAnswer {
    let status = answer.status;
    let unknown = |what: &str| DialAnswer::Unknown { reason: format!("status {status}, {what}: {}", answer.excerpt()) };
    let class = match status {
        200..=299 => {
            let Ok(raw) = serde_json::from_slice::<Value>(&answer.body) else { return unknown("not JSON") };
            let Some(id) = text(&raw, "/id") else { return unknown("no call id") };
            let queued = raw.pointer("/subscriptionLimits/concurrencyBlocked").and_then(Value::as_bool) == Some(true)
                || raw.get("status").and_then(Value::as_str) == Some("scheduled");
            return DialAnswer::Accepted { provider_call_id: id, org_id: text(&raw, "/orgId"), queued, raw };
        }
        401..=403 => RefusalClass::Account,
        429 => RefusalClass::Capacity,
        404 => RefusalClass::Campaign,
        // Both can come from something in between that had passed the request on: no proof of refusal.
        408 | 409 | 499 => return unknown("no proof of refusal"),
        400..=499 => class_of_message(&answer.body),
        _ => return unknown("no proof either way"),
    };
    DialAnswer::Refused {
        class,
        reason: format!("status {status}: {}", answer.excerpt()),
        http_status: Some(status),
        retry_after: answer.retry_after,
    }
}

/// Whose fault a 400 is. What is not recognised is the campaign's, so that nothing is spent on numbers.
fn class_of_message(body: &[u8]) -> RefusalClass {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut messages = match json.get("message") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_lowercase).collect(),
        Some(Value::String(message)) => vec![message.to_lowercase()],
        _ => vec![String::from_utf8_lossy(body).to_lowercase()],
    };
    messages.extend(json.get("error").and_then(Value::as_str).map(str::to_lowercase).filter(|e| e != "bad request"));
    let any = |words: &[&str]| messages.iter().any(|message| words.iter().any(|word| message.contains(word)));
    if any(&["concurrency limit", "rate limit", "too many requests"]) {
        RefusalClass::Capacity
    } else if any(&["credit", "wallet", "subscription", "billing", "payment", "frozen", "fraud"]) {
        RefusalClass::Account
    } else if !messages.is_empty() && messages.iter().all(|message| is_about_the_number(message)) {
        RefusalClass::Number
    } else {
        RefusalClass::Campaign
    }
}

fn is_about_the_number(message: &str) -> bool {
    let names_it =
        ["customer.number ", "customer.extension ", "customer number", "customer's number", "customer phone"];
    names_it.iter().any(|name| message.contains(name)) && !message.contains("should not exist")
}

/// A record of a call; none when it has no id.
fn report_of(raw: Value) -> Option<CallReport> {
    let time = |key| text(&raw, key).and_then(|at| DateTime::parse_from_rfc3339(&at).ok()).map(|at| at.to_utc());
    let state = match raw.get("status").and_then(Value::as_str).unwrap_or_default() {
        "scheduled" => ProviderState::Scheduled,
        "queued" => ProviderState::Queued,
        "ringing" => ProviderState::Ringing,
        // A call that is being handed to a person is still going on.
        "in-progress" | "forwarding" => ProviderState::InProgress,
        "ended" => ProviderState::Ended,
        "not-found" => ProviderState::Missing,
        other => ProviderState::Other(other.to_owned()),
    };
    let ended_reason = text(&raw, "/endedReason");
    let ended = state == ProviderState::Ended;
    let started_at = time("/startedAt");
    let reason = ended_reason.as_deref();
    let outcome = ended.then(|| reason.map_or(Outcome::Unknown, outcome_of));
    let analysis = raw.get("analysis").filter(|analysis| analysis.is_object());
    let cost_usd = raw.get("cost").and_then(Value::as_f64);
    let ended_at = time("/endedAt");
    // A call that is not over has a cost of 0 already, and the analysis comes some time after the end. Neither is to be
    // waited for where there was no conversation.
    let is_charged = cost_usd.is_some_and(|cost| cost > 0.0 || started_at.is_none());
    let is_analysed = analysis.is_some() || started_at.is_none();
    let is_complete = ended && reason.is_some() && ended_at.is_some() && is_charged && is_analysed;
    Some(CallReport {
        provider_call_id: text(&raw, "/id")?,
        org_id: text(&raw, "/orgId"),
        correlation: correlation_of(&raw),
        to: text(&raw, "/customer/number"),
        line: text(&raw, "/phoneNumberId"),
        agent: text(&raw, "/assistantId"),
        outcome,
        never_rang: ended && started_at.is_none() && reason.is_some_and(ended_before_dialling),
        state,
        ended_reason,
        created_at: time("/createdAt"),
        started_at,
        ended_at,
        cost_usd,
        summary: text(&raw, "/analysis/summary").or_else(|| text(&raw, "/summary")),
        transcript: text(&raw, "/artifact/transcript").or_else(|| text(&raw, "/transcript")),
        analysis: analysis.map(Value::to_string),
        is_complete,
        raw,
    })
}

/// What the service extracted of a conversation, by its analysis.
pub fn extracted(analysis: &Value) -> Map<String, Value> {
    analysis.get("structuredData").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The name that a call was given when it was placed.
fn correlation_of(raw: &Value) -> Option<String> {
    text(raw, "/name")
        .or_else(|| text(raw, "/customer/externalId"))
        .or_else(|| text(raw, "/assistantOverrides/metadata/attempt_id"))
}

fn one_report(answer: &Answer) -> Result<CallReport, ReadError> {
    serde_json::from_slice(&answer.body)
        .ok()
        .and_then(report_of)
        .ok_or_else(|| ReadError::Broken { status: answer.status, body: answer.excerpt() })
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
