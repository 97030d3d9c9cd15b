//! Sessions: what became of conversations that others began.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};

use super::counts::Counts;
use super::directory::Directory;
use super::provider::{Provider, in_time};
use super::records::{self, Processed};
use crate::app::App;
use crate::domain::conversation::{ConversationStatus, Unfinished};
use crate::domain::dial::{CallReport, ProviderState};
use crate::domain::session::SessionStatus;
use crate::error::Exit;
use crate::fail_point;
use crate::providers::http::ReadError;
use crate::store::conversations::{self, Conversation, Told};
use crate::store::sessions::{self, Said, Session};
use crate::store::{self, Tx};

/// The most sessions that are over, and the most that nobody ended, asked about at one account in one run.
const MOST_AT_ONCE: i64 = 500;
/// How many reads of one provider are under way at once.
const READS_AT_ONCE: usize = 8;
/// A provider that fails so often in a row is left alone for the rest of the run.
const MOST_FAILURES_IN_A_ROW: usize = 2 * READS_AT_ONCE;
/// The most sessions that are looked for by name at one account in one run: each may cost a listing.
const MOST_BY_NAME: usize = 50;
/// How long a question may take for which somebody waits.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// A session that goes on is asked about again after as long as it went on already, but no sooner than this.
const CHECK_AGAIN: TimeDelta = TimeDelta::minutes(10);
/// And no later than this.
const CHECK_AGAIN_WITHIN: TimeDelta = TimeDelta::hours(6);
/// A session whose conversation the provider does not show, or shows not begun, for so long is over.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);

/// Asks about every session whose conversation is due, and then about those that nobody ended in time.
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
    let mut asked = Vec::new();
    for account in directory.names() {
        let mut due = sessions::due(&mut tx, &account, now, MOST_AT_ONCE).await?;
        due.extend(sessions::overdue(&mut tx, &account, now, MOST_AT_ONCE).await?);
        if !due.is_empty() {
            asked.push((account, due));
        }
    }
    drop(tx);
    let mut clients = Vec::new();
    for (account, due) in asked {
        let client = directory.client(app, &account, counts).await?;
        clients.extend(client.map(|client| (account, client, due)));
    }
    let directory = &*directory;
    let asked = clients.into_iter().map(|(account, client, due)| async move {
        let mut counts = Counts::default();
        ask_all(app, directory, (&account, &client), due, stop_at, &mut counts).await?;
        anyhow::Ok(counts)
    });
    for result in futures_util::future::join_all(asked).await {
        counts.merge(result?);
    }
    Ok(())
}

/// Asks one provider. What cannot be read of one session is that session's trouble, as with calls.
async fn ask_all(
    app: &App,
    directory: &Directory,
    (account, client): (&str, &Provider),
    due: Vec<Session>,
    stop_at: Duration,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let question = |session: Session| async move {
        let answer = in_time(&app.clock, stop_at, look_up(app, client, &session)).await;
        (session, answer)
    };
    let (named, nameless): (Vec<_>, Vec<_>) = due.into_iter().partition(|session| session.conversation_id.is_some());
    let nameless = nameless.into_iter().take(MOST_BY_NAME).map(question);
    let mut answers = stream::iter(named.into_iter().map(question))
        .buffer_unordered(READS_AT_ONCE)
        .chain(stream::iter(nameless).buffer_unordered(1));
    let (mut doubtful, mut in_a_row, mut has_answered) = (Vec::new(), 0, false);
    while let Some((session, answer)) = answers.next().await {
        let is_late = app.clock.monotonic() >= stop_at;
        match answer {
            Ok(report) => {
                (in_a_row, has_answered) = (0, true);
                take_in(app, &session, report.as_ref(), counts).await?;
            }
            Err(error @ ReadError::RateLimited { .. }) => {
                directory.read_failed(app, account, &error, counts).await?;
                break;
            }
            // It was cut off by the end of the run.
            Err(_) if is_late => break,
            Err(error) => {
                in_a_row += 1;
                doubtful.push((session, error));
            }
        }
        if is_late || in_a_row >= MOST_FAILURES_IN_A_ROW {
            break;
        }
    }
    if doubtful.is_empty() {
        return Ok(());
    }
    match if has_answered { Ok(()) } else { in_time(&app.clock, stop_at, client.probe()).await.map(drop) } {
        Ok(()) => {
            for (session, error) in doubtful {
                let reason = error.to_string();
                put_off(app, &session, &reason).await?;
                counts.problem(Exit::Unreachable, format!("session {}: {reason}", session.id));
            }
            Ok(())
        }
        Err(_) if app.clock.monotonic() >= stop_at => Ok(()),
        Err(error) => directory.read_failed(app, account, &error, counts).await,
    }
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
    if let Some(client) = directory.client(app, &session.account, &mut counts).await? {
        match in_time(&app.clock, stop_at, look_up(app, &client, session)).await {
            Ok(report) => take_in(app, session, report.as_ref(), &mut counts).await?,
            Err(error) => tracing::warn!(session = %session.id, %error, "a session could not be looked up"),
        }
    }
    for problem in counts.problems() {
        tracing::warn!(session = %session.id, "{problem}");
    }
    records::process(app, &session.id).await
}

/// The provider's record of a session: by its id of the conversation, or by ours, by which applications may name it.
async fn look_up(app: &App, client: &Provider, session: &Session) -> Result<Option<CallReport>, ReadError> {
    if let Some(id) = &session.conversation_id {
        return client.fetch(id).await;
    }
    let from = session.started_at - TimeDelta::minutes(2);
    let to = session.ended_at.unwrap_or_else(|| app.clock.now()) + TimeDelta::minutes(2);
    client.find(&session.id, None, None, from, to).await
}

async fn take_in(app: &App, session: &Session, report: Option<&CallReport>, counts: &mut Counts) -> anyhow::Result<()> {
    fail_point::hit("sessions.learn");
    let now = app.clock.now();
    let told = app.db().await?.write(async |tx| learn(tx, session, report, now).await).await?;
    match told {
        Ok(Told::TheRest) => counts.add("conversations_completed", 1),
        Ok(Told::Something | Told::Nothing) => {}
        Err(why) => tracing::warn!(session = %session.id, "what was found by its name is not its conversation: {why}"),
    }
    Ok(())
}

/// Records what a provider, asked or by a webhook, says of a session; or why that cannot be about it.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn learn(
    tx: &mut Tx,
    session: &Session,
    report: Option<&CallReport>,
    now: DateTime<Utc>,
) -> store::Result<Result<Told, &'static str>> {
    let is_over = report.is_some_and(|report| report.state == ProviderState::Ended);
    let has_begun = is_over || report.is_some_and(|report| report.state == ProviderState::InProgress);
    // What the provider has not shown begun for a day does not begin any more.
    let is_forgotten = !has_begun && now - session.started_at >= FORGOTTEN_AFTER;
    let ended_at = match report {
        Some(report) if is_over => Some(report.ended_at.unwrap_or(now)),
        _ => is_forgotten.then_some(now),
    };
    let conversation_id = report.map(|report| report.provider_call_id.as_str());
    let (said, not_its) = match sessions::tell(tx, &session.id, conversation_id, ended_at, now).await? {
        // The conversation is somebody else's, and this one's is not found.
        Said::NotIts(why) => {
            let ended_at = (now - session.started_at >= FORGOTTEN_AFTER).then_some(now);
            (sessions::tell(tx, &session.id, None, ended_at, now).await?, Some(why))
        }
        said => (said, None),
    };
    let Said::Done(current) = said else { return Ok(Ok(Told::Nothing)) };
    if current.status == SessionStatus::Active {
        let wait = (now - current.started_at).clamp(CHECK_AGAIN, CHECK_AGAIN_WITHIN);
        sessions::check_later(tx, &current.id, now + wait, now).await?;
        return Ok(not_its.map_or(Ok(Told::Nothing), Err));
    }
    let report = report.filter(|_| not_its.is_none());
    let told = match report {
        Some(report) if is_over => sessions::record(tx, &current, &report.record(), now).await?,
        _ => Told::Nothing,
    };
    let what = match report {
        Some(report) if report.is_complete => return Ok(Ok(told)),
        Some(_) if is_over => Unfinished::Incomplete,
        Some(report) => Unfinished::Missing(format!("the provider shows it as {}", report.state.as_str())),
        None => Unfinished::Missing("the provider does not know the conversation".to_owned()),
    };
    conversations::unfinished(tx, &current.id, what, now).await?;
    Ok(not_its.map_or(Ok(told), Err))
}

/// Asks about a session again later whose record cannot be had at the moment.
async fn put_off(app: &App, session: &Session, reason: &str) -> anyhow::Result<()> {
    let now = app.clock.now();
    app.db()
        .await?
        .write(async |tx| {
            let wait = (now - session.started_at).clamp(CHECK_AGAIN, CHECK_AGAIN_WITHIN);
            sessions::check_later(tx, &session.id, now + wait, now).await?;
            conversations::unfinished(tx, &session.id, Unfinished::Missing(reason.to_owned()), now).await.map(drop)
        })
        .await?;
    Ok(())
}

/// What is told of a session's conversation: how far it is, in the words of a conversation's status.
pub fn processing_status(conversation: Option<&Conversation>) -> Option<ConversationStatus> {
    conversation.map(|conversation| match conversation.status {
        // It is here, and nothing was made of it yet.
        ConversationStatus::Completed if conversation.processed_at.is_none() => ConversationStatus::Processing,
        status => status,
    })
}
