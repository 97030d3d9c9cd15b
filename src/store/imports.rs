//! Lists that were imported.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, dynamic, execute, fetch};

pub mod undo;

use super::contacts::BATCH_ROWS;
use super::listing::Filter;

/// One import: one file, one transaction.
#[derive(Clone, Debug, FromRow)]
pub struct Import {
    /// ULID.
    pub id: String,
    /// Into which tenant.
    pub tenant: String,
    /// The campaign in which its contacts were enrolled.
    pub campaign_id: Option<String>,
    /// The file's name, without its folder.
    pub file_name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub file_sha256: String,
    /// How the file was read, as a JSON object: encoding, delimiter, columns, policy.
    pub reading: String,
    /// How many rows became what, as a JSON object.
    pub counts: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it was taken back.
    pub undone_at: Option<DateTime<Utc>>,
}

/// Records that an import begins; [`finish`] adds what only its end tells.
pub async fn begin(tx: &mut Tx, import: &Import) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO imports (id, tenant, campaign_id, file_name, file_sha256, reading, counts, created_at, undone_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)",
        &import.id,
        &import.tenant,
        import.campaign_id.as_deref(),
        &import.file_name,
        &import.file_sha256,
        &import.reading,
        &import.counts,
        import.created_at
    )?;
    Ok(())
}

/// Completes an import of the same transaction.
pub async fn finish(tx: &mut Tx, id: &str, file_sha256: &str, counts: &str) -> Result<()> {
    execute!(tx, "UPDATE imports SET file_sha256 = $2, counts = $3 WHERE id = $1", id, file_sha256, counts)?;
    Ok(())
}

/// Imports, the newest first.
pub async fn imports(tx: &mut Tx, filter: &Filter) -> Result<Vec<Import>> {
    Ok(fetch!(
        tx,
        Import,
        fetch_all,
        "SELECT id, tenant, campaign_id, file_name, file_sha256, reading, counts, created_at, undone_at FROM imports
         WHERE ($1 IS NULL OR tenant = $1) AND ($2 IS NULL OR campaign_id = $2) AND ($3 IS NULL OR created_at >= $3)
         ORDER BY created_at DESC, id DESC LIMIT $4",
        filter.tenant.as_deref(),
        filter.campaign_id.as_deref(),
        filter.since,
        filter.limit
    )?)
}

/// One import by id; nobody else undoes it until a writing transaction ends.
pub async fn import(tx: &mut Tx, id: &str, lock: bool) -> Result<Option<Import>> {
    let lock = if lock { tx.lock_clause() } else { "" };
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT id, tenant, campaign_id, file_name, file_sha256, reading, counts, created_at, undone_at \
                 FROM imports WHERE id = ",
            );
            q.push_bind(id);
            q.push(lock);
        },
        build_query_as::<Import>().fetch_optional
    )?)
}

/// What an import changed about a contact that was there.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Change {
    /// The contact.
    pub contact_id: String,
    /// For each field what it held before, and what was written, as a JSON object.
    pub changes: String,
}

/// Records what an import of the same transaction changed.
pub async fn record_changes(tx: &mut Tx, import_id: &str, changes: &[Change]) -> Result<()> {
    for batch in changes.chunks(BATCH_ROWS) {
        dynamic!(
            tx,
            |q| {
                q.push("INSERT INTO import_changes (import_id, contact_id, changes) ");
                q.push_values(batch, |mut row, change| {
                    row.push_bind(import_id).push_bind(&change.contact_id).push_bind(&change.changes);
                });
            },
            execute
        )?;
    }
    Ok(())
}

/// Makes room for a large import: SQLite then writes each page of an index once, and not once for every few rows.
/// Lasts as long as the connection.
pub async fn make_room(tx: &mut Tx) -> Result<()> {
    if let Tx::Sqlite(tx) = tx {
        sqlx::query(SQLITE_CACHE).execute(&mut **tx).await?;
    }
    Ok(())
}

/// 64 MB, of which no more is taken than the import needs.
const SQLITE_CACHE: &str = "PRAGMA cache_size = -65536";
