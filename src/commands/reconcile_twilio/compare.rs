//! Comparing numbers while they are read.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use serde_json::{Map, Value};

use super::counted;
use crate::app::App;
use crate::commands::renting::accounts::{Renter, Setup};
use crate::commands::renting::inventory::{self, Reading, Sighting};
use crate::domain::numbers::claims::Claimed;
use crate::domain::numbers::drift::{Drift, differing};
use crate::error::Exit;
use crate::store::numbers::{self, StoredNumber};

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
    /// Whether its Twilio account is closed, and cannot be asked.
    pub(super) is_closed: bool,
}

/// The differences of all accounts: counted all, and held up to a limit, so that a list of a hundred thousand numbers does
/// not fill the memory.
#[derive(Debug)]
pub(super) struct Differences {
    findings: Vec<Difference>,
    /// What is no finding, which takes no room from those that are.
    others: Vec<Difference>,
    most_held: usize,
    holds_all_mendable: bool,
    counts: BTreeMap<Drift, usize>,
    /// How many numbers each account has.
    totals: Vec<(String, usize)>,
    left_out: bool,
}

impl Differences {
    /// None yet. So many are held, and with `holds_all_mendable` all that can be mended.
    pub(super) fn new(most_held: usize, holds_all_mendable: bool) -> Self {
        Self {
            findings: Vec::new(),
            others: Vec::new(),
            most_held,
            holds_all_mendable,
            counts: BTreeMap::new(),
            totals: Vec::new(),
            left_out: false,
        }
    }

    fn add(&mut self, kind: Drift, make: impl FnOnce() -> Difference) {
        *self.counts.entry(kind).or_default() += 1;
        let held = if kind.is_finding() { &mut self.findings } else { &mut self.others };
        if held.len() < self.most_held || (self.holds_all_mendable && kind.is_safe()) {
            held.push(make());
        }
    }

    /// What is to be shown: what somebody should do something about first, and all that is to be mended.
    pub(super) fn shown(&self, limit: usize) -> impl Iterator<Item = &Difference> {
        let (mendable, rest): (Vec<_>, Vec<_>) =
            self.findings.iter().partition(|one| self.holds_all_mendable && one.kind.is_safe());
        let left = limit.saturating_sub(mendable.len());
        mendable.into_iter().chain(rest.into_iter().chain(&self.others).take(left))
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
        self.findings.iter().filter(|difference| difference.kind.is_safe())
    }

    /// Of each account how many numbers are to be mended, and how many it has.
    pub(super) fn shares(&self) -> Vec<(String, usize, usize)> {
        let of = |account: &str| {
            let of_account = self.mendable().filter(|one| one.account == account);
            of_account.map(|one| one.sid.as_str()).collect::<HashSet<_>>().len()
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

/// Reads all accounts and says what differs. What the database has and Twilio has not is known when all were read: a number
/// may move from one to another.
///
/// # Errors
/// As [`inventory::read`]: then nothing is compared.
pub(super) async fn all(
    app: &App,
    setup: &Setup,
    renters: &[Renter],
    mut differences: Differences,
) -> Result<Differences> {
    let mut readings = Vec::with_capacity(renters.len());
    for renter in renters {
        let reading =
            inventory::read(app, renter, |sighting| compare(setup, renter, sighting, &mut differences)).await?;
        reading.report(app, renter);
        differences.totals.push((renter.name.clone(), reading.numbers));
        differences.left_out |= !reading.unreadable.is_empty();
        readings.push(reading);
    }
    for (renter, reading) in renters.iter().zip(&readings) {
        missing(app, renter, reading, &mut differences).await?;
    }
    Ok(differences)
}

/// Adds what an account is said to hold and does not.
async fn missing(app: &App, renter: &Renter, reading: &Reading, differences: &mut Differences) -> Result<()> {
    let mut tx = app.db().await?.read().await?;
    let read = reading.read.iter().map(|account| (account, false));
    for (account, is_closed) in read.chain(reading.closed.iter().map(|account| (account, true))) {
        for stored in numbers::unseen(&mut tx, &renter.name, &account.sid, reading.began_at).await? {
            differences.add(Drift::DatabaseOnly, || gone(renter, &stored, is_closed));
        }
    }
    let listed = [&reading.read, &reading.closed].into_iter().flatten();
    let listed = listed.chain(reading.unreadable.iter().map(|(account, _)| account));
    let listed: HashSet<&str> = listed.map(|account| account.sid.as_str()).collect();
    let unlisted = numbers::account_sids(&mut tx, &renter.name).await?;
    let is_unlisted = |sid: &&String| !listed.contains(sid.as_str()) && !renter.others.contains(*sid);
    for sid in unlisted.iter().filter(is_unlisted) {
        // What it holds, and whether it is there, is not known.
        differences.left_out = true;
        let why =
            if reading.unlisted.is_some() { "cannot be looked for" } else { "is not among its subaccounts any more" };
        app.printer.warn(format!("account {}: {sid} {why}; what it held stands as it was seen last", renter.name));
    }
    Ok(())
}

fn gone(renter: &Renter, stored: &StoredNumber, is_closed: bool) -> Difference {
    Difference {
        kind: Drift::DatabaseOnly,
        account: renter.name.clone(),
        account_sid: stored.account_sid.clone(),
        sid: stored.sid.clone(),
        phone: stored.phone.clone(),
        tenant: stored.owner().map(str::to_owned),
        found: is_closed.then(|| "its subaccount is closed".to_owned()),
        wanted: None,
        is_closed,
    }
}

fn compare(setup: &Setup, renter: &Renter, sighting: &Sighting<'_>, differences: &mut Differences) {
    let number = sighting.number;
    let owner = sighting.owner();
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
            is_closed: false,
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
