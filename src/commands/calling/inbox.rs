//! The inbox: a webhook is stored, then applied as any other evidence, and matched later where nothing fits it yet.

#[cfg(test)]
mod fuzz;
mod judge;
mod row;

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

pub use self::judge::{About, Verdict};
use self::row::to_store;
use super::counts::Counts;
use super::records;
use crate::app::App;
use crate::commands::welcoming;
use crate::commands::welcoming::settle::AboutOne;
use crate::domain::call_status::{CallStatusEvent, FieldProblem};
use crate::domain::dial::ProviderMessage;
use crate::domain::event::{EventSource, EventState, Scope};
use crate::domain::welcome::PaymentEvent;
use crate::error::{Exit, message};
use crate::fail_point;
use crate::providers::{elevenlabs, livekit, stripe, vapi};
use crate::store::events::{self, Event};
use crate::store::welcomes::syncs;
use crate::store::{self, Tx, attempts, conversations, sessions};

/// For how long what matches nothing is tried again by itself: an attempt whose answer was lost is given up after a day.
pub const MATCH_WITHIN: TimeDelta = TimeDelta::hours(48);
/// For how long a payment that cannot be applied is tried again by itself: as long as Stripe keeps events.
const PAYMENT_WITHIN: TimeDelta = welcoming::sync::KEPT;
/// The most waiting events that one run looks at.
const MOST_AT_ONCE: i64 = 1000;
/// What the reason of an event begins with that tells of a change which another one told of.
pub const DUPLICATE_OF: &str = "duplicate of";
/// The most field names, and characters of each, that are kept for the log.
const MOST_FIELDS: usize = 40;

/// What a webhook holds, read.
#[derive(Clone, Debug)]
pub enum Content {
    /// An agent's report.
    CallStatus(CallStatusEvent),
    /// A provider's message.
    Provider(Box<ProviderMessage>),
    /// What happened to a payment.
    Payment(Box<PaymentEvent>),
}

/// A verified webhook that has the right shape.
#[derive(Clone, Debug)]
pub struct Incoming {
    source: EventSource,
    scope: Scope,
    content: Content,
    fields: String,
    payload: String,
}

/// What became of a webhook that was stored.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its id in the inbox; of one that came before, the id of the first.
    pub event_id: String,
    /// Whether it told something, this time.
    pub applied: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Whether it is about something that is known.
    pub is_known: bool,
}

impl Content {
    fn read(source: EventSource, body: &Value) -> Result<Self, Vec<FieldProblem>> {
        match source {
            EventSource::CallStatus => CallStatusEvent::read(body).map(Self::CallStatus),
            EventSource::Vapi => Self::of_provider(vapi::webhook::read_message(body)),
            EventSource::LiveKit => Self::of_provider(livekit::webhook::read_message(body)),
            EventSource::ElevenLabs => Self::of_provider(elevenlabs::webhook::read_message(body)),
            EventSource::Stripe => {
                stripe::read_event(body).map(|event| Self::Payment(Box::new(event))).map_err(|wrong| vec![field(wrong)])
            }
        }
    }

    fn of_provider(read: Result<ProviderMessage, (&str, &str)>) -> Result<Self, Vec<FieldProblem>> {
        read.map(|message| Self::Provider(Box::new(message))).map_err(|wrong| vec![field(wrong)])
    }
}

fn field((field, problem): (&str, &str)) -> FieldProblem {
    FieldProblem { field: field.to_owned(), problem: problem.to_owned() }
}

impl Incoming {
    /// Reads the body of a webhook that was verified to be of somebody with this scope.
    ///
    /// # Errors
    /// What is wrong with it, field by field. It never holds a value.
    pub fn read(source: EventSource, scope: Scope, payload: &[u8]) -> Result<Self, Vec<FieldProblem>> {
        let wrong = |problem: &str| vec![FieldProblem { field: String::new(), problem: problem.to_owned() }];
        let payload = std::str::from_utf8(payload).map_err(|_| wrong("the body must be UTF-8"))?;
        let body: Value =
            serde_json::from_str(payload).map_err(|_| wrong("the body must be JSON, nested at most 127 deep"))?;
        let content = Content::read(source, &body)?;
        Ok(Self { source, scope, content, fields: field_names(&body), payload: payload.to_owned() })
    }

    /// Who sent it.
    pub fn source(&self) -> EventSource {
        self.source
    }

    /// Whether it holds the sound of a conversation, which is not kept.
    pub fn is_sound(&self) -> bool {
        self.source == EventSource::ElevenLabs && self.kind() == elevenlabs::webhook::AUDIO
    }

    fn kind(&self) -> String {
        match &self.content {
            Content::CallStatus(event) => event.event_type.as_str().to_owned(),
            Content::Payment(event) => event.kind.clone(),
            Content::Provider(message) => match &message.status {
                Some(status) => format!("{} {status}", message.kind),
                None => message.kind.clone(),
            },
        }
    }
}

/// Stores a webhook, commits, and applies it. One that came before is counted, and applied only if that failed before.
///
/// # Errors
/// When it could not be stored. What fails later leaves it pending.
pub async fn receive(app: &App, incoming: &Incoming) -> anyhow::Result<Receipt> {
    let (now, id) = (app.clock.now(), app.new_id());
    let (event, known) = app
        .db()
        .await?
        .write(async |tx| {
            if let (Content::Payment(_), Scope::Of(accounts)) = (&incoming.content, &incoming.scope) {
                for account in accounts {
                    syncs::heard(tx, account, now).await?;
                }
            }
            put(tx, incoming, &id, now).await
        })
        .await?;
    fail_point::hit("inbox.stored");
    let is_double = known.is_some();
    let event = known.unwrap_or(event);
    let verdict = match event.state {
        EventState::Pending | EventState::Unmatched => match apply(app, &event.id, Count::No).await {
            Ok(verdict) => verdict,
            Err(error) => {
                let reason = "it is stored, and will be applied later";
                tracing::warn!(event = %event.id, error = %message(&error), "a webhook could not be applied");
                Verdict { reason: Some(reason.to_owned()), ..Verdict::of(EventState::Pending) }
            }
        },
        state if is_double => Verdict { reason: Some("duplicate".to_owned()), ..Verdict::of(state) },
        state => Verdict { reason: event.reason.clone(), ..Verdict::of(state) },
    };
    log(&event, &verdict, is_double);
    if let Some(about) = verdict.about.as_ref().filter(|_| verdict.state == EventState::Applied) {
        // What cannot be made now is made by the next run.
        if let Err(error) = records::process(app, &about.attempt_id).await {
            tracing::warn!(event = %event.id, error = %message(&error), "no records could be made of a conversation");
        }
    }
    Ok(Receipt {
        event_id: event.id,
        applied: verdict.state == EventState::Applied && verdict.reason.is_none(),
        reason: verdict.reason,
        is_known: verdict.state != EventState::Unmatched,
    })
}

/// Stores an event. Yields it as it is stored, and as it stands where it came before.
async fn put(tx: &mut Tx, incoming: &Incoming, id: &str, now: DateTime<Utc>) -> store::Result<(Event, Option<Event>)> {
    let mut event = to_store(tx, incoming, id, now).await?;
    let known = events::store(tx, &event).await?;
    if let (Content::Payment(payment), None) = (&incoming.content, &known)
        && let Some(object) = payment.object_key()
        && let Some(first) = syncs::first_about(tx, &event.scope, &object, &event.kind, id).await?
    {
        let reason = format!("{DUPLICATE_OF} {first}");
        events::settle(tx, &event, EventState::Ignored, Some(&reason), None, 0, now).await?;
        event.state = EventState::Ignored;
        event.reason = Some(reason);
    }
    Ok((event, known))
}

/// Stores events that were read instead of sent, those that did not come before, in one transaction with `also`, which
/// comes first. Yields how many were new.
///
/// # Errors
/// When the database cannot be asked, or `also` fails.
pub async fn take_in(
    app: &App,
    incoming: &[Incoming],
    also: impl AsyncFn(&mut Tx) -> store::Result<()>,
) -> anyhow::Result<u64> {
    let now = app.clock.now();
    let ids: Vec<String> = incoming.iter().map(|_| app.new_id()).collect();
    let stored = app
        .db()
        .await?
        .write(async |tx| {
            also(tx).await?;
            let mut new = 0;
            for (incoming, id) in incoming.iter().zip(&ids) {
                let key = to_store(tx, incoming, id, now).await?.dedupe_key;
                if !events::is_known(tx, &key).await? {
                    new += u64::from(put(tx, incoming, id, now).await?.1.is_none());
                }
            }
            Ok(new)
        })
        .await?;
    fail_point::hit("inbox.stored");
    Ok(stored)
}

/// Takes a webhook whose signature is right and too old for a proof: somebody may have kept it and sent it again. What it
/// says is not believed and not stored; the provider is asked about the call that it names, which does no harm.
///
/// # Errors
/// When the database cannot be asked or written.
pub async fn ask_instead(app: &App, incoming: &Incoming) -> anyhow::Result<bool> {
    let Content::Provider(message) = &incoming.content else { return Ok(false) };
    let now = app.clock.now();
    let is_known = app
        .db()
        .await?
        .write(async |tx| {
            let attempt = judge::attempt_of(
                tx,
                &incoming.scope,
                message.correlation.as_deref(),
                message.call_id.as_deref().unwrap_or_default(),
            )
            .await?;
            if let Some(attempt) = &attempt {
                attempts::ask_soon(tx, &attempt.id, now).await?;
                conversations::ask_soon(tx, &attempt.id, now).await?;
                return Ok(true);
            }
            let name = message.correlation.as_deref();
            let id = message.call_id.as_deref().unwrap_or_default();
            let Some(session) = judge::session_of(tx, &incoming.scope, name, id).await? else { return Ok(false) };
            sessions::check_later(tx, &session.id, now, now).await?;
            conversations::ask_soon(tx, &session.id, now).await?;
            Ok(true)
        })
        .await?;
    tracing::info!(source = %incoming.source, kind = ?incoming.kind(), is_known, "a webhook with an old signature");
    Ok(is_known)
}

/// Says which event came, for what, with which fields; never what they held.
fn log(event: &Event, verdict: &Verdict, is_double: bool) {
    let about = verdict.about.as_ref();
    tracing::info!(
        event = %event.id,
        source = %event.source,
        kind = ?event.kind,
        scope = %event.scope,
        account = about.map(|about| about.account.as_str()),
        call = about.map(|about| about.call_id.as_str()),
        attempt = about.map(|about| about.attempt_id.as_str()).or(event.attempt_id.as_deref()),
        conversation = event.provider_call_id.as_deref(),
        fields = %event.fields,
        state = %verdict.state,
        is_double,
        "webhook"
    );
}

/// Whether it counts as a try that an event matched nothing: a sweep looks only where something is that it may be about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Yes,
    No,
}

/// What one transaction says of an event.
enum Judged {
    /// What became of it.
    So(Verdict),
    /// The service has to be asked first, with no transaction open.
    Payment(Box<Event>),
}

/// Applies an event in one transaction with what becomes of it. Where that fails, the failure is kept beside the event.
///
/// # Errors
/// When the database cannot be asked or written.
async fn apply(app: &App, id: &str, count: Count) -> anyhow::Result<Verdict> {
    let db = app.db().await?;
    let now = app.clock.now();
    fail_point::hit("inbox.apply");
    let judged = db
        .write(async |tx| {
            let Some(event) = events::lock(tx, id).await? else {
                return Ok(Judged::So(Verdict::of(EventState::Ignored)));
            };
            if event.source == EventSource::Stripe {
                return Ok(Judged::Payment(Box::new(event)));
            }
            let was_settled = matches!(event.state, EventState::Applied | EventState::Ignored);
            let verdict = judge::judge(tx, &event, now).await?;
            // What was applied before tells nothing new now, and stays applied.
            if !was_settled || verdict.state == EventState::Applied {
                let attempt_id = verdict.about.as_ref().map(|about| about.attempt_id.as_str());
                let reason = verdict.reason.as_deref();
                let again = count == Count::Yes && verdict.state == EventState::Unmatched;
                let tries = event.tries + i64::from(again);
                events::settle(tx, &event, verdict.state, reason, attempt_id, tries, now).await?;
            }
            Ok(Judged::So(verdict))
        })
        .await;
    let result = match judged {
        Ok(Judged::So(verdict)) => Ok(verdict),
        Ok(Judged::Payment(event)) => Box::pin(welcoming::settle::apply(app, &event)).await,
        Err(error) => Err(anyhow::Error::from(error)),
    };
    match result {
        Ok(verdict) => Ok(verdict),
        Err(error) => {
            let problem = message(&error);
            // A database that is lost takes this with it, and the event is pending all the same.
            if let Err(error) = db.write(async |tx| events::failed(tx, id, &problem).await).await {
                tracing::debug!(%error, "that an event could not be applied could not be kept");
            }
            Err(error)
        }
    }
}

/// Applies what waits and can be applied now: events whose application failed, and those of which there is now something
/// that they are about.
///
/// # Errors
/// When the database cannot be asked. An event that fails is counted, and waits on.
pub async fn settle_due(app: &App, counts: &mut Counts) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let due = events::due(&mut tx, app.clock.now() - MATCH_WITHIN, MOST_AT_ONCE).await?;
    drop(tx);
    apply_each(app, &due, Count::Yes, counts).await;
    Ok(())
}

/// Applies payments that could not be applied. An account of which nothing can be read now is not asked again in this run,
/// and nobody is from `stop_at` on, a moment on the monotonic clock.
///
/// # Errors
/// When the database cannot be asked.
pub async fn settle_payments(app: &App, stop_at: Duration, counts: &mut Counts) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let due = events::due_payments(&mut tx, app.clock.now() - PAYMENT_WITHIN, MOST_AT_ONCE).await?;
    drop(tx);
    let mut silent: HashSet<String> = HashSet::new();
    for (id, scope) in due {
        if app.clock.monotonic() >= stop_at {
            break;
        }
        if silent.contains(&scope) {
            continue;
        }
        let result = apply(app, &id, Count::Yes).await;
        let is_about_all = result.as_ref().is_err_and(|error| !error.is::<AboutOne>());
        note(&id, result, counts);
        if is_about_all {
            silent.insert(scope);
        }
    }
    Ok(())
}

/// Applies events that came before the answer to our own request was recorded. What fails is left to a sweep.
pub async fn settle_matched(app: &App, ids: &[String]) {
    apply_each(app, ids, Count::No, &mut Counts::default()).await;
}

/// Applies events once more, whatever became of them before. What told nothing new changes nothing.
pub async fn replay(app: &App, ids: &[String], counts: &mut Counts) {
    apply_each(app, ids, Count::No, counts).await;
}

async fn apply_each(app: &App, ids: &[String], count: Count, counts: &mut Counts) {
    for id in ids {
        note(id, apply(app, id, count).await, counts);
    }
}

/// Counts what became of an event.
fn note(id: &str, result: anyhow::Result<Verdict>, counts: &mut Counts) {
    match result {
        Ok(Verdict { state: EventState::Applied, .. }) => counts.add("events_applied", 1),
        Ok(Verdict { state: EventState::Ignored, .. }) => counts.add("events_ignored", 1),
        Ok(_) => {}
        Err(error) => {
            counts.problem(Exit::Partial, format!("event {id} could not be applied: {}", message(&error)));
        }
    }
}

/// The names of a body's fields, as far as they look like names.
fn field_names(body: &Value) -> String {
    let data = body.get("data").filter(|data| data.is_object());
    let inner = body.get("message").or(data).unwrap_or(body);
    let mut names = Vec::new();
    for (name, value) in inner.as_object().into_iter().flatten() {
        names.push(name.clone());
        if name == "outcome" {
            names.extend(value.as_object().into_iter().flatten().map(|(inner, _)| format!("outcome.{inner}")));
        }
    }
    let is_name = |name: &String| {
        name.len() <= MOST_FIELDS && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    names.into_iter().filter(is_name).take(MOST_FIELDS).collect::<Vec<_>>().join(",")
}
