//! The events that a business usually gets. Session, subscription and invoice have the shapes of the service's own fixtures
//! (see `shapes/SOURCES.md`); charge and customer are written by hand.
//!
//! What belongs to one customer hangs together: the ids of its subscription, its first invoice and its session follow from
//! its own.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::given::When;

const SESSION: &str = include_str!("shapes/checkout_session.json");
const SUBSCRIPTION: &str = include_str!("shapes/subscription.json");
const INVOICE: &str = include_str!("shapes/invoice.json");
const CHARGE: &str = include_str!("shapes/charge.json");
const CUSTOMER: &str = include_str!("shapes/customer.json");

/// The length of a subscription's period.
const PERIOD_SECONDS: i64 = 31 * 24 * 3600;

/// Which version of the API events are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// Since 2025-03-31.basil.
    #[default]
    New,
    /// Before: an invoice names its subscription by itself, and a subscription has its period by itself.
    Old,
}

impl Shape {
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::New => "2026-06-24.dahlia",
            Self::Old => "2024-06-20",
        }
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    CheckoutPaid,
    CheckoutUnpaid,
    AsyncPaymentSucceeded,
    InvoicePaid,
    SubscriptionActive,
    SubscriptionTrialing,
    SubscriptionIncomplete,
    SubscriptionDeleted,
    ChargeRefunded,
}

impl Kind {
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::CheckoutPaid | Self::CheckoutUnpaid => "checkout.session.completed",
            Self::AsyncPaymentSucceeded => "checkout.session.async_payment_succeeded",
            Self::InvoicePaid => "invoice.paid",
            Self::SubscriptionActive | Self::SubscriptionTrialing | Self::SubscriptionIncomplete => {
                "customer.subscription.created"
            }
            Self::SubscriptionDeleted => "customer.subscription.deleted",
            Self::ChargeRefunded => "charge.refunded",
        }
    }
}

/// A usual event, and whom it is about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usual {
    pub(super) kind: Kind,
    /// `cus_..`; made if it is not there.
    pub(super) customer: String,
    pub(super) account: Option<String>,
    /// The event's.
    pub(super) id: Option<String>,
    /// The id of what the event is about.
    object: Option<String>,
    subscription: Option<String>,
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    /// A country's two letters.
    country: Option<String>,
    created: Option<When>,
    /// When the customer was made, if it is made here.
    customer_created: Option<When>,
    pub(super) livemode: Option<bool>,
    /// In the smallest unit of the currency.
    #[serde(default = "usual_amount")]
    amount: i64,
    #[serde(default = "usual_currency")]
    currency: String,
    /// Of an invoice.
    #[serde(default = "usual_reason")]
    billing_reason: String,
    metadata: Option<Map<String, Value>>,
}

fn usual_amount() -> i64 {
    2000
}

fn usual_currency() -> String {
    "usd".to_owned()
}

fn usual_reason() -> String {
    "subscription_create".to_owned()
}

/// A customer of whom this is known.
pub(super) fn customer(id: &str, created: i64, livemode: bool, known: Map<String, Value>) -> Value {
    let mut customer = shape(CUSTOMER);
    customer["id"] = json!(id);
    customer["created"] = json!(created);
    customer["livemode"] = json!(livemode);
    for (key, value) in known {
        customer[key] = value;
    }
    customer
}

fn shape(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

impl Usual {
    pub(super) fn created(&self, now: DateTime<Utc>) -> i64 {
        self.created.map_or(now.timestamp(), When::seconds)
    }

    pub(super) fn customer(&self, now: DateTime<Utc>, livemode: bool) -> Value {
        let created = self.customer_created.map_or(self.created(now), When::seconds);
        let known = json!({
            "name": self.name, "email": self.email, "phone": self.phone,
            "address": self.country.as_ref().map(|country| json!({"city": null, "country": country, "line1": null,
                "line2": null, "postal_code": null, "state": null})),
        });
        let Value::Object(known) = known else { return Value::Null };
        customer(&self.customer, created, livemode, known)
    }

    /// What the event is about.
    pub(super) fn object(&self, now: DateTime<Utc>, livemode: bool, shape: Shape) -> Value {
        let created = self.created(now);
        let mut object = match self.kind {
            Kind::CheckoutPaid | Kind::CheckoutUnpaid | Kind::AsyncPaymentSucceeded => self.session(livemode),
            Kind::InvoicePaid => self.invoice(created, shape),
            Kind::ChargeRefunded => self.charge(),
            _ => self.subscription(created, shape),
        };
        if let Some(id) = &self.object {
            object["id"] = json!(id);
        }
        object["customer"] = json!(self.customer);
        object["currency"] = json!(self.currency);
        object["created"] = json!(created);
        if let Some(metadata) = &self.metadata {
            object["metadata"] = json!(metadata);
        }
        object
    }

    /// An id that follows from the customer's.
    fn id_of(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.customer.trim_start_matches("cus_"))
    }

    fn subscription_id(&self) -> String {
        self.subscription.clone().unwrap_or_else(|| self.id_of("sub"))
    }

    fn session(&self, livemode: bool) -> Value {
        let mut session = shape(SESSION);
        session["id"] = json!(self.id_of(if livemode { "cs_live" } else { "cs_test" }));
        session["payment_status"] = json!(if self.kind == Kind::CheckoutUnpaid { "unpaid" } else { "paid" });
        session["amount_subtotal"] = json!(self.amount);
        session["amount_total"] = json!(self.amount);
        session["client_reference_id"] = Value::Null;
        session["invoice"] = json!(self.id_of("in"));
        session["subscription"] = json!(self.subscription_id());
        let details = &mut session["customer_details"];
        details["name"] = json!(self.name);
        details["email"] = json!(self.email);
        details["phone"] = json!(self.phone);
        details["address"]["country"] = json!(self.country);
        session
    }

    fn subscription(&self, created: i64, version: Shape) -> Value {
        let mut subscription = shape(SUBSCRIPTION);
        let id = self.subscription_id();
        let status = match self.kind {
            Kind::SubscriptionTrialing => "trialing",
            Kind::SubscriptionIncomplete => "incomplete",
            Kind::SubscriptionDeleted => "canceled",
            _ => "active",
        };
        subscription["id"] = json!(id);
        subscription["status"] = json!(status);
        subscription["latest_invoice"] = json!(self.id_of("in"));
        for key in ["billing_cycle_anchor", "start_date"] {
            subscription[key] = json!(created);
        }
        let end = created + PERIOD_SECONDS;
        if status == "trialing" {
            subscription["trial_start"] = json!(created);
            subscription["trial_end"] = json!(end);
        }
        if status == "canceled" {
            subscription["canceled_at"] = json!(created);
            subscription["ended_at"] = json!(created);
        }
        let items = &mut subscription["items"];
        items["url"] = json!(format!("/v1/subscription_items?subscription={id}"));
        let item = &mut items["data"][0];
        item["id"] = json!(self.id_of("si"));
        item["subscription"] = json!(id);
        item["created"] = json!(created);
        item["current_period_start"] = json!(created);
        item["current_period_end"] = json!(end);
        for key in ["price", "plan"] {
            let amount = if key == "price" { "unit_amount" } else { "amount" };
            item[key][amount] = json!(self.amount);
            item[key][format!("{amount}_decimal")] = json!(self.amount.to_string());
            item[key]["currency"] = json!(self.currency);
        }
        if version == Shape::Old {
            without(item, &["current_period_start", "current_period_end"]);
            subscription["current_period_start"] = json!(created);
            subscription["current_period_end"] = json!(end);
            without(&mut subscription, &["billing_mode", "billing_schedules", "managed_payments", "customer_account"]);
        }
        subscription
    }

    fn invoice(&self, created: i64, version: Shape) -> Value {
        let mut invoice = shape(INVOICE);
        // Later ones are others than the first.
        let is_first = self.billing_reason == "subscription_create";
        let id = if is_first { self.id_of("in") } else { format!("{}_{created}", self.id_of("in")) };
        let subscription = (self.billing_reason != "manual").then(|| self.subscription_id());
        invoice["id"] = json!(id);
        invoice["billing_reason"] = json!(self.billing_reason);
        invoice["customer_name"] = json!(self.name);
        invoice["customer_email"] = json!(self.email);
        invoice["customer_phone"] = json!(self.phone);
        invoice["customer_address"]["country"] = json!(self.country);
        for key in ["amount_due", "amount_paid", "subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"] {
            invoice[key] = json!(self.amount);
        }
        for key in ["effective_at", "period_start", "period_end", "webhooks_delivered_at"] {
            invoice[key] = json!(created);
        }
        invoice["status_transitions"]["finalized_at"] = json!(created);
        invoice["status_transitions"]["paid_at"] = json!(created);
        let lines = &mut invoice["lines"];
        lines["url"] = json!(format!("/v1/invoices/{id}/lines"));
        let line = &mut lines["data"][0];
        line["id"] = json!(self.id_of("il"));
        line["invoice"] = json!(id);
        for key in ["amount", "subtotal"] {
            line[key] = json!(self.amount);
        }
        line["currency"] = json!(self.currency);
        line["period"] = json!({"start": created, "end": created + PERIOD_SECONDS});
        if let Some(subscription) = &subscription {
            line["parent"]["subscription_item_details"]["subscription"] = json!(subscription);
            line["parent"]["subscription_item_details"]["subscription_item"] = json!(self.id_of("si"));
            invoice["parent"]["subscription_details"]["subscription"] = json!(subscription);
        } else {
            line["parent"] = Value::Null;
            invoice["parent"] = Value::Null;
        }
        if version == Shape::Old {
            let line = &mut invoice["lines"]["data"][0];
            without(line, &["parent", "pricing", "pretax_credit_amounts", "quantity_decimal", "subtotal", "taxes"]);
            line["subscription"] = json!(subscription);
            line["type"] = json!(if subscription.is_some() { "subscription" } else { "invoiceitem" });
            without(&mut invoice, &["parent", "amount_overpaid", "total_pretax_credit_amounts", "total_taxes"]);
            invoice["subscription"] = json!(subscription);
            invoice["paid"] = json!(true);
            invoice["charge"] = json!(self.id_of("ch"));
            invoice["payment_intent"] = json!(self.id_of("pi"));
        }
        invoice
    }

    fn charge(&self) -> Value {
        let mut charge = shape(CHARGE);
        charge["id"] = json!(self.id_of("ch"));
        charge["payment_intent"] = json!(self.id_of("pi"));
        for key in ["amount", "amount_captured", "amount_refunded"] {
            charge[key] = json!(self.amount);
        }
        let details = &mut charge["billing_details"];
        details["name"] = json!(self.name);
        details["email"] = json!(self.email);
        details["phone"] = json!(self.phone);
        details["address"]["country"] = json!(self.country);
        charge
    }
}

fn without(object: &mut Value, keys: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for key in keys {
            object.remove(*key);
        }
    }
}
