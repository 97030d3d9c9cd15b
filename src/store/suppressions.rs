//! Numbers and prefixes that must not be called. Who writes here keeps dialling locked until the end of the transaction
//! (`control::lock_dialling`): what is committed to dial afterwards has seen it, and no two commands write at once.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, dynamic, fetch};
use crate::domain::suppression::Pattern;

/// The tenant of a suppression that holds for all of them.
pub const ALL_TENANTS: &str = "";

/// The most patterns in one statement.
const BATCH_PATTERNS: usize = 500;

/// Something that forbids calling a phone.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Suppression {
    /// ULID.
    pub id: String,
    /// Whose calls it forbids; [`ALL_TENANTS`] for everybody's.
    pub tenant: String,
    /// The phone, or what it begins with.
    pub pattern: String,
    /// Whether the pattern is only the beginning of phones.
    pub is_prefix: bool,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub source: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Until when; none: for good.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Suppression {
    /// What it covers.
    pub fn what(&self) -> Pattern {
        Pattern::stored(self.pattern.clone(), self.is_prefix)
    }

    /// Whether it forbids calls at `now`.
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}

macro_rules! suppression_columns {
    () => {
        "id, tenant, pattern, is_prefix, reason, source, created_at, expires_at"
    };
}

/// What forbids calling a phone at `now`, the one that lasts longest first.
pub async fn suppressions_of(tx: &mut Tx, tenant: &str, phone: &str, now: DateTime<Utc>) -> Result<Vec<Suppression>> {
    let mut found = fetch!(
        tx,
        Suppression,
        fetch_all,
        concat!(
            "SELECT ",
            suppression_columns!(),
            " FROM suppressions
              WHERE tenant IN ('', $1) AND (expires_at IS NULL OR expires_at > $3)
                AND (pattern = $2 OR (is_prefix AND substr($2, 1, length(pattern)) = pattern))
              ORDER BY created_at, pattern"
        ),
        tenant,
        phone,
        now
    )?;
    found.sort_by_key(|suppression| std::cmp::Reverse(suppression.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC)));
    Ok(found)
}

/// Those of the patterns that are stored for exactly this tenant, or for exactly all, whether they have expired or not.
pub async fn stored(tx: &mut Tx, tenant: &str, patterns: &[Pattern]) -> Result<HashMap<Pattern, Suppression>> {
    let mut stored = HashMap::new();
    for batch in patterns.chunks(BATCH_PATTERNS) {
        let found: Vec<Suppression> = dynamic!(
            tx,
            |q| {
                q.push(concat!("SELECT ", suppression_columns!(), " FROM suppressions WHERE tenant = "));
                q.push_bind(tenant);
                q.push(" AND pattern IN (");
                let mut values = q.separated(", ");
                for pattern in batch {
                    values.push_bind(pattern.text());
                }
                q.push(")");
            },
            build_query_as::<Suppression>().fetch_all
        )?;
        // A number and a prefix may be the same text.
        let wanted: BTreeSet<&Pattern> = batch.iter().collect();
        let found = found.into_iter().map(|suppression| (suppression.what(), suppression));
        stored.extend(found.filter(|(pattern, _)| wanted.contains(pattern)));
    }
    Ok(stored)
}

/// Writes suppressions, over those that are stored for the same tenant and pattern, whose ids stay.
pub async fn put(tx: &mut Tx, suppressions: &[Suppression]) -> Result<()> {
    for batch in suppressions.chunks(BATCH_PATTERNS) {
        let written = dynamic!(
            tx,
            |q| {
                q.push(concat!("INSERT INTO suppressions (", suppression_columns!(), ") "));
                q.push_values(batch, |mut row, suppression| {
                    row.push_bind(&suppression.id)
                        .push_bind(&suppression.tenant)
                        .push_bind(&suppression.pattern)
                        .push_bind(suppression.is_prefix)
                        .push_bind(&suppression.reason)
                        .push_bind(&suppression.source)
                        .push_bind(suppression.created_at)
                        .push_bind(suppression.expires_at);
                });
                q.push(
                    " ON CONFLICT (tenant, pattern, is_prefix) DO UPDATE SET reason = excluded.reason, \
                     source = excluded.source, created_at = excluded.created_at, expires_at = excluded.expires_at",
                );
            },
            execute
        )?;
        must_be_all(written, batch.len(), "written")?;
    }
    Ok(())
}

/// Removes suppressions as they were read in this transaction.
pub async fn remove(tx: &mut Tx, suppressions: &[&Suppression]) -> Result<()> {
    for batch in suppressions.chunks(BATCH_PATTERNS) {
        let removed = dynamic!(
            tx,
            |q| {
                q.push("DELETE FROM suppressions WHERE id IN (");
                let mut values = q.separated(", ");
                for suppression in batch {
                    values.push_bind(&suppression.id);
                }
                q.push(")");
            },
            execute
        )?;
        must_be_all(removed, batch.len(), "removed")?;
    }
    Ok(())
}

fn must_be_all(rows: u64, wanted: usize, done: &str) -> Result<()> {
    if usize::try_from(rows).is_ok_and(|rows| rows == wanted) {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("{rows} of {wanted} suppressions were {done}")))
}

/// What forbids at `now` any call that one of the patterns covers: the same patterns, and prefixes of them; those of the
/// tenant and those of all, and for [`ALL_TENANTS`] those of anybody. The caller asks which covers which.
pub async fn covering(tx: &mut Tx, tenant: &str, patterns: &[Pattern], now: DateTime<Utc>) -> Result<Vec<Suppression>> {
    let mut found = fetch!(
        tx,
        Suppression,
        fetch_all,
        concat!(
            "SELECT ",
            suppression_columns!(),
            " FROM suppressions
              WHERE is_prefix AND (tenant = '' OR $1 IN ('', tenant)) AND (expires_at IS NULL OR expires_at > $2)
              ORDER BY pattern, tenant"
        ),
        tenant,
        now
    )?;
    let numbers: Vec<&Pattern> = patterns.iter().filter(|pattern| !pattern.is_prefix()).collect();
    for batch in numbers.chunks(BATCH_PATTERNS) {
        let same: Vec<Suppression> = dynamic!(
            tx,
            |q| {
                q.push(concat!("SELECT ", suppression_columns!(), " FROM suppressions WHERE NOT is_prefix "));
                // Named one by one, so that the index of tenant and pattern serves.
                q.push("AND tenant IN (SELECT '' UNION SELECT name FROM tenants WHERE ");
                q.push_bind(tenant);
                q.push(" IN ('', name)) AND (expires_at IS NULL OR expires_at > ");
                q.push_bind(now);
                q.push(") AND pattern IN (");
                let mut values = q.separated(", ");
                for pattern in batch {
                    values.push_bind(pattern.text());
                }
                q.push(") ORDER BY pattern, tenant");
            },
            build_query_as::<Suppression>().fetch_all
        )?;
        found.extend(same);
    }
    Ok(found)
}

/// How many contacts of a tenant, or of all, each pattern covers.
pub async fn contacts_covered(tx: &mut Tx, tenant: &str, patterns: &[Pattern]) -> Result<HashMap<Pattern, i64>> {
    counted(tx, "SELECT phone, count(*) FROM contacts WHERE TRUE", tenant, patterns).await
}

/// How many calls of a tenant, or of all, may ring or talk at this moment, by the pattern that covers them.
pub async fn live_calls(tx: &mut Tx, tenant: &str, patterns: &[Pattern]) -> Result<HashMap<Pattern, i64>> {
    // A claim may not ring, and never will.
    let select = "SELECT phone, count(*) FROM attempts WHERE live AND state <> 'claimed'";
    counted(tx, select, tenant, patterns).await
}

/// The phones of a tenant, or of all, whose calls were committed to being sent after `since` and of which nothing was
/// heard yet.
pub async fn phones_being_placed(tx: &mut Tx, tenant: &str, since: DateTime<Utc>) -> Result<Vec<String>> {
    let rows = fetch!(
        tx,
        (String,),
        fetch_all,
        "SELECT phone FROM attempts WHERE state = 'placing' AND live AND placing_at > $2 AND $1 IN ('', tenant)",
        tenant,
        since
    )?;
    Ok(rows.into_iter().map(|(phone,)| phone).collect())
}

/// Patterns that one statement asks for.
enum Group<'a> {
    Numbers(&'a [&'a Pattern]),
    Prefix(&'a Pattern),
}

/// Pushes what holds for the rows of a tenant, or of any, that a group covers.
macro_rules! push_covered {
    ($q:ident, $tenant:expr, $group:expr) => {
        // Named one by one, so that the index of tenant and phone serves.
        $q.push("tenant IN (SELECT name FROM tenants WHERE ");
        $q.push_bind($tenant);
        $q.push(" IN ('', name)) AND ");
        match $group {
            Group::Numbers(numbers) => {
                $q.push("phone IN (");
                let mut values = $q.separated(", ");
                for number in *numbers {
                    values.push_bind(number.text());
                }
                $q.push(")");
            }
            Group::Prefix(prefix) => {
                $q.push("substr(phone, 1, length(");
                $q.push_bind(prefix.text());
                $q.push(")) = ");
                $q.push_bind(prefix.text());
            }
        }
    };
}

async fn counted(
    tx: &mut Tx,
    select: &'static str,
    tenant: &str,
    patterns: &[Pattern],
) -> Result<HashMap<Pattern, i64>> {
    let (prefixes, numbers): (Vec<&Pattern>, Vec<&Pattern>) = patterns.iter().partition(|pattern| pattern.is_prefix());
    let mut counts = HashMap::new();
    for group in groups(&prefixes, &numbers) {
        let found: Vec<(String, i64)> = dynamic!(
            tx,
            |q| {
                q.push(select);
                q.push(" AND ");
                push_covered!(q, tenant, &group);
                q.push(" GROUP BY phone");
            },
            build_query_as::<(String, i64)>().fetch_all
        )?;
        match group {
            Group::Numbers(_) => {
                counts.extend(found.into_iter().map(|(phone, count)| (Pattern::stored(phone, false), count)));
            }
            Group::Prefix(prefix) => {
                counts.insert(prefix.clone(), found.into_iter().map(|(_, count)| count).sum());
            }
        }
    }
    Ok(counts)
}

fn groups<'a>(prefixes: &'a [&'a Pattern], numbers: &'a [&'a Pattern]) -> impl Iterator<Item = Group<'a>> {
    let prefixes = prefixes.iter().map(|prefix| Group::Prefix(prefix));
    numbers.chunks(BATCH_PATTERNS).map(Group::Numbers).chain(prefixes)
}

/// Lets the contacts of a tenant, or of all, that a pattern held back be looked at now: their enrollments, and their calls
/// that wait until `look_again` at the latest and never rang. One that rang has another reason to wait as well.
pub async fn recheck(
    tx: &mut Tx,
    tenant: &str,
    patterns: &[Pattern],
    now: DateTime<Utc>,
    look_again: DateTime<Utc>,
) -> Result<()> {
    let (prefixes, numbers): (Vec<&Pattern>, Vec<&Pattern>) = patterns.iter().partition(|pattern| pattern.is_prefix());
    for group in groups(&prefixes, &numbers) {
        dynamic!(
            tx,
            |q| {
                q.push("UPDATE enrollments SET next_check_at = ");
                q.push_bind(now);
                q.push(
                    " WHERE status = 'active' AND last_reason = 'suppressed' \
                     AND contact_id IN (SELECT id FROM contacts WHERE ",
                );
                push_covered!(q, tenant, &group);
                q.push(")");
            },
            execute
        )?;
        dynamic!(
            tx,
            |q| {
                q.push("UPDATE calls SET next_attempt_at = ");
                q.push_bind(now);
                q.push(", updated_at = ");
                q.push_bind(now);
                q.push(
                    " WHERE status = 'scheduled' AND campaign_id IN (SELECT id FROM campaigns) AND next_attempt_at > ",
                );
                q.push_bind(now);
                q.push(" AND next_attempt_at <= ");
                q.push_bind(look_again);
                q.push(
                    " AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.call_id = calls.id AND a.may_have_rung) \
                     AND contact_id IN (SELECT id FROM contacts WHERE ",
                );
                push_covered!(q, tenant, &group);
                q.push(")");
            },
            execute
        )?;
    }
    Ok(())
}

/// Which suppressions to list. Every filter that is none lets all pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those that concern this tenant: its own and those of all.
    pub tenant: Option<String>,
    /// Those that cover this phone, E.164.
    pub phone: Option<String>,
    /// Those in force when true, those that expired when false.
    pub is_active: Option<bool>,
    /// Those made at or after.
    pub since: Option<DateTime<Utc>>,
    /// At most this many.
    pub limit: i64,
}

/// Suppressions by pattern and tenant; `now` tells the active ones from the expired.
pub async fn list(tx: &mut Tx, filter: &Filter, now: DateTime<Utc>) -> Result<Vec<Suppression>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", suppression_columns!(), " FROM suppressions WHERE TRUE"));
            if let Some(tenant) = &filter.tenant {
                q.push(" AND tenant IN ('', ");
                q.push_bind(tenant);
                q.push(")");
            }
            if let Some(phone) = &filter.phone {
                q.push(" AND (pattern = ");
                q.push_bind(phone);
                q.push(" OR (is_prefix AND substr(");
                q.push_bind(phone);
                q.push(", 1, length(pattern)) = pattern))");
            }
            if let Some(is_active) = filter.is_active {
                q.push(if is_active { " AND (expires_at IS NULL OR expires_at > " } else { " AND (expires_at <= " });
                q.push_bind(now);
                q.push(")");
            }
            if let Some(since) = filter.since {
                q.push(" AND created_at >= ");
                q.push_bind(since);
            }
            q.push(" ORDER BY pattern, is_prefix, tenant LIMIT ");
            q.push_bind(filter.limit);
        },
        build_query_as::<Suppression>().fetch_all
    )?)
}
