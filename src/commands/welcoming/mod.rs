//! Welcoming customers who paid for the first time: who they are, and reading what the service tells of them.

pub mod settle;
pub mod sync;

use std::collections::BTreeSet;

use crate::app::App;
use crate::commands::credentials::{Access, exit_of};
use crate::domain::welcome::{PROVIDER, WelcomeSettings};
use crate::error::Failure;
use crate::providers::http::ReadError;
use crate::providers::stripe::{BASE_URL, Stripe};
use crate::store::setup::{self, Account, Tenant};
use crate::store::{self, Tx, control};

/// A tenant that welcomes its customers.
#[derive(Clone, Debug)]
pub struct WelcomingTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Whom it welcomes, and by what campaign.
    pub welcome: WelcomeSettings,
}

/// What the database says of accounts and tenants.
#[derive(Debug)]
pub struct Setup {
    /// The accounts that take payments, by name.
    pub accounts: Vec<Account>,
    /// The tenants that welcome, by name.
    pub tenants: Vec<WelcomingTenant>,
    is_rehearsal: bool,
}

impl Setup {
    /// Reads it.
    ///
    /// # Errors
    /// When the database cannot be asked, or a tenant's settings cannot be read.
    pub async fn read(tx: &mut Tx) -> store::Result<Self> {
        let accounts: Vec<Account> =
            setup::accounts(tx).await?.into_iter().filter(|account| account.provider == PROVIDER).collect();
        let mut tenants = Vec::new();
        for tenant in setup::tenants(tx).await? {
            if let Some(welcome) = tenant.settings()?.welcome {
                tenants.push(WelcomingTenant { tenant, welcome: *welcome });
            }
        }
        Ok(Self { accounts, tenants, is_rehearsal: control::is_rehearsal(tx).await? })
    }

    /// An account that takes payments.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// The tenants that welcome the customers of an account.
    pub fn welcoming<'s>(&'s self, account: &'s str) -> impl Iterator<Item = &'s WelcomingTenant> {
        self.tenants.iter().filter(move |tenant| tenant.welcome.account == account)
    }

    /// The accounts whose customers a tenant, or any, welcomes, by name.
    ///
    /// # Errors
    /// Exit 6 where there is none, or one that is named is not there.
    pub fn wanted(&self, tenant: Option<&str>) -> Result<Vec<&Account>, Failure> {
        let of_tenant = |one: &&WelcomingTenant| tenant.is_none_or(|name| one.tenant.name == name);
        let wanted: Vec<&WelcomingTenant> = self.tenants.iter().filter(of_tenant).collect();
        if wanted.is_empty() {
            let (what, whose) = match tenant {
                Some(name) => (format!("tenant {name} welcomes nobody"), name),
                None => ("no tenant welcomes anybody".to_owned(), "NAME"),
            };
            return Err(Failure::configuration(what).hint(format!(
                "say whom: [tenant.{whose}.welcome] with account, campaign and welcome_since, and `callops apply`"
            )));
        }
        let names: BTreeSet<&str> = wanted.iter().map(|one| one.welcome.account.as_str()).collect();
        names
            .into_iter()
            .map(|name| {
                self.account(name).ok_or_else(|| {
                    Failure::configuration(format!("there is no account {name} at {PROVIDER}"))
                        .hint("put it in with `callops apply`")
                })
            })
            .collect()
    }

    /// The client of an account.
    ///
    /// # Errors
    /// Exit 6 for a key that cannot be read, or where a rehearsal would reach the real service.
    pub async fn client(&self, app: &App, account: &Account) -> anyhow::Result<Stripe> {
        let access = Access::of(app, account, Some(BASE_URL), self.is_rehearsal)?;
        Ok(Stripe::new(app.http().await.clone(), access.key()?, access.base_url.clone()))
    }
}

/// Whether an account is about real money.
///
/// # Errors
/// When its settings cannot be read.
pub fn is_live(account: &Account) -> store::Result<bool> {
    Ok(account.settings()?.livemode.unwrap_or(true))
}

/// What it means for a command that a question brought nothing.
pub fn explain(account: &str, error: &ReadError) -> Failure {
    let failure = Failure::new(exit_of(error), format!("account {account}: {error}"));
    match error {
        ReadError::Unauthorized { .. } => failure.hint(
            "compare api_key with the keys that Stripe shows; a restricted key must be allowed to read customers and events",
        ),
        ReadError::Broken { body, .. } => failure.hint(format!("it said: {body}")),
        _ => failure,
    }
}
