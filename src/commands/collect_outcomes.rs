//! `collect-outcomes`: asks the providers what became of calls.

use anyhow::Result;
use serde_json::json;

use super::billing::looking::look_at_those_said_to_be_paid;
use super::calling::counts::Counts;
use super::calling::directory::Directory;
use super::calling::records::Processed;
use super::calling::tick::{MAX_RUNTIME, tick};
use super::calling::{inbox, records, sessions, sweep};
use super::process_calls::report;
use super::telling::{record_of, tell};
use crate::app::App;
use crate::domain::call::AttemptState;
use crate::domain::conversation::ConversationStatus;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::{attempts, calls, conversations, sessions as sessions_stored};

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "collect-outcomes";

const EXAMPLES: &str = "\
Examples:
  callops collect-outcomes
  callops collect-outcomes --call 01JD5Q3G7V9M2C8K4R6T0W1XYZ

Asks about every call that is placed or under way: soon after it was placed, then less and less often.
Of every call that is over it asks for the record of the conversation (cost, length, transcript,
analysis) until that is complete: after half a minute, then less and less often, for six hours. What
lacks something then is taken as it is. With it, a campaign without any webhook
learns every outcome. Invoices that somebody said are paid are read again. `callops list conversations` shows how far each record is.

Accounts are asked side by side, each about 2000 calls that go on and 2000 that are over at most, eight
at once, for 50 seconds. A provider that says it is asked too often is left alone until the next run.
With --call, that one call is asked about now, and its records are shown; that gives nothing up.

Of conversations that are complete it makes what the tenant's `records` say: a contact, a booking and a
ticket, each at most once. So it does for sessions, which applications tell of by `serve`; one that
nobody ended within `session_timeout` is looked up at the provider.

Exit codes: 0 done, 4 with --call or --session when the record is not complete, 6 a key is
refused or a clock is wrong, 7 a provider or the database cannot be reached, or its disk is full.";

/// Ask the providers what became of calls
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only about this call, now: its id, or that of one of its attempts
    #[arg(long, value_name = "ID")]
    pub call: Option<String>,
    /// Only about this session, now: its id. Makes the records of its conversation, too
    #[arg(long, value_name = "ID", conflicts_with = "call")]
    pub session: Option<String>,
}

/// Collects once and prints what it did, if it did anything.
///
/// # Errors
/// When the database fails, or its clock and ours are too far apart; exit 2 for a call that is not there.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    if let Some(id) = &args.call {
        return Box::pin(one_call(app, id)).await;
    }
    if let Some(id) = &args.session {
        return Box::pin(one_session(app, id)).await;
    }
    let (counts, exit) = once(app).await?;
    report(app, &counts)?;
    Ok(exit)
}

/// Asks about one session, makes the records of its conversation, and says whether that is done.
async fn one_session(app: &App, id: &str) -> Result<Exit> {
    app.check_database_clock().await?;
    let session = sessions_stored::session(&mut app.db().await?.read().await?, id).await?;
    let Some(session) = session else {
        let failure = Failure::usage(format!("there is no session {id}"));
        return Err(failure.hint("`callops list sessions` shows them").into());
    };
    let (status, reason) = match sessions::ask_now(app, &session).await? {
        Processed::Now | Processed::Before => ("processed", None),
        Processed::NotYet(why) => ("pending", Some(why)),
    };
    let record = record_of(json!({"session": id, "status": status, "reason": reason}));
    let sentence = match &reason {
        None => format!("session {id} is processed; `callops show session {id}` shows what was made of it"),
        Some(why) => format!("session {id} is not processed yet: {why}"),
    };
    tell(app, &record, &sentence)?;
    Ok(if reason.is_none() { Exit::Success } else { Exit::Partial })
}

/// Asks about one call, and shows where its attempts and their records stand.
async fn one_call(app: &App, id: &str) -> Result<Exit> {
    app.check_database_clock().await?;
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let call_id = match attempts::attempt(&mut tx, id).await? {
        Some(attempt) => attempt.call_id,
        None => id.to_owned(),
    };
    if calls::call(&mut tx, &call_id).await?.is_none() {
        let failure = Failure::usage(format!("there is no call {id}, and no attempt"));
        return Err(failure.hint("`callops list calls` shows them").into());
    }
    let mut asked = Vec::new();
    for attempt in attempts::of_call(&mut tx, &call_id).await? {
        let is_wanted = conversations::conversation(&mut tx, &attempt.id).await?.is_some();
        if is_wanted || matches!(attempt.state, AttemptState::Placed | AttemptState::Answered) {
            asked.push(attempt);
        }
    }
    drop(tx);
    let mut counts = Counts::default();
    let mut directory = Directory::load(app).await?;
    let stop_at = app.clock.monotonic() + MAX_RUNTIME;
    let ids: Vec<String> = asked.iter().map(|attempt| attempt.id.clone()).collect();
    sweep::collect_now(app, &mut directory, asked, stop_at, &mut counts).await?;
    for id in ids {
        records::process(app, &id).await?;
    }
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    show(app, &call_id).await.map(|is_complete| {
        let incomplete = if is_complete { Exit::Success } else { Exit::Partial };
        counts.exit().or(incomplete)
    })
}

/// Shows the attempts of a call that were placed; says whether the records of those that are over are complete.
async fn show(app: &App, call_id: &str) -> Result<bool> {
    let mut rows = Rows::new(&[
        "attempt",
        "state",
        "outcome",
        "reason",
        "conversation",
        "tries",
        "last_error",
        "duration_seconds",
        "cost_usd",
    ]);
    let mut is_complete = true;
    let mut tx = app.db().await?.read().await?;
    for attempt in attempts::of_call(&mut tx, call_id).await? {
        let conversation = conversations::conversation(&mut tx, &attempt.id).await?;
        is_complete &= conversation.as_ref().is_none_or(|one| one.status == ConversationStatus::Completed);
        rows.push(vec![
            json!(attempt.id),
            json!(attempt.state.as_str()),
            json!(attempt.outcome),
            json!(attempt.reason),
            json!(conversation.as_ref().map(|one| one.status.as_str())),
            json!(conversation.as_ref().map(|one| one.tries)),
            json!(conversation.as_ref().and_then(|one| one.last_error.as_deref())),
            json!(conversation.as_ref().and_then(|one| one.duration_seconds)),
            json!(conversation.as_ref().and_then(|one| one.cost_usd)),
        ]);
    }
    app.printer.rows(&rows)?;
    Ok(is_complete)
}

/// One run, recorded, with nothing printed.
///
/// # Errors
/// As [`run`].
pub async fn once(app: &App) -> Result<(Counts, Exit)> {
    once_as(app, &app.new_id()).await
}

/// As [`once`], recorded under this id.
///
/// # Errors
/// As [`run`].
pub async fn once_as(app: &App, run_id: &str) -> Result<(Counts, Exit)> {
    tick(app, COMMAND, run_id, async |directory, stop_at, counts| {
        // Before anybody is asked: what came by itself need not be asked for.
        inbox::settle_due(app, counts).await?;
        sweep::collect(app, directory, stop_at, counts).await?;
        sessions::collect(app, directory, stop_at, counts).await?;
        records::process_due(app, counts).await?;
        look_at_those_said_to_be_paid(app, counts).await
    })
    .await
}
