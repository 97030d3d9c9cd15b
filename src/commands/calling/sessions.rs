//! Sessions: what became of conversations that others began.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::counts::Counts;
use super::directory::Directory;
use super::provider::in_time;
use super::records::{self, Processed};
use crate::app::App;
use crate::domain::conversation::{ConversationStatus, Unfinished};
use crate::domain::dial::{CallReport, ProviderState};
use crate::domain::session::SessionStatus;
use crate::error::Exit;
use crate::fail_point;
use crate::providers::http::ReadError;
use crate::store::conversations::{self, Told};
use crate::store::sessions::{self, Session};
use crate::store::{self, StoreError, Tx};

/// The most sessions asked about at one account in one run.
const MOST_AT_ONCE: i64 = 500;
/// How long a question may take for which somebody waits.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// A session that goes on is asked about again after this long.
const CHECK_AGAIN: TimeDelta = TimeDelta::minutes(10);
/// A session of which nobody said which conversation it was is over after this long.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);

/// Asks about every session whose conversation is due, and about those that nobody ended in time.
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
    let mut due = sessions::overdue(&mut tx, now, MOST_AT_ONCE).await?;
    for account in directory.names() {
        due.extend(sessions::due(&mut tx, &account, now, MOST_AT_ONCE).await?);
    }
    drop(tx);
    let mut failed: Vec<String> = Vec::new();
    for session in due {
        if app.clock.monotonic() >= stop_at {
            counts.add("left_for_the_next_run", 1);
            continue;
        }
        if failed.contains(&session.account) {
            continue;
        }
        if let Err(error) = ask(app, directory, &session, stop_at, counts).await? {
            directory.read_failed(app, &session.account, &error, counts).await?;
            failed.push(session.account);
        }
    }
    Ok(())
}

/// Asks about one session now, and makes its records if its conversation is complete. For whoever waits for it: a provider
/// that does not answer is no error.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn ask_now(app: &App, session: &Session) -> anyhow::Result<Processed> {
    let mut directory = Directory::load(app).await?;
    let stop_at = app.clock.monotonic() + ASKED_WITHIN;
    let mut counts = Counts::default();
    let answer = ask(app, &mut directory, session, stop_at, &mut counts).await?;
    for problem in counts.problems() {
        tracing::warn!(session = %session.id, "{problem}");
    }
    if let Err(error) = answer {
        tracing::warn!(session = %session.id, %error, "the provider could not be asked about a session");
    }
    records::process(app, &session.id).await
}

/// Asks the provider about a session, and records what it says. What comes back is why it could not be asked.
async fn ask(
    app: &App,
    directory: &mut Directory,
    session: &Session,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<Result<(), ReadError>> {
    let Some(client) = directory.client(app, &session.account, counts).await? else { return Ok(Ok(())) };
    let answer = if let Some(id) = &session.conversation_id {
        in_time(&app.clock, stop_at, client.fetch(id)).await
    } else {
        // Applications may name the conversation by the session.
        let (from, to) = (session.started_at - TimeDelta::minutes(2), app.clock.now());
        in_time(&app.clock, stop_at, client.find(&session.id, None, None, from, to)).await
    };
    fail_point::hit("sessions.learn");
    let report = match answer {
        Ok(report) => report,
        Err(ReadError::Broken { .. }) => {
            counts.problem(Exit::Unreachable, format!("session {}: the provider's record cannot be used", session.id));
            None
        }
        Err(error) => return Ok(Err(error)),
    };
    let now = app.clock.now();
    let told = app.db().await?.write(async |tx| learn(tx, session, report.as_ref(), now).await).await?;
    if told == Told::TheRest {
        counts.add("conversations_completed", 1);
    }
    Ok(Ok(()))
}

/// Records what a provider, asked or by a webhook, says of a session.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn learn(
    tx: &mut Tx,
    session: &Session,
    report: Option<&CallReport>,
    now: DateTime<Utc>,
) -> store::Result<Told> {
    let is_over = report.is_some_and(|report| report.state == ProviderState::Ended);
    let ended_at = report.filter(|_| is_over).map(|report| report.ended_at.unwrap_or(now));
    // One that nobody names for a day will not be named any more.
    let is_forgotten = session.conversation_id.is_none() && now - session.started_at >= FORGOTTEN_AFTER;
    let ended_at = ended_at.or_else(|| is_forgotten.then_some(now));
    let conversation_id = report.map(|report| report.provider_call_id.as_str());
    let Some(session) = sessions::tell(tx, &session.id, conversation_id, ended_at, now).await? else {
        return Err(StoreError::Conflict(format!("session {} went away", session.id)));
    };
    if session.status == SessionStatus::Active {
        sessions::check_later(tx, &session.id, now + CHECK_AGAIN, now).await?;
        return Ok(Told::Nothing);
    }
    let told = match report {
        Some(report) if is_over => sessions::record(tx, &session, &report.record(), now).await?,
        _ => Told::Nothing,
    };
    let what = match report {
        Some(report) if report.is_complete => return Ok(told),
        Some(_) if is_over => Unfinished::Incomplete,
        Some(report) => Unfinished::Missing(format!("the provider shows it as {}", report.state.as_str())),
        None => Unfinished::Missing("the provider does not know the conversation".to_owned()),
    };
    conversations::unfinished(tx, &session.id, what, now).await?;
    Ok(told)
}

/// What is told of a session's conversation: how far it is, in the words of a conversation's status, and why not further.
pub fn processing_status(conversation: Option<&conversations::Conversation>) -> Option<ConversationStatus> {
    conversation.map(|conversation| match conversation.status {
        // It is here, and nothing was made of it yet.
        ConversationStatus::Completed if conversation.processed_at.is_none() => ConversationStatus::Processing,
        status => status,
    })
}
