//! Everybody in a campaign, counted by the reason for which they are not called.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::evidence::utc;
use super::person::credentials;
use crate::app::App;
use crate::commands::calling::plan::{self, Context};
use crate::domain::gate::{Facts, RetryFacts};
use crate::domain::slot::{Frequency, Period};
use crate::error::Failure;
use crate::output::{Format, Rows};
use crate::store::claims::{self, AccountLimits};
use crate::store::enrollments::{self, History};
use crate::store::overview::{self, Enrolled, WaitingCall};
use crate::store::setup::Campaign;
use crate::store::{self, Tx};

const BATCH: i64 = 500;

/// The word for somebody whom every gate lets pass.
const DUE: &str = "due";
/// The word for somebody who was never checked.
const NOT_CHECKED: &str = "not_checked";

/// Counts the people of a campaign: by what the gates say of them at `at`, of at most `limit` people, and by what was
/// stored at their last check, of all.
pub(super) async fn explain(app: &App, tx: &mut Tx, campaign: Campaign, limit: i64, at: DateTime<Utc>) -> Result<()> {
    let name = campaign.full_name();
    let stored = enrollments::reasons(tx, &campaign.id).await?;
    let enrolled: i64 = stored.iter().map(|(_, count)| count).sum();
    let (contexts, unreadable) = plan::contexts(tx, vec![campaign]).await?;
    if let Some((_, problem)) = unreadable.first() {
        return Err(Failure::partial(format!("campaign {name} makes no calls: {problem}")).into());
    }
    let mut reasons: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut asked = 0;
    if let Some(context) = contexts.first() {
        for (reason, count) in ask(app, tx, context, limit, at).await? {
            reasons.entry(reason.to_owned()).or_default().0 += count;
            asked += count;
        }
    }
    for (reason, count) in stored {
        reasons.entry(reason.unwrap_or_else(|| NOT_CHECKED.to_owned())).or_default().1 += count;
    }
    let mut reasons: Vec<(String, (i64, i64))> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (now, last))| (std::cmp::Reverse(*now), std::cmp::Reverse(*last)));

    let mut rows = Rows::new(&["reason", "now", "at_last_check"]);
    for (reason, (now, last)) in reasons {
        rows.push(vec![json!(reason), json!(now), json!(last)]);
    }
    let is_complete = asked >= enrolled;
    let cut = if is_complete { String::new() } else { format!("; only {asked} of them were asked (--limit)") };
    let printer = &app.printer;
    match printer.format() {
        Format::Json => {
            let mut record = Map::new();
            record.insert("campaign".to_owned(), json!(name));
            record.insert("at".to_owned(), json!(at));
            record.insert("enrolled".to_owned(), json!(enrolled));
            record.insert("asked".to_owned(), json!(asked));
            record.insert("is_complete".to_owned(), json!(is_complete));
            record.insert("reasons".to_owned(), Value::Array(rows.objects().map(Value::Object).collect()));
            printer.record(&record)?;
        }
        Format::Table => {
            printer.line(format!("campaign {name}: {enrolled} enrolled, at {}{cut}", utc(at)))?;
            printer.rows(&rows)?;
        }
        Format::Jsonl | Format::Csv => {
            if !is_complete {
                printer.warn(format!("campaign {name}: {enrolled} enrolled{cut}"));
            }
            printer.rows(&rows)?;
        }
    }
    Ok(())
}

/// What the gates say of the first people of a campaign, read in batches.
async fn ask(
    app: &App,
    tx: &mut Tx,
    context: &Context,
    limit: i64,
    at: DateTime<Utc>,
) -> Result<BTreeMap<&'static str, i64>> {
    let account = &context.account;
    let limits = AccountLimits { max_concurrency: account.max_concurrency, calls_per_minute: account.calls_per_minute };
    let has_capacity = claims::capacity(tx, &account.name, &limits, at).await? > 0;
    let has_credentials = credentials(app, context).is_ok();
    let run_interval_seconds = i64::from(app.config.run_interval.seconds());
    let mut counts = BTreeMap::new();
    let mut behind = (String::new(), String::new());
    let mut left = limit;
    while left > 0 {
        let batch =
            overview::enrollments_after(tx, &context.campaign.id, (&behind.0, &behind.1), BATCH.min(left)).await?;
        let Some(last) = batch.last() else { break };
        behind = (last.candidate.contact_id.clone(), last.candidate.subject.clone());
        left -= i64::try_from(batch.len()).unwrap_or(i64::MAX);
        let ids: Vec<&str> = batch.iter().map(|one| one.candidate.enrollment_id.as_str()).collect();
        let waiting = overview::waiting_calls(tx, &ids).await?;
        let (first, again): (Vec<&Enrolled>, Vec<&Enrolled>) =
            batch.iter().partition(|one| !waiting.contains_key(&one.candidate.enrollment_id));
        for people in [first, again] {
            let histories = histories(tx, context, &people, &waiting, at).await?;
            let nothing = History::default();
            for one in people {
                let candidate = &one.candidate;
                let history = histories.get(&candidate.contact_id).unwrap_or(&nothing);
                let place = context.place(candidate, at);
                let retry = waiting.get(&candidate.enrollment_id).and_then(|call| {
                    let period = call.slot_key.parse::<Period>().ok()?;
                    Some(RetryFacts { due_at: call.next_attempt_at, period })
                });
                let facts = Facts {
                    has_credentials,
                    has_capacity,
                    ..context.facts(candidate, &place, history, retry, run_interval_seconds)
                };
                let is_unreadable =
                    candidate.preferred_time.is_some() && facts.preferred_time.is_none() && retry.is_none();
                let reason = if is_unreadable {
                    "unreadable_preferred_time"
                } else {
                    facts.first_block(at).map_or(DUE, |(_, reason, _)| reason)
                };
                *counts.entry(reason).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

async fn histories(
    tx: &mut Tx,
    context: &Context,
    people: &[&Enrolled],
    waiting: &std::collections::HashMap<String, WaitingCall>,
    at: DateTime<Utc>,
) -> store::Result<std::collections::HashMap<String, History>> {
    let phones: Vec<(String, String)> =
        people.iter().map(|one| (one.candidate.contact_id.clone(), one.candidate.phone.clone())).collect();
    let own: Vec<String> = people
        .iter()
        .filter_map(|one| waiting.get(&one.candidate.enrollment_id))
        .map(|call| call.call_id.clone())
        .collect();
    let campaign = &context.campaign;
    let mut histories = enrollments::histories(tx, &campaign.tenant, &campaign.purpose, &phones, &own, at).await?;
    plan::add_debts(tx, context, &own, &mut histories, at).await?;
    if context.rules.frequency == Frequency::Once {
        let people = people.iter().map(|one| &one.candidate);
        enrollments::mark_once_slots(tx, &campaign.tenant, &campaign.purpose, people, &mut histories).await?;
    }
    Ok(histories)
}
