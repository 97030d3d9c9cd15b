//! The slots that claims take, and what their attempts are about.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{Claim, SlotKey};
use crate::store::{Result, Tx, dynamic};

/// Takes the slots of each claim; yields the calls that hold all of theirs. A retry of a call holds its slots already, but
/// for a phone that was corrected since.
pub(super) async fn insert_slots(tx: &mut Tx, claims: &[&Claim], now: DateTime<Utc>) -> Result<HashSet<String>> {
    let wanted: Vec<(&Claim, &SlotKey)> =
        claims.iter().flat_map(|claim| claim.slots.iter().map(move |slot| (*claim, slot))).collect();
    let mut inserted = 0;
    for batch in wanted.chunks(500) {
        inserted += dynamic!(
            tx,
            |q| {
                q.push("INSERT INTO slots (tenant, phone, purpose, key, subject, call_id, created_at) ");
                q.push_values(batch, |mut row, (c, slot)| {
                    row.push_bind(&c.tenant)
                        .push_bind(&c.phone)
                        .push_bind(&c.purpose)
                        .push_bind(&slot.key)
                        .push_bind(Some(slot.subject.as_str()).filter(|subject| !subject.is_empty()))
                        .push_bind(&c.call_id)
                        .push_bind(now);
                });
                q.push(" ON CONFLICT DO NOTHING");
            },
            execute
        )?;
    }
    if inserted == wanted.len() as u64 {
        return Ok(claims.iter().map(|c| c.call_id.clone()).collect());
    }
    let held: Vec<(String, String, String)> = dynamic!(
        tx,
        |q| {
            q.push("SELECT call_id, phone, key FROM slots WHERE call_id IN (");
            let mut ids = q.separated(", ");
            for c in claims {
                ids.push_bind(&c.call_id);
            }
            q.push(")");
        },
        build_query_as::<(String, String, String)>().fetch_all
    )?;
    let holds = |c: &Claim, slot: &SlotKey| {
        held.iter().any(|(call_id, phone, key)| {
            // There is one slot of a subject, whatever the phone.
            *call_id == c.call_id && *key == slot.key && (*phone == c.phone || !slot.subject.is_empty())
        })
    };
    let all_held = claims.iter().filter(|c| c.slots.iter().all(|slot| holds(c, slot)));
    Ok(all_held.map(|c| c.call_id.clone()).collect())
}

/// Notes what each attempt is about, where it is about anything by itself.
pub(super) async fn insert_subjects(tx: &mut Tx, claims: &[&Claim]) -> Result<()> {
    let subjects: Vec<(&Claim, &SlotKey)> = claims
        .iter()
        .flat_map(|claim| claim.slots.iter().map(move |slot| (*claim, slot)))
        .filter(|(_, slot)| !slot.subject.is_empty())
        .collect();
    for batch in subjects.chunks(500) {
        dynamic!(
            tx,
            |q| {
                q.push("INSERT INTO attempt_subjects (attempt_id, tenant, subject) ");
                q.push_values(batch, |mut row, (claim, slot)| {
                    row.push_bind(&claim.attempt_id).push_bind(&claim.tenant).push_bind(&slot.subject);
                });
                q.push(" ON CONFLICT DO NOTHING");
            },
            execute
        )?;
    }
    Ok(())
}
