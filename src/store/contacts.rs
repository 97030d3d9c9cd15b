//! People and businesses that can be called.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, dynamic, execute, fetch};

mod fresh;

pub use fresh::{Fresh, Origin, any_external_id, insert_fresh, made_by};

/// The most rows in one statement.
pub const BATCH_ROWS: usize = 500;

/// A contact, as stored. Unique by tenant and phone.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Contact {
    /// ULID.
    pub id: String,
    /// The tenant on whose behalf it is called.
    pub tenant: String,
    /// E.164.
    pub phone: String,
    /// Digits to key in once the call is answered.
    pub extension: Option<String>,
    /// How the agent may address the callee.
    pub name: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// The id in the system that the contact comes from.
    pub external_id: Option<String>,
    /// The zone, an IANA name.
    pub timezone: Option<String>,
    /// Where the zone comes from: `given`.
    pub timezone_source: Option<String>,
    /// The preferred local time, `HH:MM`.
    pub preferred_time: Option<String>,
    /// Values for the agent, as a JSON object.
    pub attributes: String,
    /// Moves whenever phone, extension, zone or preferred time change.
    pub version: i64,
    /// The import that made it.
    pub import_id: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! contact_columns {
    () => {
        "id, tenant, phone, extension, name, email, external_id, timezone, timezone_source, preferred_time, \
         attributes, version, import_id, created_at, updated_at"
    };
}

/// Begins the statement that writes contacts, up to what happens on a conflict.
macro_rules! push_contacts {
    ($q:ident, $contacts:expr) => {
        $q.push(concat!("INSERT INTO contacts (", contact_columns!(), ") "));
        $q.push_values($contacts, |mut row, contact| {
            row.push_bind(&contact.id)
                .push_bind(&contact.tenant)
                .push_bind(&contact.phone)
                .push_bind(&contact.extension)
                .push_bind(&contact.name)
                .push_bind(&contact.email)
                .push_bind(&contact.external_id)
                .push_bind(&contact.timezone)
                .push_bind(&contact.timezone_source)
                .push_bind(&contact.preferred_time)
                .push_bind(&contact.attributes)
                .push_bind(contact.version)
                .push_bind(&contact.import_id)
                .push_bind(contact.created_at)
                .push_bind(contact.updated_at);
        });
    };
}

/// One contact by id.
pub async fn contact(tx: &mut Tx, id: &str) -> Result<Option<Contact>> {
    Ok(fetch!(tx, Contact, fetch_optional, concat!("SELECT ", contact_columns!(), " FROM contacts WHERE id = $1"), id)?)
}

/// Every tenant's contact with this phone, E.164, by tenant.
pub async fn contacts_with_phone(tx: &mut Tx, phone: &str) -> Result<Vec<Contact>> {
    Ok(fetch!(
        tx,
        Contact,
        fetch_all,
        concat!("SELECT ", contact_columns!(), " FROM contacts WHERE phone = $1 ORDER BY tenant"),
        phone
    )?)
}

/// Which contacts to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those enrolled in this campaign, by its id.
    pub campaign_id: Option<String>,
    /// Only those behind this tenant and phone, for reading on.
    pub after: Option<(String, String)>,
    /// The most to give.
    pub limit: i64,
}

/// Contacts in the order of tenant and phone.
pub async fn contacts(tx: &mut Tx, filter: &Filter) -> Result<Vec<Contact>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", contact_columns!(), " FROM contacts WHERE TRUE"));
            if let Some(tenant) = &filter.tenant {
                q.push(" AND tenant = ");
                q.push_bind(tenant);
            }
            if let Some(campaign_id) = &filter.campaign_id {
                q.push(" AND id IN (SELECT contact_id FROM enrollments WHERE status = 'active' AND campaign_id = ");
                q.push_bind(campaign_id);
                q.push(")");
            }
            if let Some((tenant, phone)) = &filter.after {
                q.push(" AND (tenant, phone) > (");
                q.push_bind(tenant);
                q.push(", ");
                q.push_bind(phone);
                q.push(")");
            }
            q.push(" ORDER BY tenant, phone LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<Contact>().fetch_all
    )?)
}

/// The contacts of a tenant that have one of these phones, E.164, at most [`BATCH_ROWS`] of them. With `lock`, nobody
/// else changes them until the transaction ends.
pub async fn contacts_by_phones(tx: &mut Tx, tenant: &str, phones: &[&str], lock: bool) -> Result<Vec<Contact>> {
    if phones.is_empty() {
        return Ok(Vec::new());
    }
    let lock = lock && matches!(tx, Tx::Postgres(_));
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", contact_columns!(), " FROM contacts WHERE tenant = "));
            q.push_bind(tenant);
            q.push(" AND phone IN (");
            let mut values = q.separated(", ");
            for phone in phones {
                values.push_bind(*phone);
            }
            q.push(") ORDER BY phone");
            if lock {
                q.push(" FOR UPDATE");
            }
        },
        build_query_as::<Contact>().fetch_all
    )?)
}

/// The contacts of a tenant that have one of these ids in the system that they come from, for at most [`BATCH_ROWS`] ids.
/// With `lock`, nobody else changes them until the transaction ends.
pub async fn contacts_by_external_ids(
    tx: &mut Tx,
    tenant: &str,
    external_ids: &[&str],
    lock: bool,
) -> Result<Vec<Contact>> {
    if external_ids.is_empty() {
        return Ok(Vec::new());
    }
    let lock = lock && matches!(tx, Tx::Postgres(_));
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", contact_columns!(), " FROM contacts WHERE tenant = "));
            q.push_bind(tenant);
            q.push(" AND external_id IN (");
            let mut values = q.separated(", ");
            for external_id in external_ids {
                values.push_bind(*external_id);
            }
            q.push(") ORDER BY phone");
            if lock {
                q.push(" FOR UPDATE");
            }
        },
        build_query_as::<Contact>().fetch_all
    )?)
}

/// Keeps other imports of this tenant waiting until the transaction ends. SQLite's write lock does so by itself.
pub async fn lock_tenant(tx: &mut Tx, tenant: &str) -> Result<()> {
    if let Tx::Postgres(tx) = tx {
        // Not FOR UPDATE: rows that refer to the tenant are written meanwhile.
        sqlx::query("SELECT name FROM tenants WHERE name = $1 FOR NO KEY UPDATE")
            .bind(tenant)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Makes contacts, at most [`BATCH_ROWS`]. Gives the phones of those that were made: one that somebody else made in
/// the same moment is not among them, and stays as that one made it.
pub async fn insert(tx: &mut Tx, contacts: &[Contact]) -> Result<HashSet<String>> {
    if contacts.is_empty() {
        return Ok(HashSet::new());
    }
    let phones: Vec<String> = dynamic!(
        tx,
        |q| {
            push_contacts!(q, contacts);
            q.push(" ON CONFLICT (tenant, phone) DO NOTHING RETURNING phone");
        },
        build_query_scalar::<String>().fetch_all
    )?;
    Ok(phones.into_iter().collect())
}

/// Writes changed contacts over the stored ones, at most [`BATCH_ROWS`], by tenant and phone. Id, phone, import and
/// time of making stay.
pub async fn update(tx: &mut Tx, contacts: &[Contact]) -> Result<u64> {
    if contacts.is_empty() {
        return Ok(0);
    }
    Ok(dynamic!(
        tx,
        |q| {
            push_contacts!(q, contacts);
            q.push(
                " ON CONFLICT (tenant, phone) DO UPDATE SET extension = excluded.extension, name = excluded.name, \
                 email = excluded.email, external_id = excluded.external_id, timezone = excluded.timezone, \
                 timezone_source = excluded.timezone_source, preferred_time = excluded.preferred_time, \
                 attributes = excluded.attributes, version = excluded.version, updated_at = excluded.updated_at",
            );
        },
        execute
    )?)
}

/// Gives a contact another phone; says whether that could be done: not when somebody else of the tenant has it. Calls
/// that wait follow to the new phone, and the old one is not dialled again.
pub async fn correct_phone(tx: &mut Tx, id: &str, phone: &str, now: DateTime<Utc>) -> Result<bool> {
    let corrected = execute!(
        tx,
        "UPDATE contacts SET phone = $2, version = version + 1, updated_at = $3
         WHERE id = $1 AND NOT EXISTS
             (SELECT 1 FROM contacts other WHERE other.tenant = contacts.tenant AND other.phone = $2)",
        id,
        phone,
        now
    )? > 0;
    if corrected {
        recheck(tx, &[id.to_owned()], now).await?;
    }
    Ok(corrected)
}

/// Writes changed contacts over the stored ones by id, at most [`BATCH_ROWS`], with their phones. Import and time of
/// making stay. Gives the ids of those that were written: a phone that somebody else has meanwhile leaves its contact as
/// it is.
pub async fn correct(tx: &mut Tx, contacts: &[Contact]) -> Result<HashSet<String>> {
    if contacts.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<String> = dynamic!(
        tx,
        |q| {
            q.push(
                "WITH seen (id, phone, extension, name, email, external_id, timezone, timezone_source, preferred_time, \
                 attributes, version, updated_at) AS (",
            );
            q.push_values(contacts, |mut row, contact| {
                row.push_bind(&contact.id)
                    .push_bind(&contact.phone)
                    .push_bind(&contact.extension)
                    .push_bind(&contact.name)
                    .push_bind(&contact.email)
                    .push_bind(&contact.external_id)
                    .push_bind(&contact.timezone)
                    .push_bind(&contact.timezone_source)
                    .push_bind(&contact.preferred_time)
                    .push_bind(&contact.attributes)
                    .push_bind(contact.version)
                    .push_bind(contact.updated_at);
            });
            q.push(
                ") UPDATE contacts SET phone = seen.phone, extension = seen.extension, name = seen.name, \
                 email = seen.email, external_id = seen.external_id, timezone = seen.timezone, \
                 timezone_source = seen.timezone_source, preferred_time = seen.preferred_time, \
                 attributes = seen.attributes, version = seen.version, updated_at = seen.updated_at \
                 FROM seen WHERE contacts.id = seen.id AND NOT EXISTS \
                 (SELECT 1 FROM contacts other WHERE other.tenant = contacts.tenant AND other.phone = seen.phone \
                  AND other.id <> contacts.id) RETURNING contacts.id",
            );
        },
        build_query_scalar::<String>().fetch_all
    )?;
    Ok(ids.into_iter().collect())
}

/// Those of the contacts that were never in the campaign: neither enrolled now nor withdrawn from it.
pub async fn never_enrolled(tx: &mut Tx, campaign_id: &str, contact_ids: &[String]) -> Result<Vec<String>> {
    let mut known: HashSet<String> = HashSet::new();
    for batch in contact_ids.chunks(BATCH_ROWS) {
        let found: Vec<String> = dynamic!(
            tx,
            |q| {
                // By contact, of whom each is in few campaigns. With statistics from before a large import, PostgreSQL
                // takes a campaign for small, and would read all of it for each batch: for it, this is no column.
                q.push("SELECT contact_id FROM enrollments WHERE campaign_id || '' = ");
                q.push_bind(campaign_id);
                q.push(" AND contact_id IN (");
                let mut values = q.separated(", ");
                for id in batch {
                    values.push_bind(id);
                }
                q.push(")");
            },
            build_query_scalar::<String>().fetch_all
        )?;
        known.extend(found);
    }
    Ok(contact_ids.iter().filter(|id| !known.contains(*id)).cloned().collect())
}

/// Keeps these contacts as they are until the transaction ends, on PostgreSQL, where a statement that waits for another
/// writer would see only some of what that one did. SQLite has one writer.
pub(super) async fn hold(tx: &mut Tx, contact_ids: &[&str]) -> Result<()> {
    if matches!(tx, Tx::Sqlite(_)) {
        return Ok(());
    }
    for batch in contact_ids.chunks(BATCH_ROWS) {
        dynamic!(
            tx,
            |q| {
                q.push("SELECT 1 FROM contacts WHERE id IN (");
                let mut values = q.separated(", ");
                for id in batch {
                    values.push_bind(*id);
                }
                q.push(") ORDER BY id FOR SHARE");
            },
            execute
        )?;
    }
    Ok(())
}

/// Makes every enrollment of these contacts due for a check, since they changed.
pub async fn recheck(tx: &mut Tx, contact_ids: &[String], now: DateTime<Utc>) -> Result<()> {
    for batch in contact_ids.chunks(BATCH_ROWS) {
        dynamic!(
            tx,
            |q| {
                q.push("UPDATE enrollments SET next_check_at = ");
                q.push_bind(now);
                q.push(" WHERE status = 'active' AND contact_id IN (");
                let mut values = q.separated(", ");
                for id in batch {
                    values.push_bind(id);
                }
                q.push(")");
            },
            execute
        )?;
    }
    Ok(())
}
