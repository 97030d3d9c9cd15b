//! Claim, commit, dial, record: the only way by which a phone is made to ring.

mod ahead;
mod consequence;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Semaphore, mpsc};

use self::ahead::Ahead;
use self::record::{Halted, Outcome};
use super::counts::Counts;
use super::directory::Directory;
use super::plan::{Due, Search};
use super::provider::Provider;
use super::rotation::Rotation;
use super::stop::Stop;
use crate::app::{App, clock_step};
use crate::clock::Clock;
use crate::domain::call::Evidence;
use crate::domain::evidence::{Observation, Seen};
use crate::error::Exit;
use crate::fail_point;
use crate::providers::http::LastLook;
use crate::store::enrollments::CheckResult;
use crate::store::{calls, claims, enrollments, evidence, setup};

/// How long a claim is ours. Claims are committed within milliseconds; the rest is for a machine that stalls.
pub const LEASE_SECONDS: i64 = 60;
const _: () = assert!(LEASE_SECONDS <= claims::LONGEST_CLAIM_SECONDS, "the pace counts claims no older than that");
/// A dial that is not sent this long after its commit is not sent at all: the world may have moved on.
const MAX_COMMIT_AGE: Duration = Duration::from_secs(5);
/// The most attempts in one transaction.
const BATCH: usize = 100;

/// How much one run may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most requests under way at once.
    pub concurrency: usize,
    /// The most calls to dial.
    pub calls: u64,
    /// When to stop dialling, on the monotonic clock.
    pub stop_at: Duration,
}

/// Dials everybody whom the rotation brings, within the limits.
#[derive(Debug)]
pub struct Dialler<'a> {
    /// The app.
    pub app: &'a App,
    /// The id of this run, which owns its claims.
    pub run_id: &'a str,
    /// Accounts and clients.
    pub directory: &'a Directory,
    /// The clients that may dial, by account.
    pub clients: HashMap<String, Provider>,
    /// How much this run may do.
    pub limits: Limits,
    /// Who asks.
    pub search: Search<'a>,
    /// Whether somebody asked the process to end.
    pub stop: &'a Stop,
}

impl Dialler<'_> {
    /// Runs until nobody is due, a limit is reached, or somebody asks the process to end. Requests under way are
    /// finished and recorded; claims that were not committed are given back.
    ///
    /// # Errors
    /// When the database cannot be asked or written. What was dialled by then is settled by a later sweep.
    pub async fn run(&self, rotation: Rotation) -> anyhow::Result<Counts> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let halted = Arc::new(Mutex::new(Halted::default()));
        let refusals = rotation.refusals();
        let (fed, recorded) =
            tokio::join!(self.feed(rotation, sender, Arc::clone(&halted)), self.record(receiver, halted, &refusals));
        let given_back = self.give_back().await;
        let mut counts = recorded?;
        counts.merge(fed?);
        counts.add("given_back", given_back?);
        if let Some(step) = clock_step(&self.app.clock) {
            counts.problem(Exit::Configuration, step);
        }
        Ok(counts)
    }

    async fn feed(
        &self,
        mut rotation: Rotation,
        sender: mpsc::UnboundedSender<Outcome>,
        halted: Arc<Mutex<Halted>>,
    ) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        let ahead = Arc::new(Ahead::default());
        let running = Arc::new(Semaphore::new(self.limits.concurrency));
        let mut left = self.limits.calls;
        let mut served = BTreeSet::new();
        let mut claimed: Vec<Due> = Vec::new();
        while !self.must_stop() {
            let halt = {
                let halted = halted.lock().map_err(|_| anyhow::anyhow!("the recorder failed"))?;
                if halted.everybody {
                    break;
                }
                (halted.accounts.clone(), halted.campaigns.clone())
            };
            rotation.drain(|source| {
                halt.0.contains(&source.context.campaign.account) || halt.1.contains(&source.context.campaign.id)
            });
            if claimed.is_empty() {
                if left == 0 {
                    break;
                }
                let batch = self.gather(&mut rotation, left, &mut counts).await?;
                if batch.is_empty() {
                    break;
                }
                claimed = self.claim(batch, &mut rotation, &mut counts).await?;
                left -= claimed.len() as u64;
                continue;
            }
            let room = ahead.room(self.limits.concurrency, claimed.len().min(BATCH)).await;
            if self.must_stop() {
                break;
            }
            {
                // A refusal that came meanwhile holds for those who were claimed before it, too; they are given back.
                let halted = halted.lock().map_err(|_| anyhow::anyhow!("the recorder failed"))?;
                claimed.retain(|due| !halted.holds(&due.account, &due.claim.campaign_id));
            }
            let batch: Vec<Due> = claimed.drain(..room.min(claimed.len())).collect();
            if batch.is_empty() {
                continue;
            }
            let (commit_time, may_dial) = self.commit(&batch, &mut counts).await?;
            for due in batch.into_iter().filter(|due| may_dial.contains(&due.claim.attempt_id)) {
                served.insert(due.claim.campaign_id.clone());
                let Some(provider) = self.clients.get(&due.account).cloned() else { continue };
                let (running, sender, clock) = (Arc::clone(&running), sender.clone(), self.app.clock.clone());
                let halted = Arc::clone(&halted);
                let stop_at = self.limits.stop_at;
                let account = due.account.clone();
                let place = ahead.take();
                tokio::spawn(async move {
                    let turn = running.acquire().await;
                    let began = clock.monotonic();
                    // What was committed ahead is not sent to a provider that has refused since.
                    let is_held = halted.lock().map_or(true, |halted| halted.holds(&account, &due.claim.campaign_id));
                    let (seen, is_late) = if is_held {
                        (Seen::NotSent { reason: "its provider refused others before it".to_owned() }, true)
                    } else if clock.monotonic() >= stop_at {
                        (Seen::NotSent { reason: "the time of its run was over".to_owned() }, true)
                    } else {
                        send(&provider, &due, &clock, commit_time).await
                    };
                    if let (Seen::Refused { class, .. }, Ok(mut halted)) = (&seen, halted.lock()) {
                        halted.refuse(*class, &account, &due.claim.campaign_id);
                    }
                    drop(turn);
                    // What was not sent says nothing about how long an answer takes.
                    if !is_late {
                        place.end(clock.monotonic().saturating_sub(began));
                    }
                    let outcome = Outcome {
                        attempt_id: due.claim.attempt_id,
                        campaign_id: due.claim.campaign_id,
                        account,
                        seen,
                        is_late,
                        at: clock.now(),
                    };
                    // The recorder outlives every sender, unless the database failed it.
                    let _ = sender.send(outcome);
                });
            }
        }
        drop(sender);
        if !served.is_empty() {
            let now = self.app.clock.now();
            self.app.db().await?.write(async |tx| setup::served(tx, &served, now).await).await?;
        }
        Ok(counts)
    }

    fn must_stop(&self) -> bool {
        self.stop.is_asked() || self.app.clock.monotonic() >= self.limits.stop_at || self.app.clock.step().is_some()
    }

    async fn gather(&self, rotation: &mut Rotation, left: u64, counts: &mut Counts) -> anyhow::Result<Vec<Due>> {
        let most = BATCH.min(usize::try_from(left).unwrap_or(BATCH));
        let mut batch = Vec::with_capacity(most);
        while batch.len() < most
            && !self.must_stop()
            && let Some(due) = rotation.next(self.app, self.search, counts).await?
        {
            batch.push(due);
        }
        Ok(batch)
    }

    /// Claims a batch, account by account; keeps what is ours now, and records why the rest is not.
    async fn claim(&self, batch: Vec<Due>, rotation: &mut Rotation, counts: &mut Counts) -> anyhow::Result<Vec<Due>> {
        let mut by_account: BTreeMap<String, Vec<Due>> = BTreeMap::new();
        for due in batch {
            by_account.entry(due.account.clone()).or_default().push(due);
        }
        let mut ours = Vec::new();
        for (account, batch) in by_account {
            fail_point::hit("claim");
            let now = self.app.clock.now();
            let lease_until = now + TimeDelta::seconds(LEASE_SECONDS);
            let wanted: Vec<claims::Claim> = batch.iter().map(|due| due.claim.clone()).collect();
            let result = self
                .app
                .db()
                .await?
                .write(async |tx| {
                    let result = claims::claim(tx, &account, &wanted, self.run_id, lease_until, now).await?;
                    let checks = failed_checks(&wanted, &result, now);
                    for (version, check) in checks {
                        enrollments::record_checks(tx, &[check], version, now).await?;
                    }
                    // The phone of a call was corrected to one that has been called in this period: that was the call.
                    let overtaken: Vec<String> = wanted
                        .iter()
                        .filter(|claim| claim.number > 1 && result.slot_taken.contains(&claim.attempt_id))
                        .map(|claim| claim.call_id.clone())
                        .collect();
                    calls::expire(tx, &overtaken, now).await?;
                    Ok(result)
                })
                .await?;
            for _ in &result.slot_taken {
                counts.skip("slot_taken");
            }
            for _ in &result.phone_taken {
                counts.skip("live_attempt");
            }
            for (gone, reason) in [(&result.too_fast, "calls_per_minute"), (&result.outdated, "campaign_changed")] {
                let campaigns: BTreeSet<&str> = wanted
                    .iter()
                    .filter(|claim| gone.contains(&claim.attempt_id))
                    .map(|claim| claim.campaign_id.as_str())
                    .collect();
                rotation.drain(|source| campaigns.contains(source.context.campaign.id.as_str()));
                for _ in gone {
                    counts.skip(reason);
                }
            }
            for _ in &result.changed {
                counts.skip("contact_changed");
            }
            if !result.no_capacity.is_empty() {
                rotation.drain(|source| source.context.campaign.account == account);
                for _ in &result.no_capacity {
                    counts.skip("no_capacity");
                }
            }
            ours.extend(batch.into_iter().filter(|due| result.attempts.contains(&due.claim.attempt_id)));
        }
        Ok(ours)
    }

    /// Commits claims to being dialled, and gives back those that something speaks against at this moment. Yields
    /// when that was, by both clocks, and the attempts that may be dialled.
    async fn commit(
        &self,
        batch: &[Due],
        counts: &mut Counts,
    ) -> anyhow::Result<((DateTime<Utc>, Duration), BTreeSet<String>)> {
        fail_point::hit("commit_to_dial");
        let ids: Vec<String> = batch.iter().map(|due| due.claim.attempt_id.clone()).collect();
        let (wall, monotonic) = (self.app.clock.wall(), self.app.clock.monotonic());
        let now = self.app.clock.now();
        let may_dial: BTreeSet<String> = self
            .app
            .db()
            .await?
            .write(async |tx| {
                let may_dial = claims::commit_to_dial(tx, &ids, self.run_id, now).await?;
                let refused: Vec<Observation> = ids
                    .iter()
                    .filter(|id| !may_dial.contains(id))
                    .map(|id| void(id, "no longer due at the moment of dialling", now))
                    .collect();
                evidence::apply(tx, &refused, now).await?;
                Ok(may_dial)
            })
            .await?
            .into_iter()
            .collect();
        counts.add("given_back", (ids.len() - may_dial.len()) as u64);
        Ok(((wall, monotonic), may_dial))
    }

    /// Gives back the claims that this run holds and did not commit.
    async fn give_back(&self) -> anyhow::Result<u64> {
        fail_point::hit("give_back");
        let now = self.app.clock.now();
        let given_back = self
            .app
            .db()
            .await?
            .write(async |tx| {
                let claims = claims::claims_of(tx, self.run_id).await?;
                let voids: Vec<Observation> = claims.iter().map(|id| void(id, "the run ended", now)).collect();
                evidence::apply(tx, &voids, now).await?;
                Ok(voids.len() as u64)
            })
            .await?;
        Ok(given_back)
    }
}

fn void(attempt_id: &str, reason: &str, now: DateTime<Utc>) -> Observation {
    Observation {
        attempt_id: attempt_id.to_owned(),
        by: Evidence::Owner,
        at: now,
        seen: Seen::Void { reason: reason.to_owned() },
    }
}

/// Sends one dial, unless too much time went by since its commit on either clock: a process that was frozen must not
/// act on what was true before. The clocks are looked at before a connection is made, and again when it stands.
///
/// Yields what was seen, and whether it was too late to send.
async fn send(provider: &Provider, due: &Due, clock: &Clock, committed: (DateTime<Utc>, Duration)) -> (Seen, bool) {
    fail_point::hit("dial.look_at_clocks");
    if let Err(reason) = look_at_clocks(clock, committed) {
        return (Seen::NotSent { reason }, true);
    }
    fail_point::hit("dial.send");
    let last = clock.clone();
    let last_look = LastLook::new(move || {
        fail_point::hit("dial.last_look");
        look_at_clocks(&last, committed)
    });
    let result = provider.place(&due.request, &last_look).await;
    fail_point::hit("dial.answered");
    (Seen::from_dial(result, clock.now()), false)
}

fn look_at_clocks(clock: &Clock, committed: (DateTime<Utc>, Duration)) -> Result<(), String> {
    if let Some(step) = clock_step(clock) {
        return Err(step);
    }
    let wall = (clock.wall() - committed.0).abs().to_std().unwrap_or(Duration::MAX);
    let elapsed = wall.max(clock.monotonic().saturating_sub(committed.1));
    if elapsed > MAX_COMMIT_AGE {
        return Err(format!("{} s went by between commit and sending", elapsed.as_secs()));
    }
    Ok(())
}

/// Checks of the claims that came to nothing, with the rules' version that each was made by.
fn failed_checks(wanted: &[claims::Claim], result: &claims::Claimed, now: DateTime<Utc>) -> Vec<(i64, CheckResult)> {
    let of = |ids: &[String], reason: &'static str, wait: TimeDelta| -> Vec<(i64, CheckResult)> {
        wanted
            .iter()
            .filter(|claim| claim.number == 1 && ids.contains(&claim.attempt_id))
            .map(|claim| {
                let at = now + wait;
                let check = CheckResult {
                    enrollment_id: claim.enrollment_id.clone(),
                    contact_version: claim.contact_version,
                    reason,
                    next_check_at: Some(claim.next_check_at.map_or(at, |next| next.min(at))),
                };
                (claim.rules_version, check)
            })
            .collect()
    };
    let mut checks = of(&result.slot_taken, "slot_taken", TimeDelta::hours(1));
    checks.extend(of(&result.phone_taken, "live_attempt", TimeDelta::minutes(1)));
    checks
}
