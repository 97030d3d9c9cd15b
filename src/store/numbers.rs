//! Phone numbers at Twilio as they were seen last, and the one that each tenant has.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::listing::Filter;
use super::{Result, Tx, dynamic, execute, fetch, scalar};
use crate::domain::numbers::{Claim, Number, NumberStatus};

/// A number that was seen at Twilio.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct StoredNumber {
    /// Its SID.
    pub sid: String,
    /// The account here by whose credentials it was seen.
    pub account: String,
    /// The SID of the Twilio account that holds it.
    pub account_sid: String,
    /// E.164.
    pub phone: String,
    /// What people call it.
    pub friendly_name: Option<String>,
    /// Whom Twilio asks about calls to it.
    pub voice_url: Option<String>,
    /// Whom Twilio hands text messages to it.
    pub sms_url: Option<String>,
    /// Whom Twilio tells what became of calls to it.
    pub status_callback: Option<String>,
    /// The application that takes its text messages.
    pub sms_application_sid: Option<String>,
    /// The SIP trunk that takes its calls.
    pub trunk_sid: Option<String>,
    /// The application that takes its calls.
    pub voice_application_sid: Option<String>,
    /// When it was bought.
    pub bought_at: Option<DateTime<Utc>>,
    /// Whose it is by what the tenants say.
    pub claimed_by: Option<String>,
    /// By which of it.
    pub claim: Option<Claim>,
    /// Whose it is since it was bought or adopted.
    pub tenant: Option<String>,
    /// Whether it is there.
    pub status: NumberStatus,
    /// When it was first seen.
    pub first_seen_at: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen_at: DateTime<Utc>,
    /// When it was found gone.
    pub gone_at: Option<DateTime<Utc>>,
}

impl From<StoredNumber> for Number {
    fn from(stored: StoredNumber) -> Self {
        Self {
            sid: stored.sid,
            account_sid: stored.account_sid,
            phone: stored.phone,
            friendly_name: stored.friendly_name,
            voice_url: stored.voice_url,
            sms_url: stored.sms_url,
            status_callback: stored.status_callback,
            sms_application_sid: stored.sms_application_sid,
            trunk_sid: stored.trunk_sid,
            voice_application_sid: stored.voice_application_sid,
            bought_at: stored.bought_at,
        }
    }
}

impl StoredNumber {
    /// Whether it is there, and this tenant's.
    pub fn is_of(&self, tenant: &str) -> bool {
        self.status == NumberStatus::Active && self.owner() == Some(tenant)
    }

    /// Whose it is: the tenant that the database and the tenants' own words agree about, as far as both say something.
    pub fn owner(&self) -> Option<&str> {
        if self.claim == Some(Claim::Contested) {
            return None;
        }
        match (self.tenant.as_deref(), self.claimed_by.as_deref()) {
            (Some(tenant), Some(claimed_by)) => (tenant == claimed_by).then_some(tenant),
            (tenant, claimed_by) => tenant.or(claimed_by),
        }
    }
}

/// A number as Twilio showed it, and who says that it is theirs.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'s> {
    /// The number.
    pub number: &'s Number,
    /// The one tenant that claims it.
    pub claimed_by: Option<&'s str>,
    /// By what it does; or that several do.
    pub claim: Option<Claim>,
}

macro_rules! columns {
    () => {
        "sid, account, account_sid, phone, friendly_name, voice_url, sms_url, status_callback, sms_application_sid, \
         trunk_sid, voice_application_sid, bought_at, claimed_by, claim, tenant, status, first_seen_at, last_seen_at, gone_at"
    };
}

/// Stores numbers as a listing shows them that began at `now`. Gives the SID of each, and the tenant that it was adopted for.
/// One that counted as gone before is there again; what is known from later on stays.
pub async fn see(
    tx: &mut Tx,
    account: &str,
    seen: &[Seen<'_>],
    now: DateTime<Utc>,
) -> Result<Vec<(String, Option<String>)>> {
    let mut tenants = Vec::with_capacity(seen.len());
    // A row has 15 values, and SQLite takes 32,766 for a statement.
    for batch in seen.chunks(500) {
        let known: Vec<(String, Option<String>)> = dynamic!(
            tx,
            |q| {
                q.push(
                    "INSERT INTO numbers (sid, account, account_sid, phone, friendly_name, voice_url, sms_url, \
                     status_callback, sms_application_sid, trunk_sid, voice_application_sid, bought_at, claimed_by, claim, status, \
                     first_seen_at, last_seen_at, updated_at) ",
                );
                q.push_values(batch, |mut row, Seen { number, claimed_by, claim }| {
                    row.push_bind(&number.sid)
                        .push_bind(account)
                        .push_bind(&number.account_sid)
                        .push_bind(&number.phone)
                        .push_bind(&number.friendly_name)
                        .push_bind(&number.voice_url)
                        .push_bind(&number.sms_url)
                        .push_bind(&number.status_callback)
                        .push_bind(&number.sms_application_sid)
                        .push_bind(&number.trunk_sid)
                        .push_bind(&number.voice_application_sid)
                        .push_bind(number.bought_at)
                        .push_bind(*claimed_by)
                        .push_bind(*claim)
                        .push_bind(NumberStatus::Active)
                        .push_bind(now)
                        .push_bind(now)
                        .push_bind(now);
                });
                q.push(
                    " ON CONFLICT (sid) DO UPDATE SET account = excluded.account, account_sid = excluded.account_sid, \
                     phone = excluded.phone, friendly_name = excluded.friendly_name, voice_url = excluded.voice_url, \
                     sms_url = excluded.sms_url, status_callback = excluded.status_callback, \
                     sms_application_sid = excluded.sms_application_sid, trunk_sid = excluded.trunk_sid, voice_application_sid = excluded.voice_application_sid, \
                     bought_at = excluded.bought_at, claimed_by = excluded.claimed_by, claim = excluded.claim, \
                     status = CASE WHEN numbers.gone_at >= excluded.last_seen_at THEN numbers.status \
                                   ELSE excluded.status END, \
                     gone_at = CASE WHEN numbers.gone_at >= excluded.last_seen_at THEN numbers.gone_at END, \
                     last_seen_at = CASE WHEN numbers.last_seen_at > excluded.last_seen_at \
                                         THEN numbers.last_seen_at ELSE excluded.last_seen_at END, \
                     updated_at = excluded.updated_at RETURNING sid, tenant",
                );
            },
            build_query_as::<(String, Option<String>)>().fetch_all
        )?;
        tenants.extend(known);
    }
    Ok(tenants)
}

/// The numbers that a Twilio account is said to hold and that were not seen since.
pub async fn unseen(tx: &mut Tx, account: &str, account_sid: &str, since: DateTime<Utc>) -> Result<Vec<StoredNumber>> {
    Ok(fetch!(
        tx,
        StoredNumber,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM numbers WHERE account = $1 AND account_sid = $2 AND status = 'active' AND last_seen_at < $3
              ORDER BY sid"
        ),
        account,
        account_sid,
        since
    )?)
}

/// The SIDs of the Twilio accounts by which an account here is said to hold numbers.
pub async fn account_sids(tx: &mut Tx, account: &str) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT DISTINCT account_sid FROM numbers WHERE account = $1 AND status = 'active' ORDER BY account_sid",
        account
    )?)
}

/// The numbers that are there and whose owner is this tenant, or may be: one that is disputed is among them.
pub async fn of_tenant(tx: &mut Tx, tenant: &str) -> Result<Vec<StoredNumber>> {
    Ok(fetch!(
        tx,
        StoredNumber,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM numbers WHERE coalesce(tenant, claimed_by) = $1 AND status = 'active' ORDER BY sid"
        ),
        tenant
    )?)
}

/// The tenants with more than one number that is there, by name.
pub async fn tenants_with_several(tx: &mut Tx) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT coalesce(tenant, claimed_by) FROM numbers
         WHERE status = 'active' AND coalesce(tenant, claimed_by) IS NOT NULL
           AND (tenant IS NULL OR claimed_by IS NULL OR tenant = claimed_by)
           AND (claim IS NULL OR claim <> 'contested')
         GROUP BY coalesce(tenant, claimed_by) HAVING count(*) > 1 ORDER BY 1"
    )?)
}

/// When a number was last seen at Twilio; none: never.
pub async fn last_seen_at(tx: &mut Tx) -> Result<Option<DateTime<Utc>>> {
    Ok(scalar!(tx, Option<DateTime<Utc>>, fetch_one, "SELECT max(last_seen_at) FROM numbers")?)
}

/// One number by its SID.
pub async fn number(tx: &mut Tx, sid: &str) -> Result<Option<StoredNumber>> {
    Ok(fetch!(tx, StoredNumber, fetch_optional, concat!("SELECT ", columns!(), " FROM numbers WHERE sid = $1"), sid)?)
}

/// One number by its SID, which nobody else changes until the transaction ends.
pub async fn lock(tx: &mut Tx, sid: &str) -> Result<Option<StoredNumber>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM numbers WHERE sid = ")).push_bind(sid).push(lock);
        },
        build_query_as::<StoredNumber>().fetch_optional
    )?)
}

/// The numbers that are or were this phone number, those that are there first.
pub async fn with_phone(tx: &mut Tx, phone: &str) -> Result<Vec<StoredNumber>> {
    Ok(fetch!(
        tx,
        StoredNumber,
        fetch_all,
        concat!("SELECT ", columns!(), " FROM numbers WHERE phone = $1 ORDER BY status, last_seen_at DESC, sid"),
        phone
    )?)
}

/// Takes a number for the tenant's that alone claims it; says whether it was nobody's before.
pub async fn adopt(tx: &mut Tx, sid: &str, tenant: &str, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE numbers SET tenant = $2, updated_at = $3
         WHERE sid = $1 AND tenant IS NULL AND claimed_by = $2 AND status = 'active'",
        sid,
        tenant,
        now
    )? > 0)
}

/// Takes note that a number is not there any more, where it was held when it was looked for; says whether it was not noted
/// before. It is no tenant's number then. One that another account holds by now stays.
pub async fn mark_gone(tx: &mut Tx, sid: &str, account_sid: &str, now: DateTime<Utc>) -> Result<bool> {
    let is_news = execute!(
        tx,
        "UPDATE numbers SET status = 'gone', gone_at = $3, updated_at = $3
         WHERE sid = $1 AND account_sid = $2 AND status = 'active'",
        sid,
        account_sid,
        now
    )? > 0;
    if is_news {
        execute!(tx, "DELETE FROM tenant_numbers WHERE sid = $1", sid)?;
    }
    Ok(is_news)
}

/// Whose each phone number is that is there: the phone and its owner, where it has one.
pub async fn owners(tx: &mut Tx) -> Result<Vec<(String, String)>> {
    Ok(fetch!(
        tx,
        (String, String),
        fetch_all,
        "SELECT phone, coalesce(tenant, claimed_by) FROM numbers
         WHERE status = 'active' AND coalesce(tenant, claimed_by) IS NOT NULL
           AND (tenant IS NULL OR claimed_by IS NULL OR tenant = claimed_by)
           AND (claim IS NULL OR claim <> 'contested')"
    )?)
}

/// The one number of a tenant.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct TenantNumber {
    /// The tenant.
    pub tenant: String,
    /// The number's SID.
    pub sid: String,
    /// E.164.
    pub phone: String,
    /// Since when.
    pub updated_at: DateTime<Utc>,
}

/// The number of a tenant.
pub async fn tenant_number(tx: &mut Tx, tenant: &str) -> Result<Option<TenantNumber>> {
    Ok(fetch!(
        tx,
        TenantNumber,
        fetch_optional,
        "SELECT tenant, sid, phone, updated_at FROM tenant_numbers WHERE tenant = $1",
        tenant
    )?)
}

/// The numbers of all tenants, by tenant.
pub async fn tenant_numbers(tx: &mut Tx) -> Result<Vec<TenantNumber>> {
    Ok(fetch!(
        tx,
        TenantNumber,
        fetch_all,
        "SELECT tenant, sid, phone, updated_at FROM tenant_numbers ORDER BY tenant"
    )?)
}

/// Makes a number the one of its tenant; says whether it was not so before. A number is that of one tenant at most.
pub async fn set_tenant_number(tx: &mut Tx, tenant: &str, sid: &str, phone: &str, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "INSERT INTO tenant_numbers (tenant, sid, phone, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant) DO UPDATE SET sid = excluded.sid, phone = excluded.phone, updated_at = excluded.updated_at
         WHERE tenant_numbers.sid <> excluded.sid",
        tenant,
        sid,
        phone,
        now
    )? > 0)
}

/// Takes note that a tenant has this number no more; says whether it had.
pub async fn forget_tenant_number(tx: &mut Tx, tenant: &str, sid: &str) -> Result<bool> {
    Ok(execute!(tx, "DELETE FROM tenant_numbers WHERE tenant = $1 AND sid = $2", tenant, sid)? > 0)
}

/// Lists numbers: those that are there first, by account and phone.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<StoredNumber>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM numbers WHERE TRUE"));
            if let Some(tenant) = &filter.tenant {
                q.push(" AND coalesce(tenant, claimed_by) = ").push_bind(tenant);
            }
            if let Some(phone) = &filter.phone {
                q.push(" AND phone = ").push_bind(phone);
            }
            if let Some(status) = &filter.status {
                q.push(" AND status = ").push_bind(status);
            }
            if let Some(since) = filter.since {
                q.push(" AND first_seen_at >= ").push_bind(since);
            }
            q.push(" ORDER BY status, account, phone, sid LIMIT ").push_bind(filter.limit);
        },
        build_query_as::<StoredNumber>().fetch_all
    )?)
}
