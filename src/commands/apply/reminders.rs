//! Of which invoices a campaign reminds, from TOML.

use rust_decimal::Decimal;

use super::Stored;
use super::problems::Problems;
use super::read::{Wanted, integer, seconds};
use crate::config::{Located, Section, nearest};
use crate::domain::billing::{INVOICE_STATUSES, OPEN_STATUSES};
use crate::domain::reminder::{DEFAULT_LATE_DAYS, Reminders};

const KEYS: &[&str] = &[
    "offsets",
    "statuses",
    "min_balance",
    "exclude_customers",
    "exclude_invoices",
    "max_days_overdue",
    "max_age",
    "max_attempts_per_week",
    "rest_days",
    "pause_days",
    "answer_field",
];
const HOUR_SECONDS: i64 = 3600;
/// No offset is further from the due date.
const MOST_DAYS: i64 = 365;

/// A campaign's `reminders`.
pub(super) fn read<'d>(
    at: &Located<'d, String>,
    section: &Section<'d>,
    problems: &mut Problems,
) -> Option<Box<Reminders>> {
    if !section.has("reminders") {
        return None;
    }
    if section.has("frequency") {
        problems.add(
            at.failure("it has both a frequency and reminders")
                .hint("leave the frequency out: each invoice is called about once for each of its offsets"),
        );
    }
    let table = problems.take(section.section("reminders").map(Some))?;
    problems.unknown(&table, KEYS);
    let mut reminders = Reminders::default();
    if let Some(list) = problems.take(table.texts("offsets")) {
        let place = list.clone();
        let mut offsets: Vec<i64> = Vec::new();
        for text in list.value {
            offsets.extend(problems.convert(Some(text), |text| match text.parse::<i64>() {
                Ok(days) if days.abs() <= MOST_DAYS => Ok(days),
                _ => Err(format!("{text:?} is no number of days from -{MOST_DAYS} to {MOST_DAYS}")),
            }));
        }
        offsets.sort_unstable();
        offsets.dedup();
        if place.value.is_empty() {
            problems.add(place.failure("no offset is given").hint("write days from the due date: [-3, 0, 3, 7]"));
        } else if !offsets.is_empty() {
            reminders.max_days_overdue = offsets[offsets.len() - 1] + DEFAULT_LATE_DAYS;
            reminders.offsets = offsets;
        }
    }
    if let Some(list) = problems.take(table.texts("statuses")) {
        reminders.statuses.clear();
        for word in list.value {
            reminders.statuses.extend(problems.convert(Some(word), |word| status(&word)));
        }
    }
    let min_balance = problems.take(table.text("min_balance"));
    if let Some(least) = problems.convert(min_balance, |text| match text.parse::<Decimal>() {
        Ok(least) if least >= Decimal::ZERO => Ok(least),
        _ => Err(format!("{text:?} is no amount; write it in quotes, such as \"10.00\"")),
    }) {
        reminders.min_balance = least;
    }
    let mut names = |key| match problems.take(table.texts(key)) {
        Some(list) => list.value.into_iter().map(|name| name.value).collect(),
        None => Vec::new(),
    };
    reminders.exclude_customers = names("exclude_customers");
    reminders.exclude_invoices = names("exclude_invoices");
    let last = reminders.offsets.last().copied().unwrap_or_default();
    for (key, range, value) in [
        ("max_days_overdue", last..=3650, &mut reminders.max_days_overdue),
        ("max_attempts_per_week", 1..=100, &mut reminders.max_attempts_per_week),
        ("rest_days", 0..=90, &mut reminders.rest_days),
        ("pause_days", 1..=90, &mut reminders.pause_days),
    ] {
        *value = integer(&table, key, range, problems).unwrap_or(*value);
    }
    reminders.max_age_seconds =
        seconds(&table, "max_age", 60..=24 * HOUR_SECONDS, problems).unwrap_or(reminders.max_age_seconds);
    let answer_field = problems.take(table.string("answer_field"));
    reminders.answer_field = problems.convert(answer_field, |name| {
        if name.trim().is_empty() { Err("the name of a field is wanted".to_owned()) } else { Ok(name) }
    });
    Some(Box::new(reminders))
}

/// A status of which something can be owed.
fn status(word: &str) -> Result<String, String> {
    if OPEN_STATUSES.contains(&word) {
        return Ok(word.to_owned());
    }
    if INVOICE_STATUSES.contains(&word) {
        return Err(format!("of an invoice that is {word} nothing is owed; there are {}", OPEN_STATUSES.join(", ")));
    }
    let guess = nearest(word, OPEN_STATUSES).map(|word| format!(" (did you mean {word}?)")).unwrap_or_default();
    Err(format!("{word:?} is no status; there are {}{guess}", OPEN_STATUSES.join(", ")))
}

/// Adds a problem for each campaign that reminds of invoices which no books hold.
pub(super) fn check(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    for campaign in wanted.campaigns.iter().filter(|campaign| campaign.rules.reminders.is_some()) {
        let name = campaign.tenant.value.as_str();
        // What a file says of a tenant takes the place of all that is stored of it.
        let has_books = match wanted.tenants.iter().find(|tenant| tenant.at.value == name) {
            Some(tenant) => tenant.settings.billing.is_some(),
            None => stored
                .tenants
                .iter()
                .find(|tenant| tenant.name == name)
                .is_some_and(|tenant| tenant.settings().is_ok_and(|settings| settings.billing.is_some())),
        };
        if !has_books {
            problems.add(
                campaign
                    .at
                    .failure(format!("it reminds of invoices, and nothing says where those of {name} are"))
                    .hint(format!("say it: [tenant.{name}.billing] with account and organization_id")),
            );
        }
    }
}
