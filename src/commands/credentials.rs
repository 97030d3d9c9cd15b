//! From an account to its key and address.

use crate::app::App;
use crate::commands::calling::provider::is_loopback;
use crate::domain::campaign::AccountSettings;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::error::{Exit, Failure};
use crate::providers::http::ReadError;
use crate::store::setup::Account;

/// What opens an account at its provider.
#[derive(Debug)]
pub struct Access<'a> {
    app: &'a App,
    name: &'a str,
    /// The account's settings.
    pub settings: AccountSettings,
    /// Where the provider answers.
    pub base_url: String,
}

impl<'a> Access<'a> {
    /// Reads the settings of an account; `usual_address` is where its provider answers if they do not say so.
    ///
    /// # Errors
    /// Exit 6 when the settings cannot be read, no address is known, or a rehearsal would reach a real provider.
    pub fn of(
        app: &'a App,
        account: &'a Account,
        usual_address: Option<&str>,
        is_rehearsal: bool,
    ) -> Result<Self, Failure> {
        let name = account.name.as_str();
        let settings = account.settings().map_err(|error| {
            Failure::configuration(error.to_string()).hint("put the account in again with `callops apply`")
        })?;
        let base_url = settings.base_url.as_deref().or(usual_address).ok_or_else(|| missing(name, "base_url"))?;
        if is_rehearsal && !is_loopback(base_url) {
            return Err(Failure::configuration(format!(
                "account {name}: this is a rehearsal database, and {base_url} is not on this machine"
            ))
            .hint("give the account a base_url such as http://127.0.0.1:8899, where `callops sandbox` listens"));
        }
        let base_url = base_url.to_owned();
        Ok(Self { app, name, settings, base_url })
    }

    /// The account's key.
    ///
    /// # Errors
    /// Exit 6 when it cannot be read.
    pub fn key(&self) -> anyhow::Result<Secret> {
        self.resolve("api_key", &self.settings.api_key)
    }

    /// The secret that belongs to the key; none where the account has none.
    ///
    /// # Errors
    /// Exit 6 when it cannot be read.
    pub fn api_secret(&self) -> anyhow::Result<Option<Secret>> {
        self.settings.api_secret.as_deref().map(|reference| self.resolve("api_secret", reference)).transpose()
    }

    /// What to say of a setting that the provider needs and the account has not.
    pub fn missing(&self, setting: &str) -> Failure {
        missing(self.name, setting)
    }

    /// A secret by its reference, for a setting of a name of its own.
    ///
    /// # Errors
    /// Exit 6 when it cannot be read.
    pub(super) fn resolve(&self, setting: &str, reference: &str) -> anyhow::Result<Secret> {
        let name = self.name;
        let reference: SecretRef =
            reference.parse().map_err(|error| Failure::configuration(format!("account {name}: {setting}: {error}")))?;
        reference.resolve(&self.app.config.environment).map_err(|error| error.context(format!("account {name}")))
    }
}

fn missing(name: &str, setting: &str) -> Failure {
    Failure::configuration(format!("account {name}: {setting} is missing"))
        .hint("put the account in again with `callops apply`")
}

/// The class of an error of a service that is asked about what an account says is there.
pub fn exit_of(error: &ReadError) -> Exit {
    match error {
        ReadError::Unauthorized { .. } | ReadError::NotFound { .. } => Exit::Configuration,
        _ => Exit::Unreachable,
    }
}
