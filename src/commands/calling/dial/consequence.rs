//! What the outcomes of dials mean for accounts and campaigns.

use std::collections::HashMap;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};

use super::record::{Halted, Outcome};
use crate::commands::calling::counts::Counts;
use crate::commands::calling::directory::{Directory, held_until};
use crate::domain::dial::RefusalClass;
use crate::domain::evidence::{Ending, Seen};
use crate::domain::outcome::Outcome as DialOutcome;
use crate::error::Exit;
use crate::store::{self, Tx, runs, setup};

/// How long an account waits that was told to slow down without being told for how long.
const SLOW_DOWN_SECONDS: i64 = 30;
/// After so many answers in a row that say nothing, the account rests: each of them may cost a slot.
const SILENT_IN_A_ROW: u32 = 5;

/// What an outcome means for others.
#[derive(Debug, PartialEq)]
pub(super) enum Consequence {
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

    pub(super) async fn write(&self, tx: &mut Tx, now: DateTime<Utc>) -> store::Result<()> {
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

/// Judges the outcomes of one run.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    directory: &'a Directory,
    /// How often in a row providers had refused each campaign before this run, by campaign id.
    campaign_refusals: &'a HashMap<String, i64>,
    /// How many answers in a row said nothing, by account.
    silent: HashMap<String, u32>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(directory: &'a Directory, campaign_refusals: &'a HashMap<String, i64>) -> Self {
        Self { directory, campaign_refusals, silent: HashMap::new() }
    }

    /// What outcomes mean for accounts and campaigns beyond the attempts themselves.
    pub(super) fn consequences(
        &mut self,
        outcomes: &[Outcome],
        halted: &Mutex<Halted>,
        counts: &mut Counts,
    ) -> Vec<Consequence> {
        let mut consequences: Vec<Consequence> = Vec::new();
        for outcome in outcomes {
            let account = || outcome.account.clone();
            let refusals = self.directory.account(&outcome.account).map_or(0, |account| account.refusals);
            let streak = self.silent.entry(account()).or_default();
            match &outcome.seen {
                Seen::Ended(Ending { outcome: DialOutcome::AccountError, reason, .. }) => {
                    *streak = 0;
                    counts.add("placed", 1);
                    let reason = reason.clone().unwrap_or_default();
                    counts.problem(Exit::Configuration, format!("account {}: {reason}", outcome.account));
                    consequences.push(Consequence::HoldAccount {
                        account: account(),
                        until: held_until(outcome.at, refusals),
                        reason,
                        refusals: refusals + 1,
                    });
                }
                // A provider that waits until the call is answered, or over, has taken it as well.
                Seen::Accepted { .. } | Seen::Live { .. } | Seen::Ended(_) => {
                    *streak = 0;
                    let queued = matches!(outcome.seen, Seen::Accepted { queued: true, .. });
                    counts.add(if queued { "queued" } else { "placed" }, 1);
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
                            let refusals = self.campaign_refusals.get(&outcome.campaign_id).copied().unwrap_or(0);
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
}
