//! Customers and invoices, and how the service shows them.

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What an amount in cents is as a number. Of sensible amounts none is shown with more than two decimals.
#[expect(clippy::cast_precision_loss, reason = "no amount of cents here is beyond what a float holds")]
pub(super) fn amount(cents: i64) -> Value {
    json!(cents as f64 / 100.0)
}

/// A time as the service writes it: the offset has no colon.
fn written(at: DateTime<Utc>, offset: FixedOffset) -> String {
    at.with_timezone(&offset).format("%Y-%m-%dT%H:%M:%S%z").to_string()
}

fn day(day: Option<NaiveDate>) -> String {
    day.map(|day| day.to_string()).unwrap_or_default()
}

/// What an invoice by itself shows as a blank where a listing shows nothing, as the service's own examples do.
const BLANK: &[&str] = &[
    "reference_number",
    "payment_expected_date",
    "last_payment_date",
    "last_reminder_sent_date",
    "salesperson_id",
    "salesperson_name",
];

#[derive(Clone, Debug)]
pub(super) struct Organization {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) currency_code: String,
    /// In which times are written.
    pub(super) offset: FixedOffset,
}

impl Organization {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "organization_id": self.id, "name": self.name, "contact_name": "", "email": "", "is_default_org": false,
            "plan_type": 0, "tax_group_enabled": true, "zi_migration_status": 0, "plan_name": "FREE", "plan_period": "",
            "language_code": "en", "fiscal_year_start_month": 0, "account_created_date": "2012-02-15",
            "account_created_date_formatted": "15 Feb 2012", "time_zone": format!("GMT{}", self.offset),
            "is_org_active": true, "currency_id": currency_id(&self.currency_code), "currency_code": self.currency_code,
            "currency_symbol": "", "currency_format": "###,##0.00", "price_precision": 2,
        })
    }
}

/// A number for the currency, the same in every record.
fn currency_id(code: &str) -> String {
    format!("982000{:09}", code.bytes().fold(0_u64, |sum, byte| sum * 100 + u64::from(byte)))
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Person {
    /// Given one where there is none.
    pub(super) contact_person_id: String,
    pub(super) salutation: String,
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) email: String,
    pub(super) phone: String,
    pub(super) mobile: String,
    pub(super) designation: String,
    pub(super) department: String,
    pub(super) is_primary_contact: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) id: u64,
    /// The index of its organisation.
    pub(super) organization: usize,
    pub(super) contact_name: String,
    pub(super) company_name: String,
    pub(super) contact_type: String,
    pub(super) is_active: bool,
    pub(super) currency_code: String,
    pub(super) country: String,
    pub(super) payment_terms: u32,
    pub(super) payment_reminder_enabled: bool,
    /// The primary one first.
    pub(super) persons: Vec<Person>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) modified_at: DateTime<Utc>,
    /// What its invoices leave to be paid.
    pub(super) outstanding: i64,
}

impl Customer {
    pub(super) fn primary(&self) -> Option<&Person> {
        self.persons.iter().find(|person| person.is_primary_contact)
    }

    fn terms(&self) -> String {
        if self.payment_terms == 0 { "Due On Receipt".to_owned() } else { format!("Net {}", self.payment_terms) }
    }

    /// As a listing shows it: with the primary person's names and phones.
    pub(super) fn listed(&self, offset: FixedOffset) -> Value {
        let nobody = Person::default();
        let primary = self.primary().unwrap_or(&nobody);
        json!({
            "contact_id": self.id.to_string(), "contact_name": self.contact_name, "company_name": self.company_name,
            "contact_type": self.contact_type, "status": self.status(), "payment_terms": self.payment_terms,
            "payment_terms_label": self.terms(), "currency_id": currency_id(&self.currency_code),
            "currency_code": self.currency_code, "outstanding_receivable_amount": amount(self.outstanding),
            "unused_credits_receivable_amount": amount(0), "first_name": primary.first_name,
            "last_name": primary.last_name, "email": primary.email, "phone": primary.phone, "mobile": primary.mobile,
            "created_time": written(self.created_at, offset), "last_modified_time": written(self.modified_at, offset),
        })
    }

    /// As it is shown by itself: names and phones are its persons'.
    pub(super) fn detailed(&self, offset: FixedOffset) -> Value {
        let address = json!({
            "attention": "", "address": "", "street2": "", "state_code": "", "city": "", "state": "", "zip": "",
            "country": self.country, "fax": "", "phone": "",
        });
        let mut detailed = self.listed(offset);
        if let Some(fields) = detailed.as_object_mut() {
            for key in ["first_name", "last_name", "email", "phone", "mobile"] {
                fields.remove(key);
            }
        }
        detailed["outstanding_receivable_amount_bcy"] = amount(self.outstanding);
        detailed["primary_contact_id"] =
            json!(self.primary().map(|person| person.contact_person_id.as_str()).unwrap_or_default());
        detailed["payment_reminder_enabled"] = json!(self.payment_reminder_enabled);
        detailed["custom_fields"] = json!([]);
        detailed["billing_address"] = address.clone();
        detailed["shipping_address"] = address;
        detailed["contact_persons"] = json!(self.persons);
        detailed["notes"] = json!("");
        detailed
    }

    pub(super) fn status(&self) -> &'static str {
        if self.is_active { "active" } else { "inactive" }
    }
}

/// A state of an invoice. It is what it was set to: no invoice becomes overdue by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Draft,
    Sent,
    Viewed,
    Overdue,
    Unpaid,
    PartiallyPaid,
    Paid,
    Void,
}

impl Status {
    /// Whether its balance is owed.
    pub(super) fn is_open(self) -> bool {
        !matches!(self, Self::Draft | Self::Paid | Self::Void)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Invoice {
    pub(super) id: u64,
    pub(super) organization: usize,
    pub(super) customer: u64,
    pub(super) number: String,
    pub(super) status: Status,
    pub(super) date: NaiveDate,
    pub(super) due_date: NaiveDate,
    /// In cents, like every amount here.
    pub(super) total: i64,
    pub(super) balance: i64,
    pub(super) currency_code: String,
    pub(super) reminders_sent: u32,
    pub(super) last_reminder_sent_date: Option<NaiveDate>,
    pub(super) last_payment_date: Option<NaiveDate>,
    pub(super) payment_reminder_enabled: bool,
    pub(super) custom_fields: Vec<Map<String, Value>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) modified_at: DateTime<Utc>,
}

impl Invoice {
    /// What its customer owes by it.
    pub(super) fn owed(&self) -> i64 {
        if self.status.is_open() { self.balance } else { 0 }
    }

    fn due_days(&self, today: NaiveDate) -> String {
        match (self.due_date - today).num_days() {
            _ if !self.status.is_open() => String::new(),
            0 => "Due Today".to_owned(),
            1.. => format!("Due in {} day(s)", (self.due_date - today).num_days()),
            days => format!("Overdue by {} days", -days),
        }
    }

    /// As a listing shows it: without lines, addresses and phones.
    pub(super) fn listed(&self, customer: Option<&Customer>, offset: FixedOffset, now: DateTime<Utc>) -> Value {
        let today = now.with_timezone(&offset).date_naive();
        json!({
            "invoice_id": self.id.to_string(), "ach_payment_initiated": false,
            "customer_name": customer.map(|customer| customer.contact_name.as_str()).unwrap_or_default(),
            "customer_id": self.customer.to_string(), "status": self.status, "invoice_number": self.number,
            "reference_number": "", "date": self.date, "due_date": self.due_date, "due_days": self.due_days(today),
            "currency_id": currency_id(&self.currency_code), "schedule_time": "", "currency_code": self.currency_code,
            "is_viewed_by_client": self.status == Status::Viewed, "has_attachment": false, "client_viewed_time": "",
            "total": amount(self.total), "balance": amount(self.balance),
            "created_time": written(self.created_at, offset), "last_modified_time": written(self.modified_at, offset),
            "is_emailed": self.status != Status::Draft, "reminders_sent": self.reminders_sent,
            "last_reminder_sent_date": day(self.last_reminder_sent_date), "payment_expected_date": "",
            "last_payment_date": day(self.last_payment_date), "custom_fields": self.custom_fields, "documents": "",
            "location_id": "", "location_name": null, "salesperson_id": "", "salesperson_name": "",
            "shipping_charge": amount(0), "adjustment": amount(0), "write_off_amount": amount(0), "exchange_rate": 1,
        })
    }

    /// As it is shown by itself.
    pub(super) fn detailed(&self, customer: Option<&Customer>, offset: FixedOffset, now: DateTime<Utc>) -> Value {
        let primary = customer.and_then(Customer::primary);
        let persons = primary.map(|person| {
            json!({
                "contact_person_id": person.contact_person_id, "contact_person_name": person.first_name,
                "first_name": person.first_name, "last_name": person.last_name, "contact_person_email": person.email,
                "phone": person.phone, "mobile": person.mobile,
            })
        });
        let address = json!({
            "address": "", "street2": "", "city": "", "state": "", "zip": "",
            "country": customer.map(|customer| customer.country.as_str()).unwrap_or_default(), "fax": "",
        });
        let mut detailed = self.listed(customer, offset, now);
        if let Some(fields) = detailed.as_object_mut() {
            for key in ["due_days", "schedule_time", "documents"] {
                fields.remove(key);
            }
            for key in BLANK {
                if fields.get(*key).and_then(Value::as_str) == Some("") {
                    fields.insert((*key).to_owned(), json!(" "));
                }
            }
        }
        let paid = if self.status == Status::Void { 0 } else { self.total - self.balance };
        detailed["contact_persons_associated"] = json!(persons.into_iter().collect::<Vec<_>>());
        detailed["line_items"] = json!([{
            "line_item_id": (self.id + 1).to_string(), "item_id": "", "name": "Service", "description": "",
            "item_order": 1, "rate": amount(self.total), "quantity": 1, "unit": " ", "discount_amount": 0,
            "discount": 0, "tags": [], "tax_id": "", "tax_name": "", "tax_type": "tax", "tax_percentage": 0,
            "item_total": amount(self.total),
        }]);
        detailed["sub_total"] = amount(self.total);
        detailed["tax_total"] = amount(0);
        detailed["payment_made"] = amount(paid);
        detailed["credits_applied"] = amount(0);
        detailed["payment_reminder_enabled"] = json!(self.payment_reminder_enabled);
        detailed["billing_address"] = address.clone();
        detailed["shipping_address"] = address;
        detailed["notes"] = json!("");
        detailed["terms"] = json!("");
        detailed["invoice_url"] = json!(format!("https://books.zoho.example/SecurePayment?CInvoiceID={}", self.id));
        detailed
    }
}
