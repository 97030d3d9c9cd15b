//! Claim, commit, dial, record: the only way by which a phone is made to ring.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::counts::Counts;
use super::directory::{Directory, held_until};
use super::plan::{Due, Search};
use super::provider::Provider;
use super::rotation::Rotation;
use super::stop::Stop;
use crate::app::{App, clock_step};
use crate::clock::Clock;
use crate::domain::call::Evidence;
use crate::domain::dial::RefusalClass;
use crate::domain::evidence::{Observation, Seen};
use crate::error::Exit;
use crate::fail_point;
use crate::providers::http::LastLook;
use crate::store::enrollments::CheckResult;
use crate::store::{calls, claims, enrollments, evidence, runs, setup};

/// How long a claim is ours. Claims are committed within milliseconds; the rest is for a machine that stalls.
pub const LEASE_SECONDS: i64 = 60;
/// A dial that is not sent this long after its commit is not sent at all: the world may have moved on.
const MAX_COMMIT_AGE: Duration = Duration::from_secs(5);
/// The most attempts in one transaction.
const BATCH: usize = 100;
/// The most attempts that wait committed besides those that run.
const MOST_WAITING: usize = 2 * BATCH;
/// How long the first outcome of a batch waits for others to be recorded with it.
const RECORD_WITHIN: Duration = Duration::from_millis(50);
/// How long an account waits that was told to slow down without being told for how long.
const SLOW_DOWN_SECONDS: i64 = 30;
/// After so many answers in a row that say nothing, the account rests: each of them may cost a slot.
const SILENT_IN_A_ROW: u32 = 5;

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

/// What one dial brought.
struct Outcome {
    attempt_id: String,
    account: String,
    campaign_id: String,
    seen: Seen,
    /// It was not sent because we were too slow, which says nothing about the provider.
    is_late: bool,
    at: DateTime<Utc>,
}

/// What the recorder found out and the feeder must know.
#[derive(Debug, Default)]
struct Halted {
    /// Nothing can be recorded any more, so that nothing more may be dialled.
    everybody: bool,
    accounts: BTreeSet<String>,
    campaigns: BTreeSet<String>,
}

impl Halted {
    /// Takes note of a refusal at once: it is recorded later.
    fn refuse(&mut self, class: RefusalClass, account: &str, campaign_id: &str) {
        match class {
            RefusalClass::Number => {}
            RefusalClass::Campaign => {
                self.campaigns.insert(campaign_id.to_owned());
            }
            RefusalClass::Account | RefusalClass::Capacity => {
                self.accounts.insert(account.to_owned());
            }
        }
    }

    fn holds(&self, account: &str, campaign_id: &str) -> bool {
        self.everybody || self.accounts.contains(account) || self.campaigns.contains(campaign_id)
    }
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
                    place.end(clock.monotonic().saturating_sub(began));
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

    async fn record(
        &self,
        receiver: mpsc::UnboundedReceiver<Outcome>,
        halted: Arc<Mutex<Halted>>,
        refusals: &HashMap<String, i64>,
    ) -> anyhow::Result<Counts> {
        let result = self.record_all(receiver, &halted, refusals).await;
        if result.is_err()
            && let Ok(mut halted) = halted.lock()
        {
            halted.everybody = true;
        }
        result
    }

    async fn record_all(
        &self,
        mut receiver: mpsc::UnboundedReceiver<Outcome>,
        halted: &Mutex<Halted>,
        refusals: &HashMap<String, i64>,
    ) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        let mut silent: HashMap<String, u32> = HashMap::new();
        let mut outcomes = Vec::with_capacity(BATCH);
        while receive(&mut receiver, &mut outcomes).await {
            fail_point::hit("record");
            let now = self.app.clock.now();
            let observations: Vec<Observation> = outcomes
                .iter()
                .map(|outcome| Observation {
                    attempt_id: outcome.attempt_id.clone(),
                    by: Evidence::Owner,
                    at: outcome.at,
                    seen: outcome.seen.clone(),
                })
                .collect();
            let consequences = self.consequences(&outcomes, halted, refusals, &mut silent, &mut counts);
            // Before the database knows: each moment that the feeder does not know may be another request.
            if let Ok(mut halted) = halted.lock() {
                for consequence in &consequences {
                    match consequence {
                        Consequence::HoldAccount { account, .. } => {
                            halted.accounts.insert(account.clone());
                        }
                        Consequence::HoldCampaign { campaign_id, .. } => {
                            halted.campaigns.insert(campaign_id.clone());
                        }
                        Consequence::Release { .. } => {}
                    }
                }
            }
            self.app
                .db()
                .await?
                .write(async |tx| {
                    evidence::apply(tx, &observations, now).await?;
                    for consequence in &consequences {
                        consequence.write(tx, now).await?;
                    }
                    Ok(())
                })
                .await?;
            outcomes.clear();
        }
        Ok(counts)
    }

    /// What outcomes mean for accounts and campaigns beyond the attempts themselves. `campaign_refusals` counts
    /// those before this run.
    fn consequences(
        &self,
        outcomes: &[Outcome],
        halted: &Mutex<Halted>,
        campaign_refusals: &HashMap<String, i64>,
        silent: &mut HashMap<String, u32>,
        counts: &mut Counts,
    ) -> Vec<Consequence> {
        let mut consequences: Vec<Consequence> = Vec::new();
        for outcome in outcomes {
            let account = || outcome.account.clone();
            let refusals = self.directory.account(&outcome.account).map_or(0, |account| account.refusals);
            let streak = silent.entry(account()).or_default();
            match &outcome.seen {
                Seen::Accepted { queued, .. } => {
                    *streak = 0;
                    counts.add(if *queued { "queued" } else { "placed" }, 1);
                    let release = Consequence::Release { account: account(), campaign_id: outcome.campaign_id.clone() };
                    // What was sent before a refusal and is taken after it does not show that its cause is gone.
                    let is_held = halted.lock().is_ok_and(|h| h.holds(&outcome.account, &outcome.campaign_id));
                    // Once is enough, unless the provider refused something of theirs in between.
                    if !is_held && consequences.iter().rev().find(|known| known.is_about(&release)) != Some(&release) {
                        consequences.push(release);
                    }
                }
                Seen::Refused { class, reason, retry_at } => {
                    *streak = 0;
                    counts.add("refused", 1);
                    match class {
                        RefusalClass::Number => {}
                        RefusalClass::Capacity => consequences.push(Consequence::HoldAccount {
                            account: account(),
                            until: retry_at.unwrap_or(outcome.at + TimeDelta::seconds(SLOW_DOWN_SECONDS)),
                            reason: reason.clone(),
                            refusals: 0,
                        }),
                        RefusalClass::Account => {
                            let sentence = format!("account {}: {reason}", outcome.account);
                            counts.problem(Exit::Configuration, sentence);
                            consequences.push(Consequence::HoldAccount {
                                account: account(),
                                until: held_until(outcome.at, refusals),
                                reason: reason.clone(),
                                refusals: refusals + 1,
                            });
                        }
                        RefusalClass::Campaign => {
                            counts.problem(Exit::Partial, format!("a campaign is refused by its provider: {reason}"));
                            let refusals = campaign_refusals.get(&outcome.campaign_id).copied().unwrap_or(0);
                            consequences.push(Consequence::HoldCampaign {
                                campaign_id: outcome.campaign_id.clone(),
                                until: held_until(outcome.at, refusals),
                                reason: reason.clone(),
                                refusals: refusals + 1,
                            });
                        }
                    }
                }
                Seen::NotSent { reason } | Seen::Unknown { reason } => {
                    let is_unknown = matches!(outcome.seen, Seen::Unknown { .. });
                    counts.add(if is_unknown { "unknown" } else { "not_sent" }, 1);
                    if outcome.is_late {
                        continue;
                    }
                    *streak += 1;
                    if !is_unknown || *streak >= SILENT_IN_A_ROW {
                        counts.problem(Exit::Unreachable, format!("account {}: {reason}", outcome.account));
                        consequences.push(Consequence::HoldAccount {
                            account: account(),
                            until: held_until(outcome.at, 0),
                            reason: reason.clone(),
                            refusals: 0,
                        });
                    }
                }
                _ => {}
            }
        }
        consequences
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

/// How much is committed to being dialled and not over yet, and how fast it gets over.
///
/// More than may run at once is committed, so that a request that ends is followed by the next one without waiting for
/// the database, and so that a batch is worth its transaction. But nobody waits committed for longer than about a
/// second: what was true at the commit must still be true at the sending, and after [`MAX_COMMIT_AGE`] it is not sent.
#[derive(Debug, Default)]
struct Ahead {
    committed: AtomicUsize,
    /// How long a request takes, in microseconds: a moving average that follows a slower answer at once. 0: unknown.
    request_micros: AtomicU64,
    ended: Notify,
}

/// One attempt that is committed to being dialled, until it is over.
#[derive(Debug)]
struct Committed(Arc<Ahead>);

impl Ahead {
    /// The most that may wait committed besides those that run.
    fn most_waiting(&self, concurrency: usize) -> usize {
        let request_micros = self.request_micros.load(Ordering::Relaxed);
        if request_micros == 0 {
            return (concurrency / 4).min(BATCH);
        }
        let sent_in_a_second = concurrency as u64 * 1_000_000 / request_micros;
        usize::try_from(sent_in_a_second).unwrap_or(MOST_WAITING).min(MOST_WAITING)
    }

    /// Waits until there is room for a batch worth a transaction, or for all that are `wanted`; says for how many.
    async fn room(&self, concurrency: usize, wanted: usize) -> usize {
        loop {
            let ended = self.ended.notified();
            let most_waiting = self.most_waiting(concurrency);
            let free = (concurrency + most_waiting).saturating_sub(self.committed.load(Ordering::Relaxed));
            if free >= wanted.min((most_waiting / 2).max(1)) {
                return free.min(wanted);
            }
            ended.await;
        }
    }

    fn take(self: &Arc<Self>) -> Committed {
        self.committed.fetch_add(1, Ordering::Relaxed);
        Committed(Arc::clone(self))
    }
}

impl Committed {
    /// It is over; its request took this long.
    fn end(self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let known = self.0.request_micros.load(Ordering::Relaxed);
        self.0.request_micros.store(took.max((7 * (known / 8)) + took / 8), Ordering::Relaxed);
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        self.0.committed.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}

/// Receives a batch of outcomes, and waits a moment for more, since each transaction costs the same however many it
/// records. A refusal, or an answer that says nothing, is not kept waiting: it may have to stop others. False when there
/// will be no more.
async fn receive(receiver: &mut mpsc::UnboundedReceiver<Outcome>, outcomes: &mut Vec<Outcome>) -> bool {
    receiver.recv_many(outcomes, BATCH).await;
    let patience = tokio::time::sleep(RECORD_WITHIN);
    tokio::pin!(patience);
    while !outcomes.is_empty()
        && outcomes.len() < BATCH
        && outcomes.iter().all(|outcome| matches!(outcome.seen, Seen::Accepted { .. }))
    {
        let room = BATCH - outcomes.len();
        tokio::select! {
            more = receiver.recv_many(outcomes, room) => if more == 0 { break },
            () = &mut patience => break,
        }
    }
    !outcomes.is_empty()
}

/// What an outcome means for others.
#[derive(Debug, PartialEq)]
enum Consequence {
    /// `refusals` in a row by its provider; 0 where it asked for patience only.
    HoldAccount {
        account: String,
        until: DateTime<Utc>,
        reason: String,
        refusals: i64,
    },
    HoldCampaign {
        campaign_id: String,
        until: DateTime<Utc>,
        reason: String,
        refusals: i64,
    },
    Release {
        account: String,
        campaign_id: String,
    },
}

impl Consequence {
    /// Whether it concerns the account or the campaign that another one concerns.
    fn is_about(&self, other: &Self) -> bool {
        let parts = |consequence: &Self| match consequence {
            Self::HoldAccount { account, .. } => (Some(account.clone()), None),
            Self::HoldCampaign { campaign_id, .. } => (None, Some(campaign_id.clone())),
            Self::Release { account, campaign_id } => (Some(account.clone()), Some(campaign_id.clone())),
        };
        let (ours, theirs) = (parts(self), parts(other));
        (ours.0.is_some() && ours.0 == theirs.0) || (ours.1.is_some() && ours.1 == theirs.1)
    }

    async fn write(&self, tx: &mut crate::store::Tx, now: DateTime<Utc>) -> crate::store::Result<()> {
        match self {
            Self::HoldAccount { account, until, reason, refusals } => {
                setup::hold_account(tx, account, *until, reason, *refusals).await?;
                if *refusals > 0 {
                    runs::raise(tx, "account_refused", &format!("account:{account}"), reason, now).await?;
                }
                Ok(())
            }
            Self::HoldCampaign { campaign_id, until, reason, refusals } => {
                setup::hold_campaign(tx, campaign_id, *until, reason, *refusals).await?;
                runs::raise(tx, "campaign_refused", &format!("campaign:{campaign_id}"), reason, now).await
            }
            Self::Release { account, campaign_id } => {
                setup::release_holds(tx, account, campaign_id).await?;
                // Even where nothing was held any more: an edit ends a hold, and only a call that was taken shows that
                // the cause is gone.
                runs::resolve_finding(tx, "account_refused", &format!("account:{account}"), now).await?;
                runs::resolve_finding(tx, "campaign_refused", &format!("campaign:{campaign_id}"), now).await
            }
        }
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
