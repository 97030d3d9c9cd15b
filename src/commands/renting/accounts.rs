//! The accounts that rent numbers, and what the tenants say of their numbers.

use crate::app::App;
use crate::commands::credentials::{Access, exit_of};
use crate::commands::lookup;
use crate::config::nearest;
use crate::domain::numbers::claims::Claims;
use crate::domain::numbers::{NumberSettings, PROVIDER};
use crate::error::Failure;
use crate::providers::http::ReadError;
use crate::providers::twilio::{BASE_URL, Credentials, Twilio};
use crate::store::setup::{self, Account};
use crate::store::{self, Tx, control};

/// An account at Twilio, and the tenants whose numbers it pays for.
#[derive(Debug)]
pub struct Renter {
    /// The account's name here.
    pub name: String,
    /// Its client.
    pub client: Twilio,
    /// What its tenants say of their numbers.
    pub claims: Claims,
    /// The SIDs of the accounts that are others here, and are read by their own credentials.
    pub others: Vec<String>,
}

/// A tenant with numbers.
#[derive(Clone, Debug)]
pub struct RentingTenant {
    /// Its name.
    pub name: String,
    /// Its region, such as `US`.
    pub region: Option<String>,
    /// What it says of its numbers.
    pub numbers: NumberSettings,
}

/// What the database says of accounts and tenants.
#[derive(Debug)]
pub struct Setup {
    accounts: Vec<Account>,
    /// The tenants with numbers, by name.
    pub tenants: Vec<RentingTenant>,
    is_rehearsal: bool,
}

impl Setup {
    /// Reads it.
    ///
    /// # Errors
    /// When the database cannot be asked; exit 4 when a tenant's settings cannot be read: whose a number is could then be
    /// said wrongly.
    pub async fn read(tx: &mut Tx) -> store::Result<Self> {
        let accounts: Vec<Account> =
            setup::accounts(tx).await?.into_iter().filter(|account| account.provider == PROVIDER).collect();
        let mut tenants = Vec::new();
        for tenant in setup::tenants(tx).await? {
            if let Some(numbers) = tenant.settings()?.numbers {
                tenants.push(RentingTenant { name: tenant.name, region: tenant.region, numbers: *numbers });
            }
        }
        Ok(Self { accounts, tenants, is_rehearsal: control::is_rehearsal(tx).await? })
    }

    /// A tenant with numbers.
    ///
    /// # Errors
    /// Exit 2 for one that is not there, exit 6 for one that says nothing of its numbers.
    pub async fn tenant(&self, tx: &mut Tx, name: &str) -> anyhow::Result<&RentingTenant> {
        lookup::tenant(tx, name).await??;
        self.tenants.iter().find(|tenant| tenant.name == name).ok_or_else(|| {
            Failure::configuration(format!(
                "tenant {name} has no numbers: nothing says with which account they are rented"
            ))
            .hint(format!("describe them: [tenant.{name}.numbers] with account = \"...\", and `callops apply`"))
            .into()
        })
    }

    /// The accounts that rent numbers, or the one of them that is named, each with its client.
    ///
    /// # Errors
    /// Exit 2 for a name that is none of them, exit 6 for credentials that cannot be read.
    pub async fn renters(&self, app: &App, named: Option<&str>) -> anyhow::Result<Vec<Renter>> {
        let accounts: Vec<&Account> =
            self.accounts.iter().filter(|account| named.is_none_or(|name| name == account.name)).collect();
        if let (Some(name), true) = (named, accounts.is_empty()) {
            let failure = Failure::usage(format!("there is no account {name} at {PROVIDER}"));
            return Err(match nearest(name, self.accounts.iter().map(|account| account.name.as_str())) {
                Some(known) => failure.hint(format!("did you mean {known}?")),
                None => failure.hint("`callops list accounts` shows them; `callops apply` makes one"),
            }
            .into());
        }
        let mut renters = Vec::with_capacity(accounts.len());
        for account in accounts {
            let claims = self.claims_of(&account.name);
            let client = client(app, account, self.is_rehearsal).await?;
            let sid_of = |account: &Account| account.settings().ok().and_then(|settings| settings.account_sid);
            let others = self.accounts.iter().filter(|other| other.name != account.name).filter_map(sid_of).collect();
            renters.push(Renter { name: account.name.clone(), client, claims, others });
        }
        Ok(renters)
    }

    /// What the tenants of an account say of their numbers.
    pub fn claims_of(&self, account: &str) -> Claims {
        let tenants = self.tenants.iter().filter(|tenant| tenant.numbers.account == account);
        Claims::new(tenants.map(|tenant| (tenant.name.as_str(), &tenant.numbers)))
    }

    /// One account that rents numbers.
    ///
    /// # Errors
    /// As [`Setup::renters`].
    pub async fn renter(&self, app: &App, account: &str) -> anyhow::Result<Renter> {
        let renter = self.renters(app, Some(account)).await?.pop();
        renter.ok_or_else(|| anyhow::anyhow!("the account {account} is gone"))
    }
}

async fn client(app: &App, account: &Account, is_rehearsal: bool) -> anyhow::Result<Twilio> {
    let access = Access::of(app, account, Some(BASE_URL), is_rehearsal)?;
    let account_sid = access.settings.account_sid.clone().ok_or_else(|| access.missing("account_sid"))?;
    let key = access.key()?;
    let credentials = match access.api_secret()? {
        Some(secret) => Credentials::ApiKey(key, secret),
        None => Credentials::AuthToken(key),
    };
    Ok(Twilio::new(app.http().await.clone(), account_sid, credentials, access.base_url))
}

/// What it means for a command that Twilio could not be read.
pub fn explain(account: &str, error: &ReadError) -> Failure {
    let failure = Failure::new(exit_of(error), format!("account {account}: {error}"));
    match error {
        ReadError::Unauthorized { .. } => failure
            .hint("compare account_sid and api_key with Twilio's console; an API key wants its secret in api_secret"),
        ReadError::Incomplete { .. } => failure.hint("nothing was planned from half a list; try again"),
        _ => failure,
    }
}
