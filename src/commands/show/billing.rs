//! What is shown of a customer and of an invoice.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::missing;
use super::parts::Shown;
use crate::commands::list::billing::{INVOICE_COLUMNS, invoice_row, overdue_days, today};
use crate::commands::lookup::{self, Found};
use crate::commands::telling::{instant, json_text, record_of};
use crate::domain::call_status::CustomerResponse;
use crate::domain::reminder::Reminders;
use crate::error::Failure;
use crate::output::Rows;
use crate::store::billing::{customers, invoices, reminders};
use crate::store::{Result, Tx, setup};

/// How many invoices of a customer are shown.
const LATEST: i64 = 20;

/// A customer, with its persons and its latest invoices.
pub(super) async fn customer(tx: &mut Tx, id: &str, tenant: Option<&str>, now: DateTime<Utc>) -> Found<Shown> {
    if let Some(failure) = refuse(tx, tenant).await? {
        return Ok(Err(failure));
    }
    let mut found = customers::with_id(tx, tenant, id).await?;
    let customer = match (found.pop(), found.is_empty()) {
        (Some(customer), true) => customer,
        (Some(_), false) => return Ok(Err(several("customer", id))),
        (None, _) => return Ok(Err(missing("customer", "customers", id))),
    };
    let record = record_of(json!({
        "id": customer.id,
        "tenant": customer.tenant,
        "name": customer.name,
        "company_name": customer.company_name,
        "status": customer.status,
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "email": customer.email,
        "phone": customer.phone,
        "mobile": customer.mobile,
        "currency": customer.currency,
        "outstanding": customer.outstanding,
        "last_modified_at": instant(customer.last_modified_at),
        "seen_at": instant(Some(customer.seen_at)),
        "deleted_at": instant(customer.deleted_at),
        "raw": json_text(Some(&customer.raw)),
    }));
    let mut persons = Rows::new(&["id", "first_name", "last_name", "email", "phone", "mobile", "is_primary"]);
    let list = customer.contact_persons.as_deref().and_then(|list| serde_json::from_str::<Vec<Value>>(list).ok());
    for person in list.unwrap_or_default() {
        let fields = ["contact_person_id", "first_name", "last_name", "email", "phone", "mobile", "is_primary_contact"];
        persons.push(fields.map(|field| person[field].clone()).to_vec());
    }
    let filter = invoices::Filter {
        tenant: Some(customer.tenant.clone()),
        customer_id: Some(customer.id.clone()),
        descending: true,
        limit: LATEST,
        ..invoices::Filter::default()
    };
    let day = today(zone_of(tx, &customer.tenant).await?.as_deref(), now);
    let mut rows = Rows::new(&INVOICE_COLUMNS);
    for invoice in invoices::list(tx, &filter).await? {
        rows.push(invoice_row(&invoice, day));
    }
    Ok(Ok(Shown { record, parts: vec![("contact_persons", persons), ("invoices", rows)] }))
}

/// An invoice, with the calls about it.
pub(super) async fn invoice(tx: &mut Tx, name: &str, tenant: Option<&str>, now: DateTime<Utc>) -> Found<Shown> {
    if let Some(failure) = refuse(tx, tenant).await? {
        return Ok(Err(failure));
    }
    let mut found = invoices::named(tx, tenant, name).await?;
    let invoice = match (found.pop(), found.is_empty()) {
        (Some(invoice), true) => invoice,
        (Some(_), false) => return Ok(Err(several("invoice", name))),
        (None, _) => return Ok(Err(missing("invoice", "invoices", name))),
    };
    let day = today(zone_of(tx, &invoice.tenant).await?.as_deref(), now);
    let pause = reminders::pause_of(tx, &invoice.tenant, &invoice.id).await?;
    let mut calls = Rows::new(&["offset", "purpose", "call", "status", "outcome", "answer", "at"]);
    for reminder in reminders::of_invoice(tx, &invoice.tenant, &invoice.id).await? {
        calls.push(vec![
            json!(Reminders::offset_of(&reminder.key)),
            json!(reminder.purpose),
            json!(reminder.call_id),
            json!(reminder.status.as_str()),
            json!(reminder.outcome),
            json!(reminder.answer.map(CustomerResponse::as_str)),
            instant(Some(reminder.created_at)),
        ]);
    }
    let record = record_of(json!({
        "id": invoice.id,
        "tenant": invoice.tenant,
        "number": invoice.number,
        "customer": invoice.customer_name,
        "customer_id": invoice.customer_id,
        "status": invoice.status,
        "date": invoice.date,
        "due_date": invoice.due_date,
        "overdue_days": overdue_days(&invoice, day),
        "total": invoice.total,
        "balance": invoice.balance,
        "currency": invoice.currency,
        "last_modified_at": instant(invoice.last_modified_at),
        "seen_at": instant(Some(invoice.seen_at)),
        "deleted_at": instant(invoice.deleted_at),
        "paused": pause.as_ref().map(|pause| pause.reason.as_str()),
        "paused_until": instant(pause.as_ref().and_then(|pause| pause.until)),
        "pause_note": pause.as_ref().and_then(|pause| pause.note.as_deref()),
        "raw": json_text(Some(&invoice.raw)),
    }));
    Ok(Ok(Shown { record, parts: vec![("reminders", calls)] }))
}

/// What to say of a tenant that is not there.
async fn refuse(tx: &mut Tx, tenant: Option<&str>) -> Result<Option<Failure>> {
    match tenant {
        Some(name) => Ok(lookup::tenant(tx, name).await?.err()),
        None => Ok(None),
    }
}

async fn zone_of(tx: &mut Tx, tenant: &str) -> Result<Option<String>> {
    Ok(setup::tenant(tx, tenant).await?.and_then(|tenant| tenant.timezone))
}

fn several(what: &str, name: &str) -> Failure {
    Failure::usage(format!("there are several: {what} {name}")).hint("give --tenant, or the id")
}
