//! Recording what was learned about attempts, and what follows for their calls.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;

use super::attempts::{Attempt, lock_of_calls};
use super::conversations::Told;
use super::{Result, StoreError, Tx, claims, conversations, dynamic, fetch, runs, scalar};
use crate::domain::call::{AttemptFacts, AttemptState, CallStatus, Decision, Evidence, derive, may_move};
use crate::domain::campaign::Rules;
use crate::domain::evidence::{Observation, RetryPolicy, Seen, next_attempt_at, says_more};
use crate::domain::outcome::Outcome;
use crate::domain::settle::poll_after;

/// Seconds after which an attempt that was accepted is first asked about.
const FIRST_POLL_SECONDS: i64 = 30;
/// No call gets more attempts than this, whatever they came to: what never rings costs no budget, but is no use either.
const MOST_ATTEMPTS: usize = 50;
/// Seconds after which an unknown attempt is given up and its slot stays spent.
const UNKNOWN_GIVE_UP_SECONDS: i64 = 24 * 3600;
/// A call that the provider holds back is taken back when less than this is left of its window.
pub const QUEUED_MARGIN_SECONDS: i64 = 3600;

/// What recording one observation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The attempt.
    pub attempt_id: String,
    /// Whether it moved.
    pub moved: bool,
    /// Where it stands now.
    pub state: AttemptState,
    /// Where its call stands now.
    pub call_status: CallStatus,
    /// What this did to the record of its conversation.
    pub conversation: Told,
}

#[derive(FromRow)]
struct CallRow {
    id: String,
    campaign_id: String,
    status: CallStatus,
    outcome: Option<Outcome>,
    reason: Option<String>,
    decision: Option<Decision>,
    next_attempt_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// Records observations, in their order, whoever brings them: evidence is never fenced by owner or lease.
///
/// An observation that tells nothing new leaves the attempt as it is; see [`may_move`]. The calls' statuses and next
/// attempts follow. Unknown attempt ids are left out of the result.
///
/// # Errors
/// When the database cannot be asked, or another transaction changed a row in spite of its lock.
pub async fn apply(tx: &mut Tx, observations: &[Observation], now: DateTime<Utc>) -> Result<Vec<Applied>> {
    let observed: Vec<&str> = observations.iter().map(|observation| observation.attempt_id.as_str()).collect();
    let calls = lock_calls_of(tx, &observed).await?;
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let call_ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let mut attempts = lock_of_calls(tx, &call_ids).await?;
    let policies = retry_policies(tx, &calls).await?;

    let mut changed = BTreeSet::new();
    let mut next: HashMap<String, Option<DateTime<Utc>>> =
        calls.iter().map(|call| (call.id.clone(), call.next_attempt_at)).collect();
    let mut moved_ids = BTreeSet::new();
    for observation in observations {
        let Some(index) = attempts.iter().position(|a| a.id == observation.attempt_id) else { continue };
        let revives = !attempts[index].state.is_live() && observation.seen.state().is_live();
        if revives
            && may_move(attempts[index].state, attempts[index].evidence, observation.seen.state(), observation.by)
            && (has_live_neighbour(&attempts, index) || phone_is_occupied(tx, &attempts[index]).await?)
        {
            // The phone has a live attempt already. The late one keeps its verdict until its end is known.
            let detail = format!("attempt {} turned out to be live beside another one", attempts[index].id);
            runs::raise(tx, "second_live_call", &format!("phone:{}", attempts[index].phone), &detail, now).await?;
            adopt_ids(&mut attempts[index], &observation.seen);
            changed.insert(index);
            continue;
        }
        let attempt = &mut attempts[index];
        if !absorb(attempt, observation) {
            changed.insert(index);
            continue;
        }
        if revives {
            claims::count_revived(tx, &attempt.account).await?;
        }
        changed.insert(index);
        moved_ids.insert(attempt.id.clone());
        let (call_id, number) = (attempt.call_id.clone(), attempt.number);
        if attempt.state.is_live() {
            next.insert(call_id, None);
            continue;
        }
        let of_call: Vec<&Attempt> = attempts.iter().filter(|a| a.call_id == call_id).collect();
        if of_call.iter().any(|a| a.number > number) {
            continue;
        }
        let rang = of_call.iter().filter(|a| a.may_have_rung).count();
        let decided = calls.iter().any(|call| call.id == call_id && call.decision.is_some());
        let policy = calls.iter().find(|call| call.id == call_id).and_then(|call| policies.get(&call.campaign_id));
        let at = match policy {
            Some(policy) if !decided && of_call.len() < MOST_ATTEMPTS => {
                next_attempt_at(policy, observation, rang, now)
            }
            // Rules that cannot be read mean no call.
            _ => None,
        };
        next.insert(call_id, at);
    }
    write_attempts(tx, changed.iter().map(|index| &attempts[*index]), now).await?;
    let changed: Vec<&Attempt> = changed.iter().map(|index| &attempts[*index]).collect();
    let told = conversations::tell(tx, &changed, observations, now).await?;

    let statuses = write_calls(tx, &calls, &attempts, &next, now).await?;
    Ok(observations
        .iter()
        .filter_map(|observation| {
            let attempt = attempts.iter().find(|a| a.id == observation.attempt_id)?;
            Some(Applied {
                attempt_id: attempt.id.clone(),
                moved: moved_ids.contains(&attempt.id),
                state: attempt.state,
                call_status: *statuses.get(&attempt.call_id)?,
                conversation: told.get(&attempt.id).copied().unwrap_or_default(),
            })
        })
        .collect())
}

/// Locks the calls of these attempts until the transaction ends, before anything else of them is: whoever writes about a
/// call's attempts and conversations has its call first, so that nobody waits for each other.
///
/// # Errors
/// When the database cannot be asked.
pub async fn lock(tx: &mut Tx, attempt_ids: &[&str]) -> Result<()> {
    lock_calls_of(tx, attempt_ids).await.map(drop)
}

/// Recomputes the status of calls after a decision about them.
pub(super) async fn refresh(tx: &mut Tx, call_ids: &[String], now: DateTime<Utc>) -> Result<()> {
    if call_ids.is_empty() {
        return Ok(());
    }
    let calls = lock_calls(tx, call_ids).await?;
    let attempts = lock_of_calls(tx, call_ids).await?;
    let next = calls.iter().map(|call| (call.id.clone(), call.next_attempt_at)).collect();
    write_calls(tx, &calls, &attempts, &next, now).await?;
    Ok(())
}

const CALL_COLUMNS: &str = "id, campaign_id, status, outcome, reason, decision, next_attempt_at, ended_at";

/// The calls of these attempts, locked until the transaction ends.
async fn lock_calls_of(tx: &mut Tx, attempt_ids: &[&str]) -> Result<Vec<CallRow>> {
    if attempt_ids.is_empty() {
        return Ok(Vec::new());
    }
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT ").push(CALL_COLUMNS);
            q.push(" FROM calls WHERE id IN (SELECT call_id FROM attempts WHERE id IN (");
            let mut separated = q.separated(", ");
            for id in attempt_ids {
                separated.push_bind(*id);
            }
            q.push(")) ORDER BY id").push(lock);
        },
        build_query_as::<CallRow>().fetch_all
    )?)
}

async fn lock_calls(tx: &mut Tx, ids: &[String]) -> Result<Vec<CallRow>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT ").push(CALL_COLUMNS).push(" FROM calls WHERE id IN (");
            let mut separated = q.separated(", ");
            for id in ids {
                separated.push_bind(id);
            }
            q.push(") ORDER BY id").push(lock);
        },
        build_query_as::<CallRow>().fetch_all
    )?)
}

async fn retry_policies(tx: &mut Tx, calls: &[CallRow]) -> Result<HashMap<String, RetryPolicy>> {
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.campaign_id.as_str()).collect();
    let mut policies = HashMap::new();
    for id in ids {
        let text = scalar!(tx, String, fetch_one, "SELECT rules FROM campaigns WHERE id = $1", id)?;
        if let Ok(rules) = serde_json::from_str::<Rules>(&text) {
            policies.insert(id.to_owned(), rules.retry);
        }
    }
    Ok(policies)
}

async fn phone_is_occupied(tx: &mut Tx, attempt: &Attempt) -> Result<bool> {
    Ok(fetch!(
        tx,
        (i64,),
        fetch_one,
        "SELECT count(*) FROM attempts WHERE tenant = $1 AND phone = $2 AND id <> $3 AND live",
        &attempt.tenant,
        &attempt.phone,
        &attempt.id
    )?
    .0 > 0)
}

/// Whether another attempt of these calls came to be live on the same phone, which the database does not show yet.
fn has_live_neighbour(attempts: &[Attempt], index: usize) -> bool {
    let one = &attempts[index];
    attempts.iter().any(|a| a.id != one.id && a.state.is_live() && a.tenant == one.tenant && a.phone == one.phone)
}

fn adopt_ids(attempt: &mut Attempt, seen: &Seen) {
    let (id, org) = match seen {
        Seen::Accepted { provider_call_id, org_id, .. } => (Some(provider_call_id.clone()), org_id.clone()),
        Seen::Live { provider_call_id, org_id, .. } => (provider_call_id.clone(), org_id.clone()),
        Seen::Ended(ending) => (ending.provider_call_id.clone(), None),
        _ => (None, None),
    };
    attempt.provider_call_id = attempt.provider_call_id.take().or(id);
    attempt.org_id = attempt.org_id.take().or(org);
}

/// Takes an observation into an attempt; says whether its state, or who established it, moved.
fn absorb(attempt: &mut Attempt, observation: &Observation) -> bool {
    let (seen, at) = (&observation.seen, observation.at);
    if let (Seen::Accepted { provider_call_id, .. }, Evidence::Owner) = (seen, observation.by) {
        // Whoever asked for the call was told its id. An id that an event brought went by the name alone, which another
        // call may bear.
        attempt.provider_call_id = Some(provider_call_id.clone());
    }
    adopt_ids(attempt, seen);
    if matches!(attempt.state, AttemptState::Placing) && attempt.request_ended_at.is_none() {
        attempt.request_ended_at = Some(at);
    }
    if let Seen::Live { queued, .. } = seen
        && attempt.state == seen.state()
    {
        see_again(attempt, *queued, at);
    }
    if !may_move(attempt.state, attempt.evidence, seen.state(), observation.by) && !replaces_end(attempt, observation) {
        date(attempt, seen);
        return false;
    }
    attempt.state = seen.state();
    attempt.evidence = Some(observation.by);
    attempt.may_have_rung = seen.may_have_rung();
    attempt.outcome = seen.outcome();
    attempt.reason = seen.reason().map(str::to_owned);
    match seen {
        Seen::Accepted { queued, .. } | Seen::Live { queued, answered_at: None, .. } => {
            attempt.placed_at = attempt.placed_at.or(Some(at));
            attempt.queued = *queued;
            attempt.next_poll_at = Some(at + TimeDelta::seconds(FIRST_POLL_SECONDS));
            attempt.deadline_at = Some(if *queued {
                (attempt.window_closes_at - TimeDelta::seconds(QUEUED_MARGIN_SECONDS)).max(at)
            } else {
                at + TimeDelta::seconds(attempt.answer_timeout_seconds)
            });
        }
        Seen::Live { answered_at: Some(answered_at), .. } => {
            attempt.placed_at = attempt.placed_at.or(Some(at));
            attempt.answered_at = Some(*answered_at);
            attempt.queued = false;
            attempt.next_poll_at = Some(at + TimeDelta::seconds(FIRST_POLL_SECONDS));
            attempt.deadline_at = Some(*answered_at + TimeDelta::seconds(attempt.call_timeout_seconds));
        }
        Seen::Unknown { .. } => {
            attempt.next_poll_at = Some(at + TimeDelta::seconds(2 * FIRST_POLL_SECONDS));
            attempt.deadline_at = Some(attempt.placing_at.unwrap_or(at) + TimeDelta::seconds(UNKNOWN_GIVE_UP_SECONDS));
        }
        Seen::Ended(ending) => {
            attempt.ended_at = Some(ending.ended_at);
            if attempt.answered_at.is_none() && ending.outcome == Outcome::Answered {
                let duration_seconds = ending.record.duration_seconds.unwrap_or_default();
                attempt.answered_at = Some(ending.ended_at - TimeDelta::seconds(duration_seconds));
            }
            settle(attempt);
        }
        Seen::Void { .. } | Seen::Refused { .. } | Seen::NotSent { .. } | Seen::Lost { .. } => {
            attempt.ended_at = Some(at);
            settle(attempt);
        }
    }
    date(attempt, seen);
    true
}

/// Takes the times of an attempt that is over from the provider's record, whatever brought the news before.
fn date(attempt: &mut Attempt, seen: &Seen) {
    let Seen::Ended(ending) = seen else { return };
    if attempt.state == AttemptState::Ended {
        attempt.answered_at = ending.record.started_at.or(attempt.answered_at);
        attempt.ended_at = ending.record.ended_at.or(attempt.ended_at);
    }
}

/// Whether what another witness of an end tells takes the place of what is known.
fn replaces_end(attempt: &Attempt, observation: &Observation) -> bool {
    let Seen::Ended(ending) = &observation.seen else { return false };
    let saw_it = |witness| matches!(witness, Some(Evidence::Owner | Evidence::Provider));
    if attempt.state != AttemptState::Ended || !saw_it(attempt.evidence) || !saw_it(Some(observation.by)) {
        return false;
    }
    // The answer to our own request says why a call ended; a message of the provider's may only say that it did.
    let is_own_answer = observation.by == Evidence::Owner && attempt.evidence == Some(Evidence::Provider);
    let is_reached = attempt.outcome.is_some_and(Outcome::reached_person);
    says_more(ending.outcome, attempt.outcome) || is_own_answer && ending.outcome != Outcome::Unknown && !is_reached
}

/// Takes note that the provider still sees an attempt live: its word counts more than our deadline.
fn see_again(attempt: &mut Attempt, queued: bool, at: DateTime<Utc>) {
    attempt.next_poll_at = Some(at + poll_after(attempt.polls));
    attempt.polls += 1;
    if !queued {
        let patience = if attempt.state == AttemptState::Answered {
            attempt.call_timeout_seconds
        } else {
            attempt.answer_timeout_seconds
        };
        if attempt.queued || attempt.deadline_at.is_some_and(|deadline| deadline <= at) {
            attempt.deadline_at = Some(at + TimeDelta::seconds(patience));
        }
    }
    attempt.queued = queued;
}

fn settle(attempt: &mut Attempt) {
    attempt.queued = false;
    attempt.next_poll_at = None;
    attempt.deadline_at = None;
}

async fn write_attempts(tx: &mut Tx, attempts: impl Iterator<Item = &Attempt>, now: DateTime<Utc>) -> Result<()> {
    let attempts: Vec<&Attempt> = attempts.collect();
    // 17 binds a row: well inside SQLite's and PostgreSQL's limits.
    for batch in attempts.chunks(200) {
        let written = dynamic!(
            tx,
            |q| {
                q.push(
                    "WITH seen (id, state, evidence, outcome, reason, may_have_rung, queued, provider_call_id, org_id, \
                     request_ended_at, placed_at, answered_at, ended_at, next_poll_at, deadline_at, polls) AS (",
                );
                q.push_values(batch, |mut row, a| {
                    row.push_bind(&a.id)
                        .push_bind(a.state)
                        .push_bind(a.evidence)
                        .push_bind(a.outcome)
                        .push_bind(a.reason.as_deref())
                        .push_bind(a.may_have_rung)
                        .push_bind(a.queued)
                        .push_bind(a.provider_call_id.as_deref())
                        .push_bind(a.org_id.as_deref())
                        .push_bind(a.request_ended_at)
                        .push_bind(a.placed_at)
                        .push_bind(a.answered_at)
                        .push_bind(a.ended_at)
                        .push_bind(a.next_poll_at)
                        .push_bind(a.deadline_at)
                        .push_bind(a.polls);
                });
                q.push(
                    ") UPDATE attempts SET state = seen.state, evidence = seen.evidence, outcome = seen.outcome, \
                     reason = seen.reason, may_have_rung = seen.may_have_rung, queued = seen.queued, \
                     provider_call_id = seen.provider_call_id, org_id = seen.org_id, \
                     request_ended_at = seen.request_ended_at, placed_at = seen.placed_at, \
                     answered_at = seen.answered_at, ended_at = seen.ended_at, next_poll_at = seen.next_poll_at, \
                     deadline_at = seen.deadline_at, polls = seen.polls, updated_at = ",
                );
                q.push_bind(now);
                q.push(" FROM seen WHERE attempts.id = seen.id");
            },
            execute
        )?;
        if written != batch.len() as u64 {
            return Err(StoreError::Conflict(format!("{written} of {} attempts could be updated", batch.len())));
        }
    }
    Ok(())
}

async fn write_calls(
    tx: &mut Tx,
    calls: &[CallRow],
    attempts: &[Attempt],
    next: &HashMap<String, Option<DateTime<Utc>>>,
    now: DateTime<Utc>,
) -> Result<HashMap<String, CallStatus>> {
    let mut statuses = HashMap::with_capacity(calls.len());
    let mut rows = Vec::with_capacity(calls.len());
    for call in calls {
        let facts: Vec<AttemptFacts> = attempts
            .iter()
            .filter(|a| a.call_id == call.id)
            .map(|a| AttemptFacts { state: a.state, outcome: a.outcome, reason: a.reason.clone() })
            .collect();
        let next_attempt_at = next.get(&call.id).copied().flatten();
        let derived = derive(&facts, call.decision, next_attempt_at);
        let over = matches!(derived.status, CallStatus::Completed | CallStatus::Failed | CallStatus::Cancelled);
        let next_attempt_at = next_attempt_at.filter(|_| derived.status == CallStatus::Scheduled);
        let ended_at = over.then(|| call.ended_at.unwrap_or(now));
        statuses.insert(call.id.clone(), derived.status);
        let as_stored = (call.status, call.outcome, &call.reason, call.next_attempt_at, call.ended_at);
        if as_stored != (derived.status, derived.outcome, &derived.reason, next_attempt_at, ended_at) {
            rows.push((&call.id, derived, next_attempt_at, ended_at));
        }
    }
    for batch in rows.chunks(200) {
        let written = dynamic!(
            tx,
            |q| {
                q.push("WITH seen (id, status, outcome, reason, next_attempt_at, ended_at) AS (");
                q.push_values(batch, |mut row, (id, derived, next_attempt_at, ended_at)| {
                    row.push_bind(*id)
                        .push_bind(derived.status)
                        .push_bind(derived.outcome)
                        .push_bind(derived.reason.as_deref())
                        .push_bind(*next_attempt_at)
                        .push_bind(*ended_at);
                });
                q.push(
                    ") UPDATE calls SET status = seen.status, outcome = seen.outcome, reason = seen.reason, \
                     next_attempt_at = seen.next_attempt_at, ended_at = seen.ended_at, updated_at = ",
                );
                q.push_bind(now);
                q.push(" FROM seen WHERE calls.id = seen.id");
            },
            execute
        )?;
        if written != batch.len() as u64 {
            return Err(StoreError::Conflict(format!("{written} of {} calls could be updated", batch.len())));
        }
    }
    Ok(statuses)
}
