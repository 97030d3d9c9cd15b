//! The accounts that hold bills, and the tenants whose they are.

use crate::app::App;
use crate::commands::credentials::{Access, exit_of};
use crate::commands::lookup;
use crate::domain::billing::{BillingSettings, DataCenter, PROVIDER};
use crate::domain::campaign::TenantSettings;
use crate::domain::secret::Secret;
use crate::error::{Exit, Failure};
use crate::providers::zoho::{AskError, Grant, Host, RefreshError, TokenFile, Zoho};
use crate::store::setup::{self, Account};
use crate::store::{self, StoreError, Tx, control};

/// A tenant with bills.
#[derive(Clone, Debug)]
pub struct BillingTenant {
    /// Its name.
    pub name: String,
    /// Its time zone.
    pub timezone: Option<String>,
    /// What it says of its bills.
    pub billing: BillingSettings,
}

/// The client of an account, and the file of its access token.
#[derive(Clone, Debug)]
pub struct Books {
    /// The account's name here.
    pub account: String,
    /// Its client.
    pub zoho: Zoho,
    /// What processes share of it.
    pub file: TokenFile,
}

/// What the database says of accounts and tenants.
#[derive(Debug)]
pub struct Setup {
    /// The accounts that hold bills, by name.
    pub accounts: Vec<Account>,
    /// The tenants with bills, by name.
    pub tenants: Vec<BillingTenant>,
    /// The tenants whose settings cannot be read, and why.
    unreadable: Vec<(String, StoreError)>,
    is_rehearsal: bool,
}

impl Setup {
    /// Reads it.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn read(tx: &mut Tx) -> store::Result<Self> {
        let accounts: Vec<Account> =
            setup::accounts(tx).await?.into_iter().filter(|account| account.provider == PROVIDER).collect();
        let (mut tenants, mut unreadable) = (Vec::new(), Vec::new());
        for tenant in setup::tenants(tx).await? {
            match tenant.settings() {
                Ok(TenantSettings { billing: Some(billing), .. }) => {
                    tenants.push(BillingTenant { name: tenant.name, timezone: tenant.timezone, billing: *billing });
                }
                Ok(_) => {}
                Err(error) => unreadable.push((tenant.name, error)),
            }
        }
        Ok(Self { accounts, tenants, unreadable, is_rehearsal: control::is_rehearsal(tx).await? })
    }

    /// The tenants with bills, or the one of them that is named.
    ///
    /// # Errors
    /// Exit 2 for one that is not there, exit 6 where there is none with bills, or the settings of one cannot be read.
    pub async fn named(&self, tx: &mut Tx, name: Option<&str>) -> anyhow::Result<Vec<&BillingTenant>> {
        if let Some(name) = name {
            lookup::tenant(tx, name).await??;
        }
        let wanted = |tenant: &str| name.is_none_or(|name| name == tenant);
        if let Some((_, error)) = self.unreadable.iter().find(|(tenant, _)| wanted(tenant)) {
            return Err(Failure::configuration(error.to_string())
                .hint("put the tenant in anew with `callops apply`")
                .into());
        }
        let tenants: Vec<&BillingTenant> =
            self.tenants.iter().filter(|tenant| name.is_none_or(|name| name == tenant.name)).collect();
        if tenants.is_empty() {
            let (what, whose) = match name {
                Some(name) => (format!("tenant {name} has no bills"), name),
                None => ("no tenant has bills".to_owned(), "NAME"),
            };
            return Err(Failure::configuration(format!("{what}: nothing says where they are"))
                .hint(format!("say it: [tenant.{whose}.billing] with account and organization_id, and `callops apply`"))
                .into());
        }
        Ok(tenants)
    }

    /// What a tenant's books are read with.
    ///
    /// # Errors
    /// Exit 6 for credentials that cannot be read.
    pub async fn books_of(&self, app: &App, tenant: &BillingTenant) -> anyhow::Result<Books> {
        let name = &tenant.billing.account;
        let account = self.accounts.iter().find(|account| account.name == *name).ok_or_else(|| {
            Failure::configuration(format!("tenant {}: there is no account {name} at {PROVIDER}", tenant.name))
                .hint("put it in with `callops apply`")
        })?;
        self.books(app, account).await
    }

    /// The client of an account.
    ///
    /// # Errors
    /// Exit 6 for credentials that cannot be read.
    pub async fn books(&self, app: &App, account: &Account) -> anyhow::Result<Books> {
        let data_center = account.settings().ok().and_then(|settings| settings.data_center);
        let access = Access::of(app, account, data_center.map(DataCenter::accounts_url), self.is_rehearsal)?;
        let host = match (&access.settings.base_url, data_center) {
            (None, Some(data_center)) => Host::Of(data_center),
            (Some(url), _) => Host::At(url.clone()),
            (None, None) => return Err(access.missing("data_center").into()),
        };
        let grant = Grant {
            client_id: access.client_id()?.ok_or_else(|| access.missing("client_id"))?,
            client_secret: access.api_secret()?.ok_or_else(|| access.missing("api_secret"))?,
            refresh_token: access.key()?,
        };
        let zoho = Zoho::new(app.http().await.clone(), grant, host);
        let file = zoho.token_file(&app.config.data_folder()?);
        Ok(Books { account: account.name.clone(), zoho, file })
    }
}

impl Access<'_> {
    /// The id of the account's client; none where the account has none.
    ///
    /// # Errors
    /// Exit 6 when it is kept somewhere else and cannot be read.
    fn client_id(&self) -> anyhow::Result<Option<Secret>> {
        match self.settings.client_id.as_deref() {
            Some(text) if text.starts_with("env:") || text.starts_with("file:") => {
                self.resolve("client_id", text).map(Some)
            }
            text => Ok(text.map(Secret::new)),
        }
    }
}

/// What it means for a command that there is no access token.
pub fn explain_refresh(account: &str, error: &RefreshError) -> Failure {
    let exit = match error {
        RefreshError::UnknownRefreshToken
        | RefreshError::UnknownClient
        | RefreshError::WrongClientSecret
        | RefreshError::Refused(_)
        | RefreshError::ForeignHost(_)
        | RefreshError::File { .. } => Exit::Configuration,
        RefreshError::TooMany | RefreshError::Spent(_) | RefreshError::Locked(_) => Exit::Unreachable,
        RefreshError::Read(error) => exit_of(error),
    };
    let failure = Failure::new(exit, format!("account {account}: {error}"));
    match error {
        RefreshError::UnknownRefreshToken => {
            failure.hint("compare api_key and data_center with where the token was made; make a new one if it is gone")
        }
        RefreshError::UnknownClient => failure.hint("compare client_id and data_center with Zoho's API console"),
        RefreshError::WrongClientSecret => failure.hint("compare api_secret with Zoho's API console"),
        RefreshError::TooMany | RefreshError::Spent(_) => failure.hint(
            "does something else use this refresh token, or is the folder of the token's file not kept? wait ten minutes",
        ),
        RefreshError::File { .. } => failure.hint("the folder must be writable for whoever runs callops"),
        RefreshError::ForeignHost(_) => failure.hint("see that data_center is right, and that nobody stands in between"),
        _ => failure,
    }
}

/// What it means for a command that a question brought nothing.
pub fn explain_ask(account: &str, organization_id: &str, error: &AskError) -> Failure {
    let exit = match error {
        AskError::TokenRefused { .. } | AskError::WrongOrganization { .. } => Exit::Configuration,
        AskError::Read(error) => exit_of(error),
        _ => Exit::Unreachable,
    };
    let failure = Failure::new(exit, format!("account {account}, organisation {organization_id}: {error}"));
    match error {
        AskError::TokenRefused { .. } => failure.hint(
            "the refresh token needs the scopes ZohoBooks.contacts.READ, ZohoBooks.invoices.READ and \
             ZohoBooks.settings.READ",
        ),
        AskError::WrongOrganization { .. } => {
            failure.hint("compare billing.organization_id with the organisations that the user is of")
        }
        AskError::TooManyInMinute { .. } | AskError::TooManyAtOnce => {
            failure.hint("others ask this organisation as well; the next run goes on where this one ended")
        }
        _ => failure,
    }
}
