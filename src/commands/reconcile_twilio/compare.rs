//! Comparing numbers while they are read.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value};

use super::counted;
use crate::app::App;
use crate::commands::renting::accounts::{Renter, Setup};
use crate::commands::renting::inventory::{self, Sighting};
use crate::domain::numbers::claims::Claimed;
use crate::domain::numbers::drift::{Drift, differing};
use crate::error::Exit;
use crate::store::numbers;

/// One difference.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub(super) kind: Drift,
    pub(super) account: String,
    pub(super) account_sid: String,
    pub(super) sid: String,
    pub(super) phone: String,
    pub(super) tenant: Option<String>,
    pub(super) found: Option<String>,
    pub(super) wanted: Option<String>,
}

/// The differences of all accounts: counted all, and held up to a limit, so that a list of a hundred thousand numbers does
/// not fill the memory.
#[derive(Debug)]
pub(super) struct Differences {
    held: Vec<Difference>,
    most_held: usize,
    counts: BTreeMap<Drift, usize>,
    /// How many numbers each account has.
    totals: Vec<(String, usize)>,
    left_out: bool,
}

impl Differences {
    pub(super) fn new(most_held: usize) -> Self {
        Self { held: Vec::new(), most_held, counts: BTreeMap::new(), totals: Vec::new(), left_out: false }
    }

    fn add(&mut self, kind: Drift, make: impl FnOnce() -> Difference) {
        *self.counts.entry(kind).or_default() += 1;
        if self.held.len() < self.most_held {
            self.held.push(make());
        }
    }

    pub(super) fn held(&self) -> &[Difference] {
        &self.held
    }

    pub(super) fn total(&self) -> usize {
        self.counts.values().sum()
    }

    pub(super) fn numbers(&self) -> usize {
        self.totals.iter().map(|(_, total)| total).sum()
    }

    pub(super) fn findings(&self) -> usize {
        self.counts.iter().filter(|(kind, _)| kind.is_finding()).map(|(_, count)| count).sum()
    }

    pub(super) fn mendable(&self) -> impl Iterator<Item = &Difference> {
        self.held.iter().filter(|difference| difference.kind.is_safe())
    }

    /// Of each account how many numbers are to be mended, and how many it has.
    pub(super) fn shares(&self) -> Vec<(String, usize, usize)> {
        let of = |account: &str| {
            let mut sids: Vec<&str> =
                self.mendable().filter(|one| one.account == account).map(|one| one.sid.as_str()).collect();
            sids.dedup();
            sids.len()
        };
        self.totals.iter().map(|(account, total)| (account.clone(), of(account), *total)).collect()
    }

    pub(super) fn left_out(&self) -> Exit {
        if self.left_out { Exit::Partial } else { Exit::Success }
    }

    pub(super) fn exit(&self) -> Exit {
        self.left_out().or(if self.findings() == 0 { Exit::Success } else { Exit::Findings })
    }

    pub(super) fn counts(&self) -> Map<String, Value> {
        counted(self.counts.iter().map(|(kind, count)| (kind.as_str(), *count)))
    }
}

/// Reads an account and adds what differs.
///
/// # Errors
/// As [`inventory::read`]: then nothing of the account is compared.
pub(super) async fn account(app: &App, setup: &Setup, renter: &Renter, differences: &mut Differences) -> Result<()> {
    let reading = inventory::read(app, renter, |sighting| compare(setup, renter, sighting, differences)).await?;
    reading.report(app, renter);
    differences.left_out |= !reading.unreadable.is_empty();
    differences.totals.push((renter.name.clone(), reading.numbers));
    let mut tx = app.db().await?.read().await?;
    for account in &reading.read {
        for stored in numbers::unseen(&mut tx, &renter.name, &account.sid, reading.began_at).await? {
            differences.add(Drift::DatabaseOnly, || Difference {
                kind: Drift::DatabaseOnly,
                account: renter.name.clone(),
                account_sid: stored.account_sid.clone(),
                sid: stored.sid.clone(),
                phone: stored.phone.clone(),
                tenant: stored.owner().map(str::to_owned),
                found: None,
                wanted: None,
            });
        }
    }
    let is_listed = |sid: &String| {
        let unreadable = reading.unreadable.iter().map(|(account, _)| account);
        reading.read.iter().chain(unreadable).any(|account| account.sid == *sid)
    };
    for sid in numbers::account_sids(&mut tx, &renter.name).await?.iter().filter(|sid| !is_listed(sid)) {
        app.printer.warn(format!(
            "account {}: {sid} is not among its subaccounts any more; what it held stands as it was seen last",
            renter.name
        ));
    }
    Ok(())
}

fn compare(setup: &Setup, renter: &Renter, sighting: &Sighting<'_>, differences: &mut Differences) {
    let number = sighting.number;
    let owner = match (sighting.tenant, sighting.claimed) {
        (Some(tenant), Claimed::By(claimant, _)) if tenant == *claimant => Some(tenant),
        (Some(tenant), Claimed::Unclaimed) => Some(tenant),
        (_, Claimed::By(claimant, _)) if sighting.tenant.is_none() => Some(*claimant),
        _ => None,
    };
    let mut add = |kind, found: Option<String>, wanted: Option<String>| {
        differences.add(kind, || Difference {
            kind,
            account: renter.name.clone(),
            account_sid: number.account_sid.clone(),
            sid: number.sid.clone(),
            phone: number.phone.clone(),
            tenant: owner.or(sighting.tenant).map(str::to_owned),
            found,
            wanted,
        });
    };
    match (sighting.tenant, sighting.claimed) {
        (None, Claimed::By(claimant, claim)) => {
            add(Drift::TwilioOnly, Some(claim.as_str().to_owned()), Some((*claimant).to_owned()));
        }
        (None, Claimed::Unclaimed) => add(Drift::Unattributed, number.friendly_name.clone(), None),
        (_, Claimed::Contested(claimants)) => add(Drift::Contested, Some(claimants.join(", ")), None),
        (Some(tenant), Claimed::By(claimant, _)) if tenant != *claimant => {
            add(Drift::OtherTenant, Some((*claimant).to_owned()), Some(tenant.to_owned()));
        }
        (Some(_), Claimed::By(..) | Claimed::Unclaimed) => {}
    }
    let tenant = owner.and_then(|owner| setup.tenants.iter().find(|tenant| tenant.name == owner));
    if let Some(tenant) = tenant {
        for (kind, found, wanted) in differing(number, &tenant.numbers) {
            add(kind, found, Some(wanted));
        }
    }
}
