//! What was made of conversations: contacts, bookings, tickets, each at most once.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::conversations::Conversation;
use super::listing::Filter;
use super::{Result, StoreError, Tx, dynamic, execute, fetch, scalar};
use crate::domain::records::{Person, Records};

/// Which kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bookings.
    Booking,
    /// Tickets.
    Ticket,
}

/// A booking or a ticket.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Record {
    /// The conversation that it was made of; there is no second one of its kind.
    pub conversation_id: String,
    /// The tenant.
    pub tenant: String,
    /// Whose it is.
    pub contact_id: Option<String>,
    /// Its fields, as a JSON object.
    pub fields: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes what a conversation holds that was locked in this transaction, and found completed and without records. `callee`
/// is whoever was called; otherwise a new contact would get `new_contact_id`.
///
/// # Errors
/// When the database refuses it, as it does a contact without a name.
pub async fn process(
    tx: &mut Tx,
    conversation: &Conversation,
    records: &Records,
    callee: Option<&str>,
    new_contact_id: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let contact_id = match (callee, &records.person) {
        (Some(callee), _) => Some(callee.to_owned()),
        (None, Some(person)) => Some(meet(tx, conversation, person, new_contact_id, now).await?),
        (None, None) => None,
    };
    for (kind, fields) in [(Kind::Booking, &records.booking), (Kind::Ticket, &records.ticket)] {
        let Some(fields) = fields else { continue };
        let fields = serde_json::to_string(fields).expect("text keys");
        let statement = match kind {
            Kind::Booking => {
                "INSERT INTO bookings (conversation_id, tenant, contact_id, fields, created_at)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (conversation_id) DO NOTHING"
            }
            Kind::Ticket => {
                "INSERT INTO tickets (conversation_id, tenant, contact_id, fields, created_at)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (conversation_id) DO NOTHING"
            }
        };
        execute!(tx, statement, &conversation.id, &conversation.tenant, contact_id.as_deref(), fields.as_str(), now)?;
    }
    let written = execute!(
        tx,
        "UPDATE conversations SET processed_at = $2, contact_id = $3, updated_at = $2
         WHERE id = $1 AND status = 'completed' AND processed_at IS NULL",
        &conversation.id,
        now,
        contact_id.as_deref()
    )?;
    if written == 1 {
        Ok(())
    } else {
        Err(StoreError::Conflict(format!("conversation {} was processed by another", conversation.id)))
    }
}

/// Takes the completed conversations of a tenant that makes nothing of them for processed.
pub async fn make_nothing(tx: &mut Tx, tenant: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE conversations SET processed_at = $2, updated_at = $2
         WHERE tenant = $1 AND status = 'completed' AND processed_at IS NULL",
        tenant,
        now
    )?;
    Ok(())
}

/// The contact with a person's phone: made, or found and given the name and address that it lacks. One that is found is
/// changed by that: what an import made is not taken back once somebody wants something.
async fn meet(
    tx: &mut Tx,
    conversation: &Conversation,
    person: &Person,
    new_id: &str,
    now: DateTime<Utc>,
) -> Result<String> {
    execute!(
        tx,
        "INSERT INTO contacts (id, tenant, phone, extension, name, email, attributes, conversation_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, '{}', $7, $8, $8) ON CONFLICT (tenant, phone) DO NOTHING",
        new_id,
        &conversation.tenant,
        &person.phone,
        person.extension.as_deref(),
        &person.name,
        person.email.as_deref(),
        &conversation.id,
        now
    )?;
    execute!(
        tx,
        "UPDATE contacts SET name = coalesce(name, $3), email = coalesce(email, $4), updated_at = $5
         WHERE tenant = $1 AND phone = $2 AND id <> $6",
        &conversation.tenant,
        &person.phone,
        &person.name,
        person.email.as_deref(),
        now,
        new_id
    )?;
    Ok(scalar!(
        tx,
        String,
        fetch_one,
        "SELECT id FROM contacts WHERE tenant = $1 AND phone = $2",
        &conversation.tenant,
        &person.phone
    )?)
}

/// The record of a kind that was made of a conversation.
pub async fn of_conversation(tx: &mut Tx, kind: Kind, conversation_id: &str) -> Result<Option<Record>> {
    let statement = match kind {
        Kind::Booking => {
            "SELECT conversation_id, tenant, contact_id, fields, created_at FROM bookings WHERE conversation_id = $1"
        }
        Kind::Ticket => {
            "SELECT conversation_id, tenant, contact_id, fields, created_at FROM tickets WHERE conversation_id = $1"
        }
    };
    Ok(fetch!(tx, Record, fetch_optional, statement, conversation_id)?)
}

/// Records of a kind, newest first.
pub async fn list(tx: &mut Tx, kind: Kind, filter: &Filter) -> Result<Vec<Record>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT conversation_id, tenant, contact_id, fields, created_at FROM ");
            q.push(match kind {
                Kind::Booking => "bookings",
                Kind::Ticket => "tickets",
            });
            q.push(" WHERE TRUE");
            if let Some(tenant) = &filter.tenant {
                q.push(" AND tenant = ").push_bind(tenant.clone());
            }
            if let Some(since) = filter.since {
                q.push(" AND created_at >= ").push_bind(since);
            }
            q.push(" ORDER BY created_at DESC, conversation_id DESC LIMIT ").push_bind(filter.limit);
        },
        build_query_as::<Record>().fetch_all
    )?)
}
