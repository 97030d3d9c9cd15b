//! How much an account and a campaign can take.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;

use super::{Claim, LONGEST_CLAIM_SECONDS};
use crate::store::{Result, Tx, dynamic, execute, fetch, scalar};

/// How long an unknown attempt counts against its account's capacity: nothing rings or talks longer.
const UNKNOWN_OCCUPIES_SECONDS: i64 = 70 * 60;
/// The span that the pace of accounts and campaigns is counted in.
const PACE_SECONDS: i64 = 60;

/// How much an account may do at once.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct AccountLimits {
    /// The most calls live at once.
    pub max_concurrency: i64,
    /// The most calls to start in a minute.
    pub calls_per_minute: Option<i64>,
}

/// How much more a locked account can take.
#[derive(Debug)]
pub(super) struct Room {
    /// How many more attempts it can have live, and may start within this minute.
    pub(super) free: usize,
    /// The most attempts that can be live, whatever their state.
    live_at_most: i64,
}

impl Room {
    /// Takes note that so many attempts were added.
    pub(super) async fn take(&self, tx: &mut Tx, account: &str, added: usize) -> Result<()> {
        let live_at_most = self.live_at_most + i64::try_from(added).unwrap_or(i64::MAX);
        execute!(tx, "UPDATE accounts SET live_at_most = $2 WHERE name = $1", account, live_at_most)?;
        Ok(())
    }
}

/// Takes note that an attempt which was over turned out to be live.
pub(in crate::store) async fn count_revived(tx: &mut Tx, account: &str) -> Result<()> {
    execute!(tx, "UPDATE accounts SET live_at_most = live_at_most + 1 WHERE name = $1", account)?;
    Ok(())
}

#[derive(FromRow)]
struct Locked {
    #[sqlx(flatten)]
    limits: AccountLimits,
    live_at_most: i64,
}

/// Locks an account until the transaction ends, and says how much of what is `wanted` it can take.
///
/// To count the live attempts of an account with thousands of them costs more than to claim a batch. What is added is
/// added up in the account's row instead, and only when that bound leaves too little room are they counted.
pub(super) async fn lock_account(tx: &mut Tx, account: &str, wanted: usize, now: DateTime<Utc>) -> Result<Room> {
    let lock = tx.lock_clause();
    let locked = dynamic!(
        tx,
        |q| {
            q.push("SELECT max_concurrency, calls_per_minute, live_at_most FROM accounts WHERE name = ");
            q.push_bind(account).push(lock);
        },
        build_query_as::<Locked>().fetch_one
    )?;
    let mut live_at_most = locked.live_at_most;
    let mut free = locked.limits.max_concurrency - live_at_most;
    if free < i64::try_from(wanted).unwrap_or(i64::MAX) {
        let live = live(tx, account, now).await?;
        live_at_most = live.all;
        free = locked.limits.max_concurrency - live.occupying;
    }
    let free = free.min(pace(tx, account, &locked.limits, now).await?);
    Ok(Room { free: usize::try_from(free).unwrap_or(0), live_at_most })
}

/// The live attempts of an account.
#[derive(Clone, Copy, Debug, FromRow)]
struct Live {
    all: i64,
    /// Without those that have been unknown for too long to ring still.
    occupying: i64,
}

async fn live(tx: &mut Tx, account: &str, now: DateTime<Utc>) -> Result<Live> {
    Ok(fetch!(
        tx,
        Live,
        fetch_one,
        "SELECT count(*) AS \"all\", count(*) FILTER (WHERE state <> 'unknown' OR placing_at > $2) AS occupying
         FROM attempts WHERE account = $1 AND live",
        account,
        now - TimeDelta::seconds(UNKNOWN_OCCUPIES_SECONDS)
    )?)
}

/// How many more calls the account may start within this minute.
async fn pace(tx: &mut Tx, account: &str, limits: &AccountLimits, now: DateTime<Utc>) -> Result<i64> {
    let Some(per_minute) = limits.calls_per_minute else { return Ok(i64::MAX) };
    let recent = scalar!(
        tx,
        i64,
        fetch_one,
        "SELECT count(*) FROM attempts
         WHERE account = $1 AND claimed_at > $2 AND (placing_at > $3 OR state = 'claimed')",
        account,
        now - TimeDelta::seconds(PACE_SECONDS + LONGEST_CLAIM_SECONDS),
        now - TimeDelta::seconds(PACE_SECONDS)
    )?;
    Ok(per_minute - recent)
}

/// How many more attempts the account can have live, and may start within this minute.
pub async fn capacity(tx: &mut Tx, account: &str, limits: &AccountLimits, now: DateTime<Utc>) -> Result<usize> {
    let free = limits.max_concurrency - live(tx, account, now).await?.occupying;
    let free = free.min(pace(tx, account, limits, now).await?);
    Ok(usize::try_from(free).unwrap_or(0))
}

/// How many more calls each campaign may start within this minute, by id and version of its rules; campaigns that are
/// stopped, paused or have other rules by now are left out. A campaign that moves to another account begins a new minute.
pub(super) async fn campaigns_room<'c>(
    tx: &mut Tx,
    account: &str,
    claims: &'c [Claim],
    now: DateTime<Utc>,
) -> Result<HashMap<(&'c str, i64), usize>> {
    let mut room = HashMap::new();
    for claim in claims {
        let campaign = (claim.campaign_id.as_str(), claim.rules_version);
        if room.contains_key(&campaign) {
            continue;
        }
        let version = scalar!(
            tx,
            i64,
            fetch_optional,
            "SELECT rules_version FROM campaigns WHERE id = $1 AND active
               AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.scope IN ('all', 'tenant:' || campaigns.tenant))",
            &claim.campaign_id
        )?;
        if version != Some(claim.rules_version) {
            continue;
        }
        let left = match claim.calls_per_minute {
            None => usize::MAX,
            Some(per_minute) => {
                let recent = scalar!(
                    tx,
                    i64,
                    fetch_one,
                    "SELECT count(*) FROM attempts
                     WHERE account = $1 AND campaign_id = $2 AND claimed_at > $3
                       AND (placing_at > $4 OR state = 'claimed')",
                    account,
                    &claim.campaign_id,
                    now - TimeDelta::seconds(PACE_SECONDS + LONGEST_CLAIM_SECONDS),
                    now - TimeDelta::seconds(PACE_SECONDS)
                )?;
                usize::try_from(per_minute - recent).unwrap_or(0)
            }
        };
        room.insert(campaign, left);
    }
    Ok(room)
}
