//! What is known of calls about invoices, and what customers answered.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, debtors, dynamic, execute, fetch, scalar};
use crate::domain::billing::records::amount;
use crate::domain::call::CallStatus;
use crate::domain::call_status::CustomerResponse;
use crate::domain::outcome::Outcome;
use crate::domain::reminder::{Debt, InvoicePause, PauseReason, Reminded, Reminders};

/// Rings are read for so many days: a week in whatever zone.
const RINGS_DAYS: i64 = 9;
/// So many values at most stand in one list of a statement.
const BATCH: usize = 500;

/// Whose invoices are asked for, and for which calls.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The purpose of the slots that count as reminders.
    pub purpose: &'a str,
    /// How the campaign reminds.
    pub reminders: &'a Reminders,
    /// The calls that are looked at: a slot that one of them holds is its own.
    pub own_calls: &'a [String],
}

#[derive(Debug, FromRow)]
struct DebtRow {
    contact_id: String,
    id: String,
    number: Option<String>,
    customer_id: String,
    status: String,
    deleted_at: Option<DateTime<Utc>>,
    due_date: String,
    balance: Option<String>,
    currency: Option<String>,
    seen_at: DateTime<Utc>,
    unread_since: Option<DateTime<Utc>>,
    changed_until: Option<DateTime<Utc>>,
    reason: Option<PauseReason>,
    until: Option<DateTime<Utc>>,
}

/// The invoices of contacts that are not overdue for longer than the campaign looks back, with the calls about them, by
/// contact id.
pub async fn debts(
    tx: &mut Tx,
    asked: Asked<'_>,
    contact_ids: &[String],
    now: DateTime<Utc>,
) -> Result<HashMap<String, Vec<Debt>>> {
    // A day more, since it may be an earlier date somewhere.
    let due_after = TimeDelta::try_days(asked.reminders.max_days_overdue + 1)
        .and_then(|length| now.date_naive().checked_sub_signed(length))
        .unwrap_or(NaiveDate::MIN)
        .to_string();
    let mut debts: HashMap<String, Vec<Debt>> = HashMap::new();
    for batch in contact_ids.chunks(BATCH) {
        let rows: Vec<DebtRow> = dynamic!(
            tx,
            |q| {
                q.push(
                    "SELECT l.contact_id, i.id, i.number, i.customer_id, i.status, i.deleted_at, i.due_date, i.balance, \
                     i.currency, i.seen_at, i.unread_since, p.changed_until, h.reason, h.until FROM billing_contacts l \
                     JOIN billing_invoices i ON i.tenant = l.tenant AND i.customer_id = l.customer_id \
                     LEFT JOIN billing_passes p ON p.tenant = l.tenant AND p.kind = 'invoices' \
                     LEFT JOIN billing_pauses h ON h.tenant = i.tenant AND h.invoice_id = i.id WHERE l.tenant = ",
                );
                q.push_bind(asked.tenant).push(" AND i.due_date >= ").push_bind(due_after.as_str());
                q.push(" AND l.contact_id IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")");
            },
            build_query_as::<DebtRow>().fetch_all
        )?;
        for row in rows {
            // A date that cannot be read is none to go by.
            let Ok(due_date) = row.due_date.parse() else { continue };
            debts.entry(row.contact_id).or_default().push(Debt {
                invoice_id: row.id,
                number: row.number,
                customer_id: row.customer_id,
                status: row.status,
                is_deleted: row.deleted_at.is_some(),
                due_date,
                balance: row.balance.as_deref().and_then(amount),
                currency: row.currency,
                // What was met and could not be read may say anything by now.
                fresh_at: match row.unread_since {
                    Some(_) => DateTime::UNIX_EPOCH,
                    None => row.changed_until.map_or(row.seen_at, |until| until.max(row.seen_at)),
                },
                pause: row.reason.map(|reason| InvoicePause { reason, until: row.until }),
                ..Debt::default()
            });
        }
    }
    add_calls(tx, asked, &mut debts, now).await?;
    Ok(debts)
}

/// An attempt about an invoice that may have rung.
#[derive(Debug, FromRow)]
struct RingRow {
    subject: String,
    rang_at: DateTime<Utc>,
    spoken_at: Option<DateTime<Utc>>,
}

async fn add_calls(
    tx: &mut Tx,
    asked: Asked<'_>,
    debts: &mut HashMap<String, Vec<Debt>>,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut by_invoice: HashMap<String, Vec<&mut Debt>> = HashMap::new();
    for debt in debts.values_mut().flatten() {
        by_invoice.entry(debt.invoice_id.clone()).or_default().push(debt);
    }
    let invoices: Vec<String> = by_invoice.keys().cloned().collect();
    let since = now - TimeDelta::days(RINGS_DAYS.max(asked.reminders.rest_days + 2));
    for batch in invoices.chunks(BATCH) {
        let slots: Vec<(String, String, String)> = dynamic!(
            tx,
            |q| {
                q.push("SELECT subject, key, call_id FROM slots WHERE tenant = ").push_bind(asked.tenant);
                q.push(" AND purpose = ").push_bind(asked.purpose).push(" AND subject IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")");
            },
            build_query_as::<(String, String, String)>().fetch_all
        )?;
        for (subject, key, call_id) in slots {
            let Some(offset) = Reminders::offset_of(&key) else { continue };
            let by_own_call = asked.own_calls.contains(&call_id);
            for debt in by_invoice.get_mut(&subject).into_iter().flatten() {
                debt.reminded.push(Reminded { offset, by_own_call });
            }
        }
        // Whatever the purpose: an invoice is one debt.
        let rings: Vec<RingRow> = dynamic!(
            tx,
            |q| {
                q.push(
                    "SELECT DISTINCT s.subject, a.id, a.placing_at AS rang_at, \
                     CASE WHEN (a.state = 'answered' OR a.outcome = 'answered') AND coalesce(b.answer, '') <> 'no_answer' \
                          THEN coalesce(a.answered_at, a.ended_at, a.placing_at) END AS spoken_at \
                     FROM attempt_subjects s JOIN attempts a ON a.id = s.attempt_id \
                     LEFT JOIN billing_answers b ON b.attempt_id = a.id WHERE s.tenant = ",
                );
                q.push_bind(asked.tenant).push(" AND a.may_have_rung AND a.placing_at > ").push_bind(since);
                q.push(" AND s.subject IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")");
            },
            build_query_as::<RingRow>().fetch_all
        )?;
        for RingRow { subject, rang_at, spoken_at } in rings {
            for debt in by_invoice.get_mut(&subject).into_iter().flatten() {
                debt.rings.push(rang_at);
                debt.spoken_at = debt.spoken_at.max(spoken_at);
            }
        }
    }
    Ok(())
}

/// An invoice that nobody is called about for some time.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Pause {
    /// Whose invoice.
    pub tenant: String,
    /// The invoice.
    pub invoice_id: String,
    /// Why.
    pub reason: PauseReason,
    /// Until when; none: until somebody ends it.
    pub until: Option<DateTime<Utc>>,
    /// The attempt in whose conversation it was said.
    pub attempt_id: Option<String>,
    /// In somebody's words.
    pub note: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// Pauses an invoice; says whether that changed anything. A dispute gives way to nothing but an operator, and of two pauses
/// that end by themselves the longer one stays.
pub async fn pause(tx: &mut Tx, pause: &Pause) -> Result<bool> {
    let written = execute!(
        tx,
        "INSERT INTO billing_pauses (tenant, invoice_id, reason, until, attempt_id, note, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant, invoice_id) DO UPDATE SET reason = excluded.reason, until = excluded.until,
             attempt_id = excluded.attempt_id, note = excluded.note, created_at = excluded.created_at
         WHERE (billing_pauses.until IS NOT NULL AND (excluded.until IS NULL OR excluded.until > billing_pauses.until))
            OR (excluded.reason IN ('operator', 'dispute') AND billing_pauses.reason <> 'dispute')",
        &pause.tenant,
        &pause.invoice_id,
        pause.reason,
        pause.until,
        pause.attempt_id.as_deref(),
        pause.note.as_deref(),
        pause.created_at
    )? > 0;
    if written {
        debtors::wake_for(tx, &pause.tenant, std::slice::from_ref(&pause.invoice_id), pause.created_at).await?;
    }
    Ok(written)
}

/// Ends the pause of an invoice; gives what it was.
pub async fn resume(tx: &mut Tx, tenant: &str, invoice_id: &str, now: DateTime<Utc>) -> Result<Option<Pause>> {
    let ended = fetch!(
        tx,
        Pause,
        fetch_optional,
        "DELETE FROM billing_pauses WHERE tenant = $1 AND invoice_id = $2
         RETURNING tenant, invoice_id, reason, until, attempt_id, note, created_at",
        tenant,
        invoice_id
    )?;
    if ended.is_some() {
        debtors::wake_for(tx, tenant, &[invoice_id.to_owned()], now).await?;
    }
    Ok(ended)
}

/// The pause of an invoice.
pub async fn pause_of(tx: &mut Tx, tenant: &str, invoice_id: &str) -> Result<Option<Pause>> {
    Ok(fetch!(
        tx,
        Pause,
        fetch_optional,
        "SELECT tenant, invoice_id, reason, until, attempt_id, note, created_at FROM billing_pauses
         WHERE tenant = $1 AND invoice_id = $2",
        tenant,
        invoice_id
    )?)
}

/// The tenants with invoices that somebody says are paid, that are not by what is known, and that were not read since.
pub async fn any_said_to_be_paid(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        concat!(
            "SELECT DISTINCT h.tenant FROM billing_pauses h
         JOIN billing_invoices i ON i.tenant = h.tenant AND i.id = h.invoice_id
         WHERE h.reason = 'already_paid' AND h.until > $1 AND i.deleted_at IS NULL AND i.seen_at < h.created_at
           AND ",
            owed!(),
            " ORDER BY h.tenant"
        ),
        now
    )?)
}

/// Those invoices of a tenant, by id; of whom somebody said so last, first.
pub async fn said_to_be_paid(tx: &mut Tx, tenant: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        concat!(
            "SELECT h.invoice_id FROM billing_pauses h
         JOIN billing_invoices i ON i.tenant = h.tenant AND i.id = h.invoice_id
         WHERE h.tenant = $1 AND h.reason = 'already_paid' AND h.until > $2 AND i.deleted_at IS NULL
           AND i.seen_at < h.created_at AND ",
            owed!(),
            "
         ORDER BY h.created_at DESC, h.invoice_id LIMIT $3"
        ),
        tenant,
        now,
        limit
    )?)
}

/// Notes what somebody answered in the conversation of an attempt; says whether that is news. A dispute stays one.
pub async fn put_answer(
    tx: &mut Tx,
    attempt_id: &str,
    tenant: &str,
    answer: CustomerResponse,
    now: DateTime<Utc>,
) -> Result<bool> {
    Ok(execute!(
        tx,
        "INSERT INTO billing_answers (attempt_id, tenant, answer, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (attempt_id) DO UPDATE SET answer = excluded.answer, created_at = excluded.created_at
         WHERE billing_answers.answer <> excluded.answer AND billing_answers.answer <> 'dispute'",
        attempt_id,
        tenant,
        answer,
        now
    )? > 0)
}

/// What was answered in the conversation of an attempt.
pub async fn answer_of(tx: &mut Tx, attempt_id: &str) -> Result<Option<CustomerResponse>> {
    Ok(scalar!(
        tx,
        CustomerResponse,
        fetch_optional,
        "SELECT answer FROM billing_answers WHERE attempt_id = $1",
        attempt_id
    )?)
}

/// An invoice that a call was about.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub invoice_id: String,
    /// What people call it.
    pub number: Option<String>,
    /// What is not paid: an exact decimal.
    pub balance: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// When it is to be paid: YYYY-MM-DD.
    pub due_date: Option<String>,
}

/// The invoices that an attempt named, the one that was due first first. Another attempt of its call may have named others:
/// what was paid or lapsed in between is left out.
pub async fn named_by(tx: &mut Tx, attempt_id: &str) -> Result<Vec<Named>> {
    Ok(fetch!(
        tx,
        Named,
        fetch_all,
        "SELECT DISTINCT i.id AS invoice_id, i.number, i.balance, i.currency, i.due_date
         FROM attempt_subjects s JOIN billing_invoices i ON i.tenant = s.tenant AND i.id = s.subject
         WHERE s.attempt_id = $1 ORDER BY i.due_date, i.id",
        attempt_id
    )?)
}

/// A call about an invoice.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Reminder {
    /// The key of the slot, which names the offset.
    pub key: String,
    /// The purpose.
    pub purpose: String,
    /// The call.
    pub call_id: String,
    /// Where it stands.
    pub status: CallStatus,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// When the slot was taken.
    pub created_at: DateTime<Utc>,
    /// What was answered.
    pub answer: Option<CustomerResponse>,
}

/// The calls about an invoice, the oldest first.
pub async fn of_invoice(tx: &mut Tx, tenant: &str, invoice_id: &str) -> Result<Vec<Reminder>> {
    Ok(fetch!(
        tx,
        Reminder,
        fetch_all,
        "SELECT s.key, s.purpose, s.call_id, c.status, c.outcome, s.created_at,
                (SELECT b.answer FROM billing_answers b JOIN attempts a ON a.id = b.attempt_id
                 WHERE a.call_id = s.call_id ORDER BY a.number DESC LIMIT 1) AS answer
         FROM slots s JOIN calls c ON c.id = s.call_id
         WHERE s.tenant = $1 AND s.subject = $2 ORDER BY s.created_at, s.call_id",
        tenant,
        invoice_id
    )?)
}

/// Opens a ticket about a conversation, or adds to the one that there is; `fields` is a JSON object of texts.
///
/// # Errors
/// [`StoreError::Unreadable`] when the one that there is cannot be read.
pub async fn open_ticket(
    tx: &mut Tx,
    conversation_id: &str,
    tenant: &str,
    contact_id: &str,
    fields: &serde_json::Map<String, serde_json::Value>,
    now: DateTime<Utc>,
) -> Result<()> {
    let known =
        scalar!(tx, String, fetch_optional, "SELECT fields FROM tickets WHERE conversation_id = $1", conversation_id)?;
    let mut all: serde_json::Map<String, serde_json::Value> = match &known {
        Some(text) => serde_json::from_str(text).map_err(|error| StoreError::Unreadable {
            what: "ticket",
            subject: conversation_id.to_owned(),
            problem: error.to_string(),
        })?,
        None => serde_json::Map::new(),
    };
    for (name, value) in fields {
        all.insert(name.clone(), value.clone());
    }
    execute!(
        tx,
        "INSERT INTO tickets (conversation_id, tenant, contact_id, fields, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (conversation_id) DO UPDATE SET fields = excluded.fields",
        conversation_id,
        tenant,
        contact_id,
        serde_json::to_string(&all).expect("text keys"),
        now
    )?;
    Ok(())
}
