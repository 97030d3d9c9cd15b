//! Records of the books, as they were read. Empty texts are none.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;

/// An amount from the text that it is stored as; none of what is no decimal.
pub fn amount(text: &str) -> Option<Decimal> {
    text.parse().ok()
}

/// Whom invoices are written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customer {
    /// Its id: digits, kept as text.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its company.
    pub company_name: Option<String>,
    /// `active`, `inactive` or what else there is.
    pub status: Option<String>,
    /// Of the person who is asked first.
    pub first_name: Option<String>,
    /// Of the person who is asked first.
    pub last_name: Option<String>,
    /// Of the person who is asked first.
    pub email: Option<String>,
    /// As somebody typed it.
    pub phone: Option<String>,
    /// As somebody typed it.
    pub mobile: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// What is to be paid in sum, in its currency.
    pub outstanding: Option<Decimal>,
    /// When it was last changed.
    pub last_modified_at: Option<DateTime<Utc>>,
    /// The record as it came: JSON.
    pub raw: String,
}

/// What is to be paid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invoice {
    /// Its id: digits, kept as text.
    pub id: String,
    /// Who is to pay.
    pub customer_id: String,
    /// What that customer is called in the invoice.
    pub customer_name: Option<String>,
    /// In Zoho's words, such as `overdue`.
    pub status: String,
    /// What people call it.
    pub number: Option<String>,
    /// When it was written.
    pub date: Option<NaiveDate>,
    /// When it is to be paid.
    pub due_date: Option<NaiveDate>,
    /// Its sum, in its currency.
    pub total: Option<Decimal>,
    /// What of that is not paid.
    pub balance: Option<Decimal>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// When it was last changed.
    pub last_modified_at: Option<DateTime<Utc>>,
    /// The record as it came: JSON.
    pub raw: String,
}
