//! Asking the providers what became of calls, and recording what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};

use super::counts::Counts;
use super::directory::{Directory, held_until};
use super::provider::{Provider, in_time};
use crate::app::App;
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::conversation::{Asked, ConversationStatus, Unfinished};
use crate::domain::dial::{CallReport, ProviderState};
use crate::domain::evidence::{Ending, Observation, Seen};
use crate::domain::outcome::Outcome;
use crate::domain::settle;
use crate::error::Exit;
use crate::fail_point;
use crate::providers::http::ReadError;
use crate::store::attempts::{self, Attempt};
use crate::store::conversations::{self, Told};
use crate::store::{evidence, setup};

/// How many reads of one provider are under way at once.
const READS_AT_ONCE: usize = 8;
/// A provider that fails so often in a row is left alone for the rest of the run.
const MOST_FAILURES_IN_A_ROW: usize = 2 * READS_AT_ONCE;
/// The most calls that are looked for by name in one run.
const MOST_BY_NAME: usize = 50;
/// How far from the time of sending a call is looked for by name.
const FOUND_WITHIN_MINUTES: i64 = 2;
/// The most observations recorded in one transaction.
pub(super) const BATCH: usize = 50;

/// What it means that a provider has nothing to say of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing; it is asked again later.
    AskAgain,
    /// The deadline decides.
    TimeOut,
}

/// Asks the providers about attempts, each about its own and all at once, and records what they say in batches. What was
/// not asked by `stop_at` on the monotonic clock is asked by a later run.
pub(super) async fn ask(
    app: &App,
    directory: &mut Directory,
    due: Vec<Attempt>,
    silence: Silence,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let mut by_account: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
    for attempt in due {
        by_account.entry(attempt.account.clone()).or_default().push(attempt);
    }
    let mut asked = Vec::new();
    for (account, due) in by_account {
        let client = match silence {
            Silence::AskAgain => directory.client(app, &account, counts).await?,
            Silence::TimeOut => directory.probed(app, &account, stop_at, counts).await?,
        };
        let Some(client) = client else { continue };
        let due = if client.keeps_records() { due } else { only_live(app, due, counts).await? };
        asked.push((account, client, due));
    }
    let directory = &*directory;
    // A provider that is slow keeps only its own accounts waiting.
    let asked = asked.into_iter().map(|(account, client, due)| async move {
        let mut counts = Counts::default();
        ask_one(app, directory, (&account, &client), due, silence, stop_at, &mut counts).await?;
        anyhow::Ok(counts)
    });
    for result in futures_util::future::join_all(asked).await {
        counts.merge(result?);
    }
    Ok(())
}

/// Asks one provider. One record that cannot be read is about one call, and the others are asked about all the same; a
/// provider that does not answer at all, or asks for fewer questions, is left alone for the rest of the run.
async fn ask_one(
    app: &App,
    directory: &Directory,
    (account, client): (&str, &Provider),
    due: Vec<Attempt>,
    silence: Silence,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let question = |attempt: Attempt| async move {
        let answer = in_time(&app.clock, stop_at, look_up(app, client, &attempt)).await;
        (attempt, answer)
    };
    let mut left = due.len();
    let (named, nameless): (Vec<_>, Vec<_>) = due.into_iter().partition(|attempt| attempt.provider_call_id.is_some());
    // Who is looked for by name is looked for in a listing, which is large: one at a time, and some of them.
    let nameless = nameless.into_iter().take(MOST_BY_NAME).map(question);
    let mut answers = stream::iter(named.into_iter().map(question))
        .buffer_unordered(READS_AT_ONCE)
        .chain(stream::iter(nameless).buffer_unordered(1))
        .ready_chunks(BATCH);
    let (mut doubtful, mut in_a_row, mut has_answered) = (Vec::new(), 0, false);
    while let Some(batch) = answers.next().await {
        let (mut learned, mut unusable, mut limit) = (Vec::new(), Vec::new(), None);
        let is_late = app.clock.monotonic() >= stop_at;
        left -= batch.iter().filter(|(_, answer)| answer.is_ok() || !is_late).count();
        for (attempt, answer) in batch {
            match answer {
                Ok(report) => learned.push((attempt, report)),
                Err(ReadError::Broken { .. }) => {
                    unusable.push((attempt, "the provider's record of its call cannot be used".to_owned()));
                }
                Err(error @ ReadError::RateLimited { .. }) => limit = Some(error),
                // It was cut off by the end of the run.
                Err(_) if is_late => {}
                Err(error) => {
                    in_a_row += 1;
                    doubtful.push((attempt, error));
                }
            }
        }
        if !learned.is_empty() || !unusable.is_empty() {
            (in_a_row, has_answered) = (0, true);
        }
        put_off(app, unusable, counts).await?;
        learn_all(app, directory, learned, silence, counts).await?;
        if let Some(error) = limit {
            directory.read_failed(app, account, &error, counts).await?;
            break;
        }
        if is_late || in_a_row >= MOST_FAILURES_IN_A_ROW {
            break;
        }
    }
    counts.add("left_for_the_next_run", left as u64);
    if doubtful.is_empty() {
        return Ok(());
    }
    // A key that is taken, and a provider that answers, show that it is about these calls.
    match if has_answered { Ok(()) } else { in_time(&app.clock, stop_at, client.probe()).await.map(drop) } {
        Ok(()) => put_off(app, doubtful.into_iter().map(|(a, error)| (a, error.to_string())).collect(), counts).await,
        Err(_) if app.clock.monotonic() >= stop_at => Ok(()),
        Err(error) => directory.read_failed(app, account, &error, counts).await,
    }
}

/// Those that go on. The others are with a provider that keeps no records: there is nothing to ask for.
async fn only_live(app: &App, due: Vec<Attempt>, counts: &mut Counts) -> anyhow::Result<Vec<Attempt>> {
    let (live, over): (Vec<_>, Vec<_>) = due.into_iter().partition(|attempt| attempt.state.is_live());
    for batch in over.chunks(BATCH) {
        let now = app.clock.now();
        let ids: Vec<&str> = batch.iter().map(|attempt| attempt.id.as_str()).collect();
        let settled = app.db().await?.write(async |tx| {
            evidence::lock(tx, &ids).await?;
            let mut settled = 0;
            for attempt in batch {
                let asked = conversations::unfinished(tx, &attempt.id, Unfinished::NoneKept, now).await?;
                settled += u64::from(asked.is_some());
            }
            Ok(settled)
        });
        counts.add("conversations_completed", settled.await?);
    }
    Ok(live)
}

/// The provider's record of an attempt, by the provider's id of the call, or by our name of one that is over.
async fn look_up(app: &App, client: &Provider, attempt: &Attempt) -> Result<Option<CallReport>, ReadError> {
    match (attempt.provider_call_id.as_deref(), attempt.placing_at) {
        (Some(id), _) => client.fetch(id).await,
        (None, Some(sent)) if !attempt.state.is_live() => {
            // Its clock and ours differ by less than a minute, or nothing would have been sent.
            let margin = TimeDelta::minutes(FOUND_WITHIN_MINUTES);
            let (from, to) = (sent - margin, sent + app.config.request_timeout.to_delta() + margin);
            client.find(&attempt.id, attempt.line.as_deref(), attempt.agent.as_deref(), from, to).await
        }
        (None, _) => Ok(None),
    }
}

/// Asks about calls again later whose records cannot be had at the moment, for these reasons.
async fn put_off(app: &App, attempts: Vec<(Attempt, String)>, counts: &mut Counts) -> anyhow::Result<()> {
    let now = app.clock.now();
    for batch in attempts.chunks(BATCH) {
        let ids: Vec<&str> = batch.iter().map(|(attempt, _)| attempt.id.as_str()).collect();
        let given_up = app
            .db()
            .await?
            .write(async |tx| {
                evidence::lock(tx, &ids).await?;
                let mut given_up = 0;
                for (attempt, reason) in batch {
                    attempts::polled(tx, &attempt.id, now + settle::poll_after(attempt.polls), None, now).await?;
                    let what = Unfinished::Missing(reason.clone());
                    given_up += is_given_up(conversations::unfinished(tx, &attempt.id, what, now).await?);
                }
                Ok(given_up)
            })
            .await?;
        counts.add("conversations_failed", given_up);
    }
    for (attempt, reason) in attempts {
        counts.problem(Exit::Unreachable, format!("attempt {}: {reason}", attempt.id));
    }
    Ok(())
}

/// Records a batch of answers in one transaction.
pub(super) async fn learn_all(
    app: &App,
    directory: &Directory,
    answers: Vec<(Attempt, Option<CallReport>)>,
    silence: Silence,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    fail_point::hit("sweep.learn");
    let now = app.clock.now();
    let mut observations = Vec::new();
    let mut silent = Vec::new();
    for (attempt, report) in &answers {
        let observation = |by, seen| Observation { attempt_id: attempt.id.clone(), by, at: now, seen };
        let telling = report.as_ref().filter(|report| says_something(attempt, report, now));
        match telling.and_then(|report| Seen::from_report(report, now)) {
            Some(seen) => observations.push(observation(Evidence::Provider, seen)),
            // Not found says nothing; only the deadline may.
            None if silence == Silence::TimeOut => {
                observations.push(observation(Evidence::Timer, Seen::Ended(Ending::timeout(now))));
            }
            None => silent.push(attempt),
        }
    }
    let ids: Vec<&str> = answers.iter().map(|(attempt, _)| attempt.id.as_str()).collect();
    let (applied, given_up) = app
        .db()
        .await?
        .write(async |tx| {
            evidence::lock(tx, &ids).await?;
            for attempt in &silent {
                attempts::polled(tx, &attempt.id, now + settle::poll_after(attempt.polls), None, now).await?;
            }
            let applied = evidence::apply(tx, &observations, now).await?;
            let mut given_up = 0;
            for (attempt, report) in &answers {
                if let Some(what) = unfinished(attempt, report.as_ref()) {
                    given_up += is_given_up(conversations::unfinished(tx, &attempt.id, what, now).await?);
                }
            }
            Ok((applied, given_up))
        })
        .await?;
    counts.add("conversations_failed", given_up);
    counts.add(
        "conversations_completed",
        applied.iter().filter(|applied| applied.conversation == Told::TheRest).count() as u64,
    );
    for (observation, applied) in observations.iter().zip(&applied) {
        match (&observation.seen, observation.by) {
            (Seen::Ended(_), Evidence::Timer) => counts.add("timed_out", u64::from(applied.moved)),
            (Seen::Ended(ending), _) => {
                counts.add("ended", u64::from(applied.moved));
                if applied.moved && ending.outcome == Outcome::AccountError {
                    let attempt = answers.iter().find(|(attempt, _)| attempt.id == observation.attempt_id);
                    if let Some((attempt, _)) = attempt {
                        let reason = ending.reason.as_deref().unwrap_or_default();
                        account_at_fault(app, directory, &attempt.account, reason, counts).await?;
                    }
                }
            }
            _ => counts.add("live", 1),
        }
    }
    Ok(())
}

/// Whether a record says something of an attempt. One that goes on saying only that there is a call says so of a phone
/// that nobody picks up, too: past the deadline it is as good as silence.
fn says_something(attempt: &Attempt, report: &CallReport, now: DateTime<Utc>) -> bool {
    match attempt.state {
        _ if report.state != ProviderState::Announced => true,
        AttemptState::Placing | AttemptState::Unknown => true,
        AttemptState::Placed => attempt.deadline_at.is_some_and(|deadline| deadline > now),
        _ => false,
    }
}

/// What an answer leaves open of the record of an attempt that is over; none when it completes it, or the call goes on.
fn unfinished(attempt: &Attempt, report: Option<&CallReport>) -> Option<Unfinished> {
    match report {
        Some(report) if report.is_complete => None,
        Some(report) if report.state == ProviderState::Ended => Some(Unfinished::Incomplete),
        _ if attempt.state.is_live() => None,
        Some(report) => Some(Unfinished::Missing(format!("the provider shows the call as {}", report.state.as_str()))),
        None => Some(Unfinished::Missing("the provider does not know the call".to_owned())),
    }
}

fn is_given_up(asked: Option<Asked>) -> u64 {
    u64::from(asked.is_some_and(|asked| asked.status == ConversationStatus::Failed))
}

/// Holds an account back of which a call ended because the account itself was at fault.
async fn account_at_fault(
    app: &App,
    directory: &Directory,
    account: &str,
    reason: &str,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let now = app.clock.now();
    let is_limit = reason.contains("concurrency-limit");
    if is_limit {
        let until = held_until(now, 0);
        app.db().await?.write(async |tx| setup::hold_account(tx, account, until, reason, 0).await).await?;
    } else {
        directory.hold(app, account, reason).await?;
        counts.problem(Exit::Configuration, format!("account {account}: {reason}"));
    }
    Ok(())
}

/// Records what a provider says of one attempt, and what follows for its account.
pub(super) async fn learn(
    app: &App,
    directory: &Directory,
    attempt: &Attempt,
    report: CallReport,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    learn_all(app, directory, vec![(attempt.clone(), Some(report))], Silence::AskAgain, counts).await
}
