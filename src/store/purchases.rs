//! Intents to buy a number. At most one of a tenant is open at a time: an index forbids a second.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, execute, fetch};
use crate::domain::numbers::IntentState;

/// An intent to buy a number.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Purchase {
    /// ULID.
    pub id: String,
    /// For whom.
    pub tenant: String,
    /// The account here that pays.
    pub account: String,
    /// The SID of the Twilio account that is to hold the number.
    pub account_sid: String,
    /// The name that the number gets, by which it is found again.
    pub friendly_name: String,
    /// The key by which whoever asked for it asks again.
    pub idempotency_key: Option<String>,
    /// Country, area code and capabilities, as a JSON object.
    pub wanted: String,
    /// Where it stands.
    pub state: IntentState,
    /// Who acts on it.
    pub owner: String,
    /// Until when nobody else does.
    pub lease_until: DateTime<Utc>,
    /// The number whose purchase was committed to, while nothing is known of what came of it.
    pub asked_phone: Option<String>,
    /// When that was.
    pub asked_at: Option<DateTime<Utc>>,
    /// When the request was over.
    pub request_ended_at: Option<DateTime<Utc>>,
    /// How often the number was looked for since, and not found.
    pub absences: i64,
    /// When it was last looked for.
    pub absence_seen_at: Option<DateTime<Utc>>,
    /// The SID of the number that was bought.
    pub sid: Option<String>,
    /// The number that was bought.
    pub phone: Option<String>,
    /// Why nothing was bought.
    pub reason: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was done or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

macro_rules! columns {
    () => {
        "id, tenant, account, account_sid, friendly_name, idempotency_key, wanted, state, owner, lease_until, \
         asked_phone, asked_at, request_ended_at, absences, absence_seen_at, sid, phone, reason, created_at, ended_at"
    };
}

/// Stores an intent; says whether there was none open of its tenant, and none with its key.
pub async fn open(tx: &mut Tx, purchase: &Purchase) -> Result<bool> {
    Ok(execute!(
        tx,
        "INSERT INTO purchases (id, tenant, account, account_sid, friendly_name, idempotency_key, wanted, state, owner,
                                lease_until, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $8, $9, $10, $10) ON CONFLICT DO NOTHING",
        &purchase.id,
        &purchase.tenant,
        &purchase.account,
        &purchase.account_sid,
        &purchase.friendly_name,
        purchase.idempotency_key.as_deref(),
        &purchase.wanted,
        &purchase.owner,
        purchase.lease_until,
        purchase.created_at
    )? == 1)
}

/// The intent of a tenant that is open.
pub async fn open_of(tx: &mut Tx, tenant: &str) -> Result<Option<Purchase>> {
    Ok(fetch!(
        tx,
        Purchase,
        fetch_optional,
        concat!("SELECT ", columns!(), " FROM purchases WHERE tenant = $1 AND state = 'open'"),
        tenant
    )?)
}

/// The intent of a tenant with this key.
pub async fn with_key(tx: &mut Tx, tenant: &str, idempotency_key: &str) -> Result<Option<Purchase>> {
    Ok(fetch!(
        tx,
        Purchase,
        fetch_optional,
        concat!("SELECT ", columns!(), " FROM purchases WHERE tenant = $1 AND idempotency_key = $2"),
        tenant,
        idempotency_key
    )?)
}

/// One intent by id.
pub async fn purchase(tx: &mut Tx, id: &str) -> Result<Option<Purchase>> {
    Ok(fetch!(tx, Purchase, fetch_optional, concat!("SELECT ", columns!(), " FROM purchases WHERE id = $1"), id)?)
}

/// The intent that brought a number.
pub async fn of_number(tx: &mut Tx, sid: &str) -> Result<Option<Purchase>> {
    Ok(fetch!(
        tx,
        Purchase,
        fetch_optional,
        concat!("SELECT ", columns!(), " FROM purchases WHERE sid = $1 ORDER BY created_at LIMIT 1"),
        sid
    )?)
}

/// The intents of a tenant, newest first.
pub async fn latest_of(tx: &mut Tx, tenant: &str, limit: i64) -> Result<Vec<Purchase>> {
    Ok(fetch!(
        tx,
        Purchase,
        fetch_all,
        concat!("SELECT ", columns!(), " FROM purchases WHERE tenant = $1 ORDER BY created_at DESC, id DESC LIMIT $2"),
        tenant,
        limit
    )?)
}

/// The intents that are open, oldest first.
pub async fn all_open(tx: &mut Tx) -> Result<Vec<Purchase>> {
    Ok(fetch!(
        tx,
        Purchase,
        fetch_all,
        concat!("SELECT ", columns!(), " FROM purchases WHERE state = 'open' ORDER BY created_at, id")
    )?)
}

/// Takes an open intent over from an owner whose lease is over, or makes one's own lease longer; says whether it is one's
/// own now.
pub async fn take(tx: &mut Tx, id: &str, owner: &str, lease_until: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE purchases SET owner = $2, lease_until = $3, updated_at = $4
         WHERE id = $1 AND state = 'open' AND (owner = $2 OR lease_until <= $4)",
        id,
        owner,
        lease_until,
        now
    )? == 1)
}

/// Gives an open intent up to whoever comes next.
pub async fn let_go(tx: &mut Tx, id: &str, owner: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE purchases SET lease_until = $3, updated_at = $3 WHERE id = $1 AND owner = $2 AND state = 'open'",
        id,
        owner,
        now
    )?;
    Ok(())
}

/// Commits to ask for a number: from here on it may be bought. Only its owner may, within the lease, and only while nothing
/// else is asked for, but for what was asked for at `settled` and is proven not to have been bought.
pub async fn ask(
    tx: &mut Tx,
    id: &str,
    owner: &str,
    phone: &str,
    settled: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    let changed = execute!(
        tx,
        "UPDATE purchases SET asked_phone = $3, asked_at = $4, request_ended_at = NULL, absences = 0,
                absence_seen_at = NULL, updated_at = $4
         WHERE id = $1 AND owner = $2 AND state = 'open' AND lease_until > $4 AND (asked_at IS NULL OR asked_at = $5)",
        id,
        owner,
        phone,
        now,
        settled
    )?;
    one(changed, || format!("purchase {id} is somebody else's by now"))
}

/// Records that nothing was bought by the request that was committed to at `asked_at`, on the word of who sent it.
pub async fn not_bought(tx: &mut Tx, id: &str, asked_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE purchases SET asked_phone = NULL, asked_at = NULL, request_ended_at = NULL, absences = 0,
                absence_seen_at = NULL, updated_at = $3
         WHERE id = $1 AND state = 'open' AND asked_at = $2",
        id,
        asked_at,
        now
    )?;
    Ok(())
}

/// Records when the request was over that was committed to at `asked_at`, and of which nothing is known. Looks count from then.
pub async fn request_ended(tx: &mut Tx, id: &str, asked_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE purchases SET request_ended_at = $3, absences = 0, absence_seen_at = NULL, updated_at = $3
         WHERE id = $1 AND state = 'open' AND asked_at = $2",
        id,
        asked_at,
        now
    )?;
    Ok(())
}

/// Records that the number was looked for and not found that was asked for at `asked_at`.
pub async fn absent(
    tx: &mut Tx,
    id: &str,
    owner: &str,
    asked_at: DateTime<Utc>,
    absences: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    execute!(
        tx,
        "UPDATE purchases SET absences = $4, absence_seen_at = $5, updated_at = $5
         WHERE id = $1 AND owner = $2 AND state = 'open' AND asked_at = $3",
        id,
        owner,
        asked_at,
        absences,
        now
    )?;
    Ok(())
}

/// Records the number that was bought; whoever brings it may. Says whether it was not recorded before.
pub async fn done(tx: &mut Tx, id: &str, (sid, phone): (&str, &str), now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE purchases SET state = 'done', sid = $2, phone = $3, reason = NULL, ended_at = $4, updated_at = $4
         WHERE id = $1 AND state = 'open'",
        id,
        sid,
        phone,
        now
    )? == 1)
}

/// Gives an intent up of which nothing is under way, but for what was asked for at `settled` and is proven not to have been
/// bought.
pub async fn failed(
    tx: &mut Tx,
    id: &str,
    owner: &str,
    reason: &str,
    settled: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    let changed = execute!(
        tx,
        "UPDATE purchases SET state = 'failed', reason = $3, ended_at = $4, updated_at = $4
         WHERE id = $1 AND owner = $2 AND state = 'open' AND (asked_at IS NULL OR asked_at = $5)",
        id,
        owner,
        reason,
        now,
        settled
    )?;
    one(changed, || format!("purchase {id} is somebody else's by now"))
}

fn one(changed: u64, what: impl FnOnce() -> String) -> Result<()> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict(what())) }
}
