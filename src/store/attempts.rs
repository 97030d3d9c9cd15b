//! Attempts as stored, and which of them somebody has to look after.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;

use super::claims::LONGEST_CLAIM_SECONDS;
use super::{Result, StoreError, Tx, dynamic, execute, fetch, scalar};
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::outcome::Outcome;

/// One dial at a provider: the write-ahead record.
#[derive(Clone, Debug, FromRow)]
pub struct Attempt {
    /// ULID; the name by which the provider knows the call.
    pub id: String,
    /// The call that it belongs to.
    pub call_id: String,
    /// 1, 2, … within the call.
    pub number: i64,
    /// The tenant.
    pub tenant: String,
    /// The phone, E.164.
    pub phone: String,
    /// The purpose of the call's slot.
    pub purpose: String,
    /// The contact.
    pub contact_id: String,
    /// The campaign.
    pub campaign_id: String,
    /// The account that it is placed with.
    pub account: String,
    /// Where it stands.
    pub state: AttemptState,
    /// The run that claimed it.
    pub owner: String,
    /// Until when only that run may dial it.
    pub lease_until: DateTime<Utc>,
    /// The first instant at which the window is closed.
    pub window_closes_at: DateTime<Utc>,
    /// Seconds after being placed by which something should have been heard.
    pub answer_timeout_seconds: i64,
    /// Seconds after being answered by which the call should be over.
    pub call_timeout_seconds: i64,
    /// Whether the phone may have rung, as far as is known.
    pub may_have_rung: bool,
    /// Held back by the provider, to ring later.
    pub queued: bool,
    /// When the provider was asked to take a queued call back.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// When it was claimed.
    pub claimed_at: DateTime<Utc>,
    /// When its owner committed to dial.
    pub placing_at: Option<DateTime<Utc>>,
    /// When the request was over, with or without an answer.
    pub request_ended_at: Option<DateTime<Utc>>,
    /// When the provider took it.
    pub placed_at: Option<DateTime<Utc>>,
    /// When somebody picked up.
    pub answered_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// The provider's id of the call.
    pub provider_call_id: Option<String>,
    /// The organisation at the provider whose key was used.
    pub org_id: Option<String>,
    /// The line that calls, in the provider's words.
    pub line: Option<String>,
    /// The agent that calls, in the provider's words.
    pub agent: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Who established the state.
    pub evidence: Option<Evidence>,
    /// The raw reason.
    pub reason: Option<String>,
    /// When the provider should be asked next.
    pub next_poll_at: Option<DateTime<Utc>>,
    /// When the clock alone may say something.
    pub deadline_at: Option<DateTime<Utc>>,
    /// How often the provider was asked.
    pub polls: i64,
    /// How many complete reads of the provider did not show it.
    pub absences: i64,
    /// The provider's clock at the first of them.
    pub absence_seen_at: Option<DateTime<Utc>>,
    /// What the agent reported of the conversation, as JSON text.
    pub report: Option<String>,
    /// When anything was last reported of it.
    pub heard_at: Option<DateTime<Utc>>,
}

macro_rules! columns {
    () => {
        "id, call_id, number, tenant, phone, purpose, contact_id, campaign_id, account, state, owner, lease_until, \
         window_closes_at, answer_timeout_seconds, call_timeout_seconds, may_have_rung, queued, cancel_requested_at, \
         claimed_at, placing_at, request_ended_at, placed_at, answered_at, ended_at, provider_call_id, org_id, line, \
         agent, outcome, evidence, reason, next_poll_at, deadline_at, polls, absences, absence_seen_at, report, \
         heard_at"
    };
}
pub(super) use columns;

/// One attempt by id.
pub async fn attempt(tx: &mut Tx, id: &str) -> Result<Option<Attempt>> {
    Ok(fetch!(tx, Attempt, fetch_optional, concat!("SELECT ", columns!(), " FROM attempts WHERE id = $1"), id)?)
}

/// The attempts of a call, oldest first.
pub async fn of_call(tx: &mut Tx, call_id: &str) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!("SELECT ", columns!(), " FROM attempts WHERE call_id = $1 ORDER BY number"),
        call_id
    )?)
}

/// All attempts of some calls, by call and number, locked until the transaction ends.
pub(super) async fn lock_of_calls(tx: &mut Tx, call_ids: &[String]) -> Result<Vec<Attempt>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM attempts WHERE call_id IN ("));
            let mut ids = q.separated(", ");
            for id in call_ids {
                ids.push_bind(id);
            }
            q.push(") ORDER BY call_id, number").push(lock);
        },
        build_query_as::<Attempt>().fetch_all
    )?)
}

/// Attempts that were being sent when their owner fell silent: nothing was heard since `before`.
pub async fn silent(tx: &mut Tx, before: DateTime<Utc>) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts WHERE state = 'placing' AND live AND placing_at <= $1 ORDER BY placing_at LIMIT 1000"
        ),
        before
    )?)
}

/// Unknown attempts whose provider should be asked now.
pub async fn unknown_due(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts WHERE state = 'unknown' AND live AND (next_poll_at IS NULL OR next_poll_at <= $1)
              ORDER BY placing_at LIMIT 5000"
        ),
        now
    )?)
}

/// Placed and answered attempts whose deadline has passed.
pub async fn overdue(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts WHERE state IN ('placed', 'answered') AND live AND deadline_at <= $1
              ORDER BY deadline_at LIMIT 1000"
        ),
        now
    )?)
}

/// Placed and answered attempts of an account whose provider should be asked now.
pub async fn polls_due(tx: &mut Tx, account: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts WHERE account = $1 AND state IN ('placed', 'answered') AND live AND next_poll_at <= $2
              ORDER BY next_poll_at LIMIT $3"
        ),
        account,
        now,
        limit
    )?)
}

/// A call of this account, on this line, that the provider is known to have taken between `from` and `to`: a read of
/// that range that does not show it did not show everything.
pub async fn control_calls(
    tx: &mut Tx,
    account: &str,
    line: Option<&str>,
    agent: Option<&str>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT provider_call_id FROM attempts
         WHERE account = $1 AND provider_call_id IS NOT NULL AND placing_at > $2 AND placing_at < $3
           AND claimed_at > $6 AND claimed_at < $3
           AND (line = $4 OR (line IS NULL AND $4 IS NULL)) AND (agent = $5 OR (agent IS NULL AND $5 IS NULL))
           AND NOT (outcome IS NOT NULL AND outcome = 'cancelled')
         ORDER BY placing_at LIMIT 50",
        account,
        from,
        to,
        line,
        agent,
        from - TimeDelta::seconds(LONGEST_CLAIM_SECONDS)
    )?)
}

/// Records that the provider was asked about an attempt and when to ask again, leaving its state alone.
pub async fn polled(
    tx: &mut Tx,
    id: &str,
    next_poll_at: DateTime<Utc>,
    deadline_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    execute!(
        tx,
        "UPDATE attempts SET polls = polls + 1, next_poll_at = $2, deadline_at = coalesce($3, deadline_at),
             updated_at = $4
         WHERE id = $1 AND state IN ('placed', 'answered', 'unknown')",
        id,
        next_poll_at,
        deadline_at,
        now
    )?;
    Ok(())
}

/// Records a complete read of the provider that did not show an unknown attempt. `seen_at` is the provider's clock.
pub async fn absent(tx: &mut Tx, id: &str, seen_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE attempts SET absences = absences + 1, absence_seen_at = coalesce(absence_seen_at, $2), updated_at = $3
         WHERE id = $1 AND state = 'unknown'",
        id,
        seen_at,
        now
    )?;
    Ok(())
}

/// Forgets earlier absences: a read was incomplete, or showed something that could be the call.
pub async fn forget_absences(tx: &mut Tx, id: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE attempts SET absences = 0, absence_seen_at = NULL, updated_at = $2 WHERE id = $1 AND state = 'unknown'",
        id,
        now
    )?;
    Ok(())
}

/// Records that the provider was asked to take a call back.
pub async fn cancel_requested(tx: &mut Tx, id: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE attempts SET cancel_requested_at = $2, updated_at = $2
         WHERE id = $1 AND state IN ('placed', 'answered') AND cancel_requested_at IS NULL",
        id,
        now
    )?;
    Ok(())
}

/// How many unknown attempts are older than `before`.
pub async fn old_unknowns(tx: &mut Tx, before: DateTime<Utc>) -> Result<i64> {
    Ok(scalar!(
        tx,
        i64,
        fetch_one,
        "SELECT count(*) FROM attempts WHERE state = 'unknown' AND live AND placing_at < $1",
        before
    )?)
}

/// What a run might have to do; all false when there is nothing.
#[derive(Clone, Copy, Debug, FromRow, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the answers to independent questions, asked at once")]
pub struct Outlook {
    /// Claims whose lease ran out.
    pub abandoned: bool,
    /// Attempts that were being sent when their owner fell silent.
    pub silent: bool,
    /// Unknown attempts whose provider should be asked now.
    pub unknown: bool,
    /// Placed and answered attempts whose deadline has passed.
    pub overdue: bool,
    /// Unknown attempts that are old enough to be findings.
    pub old_unknowns: bool,
    /// Active campaigns whose window may be open.
    pub open_campaigns: bool,
    /// Payments that could not be applied, and are young enough to be tried again by themselves.
    pub pending_payments: bool,
}

impl Outlook {
    /// Whether there are attempts to look after.
    pub fn needs_sweep(self) -> bool {
        self.abandoned || self.silent || self.unknown || self.overdue || self.old_unknowns
    }
}

/// Looks for all that a run looks after, in one question, which asks the index for the campaign that opens first: with
/// the condition alone, SQLite reads them all where its statistics are of a day on which all were open. `silent_before` is as in [`silent`], `old_before` as in
/// [`old_unknowns`].
pub async fn outlook(
    tx: &mut Tx,
    now: DateTime<Utc>,
    silent_before: DateTime<Utc>,
    old_before: DateTime<Utc>,
    payments_since: DateTime<Utc>,
) -> Result<Outlook> {
    Ok(fetch!(
        tx,
        Outlook,
        fetch_one,
        "SELECT coalesce(max(CASE WHEN state = 'claimed' AND lease_until <= $1 THEN 1 END), 0) = 1 AS abandoned,
                 coalesce(max(CASE WHEN state = 'placing' AND placing_at <= $2 THEN 1 END), 0) = 1 AS silent,
                 coalesce(max(CASE WHEN state = 'unknown' AND (next_poll_at IS NULL OR next_poll_at <= $1)
                              THEN 1 END), 0) = 1 AS \"unknown\",
                 coalesce(max(CASE WHEN state IN ('placed', 'answered') AND deadline_at <= $1
                              THEN 1 END), 0) = 1 AS overdue,
                 coalesce(max(CASE WHEN state = 'unknown' AND placing_at < $3 THEN 1 END), 0) = 1 AS old_unknowns,
                 EXISTS (SELECT 1 FROM (SELECT next_open_at FROM campaigns WHERE active
                                        ORDER BY next_open_at NULLS FIRST LIMIT 1) AS first_to_open
                         WHERE next_open_at IS NULL OR next_open_at <= $1) AS open_campaigns,
                 EXISTS (SELECT 1 FROM events WHERE state = 'pending' AND source = 'stripe' AND received_at >= $4)
                     AS pending_payments
             FROM attempts WHERE live",
        now,
        silent_before,
        old_before,
        payments_since
    )?)
}

/// Makes calls that a provider holds back due to be taken back at once, and yields them.
pub async fn hurry_queued(
    tx: &mut Tx,
    tenant: Option<&str>,
    campaign_id: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!(
            "UPDATE attempts SET deadline_at = $3, updated_at = $3
             WHERE state = 'placed' AND live AND queued AND ($1 IS NULL OR tenant = $1) AND ($2 IS NULL OR campaign_id = $2)
             RETURNING ",
            columns!()
        ),
        tenant,
        campaign_id,
        now
    )?)
}

/// Records what the agent reported of its conversation, where it did, and when anything was last reported.
pub async fn heard(
    tx: &mut Tx,
    id: &str,
    heard_at: DateTime<Utc>,
    report: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let written = execute!(
        tx,
        "UPDATE attempts SET heard_at = $2, report = coalesce($3, report), updated_at = $4 WHERE id = $1",
        id,
        heard_at,
        report,
        now
    )?;
    if written == 1 { Ok(()) } else { Err(StoreError::Conflict(format!("there is no attempt {id}"))) }
}

/// Has the provider asked about an attempt at the next opportunity.
pub async fn ask_soon(tx: &mut Tx, id: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE attempts SET next_poll_at = $2, updated_at = $2
         WHERE id = $1 AND state IN ('placed', 'answered', 'unknown') AND (next_poll_at IS NULL OR next_poll_at > $2)",
        id,
        now
    )?;
    Ok(())
}

/// The attempts that a provider may mean by its id of a call, one of each account that has such a call.
pub async fn of_provider_call(tx: &mut Tx, provider_call_id: &str) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!("SELECT ", columns!(), " FROM attempts WHERE provider_call_id = $1 ORDER BY id"),
        provider_call_id
    )?)
}
