//! Who is welcomed by a call: what events about payments say of customers, and what follows.
//!
//! Events come twice, late, out of order or never. What counts is when each happened by the service's clock: whoever paid
//! after they last took it back is welcome.

pub mod person;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::person::Details;
use super::call::{UnknownWord, words};

/// The provider word of accounts whose payments are told of.
pub const PROVIDER: &str = "stripe";

/// The key of a customer's metadata that holds the time zone, unless a tenant says otherwise.
pub const DEFAULT_TIMEZONE_KEY: &str = "timezone";
/// The key of a customer's metadata that holds the preferred time, unless a tenant says otherwise.
pub const DEFAULT_PREFERRED_TIME_KEY: &str = "preferred_time";

/// The types of events that are heeded.
pub const EVENT_TYPES: [&str; 6] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "invoice.paid",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "charge.refunded",
];

/// What a tenant says of its welcome calls. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WelcomeSettings {
    /// The account, by its name here, that payments go to.
    pub account: String,
    /// The tenant's campaign that welcomes.
    pub campaign: String,
    /// Customers that were made before are never welcomed.
    pub welcome_since: DateTime<Utc>,
    /// Whether a trial counts as a payment.
    #[serde(default)]
    pub trialing: bool,
    /// The key of a customer's metadata that holds the time zone.
    #[serde(default)]
    pub timezone_key: Option<String>,
    /// The key of a customer's metadata that holds the preferred time.
    #[serde(default)]
    pub preferred_time_key: Option<String>,
}

impl WelcomeSettings {
    /// The key of a customer's metadata that holds the time zone.
    pub fn timezone_key(&self) -> &str {
        self.timezone_key.as_deref().unwrap_or(DEFAULT_TIMEZONE_KEY)
    }

    /// The key of a customer's metadata that holds the preferred time.
    pub fn preferred_time_key(&self) -> &str {
        self.preferred_time_key.as_deref().unwrap_or(DEFAULT_PREFERRED_TIME_KEY)
    }
}

/// What became of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WelcomeState {
    /// In the welcome campaign.
    Enrolled,
    /// There is no phone that can be called.
    NoPhone,
    /// Where the customer is cannot be said.
    NoTimezone,
    /// The preferred time cannot be read.
    UnreadableTime,
    /// Another customer with the same phone is in the campaign.
    SamePhone,
    /// The customer, or the phone, was called for the purpose before.
    AlreadyCalled,
    /// The customer was there before welcome calls began.
    CreatedBefore,
    /// Somebody decided here or elsewhere that they are not called.
    LeftOut,
    /// The customer took the payment back, before they paid or after.
    Withdrawn,
}

words!(WelcomeState, "state of a welcome", {
    Enrolled => "enrolled", NoPhone => "no_phone", NoTimezone => "no_timezone", UnreadableTime => "unreadable_time",
    SamePhone => "same_phone", AlreadyCalled => "already_called", CreatedBefore => "created_before",
    LeftOut => "left_out", Withdrawn => "withdrawn",
});

impl WelcomeState {
    /// Those who paid and cannot be called until somebody mends what is known of them.
    pub const LISTED: [Self; 3] = [Self::NoPhone, Self::NoTimezone, Self::UnreadableTime];
}

/// An event about a payment, read.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentEvent {
    /// The service's id of it.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// When it happened, by the service's clock.
    pub created: DateTime<Utc>,
    /// Whether it is about real money.
    pub livemode: bool,
    /// The id of what it is about.
    pub object_id: Option<String>,
    /// The service's id of the customer; none for a guest.
    pub customer: Option<String>,
    /// What it says of the person.
    pub details: Details,
    /// What happened.
    pub happened: Happened,
}

/// What an event is about, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A checkout was completed, or was paid at last.
    Checkout {
        /// `paid`, `unpaid` or `no_payment_required`.
        payment_status: Option<String>,
    },
    /// An invoice was paid.
    Invoice {
        /// Why there is an invoice.
        billing_reason: Option<String>,
        /// In the smallest unit of the currency.
        amount_paid: Option<i64>,
    },
    /// A subscription was made.
    Subscribed {
        /// How it stands.
        status: Option<String>,
    },
    /// A subscription is over.
    Unsubscribed,
    /// A charge was refunded, wholly or in part.
    Refunded {
        /// All that was refunded by then, in the smallest unit of the currency.
        amount_refunded: Option<i64>,
    },
    /// Something of an account that is connected to ours, whose customers are not ours.
    Connected {
        /// The connected account.
        account: String,
    },
    /// A notification that says only that there is something to read.
    Thin,
    /// Of another type.
    Other,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The customer paid.
    Enrol,
    /// The customer took a payment back.
    Withdraw,
    /// Nothing.
    Ignore(String),
}

impl PaymentEvent {
    /// By what the customer is known: the service's id, a guest's e-mail address, or else the checkout itself, which is
    /// a guest of whom nothing is known. None where nobody is named.
    pub fn customer_key(&self) -> Option<String> {
        if let Some(id) = &self.customer {
            return Some(id.clone());
        }
        if let Some(email) = &self.details.email {
            return Some(format!("guest:{}", email.to_lowercase()));
        }
        matches!(self.happened, Happened::Checkout { .. }).then(|| self.object_id.clone())?
    }

    /// What makes it the same as another event with an id of its own: what it is about. A charge may be refunded in
    /// several parts, each of which is news.
    pub fn object_key(&self) -> Option<String> {
        let id = self.object_id.as_ref()?;
        Some(match self.happened {
            Happened::Refunded { amount_refunded: Some(amount) } => format!("{id} {amount}"),
            Happened::Connected { .. } | Happened::Thin | Happened::Other => return None,
            _ => id.clone(),
        })
    }

    /// Why nothing can follow from it, whoever the tenant, where that is so.
    pub fn says_nothing(&self) -> Option<String> {
        match self.said(true) {
            Decision::Ignore(reason)
                if matches!(self.happened, Happened::Connected { .. } | Happened::Thin | Happened::Other) =>
            {
                Some(reason)
            }
            _ => None,
        }
    }

    /// Whether it tells of a payment, or of one that was taken back, whatever the tenant.
    fn said(&self, trialing: bool) -> Decision {
        let ignore = |reason: String| Decision::Ignore(reason);
        match &self.happened {
            Happened::Checkout { payment_status } => match payment_status.as_deref() {
                Some("paid") => Decision::Enrol,
                Some(status) => ignore(format!("the checkout's payment_status is {status}")),
                None => ignore("the checkout has no payment_status".to_owned()),
            },
            Happened::Invoice { billing_reason, amount_paid } => match (billing_reason.as_deref(), amount_paid) {
                (Some("subscription_create" | "manual"), Some(1..)) => Decision::Enrol,
                (Some("subscription_create" | "manual"), _) => ignore("nothing was paid for the invoice".to_owned()),
                (Some(reason), _) => ignore(format!("the invoice's billing_reason is {reason}")),
                (None, _) => ignore("the invoice has no billing_reason".to_owned()),
            },
            Happened::Subscribed { status } => match status.as_deref() {
                Some("active") => Decision::Enrol,
                Some("trialing") if trialing => Decision::Enrol,
                Some(status) => ignore(format!("the subscription is {status}")),
                None => ignore("the subscription has no status".to_owned()),
            },
            Happened::Refunded { .. } | Happened::Unsubscribed => Decision::Withdraw,
            Happened::Connected { account } => ignore(format!("it is of the connected account {account}")),
            Happened::Thin => ignore("a thin event says nothing of a payment".to_owned()),
            Happened::Other => ignore(format!("events of type {} say nothing of a first payment", self.kind)),
        }
    }

    /// What follows for a tenant whose account is about real money, or is not.
    pub fn decide(&self, livemode: bool, settings: &WelcomeSettings) -> Decision {
        let decision = self.said(settings.trialing);
        if matches!(decision, Decision::Ignore(_)) {
            return decision;
        }
        if self.livemode != livemode {
            let word = |livemode| if livemode { "live" } else { "test" };
            let reason = format!("it is of {} mode, and the account of {}", word(self.livemode), word(livemode));
            return Decision::Ignore(reason);
        }
        if self.created < settings.welcome_since {
            return Decision::Ignore("it happened before welcome_since, as its customer was made".to_owned());
        }
        if self.customer_key().is_none() {
            return Decision::Ignore("it names no customer".to_owned());
        }
        decision
    }
}

/// When a customer last paid, and last took it back, by the service's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last payment.
    pub paid_at: Option<DateTime<Utc>>,
    /// The last refund, or end of a subscription.
    pub withdrawn_at: Option<DateTime<Utc>>,
}

impl Standing {
    /// Takes in that something happened; says whether that is later than what was known of the kind.
    pub fn learn(&mut self, decision: &Decision, at: DateTime<Utc>) -> bool {
        let known = match decision {
            Decision::Enrol => &mut self.paid_at,
            Decision::Withdraw => &mut self.withdrawn_at,
            Decision::Ignore(_) => return false,
        };
        let is_later = known.is_none_or(|known| known < at);
        *known = (*known).max(Some(at));
        is_later
    }

    /// Whether they paid, and did not take it back since. Of what happened in the same second, taking it back counts.
    pub fn is_customer(self) -> bool {
        self.paid_at.is_some() && self.paid_at > self.withdrawn_at
    }
}

#[cfg(test)]
mod tests;
