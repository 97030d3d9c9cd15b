//! What an event is about, and what it tells.

use chrono::{DateTime, Utc};

use super::Content;
use crate::commands::calling::{self, answers, directory::held_until};
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::call_status::{CallStatusEvent, Report};
use crate::domain::dial::{CallReport, ProviderMessage};
use crate::domain::event::{EventState, Scope};
use crate::domain::evidence::{Observation, Seen};
use crate::domain::outcome::Outcome;
use crate::domain::session::SessionStatus;
use crate::store::attempts::{self, Attempt};
use crate::store::conversations::{self, Told};
use crate::store::events::Event;
use crate::store::sessions::{self, Said, Session};
use crate::store::{Result, StoreError, Tx, calls, evidence, runs, setup};

/// What becomes of an event.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Where it stands now.
    pub state: EventState,
    /// Why it is not applied.
    pub reason: Option<String>,
    /// What it is about.
    pub about: Option<About>,
}

/// What an event is about.
#[derive(Clone, Debug)]
pub struct About {
    /// The attempt.
    pub attempt_id: String,
    /// Its call.
    pub call_id: String,
    /// The account that it was placed with.
    pub account: String,
}

impl Verdict {
    pub(super) fn of(state: EventState) -> Self {
        Self { state, reason: None, about: None }
    }

    fn ignored(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::of(EventState::Ignored) }
    }

    fn unmatched(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::of(EventState::Unmatched) }
    }

    fn about(self, attempt: &Attempt) -> Self {
        let about = About {
            attempt_id: attempt.id.clone(),
            call_id: attempt.call_id.clone(),
            account: attempt.account.clone(),
        };
        Self { about: Some(about), ..self }
    }
}

/// What an id of a `call-status` event leads to.
#[derive(Debug)]
pub(super) enum Target {
    /// An attempt.
    Attempt(Box<Attempt>),
    /// A call of which not exactly one attempt is open, and in which way.
    NoneOpen(&'static str),
    /// Nothing of the sender's.
    Nothing,
}

/// Whether an attempt may be ringing or talked on.
fn is_open(attempt: &Attempt) -> bool {
    attempt.state.is_live() && attempt.state != AttemptState::Claimed
}

/// Finds what an id means: an attempt, or the only open attempt of a call.
pub(super) async fn target_of(tx: &mut Tx, scope: &Scope, id: &str) -> Result<Target> {
    if let Some(attempt) = attempts::attempt(tx, id).await? {
        return Ok(if scope.holds(&attempt.tenant) { Target::Attempt(Box::new(attempt)) } else { Target::Nothing });
    }
    let Some(call) = calls::call(tx, id).await?.filter(|call| scope.holds(&call.tenant)) else {
        return Ok(Target::Nothing);
    };
    let mut open: Vec<Attempt> = attempts::of_call(tx, &call.id).await?.into_iter().filter(is_open).collect();
    Ok(match (open.pop(), open.is_empty()) {
        (Some(attempt), true) => Target::Attempt(Box::new(attempt)),
        (Some(_), false) => Target::NoneOpen("several attempts of this call are open: name one of them"),
        (None, _) => Target::NoneOpen("no attempt of this call is open"),
    })
}

/// Applies an event as evidence, in the transaction that records what becomes of it.
pub(super) async fn judge(tx: &mut Tx, event: &Event, now: DateTime<Utc>) -> Result<Verdict> {
    let unreadable = |problem: String| StoreError::Unreadable { what: "body", subject: event.id.clone(), problem };
    let body = serde_json::from_str(&event.payload).map_err(|error| unreadable(error.to_string()))?;
    let content = Content::read(event.source, &body).map_err(|problems| {
        let named: Vec<String> = problems.into_iter().map(|p| format!("{} {}", p.field, p.problem)).collect();
        unreadable(named.join(", "))
    })?;
    match content {
        Content::CallStatus(report) => judge_report(tx, event, &report, now).await,
        Content::Provider(message) => judge_message(tx, event, &message, now).await,
        // It is judged where its customer can be asked for.
        Content::Payment(_) => Ok(Verdict::of(event.state)),
    }
}

async fn judge_report(tx: &mut Tx, event: &Event, report: &CallStatusEvent, now: DateTime<Utc>) -> Result<Verdict> {
    let id = event.attempt_id.as_deref().unwrap_or(&report.reminder_id);
    let attempt = match target_of(tx, &Scope::from(event.scope.as_str()), id).await? {
        Target::Attempt(attempt) => *attempt,
        Target::NoneOpen(reason) => return Ok(Verdict::ignored(reason)),
        Target::Nothing => return Ok(Verdict::unmatched("no attempt or call has this id")),
    };
    let observation = observed(&attempt, event, report.seen(event.received_at));
    let moved = evidence::apply(tx, &[observation], now).await?.iter().any(|applied| applied.moved);
    // Read anew: it is locked now.
    let Some(attempt) = attempts::attempt(tx, &attempt.id).await? else {
        return Err(StoreError::Conflict(format!("attempt {} went away", attempt.id)));
    };
    let never_rang = matches!(attempt.state, AttemptState::Claimed | AttemptState::Void);
    let told = report.report(event.received_at).filter(|told| {
        let known = attempt.report.as_deref().and_then(|known| serde_json::from_str::<Report>(known).ok());
        !never_rang && known.is_none_or(|known| told.outranks(&known))
    });
    if !moved && told.is_none() {
        return Ok(Verdict::ignored(format!("the attempt is {}", attempt.state)).about(&attempt));
    }
    if let Some(told) = &told
        && let Ok(answer) = told.customer_response.parse()
    {
        answers::take_in(tx, &attempt, answer, told.notes.as_deref(), now).await?;
    }
    let told = told.map(|told| serde_json::to_string(&told).expect("text keys, finite numbers"));
    hear(tx, &attempt, event, told.as_deref(), now).await
}

async fn judge_message(tx: &mut Tx, event: &Event, message: &ProviderMessage, now: DateTime<Utc>) -> Result<Verdict> {
    let Some(report) = &message.report else { return Ok(Verdict::ignored("it says nothing of a call")) };
    let scope = Scope::from(event.scope.as_str());
    let Some(attempt) = attempt_of(tx, &scope, report.correlation.as_deref(), &report.provider_call_id).await? else {
        return match session_of(tx, &scope, report.correlation.as_deref(), &report.provider_call_id).await? {
            Some(session) => judge_session(tx, &session, report, message.is_half, now).await,
            None => Ok(Verdict::unmatched("no attempt has this call, or its name")),
        };
    };
    if attempt.provider_call_id.as_ref().is_some_and(|known| *known != report.provider_call_id) {
        // Two calls by one name: both may have rung.
        let detail = format!("attempt {} has another call at the provider beside its own", attempt.id);
        runs::raise(tx, "second_live_call", &format!("phone:{}", attempt.phone), &detail, now).await?;
        // The one that is known may be the wrong one, until the answer to our own request is recorded.
        return Ok(Verdict::unmatched("the attempt has another call of this name").about(&attempt));
    }
    let is_half = message.is_half;
    let seen = if is_half {
        Some(Seen::Live {
            provider_call_id: Some(report.provider_call_id.clone()),
            org_id: report.org_id.clone(),
            queued: false,
            answered_at: None,
        })
    } else {
        Seen::from_report(report, event.received_at)
    };
    let Some(seen) = seen else { return Ok(Verdict::ignored("it says nothing of the phone").about(&attempt)) };
    let ended_by_account = matches!(&seen, Seen::Ended(ending) if ending.outcome == Outcome::AccountError);
    let applied = evidence::apply(tx, &[observed(&attempt, event, seen)], now).await?;
    let moved = applied.iter().any(|applied| applied.moved);
    if moved && ended_by_account {
        hold_account(tx, &attempt.account, report.ended_reason.as_deref().unwrap_or_default(), now).await?;
    }
    if is_half {
        attempts::ask_soon(tx, &attempt.id, now).await?;
        conversations::ask_soon(tx, &attempt.id, now).await?;
    }
    let adds = |applied: &evidence::Applied| {
        applied.moved || applied.conversation != Told::Nothing || is_half && applied.state.is_live()
    };
    match applied.first() {
        Some(applied) if !adds(applied) => {
            Ok(Verdict::ignored(format!("the attempt is {}", applied.state)).about(&attempt))
        }
        _ => hear(tx, &attempt, event, None, now).await,
    }
}

/// The session that a report is about: by the name that its application gave the conversation, or by the provider's id.
pub(super) async fn session_of(
    tx: &mut Tx,
    scope: &Scope,
    name: Option<&str>,
    provider_call_id: &str,
) -> Result<Option<Session>> {
    if let Some(name) = name
        && let Some(session) = sessions::session(tx, name).await?.filter(|session| scope.holds(&session.account))
    {
        return Ok(Some(session));
    }
    let Scope::Of(accounts) = scope else { return Ok(None) };
    for account in accounts {
        if let Some(session) = sessions::of_conversation(tx, account, provider_call_id).await? {
            return Ok(Some(session));
        }
    }
    Ok(None)
}

async fn judge_session(
    tx: &mut Tx,
    session: &Session,
    report: &CallReport,
    is_half: bool,
    now: DateTime<Utc>,
) -> Result<Verdict> {
    let about = About { attempt_id: session.id.clone(), call_id: session.id.clone(), account: session.account.clone() };
    let told = if is_half {
        // It is over, and the provider is asked for the rest.
        let id = Some(report.provider_call_id.as_str());
        let said = sessions::tell(tx, &session.id, id, Some(now), now).await?;
        conversations::ask_soon(tx, &session.id, now).await?;
        match said {
            Said::NotIts(why) => Err(why),
            Said::Done(_) | Said::Nobody => Ok(Told::Nothing),
        }
    } else {
        calling::sessions::learn(tx, session, Some(report), now).await?
    };
    let verdict = match told {
        Err(why) => Verdict::ignored(why),
        Ok(Told::Nothing) if session.status == SessionStatus::Completed => {
            Verdict::ignored(format!("the session is {}", session.status))
        }
        Ok(_) => Verdict::of(EventState::Applied),
    };
    Ok(Verdict { about: Some(about), ..verdict })
}

/// The attempt that a message is about: by the name that we gave the call, or by the provider's id.
pub(super) async fn attempt_of(
    tx: &mut Tx,
    scope: &Scope,
    name: Option<&str>,
    provider_call_id: &str,
) -> Result<Option<Attempt>> {
    if let Some(name) = name
        && let Some(attempt) = attempts::attempt(tx, name).await?.filter(|attempt| scope.holds(&attempt.account))
    {
        return Ok(Some(attempt));
    }
    let known = attempts::of_provider_call(tx, provider_call_id).await?;
    Ok(known.into_iter().find(|attempt| scope.holds(&attempt.account)))
}

fn observed(attempt: &Attempt, event: &Event, seen: Seen) -> Observation {
    Observation { attempt_id: attempt.id.clone(), by: Evidence::Provider, at: event.received_at, seen }
}

/// Records that the attempt was heard of, which the event thereby has done.
async fn hear(
    tx: &mut Tx,
    attempt: &Attempt,
    event: &Event,
    told: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Verdict> {
    let heard_at = attempt.heard_at.map_or(event.received_at, |known| known.max(event.received_at));
    attempts::heard(tx, &attempt.id, heard_at, told, now).await?;
    Ok(Verdict::of(EventState::Applied).about(attempt))
}

/// Holds an account back of which a call ended because the account itself was at fault, as a read of it would.
async fn hold_account(tx: &mut Tx, name: &str, reason: &str, now: DateTime<Utc>) -> Result<()> {
    if reason.contains("concurrency-limit") {
        return setup::hold_account(tx, name, held_until(now, 0), reason, 0).await;
    }
    let refusals = setup::accounts(tx).await?.into_iter().find(|a| a.name == name).map_or(0, |a| a.refusals);
    setup::hold_account(tx, name, held_until(now, refusals), reason, refusals + 1).await?;
    runs::raise(tx, "account_refused", &format!("account:{name}"), reason, now).await
}
