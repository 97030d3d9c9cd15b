//! What is shown of each kind. Names are an API.

use serde_json::{Map, Value, json};

use crate::commands::apply::plan::{campaign_fields, duration};
use crate::commands::list::rows::{CALL_COLUMNS, ENROLLMENT_COLUMNS, call_row, enrollment_row};
use crate::commands::telling::{instant, json_text, record_of};
use crate::domain::call::{Decision, Evidence};
use crate::domain::campaign::InForce;
use crate::domain::zone::{ZoneSource, zones_of_callee};
use crate::output::Rows;
use crate::store::attempts::{self, Attempt};
use crate::store::calls::{self, Call};
use crate::store::contacts::Contact;
use crate::store::conversations::{self, Conversation};
use crate::store::events::Event;
use crate::store::imports::{self, Import};
use crate::store::listing::{self, Filter};
use crate::store::records::{self, Record};
use crate::store::runs::Run;
use crate::store::sessions::{self, Session};
use crate::store::setup::{self, Campaign};
use crate::store::{Result, Tx};

/// How many calls of a contact, and lines of the audit log, are shown.
const LATEST: i64 = 20;

/// One thing: its own values, and the rows that belong to it.
pub(super) struct Shown {
    pub(super) record: Map<String, Value>,
    pub(super) parts: Vec<(&'static str, Rows)>,
}

pub(super) async fn campaign(tx: &mut Tx, campaign: &Campaign) -> Result<Shown> {
    let mut record = record_of(json!({
        "campaign": campaign.full_name(),
        "id": campaign.id,
        "status": if campaign.active { "active" } else { "stopped" },
    }));
    let timeouts = timeouts(tx, campaign).await?;
    for (field, value) in campaign_fields(campaign) {
        let in_force = timeouts.iter().flatten().find(|(name, _)| *name == field).map(|(_, in_force)| in_force);
        record.insert(field.to_owned(), in_force.map_or(value, |in_force| duration(Some(in_force.seconds))));
        if let Some(in_force) = in_force {
            record.insert(format!("{field}_source"), json!(in_force.whose.as_str()));
        }
    }
    let numbers = listing::campaign_numbers(tx, Some(&campaign.id)).await?.pop();
    record.extend(record_of(json!({
        "enrolled": numbers.as_ref().map(|row| row.enrolled),
        "scheduled": numbers.as_ref().map(|row| row.scheduled),
        "live": numbers.as_ref().map(|row| row.live),
        "rules_version": campaign.rules_version,
        "next_open_at": instant(campaign.next_open_at),
        "held_until": instant(campaign.held_until),
        "held_reason": campaign.held_reason,
    })));
    let audit = audit(tx, &format!("campaign:{}", campaign.full_name())).await?;
    Ok(Shown { record, parts: vec![("audit", audit)] })
}

/// The timeouts of a campaign's next attempts, where they can be known: one whose rules or tenant cannot be read makes none.
async fn timeouts(tx: &mut Tx, campaign: &Campaign) -> Result<Option<[(&'static str, InForce); 2]>> {
    let Some(tenant) = setup::tenant(tx, &campaign.tenant).await? else { return Ok(None) };
    let (Ok(rules), Ok(limits)) = (campaign.rules(), tenant.settings()) else { return Ok(None) };
    let timeouts = [("answer_timeout", rules.answer_timeout(&limits)), ("call_timeout", rules.call_timeout(&limits))];
    Ok(Some(timeouts))
}

pub(super) async fn import(tx: &mut Tx, import: &Import) -> Result<Shown> {
    let record = record_of(json!({
        "id": import.id,
        "tenant": import.tenant,
        "campaign_id": import.campaign_id,
        "file": import.file_name,
        "sha256": import.file_sha256,
        "reading": json_text(Some(&import.reading)),
        "counts": json_text(Some(&import.counts)),
        "changed": imports::undo::changed_count(tx, &import.id).await?,
        "created_at": instant(Some(import.created_at)),
        "undone_at": instant(import.undone_at),
    }));
    let mut changes = Rows::new(&["contact", "changes"]);
    for change in
        imports::undo::changes(tx, &import.id, "").await?.into_iter().take(usize::try_from(LATEST).unwrap_or(0))
    {
        changes.push(vec![json!(change.contact_id), json_text(Some(&change.changes))]);
    }
    let audit = audit(tx, &format!("import:{}", import.id)).await?;
    Ok(Shown { record, parts: vec![("changes", changes), ("audit", audit)] })
}

pub(super) async fn contact(tx: &mut Tx, contact: &Contact) -> Result<Shown> {
    let (zones, source) = zones_of_callee(contact.timezone.as_deref(), &contact.phone).unzip();
    let record = record_of(json!({
        "id": contact.id,
        "tenant": contact.tenant,
        "phone": contact.phone,
        "extension": contact.extension,
        "name": contact.name,
        "email": contact.email,
        "external_id": contact.external_id,
        "timezone": contact.timezone,
        "zones": zones,
        "zones_source": source.map(ZoneSource::as_str),
        "preferred_time": contact.preferred_time,
        "attributes": json_text(Some(&contact.attributes)),
        "import": contact.import_id,
        "created_at": instant(Some(contact.created_at)),
        "updated_at": instant(Some(contact.updated_at)),
    }));
    let filter = Filter { limit: 1000, ..Filter::default() };
    let mut enrollments = Rows::new(ENROLLMENT_COLUMNS);
    for row in listing::enrollments(tx, &filter, Some(&contact.id)).await? {
        enrollments.push(enrollment_row(&row));
    }
    let mut latest = Rows::new(CALL_COLUMNS);
    for id in listing::calls_of_contact(tx, &contact.id, LATEST).await? {
        if let Some(call) = calls::call(tx, &id).await? {
            latest.push(call_row(&call));
        }
    }
    Ok(Shown { record, parts: vec![("enrollments", enrollments), ("calls", latest)] })
}

pub(super) async fn call(tx: &mut Tx, call: &Call) -> Result<Shown> {
    let attempts = attempts::of_call(tx, &call.id).await?;
    // What the agent said of the last conversation that it said something of.
    let report = attempts.iter().rev().find_map(|attempt| attempt.report.as_deref());
    let last_attempt_at = attempts.iter().flat_map(|attempt| [attempt.placing_at, attempt.heard_at]).flatten().max();
    let record = record_of(json!({
        "id": call.id,
        "campaign": format!("{}/{}", call.tenant, call.campaign),
        "contact": call.contact_id,
        "phone": call.phone,
        "purpose": call.purpose,
        "slot": call.slot_key,
        "status": call.status.as_str(),
        "outcome": call.outcome,
        "reason": call.reason,
        "decision": call.decision.map(Decision::as_str),
        "skip_reason": call.decision.and(call.reason.as_deref()),
        "call_outcome": json_text(report),
        "last_attempt_at": instant(last_attempt_at),
        "next_attempt_at": instant(call.next_attempt_at),
        "requested_by": call.requested_by,
        "created_at": instant(Some(call.created_at)),
        "ended_at": instant(call.ended_at),
    }));
    let mut slots = Rows::new(&["phone", "purpose", "key", "subject"]);
    for slot in listing::slots_of_call(tx, &call.id).await? {
        slots.push(vec![json!(slot.phone), json!(slot.purpose), json!(slot.key), json!(slot.subject)]);
    }
    let mut rows = Rows::new(&[
        "id",
        "number",
        "phone",
        "state",
        "outcome",
        "evidence",
        "reason",
        "placing_at",
        "ended_at",
        "provider_call_id",
    ]);
    let mut records = Rows::new(&["id", "status", "tries", "last_error", "duration_seconds", "cost_usd", "summary"]);
    for attempt in attempts {
        if let Some(one) = conversations::conversation(tx, &attempt.id).await? {
            records.push(vec![
                json!(one.id),
                json!(one.status.as_str()),
                json!(one.tries),
                json!(one.last_error),
                json!(one.duration_seconds),
                json!(one.cost_usd),
                json!(one.summary),
            ]);
        }
        rows.push(vec![
            json!(attempt.id),
            json!(attempt.number),
            json!(attempt.phone),
            json!(attempt.state.as_str()),
            json!(attempt.outcome),
            json!(attempt.evidence.map(Evidence::as_str)),
            json!(attempt.reason),
            instant(attempt.placing_at),
            instant(attempt.ended_at),
            json!(attempt.provider_call_id),
        ]);
    }
    let audit = audit(tx, &format!("call:{}", call.id)).await?;
    let parts = vec![("slots", slots), ("attempts", rows), ("conversations", records), ("audit", audit)];
    Ok(Shown { record, parts })
}

pub(super) async fn attempt(tx: &mut Tx, attempt: &Attempt) -> Result<Shown> {
    let conversation = conversations::conversation(tx, &attempt.id).await?;
    let record = record_of(json!({
        "id": attempt.id,
        "call": attempt.call_id,
        "number": attempt.number,
        "tenant": attempt.tenant,
        "contact": attempt.contact_id,
        "phone": attempt.phone,
        "purpose": attempt.purpose,
        "account": attempt.account,
        "line": attempt.line,
        "agent": attempt.agent,
        "state": attempt.state.as_str(),
        "outcome": attempt.outcome,
        "evidence": attempt.evidence.map(Evidence::as_str),
        "reason": attempt.reason,
        "may_have_rung": attempt.may_have_rung,
        "queued": attempt.queued,
        "owner": attempt.owner,
        "claimed_at": instant(Some(attempt.claimed_at)),
        "lease_until": instant(Some(attempt.lease_until)),
        "window_closes_at": instant(Some(attempt.window_closes_at)),
        "placing_at": instant(attempt.placing_at),
        "request_ended_at": instant(attempt.request_ended_at),
        "placed_at": instant(attempt.placed_at),
        "answered_at": instant(attempt.answered_at),
        "ended_at": instant(attempt.ended_at),
        "cancel_requested_at": instant(attempt.cancel_requested_at),
        "next_poll_at": instant(attempt.next_poll_at),
        "deadline_at": instant(attempt.deadline_at),
        "polls": attempt.polls,
        "absences": attempt.absences,
        "absence_seen_at": instant(attempt.absence_seen_at),
        "provider_call_id": attempt.provider_call_id,
        "org_id": attempt.org_id,
        "conversation": conversation.as_ref().map(|one| one.status.as_str()),
        "duration_seconds": conversation.as_ref().and_then(|one| one.duration_seconds),
        "cost_usd": conversation.as_ref().and_then(|one| one.cost_usd),
        "summary": conversation.as_ref().and_then(|one| one.summary.as_deref()),
        "call_outcome": json_text(attempt.report.as_deref()),
        "heard_at": instant(attempt.heard_at),
    }));
    let audit = audit(tx, &format!("attempt:{}", attempt.id)).await?;
    Ok(Shown { record, parts: vec![("audit", audit)] })
}

pub(super) async fn conversation(tx: &mut Tx, conversation: &Conversation) -> Result<Shown> {
    let attempt = attempts::attempt(tx, &conversation.id).await?;
    let session = sessions::session(tx, &conversation.id).await?;
    let provider_call_id = attempt.as_ref().and_then(|attempt| attempt.provider_call_id.as_deref());
    let record = record_of(json!({
        "id": conversation.id,
        "tenant": conversation.tenant,
        "account": conversation.account,
        "call": attempt.as_ref().map(|attempt| &attempt.call_id),
        "session": session.as_ref().map(|session| &session.id),
        "phone": attempt.as_ref().map(|attempt| &attempt.phone),
        "provider_call_id": provider_call_id.or(session.as_ref().and_then(|one| one.conversation_id.as_deref())),
        "outcome": attempt.as_ref().and_then(|attempt| attempt.outcome),
        "reason": attempt.as_ref().and_then(|attempt| attempt.reason.as_deref()),
        "status": conversation.status.as_str(),
        "tries": conversation.tries,
        "next_try_at": instant(conversation.next_try_at),
        "last_error": conversation.last_error,
        "processed_at": instant(conversation.processed_at),
        "started_at": instant(conversation.started_at),
        "ended_at": instant(conversation.ended_at),
        "duration_seconds": conversation.duration_seconds,
        "cost_usd": conversation.cost_usd,
        "summary": conversation.summary,
        "transcript": conversation.transcript,
        "analysis": json_text(conversation.analysis.as_deref()),
        "call_outcome": json_text(attempt.as_ref().and_then(|attempt| attempt.report.as_deref())),
        "raw": json_text(conversation.raw.as_deref()),
    }));
    let parts = made_of(tx, conversation).await?;
    Ok(Shown { record, parts })
}

pub(super) async fn record(tx: &mut Tx, record: &Record) -> Result<Shown> {
    let conversation = conversations::conversation(tx, &record.conversation_id).await?;
    let shown = record_of(json!({
        "conversation": record.conversation_id,
        "tenant": record.tenant,
        "contact": record.contact_id,
        "fields": json_text(Some(&record.fields)),
        "created_at": instant(Some(record.created_at)),
        "summary": conversation.as_ref().and_then(|one| one.summary.as_deref()),
        "transcript": conversation.as_ref().and_then(|one| one.transcript.as_deref()),
    }));
    Ok(Shown { record: shown, parts: Vec::new() })
}

/// What was made of a conversation.
async fn made_of(tx: &mut Tx, conversation: &Conversation) -> Result<Vec<(&'static str, Rows)>> {
    let mut contacts = Rows::new(&["id"]);
    if let Some(id) = &conversation.contact_id {
        contacts.push(vec![json!(id)]);
    }
    let mut parts = vec![("contacts", contacts)];
    for (name, kind) in [("bookings", records::Kind::Booking), ("tickets", records::Kind::Ticket)] {
        let mut rows = Rows::new(&["contact", "fields", "created_at"]);
        if let Some(record) = records::of_conversation(tx, kind, &conversation.id).await? {
            rows.push(vec![
                json!(record.contact_id),
                json_text(Some(&record.fields)),
                instant(Some(record.created_at)),
            ]);
        }
        parts.push((name, rows));
    }
    Ok(parts)
}

pub(super) async fn session(tx: &mut Tx, session: &Session) -> Result<Shown> {
    let conversation = conversations::conversation(tx, &session.id).await?;
    let record = record_of(json!({
        "id": session.id,
        "tenant": session.tenant,
        "account": session.account,
        "external_id": session.external_id,
        "status": session.status.as_str(),
        "conversation": session.conversation_id,
        "metadata": json_text(Some(&session.metadata)),
        "started_at": instant(Some(session.started_at)),
        "ended_at": instant(session.ended_at),
        "next_check_at": instant(session.next_check_at),
        "conversation_status": conversation.as_ref().map(|one| one.status.as_str()),
        "last_error": conversation.as_ref().and_then(|one| one.last_error.as_deref()),
        "processed_at": instant(conversation.as_ref().and_then(|one| one.processed_at)),
        "summary": conversation.as_ref().and_then(|one| one.summary.as_deref()),
    }));
    let parts = match &conversation {
        Some(conversation) => made_of(tx, conversation).await?,
        None => Vec::new(),
    };
    Ok(Shown { record, parts })
}

pub(super) fn event(event: &Event) -> Shown {
    let record = record_of(json!({
        "id": event.id,
        "source": event.source.as_str(),
        "scope": event.scope,
        "kind": event.kind,
        "status": event.state.as_str(),
        "reason": event.reason,
        "named": event.named,
        "provider_call_id": event.provider_call_id,
        "attempt": event.attempt_id,
        "tries": event.tries,
        "deliveries": event.deliveries,
        "received_at": instant(Some(event.received_at)),
        "settled_at": instant(event.settled_at),
        "fields": event.fields,
        "payload": json_text(Some(&event.payload)),
    }));
    Shown { record, parts: Vec::new() }
}

pub(super) fn run(run: &Run) -> Shown {
    let record = record_of(json!({
        "id": run.id,
        "command": run.command,
        "version": run.version,
        "tzdata": run.tzdata,
        "host": run.host,
        "pid": run.pid,
        "started_at": instant(Some(run.started_at)),
        "ended_at": instant(run.ended_at),
        "exit_code": run.exit_code,
        "counts": json_text(run.counts.as_deref()),
    }));
    Shown { record, parts: Vec::new() }
}

pub(super) async fn audit(tx: &mut Tx, subject: &str) -> Result<Rows> {
    let mut rows = Rows::new(&["at", "actor", "action", "detail"]);
    for entry in listing::latest_audit(tx, subject, LATEST).await? {
        rows.push(vec![
            instant(Some(entry.at)),
            json!(entry.actor),
            json!(entry.action),
            json_text(Some(&entry.detail)),
        ]);
    }
    Ok(rows)
}
