//! From the service's records to ours.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::Raw;
use super::answer::Envelope;
use super::fields::Fields;
use crate::domain::billing::records::{Customer, Invoice};

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its records, each once.
    pub records: Vec<T>,
    /// What is wrong with those that cannot be read.
    pub unreadable: Vec<String>,
    /// The ids of those of them that have one which can be read.
    pub unreadable_ids: Vec<String>,
    /// Whether there is another one.
    pub has_more: bool,
}

/// An organisation that a grant reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id: digits, kept as text.
    pub id: String,
    /// What it is called.
    pub name: Option<String>,
    /// What it pays for, in the service's word.
    pub plan: Option<String>,
}

/// A customer as it is shown by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Whether it is a customer, and not a vendor.
    pub is_customer: bool,
    /// Its persons: a JSON list as it came.
    pub contact_persons: String,
    /// The record as it came: JSON.
    pub raw: String,
}

pub(super) fn customers(envelope: Envelope<'_>) -> Result<Page<Customer>, String> {
    let has_more = envelope.has_more_page()?;
    let records = envelope.contacts.ok_or("no `contacts`")?;
    Ok(page(&records, has_more, "contact_id", customer, |customer| &customer.id))
}

pub(super) fn invoices(envelope: Envelope<'_>) -> Result<Page<Invoice>, String> {
    let has_more = envelope.has_more_page()?;
    let records = envelope.invoices.ok_or("no `invoices`")?;
    Ok(page(&records, has_more, "invoice_id", invoice, |invoice| &invoice.id))
}

pub(super) fn organizations(envelope: Envelope<'_>) -> Result<Vec<Organization>, String> {
    let organization = |raw: &Raw<'_>| {
        let fields = Fields::of(raw.get()).map_err(|error| error.to_string())?;
        Ok(Organization {
            id: fields.needed("organization_id")?,
            name: fields.text("name"),
            plan: fields.text("plan_name"),
        })
    };
    envelope.organizations.ok_or("no `organizations`")?.iter().map(organization).collect()
}

pub(super) fn one_invoice(raw: Raw<'_>) -> Result<Invoice, String> {
    let fields = Fields::of(raw.get()).map_err(|error| error.to_string())?;
    invoice(&fields, raw.get())
}

pub(super) fn contact(raw: Raw<'_>) -> Result<Contact, String> {
    let fields = Fields::of(raw.get()).map_err(|error| error.to_string())?;
    let is_customer = fields.text("contact_type").is_none_or(|kind| kind == "customer");
    let contact_persons = fields.raw("contact_persons").map_or("[]", RawValue::get).to_owned();
    Ok(Contact { is_customer, contact_persons, raw: raw.get().to_owned() })
}

/// One that cannot be read holds up no other. Pages are no snapshot, so that one may be there twice.
fn page<T>(
    raws: &[Raw<'_>],
    has_more: bool,
    id_name: &str,
    read: impl Fn(&Fields<'_>, &str) -> Result<T, String>,
    id_of: impl Fn(&T) -> &String,
) -> Page<T> {
    let (mut records, mut seen) = (Vec::with_capacity(raws.len()), HashSet::new());
    let (mut unreadable, mut unreadable_ids) = (Vec::new(), Vec::new());
    for raw in raws {
        let text = raw.get();
        let fields = match Fields::of(text) {
            Ok(fields) => fields,
            Err(error) => {
                unreadable.push(error.to_string());
                continue;
            }
        };
        match read(&fields, text) {
            Ok(record) if seen.insert(id_of(&record).clone()) => records.push(record),
            Ok(_) => {}
            Err(problem) => {
                let id = fields.text(id_name);
                let named = id.as_deref().unwrap_or("without an id");
                unreadable.push(format!("{id_name} {named}: {problem}"));
                unreadable_ids.extend(id);
            }
        }
    }
    Page { records, unreadable, unreadable_ids, has_more }
}

fn customer(fields: &Fields<'_>, raw: &str) -> Result<Customer, String> {
    let company_name = fields.text("company_name");
    let id = fields.needed("contact_id")?;
    Ok(Customer {
        name: fields.text("contact_name").or_else(|| company_name.clone()).unwrap_or_else(|| id.clone()),
        id,
        company_name,
        status: fields.text("status"),
        first_name: fields.text("first_name"),
        last_name: fields.text("last_name"),
        email: fields.text("email"),
        phone: fields.text("phone"),
        mobile: fields.text("mobile"),
        currency: fields.text("currency_code"),
        outstanding: fields.amount("outstanding_receivable_amount")?,
        last_modified_at: fields.instant("last_modified_time"),
        raw: raw.to_owned(),
    })
}

fn invoice(fields: &Fields<'_>, raw: &str) -> Result<Invoice, String> {
    Ok(Invoice {
        id: fields.needed("invoice_id")?,
        customer_id: fields.needed("customer_id")?,
        customer_name: fields.text("customer_name"),
        status: fields.needed("status")?,
        number: fields.text("invoice_number"),
        date: fields.date("date"),
        due_date: fields.date("due_date"),
        total: fields.amount("total")?,
        balance: fields.amount("balance")?,
        currency: fields.text("currency_code"),
        last_modified_at: fields.instant("last_modified_time"),
        raw: raw.to_owned(),
    })
}
