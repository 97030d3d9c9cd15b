//! Many new contacts at once.

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Sqlite};

use super::BATCH_ROWS;
use crate::store::{Result, Tx, dynamic, scalar};

/// What the new contacts of one import share.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The tenant on whose behalf they are called.
    pub tenant: &'a str,
    /// The import that makes them.
    pub import_id: &'a str,
    /// When.
    pub now: DateTime<Utc>,
}

/// A contact that is about to be made. The fields are those of [`super::Contact`].
#[derive(Clone, Debug, Default)]
pub struct Fresh<'a> {
    /// ULID.
    pub id: &'a str,
    /// E.164.
    pub phone: &'a str,
    /// Digits to key in once the call is answered.
    pub extension: Option<&'a str>,
    /// How the agent may address the callee.
    pub name: Option<&'a str>,
    /// An e-mail address.
    pub email: Option<&'a str>,
    /// The id in the system that the contact comes from.
    pub external_id: Option<&'a str>,
    /// The zone that was given, an IANA name.
    pub timezone: Option<&'static str>,
    /// The preferred local time, `HH:MM`.
    pub preferred_time: Option<String>,
    /// Values for the agent, as a JSON object.
    pub attributes: &'a str,
}

/// The columns that few lists fill: on SQLite they are named only where one of the contacts has a value.
type Optional = (&'static str, for<'a> fn(&'a Fresh<'_>) -> Option<&'a str>);
const OPTIONAL: [Optional; 6] = [
    ("extension", |contact| contact.extension),
    ("name", |contact| contact.name),
    ("email", |contact| contact.email),
    ("external_id", |contact| contact.external_id),
    ("timezone", |contact| contact.timezone),
    ("preferred_time", |contact| contact.preferred_time.as_deref()),
];

/// Makes contacts, however many, in the order given; gives how many were made. Those whose phone the tenant has already
/// are left as they are: [`made_by`] tells which.
pub async fn insert_fresh(tx: &mut Tx, origin: Origin<'_>, contacts: &[Fresh<'_>]) -> Result<u64> {
    let mut made = 0;
    match tx {
        Tx::Postgres(tx) => {
            if contacts.is_empty() {
                return Ok(0);
            }
            made += sqlx::query(
                "INSERT INTO contacts (id, tenant, phone, extension, name, email, external_id, timezone, \
                     timezone_source, preferred_time, attributes, version, import_id, created_at, updated_at)
                 SELECT v.id, $1, v.phone, v.extension, v.name, v.email, v.external_id, v.timezone, \
                     CASE WHEN v.timezone IS NOT NULL THEN 'given' END, v.preferred_time, v.attributes, 1, $2, $3, $3
                 FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], \
                     $11::text[], $12::text[])
                     AS v (id, phone, extension, name, email, external_id, timezone, preferred_time, attributes)
                 ON CONFLICT (tenant, phone) DO NOTHING",
            )
            .bind(origin.tenant)
            .bind(origin.import_id)
            .bind(origin.now)
            .bind(contacts.iter().map(|contact| contact.id).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.phone).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.extension).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.name).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.email).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.external_id).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.timezone).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.preferred_time.as_deref()).collect::<Vec<_>>())
            .bind(contacts.iter().map(|contact| contact.attributes).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await?
            .rows_affected();
        }
        Tx::Sqlite(tx) => {
            // While SQLite writes a statement's rows on its own thread, the next statement is made.
            let (batch, mut rest) = power_of_two(contacts);
            let mut ready = (!batch.is_empty()).then(|| insert_on_sqlite(origin, batch));
            while let Some(mut statement) = ready.take() {
                let (batch, more) = power_of_two(rest);
                rest = more;
                let next = async { (!batch.is_empty()).then(|| insert_on_sqlite(origin, batch)) };
                let (done, next) = tokio::join!(statement.build().execute(&mut **tx), next);
                made += done?.rows_affected();
                ready = next;
            }
        }
    }
    Ok(made)
}

/// The first contacts, 2048 or fewer, and the rest: few different numbers of them, so that each statement is prepared once.
fn power_of_two<'a, 'b>(contacts: &'b [Fresh<'a>]) -> (&'b [Fresh<'a>], &'b [Fresh<'a>]) {
    const MOST: usize = 2048;
    let size = contacts.len().min(MOST);
    contacts.split_at(if size > 0 { 1 << size.ilog2() } else { 0 })
}

fn insert_on_sqlite(origin: Origin<'_>, contacts: &[Fresh<'_>]) -> QueryBuilder<Sqlite> {
    let filled: Vec<Optional> =
        OPTIONAL.into_iter().filter(|(_, value)| contacts.iter().any(|contact| value(contact).is_some())).collect();
    let mut q = QueryBuilder::<Sqlite>::new("WITH v (id, phone, attributes");
    for (column, _) in &filled {
        q.push(", ").push(column);
    }
    q.push(") AS (");
    q.push_values(contacts, |mut row, contact| {
        row.push_bind(contact.id).push_bind(contact.phone).push_bind(contact.attributes);
        for (_, value) in &filled {
            row.push_bind(value(contact));
        }
    });
    // Whatever else goes wrong ends the whole transaction. So SQLite need not copy each page that the statement touches,
    // to be able to undo this statement alone.
    q.push(") INSERT OR ROLLBACK INTO contacts (id, phone, attributes");
    for (column, _) in &filled {
        q.push(", ").push(column);
    }
    let has_zones = filled.iter().any(|(column, _)| *column == "timezone");
    q.push(if has_zones { ", timezone_source" } else { "" });
    q.push(", version, tenant, import_id, created_at, updated_at) SELECT v.*, ");
    q.push(if has_zones { "CASE WHEN v.timezone IS NOT NULL THEN 'given' END, " } else { "" });
    q.push("1, ").push_bind(origin.tenant);
    q.push(", ").push_bind(origin.import_id);
    q.push(", ").push_bind(origin.now);
    q.push(", ").push_bind(origin.now);
    q.push(" FROM v WHERE TRUE ON CONFLICT (tenant, phone) DO NOTHING");
    q
}

/// Those of these phones, E.164, whose contacts an import made.
pub async fn made_by(tx: &mut Tx, origin: Origin<'_>, phones: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for batch in phones.chunks(BATCH_ROWS) {
        found.append(&mut dynamic!(
            tx,
            |q| {
                q.push("SELECT phone FROM contacts WHERE tenant = ");
                q.push_bind(origin.tenant);
                q.push(" AND import_id = ");
                q.push_bind(origin.import_id);
                q.push(" AND phone IN (");
                let mut values = q.separated(", ");
                for phone in batch {
                    values.push_bind(*phone);
                }
                q.push(")");
            },
            build_query_scalar::<String>().fetch_all
        )?);
    }
    Ok(found)
}

/// Whether a tenant has a contact that bears an id of the system that it comes from.
pub async fn any_external_id(tx: &mut Tx, tenant: &str) -> Result<bool> {
    Ok(scalar!(
        tx,
        bool,
        fetch_one,
        "SELECT EXISTS (SELECT 1 FROM contacts WHERE tenant = $1 AND external_id IS NOT NULL)",
        tenant
    )?)
}
