//! What a call about invoices is about: which invoices, which slots, and what the agent is told.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::Context;
use crate::domain::gate::{Facts, ReminderFacts};
use crate::domain::reminder::{Debt, Reminded, Reminders};
use crate::domain::slot::Period;
use crate::domain::zone::Zones;
use crate::store::billing::reminders;
use crate::store::claims::SlotKey;
use crate::store::enrollments::History;
use crate::store::{Result, Tx};

/// What a call is about.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    /// The slots that it takes, or holds.
    pub(super) slots: Vec<SlotKey>,
    /// The dates on which it may be dialled.
    pub(super) period: Period,
    /// What the agent is told.
    pub(super) variables: Map<String, Value>,
    /// The invoices, each with how old what is known of it is.
    pub(super) invoices: Vec<Named>,
    /// The invoices as they will be once the slots are taken.
    after: Vec<Debt>,
}

/// An invoice that a call names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub invoice_id: String,
    /// What is known of it is as old as this.
    pub fresh_at: DateTime<Utc>,
}

/// Adds to the histories of contacts their invoices, for a campaign that reminds of any.
pub(in crate::commands) async fn add_debts(
    tx: &mut Tx,
    context: &Context,
    own_calls: &[String],
    histories: &mut HashMap<String, History>,
    now: DateTime<Utc>,
) -> Result<()> {
    let Some(reminders) = context.rules.reminders.as_deref() else { return Ok(()) };
    let campaign = &context.campaign;
    let contacts: Vec<String> = histories.keys().cloned().collect();
    let asked = reminders::Asked { tenant: &campaign.tenant, purpose: &campaign.purpose, reminders, own_calls };
    for (contact_id, debts) in reminders::debts(tx, asked, &contacts, now).await? {
        if let Some(history) = histories.get_mut(&contact_id) {
            history.debts = debts;
        }
    }
    Ok(())
}

impl Subjects {
    /// What a call is about that passes the gates at `now`; none for a campaign that reminds of nothing.
    pub(super) fn of(facts: &Facts<'_>, zones: &Zones, now: DateTime<Utc>) -> Option<Self> {
        let ReminderFacts { reminders, debts } = facts.reminder?;
        let day = facts.day_of(zones, now);
        let due = reminders.due(debts, day, zones.first(), facts.retry.is_some()).ok()?;
        let mut after = debts.to_vec();
        for (debt, offset) in &due {
            for one in after.iter_mut().filter(|one| one.invoice_id == debt.invoice_id) {
                one.reminded.push(Reminded { offset: *offset, by_own_call: false });
                one.rings.push(now);
            }
        }
        let slots = due.iter().map(|(debt, offset)| SlotKey {
            subject: debt.invoice_id.clone(),
            key: Reminders::slot_key(&debt.invoice_id, *offset),
        });
        let invoices =
            due.iter().map(|(debt, _)| Named { invoice_id: debt.invoice_id.clone(), fresh_at: debt.fresh_at });
        Some(Self {
            slots: slots.collect(),
            period: period_of(reminders, &due, day),
            variables: variables(&due, day),
            invoices: invoices.collect(),
            after,
        })
    }

    /// When the next call can be due once this one is under way, if nothing but time changes.
    pub(super) fn next_due(&self, after: &Facts<'_>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let reminder = after.reminder.map(|reminder| ReminderFacts { debts: &self.after, ..reminder });
        Facts { reminder, ..after.clone() }.next_due(now)
    }
}

/// From the first to the last date on which one of the offsets is the one to be reminded of.
fn period_of(reminders: &Reminders, due: &[(&Debt, i64)], day: NaiveDate) -> Period {
    let dates = due.iter().map(|(debt, offset)| reminders.dates_of(debt.due_date, *offset));
    dates
        .reduce(|all, one| Period::Dates {
            first: all.first_date().min(one.first_date()),
            last: all.last_date().max(one.last_date()),
        })
        .unwrap_or(Period::Day(day))
}

/// A sum as somebody says it: without needless digits, but with both of the cents.
fn amount(sum: &Decimal, currency: &str) -> String {
    let mut sum = sum.normalize();
    if sum.scale() == 1 {
        sum.rescale(2);
    }
    format!("{sum} {currency}").trim_end().to_owned()
}

/// What an agent can say of the invoices. Each value is a text or a number, as every provider takes them.
fn variables(due: &[(&Debt, i64)], day: NaiveDate) -> Map<String, Value> {
    let mut sums: BTreeMap<&str, Decimal> = BTreeMap::new();
    for (debt, _) in due {
        *sums.entry(debt.currency.as_deref().unwrap_or_default()).or_default() += debt.balance.unwrap_or_default();
    }
    let amounts: Vec<String> = sums.iter().map(|(currency, sum)| amount(sum, currency)).collect();
    let name = |debt: &Debt| debt.number.clone().unwrap_or_else(|| debt.invoice_id.clone());
    let names: Vec<String> = due.iter().map(|(debt, _)| name(debt)).collect();
    let lines: Vec<String> = due
        .iter()
        .map(|(debt, _)| {
            let sum = amount(&debt.balance.unwrap_or_default(), debt.currency.as_deref().unwrap_or_default());
            format!("{}: {sum}, due {}", name(debt), debt.due_date)
        })
        .collect();
    let first = due.first().map(|(debt, _)| debt.due_date);
    let mut variables = Map::new();
    for (name, value) in [
        ("invoice_count", json!(due.len())),
        ("invoice_numbers", json!(names.join(", "))),
        ("invoices", json!(lines.join("; "))),
        ("amount_due", json!(amounts.join(" and "))),
        ("due_date", json!(first)),
        ("days_overdue", json!(first.map(|first| (day - first).num_days()))),
    ] {
        variables.insert(name.to_owned(), value);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debt(id: &str, due_date: &str, balance: &str, currency: &str) -> Debt {
        Debt {
            invoice_id: id.to_owned(),
            number: Some(format!("INV-{id}")),
            due_date: due_date.parse().expect("a date"),
            balance: Some(balance.parse().expect("a decimal")),
            currency: Some(currency.to_owned()),
            ..Debt::default()
        }
    }

    #[test]
    fn the_agent_is_told_all_invoices_and_the_sum_in_each_currency() {
        let debts = [
            debt("1", "2026-11-13", "100.10", "USD"),
            debt("2", "2026-11-20", "0.20", "USD"),
            debt("3", "2026-11-20", "7", "EUR"),
        ];
        let due: Vec<(&Debt, i64)> = debts.iter().zip([7, 0, 0]).collect();
        let told = variables(&due, "2026-11-20".parse().expect("a date"));
        assert_eq!(
            Value::Object(told),
            json!({
                "invoice_count": 3,
                "invoice_numbers": "INV-1, INV-2, INV-3",
                "invoices": "INV-1: 100.10 USD, due 2026-11-13; INV-2: 0.20 USD, due 2026-11-20; INV-3: 7 EUR, due 2026-11-20",
                "amount_due": "7 EUR and 100.30 USD",
                "due_date": "2026-11-13",
                "days_overdue": 7,
            })
        );
        assert_eq!(
            period_of(&Reminders::default(), &due[..2], "2026-11-20".parse().expect("a date")).to_string(),
            "2026-11-20/2026-12-20"
        );
    }
}
