//! Zoho Books: customers and invoices, read only.
//!
//! Nothing here asks twice by itself: each request counts against limits by the minute and the day, which whoever asks has to
//! keep.

mod answer;
mod fields;
mod record;
mod token;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::value::RawValue;

pub use self::answer::AskError;
use self::answer::{Envelope, judge};
pub use self::fields::Fields;
pub use self::record::{Contact, Organization, Page};
use self::record::{contact, customers, invoices, one_invoice};
pub use self::token::{RefreshError, Token, TokenFile};
use super::http::{Answer, Http, exchange, unbuilt};
use crate::domain::billing::DataCenter;
use crate::domain::billing::records::{Customer, Invoice};
use crate::domain::secret::Secret;

/// The longest page that the service gives.
const PER_PAGE: &str = "200";
const ROOT: &str = "/books/v3";

/// A client of one user's books.
#[derive(Clone)]
pub struct Zoho {
    http: Http,
    grant: Grant,
    host: Host,
}

/// What access tokens are given out for.
#[derive(Clone)]
pub struct Grant {
    /// The client's id.
    pub client_id: Secret,
    /// The client's secret.
    pub client_secret: Secret,
    /// The refresh token.
    pub refresh_token: Secret,
}

/// Where the service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The hosts of a data centre.
    Of(DataCenter),
    /// One address for everything.
    At(String),
}

impl fmt::Debug for Zoho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zoho").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What was read, and what the answer said besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// What was read.
    pub value: T,
    /// The service's clock.
    pub date: Option<DateTime<Utc>>,
    /// How long it is until the organisation's requests of a day are to be had again.
    pub day_ends_in: Option<Duration>,
}

impl<T> Told<T> {
    /// The same, with something else in place of what was read.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Told<U> {
        Told { value: convert(self.value), date: self.date, day_ends_in: self.day_ends_in }
    }
}

impl Zoho {
    /// A client for the books that a grant opens.
    pub fn new(http: Http, grant: Grant, host: Host) -> Self {
        Self { http, grant, host }
    }

    /// The file that holds this grant's access token, in a folder.
    pub fn token_file(&self, folder: &std::path::Path) -> TokenFile {
        TokenFile::new(folder, &[self.accounts_url(), self.grant.client_id.expose(), self.grant.refresh_token.expose()])
    }

    /// The bound on one request.
    pub fn request_timeout(&self) -> Duration {
        self.http.request_timeout()
    }

    /// An access token: the one of the file, or, where that is about to expire or is `worn`, a new one, which is then in the
    /// file for everybody. `clock` says what time it is.
    ///
    /// # Errors
    /// When the grant is refused, as many tokens were asked for as may be, or there is no usable answer.
    pub async fn token(
        &self,
        file: &TokenFile,
        worn: Option<&Token>,
        clock: impl Fn() -> DateTime<Utc>,
    ) -> Result<Token, RefreshError> {
        file.token(worn, clock, self.request_timeout(), async || self.refresh().await).await
    }

    /// The organisations that the grant reaches.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn organizations(&self, token: &Token) -> Result<Told<Vec<Organization>>, AskError> {
        let answer = self.get(token, None, "/organizations", &[]).await?;
        told(&answer, record::organizations)
    }

    /// A page, from 1, of all customers in the order in which they were made, deleted ones excepted.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn customers(&self, token: &Token, org: &str, page: i64) -> Result<Told<Page<Customer>>, AskError> {
        self.contacts(token, org, page, ("created_time", "A")).await
    }

    /// A page, from 1, of all customers, those that were changed last first.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn latest_customers(
        &self,
        token: &Token,
        org: &str,
        page: i64,
    ) -> Result<Told<Page<Customer>>, AskError> {
        self.contacts(token, org, page, ("last_modified_time", "D")).await
    }

    async fn contacts(
        &self,
        token: &Token,
        org: &str,
        page: i64,
        (column, order): (&str, &str),
    ) -> Result<Told<Page<Customer>>, AskError> {
        let page = page.to_string();
        let query = [
            ("contact_type", "customer"),
            ("filter_by", "Status.All"),
            ("sort_column", column),
            ("sort_order", order),
            ("page", &page),
            ("per_page", PER_PAGE),
        ];
        let answer = self.get(token, Some(org), "/contacts", &query).await?;
        told(&answer, customers)
    }

    /// A page, from 1, of all invoices in the order in which they were made, or of those that were changed after an instant.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn invoices(
        &self,
        token: &Token,
        org: &str,
        page: i64,
        changed_after: Option<DateTime<Utc>>,
    ) -> Result<Told<Page<Invoice>>, AskError> {
        let page = page.to_string();
        // The sign of the offset is sent encoded, as it must be.
        let changed_after = changed_after.map(|at| at.format("%Y-%m-%dT%H:%M:%S+0000").to_string());
        let mut query =
            vec![("sort_column", "created_time"), ("sort_order", "A"), ("page", page.as_str()), ("per_page", PER_PAGE)];
        query.extend(changed_after.as_deref().map(|at| ("last_modified_time", at)));
        let answer = self.get(token, Some(org), "/invoices", &query).await?;
        told(&answer, invoices)
    }

    /// A customer with its persons; none when there is none (any more).
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn contact(&self, token: &Token, org: &str, id: &str) -> Result<Told<Option<Contact>>, AskError> {
        found(self.get(token, Some(org), &format!("/contacts/{id}"), &[]).await, |envelope| {
            contact(envelope.contact.ok_or("no `contact`")?)
        })
    }

    /// Whether there is an invoice of this id.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn has_invoice(&self, token: &Token, org: &str, id: &str) -> Result<Told<bool>, AskError> {
        let found = found(self.get(token, Some(org), &format!("/invoices/{id}"), &[]).await, |envelope| {
            envelope.invoice.map(drop).ok_or("no `invoice`".to_owned())
        })?;
        Ok(found.map(|invoice| invoice.is_some()))
    }

    /// An invoice as it is now; none when there is none (any more).
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn invoice(&self, token: &Token, org: &str, id: &str) -> Result<Told<Option<Invoice>>, AskError> {
        found(self.get(token, Some(org), &format!("/invoices/{id}"), &[]).await, |envelope| {
            one_invoice(envelope.invoice.ok_or("no `invoice`")?)
        })
    }

    fn accounts_url(&self) -> &str {
        match &self.host {
            Host::Of(data_center) => data_center.accounts_url(),
            Host::At(url) => url,
        }
    }

    async fn refresh(&self) -> Result<token::Fresh, RefreshError> {
        let Grant { client_id, client_secret, refresh_token } = &self.grant;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("refresh_token", refresh_token.expose())
            .append_pair("client_id", client_id.expose())
            .append_pair("client_secret", client_secret.expose())
            .append_pair("grant_type", "refresh_token")
            .finish();
        let url = self.accounts_url();
        let client = self.http.client(url).map_err(|error| RefreshError::Read(unbuilt(&error)))?;
        let request = client
            .post(format!("{url}/oauth/v2/token"))
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        token::judge(exchange(request).await, &self.host)
    }

    async fn get(
        &self,
        token: &Token,
        org: Option<&str>,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, AskError> {
        let base = token.api_url();
        let client = self.http.client(base).map_err(|error| AskError::Read(unbuilt(&error)))?;
        let request = client
            .request(Method::GET, format!("{base}{ROOT}{path}"))
            .header(reqwest::header::AUTHORIZATION, format!("Zoho-oauthtoken {}", token.expose()));
        let request = match org {
            Some(org) => request.query(&[("organization_id", org)]),
            None => request,
        };
        judge(exchange(request.query(query)).await)
    }
}

/// Reads what an answer is about.
fn told<'a, T>(answer: &'a Answer, read: impl FnOnce(Envelope<'a>) -> Result<T, String>) -> Result<Told<T>, AskError> {
    let envelope = Envelope::of(answer)?;
    let value = read(envelope).map_err(|problem| answer::broken(answer, &problem))?;
    Ok(Told { value, date: answer.date, day_ends_in: answer::day_ends_in(&answer.headers) })
}

/// As [`told`]; none where the service says that there is no such record.
fn found<T>(
    answer: Result<Answer, AskError>,
    read: impl FnOnce(Envelope<'_>) -> Result<T, String>,
) -> Result<Told<Option<T>>, AskError> {
    match answer {
        Ok(answer) => Ok(told(&answer, read)?.map(Some)),
        Err(AskError::Unknown { date, day_ends_in }) => Ok(Told { value: None, date, day_ends_in }),
        Err(error) => Err(error),
    }
}

/// A record as it came.
type Raw<'a> = &'a RawValue;
