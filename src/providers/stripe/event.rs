//! What Stripe's events and customers say, in every shape that they come in.
//!
//! What is needed has been in the same place in all versions of the API: the customer, an invoice's reason and amount, a
//! subscription's status. What has moved (an invoice's subscription, a subscription's period) is not needed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::domain::call_status::is_id;
use crate::domain::welcome::person::{Customer, Details};
use crate::domain::welcome::{Happened, PaymentEvent};

/// What a notification says that it is which holds no object.
const THIN: &str = "v2.core.event";

/// Reads the body of a webhook, or an event of a listing.
///
/// # Errors
/// The field that is missing or wrong, and what it must be.
pub fn read_event(body: &Value) -> Result<PaymentEvent, (&'static str, &'static str)> {
    let is_thin = match body["object"].as_str() {
        Some("event") => false,
        Some(THIN) => true,
        _ => return Err(("object", "must be `event`")),
    };
    let id = body["id"].as_str().filter(|id| is_id(id)).ok_or(("id", "must be an id, as text"))?.to_owned();
    let kind = body["type"].as_str().filter(|kind| is_id(kind));
    let kind = kind.ok_or(("type", "must be the type of the event, as text"))?.to_owned();
    let created = if is_thin { thin_instant(&body["created"]) } else { instant(&body["created"]) };
    let created = created.ok_or(("created", "must be when it happened"))?;
    let livemode = body["livemode"].as_bool().or(is_thin.then_some(false));
    let livemode = livemode.ok_or(("livemode", "must be true or false"))?;
    let nothing = PaymentEvent {
        id,
        kind,
        created,
        livemode,
        object_id: None,
        customer: None,
        details: Details::default(),
        happened: Happened::Thin,
    };
    if is_thin {
        return Ok(nothing);
    }
    let object = &body["data"]["object"];
    if !object.is_object() {
        return Err(("data.object", "must be an object"));
    }
    let happened = match word(&body["account"]) {
        Some(account) => Happened::Connected { account },
        None => happened(&nothing.kind, object),
    };
    Ok(PaymentEvent {
        object_id: word(&object["id"]).filter(|id| is_id(id)),
        customer: id_of(&object["customer"]).filter(|id| is_id(id)),
        details: details_in(&happened, object),
        happened,
        ..nothing
    })
}

fn happened(kind: &str, object: &Value) -> Happened {
    match kind {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            Happened::Checkout { payment_status: word(&object["payment_status"]) }
        }
        "invoice.paid" => Happened::Invoice {
            billing_reason: word(&object["billing_reason"]),
            amount_paid: object["amount_paid"].as_i64(),
        },
        "customer.subscription.created" => Happened::Subscribed { status: word(&object["status"]) },
        "customer.subscription.deleted" => Happened::Unsubscribed,
        "charge.refunded" => Happened::Refunded { amount_refunded: object["amount_refunded"].as_i64() },
        _ => Happened::Other,
    }
}

/// What an event says of the person.
fn details_in(happened: &Happened, object: &Value) -> Details {
    let person = match happened {
        Happened::Checkout { .. } => &object["customer_details"],
        Happened::Refunded { .. } => &object["billing_details"],
        _ => &Value::Null,
    };
    let or = |field: &str, other: &Value| word(&person[field]).or_else(|| word(other));
    Details {
        name: or("name", &object["customer_name"]),
        email: or("email", &object["customer_email"]).or_else(|| word(&object["receipt_email"])),
        phone: or("phone", &object["customer_phone"]),
        country: word(&person["address"]["country"]).or_else(|| word(&object["customer_address"]["country"])),
        metadata: metadata(&object["metadata"]),
    }
}

/// A customer as it is shown by itself.
///
/// # Errors
/// What is missing.
pub(super) fn customer_of(value: &Value) -> Result<Customer, String> {
    if value["deleted"].as_bool() == Some(true) {
        return Ok(Customer { created: None, details: Details::default() });
    }
    let created = instant(&value["created"]).ok_or("the customer does not say when it was made")?;
    let shipping = &value["shipping"];
    let country = |of: &Value| word(&of["address"]["country"]);
    let details = Details {
        name: word(&value["name"]),
        email: word(&value["email"]),
        phone: word(&value["phone"]),
        country: country(value),
        metadata: metadata(&value["metadata"]),
    };
    let shipped_to = Details {
        name: word(&shipping["name"]),
        phone: word(&shipping["phone"]),
        country: country(shipping),
        ..Details::default()
    };
    Ok(Customer { created: Some(created), details: details.or(&shipped_to) })
}

/// An id, or that of an object which stands in its place.
fn id_of(value: &Value) -> Option<String> {
    word(value).or_else(|| word(&value["id"]))
}

fn word(value: &Value) -> Option<String> {
    // PostgreSQL keeps no NUL in a text.
    let text = value.as_str()?.replace('\0', "");
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn instant(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(value.as_i64()?, 0)
}

/// Thin events have their time as text.
fn thin_instant(value: &Value) -> Option<DateTime<Utc>> {
    instant(value).or_else(|| value.as_str()?.parse().ok())
}

fn metadata(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests;
