//! Twilio: the phone numbers that businesses rent, and the records of their calls.
//!
//! Bodies are forms and answers JSON. Nothing here has an idempotency key: who buys must be able to look afterwards.

mod answer;
mod calls;
mod numbers;
mod patience;

use std::fmt;

use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;

use self::answer::told;
pub use self::answer::{Bought, Released, meaning};
pub use self::calls::{CallFilter, CallRecord};
pub use self::numbers::{NumberPage, Purchase, Wanted};
use self::patience::patiently;
use super::http::{Answer, Http, ReadError, found, read, unbuilt};
use crate::domain::secret::Secret;

/// Where the real service answers.
pub const BASE_URL: &str = "https://api.twilio.com";

/// The longest page that the service gives.
const PAGE_SIZE: &str = "1000";
/// No listing is longer than this many pages: a service that never ends one must not hold a run for ever.
const MAX_PAGES: u32 = 10_000;

/// A client of one Twilio account, which reaches its subaccounts as well.
#[derive(Clone, Debug)]
pub struct Twilio {
    http: Http,
    account_sid: String,
    credentials: Credentials,
    base_url: String,
}

/// By what an account is opened.
#[derive(Clone)]
pub enum Credentials {
    /// The auth token that belongs to the account's SID.
    AuthToken(Secret),
    /// An API key: its SID, which begins with `SK`, and its secret.
    ApiKey(Secret, Secret),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthToken(_) => "AuthToken",
            Self::ApiKey(..) => "ApiKey",
        })
    }
}

/// An account at Twilio: the one of the credentials, or a subaccount.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct TwilioAccount {
    /// Its SID, which begins with `AC`.
    pub sid: String,
    /// What people call it.
    #[serde(default)]
    pub friendly_name: Option<String>,
    /// `active`, `suspended` or `closed`.
    #[serde(default)]
    pub status: Option<String>,
}

impl TwilioAccount {
    /// Whether it is closed: it holds no numbers, and answers nothing.
    pub fn is_closed(&self) -> bool {
        self.status.as_deref() == Some("closed")
    }
}

#[derive(serde::Deserialize)]
struct AccountPage {
    accounts: Vec<TwilioAccount>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

impl Twilio {
    /// A client that sends to `base_url` ([`BASE_URL`], or a sandbox).
    pub fn new(
        http: Http,
        account_sid: impl Into<String>,
        credentials: Credentials,
        base_url: impl Into<String>,
    ) -> Self {
        let base_url = base_url.into().trim_end_matches('/').to_owned();
        Self { http, account_sid: account_sid.into(), credentials, base_url }
    }

    /// The SID of the account itself.
    pub fn account_sid(&self) -> &str {
        &self.account_sid
    }

    /// The account itself and every subaccount, by SID, the account itself first; those that are closed, too. Where the key
    /// may not list accounts (an API key of the standard kind), the account itself alone, and why.
    ///
    /// # Errors
    /// When the key is refused for the account's own numbers as well, or there is no usable answer.
    pub async fn accounts(&self) -> Result<(Vec<TwilioAccount>, Option<ReadError>), ReadError> {
        let own = TwilioAccount { sid: self.account_sid.clone(), friendly_name: None, status: None };
        let mut accounts = Vec::new();
        let mut next = Some(format!("/2010-04-01/Accounts.json?PageSize={PAGE_SIZE}"));
        for _ in 0..MAX_PAGES {
            let Some(path) = next.take() else { break };
            let page: AccountPage = match self.get(&path, &[]).await {
                Ok(page) => page,
                Err(error @ ReadError::Unauthorized { .. }) => {
                    // A wrong key is refused in the same words as one that may not list accounts.
                    self.probe().await?;
                    return Ok((vec![own], Some(error)));
                }
                Err(error) => return Err(error),
            };
            accounts.extend(page.accounts.into_iter().filter(|one| one.sid != self.account_sid));
            next = next_page(&path, page.next_page_uri)?;
        }
        if next.is_some() {
            return Err(endless());
        }
        accounts.sort_by(|one, other| one.sid.cmp(&other.sid));
        accounts.insert(0, own);
        Ok((accounts, None))
    }

    /// Reads an object by GET, waiting where the service asks for fewer requests.
    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, ReadError> {
        let answer = self.answer(path, query).await?;
        parse(&answer)
    }

    /// As [`Twilio::get`]; none where the service does not know it.
    async fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ReadError> {
        found(self.answer(path, &[]).await)?.map(|answer| parse(&answer)).transpose()
    }

    async fn answer(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, ReadError> {
        let ask = async || {
            let request = self.send(Method::GET, path).map_err(|error| unbuilt(&error))?.query(query);
            read(request).await
        };
        patiently(ask).await.map_err(told)
    }

    fn send(&self, method: Method, path: &str) -> Result<RequestBuilder, reqwest::Error> {
        let client = self.http.client(&self.base_url)?;
        let request = client.request(method, format!("{}{path}", self.base_url));
        Ok(match &self.credentials {
            Credentials::AuthToken(token) => request.basic_auth(&self.account_sid, Some(token.expose())),
            Credentials::ApiKey(sid, secret) => request.basic_auth(sid.expose(), Some(secret.expose())),
        })
    }
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, ReadError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| ReadError::Broken { status: answer.status, body: format!("{error}: {}", answer.excerpt()) })
}

/// The path of the page after `path`. It is followed only within the service: credentials go along.
fn next_page(path: &str, next: Option<String>) -> Result<Option<String>, ReadError> {
    let Some(next) = next.filter(|next| !next.is_empty()) else { return Ok(None) };
    if !next.starts_with("/2010-04-01/") || next == path {
        let reason = format!("the page after {path} is said to be {next}");
        return Err(ReadError::Incomplete { reason });
    }
    Ok(Some(next))
}

fn endless() -> ReadError {
    ReadError::Incomplete { reason: format!("more than {MAX_PAGES} pages") }
}

/// The path of an account's resource.
fn path_of(account_sid: &str, resource: &str) -> String {
    format!("/2010-04-01/Accounts/{account_sid}/{resource}.json")
}

/// An RFC 2822 date of the service's.
fn date(text: Option<String>) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::parse_from_rfc2822(text?.trim()).ok().map(|date| date.to_utc())
}

/// A text, or none where it says nothing.
fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_leads_elsewhere_or_nowhere_is_not_followed() {
        let next = |to: &str| next_page("/2010-04-01/Accounts.json?Page=1", Some(to.to_owned()));
        assert_eq!(next(""), Ok(None));
        assert_eq!(next("/2010-04-01/Accounts.json?Page=2"), Ok(Some("/2010-04-01/Accounts.json?Page=2".to_owned())));
        for bad in ["https://elsewhere.example/2010-04-01/x", "//elsewhere.example/", "@elsewhere.example/", "/x"] {
            assert!(next(bad).is_err(), "{bad}");
        }
        assert!(next("/2010-04-01/Accounts.json?Page=1").is_err(), "it would never end");
    }

    #[test]
    fn credentials_cannot_be_printed() {
        let credentials = Credentials::ApiKey(Secret::new("SK123"), Secret::new("hush"));
        assert_eq!(format!("{credentials:?}"), "ApiKey");
    }
}
