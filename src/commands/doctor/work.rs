//! What is going on: pauses, attempts, runs, findings.

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};

use super::Report;
use crate::app::App;
use crate::commands::explain::evidence::{length, utc};
use crate::error::Exit;
use crate::store::runs::Heartbeat;
use crate::store::{
    Tx, attempts as stored_attempts, control, conversations as stored_conversations, overview, runs as stored_runs,
    setup,
};

/// An unknown attempt older than this should have been settled by the sweep.
const OLD_UNKNOWN_SECONDS: i64 = 15 * 60;
/// A conversation that was to be asked for so long ago was forgotten.
const OVERDUE_SECONDS: i64 = 15 * 60;
/// Conversations that were given up are worth a word for so long.
const TOLD_DAYS: i64 = 2;
/// So many missed runs are no accident.
const MISSED_RUNS: i32 = 3;

/// Looks for pauses in force.
pub(super) async fn pauses(tx: &mut Tx, report: &mut Report) -> Result<()> {
    let pauses = control::pauses(tx).await?;
    if pauses.is_empty() {
        report.ok("pause", "nothing is paused");
    }
    for pause in pauses {
        let reason = pause.reason.map_or_else(String::new, |reason| format!(": {reason}"));
        report.warning(
            "pause",
            format!("{} is paused since {}{reason}", pause.scope, utc(pause.created_at)),
            "`callops resume` goes on",
        );
    }
    Ok(())
}

/// Looks for attempts that nobody settles, and for people whose time passed unserved.
pub(super) async fn attempts(tx: &mut Tx, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    match stored_attempts::old_unknowns(tx, now - TimeDelta::seconds(OLD_UNKNOWN_SECONDS)).await? {
        0 => report.ok("unknown_attempts", "none is older than 15 minutes"),
        count => report.warning(
            "unknown_attempts",
            format!("{count} older than 15 minutes: nobody knows whether their phones rang"),
            "`callops sweep-timeouts` asks the provider again; `callops resolve` takes your word",
        ),
    }
    let missed = overview::missed(tx).await?;
    if missed.is_empty() {
        report.ok("preferred_times", "nobody's passed unserved at the last check");
    } else {
        let campaigns = setup::campaigns(tx).await?;
        let parts: Vec<String> = campaigns
            .iter()
            .filter_map(|campaign| Some(format!("{} in {}", missed.get(&campaign.id)?, campaign.full_name())))
            .collect();
        report.warning(
            "preferred_times",
            format!("passed unserved at the last check: {}", parts.join(", ")),
            "they wait for the next eligible day; more capacity or a longer look_back serves more of them",
        );
    }
    Ok(())
}

/// Looks for conversations whose records nobody asks for, or which did not come.
pub(super) async fn conversations(tx: &mut Tx, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    let due_before = now - TimeDelta::seconds(OVERDUE_SECONDS);
    let since = now - TimeDelta::days(TOLD_DAYS);
    let mut is_well = true;
    for found in stored_conversations::neglected(tx, due_before, since).await? {
        let (account, check) = (&found.account, format!("conversations:{}", found.account));
        is_well &= found.overdue + found.failed == 0;
        if found.overdue > 0 {
            report.warning(
                &check,
                format!("the records of {} should have been asked for at the provider by now", found.overdue),
                format!(
                    "is `collect-outcomes` in the crontab? Run it by hand to see what it says of {account}: its key, its \
                     provider, or too many at once"
                ),
            );
        }
        if found.failed > 0 {
            report.warning(
                &check,
                format!("{} of the last {TOLD_DAYS} days were given up: their records never came", found.failed),
                "`callops list conversations --status failed` says why; `callops collect-outcomes --call ID` asks once \
                 more",
            );
        }
        if found.incomplete > 0 {
            report.ok(
                &check,
                format!(
                    "{} of the last {TOLD_DAYS} days were taken though they lack a cost or an analysis: is the agent \
                     set up to analyse?",
                    found.incomplete
                ),
            );
        }
    }
    if is_well {
        report.ok("conversations", "none is overdue, or was given up");
    }
    Ok(())
}

/// Looks at when the recurring commands last ran, and what they saw.
pub(super) async fn runs(
    app: &App,
    tx: &mut Tx,
    any_active: bool,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<()> {
    let beats = stored_runs::heartbeats(tx).await?;
    let longest = app.config.run_interval.to_delta() * MISSED_RUNS;
    for command in ["process-calls", "sweep-timeouts", "collect-outcomes"] {
        let beat = beats.iter().find(|beat| beat.command == command);
        match beat {
            Some(beat) => tick(beat, any_active, longest, now, report),
            // The others may stand in the crontab or not; `process-calls` must.
            None if command == "process-calls" && any_active => report.problem(
                Exit::Findings,
                command,
                "has never run, and campaigns are started",
                "put it into the crontab, once a minute",
            ),
            None => report.ok(command, "has never run"),
        }
    }
    Ok(())
}

fn tick(beat: &Heartbeat, any_active: bool, longest: TimeDelta, now: DateTime<Utc>, report: &mut Report) {
    let age = now - beat.last_started_at;
    let saw = beat.last_counts.as_deref().filter(|counts| *counts != "{}").unwrap_or("nothing to do");
    let ended = match beat.last_exit_code {
        Some(code) => format!("exit {code}"),
        None => "did not end".to_owned(),
    };
    let what = format!(
        "last ran at {}, {} ago, {ended}, and saw: {saw}",
        utc(beat.last_started_at),
        length(age.num_seconds())
    );
    if beat.command == "process-calls" && any_active && age > longest {
        report.problem(
            Exit::Findings,
            &beat.command,
            format!("{what}; campaigns are started, and it should run every {}", length(longest.num_seconds() / 3)),
            "look at cron: its log, its user, its PATH; run the command by hand as that user",
        );
    } else if beat.last_exit_code != Some(0) {
        report.warning(&beat.command, what, "run it by hand to see what it says");
    } else {
        report.ok(&beat.command, what);
    }
}

/// Shows the findings that stand.
pub(super) async fn findings(tx: &mut Tx, report: &mut Report) -> Result<()> {
    for finding in stored_runs::standing_findings(tx).await? {
        report.warning(
            &format!("finding:{}", finding.kind),
            format!("{}: {} (since {})", finding.subject, finding.detail, utc(finding.first_seen_at)),
            "it goes away by itself once its cause does",
        );
    }
    Ok(())
}
