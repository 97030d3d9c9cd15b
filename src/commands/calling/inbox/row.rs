//! The row that a webhook becomes.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::judge::{Target, target_of};
use super::{Content, Incoming};
use crate::domain::event::EventState;
use crate::domain::signature::to_hex;
use crate::store::events::{self, Event};
use crate::store::{self, Tx};

/// The row that a webhook becomes, with what makes it the same as another.
pub(super) async fn to_store(tx: &mut Tx, incoming: &Incoming, id: &str, now: DateTime<Utc>) -> store::Result<Event> {
    let (source, scope, kind) = (incoming.source, incoming.scope.to_string(), incoming.kind());
    let mut event = Event {
        id: id.to_owned(),
        source,
        scope: scope.clone(),
        kind: kind.clone(),
        dedupe_key: String::new(),
        named: None,
        provider_call_id: None,
        attempt_id: None,
        state: EventState::Pending,
        reason: None,
        tries: 0,
        deliveries: 1,
        received_at: now,
        settled_at: None,
        fields: incoming.fields.clone(),
        payload: incoming.payload.clone(),
    };
    match &incoming.content {
        Content::CallStatus(report) => {
            event.named = Some(report.reminder_id.clone());
            let target = target_of(tx, &incoming.scope, &report.reminder_id).await?;
            let by_call = match &target {
                Target::Attempt(attempt) => attempt.id != report.reminder_id,
                Target::NoneOpen(_) => true,
                Target::Nothing => false,
            };
            // Who names the call means the attempt that was open then. The same words, come again when the next
            // attempt is open, are still about the former one.
            let same = if by_call {
                events::same_words(tx, &report.reminder_id, &kind, &incoming.payload).await?
            } else {
                None
            };
            let key = match &target {
                Target::Attempt(attempt) => hash(&["call-status", "attempt", &attempt.id, &kind]),
                Target::NoneOpen(_) => hash(&["call-status", "call", &report.reminder_id, &kind, &incoming.payload]),
                Target::Nothing => hash(&["call-status", &scope, &report.reminder_id, &kind]),
            };
            event.dedupe_key = same.unwrap_or(key);
            match target {
                Target::Attempt(attempt) => event.attempt_id = Some(attempt.id),
                Target::NoneOpen(reason) => {
                    event.state = EventState::Ignored;
                    event.reason = Some(reason.to_owned());
                    event.settled_at = Some(now);
                }
                Target::Nothing => {}
            }
        }
        Content::Payment(payment) => {
            event.named.clone_from(&payment.object_id);
            event.dedupe_key = hash(&[source.as_str(), &scope, "id", &payment.id]);
            if let Some(reason) = payment.says_nothing() {
                event.state = EventState::Ignored;
                event.reason = Some(reason);
                event.settled_at = Some(now);
            }
        }
        Content::Provider(report) => {
            event.named.clone_from(&report.correlation);
            event.provider_call_id.clone_from(&report.call_id);
            let call = report.call_id.as_deref().or(report.correlation.as_deref());
            let is_telling = report.report.is_some();
            event.dedupe_key = match call {
                _ if report.event_id.is_some() => {
                    hash(&[source.as_str(), &scope, "id", report.event_id.as_deref().unwrap_or_default()])
                }
                Some(call) if is_telling => match &report.stamp {
                    Some(stamp) => hash(&[source.as_str(), &scope, call, &kind, stamp]),
                    None => hash(&[source.as_str(), &scope, call, &kind]),
                },
                _ => hash(&[source.as_str(), &scope, call.unwrap_or_default(), &kind, &incoming.payload]),
            };
            if !is_telling {
                event.state = EventState::Ignored;
                event.reason = Some("it says nothing of a call".to_owned());
                event.settled_at = Some(now);
            }
        }
    }
    Ok(event)
}

/// One hash of several texts, each with its length, so that no two lists of them are alike.
fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    to_hex(&digest.finalize())
}
