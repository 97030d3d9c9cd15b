//! Accounts, tenants and campaigns: what `apply` puts in.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, dynamic, execute, fetch};
use crate::domain::campaign::{AccountSettings, Rules, TenantSettings};

/// Credentials at one provider organisation, by reference, with its capacity.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Which provider, such as `vapi`.
    pub provider: String,
    /// [`AccountSettings`] as JSON text.
    pub settings: String,
    /// The most calls live at once.
    pub max_concurrency: i64,
    /// The most calls to start in a minute.
    pub calls_per_minute: Option<i64>,
    /// The organisation at the provider, once its answers have said so.
    pub org_id: Option<String>,
    /// Until when the provider's refusals hold all its calls back.
    pub held_until: Option<DateTime<Utc>>,
    /// The provider's words.
    pub held_reason: Option<String>,
    /// How often in a row it was held back.
    pub refusals: i64,
}

impl Account {
    /// The settings, read.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn settings(&self) -> Result<AccountSettings> {
        parse("settings", || format!("account {}", self.name), &self.settings)
    }
}

/// A business on whose behalf calls are placed.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// The region by which its phone numbers are read, such as `US`.
    pub region: Option<String>,
    /// Its zone.
    pub timezone: Option<String>,
    /// [`TenantSettings`] as JSON text.
    pub settings: String,
}

impl Tenant {
    /// The settings, read.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn settings(&self) -> Result<TenantSettings> {
        parse("settings", || format!("tenant {}", self.name), &self.settings)
    }
}

/// A reason to call a group of people by a set of rules.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Campaign {
    /// ULID.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// Its name within the tenant.
    pub name: String,
    /// The purpose of its slots; campaigns that share one never call a person twice for it.
    pub purpose: String,
    /// The account that its calls are placed with.
    pub account: String,
    /// Whether it may call.
    pub active: bool,
    /// Campaigns of a higher priority are served first.
    pub priority: i64,
    /// [`Rules`] as JSON text.
    pub rules: String,
    /// Moves with every edit, start and stop.
    pub rules_version: i64,
    /// A lower bound of the next moment at which its window is open; none: unknown.
    pub next_open_at: Option<DateTime<Utc>>,
    /// When it last got a call placed.
    pub last_served_at: DateTime<Utc>,
    /// Until when the provider's refusals hold its calls back.
    pub held_until: Option<DateTime<Utc>>,
    /// The provider's words.
    pub held_reason: Option<String>,
    /// How often in a row it was held back.
    pub refusals: i64,
}

impl Campaign {
    /// `tenant/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.tenant, self.name)
    }

    /// The rules, read.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]: such a campaign makes no calls.
    pub fn rules(&self) -> Result<Rules> {
        parse("rules", || format!("campaign {}", self.full_name()), &self.rules)
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    subject: impl FnOnce() -> String,
    text: &str,
) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable {
        what,
        subject: subject(),
        problem: error.to_string(),
    })
}

/// Every account, by name.
pub async fn accounts(tx: &mut Tx) -> Result<Vec<Account>> {
    Ok(fetch!(
        tx,
        Account,
        fetch_all,
        "SELECT name, provider, settings, max_concurrency, calls_per_minute, org_id, held_until, held_reason, refusals
         FROM accounts ORDER BY name"
    )?)
}

/// Creates or replaces an account. An edit ends whatever held it back, and forgets its organisation when the key moved.
pub async fn put_account(tx: &mut Tx, account: &Account, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO accounts (name, provider, settings, max_concurrency, calls_per_minute, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (name) DO UPDATE SET provider = excluded.provider,
             org_id = CASE WHEN accounts.settings = excluded.settings THEN accounts.org_id END,
             settings = excluded.settings, max_concurrency = excluded.max_concurrency,
             calls_per_minute = excluded.calls_per_minute, held_until = NULL, held_reason = NULL, refusals = 0,
             updated_at = excluded.updated_at",
        &account.name,
        &account.provider,
        &account.settings,
        account.max_concurrency,
        account.calls_per_minute,
        now
    )?;
    Ok(())
}

/// Every tenant, by name.
pub async fn tenants(tx: &mut Tx) -> Result<Vec<Tenant>> {
    Ok(fetch!(
        tx,
        Tenant,
        fetch_all,
        "SELECT name, display_name, region, timezone, settings FROM tenants ORDER BY name"
    )?)
}

/// One tenant by name.
pub async fn tenant(tx: &mut Tx, name: &str) -> Result<Option<Tenant>> {
    Ok(fetch!(
        tx,
        Tenant,
        fetch_optional,
        "SELECT name, display_name, region, timezone, settings FROM tenants WHERE name = $1",
        name
    )?)
}

/// Creates or replaces a tenant; its campaigns' contacts are due for a check, since limits and zone may have moved.
pub async fn put_tenant(tx: &mut Tx, tenant: &Tenant, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO tenants (name, display_name, region, timezone, settings, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name, region = excluded.region,
             timezone = excluded.timezone, settings = excluded.settings, updated_at = excluded.updated_at",
        &tenant.name,
        &tenant.display_name,
        tenant.region.as_deref(),
        tenant.timezone.as_deref(),
        &tenant.settings,
        now
    )?;
    execute!(
        tx,
        "UPDATE campaigns SET rules_version = rules_version + 1, next_open_at = NULL, updated_at = $2 WHERE tenant = $1",
        &tenant.name,
        now
    )?;
    Ok(())
}

macro_rules! campaign_columns {
    () => {
        "id, tenant, name, purpose, account, active, priority, rules, rules_version, next_open_at, last_served_at, \
         held_until, held_reason, refusals"
    };
}

/// Every campaign, by tenant and name.
pub async fn campaigns(tx: &mut Tx) -> Result<Vec<Campaign>> {
    Ok(fetch!(
        tx,
        Campaign,
        fetch_all,
        concat!("SELECT ", campaign_columns!(), " FROM campaigns ORDER BY tenant, name")
    )?)
}

/// The active campaigns whose window may be open and that have anybody to look at, or that their provider refuses: those
/// of higher priority and those unserved longest first.
pub async fn campaigns_due(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<Campaign>> {
    Ok(fetch!(
        tx,
        Campaign,
        fetch_all,
        concat!(
            "SELECT ",
            campaign_columns!(),
            " FROM campaigns WHERE active AND (next_open_at IS NULL OR next_open_at <= $1)
                AND (refusals > 0
                     OR EXISTS (SELECT 1 FROM accounts a WHERE a.name = campaigns.account AND a.refusals > 0)
                     OR EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = campaigns.id AND e.status = 'active'
                                AND e.next_check_at IS NOT NULL AND e.next_check_at <= $1)
                     OR EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = campaigns.id AND e.status = 'active'
                                AND e.rules_version < campaigns.rules_version)
                     OR EXISTS (SELECT 1 FROM calls c WHERE c.campaign_id = campaigns.id AND c.status = 'scheduled'
                                AND c.next_attempt_at <= $1))
              ORDER BY priority DESC, last_served_at, tenant, name"
        ),
        now
    )?)
}

/// One campaign by tenant and name.
pub async fn campaign(tx: &mut Tx, tenant: &str, name: &str) -> Result<Option<Campaign>> {
    Ok(fetch!(
        tx,
        Campaign,
        fetch_optional,
        concat!("SELECT ", campaign_columns!(), " FROM campaigns WHERE tenant = $1 AND name = $2"),
        tenant,
        name
    )?)
}

/// One campaign by id.
pub async fn campaign_by_id(tx: &mut Tx, id: &str) -> Result<Option<Campaign>> {
    Ok(fetch!(
        tx,
        Campaign,
        fetch_optional,
        concat!("SELECT ", campaign_columns!(), " FROM campaigns WHERE id = $1"),
        id
    )?)
}

/// Creates a campaign, not started, or replaces the rules of one; every enrollment is then due for a check. An edit
/// ends whatever held it back.
pub async fn put_campaign(tx: &mut Tx, campaign: &Campaign, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO campaigns (id, tenant, name, purpose, account, active, priority, rules, rules_version,
                                last_served_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, FALSE, $6, $7, 1, $9, $8, $8)
         ON CONFLICT (tenant, name) DO UPDATE SET purpose = excluded.purpose, account = excluded.account,
             priority = excluded.priority, rules = excluded.rules, rules_version = campaigns.rules_version + 1,
             next_open_at = NULL, held_until = NULL, held_reason = NULL, refusals = 0,
             updated_at = excluded.updated_at",
        &campaign.id,
        &campaign.tenant,
        &campaign.name,
        &campaign.purpose,
        &campaign.account,
        campaign.priority,
        &campaign.rules,
        now,
        DateTime::UNIX_EPOCH
    )?;
    Ok(())
}

/// Starts or stops a campaign; says whether that changed anything. Either makes every enrollment due for a check.
pub async fn set_active(tx: &mut Tx, id: &str, active: bool, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE campaigns SET active = $2, rules_version = rules_version + 1, next_open_at = NULL, held_until = NULL,
             held_reason = NULL, refusals = 0, updated_at = $3
         WHERE id = $1 AND active <> $2",
        id,
        active,
        now
    )? > 0)
}

/// Records for each of these campaigns when its window may next be open, unless its rules moved meanwhile.
pub async fn set_next_opens(tx: &mut Tx, opens: &[(&Campaign, DateTime<Utc>)]) -> Result<()> {
    for batch in opens.chunks(500) {
        dynamic!(
            tx,
            |q| {
                q.push("WITH seen (id, rules_version, next_open_at) AS (");
                q.push_values(batch, |mut row, (campaign, next_open_at)| {
                    row.push_bind(&campaign.id).push_bind(campaign.rules_version).push_bind(*next_open_at);
                });
                q.push(
                    ") UPDATE campaigns SET next_open_at = seen.next_open_at FROM seen \
                     WHERE campaigns.id = seen.id AND campaigns.rules_version = seen.rules_version",
                );
            },
            execute
        )?;
    }
    Ok(())
}

/// Records that these campaigns got calls placed, so that others come first.
pub async fn served(tx: &mut Tx, ids: &BTreeSet<String>, now: DateTime<Utc>) -> Result<()> {
    for id in ids {
        execute!(tx, "UPDATE campaigns SET last_served_at = $2 WHERE id = $1", id, now)?;
    }
    Ok(())
}

/// Records the organisation that an account's key belongs to; says whether it was another one before.
pub async fn learn_organisation(tx: &mut Tx, account: &str, org_id: &str) -> Result<()> {
    execute!(
        tx,
        "UPDATE accounts SET org_id = $2 WHERE name = $1 AND (org_id IS NULL OR org_id <> $2)",
        account,
        org_id
    )?;
    Ok(())
}

/// Holds all calls of an account back until `until` at least, for the reason that holds it longest. `refusals` is how many in a row the provider's refusal
/// makes, 0 where it was none: what many requests of one run meet is one.
pub async fn hold_account(tx: &mut Tx, name: &str, until: DateTime<Utc>, reason: &str, refusals: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE accounts SET held_until = CASE WHEN held_until > $2 THEN held_until ELSE $2 END,
             held_reason = CASE WHEN held_until > $2 THEN held_reason ELSE $3 END,
             refusals = CASE WHEN refusals > $4 THEN refusals ELSE $4 END
         WHERE name = $1",
        name,
        until,
        reason,
        refusals
    )?;
    Ok(())
}

/// Holds all calls of a campaign back, as [`hold_account`] those of an account.
pub async fn hold_campaign(tx: &mut Tx, id: &str, until: DateTime<Utc>, reason: &str, refusals: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE campaigns SET held_until = CASE WHEN held_until > $2 THEN held_until ELSE $2 END,
             held_reason = CASE WHEN held_until > $2 THEN held_reason ELSE $3 END,
             refusals = CASE WHEN refusals > $4 THEN refusals ELSE $4 END
         WHERE id = $1",
        id,
        until,
        reason,
        refusals
    )?;
    Ok(())
}

/// Ends what held an account and a campaign back, once the provider took a call of theirs; says whether anything did.
pub async fn release_holds(tx: &mut Tx, account: &str, campaign_id: &str) -> Result<bool> {
    let accounts = execute!(
        tx,
        "UPDATE accounts SET held_until = NULL, held_reason = NULL, refusals = 0 WHERE name = $1 AND refusals > 0",
        account
    )?;
    let campaigns = execute!(
        tx,
        "UPDATE campaigns SET held_until = NULL, held_reason = NULL, refusals = 0 WHERE id = $1 AND refusals > 0",
        campaign_id
    )?;
    Ok(accounts + campaigns > 0)
}
