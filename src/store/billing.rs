//! The books of tenants as they were read last.

/// The condition that something is owed of the invoice `i`.
macro_rules! owed {
    () => {
        "i.status IN ('sent', 'viewed', 'overdue', 'unpaid', 'partially_paid')"
    };
}

pub mod budget;
pub mod customers;
pub mod debtors;
pub mod invoices;
pub mod passes;
pub mod reminders;

use chrono::{DateTime, Utc};

use super::{Result, StoreError, Tx, dynamic, execute, fetch, scalar};
use crate::domain::billing::RecordKind;

/// What became of the records of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How many are new, or differ from what was stored.
    pub changed: u64,
    /// How many are as they were.
    pub unchanged: u64,
}

/// A record that is stored already, as far as it is compared.
type Known = (String, String, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// Whether a record that was read says something else than what is stored of it.
fn is_news(known: Option<&Known>, raw: &str, last_modified_at: Option<DateTime<Utc>>) -> bool {
    let Some((_, stored, stored_at, deleted_at)) = known else { return true };
    // Somebody else may have read it later than this page was made.
    let is_older = matches!((last_modified_at, stored_at), (Some(read), Some(stored)) if read < *stored);
    !is_older && (stored != raw || deleted_at.is_some())
}

/// The records that a complete pass did not show and that nobody looked at since, by id.
pub async fn unseen(tx: &mut Tx, tenant: &str, kind: RecordKind, limit: i64) -> Result<Vec<String>> {
    let sql = match kind {
        RecordKind::Customers => {
            "SELECT r.id FROM billing_customers r JOIN billing_passes p ON p.tenant = r.tenant AND p.kind = 'customers'
             WHERE r.tenant = $1 AND r.deleted_at IS NULL AND r.seen_at < p.full_at ORDER BY r.id LIMIT $2"
        }
        RecordKind::Invoices => {
            "SELECT r.id FROM billing_invoices r JOIN billing_passes p ON p.tenant = r.tenant AND p.kind = 'invoices'
             WHERE r.tenant = $1 AND r.deleted_at IS NULL AND r.seen_at < p.full_at ORDER BY r.id LIMIT $2"
        }
    };
    Ok(scalar!(tx, String, fetch_all, sql, tenant, limit)?)
}

/// Takes note of what was found when a record was looked for by itself: that it is there, or that it is deleted.
///
/// # Errors
/// When it is not stored, or is marked so already.
pub async fn settle_unseen(
    tx: &mut Tx,
    tenant: &str,
    kind: RecordKind,
    id: &str,
    is_there: bool,
    now: DateTime<Utc>,
) -> Result<()> {
    let sql = match kind {
        RecordKind::Customers => {
            "UPDATE billing_customers SET seen_at = $3, deleted_at = $4
             WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL"
        }
        RecordKind::Invoices => {
            "UPDATE billing_invoices SET seen_at = $3, deleted_at = $4
             WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL"
        }
    };
    let deleted_at = (!is_there).then_some(now);
    if execute!(tx, sql, tenant, id, now, deleted_at)? != 1 {
        return Err(StoreError::Conflict(format!("{kind} {id} of {tenant} is not stored, or is deleted already")));
    }
    match kind {
        RecordKind::Invoices if !is_there => debtors::wake_for(tx, tenant, &[id.to_owned()], now).await,
        _ => Ok(()),
    }
}

/// How many records of a kind are stored and not deleted.
pub async fn count(tx: &mut Tx, tenant: &str, kind: RecordKind) -> Result<i64> {
    let sql = match kind {
        RecordKind::Customers => "SELECT count(*) FROM billing_customers WHERE tenant = $1 AND deleted_at IS NULL",
        RecordKind::Invoices => "SELECT count(*) FROM billing_invoices WHERE tenant = $1 AND deleted_at IS NULL",
    };
    Ok(scalar!(tx, i64, fetch_one, sql, tenant)?)
}

/// Has PostgreSQL count anew what records of a kind are there. Until it does so by itself, about a minute after they came, it takes
/// a tenant to have hardly any, and goes through all of them for each page that is stored and each join. A role that does not own
/// the tables is warned by the server, and nothing else happens; SQLite needs no counting.
pub async fn take_stock(tx: &mut Tx, kind: RecordKind) -> Result<()> {
    let Tx::Postgres(tx) = tx else { return Ok(()) };
    let sql = match kind {
        RecordKind::Customers => "ANALYZE billing_customers",
        RecordKind::Invoices => "ANALYZE billing_invoices",
    };
    sqlx::query(sql).execute(&mut **tx).await?;
    Ok(())
}

/// A text for LIKE that stands for itself anywhere in another, in lower case.
fn anywhere(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::billing::OPEN_STATUSES;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn what_is_older_than_what_is_stored_is_no_news() {
        let (early, late) = (at("2026-11-01T00:00:00Z"), at("2026-11-02T00:00:00Z"));
        let known = ("1".to_owned(), "{}".to_owned(), Some(late), None);
        assert!(is_news(None, "{}", Some(early)));
        assert!(!is_news(Some(&known), "{}", Some(late)), "the same");
        assert!(is_news(Some(&known), "{ }", Some(late)), "another text of the same time");
        assert!(!is_news(Some(&known), "{ }", Some(early)), "an older text");
        let deleted = ("1".to_owned(), "{}".to_owned(), Some(late), Some(late));
        assert!(is_news(Some(&deleted), "{}", Some(late)), "it is there again");
    }

    #[test]
    fn what_is_owed_is_what_the_domain_says() {
        let listed = OPEN_STATUSES.map(|status| format!("'{status}'")).join(", ");
        assert_eq!(owed!(), format!("i.status IN ({listed})"));
    }

    #[test]
    fn a_searched_text_stands_for_itself() {
        assert_eq!(anywhere("50%_A\\"), r"%50\%\_a\\%");
    }
}
