//! Comparing the records of calls.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::{Args, counted, settle};
use crate::app::App;
use crate::commands::renting::accounts::{Renter, explain};
use crate::commands::renting::confirming::{Answer, PLAN_SHOWN};
use crate::commands::telling::instant;
use crate::domain::call::AttemptState;
use crate::domain::numbers::calls::{Attempted, Placed, matched, repeated};
use crate::domain::outcome::Outcome;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::providers::http::ReadError;
use crate::providers::twilio::{CallFilter, CallRecord};
use crate::store::dialled::{self, Dialled};
use crate::store::numbers;

/// A call that ended less than this long ago may just be being told.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(1);

const ENDED_THERE: &str = "ended_there";
const UNKNOWN_HERE: &str = "unknown_here";
const REPEATED: &str = "repeated";

/// What differs about one call.
#[derive(Debug)]
struct Found<'f> {
    kind: &'static str,
    /// Whether the attempt may be settled by it.
    is_settled_by_it: bool,
    account: &'f str,
    call: &'f CallRecord,
    attempt: Option<&'f Dialled>,
    detail: String,
}

impl Found<'_> {
    const fn action(&self) -> &'static str {
        if self.is_settled_by_it { "settle" } else { "find out who dials, and why" }
    }
}

/// Compares calls since an instant, and settles with `--apply` those that are over at Twilio.
///
/// # Errors
/// As [`super::run`].
pub(super) async fn run(
    app: &App,
    renters: &[Renter],
    since: DateTime<Utc>,
    args: &Args,
    counts: &mut Map<String, Value>,
) -> Result<Exit> {
    let (records, mut exit) = read(app, renters, since).await?;
    let mut tx = app.db().await?.read().await?;
    let owners: HashMap<String, String> = numbers::owners(&mut tx).await?.into_iter().collect();
    let phones: HashSet<&str> = records.iter().map(|(_, call)| call.to.as_str()).collect();
    let phones: Vec<&str> = phones.into_iter().collect();
    let dialled = dialled::to_phones(&mut tx, &phones, since - TimeDelta::hours(1)).await?;
    drop(tx);
    let found = compare(app.clock.now(), &records, &owners, &dialled);
    show(app, args, &found)?;
    let count = |kind| found.iter().filter(|one| one.kind == kind).count();
    counts.extend(counted([ENDED_THERE, UNKNOWN_HERE, REPEATED].map(|kind| (kind, count(kind)))));
    if !found.is_empty() {
        exit = exit.or(Exit::Findings);
    }
    let ended: Vec<settle::Ended<'_>> = found
        .iter()
        .filter(|one| one.is_settled_by_it)
        .filter_map(|one| Some(settle::Ended { attempt_id: &one.attempt?.id, call: one.call }))
        .collect();
    if !args.apply || ended.is_empty() {
        return Ok(exit);
    }
    // These are no numbers of an account, so that the share of them says nothing.
    if ended.len() > args.max_changes && !args.force {
        let (count, most) = (ended.len(), args.max_changes);
        let failure = Failure::refused(format!("{count} are to be settled, and --max-changes allows {most}"));
        return Err(failure.hint("look at the plan; --force allows it").into());
    }
    if args.consent.ask(app, ended.len(), &format!("settle {} calls", ended.len()))? == Answer::PlanOnly {
        return Ok(exit.or(PLAN_SHOWN));
    }
    let settled = settle::settle(app, &ended).await?;
    app.printer.say(format!("{settled} of {} attempts are settled", ended.len()));
    counts.insert("settled".to_owned(), json!(settled));
    if settled < ended.len() {
        return Ok(exit.or(Exit::Partial));
    }
    let is_all = found.len() == settled && exit == Exit::Findings;
    Ok(if is_all { Exit::Success } else { exit })
}

/// Every call to a phone that somebody placed since, with the account here that shows it.
async fn read(app: &App, renters: &[Renter], since: DateTime<Utc>) -> Result<(Vec<(String, CallRecord)>, Exit)> {
    let mut records: Vec<(String, CallRecord)> = Vec::new();
    let mut exit = Exit::Success;
    let mut seen = BTreeSet::new();
    for renter in renters {
        let (accounts, unlisted) = renter.client.accounts().await.map_err(|error| explain(&renter.name, &error))?;
        if let Some(error) = unlisted {
            app.printer.warn(format!("account {}: its subaccounts cannot be listed: {error}", renter.name));
            exit = exit.or(Exit::Partial);
        }
        for account in accounts.iter().filter(|one| !one.is_closed() && !renter.others.contains(&one.sid)) {
            if !seen.insert(account.sid.clone()) {
                continue;
            }
            let filter = CallFilter { since: Some(since.date_naive()), ..CallFilter::default() };
            let take = |call: CallRecord| {
                let is_to_phone = call.to.strip_prefix('+').is_some_and(|to| to.bytes().all(|b| b.is_ascii_digit()));
                // The service's filter knows days only.
                let is_recent = call.started_at.is_some_and(|started_at| started_at >= since);
                if is_to_phone && is_recent && !call.is_inbound && !call.is_leg {
                    records.push((renter.name.clone(), call));
                }
            };
            match renter.client.calls(&account.sid, filter, take).await {
                Ok(()) => {}
                Err(error @ ReadError::Unauthorized { .. }) if account.sid != renter.client.account_sid() => {
                    app.printer.warn(format!("account {}: {} is left out: {error}", renter.name, account.sid));
                    exit = exit.or(Exit::Partial);
                }
                Err(error) => return Err(explain(&renter.name, &error).into()),
            }
        }
    }
    Ok((records, exit))
}

fn compare<'f>(
    now: DateTime<Utc>,
    records: &'f [(String, CallRecord)],
    owners: &'f HashMap<String, String>,
    dialled: &'f [Dialled],
) -> Vec<Found<'f>> {
    let owner = |call: &'f CallRecord| owners.get(&call.from).map(String::as_str);
    let placed: Vec<Placed<'_>> = records
        .iter()
        .filter_map(|(_, call)| {
            Some(Placed { id: &call.sid, to: &call.to, tenant: owner(call), started_at: call.started_at? })
        })
        .collect();
    let attempted = |attempt: &'f Dialled| Attempted {
        id: &attempt.id,
        to: &attempt.phone,
        tenant: &attempt.tenant,
        at: attempt.placing_at,
    };
    let attempt_of = matched(&placed, &dialled.iter().map(attempted).collect::<Vec<_>>());
    let by_id: HashMap<&str, &Dialled> = dialled.iter().map(|attempt| (attempt.id.as_str(), attempt)).collect();
    let before: HashMap<&str, &str> = repeated(&placed).into_iter().map(|(one, next)| (next, one)).collect();
    let mut found = Vec::new();
    for (account, call) in records {
        let attempt = attempt_of.get(call.sid.as_str()).and_then(|id| by_id.get(id).copied());
        let mut add = |kind, is_settled_by_it, detail: String| {
            found.push(Found { kind, is_settled_by_it, account, call, attempt, detail });
        };
        match attempt {
            None => add(UNKNOWN_HERE, false, format!("from {}", call.from)),
            Some(attempt) if is_live(attempt.state) && is_over(call, now) => {
                let is_ours = owner(call) == Some(&attempt.tenant);
                let detail = format!("{} here, {} there, from {}", attempt.state, call.status, call.from);
                add(ENDED_THERE, is_ours && agrees(attempt.state, call), detail);
            }
            Some(_) => {}
        }
        if let Some(before) = before.get(call.sid.as_str()) {
            add(REPEATED, false, format!("soon after {before}"));
        }
    }
    found
}

/// Whether an attempt is live by the word of its provider. One that is unknown is not settled by a call that bears no name of
/// ours.
const fn is_live(state: AttemptState) -> bool {
    matches!(state, AttemptState::Placed | AttemptState::Answered)
}

/// Whether a call can be the one of an attempt: nobody is busy who has answered.
fn agrees(state: AttemptState, call: &CallRecord) -> bool {
    state != AttemptState::Answered || call.outcome() == Some(Outcome::Answered)
}

fn is_over(call: &CallRecord, now: DateTime<Utc>) -> bool {
    call.outcome().is_some()
        && call.ended_at.or(call.started_at).is_some_and(|ended_at| now - ended_at >= SETTLED_AFTER)
}

fn show(app: &App, args: &Args, found: &[Found<'_>]) -> Result<()> {
    let columns = ["kind", "to", "started_at", "status", "action", "detail", "attempt", "account", "call"];
    let shown = if app.printer.is_table() { &columns[..6] } else { &columns[..] };
    let mut rows = Rows::new(shown);
    // What is to be settled is shown whole.
    let (settled, rest): (Vec<_>, Vec<_>) = found.iter().partition(|one| args.apply && one.is_settled_by_it);
    let left = args.limit.saturating_sub(settled.len());
    for one in settled.into_iter().chain(rest.into_iter().take(left)) {
        let mut row = vec![
            json!(one.kind),
            json!(one.call.to),
            instant(one.call.started_at),
            json!(one.call.status),
            json!(one.action()),
            json!(one.detail),
            json!(one.attempt.map(|attempt| &attempt.id)),
            json!(one.account),
            json!(one.call.sid),
        ];
        row.truncate(shown.len());
        rows.push(row);
    }
    app.printer.rows(&rows)?;
    if found.len() > rows.len() {
        app.printer.say(format!("only {} of {} are shown; --limit shows more", rows.len(), found.len()));
    }
    Ok(())
}
