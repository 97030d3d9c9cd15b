//! The endpoints of Twilio that are about phone numbers.
//!
//! An account speaks with its auth token, or with its API key, which is its sid with `SK` for `AC`; an account that was
//! given no auth token of its own takes any key of the sandbox's organisations. There is one account from the start. What
//! cannot be known of the service from its description is decided against the client: a number that was released is not
//! sold again, pages are reached by their tokens alone, and of the numbers for sale some cannot be called.

mod accounts;
mod carrier;
mod contract;
mod given;
mod inventory;
mod ledger;
mod numbers;
mod record;

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::any;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

pub(super) use self::accounts::MAIN;
use self::accounts::is_sid;
pub(super) use self::carrier::Carrier;
use self::contract::{Parameters, Wrong};
use super::exchange::{Dialect, Incoming, Refusal};
use super::faults::{Fault, Picked};
use super::query::form;
use super::reply::Reply;
use super::{Inner, Sandbox};

/// What every path of the service begins with.
pub(super) const ROOT: &str = "/2010-04-01/";

pub(super) fn routes() -> Router<Sandbox> {
    Router::new().route("/2010-04-01/{*rest}", any(ask))
}

/// What a path is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource<'p> {
    Accounts,
    Account(&'p str),
    Numbers(&'p str),
    Number(&'p str, &'p str),
    Available(&'p str, &'p str),
    Calls(&'p str),
    Call(&'p str, &'p str),
}

impl<'p> Resource<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix(ROOT)?.strip_suffix(".json")?.split('/').collect();
        match parts[..] {
            ["Accounts"] => Some(Self::Accounts),
            ["Accounts", account] => Some(Self::Account(account)),
            ["Accounts", account, "IncomingPhoneNumbers"] => Some(Self::Numbers(account)),
            ["Accounts", account, "IncomingPhoneNumbers", sid] => Some(Self::Number(account, sid)),
            ["Accounts", account, "AvailablePhoneNumbers", country, "Local"] => Some(Self::Available(account, country)),
            ["Accounts", account, "Calls"] => Some(Self::Calls(account)),
            ["Accounts", account, "Calls", sid] => Some(Self::Call(account, sid)),
            _ => None,
        }
    }

    fn account(self) -> Option<&'p str> {
        match self {
            Self::Accounts => None,
            Self::Account(account)
            | Self::Numbers(account)
            | Self::Number(account, _)
            | Self::Available(account, _)
            | Self::Calls(account)
            | Self::Call(account, _) => Some(account),
        }
    }
}

/// How Twilio reads requests and says no.
struct Twilio {
    /// Whose credentials the request shows.
    speaker: Option<String>,
}

impl Dialect for Twilio {
    fn organisation(&self, _: &HeaderMap, _: &HashMap<String, String>) -> Option<String> {
        self.speaker.clone()
    }

    fn phone<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body.get("PhoneNumber").and_then(Value::as_str)
    }

    /// Nothing here rings, so that a fault must name the method or the path.
    fn places(&self, _: &Method, _: &str) -> bool {
        false
    }

    fn read(&self, bytes: &[u8]) -> Value {
        form(bytes)
    }

    fn kind(&self, path: &str) -> String {
        let stem = path.strip_suffix(".json").unwrap_or(path);
        let parts: Vec<&str> = stem
            .split('/')
            .map(|part| if ["AC", "PN", "CA"].iter().any(|prefix| is_sid(prefix, part)) { "{sid}" } else { part })
            .collect();
        format!("{}{}", parts.join("/"), &path[stem.len()..])
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Stranger | Refusal::Failure(401) => error(401, 20003, "Authenticate"),
            // A 5xx may come without a word.
            Refusal::Unavailable | Refusal::Failure(503) => Reply::empty(503),
            Refusal::Failure(status) => error(status, 20000 + u32::from(status), "the sandbox fails as told"),
            Refusal::TooManyRequests | Refusal::Concurrency => error(429, 20429, "Too Many Requests"),
            Refusal::NoCredits => error(402, 20402, "the account has no credits"),
            Refusal::Number => error(400, 21421, "PhoneNumber is invalid"),
            Refusal::Agent => error(404, 20404, "The requested resource was not found"),
        }
    }

    fn id_key(&self) -> &'static str {
        "sid"
    }

    fn refuse_by_code(&self, status: u16, code: &str) -> Reply {
        match code.parse() {
            Ok(code) => error(status, code, "the sandbox refuses as told"),
            Err(_) => self.refuse(Refusal::Failure(status)),
        }
    }
}

fn error(status: u16, code: u32, message: &str) -> Reply {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    Reply::json(status, json!({"code": code, "message": message, "more_info": more_info, "status": status}))
}

fn not_found(path: &str) -> Reply {
    error(404, 20404, &format!("The requested resource {path} was not found"))
}

impl From<Wrong> for Reply {
    fn from(wrong: Wrong) -> Self {
        error(400, wrong.code, &wrong.message)
    }
}

/// Counts a request for as long as somebody waits for its answer.
struct InFlight(Sandbox);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().carrier.ledger.ends();
    }
}

async fn ask(State(sandbox): State<Sandbox>, method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Response {
    let (dialect, deletes, _in_flight) = {
        let mut inner = sandbox.lock();
        let inner = &mut *inner;
        inner.carrier.ledger.begins();
        let speaker = inner.carrier.accounts.speaker(&headers, &inner.keys);
        let speaker = speaker.map(|index| inner.carrier.accounts.get(index).sid.clone());
        let now = inner.now();
        let deletes = (method == Method::DELETE).then(|| inner.carrier.asked_to_delete(uri.path(), now)).flatten();
        (Twilio { speaker }, deletes, InFlight(sandbox.clone()))
    };
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let act = |inner: &mut Inner, speaker: &str, picked: &Picked| {
        let now = inner.now();
        let usual = inner.keys.keys().min().map(String::as_str);
        let asked = Asked { uri: &uri, body: &bytes, now, picked, deletes, usual };
        inner.carrier.answer(&method, speaker, &asked)
    };
    sandbox.handle(&dialect, incoming, act).await
}

/// A request that is carried out.
struct Asked<'a> {
    uri: &'a Uri,
    body: &'a [u8],
    now: DateTime<Utc>,
    picked: &'a Picked,
    /// Its entry in the ledger, if it is a wish to release a number.
    deletes: Option<usize>,
    /// The auth token of accounts that were given none.
    usual: Option<&'a str>,
}

impl Asked<'_> {
    fn path(&self) -> &str {
        self.uri.path()
    }

    /// # Errors
    /// Naming a parameter that is not known.
    fn query(&self, known: &[&str]) -> Result<Parameters, Wrong> {
        Parameters::parse(self.uri.query().unwrap_or_default().as_bytes(), known)
    }

    /// Whether it is only said to be done.
    fn is_sham(&self) -> bool {
        self.picked.fault == Some(Fault::NothingDone)
    }
}
