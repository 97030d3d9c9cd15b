//! Reading every number that an account reaches, and storing each as it is seen.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream;

use super::accounts::{Renter, explain};
use crate::app::App;
use crate::domain::numbers::Number;
use crate::domain::numbers::claims::Claimed;
use crate::error::Failure;
use crate::providers::http::ReadError;
use crate::providers::twilio::{NumberPage, TwilioAccount};
use crate::store::numbers::{self, Seen};

/// Subaccounts that are read at once. Twilio refuses more requests at once than an account's limit, which is waited for.
const ACCOUNTS_AT_ONCE: usize = 8;
/// Pages of one account; it never ends otherwise.
const MAX_PAGES: usize = 10_000;

/// What was read of an account.
#[derive(Debug)]
pub struct Reading {
    /// The Twilio accounts that were read to their ends.
    pub read: Vec<TwilioAccount>,
    /// Those that are closed, and hold nothing.
    pub closed: Vec<TwilioAccount>,
    /// Those that could not be read, and why: nothing is planned for what they hold.
    pub unreadable: Vec<(TwilioAccount, ReadError)>,
    /// Why subaccounts could not be listed, if so.
    pub unlisted: Option<ReadError>,
    /// When it began: what an account of `read` is said to hold and was not seen since is not there.
    pub began_at: DateTime<Utc>,
    /// How many numbers were seen.
    pub numbers: usize,
}

/// A number as it was seen, and what was known of it.
#[derive(Debug)]
pub struct Sighting<'s> {
    /// The number.
    pub number: &'s Number,
    /// Who claims it.
    pub claimed: &'s Claimed<'s>,
    /// For which tenant it was bought or adopted.
    pub tenant: Option<&'s str>,
}

impl<'s> Sighting<'s> {
    /// Whose it is, as far as all agree.
    pub fn owner(&self) -> Option<&'s str> {
        match (self.tenant, self.claimed) {
            (Some(tenant), Claimed::By(claimant, _)) => (tenant == *claimant).then_some(tenant),
            (None, Claimed::By(claimant, _)) => Some(*claimant),
            (tenant, Claimed::Unclaimed) => tenant,
            (_, Claimed::Contested(_)) => None,
        }
    }
}

/// Reads every number of an account and of its subaccounts, hands each to `see`, and stores it. While one page is stored
/// the next one is under way.
///
/// # Errors
/// Exit 6 when the credentials are refused, exit 7 when a list breaks off: then nothing may be planned.
pub async fn read(app: &App, renter: &Renter, see: impl FnMut(&Sighting<'_>)) -> anyhow::Result<Reading> {
    let began_at = app.clock.now();
    let (mut accounts, unlisted) = renter.client.accounts().await.map_err(|error| explain(&renter.name, &error))?;
    accounts.retain(|account| !renter.others.contains(&account.sid));
    let (closed, accounts): (Vec<_>, Vec<_>) = accounts.into_iter().partition(TwilioAccount::is_closed);
    let (see, numbers) = (RefCell::new(see), Cell::new(0));
    let store = async |page: &NumberPage| store(app, renter, page, began_at, &see, &numbers).await;
    let store = &store;
    let results: Vec<_> = stream::iter(accounts)
        .map(|account| async move {
            let result = read_one(renter, &account, store).await;
            (account, result)
        })
        .buffer_unordered(ACCOUNTS_AT_ONCE)
        .collect()
        .await;
    let mut reading =
        Reading { closed, read: Vec::new(), unreadable: Vec::new(), unlisted, began_at, numbers: numbers.get() };
    for (account, result) in results {
        match result? {
            Ended::Whole => reading.read.push(account),
            // The account's own numbers are what all the rest is compared with.
            Ended::Unreadable(error) if account.sid != renter.client.account_sid() => {
                reading.unreadable.push((account, error));
            }
            Ended::Unreadable(error) => return Err(explain(&renter.name, &error).into()),
            Ended::Broken(error) => {
                let failure = Failure::unreachable(format!(
                    "account {}: the list of the numbers of {} broke off: {error}",
                    renter.name, account.sid
                ));
                return Err(failure.hint("nothing was planned from half a list; try again").into());
            }
        }
    }
    reading.read.sort_by(|one, other| one.sid.cmp(&other.sid));
    reading.unreadable.sort_by(|(one, _), (other, _)| one.sid.cmp(&other.sid));
    Ok(reading)
}

/// How reading one Twilio account ended.
enum Ended {
    Whole,
    /// Its first page could not be read.
    Unreadable(ReadError),
    /// A later one could not.
    Broken(ReadError),
}

async fn read_one(
    renter: &Renter,
    account: &TwilioAccount,
    store: impl AsyncFn(&NumberPage) -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let mut page = match renter.client.numbers_page(&account.sid, None).await {
        Ok(page) => page,
        Err(error) => return Ok(Ended::Unreadable(error)),
    };
    for _ in 0..MAX_PAGES {
        let Some(next) = page.next.clone() else {
            store(&page).await?;
            return Ok(Ended::Whole);
        };
        let (stored, fetched) =
            futures_util::future::join(store(&page), renter.client.numbers_page(&account.sid, Some(&next))).await;
        stored?;
        page = match fetched {
            Ok(page) => page,
            Err(error) => return Ok(Ended::Broken(error)),
        };
    }
    Ok(Ended::Broken(ReadError::Incomplete { reason: format!("more than {MAX_PAGES} pages") }))
}

async fn store(
    app: &App,
    renter: &Renter,
    page: &NumberPage,
    now: DateTime<Utc>,
    see: &RefCell<impl FnMut(&Sighting<'_>)>,
    numbers: &Cell<usize>,
) -> anyhow::Result<()> {
    let claimed: Vec<Claimed<'_>> = page.numbers.iter().map(|number| renter.claims.of(number)).collect();
    let seen: Vec<Seen<'_>> = (page.numbers.iter().zip(&claimed))
        .map(|(number, claimed)| Seen { number, claimed_by: claimed.tenant(), claim: claimed.claim() })
        .collect();
    let tenants = app.db().await?.write(async |tx| numbers::see(tx, &renter.name, &seen, now).await).await?;
    let tenants: HashMap<&str, Option<&str>> =
        tenants.iter().map(|(sid, tenant)| (sid.as_str(), tenant.as_deref())).collect();
    let mut see = see.borrow_mut();
    for (number, claimed) in page.numbers.iter().zip(&claimed) {
        let tenant = tenants.get(number.sid.as_str()).copied().flatten();
        see(&Sighting { number, claimed, tenant });
    }
    numbers.set(numbers.get() + page.numbers.len());
    Ok(())
}

impl Reading {
    /// Whether something that the account reaches may have been left out.
    pub fn is_partial(&self) -> bool {
        !self.unreadable.is_empty() || self.unlisted.is_some()
    }

    /// Says what is left out, and why.
    pub fn report(&self, app: &App, renter: &Renter) {
        if let Some(error) = &self.unlisted {
            app.printer.warn(format!(
                "account {}: its subaccounts cannot be listed, so only its own numbers are looked at: {error}",
                renter.name
            ));
        }
        for (account, error) in &self.unreadable {
            let name = account.friendly_name.as_deref().unwrap_or("no name");
            app.printer.warn(format!(
                "account {}: subaccount {} ({name}) cannot be read, so what it holds is left out: {error}",
                renter.name, account.sid
            ));
        }
    }
}
