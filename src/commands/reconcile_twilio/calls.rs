//! Comparing the records of calls.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::{Args, counted};
use crate::app::App;
use crate::commands::calling::counts::Counts;
use crate::commands::calling::directory::Directory;
use crate::commands::calling::sweep;
use crate::commands::renting::accounts::{Renter, explain};
use crate::commands::renting::confirming::{Answer, PLAN_SHOWN};
use crate::commands::telling::instant;
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::conversation::Record;
use crate::domain::evidence::{Ending, Observation, Seen};
use crate::domain::numbers::calls::{Attempted, Placed, matched, repeated};
use crate::error::Exit;
use crate::output::Rows;
use crate::providers::twilio::{CallFilter, CallRecord};
use crate::store::dialled::{self, Dialled};
use crate::store::{attempts, evidence};

/// How long the voice providers are asked about calls that are over at Twilio.
const ASK_FOR: Duration = Duration::from_mins(1);
/// A call that ended less than this long ago may just be being told.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(1);

/// What differs about one call.
struct Found<'f> {
    kind: &'static str,
    action: &'static str,
    account: &'f str,
    call: &'f CallRecord,
    attempt: Option<&'f Dialled>,
    detail: String,
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
) -> Result<(Exit, Map<String, Value>)> {
    let mut records: Vec<(String, CallRecord)> = Vec::new();
    let mut exit = Exit::Success;
    for renter in renters {
        let (accounts, unlisted) = renter.client.accounts().await.map_err(|error| explain(&renter.name, &error))?;
        if let Some(error) = unlisted {
            app.printer.warn(format!("account {}: its subaccounts cannot be listed: {error}", renter.name));
        }
        for account in accounts {
            let filter = CallFilter { since: Some(since.date_naive()), ..CallFilter::default() };
            let mut of_account = Vec::new();
            let result = renter.client.calls(&account.sid, filter, |call| of_account.push(call)).await;
            match result {
                Ok(()) => records.extend(of_account.into_iter().map(|call| (renter.name.clone(), call))),
                Err(error) if account.sid == renter.client.account_sid() => {
                    return Err(explain(&renter.name, &error).into());
                }
                Err(error) => {
                    app.printer.warn(format!("account {}: {} is left out: {error}", renter.name, account.sid));
                    exit = exit.or(Exit::Partial);
                }
            }
        }
    }
    // The service's filter knows days only.
    records.retain(|(_, call)| !call.is_inbound && call.started_at.is_some_and(|started_at| started_at >= since));
    let placed: Vec<Placed> = records
        .iter()
        .filter_map(|(_, call)| {
            Some(Placed { id: call.sid.clone(), to: call.to.clone(), started_at: call.started_at? })
        })
        .collect();
    let phones: HashSet<&str> = placed.iter().map(|call| call.to.as_str()).collect();
    let phones: Vec<&str> = phones.into_iter().collect();
    let mut tx = app.db().await?.read().await?;
    let dialled = dialled::to_phones(&mut tx, &phones, since - TimeDelta::hours(1)).await?;
    drop(tx);
    let found = compare(app.clock.now(), &records, &placed, &dialled);
    show(app, args, &found)?;
    let count = |kind| found.iter().filter(|one| one.kind == kind).count();
    let kinds = ["ended_there", "unknown_here", "repeated"];
    let mut counts = counted(kinds.map(|kind| (kind, count(kind))));
    if !found.is_empty() {
        exit = exit.or(Exit::Findings);
    }
    let ended: Vec<&Found<'_>> = found.iter().filter(|one| one.kind == "ended_there").collect();
    if args.apply && !ended.is_empty() {
        // These are no numbers of an account, so that the share of them says nothing.
        if ended.len() > args.max_changes && !args.force {
            let failure = crate::error::Failure::refused(format!(
                "{} are to be settled, and --max-changes allows {}",
                ended.len(),
                args.max_changes
            ));
            return Err(failure.hint("look at the plan; --force allows it").into());
        }
        if args.consent.ask(app, ended.len(), &format!("settle {} calls", ended.len()))? == Answer::PlanOnly {
            return Ok((exit.or(PLAN_SHOWN), counts));
        }
        let settled = settle(app, &ended).await?;
        app.printer.say(format!("{settled} of {} attempts are settled", ended.len()));
        counts.insert("settled".to_owned(), json!(settled));
        if settled < ended.len() {
            exit = exit.or(Exit::Partial);
        } else if found.len() == settled && exit == Exit::Findings {
            exit = Exit::Success;
        }
    }
    Ok((exit, counts))
}

fn compare<'f>(
    now: DateTime<Utc>,
    records: &'f [(String, CallRecord)],
    placed: &[Placed],
    dialled: &'f [Dialled],
) -> Vec<Found<'f>> {
    let attempted: Vec<Attempted> = dialled
        .iter()
        .map(|attempt| Attempted { id: attempt.id.clone(), to: attempt.phone.clone(), at: attempt.placing_at })
        .collect();
    let attempt_of = matched(placed, &attempted);
    let by_id: HashMap<&str, &Dialled> = dialled.iter().map(|attempt| (attempt.id.as_str(), attempt)).collect();
    let before: HashMap<&str, &str> =
        repeated(placed).into_iter().map(|(one, next)| (next.id.as_str(), one.id.as_str())).collect();
    let mut found = Vec::new();
    for (account, call) in records {
        let attempt = attempt_of.get(&call.sid).and_then(|id| by_id.get(id.as_str()).copied());
        let mut add = |kind, action, detail: String| {
            found.push(Found { kind, action, account, call, attempt, detail });
        };
        match attempt {
            None => add("unknown_here", "find out who dials", format!("from {}", call.from)),
            Some(attempt) if may_be_settled(attempt.state) && is_over(call, now) => {
                add("ended_there", "settle", format!("{} here, {} there", attempt.state, call.status));
            }
            Some(_) => {}
        }
        if let Some(before) = before.get(call.sid.as_str()) {
            add("repeated", "find out why", format!("soon after {before}"));
        }
    }
    found
}

fn may_be_settled(state: AttemptState) -> bool {
    matches!(state, AttemptState::Placed | AttemptState::Answered | AttemptState::Unknown)
}

fn is_over(call: &CallRecord, now: DateTime<Utc>) -> bool {
    call.outcome().is_some()
        && call.ended_at.or(call.started_at).is_some_and(|ended_at| now - ended_at >= SETTLED_AFTER)
}

fn show(app: &App, args: &Args, found: &[Found<'_>]) -> Result<()> {
    let mut rows = Rows::new(&["kind", "to", "started_at", "status", "action", "detail", "attempt", "account", "call"]);
    for one in found.iter().take(args.limit) {
        rows.push(vec![
            json!(one.kind),
            json!(one.call.to),
            instant(one.call.started_at),
            json!(one.call.status),
            json!(one.action),
            json!(one.detail),
            json!(one.attempt.map(|attempt| &attempt.id)),
            json!(one.account),
            json!(one.call.sid),
        ]);
    }
    app.printer.rows(&rows)?;
    if found.len() > args.limit {
        app.printer.say(format!("only {} of {} are shown; --limit shows more", args.limit, found.len()));
    }
    Ok(())
}

/// Settles attempts whose calls are over at Twilio: by their own provider's record if it has one, else by Twilio's. Yields
/// how many are over now.
async fn settle(app: &App, ended: &[&Found<'_>]) -> Result<usize> {
    let db = app.db().await?;
    let ids: Vec<&str> = ended.iter().filter_map(|one| one.attempt).map(|attempt| attempt.id.as_str()).collect();
    let mut tx = db.read().await?;
    let mut asked = Vec::new();
    for id in &ids {
        let attempt = attempts::attempt(&mut tx, id).await?;
        asked.extend(attempt.filter(|attempt| attempt.provider_call_id.is_some()));
    }
    drop(tx);
    let (mut counts, mut directory) = (Counts::default(), Directory::load(app).await?);
    let stop_at = app.clock.monotonic() + ASK_FOR;
    sweep::collect_now(app, &mut directory, asked, stop_at, &mut counts).await?;
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    let mut settled = 0;
    for one in ended {
        let (Some(attempt), Some(outcome)) = (one.attempt, one.call.outcome()) else { continue };
        let now = app.clock.now();
        let observation = Observation {
            attempt_id: attempt.id.clone(),
            by: Evidence::Provider,
            at: now,
            seen: Seen::Ended(Ending {
                provider_call_id: None,
                outcome,
                never_rang: false,
                reason: Some(format!("twilio {}", one.call.status)),
                ended_at: one.call.ended_at.unwrap_or(now),
                record: Record::default(),
            }),
        };
        let is_over = async |tx: &mut crate::store::Tx| {
            let Some(known) = attempts::attempt(tx, &attempt.id).await? else { return Ok(false) };
            if !may_be_settled(known.state) {
                return Ok(true);
            }
            let applied = evidence::apply(tx, std::slice::from_ref(&observation), now).await?;
            let is_over = applied.iter().any(|applied| applied.moved);
            if is_over {
                let detail = json!({"before": known.state.as_str(), "twilio": one.call.sid, "status": one.call.status});
                app.audit(tx, "settle-by-twilio", &format!("attempt:{}", attempt.id), detail).await?;
            }
            Ok(is_over)
        };
        settled += usize::from(db.write(is_over).await?);
    }
    Ok(settled)
}
