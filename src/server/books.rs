//! The books of a tenant, for pages that read them from Zoho: in its own names and envelope, from what is kept here.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use chrono::{NaiveDate, Utc};
use serde_json::{Value, json};

use super::caller::open;
use super::{Server, reply};
use crate::app::App;
use crate::commands::billing::accounts::Setup;
use crate::commands::billing::asking::{Asked, Asker, Purpose};
use crate::commands::billing::sync::today;
use crate::error::message;
use crate::providers::zoho::Fields;
use crate::store::billing::customers::{self, StoredCustomer};
use crate::store::billing::invoices::{self, StoredInvoice};

/// The longest page, and how long it is where nobody says.
const MOST_PER_PAGE: i64 = 200;
const MOST_PAGES: i64 = 1_000_000;

/// What a listing is asked for.
#[derive(Clone, Debug)]
struct Listing<S> {
    page: i64,
    per_page: i64,
    sort: S,
    sort_column: &'static str,
    descending: bool,
    status: Option<String>,
    customer_id: Option<String>,
    text: Option<String>,
}

const CUSTOMER_SORTS: &[(&str, customers::Sort)] = &[
    ("contact_name", customers::Sort::Name),
    ("outstanding_receivable_amount", customers::Sort::Outstanding),
    ("last_modified_time", customers::Sort::LastModified),
];

const INVOICE_SORTS: &[(&str, invoices::Sort)] = &[
    ("due_date", invoices::Sort::DueDate),
    ("date", invoices::Sort::Date),
    ("invoice_number", invoices::Sort::Number),
    ("customer_name", invoices::Sort::Customer),
    ("total", invoices::Sort::Total),
    ("balance", invoices::Sort::Balance),
    ("last_modified_time", invoices::Sort::LastModified),
];

impl<S: Copy> Listing<S> {
    /// Reads a query; or names the parameter that has no sense.
    fn read(query: &str, sorts: &[(&'static str, S)], filters: &[&str]) -> Result<Self, String> {
        let (first_column, first_sort) = sorts[0];
        let mut listing = Self {
            page: 1,
            per_page: MOST_PER_PAGE,
            sort: first_sort,
            sort_column: first_column,
            descending: false,
            status: None,
            customer_id: None,
            text: None,
        };
        let number = |value: &str, most: i64| value.parse().ok().filter(|number| (1..=most).contains(number));
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let text = || Some(value.clone().into_owned()).filter(|text| !text.is_empty());
            let is_sound = match name.as_ref() {
                "page" => number(&value, MOST_PAGES).map(|number| listing.page = number).is_some(),
                "per_page" => number(&value, MOST_PER_PAGE).map(|number| listing.per_page = number).is_some(),
                "sort_column" => sorts
                    .iter()
                    .find(|(column, _)| *column == value)
                    .map(|(column, sort)| (listing.sort_column, listing.sort) = (column, *sort))
                    .is_some(),
                "sort_order" => {
                    listing.descending = value == "D";
                    matches!(value.as_ref(), "A" | "D")
                }
                name if !filters.contains(&name) => false,
                "status" => {
                    listing.status = text();
                    listing.status.is_some()
                }
                "customer_id" => {
                    listing.customer_id = text();
                    listing.customer_id.is_some()
                }
                _ => {
                    listing.text = text();
                    true
                }
            };
            if !is_sound {
                return Err(name.into_owned());
            }
        }
        Ok(listing)
    }

    /// One more than the page has tells whether there are more.
    fn limit(&self) -> i64 {
        self.per_page + 1
    }

    fn offset(&self) -> i64 {
        (self.page - 1) * self.per_page
    }

    /// An answer of records, each as text.
    fn answer(&self, name: &str, records: &[String]) -> Response {
        let shown = usize::try_from(self.per_page).unwrap_or(usize::MAX).min(records.len());
        let context = json!({
            "page": self.page, "per_page": self.per_page, "has_more_page": records.len() > shown,
            "sort_column": self.sort_column, "sort_order": if self.descending { "D" } else { "A" },
        });
        let mut body = format!(r#"{{"code":0,"message":"success","{name}":["#);
        for (index, record) in records[..shown].iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(record);
        }
        let _ = write!(body, r#"],"page_context":{context}}}"#);
        json_text(StatusCode::OK, body)
    }
}

/// `GET /api/db/customers`.
pub(super) async fn customers(State(server): State<Arc<Server>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let tenant = match open(&server, request).await {
        Ok((tenant, _)) => tenant,
        Err(answer) => return answer,
    };
    let listing = match Listing::read(&query, CUSTOMER_SORTS, &["status", "search_text"]) {
        Ok(listing) => listing,
        Err(name) => return invalid(&name),
    };
    let filter = customers::Filter {
        tenant: Some(tenant),
        status: listing.status.clone(),
        text: listing.text.clone(),
        sort: listing.sort,
        descending: listing.descending,
        limit: listing.limit(),
        offset: listing.offset(),
    };
    let work = server.desk.ask(move |app| {
        Box::pin(async move { anyhow::Ok(customers::list(&mut app.db().await?.read().await?, &filter).await?) })
    });
    match work.await.flatten() {
        Ok(found) => {
            let records: Vec<String> = found.into_iter().map(|StoredCustomer { raw, .. }| raw).collect();
            listing.answer("contacts", &records)
        }
        Err(error) => failed(&error),
    }
}

/// `GET /api/db/invoices`.
pub(super) async fn invoices(State(server): State<Arc<Server>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let tenant = match open(&server, request).await {
        Ok((tenant, _)) => tenant,
        Err(answer) => return answer,
    };
    let listing = match Listing::read(&query, INVOICE_SORTS, &["status", "customer_id", "search_text"]) {
        Ok(listing) => listing,
        Err(name) => return invalid(&name),
    };
    let filter = invoices::Filter {
        tenant: Some(tenant.clone()),
        status: listing.status.clone(),
        customer_id: listing.customer_id.clone(),
        unpaid_by: None,
        text: listing.text.clone(),
        sort: listing.sort,
        descending: listing.descending,
        limit: listing.limit(),
        offset: listing.offset(),
    };
    let work = server.desk.ask(move |app| {
        Box::pin(async move {
            let mut tx = app.db().await?.read().await?;
            let setup = Setup::read(&mut tx).await?;
            let now = app.clock.now();
            let zone = setup.tenants.iter().find(|one| one.name == tenant);
            let day = zone.map_or_else(|| now.with_timezone(&Utc).date_naive(), |tenant| today(tenant, now));
            let found = invoices::list(&mut tx, &filter).await?;
            anyhow::Ok(found.iter().map(|invoice| joined(invoice, day)).collect::<Vec<String>>())
        })
    });
    match work.await.flatten() {
        Ok(records) => listing.answer("invoices", &records),
        Err(error) => failed(&error),
    }
}

/// `GET /api/zoho/contacts/{id}`: the one path that asks Zoho.
pub(super) async fn contact(State(server): State<Arc<Server>>, Path(id): Path<String>, request: Request) -> Response {
    let tenant = match open(&server, request).await {
        Ok((tenant, _)) => tenant,
        Err(answer) => return answer,
    };
    if id.is_empty() || id.len() > 30 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return error(StatusCode::NOT_FOUND, 1002, "Contact does not exist.");
    }
    let work = server.desk.ask(move |app| Box::pin(async move { ask(&app, &tenant, &id).await }));
    match work.await.flatten() {
        Ok(Ok(Some(raw))) => json_text(StatusCode::OK, format!(r#"{{"code":0,"message":"success","contact":{raw}}}"#)),
        Ok(Ok(None)) => error(StatusCode::NOT_FOUND, 1002, "Contact does not exist."),
        Ok(Err(answer)) => answer,
        Err(problem) => {
            tracing::error!(error = %message(&problem), "Zoho could not be asked");
            error(StatusCode::SERVICE_UNAVAILABLE, 1000, "Zoho Books cannot be asked; try again later")
        }
    }
}

async fn ask(app: &App, name: &str, id: &str) -> anyhow::Result<Result<Option<String>, Response>> {
    let setup = Setup::read(&mut app.db().await?.read().await?).await?;
    let Some(tenant) = setup.tenants.iter().find(|tenant| tenant.name == name) else {
        return Ok(Err(reply::refusal(StatusCode::CONFLICT, "this tenant has no bills set up")));
    };
    let books = setup.books_of(app, tenant).await?;
    let asker = Asker::new(app, &books, &tenant.billing.organization_id, tenant.billing.limits());
    Ok(match asker.ask(Purpose::Details, async |zoho, token, org| zoho.contact(token, org, id).await).await? {
        Asked::Told(told) => Ok(told.value.map(|contact| contact.raw)),
        Asked::Spent(until) => {
            let sentence = format!("the organisation's requests of this day are spent, until {}", until.to_rfc3339());
            Err(error(StatusCode::TOO_MANY_REQUESTS, 45, &sentence))
        }
    })
}

/// An invoice as it came, with what its customer is called by now, and how many days are left by now.
fn joined(invoice: &StoredInvoice, today: NaiveDate) -> String {
    let Ok(fields) = Fields::of(&invoice.raw) else { return invoice.raw.clone() };
    let mut record = String::with_capacity(invoice.raw.len() + 32);
    for (name, value) in fields.iter() {
        record.push(if record.is_empty() { '{' } else { ',' });
        let _ = write!(record, "{}:", Value::from(name));
        match (name, &invoice.customer_name) {
            ("customer_name", Some(customer)) => record.push_str(&Value::from(customer.as_str()).to_string()),
            ("due_days", _) => record.push_str(&Value::from(due_days(invoice, today)).to_string()),
            _ => record.push_str(value.get()),
        }
    }
    record.push_str(if record.is_empty() { "{}" } else { "}" });
    record
}

/// How many days are left, in Zoho's words; nothing where nothing is to be paid.
fn due_days(invoice: &StoredInvoice, today: NaiveDate) -> String {
    let due_date: Option<NaiveDate> = invoice.due_date.as_deref().and_then(|date| date.parse().ok());
    let Some(due_date) = due_date.filter(|_| !matches!(invoice.status.as_str(), "draft" | "paid" | "void")) else {
        return String::new();
    };
    match (due_date - today).num_days() {
        0 => "Due Today".to_owned(),
        days @ 1.. => format!("Due in {days} day(s)"),
        days => format!("Overdue by {} days", -days),
    }
}

fn json_text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in Zoho's envelope.
fn error(status: StatusCode, code: i64, message: &str) -> Response {
    reply::object(status, &json!({"code": code, "message": message}))
}

fn invalid(name: &str) -> Response {
    error(StatusCode::BAD_REQUEST, 2, &format!("Invalid value passed for {name}"))
}

fn failed(problem: &anyhow::Error) -> Response {
    tracing::error!(error = %message(problem), "the books cannot be read");
    error(StatusCode::INTERNAL_SERVER_ERROR, 1000, "Internal error")
}
