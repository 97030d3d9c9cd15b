//! What tests put into Zoho Books, change there and take away.

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::Books;
use super::many::Many;
use super::oauth::Grant;
use super::record::{Customer, Invoice, Organization, Person, Status};
use super::records::{Records, in_seconds};

/// A body of `POST /_sandbox/zoho`. It is carried out in this order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::sandbox) struct Given {
    settings: GivenSettings,
    organizations: Vec<GivenOrganization>,
    customers: Vec<GivenCustomer>,
    invoices: Vec<GivenInvoice>,
    many: Option<Many>,
    change: Vec<Change>,
    delete_customers: Vec<String>,
    delete_invoices: Vec<String>,
}

/// What is not given stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenSettings {
    page_context: Option<Shape>,
    limits: Option<bool>,
    per_minute: Option<usize>,
    per_day: Option<u64>,
    at_once: Option<usize>,
    expires_in: Option<u32>,
}

/// How `page_context` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    #[default]
    Object,
    /// A list of one, as in the service's own description.
    Array,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenOrganization {
    id: String,
    name: String,
    refresh_token: String,
    client_id: String,
    client_secret: String,
    currency_code: Option<String>,
    /// In which times are written, such as `+05:30`.
    offset: Option<String>,
}

/// A customer, or what of one is to change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenCustomer {
    organization: Option<String>,
    contact_id: Option<String>,
    contact_name: Option<String>,
    company_name: Option<String>,
    contact_type: Option<String>,
    status: Option<String>,
    currency_code: Option<String>,
    country: Option<String>,
    payment_terms: Option<u32>,
    payment_reminder_enabled: Option<bool>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    mobile: Option<String>,
    /// Besides the primary one, or with it.
    contact_persons: Option<Vec<Person>>,
    created_time: Option<DateTime<Utc>>,
    last_modified_time: Option<DateTime<Utc>>,
}

/// An invoice, or what of one is to change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenInvoice {
    organization: Option<String>,
    invoice_id: Option<String>,
    customer_id: Option<String>,
    invoice_number: Option<String>,
    status: Option<Status>,
    date: Option<NaiveDate>,
    due_date: Option<NaiveDate>,
    total: Option<Number>,
    balance: Option<Number>,
    currency_code: Option<String>,
    reminders_sent: Option<u32>,
    last_reminder_sent_date: Option<NaiveDate>,
    last_payment_date: Option<NaiveDate>,
    payment_reminder_enabled: Option<bool>,
    custom_fields: Option<Vec<Map<String, Value>>>,
    created_time: Option<DateTime<Utc>>,
    last_modified_time: Option<DateTime<Utc>>,
}

/// What becomes of a record; its time of change is the sandbox's now unless it is set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum Change {
    Invoice { invoice: String, set: Box<GivenInvoice> },
    Customer { customer: String, set: Box<GivenCustomer> },
}

impl Books {
    /// Takes it all in, or nothing of it.
    ///
    /// # Errors
    /// Naming what makes no sense.
    pub(in crate::sandbox) fn give(&mut self, given: Given, now: DateTime<Utc>) -> Result<(), String> {
        let now = in_seconds(now);
        let settings = given.settings;
        if settings.at_once == Some(0) || settings.per_minute == Some(0) || settings.expires_in == Some(0) {
            return Err("limits and `expires_in` are at least 1".to_owned());
        }
        let mut records = self.records.clone();
        for organization in &given.organizations {
            records.take_organization(organization)?;
        }
        for customer in given.customers {
            records.take_customer(customer, now)?;
        }
        for invoice in given.invoices {
            records.take_invoice(invoice, now)?;
        }
        if let Some(many) = given.many {
            let whose = records.whose(many.organization.as_deref())?;
            many.fill(&mut records, whose, now)?;
        }
        for change in given.change {
            records.change(change, now)?;
        }
        for id in &given.delete_customers {
            records.delete_customer(id)?;
        }
        for id in &given.delete_invoices {
            let invoice = id.parse().ok().and_then(|id: u64| records.invoices.remove(&id));
            invoice.ok_or_else(|| format!("no invoice `{id}`"))?;
            records.deleted_invoices += 1;
        }
        records.settle();
        self.records = records;
        for organization in &given.organizations {
            self.reach(organization);
        }
        self.page_context = settings.page_context.unwrap_or(self.page_context);
        self.has_limits = settings.limits.unwrap_or(self.has_limits);
        self.limits.per_minute = settings.per_minute.unwrap_or(self.limits.per_minute);
        self.limits.per_day = settings.per_day.unwrap_or(self.limits.per_day);
        self.limits.at_once = settings.at_once.unwrap_or(self.limits.at_once);
        self.grants.expires_in = settings.expires_in.unwrap_or(self.grants.expires_in);
        Ok(())
    }

    /// Lets the refresh token reach the organisation.
    fn reach(&mut self, given: &GivenOrganization) {
        let grants = &mut self.grants.all;
        let is_same = |grant: &Grant| grant.refresh_token == given.refresh_token && grant.client_id == given.client_id;
        let index = grants.iter().position(is_same).unwrap_or(grants.len());
        if index == grants.len() {
            let (token, client) = (given.refresh_token.clone(), given.client_id.clone());
            grants.push(Grant::new(token, client, given.client_secret.clone()));
        }
        grants[index].client_secret.clone_from(&given.client_secret);
        if !grants[index].organizations.contains(&given.id) {
            grants[index].organizations.push(given.id.clone());
        }
    }
}

impl Records {
    /// The index of the organisation, or of the first where none is named.
    fn whose(&self, id: Option<&str>) -> Result<usize, String> {
        match id {
            Some(id) => self.organization(id).ok_or_else(|| format!("no organisation `{id}`")),
            None if self.organizations.is_empty() => Err("no organisation is there".to_owned()),
            None => Ok(0),
        }
    }

    fn take_organization(&mut self, given: &GivenOrganization) -> Result<(), String> {
        if given.id.is_empty() || !given.id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{}` is no id: it has digits alone", given.id));
        }
        let offset = given.offset.as_deref().unwrap_or("-08:00");
        let offset: FixedOffset = offset.parse().map_err(|_| format!("`{offset}` is no offset like +05:30"))?;
        let organization = Organization {
            id: given.id.clone(),
            name: given.name.clone(),
            currency_code: given.currency_code.clone().unwrap_or_else(|| "USD".to_owned()),
            offset,
        };
        match self.organization(&given.id) {
            Some(index) => self.organizations[index] = organization,
            None => self.organizations.push(organization),
        }
        Ok(())
    }

    fn new_or(&mut self, id: Option<&str>) -> Result<u64, String> {
        match id {
            None => Ok(self.new_id()),
            Some(text) => {
                let id = text.parse().map_err(|_| format!("`{text}` is no id: it has digits alone"))?;
                if self.customers.contains_key(&id) || self.invoices.contains_key(&id) {
                    return Err(format!("`{text}` is another record's"));
                }
                Ok(id)
            }
        }
    }

    fn take_customer(&mut self, given: GivenCustomer, now: DateTime<Utc>) -> Result<(), String> {
        let organization = self.whose(given.organization.as_deref())?;
        let id = self.new_or(given.contact_id.as_deref())?;
        let name = given.contact_name.clone().ok_or("a customer needs `contact_name`")?;
        let mut customer = Customer {
            id,
            organization,
            company_name: name.clone(),
            contact_name: name,
            contact_type: "customer".to_owned(),
            is_active: true,
            currency_code: self.organizations[organization].currency_code.clone(),
            country: String::new(),
            payment_terms: 0,
            payment_reminder_enabled: true,
            persons: Vec::new(),
            created_at: now,
            modified_at: now,
            outstanding: 0,
        };
        self.set_customer(&mut customer, given)?;
        self.customers.insert(id, customer);
        Ok(())
    }

    fn set_customer(&mut self, customer: &mut Customer, given: GivenCustomer) -> Result<(), String> {
        if let Some(kind) = given.contact_type {
            if !["customer", "vendor"].contains(&kind.as_str()) {
                return Err(format!("`{kind}` is no type of a contact"));
            }
            customer.contact_type = kind;
        }
        customer.is_active = match given.status.as_deref() {
            None => customer.is_active,
            Some("active") => true,
            Some("inactive") => false,
            Some(other) => return Err(format!("`{other}` is no status of a contact")),
        };
        customer.contact_name = given.contact_name.unwrap_or_else(|| std::mem::take(&mut customer.contact_name));
        customer.company_name = given.company_name.unwrap_or_else(|| std::mem::take(&mut customer.company_name));
        customer.currency_code = given.currency_code.unwrap_or_else(|| std::mem::take(&mut customer.currency_code));
        customer.country = given.country.unwrap_or_else(|| std::mem::take(&mut customer.country));
        customer.payment_terms = given.payment_terms.unwrap_or(customer.payment_terms);
        customer.payment_reminder_enabled = given.payment_reminder_enabled.unwrap_or(customer.payment_reminder_enabled);
        customer.persons = given.contact_persons.unwrap_or_else(|| std::mem::take(&mut customer.persons));
        let of_primary = [given.first_name, given.last_name, given.email, given.phone, given.mobile];
        if of_primary.iter().any(Option::is_some) {
            if customer.primary().is_none() {
                customer.persons.insert(0, Person { is_primary_contact: true, ..Person::default() });
            }
            if let Some(person) = customer.persons.iter_mut().find(|person| person.is_primary_contact) {
                let [first_name, last_name, email, phone, mobile] = of_primary;
                person.first_name = first_name.unwrap_or_else(|| std::mem::take(&mut person.first_name));
                person.last_name = last_name.unwrap_or_else(|| std::mem::take(&mut person.last_name));
                person.email = email.unwrap_or_else(|| std::mem::take(&mut person.email));
                person.phone = phone.unwrap_or_else(|| std::mem::take(&mut person.phone));
                person.mobile = mobile.unwrap_or_else(|| std::mem::take(&mut person.mobile));
            }
        }
        for person in customer.persons.iter_mut().filter(|person| person.contact_person_id.is_empty()) {
            person.contact_person_id = self.new_id().to_string();
        }
        customer.created_at = given.created_time.map_or(customer.created_at, in_seconds);
        customer.modified_at = given.last_modified_time.map_or(customer.modified_at, in_seconds);
        Ok(())
    }

    fn take_invoice(&mut self, given: GivenInvoice, now: DateTime<Utc>) -> Result<(), String> {
        let customer = given.customer_id.as_deref().ok_or("an invoice needs `customer_id`")?;
        let customer = customer.parse().ok().and_then(|id| self.customers.get(&id));
        let customer =
            customer.ok_or_else(|| format!("no customer `{}`", given.customer_id.clone().unwrap_or_default()))?;
        let (whose, currency_code, customer) = (customer.organization, customer.currency_code.clone(), customer.id);
        let organization = given.organization.as_deref().map_or(Ok(whose), |id| self.whose(Some(id)))?;
        if organization != whose {
            return Err(format!("customer `{customer}` is another organisation's"));
        }
        let id = self.new_or(given.invoice_id.as_deref())?;
        let due_date = given.due_date.ok_or("an invoice needs `due_date`")?;
        let total = given.total.as_ref().map(cents).transpose()?.ok_or("an invoice needs `total`")?;
        let mut invoice = Invoice {
            id,
            organization,
            customer,
            number: format!("INV-{:06}", self.invoices.len() + 1),
            status: Status::Sent,
            date: due_date,
            due_date,
            total,
            balance: total,
            currency_code,
            reminders_sent: 0,
            last_reminder_sent_date: None,
            last_payment_date: None,
            payment_reminder_enabled: true,
            custom_fields: Vec::new(),
            created_at: now,
            modified_at: now,
        };
        set_invoice(&mut invoice, given)?;
        self.invoices.insert(id, invoice);
        Ok(())
    }

    fn change(&mut self, change: Change, now: DateTime<Utc>) -> Result<(), String> {
        match change {
            Change::Invoice { invoice: id, set } => {
                if set.organization.is_some() || set.invoice_id.is_some() || set.customer_id.is_some() {
                    return Err("an invoice stays whose it is".to_owned());
                }
                let invoice = id.parse().ok().and_then(|id| self.invoices.get_mut(&id));
                let invoice = invoice.ok_or_else(|| format!("no invoice `{id}`"))?;
                invoice.modified_at = now;
                set_invoice(invoice, *set)
            }
            Change::Customer { customer: id, set } => {
                if set.organization.is_some() || set.contact_id.is_some() {
                    return Err("a customer stays whose it is".to_owned());
                }
                let customer = id.parse().ok().and_then(|id| self.customers.get(&id));
                let mut customer = customer.ok_or_else(|| format!("no customer `{id}`"))?.clone();
                customer.modified_at = now;
                self.set_customer(&mut customer, *set)?;
                self.customers.insert(customer.id, customer);
                Ok(())
            }
        }
    }

    /// Its invoices go with it: there are none of nobody.
    fn delete_customer(&mut self, id: &str) -> Result<(), String> {
        let customer = id.parse().ok().and_then(|id: u64| self.customers.remove(&id));
        let customer = customer.ok_or_else(|| format!("no customer `{id}`"))?.id;
        let before = self.invoices.len();
        self.invoices.retain(|_, invoice| invoice.customer != customer);
        self.deleted_customers += 1;
        self.deleted_invoices += (before - self.invoices.len()) as u64;
        Ok(())
    }
}

fn set_invoice(invoice: &mut Invoice, given: GivenInvoice) -> Result<(), String> {
    invoice.total = given.total.as_ref().map_or(Ok(invoice.total), cents)?;
    invoice.status = given.status.unwrap_or(invoice.status);
    invoice.balance = match &given.balance {
        Some(balance) => cents(balance)?,
        None if matches!(given.status, Some(Status::Paid | Status::Void)) => 0,
        None => invoice.balance,
    };
    if !(0..=invoice.total).contains(&invoice.balance) {
        return Err("a balance is from 0 to the total".to_owned());
    }
    invoice.number = given.invoice_number.unwrap_or_else(|| std::mem::take(&mut invoice.number));
    invoice.currency_code = given.currency_code.unwrap_or_else(|| std::mem::take(&mut invoice.currency_code));
    invoice.date = given.date.unwrap_or(invoice.date);
    invoice.due_date = given.due_date.unwrap_or(invoice.due_date);
    invoice.reminders_sent = given.reminders_sent.unwrap_or(invoice.reminders_sent);
    invoice.last_reminder_sent_date = given.last_reminder_sent_date.or(invoice.last_reminder_sent_date);
    invoice.last_payment_date = given.last_payment_date.or(invoice.last_payment_date);
    invoice.payment_reminder_enabled = given.payment_reminder_enabled.unwrap_or(invoice.payment_reminder_enabled);
    invoice.custom_fields = given.custom_fields.unwrap_or_else(|| std::mem::take(&mut invoice.custom_fields));
    invoice.created_at = given.created_time.map_or(invoice.created_at, in_seconds);
    invoice.modified_at = given.last_modified_time.map_or(invoice.modified_at, in_seconds);
    Ok(())
}

/// An amount in cents.
fn cents(number: &Number) -> Result<i64, String> {
    let amount: rust_decimal::Decimal = number.to_string().parse().map_err(|_| format!("{number} is no amount"))?;
    let cents = amount * rust_decimal::Decimal::ONE_HUNDRED;
    let sound = cents.is_integer() && cents.abs() < rust_decimal::Decimal::from(100_000_000_000_000_i64);
    cents.try_into().ok().filter(|_| sound).ok_or_else(|| format!("{number} is no amount with two decimals"))
}
