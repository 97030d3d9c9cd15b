//! What is to become of the numbers of each business that has more than one.

use std::collections::HashSet;

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::app::App;
use crate::commands::renting::accounts::{Renter, Setup};
use crate::commands::renting::evidence::Users;
use crate::domain::numbers::evidence::Evidence;
use crate::domain::numbers::keeper::{Candidate, Choice, Keep, Verdict, choose};
use crate::domain::numbers::{Number, NumberSettings};
use crate::error::{Exit, Failure};
use crate::store::numbers::{self, StoredNumber};

/// Numbers whose use is asked about at once.
const NUMBERS_AT_ONCE: usize = 8;

/// What was read of an account just now.
#[derive(Debug)]
pub(super) struct Inventory {
    /// The SIDs of the numbers that are some tenant's.
    pub(super) seen: HashSet<String>,
    /// The Twilio accounts that were read to their ends.
    pub(super) read: HashSet<String>,
    /// How many numbers the account has.
    pub(super) total: usize,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) tenant: Option<&'w str>,
    pub(super) keep: &'w Keep,
}

/// The plan for all businesses.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tenants: Vec<TenantPlan>,
    /// The businesses of which all numbers are kept, and why.
    pub(super) left_out: Vec<(String, String)>,
    /// How many numbers each account has.
    totals: Vec<(String, usize)>,
}

/// The plan for one business.
#[derive(Debug)]
pub(super) struct TenantPlan {
    pub(super) tenant: String,
    pub(super) account: String,
    pub(super) settings: NumberSettings,
    pub(super) choice: Choice,
    pub(super) numbers: Vec<(Number, Evidence)>,
    /// Whether the database holds another number for it, or none.
    pub(super) moves_record: bool,
}

/// A number that is to be released.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToRelease<'p> {
    pub(super) of: &'p TenantPlan,
    pub(super) number: &'p Number,
}

impl Plan {
    /// Makes it of what was just read.
    ///
    /// # Errors
    /// When the database cannot be asked; exit 2 for a SID that is to be kept and that no business has.
    pub(super) async fn make(
        app: &App,
        setup: &Setup,
        (renters, readings): (&[Renter], &[Inventory]),
        users: &Users,
        wanted: Wanted<'_>,
    ) -> Result<Self> {
        let totals = renters.iter().zip(readings).map(|(renter, reading)| (renter.name.clone(), reading.total));
        let mut plan = Self { tenants: Vec::new(), left_out: Vec::new(), totals: totals.collect() };
        let mut tx = app.db().await?.read().await?;
        let names = match wanted.tenant {
            Some(name) => vec![name.to_owned()],
            None => numbers::tenants_with_several(&mut tx).await?,
        };
        let mut several = Vec::new();
        for name in names {
            let Some(tenant) = setup.tenants.iter().find(|tenant| tenant.name == name) else { continue };
            let account = renters.iter().position(|renter| renter.name == tenant.numbers.account);
            let Some((renter, reading)) = account.map(|index| (&renters[index], &readings[index])) else { continue };
            let stored = numbers::of_tenant(&mut tx, &name).await?;
            let is_unread =
                |number: &&StoredNumber| number.owner() == Some(&name) && !reading.read.contains(&number.account_sid);
            if let Some(unread) = stored.iter().find(is_unread) {
                // It may be the one that is used.
                let why = format!("{} is in {}, which could not be read", unread.phone, unread.account_sid);
                plan.left_out.push((name, why));
                continue;
            }
            let stored = stored.into_iter();
            // What was not seen just now is not there.
            let is_there = |number: &StoredNumber| {
                number.owner() == Some(&name) && number.account == renter.name && reading.seen.contains(&number.sid)
            };
            let stored: Vec<StoredNumber> = stored.filter(is_there).collect();
            let record = numbers::tenant_number(&mut tx, &name).await?;
            if stored.len() > 1 {
                several.push((tenant, renter, record, stored));
            }
        }
        drop(tx);
        if let Keep::Sid(sid) = wanted.keep {
            several.retain(|(.., stored)| stored.iter().any(|number| number.sid == *sid));
            if several.is_empty() {
                let failure = Failure::usage(format!("no business with several numbers has {sid}"));
                return Err(failure.hint("`callops list numbers` shows them").into());
            }
        }
        if several.is_empty() {
            return Ok(plan);
        }
        let sources = &users.ask(app).await;
        let today = app.clock.now().date_naive();
        for (tenant, renter, record, stored) in several {
            let record_sid = record.as_ref().map(|record| record.sid.as_str());
            let numbers: Vec<(Number, Evidence)> = stream::iter(stored.into_iter().map(Number::from))
                .map(|number| async move {
                    let in_database = record_sid == Some(number.sid.as_str());
                    let evidence = sources.of(&renter.client, &number, &tenant.numbers, in_database, today).await;
                    (number, evidence)
                })
                .buffered(NUMBERS_AT_ONCE)
                .collect()
                .await;
            let candidate = |(number, evidence): &(Number, Evidence)| Candidate {
                sid: number.sid.clone(),
                bought_at: number.bought_at,
                evidence: evidence.clone(),
            };
            let candidates: Vec<Candidate> = numbers.iter().map(candidate).collect();
            let Some(choice) = choose(&candidates, wanted.keep) else {
                plan.left_out.push((tenant.name.clone(), "none is in use; choose otherwise with --keep".to_owned()));
                continue;
            };
            plan.tenants.push(TenantPlan {
                tenant: tenant.name.clone(),
                account: renter.name.clone(),
                settings: tenant.numbers.clone(),
                moves_record: record_sid != Some(choice.keeper_sid.as_str()),
                choice,
                numbers,
            });
        }
        Ok(plan)
    }

    /// Every number that is to be released, in the order in which they are.
    pub(super) fn releases(&self) -> impl Iterator<Item = ToRelease<'_>> {
        self.tenants.iter().flat_map(TenantPlan::releases)
    }

    pub(super) fn has_nothing_to_do(&self) -> bool {
        self.releases().next().is_none() && self.tenants.iter().all(|tenant| !tenant.moves_record)
    }

    /// Of each account how many numbers are to be released, and how many it has.
    pub(super) fn shares(&self) -> Vec<(String, usize, usize)> {
        let released = |account: &str| self.releases().filter(|release| release.of.account == account).count();
        self.totals.iter().map(|(account, total)| (account.clone(), released(account), *total)).collect()
    }

    /// Exit 4 where something is kept only since it could not be learned whether it is in use, or all of a business are.
    pub(super) fn exit(&self) -> Exit {
        let mut evidence = self.tenants.iter().flat_map(|tenant| &tenant.numbers).map(|(_, evidence)| evidence);
        if self.left_out.is_empty() && evidence.all(|evidence| evidence.doubts().is_empty()) {
            Exit::Success
        } else {
            Exit::Partial
        }
    }
}

impl TenantPlan {
    fn releases(&self) -> impl Iterator<Item = ToRelease<'_>> {
        let released = self.choice.verdicts.iter().filter(|verdict| !verdict.keeps);
        released.filter_map(|verdict| self.number(&verdict.sid)).map(|(number, _)| ToRelease { of: self, number })
    }

    /// A number with what is known of it.
    pub(super) fn number(&self, sid: &str) -> Option<&(Number, Evidence)> {
        self.numbers.iter().find(|(number, _)| number.sid == sid)
    }

    /// The number that the business keeps.
    pub(super) fn keeper(&self) -> Option<&Number> {
        self.number(&self.choice.keeper_sid).map(|(number, _)| number)
    }

    /// Each number with its verdict.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = (&Verdict, &Number)> {
        let number = |verdict: &Verdict| self.number(&verdict.sid).map(|(number, _)| number);
        self.choice.verdicts.iter().filter_map(move |verdict| Some((verdict, number(verdict)?)))
    }
}
