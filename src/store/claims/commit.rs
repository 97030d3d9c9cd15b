//! Committing to dial: the last look at everything, in one transaction.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::store::control::share_dialling;
use crate::store::{Result, Tx, dynamic};

/// Commits claims to being dialled: after this transaction the phones may ring.
///
/// One statement asks again for everything that must hold at this moment: the claim is ours and its lease runs, the
/// window stays open long enough, nobody paused, the campaign is active by unchanged rules, the contact is unchanged
/// and not suppressed, the call still waits, and the account and campaign are not held back. Yields the attempts that
/// may be dialled; the others keep their state.
pub async fn commit_to_dial(tx: &mut Tx, attempts: &[String], owner: &str, now: DateTime<Utc>) -> Result<Vec<String>> {
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    // Readers of these rows on PostgreSQL wait for a pause, a stop, an edit or a cancellation that is under way, and
    // hold up those that come after until this commit is durable. SQLite has one writer.
    if matches!(tx, Tx::Postgres(_)) {
        share_dialling(tx).await?;
        lock_what_dials_depend_on(tx, attempts).await?;
    }
    let placed: Vec<String> = dynamic!(
        tx,
        |q| {
            q.push("UPDATE attempts SET state = 'placing', may_have_rung = TRUE, placing_at = ");
            q.push_bind(now);
            q.push(", org_id = (SELECT a.org_id FROM accounts a WHERE a.name = attempts.account), updated_at = ");
            q.push_bind(now);
            q.push(" WHERE state = 'claimed' AND owner = ");
            q.push_bind(owner);
            q.push(" AND lease_until > ");
            q.push_bind(now);
            q.push(" AND dial_before > ");
            q.push_bind(now);
            q.push(
                " AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.scope IN ('all', 'tenant:' || attempts.tenant))
                  AND EXISTS (SELECT 1 FROM calls c WHERE c.id = attempts.call_id AND c.status = 'scheduled')
                  AND EXISTS (SELECT 1 FROM contacts k WHERE k.id = attempts.contact_id
                              AND k.phone = attempts.phone AND k.version = attempts.contact_version)
                  AND NOT EXISTS (SELECT 1 FROM suppressions s WHERE s.tenant IN ('', attempts.tenant)
                              AND s.pattern = attempts.phone AND (s.expires_at IS NULL OR s.expires_at > ",
            );
            q.push_bind(now);
            q.push(
                "))
                  AND NOT EXISTS (SELECT 1 FROM suppressions s WHERE s.tenant IN ('', attempts.tenant)
                              AND s.is_prefix AND substr(attempts.phone, 1, length(s.pattern)) = s.pattern
                              AND (s.expires_at IS NULL OR s.expires_at > ",
            );
            q.push_bind(now);
            q.push(
                ")) AND EXISTS (SELECT 1 FROM campaigns m WHERE m.id = attempts.campaign_id AND m.active
                              AND m.rules_version = attempts.rules_version
                              AND (m.held_until IS NULL OR m.held_until <= ",
            );
            q.push_bind(now);
            q.push(
                ")) AND EXISTS (SELECT 1 FROM accounts a WHERE a.name = attempts.account
                              AND (a.held_until IS NULL OR a.held_until <= ",
            );
            q.push_bind(now);
            q.push(")) AND id IN (");
            let mut ids = q.separated(", ");
            for id in attempts {
                ids.push_bind(id);
            }
            q.push(") RETURNING id");
        },
        build_query_scalar::<String>().fetch_all
    )?;
    if placed.is_empty() {
        return Ok(Vec::new());
    }
    dynamic!(
        tx,
        |q| {
            q.push("UPDATE calls SET status = 'calling', updated_at = ");
            q.push_bind(now);
            q.push(" WHERE id IN (SELECT call_id FROM attempts WHERE id IN (");
            let mut ids = q.separated(", ");
            for id in &placed {
                ids.push_bind(id);
            }
            q.push("))");
        },
        execute
    )?;
    Ok(placed)
}

async fn lock_what_dials_depend_on(tx: &mut Tx, attempts: &[String]) -> Result<()> {
    let rows: Vec<(String, String, String)> = dynamic!(
        tx,
        |q| {
            q.push("SELECT campaign_id, contact_id, call_id FROM attempts WHERE id IN (");
            let mut ids = q.separated(", ");
            for id in attempts {
                ids.push_bind(id);
            }
            q.push(")");
        },
        build_query_as::<(String, String, String)>().fetch_all
    )?;
    let campaigns: BTreeSet<&str> = rows.iter().map(|(campaign_id, _, _)| campaign_id.as_str()).collect();
    let contacts: BTreeSet<&str> = rows.iter().map(|(_, contact_id, _)| contact_id.as_str()).collect();
    let calls: BTreeSet<&str> = rows.iter().map(|(_, _, call_id)| call_id.as_str()).collect();
    for (head, ids, tail) in [
        ("SELECT 1 FROM campaigns WHERE id IN (", campaigns, ") ORDER BY id FOR SHARE"),
        ("SELECT 1 FROM contacts WHERE id IN (", contacts, ") ORDER BY id FOR SHARE"),
        ("SELECT 1 FROM calls WHERE id IN (", calls, ") ORDER BY id FOR UPDATE"),
    ] {
        if ids.is_empty() {
            continue;
        }
        dynamic!(
            tx,
            |q| {
                q.push(head);
                let mut separated = q.separated(", ");
                for id in &ids {
                    separated.push_bind(*id);
                }
                q.push(tail);
            },
            execute
        )?;
    }
    Ok(())
}
