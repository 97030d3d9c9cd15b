//! The endpoints of Zoho Books, version 3, that are read, and that of its accounts where access tokens come from.
//!
//! Both hosts of the service are this one address. What cannot be known of the service from its description is decided
//! against the client: whatever comes counts against the limits, what is not known to be a parameter is left alone as if it
//! had not been there, a customer's time of change does not follow its invoices, and a listing is no snapshot. An invoice does
//! not become overdue by itself: its status is what it was set to.

mod contract;
mod given;
mod many;
mod meter;
mod oauth;
mod record;
mod records;

use std::collections::{BTreeMap, HashMap};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::any;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::contract::{Filter, Listing, Wrong};
use self::given::Shape;
use self::meter::{Broken, Limits, Meter};
use self::oauth::{Grants, too_many};
use self::records::Records;
use super::Sandbox;
use super::exchange::{Dialect, Incoming, Refusal};
use super::query::{Query, form};
use super::reply::Reply;

const ROOT: &str = "/books/v3/";
const TOKEN: &str = "/oauth/v2/token";

pub(super) fn routes() -> Router<Sandbox> {
    Router::new().route("/books/v3/{*rest}", any(ask)).route(TOKEN, any(ask_for_token))
}

/// How Zoho reads requests and says no.
struct Zoho {
    /// Whose token the request shows.
    speaker: Option<String>,
    /// Whether it is the accounts host that is asked.
    is_oauth: bool,
}

impl Dialect for Zoho {
    fn organisation(&self, _: &HeaderMap, _: &HashMap<String, String>) -> Option<String> {
        self.speaker.clone()
    }

    fn phone<'b>(&self, _: &'b Value) -> Option<&'b str> {
        None
    }

    /// Nothing here rings, so that a fault must name the method or the path.
    fn places(&self, _: &Method, _: &str) -> bool {
        false
    }

    fn read(&self, bytes: &[u8]) -> Value {
        form(bytes)
    }

    fn kind(&self, path: &str) -> String {
        let is_id = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::TooManyRequests | Refusal::Concurrency if self.is_oauth => too_many(),
            Refusal::Stranger if self.is_oauth => Reply::json(200, json!({"error": "invalid_client"})),
            Refusal::Stranger | Refusal::Failure(401) => {
                error(401, 57, "You are not authorized to perform this operation")
            }
            // A 5xx may come without a word.
            Refusal::Unavailable | Refusal::Failure(503) => Reply::empty(503),
            Refusal::Failure(status) => error(status, 1000, "Internal error"),
            Refusal::TooManyRequests => broken(Broken::PerMinute, Limits::default()),
            Refusal::Concurrency => broken(Broken::AtOnce, Limits::default()),
            Refusal::NoCredits => broken(Broken::PerDay, Limits::default()),
            Refusal::Number | Refusal::Agent => error(404, 1002, "The record does not exist."),
        }
    }

    fn id_key(&self) -> &'static str {
        if self.is_oauth { "access_token" } else { "code" }
    }

    fn refuse_by_code(&self, status: u16, code: &str) -> Reply {
        match code.parse() {
            // Such an error says so in its body alone.
            _ if self.is_oauth => Reply::json(200, json!({"error": code})),
            Ok(code) => error(status, code, "the sandbox refuses as told"),
            Err(_) => self.refuse(Refusal::Failure(status)),
        }
    }
}

fn error(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(status, json!({"code": code, "message": message}))
}

fn broken(limit: Broken, limits: Limits) -> Reply {
    match limit {
        Broken::PerMinute => error(
            429,
            44,
            "For security reasons your organization has been blocked as it have exceeded the maximum number of requests per minute that can originate from an organization.",
        ),
        Broken::PerDay => {
            let most = limits.per_day;
            let message =
                format!("The API call for this organization has exceeded the maximum call rate limit of {most}.");
            error(429, 45, &message)
        }
        Broken::AtOnce => error(
            429,
            1070,
            "You have reached the maximum number of in process requests allowed. Kindly try again after some time.",
        ),
    }
}

impl From<Wrong> for Reply {
    fn from(Wrong(message): Wrong) -> Self {
        error(400, 2, &message)
    }
}

/// Everything that is known of the service's organisations.
#[derive(Debug)]
pub(super) struct Books {
    records: Records,
    grants: Grants,
    /// By the id of the organisation.
    meters: BTreeMap<String, Meter>,
    limits: Limits,
    has_limits: bool,
    page_context: Shape,
    /// Requests that showed no valid token.
    strangers: u64,
    /// Parameters that nobody knows, and how often they came.
    ignored: BTreeMap<String, u64>,
}

impl Books {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            records: Records::new(),
            grants: Grants::new(seed),
            meters: BTreeMap::new(),
            limits: Limits::default(),
            has_limits: false,
            page_context: Shape::default(),
            strangers: 0,
            ignored: BTreeMap::new(),
        }
    }

    fn limits(&self) -> Option<Limits> {
        self.has_limits.then_some(self.limits)
    }

    pub(super) fn ledger(&self) -> Value {
        let meters: BTreeMap<&String, Value> = self.meters.iter().map(|(id, meter)| (id, meter.to_json())).collect();
        let records = &self.records;
        json!({
            "organizations": meters, "tokens": self.grants.to_json(), "strangers": self.strangers,
            "ignored": self.ignored, "customers": records.customers.len(), "invoices": records.invoices.len(),
            "deleted": {"customers": records.deleted_customers, "invoices": records.deleted_invoices},
        })
    }

    /// All records of a kind as a listing would show them, by their ids; customers with their persons besides.
    ///
    /// # Errors
    /// When there is no such kind.
    pub(super) fn all(&self, kind: &str, now: DateTime<Utc>) -> Result<Value, String> {
        let Records { organizations, customers, invoices, .. } = &self.records;
        match kind {
            "customers" => Ok(customers
                .values()
                .map(|customer| {
                    let whose = &organizations[customer.organization];
                    let mut listed = customer.listed(whose.offset);
                    listed["organization_id"] = json!(whose.id);
                    listed["contact_persons"] = json!(customer.persons);
                    listed
                })
                .collect()),
            "invoices" => Ok(invoices
                .values()
                .map(|invoice| {
                    let whose = &organizations[invoice.organization];
                    let mut listed = invoice.listed(customers.get(&invoice.customer), whose.offset, now);
                    listed["organization_id"] = json!(whose.id);
                    listed
                })
                .collect()),
            other => Err(format!("there are no `{other}`: `records` is customers or invoices")),
        }
    }

    /// Counts a request that begins: whose token it shows, and what of the organisation's it is.
    fn begin(&mut self, headers: &HeaderMap, uri: &Uri, now: DateTime<Utc>) -> Begun {
        let Some(grant) = self.grants.caller(headers, now) else {
            self.strangers += 1;
            return Begun::Stranger;
        };
        let query = Query::of(uri);
        let asked = query.get("organization_id").unwrap_or_default();
        // Nobody names an organisation to learn which there are.
        let asked = if uri.path() == "/books/v3/organizations" { None } else { Some(asked) };
        let whose = grant.organizations.iter().find(|id| asked.is_none_or(|asked| asked == *id));
        let Some(whose) = whose.cloned() else {
            let speaker = grant.organizations.first().cloned().unwrap_or_default();
            return Begun::Elsewhere { speaker, asked: asked.unwrap_or_default().to_owned() };
        };
        let reached = grant.organizations.clone();
        let limits = self.limits();
        let broken = self.meters.entry(whose.clone()).or_default().begins(now, limits);
        Begun::Counted { whose, reached, broken }
    }

    fn answer(&mut self, method: &Method, uri: &Uri, begun: &Begun, now: DateTime<Utc>) -> Result<Reply, Reply> {
        let (whose, reached) = match begun {
            // It was refused before.
            Begun::Stranger => return Err(error(401, 57, "You are not authorized to perform this operation")),
            Begun::Elsewhere { asked, .. } => {
                let message = format!("This user is not associated with the CompanyID/CompanyName:{asked}.");
                return Err(error(400, 6041, &message));
            }
            Begun::Counted { broken: Some(limit), .. } => return Err(broken(*limit, self.limits)),
            Begun::Counted { whose, reached, .. } => (whose, reached),
        };
        if method != Method::GET {
            return Err(error(405, 37, &format!("The HTTP method {method} is not allowed for the requested resource")));
        }
        let index = self.records.organization(whose).unwrap_or_default();
        let query = Query::of(uri);
        let parts: Vec<&str> = uri.path().strip_prefix(ROOT).unwrap_or_default().split('/').collect();
        match parts[..] {
            ["organizations"] => Ok(self.organizations(reached)),
            ["contacts"] => self.customers(index, &query),
            ["contacts", id] => self.customer(index, id),
            ["invoices"] => self.invoices(index, &query, now),
            ["invoices", id] => self.invoice(index, id, now),
            _ => Err(error(404, 5, "Invalid URL Passed")),
        }
    }

    fn organizations(&self, reached: &[String]) -> Reply {
        let organizations = self.records.organizations.iter().filter(|one| reached.contains(&one.id));
        let organizations: Value = organizations.map(record::Organization::to_json).collect();
        good("organizations", organizations, None)
    }

    fn customers(&mut self, whose: usize, query: &Query) -> Result<Reply, Reply> {
        let listing: Listing<contract::CustomerFilter> = self.listing(query)?;
        let offset = self.records.organizations[whose].offset;
        let (ids, has_more) = self.records.customers_of(whose, &listing);
        let customers = ids.iter().filter_map(|id| self.records.customers.get(id));
        let customers: Value = customers.map(|customer| customer.listed(offset)).collect();
        let context = json!({
            "page": listing.page, "per_page": listing.per_page, "has_more_page": has_more,
            "applied_filter": listing.filter.applied(), "sort_column": listing.sort_column,
            "sort_order": if listing.descends { "D" } else { "A" },
        });
        Ok(good("contacts", customers, Some(self.shaped(context))))
    }

    fn customer(&self, whose: usize, id: &str) -> Result<Reply, Reply> {
        let customer = id.parse().ok().and_then(|id| self.records.customers.get(&id));
        let customer = customer.filter(|customer| customer.organization == whose);
        let customer = customer.ok_or_else(|| error(404, 1002, "Contact does not exist."))?;
        Ok(good("contact", customer.detailed(self.records.organizations[whose].offset), None))
    }

    fn invoices(&mut self, whose: usize, query: &Query, now: DateTime<Utc>) -> Result<Reply, Reply> {
        let listing: Listing<contract::InvoiceFilter> = self.listing(query)?;
        let offset = self.records.organizations[whose].offset;
        let (ids, has_more) = self.records.invoices_of(whose, &listing);
        let Records { customers, invoices, .. } = &self.records;
        let invoices = ids.iter().filter_map(|id| invoices.get(id));
        let invoices: Value =
            invoices.map(|invoice| invoice.listed(customers.get(&invoice.customer), offset, now)).collect();
        let context = json!({
            "page": listing.page, "per_page": listing.per_page, "has_more_page": has_more, "report_name": "Invoices",
            "applied_filter": listing.filter.applied(), "sort_column": listing.sort_column,
            "sort_order": if listing.descends { "D" } else { "A" },
        });
        Ok(good("invoices", invoices, Some(self.shaped(context))))
    }

    fn invoice(&self, whose: usize, id: &str, now: DateTime<Utc>) -> Result<Reply, Reply> {
        let Records { organizations, customers, invoices, .. } = &self.records;
        let invoice = id.parse().ok().and_then(|id| invoices.get(&id));
        let invoice = invoice.filter(|invoice| invoice.organization == whose);
        let invoice = invoice.ok_or_else(|| error(404, 1002, "Invoice does not exist."))?;
        let customer = customers.get(&invoice.customer);
        Ok(good("invoice", invoice.detailed(customer, organizations[whose].offset, now), None))
    }

    fn listing<F: Filter>(&mut self, query: &Query) -> Result<Listing<F>, Wrong> {
        let listing = Listing::parse(query)?;
        for name in Listing::<F>::ignored(query) {
            *self.ignored.entry(name.to_owned()).or_default() += 1;
        }
        Ok(listing)
    }

    fn shaped(&self, context: Value) -> Value {
        match self.page_context {
            Shape::Object => context,
            Shape::Array => json!([context]),
        }
    }
}

fn good(name: &str, value: Value, page_context: Option<Value>) -> Reply {
    let mut body = json!({"code": 0, "message": "success"});
    body[name] = value;
    if let Some(context) = page_context {
        body["page_context"] = context;
    }
    Reply::json(200, body)
}

/// A request as it was counted.
#[derive(Debug)]
enum Begun {
    Stranger,
    /// It asks for an organisation that its token does not reach.
    Elsewhere {
        speaker: String,
        asked: String,
    },
    Counted {
        whose: String,
        reached: Vec<String>,
        broken: Option<Broken>,
    },
}

impl Begun {
    fn speaker(&self) -> Option<String> {
        match self {
            Self::Stranger => None,
            Self::Elsewhere { speaker, .. } => Some(speaker.clone()),
            Self::Counted { whose, .. } => Some(whose.clone()),
        }
    }
}

/// Counts a request for as long as somebody waits for its answer.
struct InFlight(Sandbox, String);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(meter) = self.0.lock().books.meters.get_mut(&self.1) {
            meter.ends();
        }
    }
}

async fn ask(State(sandbox): State<Sandbox>, method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Response {
    let begun = {
        let mut inner = sandbox.lock();
        let now = inner.now();
        inner.books.begin(&headers, &uri, now)
    };
    let in_flight = match &begun {
        Begun::Counted { whose, .. } => Some(InFlight(sandbox.clone(), whose.clone())),
        _ => None,
    };
    let dialect = Zoho { speaker: begun.speaker(), is_oauth: false };
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let response = sandbox
        .handle(&dialect, incoming, |inner, whose, _| {
            let now = inner.now();
            let books = &mut inner.books;
            let day = books.limits().zip(books.meters.get(whose)).map(|(limits, meter)| meter.headers(now, limits));
            let with_day = |reply: Reply| reply.headers(day.clone().unwrap_or_default());
            books.answer(&method, &uri, &begun, now).map(with_day).map_err(with_day)
        })
        .await;
    drop(in_flight);
    response
}

async fn ask_for_token(
    State(sandbox): State<Sandbox>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let dialect = Zoho { speaker: Some("oauth".to_owned()), is_oauth: true };
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let act = |inner: &mut super::Inner, _: &str, _: &super::faults::Picked| {
        if method != Method::POST {
            return Err(Reply::empty(405));
        }
        let now = inner.now();
        Ok(inner.books.grants.issue(&Query::parse(&bytes), &format!("http://{host}"), now))
    };
    sandbox.handle(&dialect, incoming, act).await
}
