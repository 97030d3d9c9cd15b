//! Stripe: customers and events, read only.
//!
//! What is asked names the version of the API, so that an account's own default changes nothing. Webhooks come in the
//! version of their endpoint, so that events are read in every shape.

mod event;

use std::fmt;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use self::event::customer_of;
pub use self::event::read_event;
use super::http::{Answer, Http, ReadError, found, id_path, read, unbuilt};
use crate::domain::secret::Secret;
use crate::domain::welcome::person::Customer;

/// Where the real service answers.
pub const BASE_URL: &str = "https://api.stripe.com";

/// The version of the API that is asked for.
const VERSION: &str = "2026-06-24.dahlia";
/// The longest page that the service gives.
const PAGE: &str = "100";

/// A client of one Stripe account, in one of its modes.
#[derive(Clone)]
pub struct Stripe {
    http: Http,
    key: Secret,
    base_url: String,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// A page of events, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// Each as it came: JSON.
    pub events: Vec<String>,
    /// The event after which the next page begins; none: this is the last.
    pub next_after: Option<String>,
    /// The service's clock.
    pub date: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Stripe {
    /// A client that sends to `base_url` ([`BASE_URL`], or a sandbox).
    pub fn new(http: Http, key: Secret, base_url: impl Into<String>) -> Self {
        Self { http, key, base_url: base_url.into().trim_end_matches('/').to_owned() }
    }

    /// Whether the key is for tests, as far as it says so by itself.
    pub fn is_test_key(&self) -> Option<bool> {
        let kind = self.key.expose().split('_').nth(1)?;
        match kind {
            "test" => Some(true),
            "live" => Some(false),
            _ => None,
        }
    }

    /// A customer; none when there is none of this id.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn customer(&self, id: &str) -> Result<Option<Customer>, ReadError> {
        let Some(path) = id_path("/v1/customers", id) else { return Ok(None) };
        let Some(answer) = found(self.get(&path, &[]).await)? else { return Ok(None) };
        let broken = |problem: String| ReadError::Broken { status: answer.status, body: problem };
        let value: Value = serde_json::from_slice(&answer.body).map_err(|error| broken(error.to_string()))?;
        customer_of(&value).map(Some).map_err(broken)
    }

    /// A page of the events of these types since an instant, behind one of them where it is named.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn events(
        &self,
        types: &[&str],
        since: DateTime<Utc>,
        after: Option<&str>,
    ) -> Result<EventPage, ReadError> {
        let since = since.timestamp().to_string();
        let mut query: Vec<(&str, &str)> = types.iter().map(|kind| ("types[]", *kind)).collect();
        query.extend([("created[gte]", since.as_str()), ("limit", PAGE)]);
        query.extend(after.map(|id| ("starting_after", id)));
        let answer = self.get("/v1/events", &query).await?;
        let broken = |problem: &str| ReadError::Broken { status: answer.status, body: problem.to_owned() };
        let page: Page<'_> = serde_json::from_slice(&answer.body).map_err(|error| broken(&error.to_string()))?;
        let next_after = match (page.has_more, page.data.last()) {
            (false, _) => None,
            // A service that never comes to an end must not hold a run for ever.
            (true, None) => return Err(broken("an empty page that is not the last")),
            (true, Some(last)) => {
                let last: Named = serde_json::from_str(last.get()).map_err(|error| broken(&error.to_string()))?;
                Some(last.id)
            }
        };
        let events = page.data.into_iter().map(|event| event.get().to_owned()).collect();
        Ok(EventPage { events, next_after, date: answer.date })
    }

    /// One harmless question, which needs the same permission as [`Stripe::events`].
    ///
    /// # Errors
    /// When the key is refused, or there is no usable answer.
    pub async fn probe(&self) -> Result<Option<DateTime<Utc>>, ReadError> {
        Ok(self.get("/v1/events", &[("limit", "1")]).await?.date)
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ReadError> {
        let client = self.http.client(&self.base_url).map_err(|error| unbuilt(&error))?;
        let request = client
            .request(Method::GET, format!("{}{path}", self.base_url))
            .bearer_auth(self.key.expose())
            .header("Stripe-Version", VERSION)
            .query(query);
        read(request).await.map_err(told)
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: Words,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    code: Option<String>,
    message: String,
}

/// An error with the service's own words instead of its JSON.
fn told(error: ReadError) -> ReadError {
    let words = |body: String| match serde_json::from_str::<Refusal>(&body) {
        Ok(Refusal { error: Words { code: Some(code), message } }) => format!("{code}: {message}"),
        Ok(Refusal { error: Words { code: None, message } }) => message,
        Err(_) => body,
    };
    match error {
        ReadError::Unauthorized { status, body } => ReadError::Unauthorized { status, body: words(body) },
        ReadError::NotFound { body } => ReadError::NotFound { body: words(body) },
        ReadError::Broken { status, body } => ReadError::Broken { status, body: words(body) },
        other => other,
    }
}
