//! Recording what dials brought, in batches, and telling the feeder what it must know at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::consequence::{Consequence, Judge};
use super::{BATCH, Dialler};
use crate::commands::calling::counts::Counts;
use crate::commands::calling::inbox;
use crate::domain::call::Evidence;
use crate::domain::dial::RefusalClass;
use crate::domain::evidence::{Observation, Seen};
use crate::fail_point;
use crate::store::{events, evidence};

/// How long the first outcome of a batch waits for others to be recorded with it.
const RECORD_WITHIN: Duration = Duration::from_millis(50);

/// What one dial brought.
pub(super) struct Outcome {
    pub(super) attempt_id: String,
    pub(super) account: String,
    pub(super) campaign_id: String,
    pub(super) seen: Seen,
    /// It was not sent because we were too slow, which says nothing about the provider.
    pub(super) is_late: bool,
    pub(super) at: DateTime<Utc>,
}

/// What the recorder found out and the feeder must know.
#[derive(Debug, Default)]
pub(super) struct Halted {
    /// Nothing can be recorded any more, so that nothing more may be dialled.
    pub(super) everybody: bool,
    pub(super) accounts: BTreeSet<String>,
    pub(super) campaigns: BTreeSet<String>,
}

impl Halted {
    /// Takes note of a refusal at once: it is recorded later.
    pub(super) fn refuse(&mut self, class: RefusalClass, account: &str, campaign_id: &str) {
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

    pub(super) fn holds(&self, account: &str, campaign_id: &str) -> bool {
        self.everybody || self.accounts.contains(account) || self.campaigns.contains(campaign_id)
    }
}

impl Dialler<'_> {
    pub(super) async fn record(
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
        let mut judge = Judge::new(self.directory, refusals);
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
            let consequences = judge.consequences(&outcomes, halted, &mut counts);
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
            let placed: Vec<&str> = observations.iter().filter_map(accepted_as).collect();
            let arrived = self
                .app
                .db()
                .await?
                .write(async |tx| {
                    evidence::apply(tx, &observations, now).await?;
                    for consequence in &consequences {
                        consequence.write(tx, now).await?;
                    }
                    events::unmatched_of(tx, &placed).await
                })
                .await?;
            // A webhook may be faster than the answer to the request that it is about.
            inbox::settle_matched(self.app, &arrived).await;
            outcomes.clear();
        }
        Ok(counts)
    }
}

/// The provider's id of a call that it took.
fn accepted_as(observation: &Observation) -> Option<&str> {
    match &observation.seen {
        Seen::Accepted { provider_call_id, .. } => Some(provider_call_id),
        Seen::Live { provider_call_id, .. } => provider_call_id.as_deref(),
        Seen::Ended(ending) => ending.provider_call_id.as_deref(),
        _ => None,
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
