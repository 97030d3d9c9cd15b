//! Settling what is unclear: evidence first, deadlines after.

mod unknown;

use std::time::Duration;

use chrono::TimeDelta;

use self::unknown::settle_unknown;
use super::ask::{BATCH, Silence, ask, learn, learn_all};
use super::counts::Counts;
use super::dial::LEASE_SECONDS;
use super::directory::Directory;
use super::inbox::MATCH_WITHIN;
use super::provider::{in_time, longest_dial};
use crate::app::{App, clock_step};
use crate::domain::call::Evidence;
use crate::domain::evidence::{Ending, Observation, Seen};
use crate::error::Exit;
use crate::fail_point;
use crate::store::attempts::{self, Attempt, Outlook};
use crate::store::{self, Tx, claims, conversations, evidence, runs};

/// The most calls that go on, and the most that are over, asked about at one account in one run.
const MOST_POLLS: i64 = 2000;
/// A call that was taken back and that the provider does not show any more is over after this long.
const GONE_AFTER_MINUTES: i64 = 10;
/// How long a pause or a stop waits for providers to take back what they hold; a sweep goes on with the rest.
const TAKE_BACK_WITHIN: Duration = Duration::from_secs(50);
/// Unknown attempts older than this are findings.
pub const OLD_UNKNOWN_SECONDS: i64 = 15 * 60;

/// Settles everything that is past a deadline or unknown. What cannot be asked is left as it is. No timer says that a
/// call is over, or lost, before our clock was compared with that of the provider; it may say before that a claim was
/// given up, which its owner then finds, and that nothing is known of an attempt.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn sweep(app: &App, directory: &mut Directory, stop_at: Duration, counts: &mut Counts) -> anyhow::Result<()> {
    fail_point::hit("sweep.void_abandoned");
    void_abandoned(app, counts).await?;
    fail_point::hit("sweep.doubt_silent");
    doubt_silent(app, directory, counts).await?;
    // Before the unknown ones, whose listings take longer: what a provider holds back could ring any moment.
    fail_point::hit("sweep.settle_overdue");
    settle_overdue(app, directory, stop_at, counts).await?;
    fail_point::hit("sweep.settle_unknown");
    settle_unknown(app, directory, stop_at, counts).await?;
    let mut tx = app.db().await?.read().await?;
    let old = attempts::old_unknowns(&mut tx, app.clock.now() - TimeDelta::seconds(OLD_UNKNOWN_SECONDS)).await?;
    if old > 0 {
        counts.problem(Exit::Findings, format!("{old} attempts are unknown for more than 15 minutes"));
    }
    if let Some(step) = clock_step(&app.clock) {
        counts.problem(Exit::Configuration, step);
    }
    Ok(())
}

/// What a run would find to do, without doing it.
///
/// # Errors
/// When the database cannot be asked.
pub async fn look(app: &App, tx: &mut Tx) -> store::Result<Outlook> {
    let now = app.clock.now();
    let old_before = now - TimeDelta::seconds(OLD_UNKNOWN_SECONDS);
    attempts::outlook(tx, now, now - patience(app), old_before, now - MATCH_WITHIN).await
}

/// How long the owner of an attempt may be silent in the middle of sending.
fn patience(app: &App) -> TimeDelta {
    app.config.request_timeout.to_delta() + TimeDelta::seconds(LEASE_SECONDS)
}

/// Asks the providers about every call that is due to be asked about, those that go on first, and records what they say.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn collect(
    app: &App,
    directory: &mut Directory,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let now = app.clock.now();
    let (mut live, mut over) = (Vec::new(), Vec::new());
    for account in directory.names() {
        live.extend(attempts::polls_due(&mut tx, &account, now, MOST_POLLS).await?);
        over.extend(conversations::due(&mut tx, &account, now, MOST_POLLS).await?);
    }
    drop(tx);
    // Calls that are over wait behind those that go on, which hold phones and lines.
    ask(app, directory, live, Silence::AskAgain, stop_at, counts).await?;
    ask(app, directory, over, Silence::AskAgain, stop_at, counts).await
}

/// Asks the providers about these attempts now, whenever they are due, and records what they say.
///
/// # Errors
/// As [`collect`].
pub async fn collect_now(
    app: &App,
    directory: &mut Directory,
    attempts: Vec<Attempt>,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    ask(app, directory, attempts, Silence::AskAgain, stop_at, counts).await
}

/// Claims whose owner never committed them: provably nothing was sent.
async fn void_abandoned(app: &App, counts: &mut Counts) -> anyhow::Result<()> {
    let now = app.clock.now();
    let mut tx = app.db().await?.read().await?;
    let abandoned = claims::abandoned_claims(&mut tx, now).await?;
    drop(tx);
    let observations: Vec<Observation> = abandoned
        .into_iter()
        .map(|(attempt_id, lease_until)| Observation {
            attempt_id,
            by: Evidence::Timer,
            // By its owner's clock, which was compared with others; ours may be wrong still.
            at: lease_until,
            seen: Seen::Void { reason: "the lease of its run ended".to_owned() },
        })
        .collect();
    counts.add("abandoned", record(app, &observations).await?);
    Ok(())
}

/// Attempts whose owner fell silent in the middle of sending: they may have rung.
async fn doubt_silent(app: &App, directory: &Directory, counts: &mut Counts) -> anyhow::Result<()> {
    let now = app.clock.now();
    let mut tx = app.db().await?.read().await?;
    let silent = attempts::silent(&mut tx, now - patience(app)).await?;
    drop(tx);
    // Some providers answer when the phone has rung.
    let longest = |attempt: &Attempt| {
        let provider = directory.account(&attempt.account).map_or("", |account| account.provider.as_str());
        let longest = longest_dial(provider, app.config.request_timeout.to_std());
        TimeDelta::from_std(longest).unwrap_or(TimeDelta::MAX)
    };
    let observations: Vec<Observation> = silent
        .into_iter()
        .filter(|attempt| {
            attempt.placing_at.is_none_or(|sent| now - sent >= longest(attempt) + TimeDelta::seconds(LEASE_SECONDS))
        })
        .map(|attempt| Observation {
            // The request was over at the latest when its time was up.
            at: attempt.placing_at.map_or(now, |sent| sent + longest(&attempt)),
            attempt_id: attempt.id,
            by: Evidence::Timer,
            seen: Seen::Unknown { reason: "its run ended before the answer was recorded".to_owned() },
        })
        .collect();
    counts.add("went_unknown", record(app, &observations).await?);
    Ok(())
}

/// Takes back every call that a provider holds for a tenant, a campaign or anybody: it must not ring after a pause or
/// a stop. What cannot be taken back now is tried again by every sweep.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn take_back_held(
    app: &App,
    tenant: Option<&str>,
    campaign_id: Option<&str>,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let now = app.clock.now();
    let held = app.db().await?.write(async |tx| attempts::hurry_queued(tx, tenant, campaign_id, now).await).await?;
    if held.is_empty() {
        return Ok(());
    }
    let mut directory = Directory::load(app).await?;
    let stop_at = app.clock.monotonic() + TAKE_BACK_WITHIN;
    for attempt in held {
        take_back(app, &mut directory, &attempt, stop_at, counts).await?;
    }
    Ok(())
}

async fn settle_overdue(
    app: &App,
    directory: &mut Directory,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let overdue = attempts::overdue(&mut tx, app.clock.now()).await?;
    drop(tx);
    let (queued, silent): (Vec<Attempt>, Vec<Attempt>) = overdue.into_iter().partition(|attempt| attempt.queued);
    for attempt in queued {
        if app.clock.monotonic() >= stop_at {
            return Ok(());
        }
        take_back(app, directory, &attempt, stop_at, counts).await?;
    }
    ask(app, directory, silent, Silence::TimeOut, stop_at, counts).await
}

/// Takes back a call that the provider holds, since it could ring after the window. It stays placed until a reading
/// confirms what became of it.
async fn take_back(
    app: &App,
    directory: &mut Directory,
    attempt: &Attempt,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let now = app.clock.now();
    let (Some(client), Some(id)) =
        (directory.probed(app, &attempt.account, stop_at, counts).await?, attempt.provider_call_id.as_deref())
    else {
        return Ok(());
    };
    // It may have begun to ring since it was last looked at; then it is no longer to be taken back.
    match in_time(&app.clock, stop_at, client.fetch(id)).await {
        Ok(Some(report)) => match Seen::from_report(&report, now) {
            Some(Seen::Live { queued: true, .. }) | None => {}
            Some(_) => return learn(app, directory, attempt, report, counts).await,
        },
        Ok(None) => {}
        Err(error) => return directory.read_failed(app, &attempt.account, &error, counts).await,
    }
    app.db().await?.write(async |tx| attempts::cancel_requested(tx, &attempt.id, now).await).await?;
    fail_point::hit("sweep.take_back");
    if let Err(error) = in_time(&app.clock, stop_at, client.take_back(id)).await {
        directory.read_failed(app, &attempt.account, &error, counts).await?;
    }
    counts.add("taken_back", 1);
    match in_time(&app.clock, stop_at, client.fetch(id)).await {
        // Taken back and not shown for a while: that it never rang is likely, but nobody has seen it.
        Ok(None) if attempt.cancel_requested_at.is_some_and(|at| now - at > TimeDelta::minutes(GONE_AFTER_MINUTES)) => {
            let seen = Seen::Ended(Ending::timeout(now));
            counts.add("timed_out", observe(app, attempt, Evidence::Timer, seen).await?);
            Ok(())
        }
        Ok(report) => learn_all(app, directory, vec![(attempt.clone(), report)], Silence::AskAgain, counts).await,
        Err(error) => directory.read_failed(app, &attempt.account, &error, counts).await,
    }
}

async fn observe(app: &App, attempt: &Attempt, by: Evidence, seen: Seen) -> anyhow::Result<u64> {
    record(app, &[Observation { attempt_id: attempt.id.clone(), by, at: app.clock.now(), seen }]).await
}

/// Records observations; says how many attempts moved.
async fn record(app: &App, observations: &[Observation]) -> anyhow::Result<u64> {
    let mut moved = 0;
    for batch in observations.chunks(BATCH) {
        let now = app.clock.now();
        let applied = app.db().await?.write(async |tx| evidence::apply(tx, batch, now).await).await?;
        moved += applied.iter().filter(|applied| applied.moved).count() as u64;
    }
    Ok(moved)
}

async fn raise(app: &App, kind: &str, subject: &str, detail: &str) -> anyhow::Result<()> {
    let now = app.clock.now();
    app.db().await?.write(async |tx| runs::raise(tx, kind, subject, detail, now).await).await?;
    Ok(())
}
