//! Vapi: places calls and reads what became of them.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::http::{Http, ReadError};
use crate::domain::dial::{CallReport, DialRequest, DialResult};
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
}
