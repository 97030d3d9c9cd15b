//! Settling what is unknown: by the provider's own records, and never by time alone.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::TimeDelta;

use super::{observe, raise};
use crate::app::App;
use crate::commands::calling::ask::learn;
use crate::commands::calling::counts::Counts;
use crate::commands::calling::directory::Directory;
use crate::commands::calling::provider::{Provider, in_time};
use crate::domain::call::Evidence;
use crate::domain::dial::CallReport;
use crate::domain::evidence::Seen;
use crate::domain::settle::{self, Absence, Reading};
use crate::error::Exit;
use crate::fail_point;
use crate::providers::http::ReadError;
use crate::store::attempts::{self, Attempt};

/// Unknown attempts sent further apart than this are looked for in listings of their own.
const CLUSTER_HOURS: i64 = 2;

pub(super) async fn settle_unknown(
    app: &App,
    directory: &mut Directory,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let due = attempts::unknown_due(&mut tx, app.clock.now()).await?;
    drop(tx);
    // One listing answers for every attempt of a line and agent.
    let mut groups: BTreeMap<(String, Option<String>, Option<String>), Vec<Attempt>> = BTreeMap::new();
    for attempt in due {
        let key = (attempt.account.clone(), attempt.line.clone(), attempt.agent.clone());
        groups.entry(key).or_default().push(attempt);
    }
    for ((account, line, agent), group) in groups {
        if app.clock.monotonic() >= stop_at {
            break;
        }
        let Some(client) = directory.probed(app, &account, stop_at, counts).await? else { continue };
        if !client.proves_absence() {
            if !look_for_each(app, directory, &client, group, stop_at, counts).await? {
                return Ok(());
            }
            continue;
        }
        for cluster in clusters(group) {
            if app.clock.monotonic() >= stop_at {
                return Ok(());
            }
            let whose = (account.as_str(), line.as_deref(), agent.as_deref());
            settle_group(app, directory, &client, whose, cluster, stop_at, counts).await?;
        }
    }
    Ok(())
}

/// Looks for attempts one by one, by their names, where not being found proves nothing: what is found is learned, what
/// is not is looked for again until it is given up. Yields whether there was time for all of them.
async fn look_for_each(
    app: &App,
    directory: &Directory,
    client: &Provider,
    group: Vec<Attempt>,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<bool> {
    let timeout = app.config.request_timeout.to_delta();
    let mut is_silent = false;
    for attempt in group {
        if app.clock.monotonic() >= stop_at {
            return Ok(false);
        }
        // Who cannot be asked now is asked by the next sweep, but for what is given up by now.
        if is_silent && attempt.deadline_at.is_none_or(|deadline| deadline > app.clock.now()) {
            continue;
        }
        let sent = attempt.placing_at.unwrap_or(attempt.claimed_at);
        let (from, to) = settle::range(sent, sent, timeout);
        fail_point::hit("sweep.look_for");
        let question = client.find(&attempt.id, attempt.line.as_deref(), attempt.agent.as_deref(), from, to);
        let found = match if is_silent { Ok(None) } else { in_time(&app.clock, stop_at, question).await } {
            Ok(found) => found,
            // The account was asked something harmless before, and answered: it is about this one, and the others are
            // looked for all the same.
            Err(error) => {
                is_silent =
                    matches!(error, ReadError::RateLimited { .. } | ReadError::Unreachable { status: None, .. });
                counts.problem(Exit::Unreachable, format!("attempt {}: {error}", attempt.id));
                if is_silent && attempt.deadline_at.is_none_or(|deadline| deadline > app.clock.now()) {
                    continue;
                }
                None
            }
        };
        let now = app.clock.now();
        if let Some(report) = found.filter(|report| Seen::from_report(report, now).is_some()) {
            learn(app, directory, &attempt, report, counts).await?;
            counts.add("found", 1);
            continue;
        }
        let ask_again_at = settle::look_again_at(attempt.request_ended_at.unwrap_or(sent + timeout), now);
        let wait = settle::Step::Wait { counts_as_absent: None, forget: false, ask_again_at };
        take_step(app, &attempt, wait, counts).await?;
    }
    Ok(true)
}

/// Attempts in groups whose times of sending lie close together: one listing covers a group without reading the hours
/// in between.
fn clusters(mut attempts: Vec<Attempt>) -> Vec<Vec<Attempt>> {
    let sent = |attempt: &Attempt| attempt.placing_at.unwrap_or(attempt.claimed_at);
    attempts.sort_by_key(sent);
    let mut clusters: Vec<Vec<Attempt>> = Vec::new();
    for attempt in attempts {
        match clusters.last_mut() {
            Some(cluster)
                if cluster.last().is_some_and(|last| sent(&attempt) - sent(last) < TimeDelta::hours(CLUSTER_HOURS)) =>
            {
                cluster.push(attempt);
            }
            _ => clusters.push(vec![attempt]),
        }
    }
    clusters
}

async fn settle_group(
    app: &App,
    directory: &Directory,
    client: &Provider,
    (account, line, agent): (&str, Option<&str>, Option<&str>),
    group: Vec<Attempt>,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let timeout = app.config.request_timeout.to_delta();
    let sent = |attempt: &Attempt| attempt.placing_at.unwrap_or(attempt.claimed_at);
    let (Some(first), Some(last)) = (group.iter().map(sent).min(), group.iter().map(sent).max()) else { return Ok(()) };
    let (from, to) = settle::range(first, last, timeout);
    fail_point::hit("sweep.list");
    let listing = match in_time(&app.clock, stop_at, async { Ok(client.list(line, agent, from, to).await) }).await {
        Ok(listing) => listing,
        // They are asked about again by the next run.
        Err(error) => return directory.read_failed(app, account, &error, counts).await,
    };
    fail_point::hit("sweep.listed");
    let now = app.clock.now();
    if let Some(error) = &listing.gap {
        directory.read_failed(app, account, error, counts).await?;
    }
    let by_name: HashMap<&str, &CallReport> =
        listing.calls.iter().filter_map(|call| Some((call.correlation.as_deref()?, call))).collect();
    let shown: Vec<&str> = listing.calls.iter().map(|call| call.provider_call_id.as_str()).collect();
    let mut tx = app.db().await?.read().await?;
    let controls = attempts::control_calls(&mut tx, account, line, agent, from, to).await?;
    drop(tx);
    for attempt in group {
        if let Some(report) = by_name.get(attempt.id.as_str())
            && Seen::from_report(report, now).is_some()
        {
            learn(app, directory, &attempt, (*report).clone(), counts).await?;
            counts.add("found", 1);
            continue;
        }
        let stranger = listing.calls.iter().find(|call| {
            call.to.as_deref() == Some(attempt.phone.as_str())
                && call.created_at.is_some_and(|at| at >= sent(&attempt) - TimeDelta::seconds(60))
                && !is_ours(call)
        });
        let reading = Reading {
            is_complete: listing.gap.is_none(),
            provider_date: listing.provider_date,
            same_organisation: attempt.org_id.is_some()
                && listing.calls.iter().all(|call| call.org_id == attempt.org_id)
                && !listing.calls.is_empty(),
            shows_control: !controls.is_empty() && controls.iter().all(|id| shown.contains(&id.as_str())),
            shows_stranger: stranger.is_some(),
        };
        let facts = Absence {
            request_ended_at: attempt.request_ended_at.unwrap_or_else(|| sent(&attempt) + timeout),
            absences: attempt.absences,
            first_seen_at: attempt.absence_seen_at,
        };
        let step = settle::step(&facts, &reading, now);
        if let Some(call) = stranger {
            let detail = format!("the provider shows a call {} to it that is not ours by name", call.provider_call_id);
            raise(app, "unnamed_call", &format!("attempt:{}", attempt.id), &detail).await?;
            counts.problem(Exit::Findings, format!("attempt {}: {detail}", attempt.id));
        }
        take_step(app, &attempt, step, counts).await?;
    }
    Ok(())
}

/// Whether a call bears the name of an attempt: 26 characters of a ULID.
fn is_ours(call: &CallReport) -> bool {
    call.correlation.as_deref().is_some_and(|name| ulid::Ulid::from_string(name).is_ok())
}

async fn take_step(app: &App, attempt: &Attempt, step: settle::Step, counts: &mut Counts) -> anyhow::Result<()> {
    let now = app.clock.now();
    match step {
        settle::Step::ProvenAbsent => {
            let reason = "two complete readings of the provider do not show it".to_owned();
            counts.add("proven_absent", observe(app, attempt, Evidence::Provider, Seen::NotSent { reason }).await?);
        }
        settle::Step::Wait { counts_as_absent, forget, ask_again_at } => {
            let given_up = attempt.deadline_at.is_some_and(|deadline| deadline <= now);
            if given_up {
                let reason = "unknown for 24 hours".to_owned();
                counts.add("lost", observe(app, attempt, Evidence::Timer, Seen::Lost { reason }).await?);
                return Ok(());
            }
            app.db()
                .await?
                .write(async |tx| {
                    if forget {
                        attempts::forget_absences(tx, &attempt.id, now).await?;
                    }
                    if let Some(seen_at) = counts_as_absent {
                        attempts::absent(tx, &attempt.id, seen_at, now).await?;
                    }
                    attempts::polled(tx, &attempt.id, ask_again_at, None, now).await
                })
                .await?;
            counts.add("still_unknown", 1);
        }
    }
    Ok(())
}
