//! Customers and invoices as they were read last.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};

use super::rows::Listed;
use super::{Args, Kind};
use crate::commands::lookup::Found;
use crate::commands::telling::instant;
use crate::domain::billing::OPEN_STATUSES;
use crate::domain::zone::Zone;
use crate::error::Failure;
use crate::store::billing::customers::{self, StoredCustomer};
use crate::store::billing::debtors;
use crate::store::billing::invoices::{self, StoredInvoice};
use crate::store::listing::Filter;
use crate::store::{Result, Tx, setup};

/// What only lists of customers and invoices can be asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    customer: Option<String>,
    unpaid_by: Option<NaiveDate>,
    text: Option<String>,
    by_customer: customers::Sort,
    by_invoice: invoices::Sort,
    reverse: bool,
    page: i64,
    today: NaiveDate,
}

impl Wanted {
    /// Reads it from the command line.
    pub(super) async fn of(args: &Args, tx: &mut Tx, now: DateTime<Utc>) -> Found<Self> {
        if !matches!(args.kind, Kind::Customers | Kind::Invoices) {
            return Ok(Ok(Self::default()));
        }
        let (mut by_customer, mut by_invoice) = (customers::Sort::default(), invoices::Sort::default());
        if let Some(word) = &args.sort {
            let sorted = if args.kind == Kind::Customers {
                find(&CUSTOMER_SORTS, word).map(|sort| by_customer = sort)
            } else {
                find(&INVOICE_SORTS, word).map(|sort| by_invoice = sort)
            };
            if let Err(failure) = sorted {
                return Ok(Err(failure));
            }
        }
        let tenant = match &args.tenant {
            Some(name) => setup::tenant(tx, name).await?,
            None => None,
        };
        let today = today(tenant.and_then(|tenant| tenant.timezone).as_deref(), now);
        Ok(Ok(Self {
            customer: args.customer.clone(),
            unpaid_by: args.overdue_days.map(|days| today - TimeDelta::days(i64::from(days))),
            text: args.text.clone(),
            by_customer,
            by_invoice,
            reverse: args.reverse,
            page: i64::from(args.page.unwrap_or(1)),
            today,
        }))
    }

    /// How many rows to leave out; `limit` has one more than a page shows.
    fn offset(&self, limit: i64) -> i64 {
        (self.page - 1) * (limit - 1)
    }
}

/// The date in a zone; by UTC where none is known.
pub(in crate::commands) fn today(zone: Option<&str>, now: DateTime<Utc>) -> NaiveDate {
    let zone = zone.and_then(|name| Zone::parse(name).ok());
    zone.map_or_else(|| now.date_naive(), |zone| zone.local(now).date())
}

const CUSTOMER_SORTS: [(&str, customers::Sort); 3] = [
    ("name", customers::Sort::Name),
    ("outstanding", customers::Sort::Outstanding),
    ("last_modified_at", customers::Sort::LastModified),
];

const INVOICE_SORTS: [(&str, invoices::Sort); 7] = [
    ("due_date", invoices::Sort::DueDate),
    ("date", invoices::Sort::Date),
    ("number", invoices::Sort::Number),
    ("customer", invoices::Sort::Customer),
    ("total", invoices::Sort::Total),
    ("balance", invoices::Sort::Balance),
    ("last_modified_at", invoices::Sort::LastModified),
];

fn find<T: Copy>(sorts: &[(&str, T)], word: &str) -> Result<T, Failure> {
    sorts.iter().find(|(name, _)| *name == word).map(|(_, sort)| *sort).ok_or_else(|| {
        let known: Vec<&str> = sorts.iter().map(|(name, _)| *name).collect();
        Failure::usage(format!("--sort: {word:?} is no column to sort by"))
            .hint(format!("there is {}", known.join(", ")))
    })
}

pub(super) async fn customers(tx: &mut Tx, filter: &Filter, wanted: &Wanted) -> Result<Listed> {
    let filter = customers::Filter {
        tenant: filter.tenant.clone(),
        status: filter.status.clone(),
        text: wanted.text.clone(),
        sort: wanted.by_customer,
        descending: wanted.reverse,
        limit: filter.limit,
        offset: wanted.offset(filter.limit),
    };
    let rows = customers::list(tx, &filter).await?;
    Ok((
        &[
            "id",
            "tenant",
            "name",
            "company_name",
            "status",
            "first_name",
            "last_name",
            "email",
            "phone",
            "mobile",
            "currency",
            "outstanding",
            "persons",
            "last_modified_at",
        ],
        rows.iter().map(customer_row).collect(),
    ))
}

fn customer_row(customer: &StoredCustomer) -> Vec<Value> {
    let persons = customer.contact_persons.as_deref().and_then(|list| serde_json::from_str::<Vec<Value>>(list).ok());
    vec![
        json!(customer.id),
        json!(customer.tenant),
        json!(customer.name),
        json!(customer.company_name),
        json!(customer.status),
        json!(customer.first_name),
        json!(customer.last_name),
        json!(customer.email),
        json!(customer.phone),
        json!(customer.mobile),
        json!(customer.currency),
        json!(customer.outstanding),
        json!(persons.map(|persons| persons.len())),
        instant(customer.last_modified_at),
    ]
}

pub(super) async fn debtors(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let reachable = filter.status.as_deref().map(|status| status == "reachable");
    let rows = debtors::list(tx, filter.tenant.as_deref(), reachable, filter.limit).await?;
    let rows = rows.into_iter().map(|row| {
        vec![
            json!(row.tenant),
            json!(row.customer_id),
            json!(row.customer),
            json!(row.invoices),
            json!(row.contact_id),
            json!(row.phone),
            json!(row.problem),
        ]
    });
    Ok((&["tenant", "customer_id", "customer", "invoices", "contact", "phone", "problem"], rows.collect()))
}

/// The columns of invoices, without whose they are.
pub(in crate::commands) const INVOICE_COLUMNS: [&str; 13] = [
    "id",
    "tenant",
    "number",
    "customer",
    "customer_id",
    "status",
    "date",
    "due_date",
    "overdue_days",
    "total",
    "balance",
    "currency",
    "last_modified_at",
];

pub(super) async fn invoices(tx: &mut Tx, filter: &Filter, wanted: &Wanted) -> Result<Listed> {
    let filter = invoices::Filter {
        tenant: filter.tenant.clone(),
        status: filter.status.clone(),
        customer_id: wanted.customer.clone(),
        unpaid_by: wanted.unpaid_by,
        text: wanted.text.clone(),
        sort: wanted.by_invoice,
        descending: wanted.reverse,
        limit: filter.limit,
        offset: wanted.offset(filter.limit),
    };
    let rows = invoices::list(tx, &filter).await?;
    Ok((&INVOICE_COLUMNS, rows.iter().map(|invoice| invoice_row(invoice, wanted.today)).collect()))
}

/// An invoice on a day.
pub(in crate::commands) fn invoice_row(invoice: &StoredInvoice, today: NaiveDate) -> Vec<Value> {
    let overdue = overdue_days(invoice, today);
    vec![
        json!(invoice.id),
        json!(invoice.tenant),
        json!(invoice.number),
        json!(invoice.customer_name),
        json!(invoice.customer_id),
        json!(invoice.status),
        json!(invoice.date),
        json!(invoice.due_date),
        json!(overdue),
        json!(invoice.total),
        json!(invoice.balance),
        json!(invoice.currency),
        instant(invoice.last_modified_at),
    ]
}

/// How many days ago an invoice was due that is still to be paid; none: it is not overdue.
pub(in crate::commands) fn overdue_days(invoice: &StoredInvoice, today: NaiveDate) -> Option<i64> {
    let due_date: NaiveDate = invoice.due_date.as_deref()?.parse().ok()?;
    let days = (today - due_date).num_days();
    (OPEN_STATUSES.contains(&invoice.status.as_str()) && days > 0).then_some(days)
}
