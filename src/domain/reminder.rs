//! Reminders of invoices: which offset from the due date has come, and what speaks against calling about an invoice.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::billing::OPEN_STATUSES;
use super::call::{UnknownWord, words};
use super::call_status::CustomerResponse;
use super::slot::Period;
use super::zone::Zone;

/// The days from the due date on which a reminder becomes due, unless a campaign says otherwise.
pub const DEFAULT_OFFSETS: [i64; 4] = [-3, 0, 3, 7];
/// For so many days after its last offset an invoice is still called about, unless a campaign says otherwise.
pub const DEFAULT_LATE_DAYS: i64 = 30;
/// What is known of an invoice may be this old when somebody is called about it, unless a campaign says otherwise.
pub const DEFAULT_MAX_AGE_SECONDS: i64 = 30 * 60;
/// The most attempts about one invoice on seven successive days, and the days of rest after a conversation about it, the
/// day of the conversation being the first: 12 CFR 1006.14(b)(2).
pub const DEFAULT_ATTEMPTS_PER_WEEK: i64 = 7;
/// See [`DEFAULT_ATTEMPTS_PER_WEEK`].
pub const DEFAULT_REST_DAYS: i64 = 7;
/// For so many days nobody is reminded of an invoice who said that it is or will be paid, unless a campaign says otherwise.
pub const DEFAULT_PAUSE_DAYS: i64 = 3;

/// Whom a campaign reminds, of which invoices and when. Stored as JSON with the campaign's other rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reminders {
    /// Days from the due date, negative ones before it; in ascending order, each once, at least one.
    pub offsets: Vec<i64>,
    /// The statuses of invoices that are called about.
    pub statuses: Vec<String>,
    /// The least that is not paid, in the invoice's currency.
    pub min_balance: Decimal,
    /// Customers who are not called, by their id there.
    #[serde(default)]
    pub exclude_customers: Vec<String>,
    /// Invoices that nobody is called about, by id or number.
    #[serde(default)]
    pub exclude_invoices: Vec<String>,
    /// Nobody is called about an invoice that was due more days ago.
    pub max_days_overdue: i64,
    /// How old what is known of an invoice may be when somebody is called about it, in seconds.
    pub max_age_seconds: i64,
    /// The most attempts about one invoice on seven successive days.
    pub max_attempts_per_week: i64,
    /// Days without a call about an invoice after a conversation about it, that day included.
    pub rest_days: i64,
    /// Days without a call about an invoice after somebody said that it is or will be paid.
    pub pause_days: i64,
    /// The field of what a provider extracts that holds the answer.
    #[serde(default)]
    pub answer_field: Option<String>,
}

impl Default for Reminders {
    fn default() -> Self {
        Self {
            offsets: DEFAULT_OFFSETS.to_vec(),
            statuses: OPEN_STATUSES.map(str::to_owned).to_vec(),
            min_balance: Decimal::ZERO,
            exclude_customers: Vec::new(),
            exclude_invoices: Vec::new(),
            max_days_overdue: DEFAULT_OFFSETS[DEFAULT_OFFSETS.len() - 1] + DEFAULT_LATE_DAYS,
            max_age_seconds: DEFAULT_MAX_AGE_SECONDS,
            max_attempts_per_week: DEFAULT_ATTEMPTS_PER_WEEK,
            rest_days: DEFAULT_REST_DAYS,
            pause_days: DEFAULT_PAUSE_DAYS,
            answer_field: None,
        }
    }
}

/// Why nobody is reminded of an invoice for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoicePause {
    /// The stable word: an answer, or `operator`.
    pub reason: PauseReason,
    /// Until when; none: until somebody ends it.
    pub until: Option<DateTime<Utc>>,
}

/// Who or what paused an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PauseReason {
    /// The customer will pay.
    WillPayToday,
    /// The customer has paid, as they say.
    AlreadyPaid,
    /// The customer does not agree.
    Dispute,
    /// An operator said so.
    Operator,
}

words!(PauseReason, "reason of a pause", {
    WillPayToday => "will_pay_today", AlreadyPaid => "already_paid", Dispute => "dispute", Operator => "operator",
});

impl PauseReason {
    /// What an answer gives rise to; none for somebody who did not speak.
    pub const fn of(answer: CustomerResponse) -> Option<Self> {
        match answer {
            CustomerResponse::WillPayToday => Some(Self::WillPayToday),
            CustomerResponse::AlreadyPaid => Some(Self::AlreadyPaid),
            CustomerResponse::Dispute => Some(Self::Dispute),
            CustomerResponse::NoAnswer => None,
        }
    }

    /// The gate's reason.
    const fn gate_reason(self) -> &'static str {
        match self {
            Self::WillPayToday => "will_pay_today",
            Self::AlreadyPaid => "already_paid",
            Self::Dispute => "invoice_disputed",
            Self::Operator => "invoice_paused",
        }
    }
}

/// An offset of which somebody was reminded, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminded {
    /// Days from the due date.
    pub offset: i64,
    /// Whether that was by the very call that is looked at.
    pub by_own_call: bool,
}

/// An invoice, and what is known of calls about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Its id.
    pub invoice_id: String,
    /// What people call it.
    pub number: Option<String>,
    /// Who is to pay.
    pub customer_id: String,
    /// In Zoho's words, such as `overdue`.
    pub status: String,
    /// Whether it was found gone.
    pub is_deleted: bool,
    /// When it is to be paid.
    pub due_date: NaiveDate,
    /// What is not paid.
    pub balance: Option<Decimal>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// What is known of it is as old as this.
    pub fresh_at: DateTime<Utc>,
    /// Whether it is paused.
    pub pause: Option<InvoicePause>,
    /// The offsets whose slots are taken.
    pub reminded: Vec<Reminded>,
    /// When a phone may have rung about it, in the last eight days at least.
    pub rings: Vec<DateTime<Utc>>,
    /// When somebody last spoke about it.
    pub spoken_at: Option<DateTime<Utc>>,
}

impl Debt {
    /// Why it is nobody's to pay.
    fn settled_reason(&self) -> Option<&'static str> {
        if self.is_deleted {
            return Some("invoice_deleted");
        }
        match self.status.as_str() {
            "paid" => Some("invoice_paid"),
            "void" => Some("invoice_void"),
            _ => None,
        }
    }
}

/// The stable reason for which nobody is called now, and the first local date on which that may be otherwise.
pub type NotNow = (&'static str, Option<NaiveDate>);

/// What one invoice says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The call is to name it, for this offset.
    Due {
        /// Days from the due date.
        offset: i64,
    },
    /// Not now.
    Not {
        /// The stable reason.
        reason: &'static str,
        /// The first local date on which this may be otherwise, by the passing of time alone.
        from: Option<NaiveDate>,
    },
}

impl Standing {
    const fn never(reason: &'static str) -> Self {
        Self::Not { reason, from: None }
    }

    const fn until(reason: &'static str, from: Option<NaiveDate>) -> Self {
        Self::Not { reason, from }
    }
}

impl Reminders {
    /// The key of the slot of an invoice and an offset, such as `9820001:+3`.
    pub fn slot_key(invoice_id: &str, offset: i64) -> String {
        format!("{invoice_id}:{offset:+}")
    }

    /// The offset that a slot's key names.
    pub fn offset_of(slot_key: &str) -> Option<i64> {
        slot_key.rsplit_once(':')?.1.parse().ok()
    }

    /// The latest offset that was reached by `day`; none before the first.
    pub fn reached(&self, due_date: NaiveDate, day: NaiveDate) -> Option<i64> {
        let days = (day - due_date).num_days();
        self.offsets.iter().copied().rfind(|offset| *offset <= days)
    }

    /// The dates on which an offset is the one to be reminded of: until the next one comes, or it is too late.
    pub fn dates_of(&self, due_date: NaiveDate, offset: i64) -> Period {
        let last = self.offsets.iter().find(|next| **next > offset).map_or(self.max_days_overdue, |next| next - 1);
        Period::Dates { first: after(due_date, offset), last: after(due_date, last.max(offset)) }
    }

    /// What an invoice says on a local date, in the zone of the callee. A retry is about the offsets that its call holds.
    pub fn standing(&self, debt: &Debt, day: NaiveDate, zone: Zone, is_retry: bool) -> Standing {
        if let Some(reason) = debt.settled_reason() {
            return Standing::never(reason);
        }
        if !self.statuses.contains(&debt.status) {
            // That a date has passed changes no record, so that what was read before says `sent`.
            let becomes_overdue =
                self.statuses.iter().any(|status| status == "overdue") && OPEN_STATUSES.contains(&debt.status.as_str());
            if !becomes_overdue {
                return Standing::never("invoice_status");
            }
            if day <= debt.due_date {
                return Standing::until("invoice_status", Some(after(debt.due_date, 1)));
            }
        }
        let named =
            |list: &[String]| list.iter().any(|name| *name == debt.invoice_id || debt.number.as_ref() == Some(name));
        if self.exclude_customers.contains(&debt.customer_id) || named(&self.exclude_invoices) {
            return Standing::never("invoice_excluded");
        }
        // A balance that is not known is not one to call about.
        if debt.balance.is_none_or(|balance| balance <= Decimal::ZERO || balance < self.min_balance) {
            return Standing::never("below_min_balance");
        }
        let local_date = |at: DateTime<Utc>| zone.local(at).date();
        if let Some(pause) = &debt.pause {
            match pause.until {
                None => return Standing::never(pause.reason.gate_reason()),
                Some(until) if day < local_date(until) => {
                    return Standing::until(pause.reason.gate_reason(), Some(local_date(until)));
                }
                Some(_) => {}
            }
        }
        if day > after(debt.due_date, self.max_days_overdue) {
            return Standing::never("too_long_overdue");
        }
        let next = |offset: Option<i64>| {
            let next = self.offsets.iter().find(|next| offset.is_none_or(|offset| **next > offset));
            next.map(|next| after(debt.due_date, *next))
        };
        let Some(offset) = self.reached(debt.due_date, day) else {
            return Standing::until("before_first_offset", next(None));
        };
        let taken = debt.reminded.iter().find(|reminded| reminded.offset == offset);
        match (taken, is_retry) {
            (Some(Reminded { by_own_call: true, .. }), true) | (None, false) => {}
            (_, true) => return Standing::never("offset_lapsed"),
            (Some(_), false) => return Standing::until("already_reminded", next(Some(offset))),
        }
        if let Some(spoken_at) = debt.spoken_at {
            let rested = after(local_date(spoken_at), self.rest_days);
            if day < rested {
                return Standing::until("rest_after_conversation", Some(rested));
            }
        }
        let first_counted = after(day, -6);
        let mut counted: Vec<NaiveDate> =
            debt.rings.iter().map(|at| local_date(*at)).filter(|date| *date >= first_counted).collect();
        counted.sort_unstable();
        let most = usize::try_from(self.max_attempts_per_week).unwrap_or(usize::MAX);
        if counted.len() >= most {
            // So many of the oldest have to be a week ago that there is room for one more.
            let over = counted.get(counted.len() - most).map(|date| after(*date, 7));
            return Standing::until("max_attempts_per_week", over);
        }
        Standing::Due { offset }
    }

    /// What all invoices of somebody say together: those to be named, each with its offset; or why there is none, and from
    /// which date on there may be. Of several reasons it is that of the one which ends first, else of the latest invoice.
    pub fn due<'d>(
        &self,
        debts: &'d [Debt],
        day: NaiveDate,
        zone: Zone,
        is_retry: bool,
    ) -> Result<Vec<(&'d Debt, i64)>, NotNow> {
        let mut due = Vec::new();
        let mut not: Option<(&'static str, Option<NaiveDate>, NaiveDate)> = None;
        for debt in debts {
            match self.standing(debt, day, zone, is_retry) {
                Standing::Due { offset } => due.push((debt, offset)),
                Standing::Not { reason, from } => {
                    let is_nearer = match &not {
                        None => true,
                        Some((_, known, due_date)) => match (from, known) {
                            (Some(from), Some(known)) => from < *known,
                            (Some(_), None) => true,
                            (None, Some(_)) => false,
                            (None, None) => debt.due_date > *due_date,
                        },
                    };
                    if is_nearer {
                        not = Some((reason, from, debt.due_date));
                    }
                }
            }
        }
        if due.is_empty() {
            return Err(not.map_or(("no_invoice", None), |(reason, from, _)| (reason, from)));
        }
        due.sort_by(|(one, _), (other, _)| (one.due_date, &one.invoice_id).cmp(&(other.due_date, &other.invoice_id)));
        Ok(due)
    }
}

/// A date so many days later.
fn after(date: NaiveDate, days: i64) -> NaiveDate {
    let far = if days < 0 { NaiveDate::MIN } else { NaiveDate::MAX };
    TimeDelta::try_days(days).and_then(|length| date.checked_add_signed(length)).unwrap_or(far)
}

#[cfg(test)]
mod tests;
