//! The secrets that senders may show, and whom each of them speaks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::Server;
use crate::app::App;
use crate::config::Environment;
use crate::domain::event::{EventSource, Scope};
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::domain::signature::elevenlabs::Verifying;
use crate::domain::signature::{Mismatch, callops, livekit, same, stripe, vapi};
use crate::domain::welcome;
use crate::error::message;
use crate::store::setup;

/// After so long secrets are read anew: an edit by `apply`, or a new file, counts from then on.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// A sender that no secret fits has them read anew, if they are older than this.
const STALE_FOR_STRANGERS: Duration = Duration::from_secs(1);

/// Every secret there is.
#[derive(Debug, Default)]
pub(super) struct Keys {
    everybody: Option<Secret>,
    tenants: Vec<(String, Secret)>,
    /// The tokens by which applications tell of sessions, and whose they are.
    tokens: Vec<(String, Secret)>,
    accounts: Vec<Account>,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Account {
    name: String,
    provider: EventSource,
    secret: Secret,
    plan: Option<vapi::HmacPlan>,
}

/// The key of a LiveKit account and its secret, with which webhooks are signed.
#[derive(Debug)]
struct Pair {
    account: String,
    key: Secret,
    secret: Secret,
}

/// The secrets as they were read last.
#[derive(Debug, Default)]
pub(super) struct Keyring(Mutex<Option<(Arc<Keys>, Duration)>>);

impl Keyring {
    /// The secrets, not older than [`FRESH_FOR`].
    ///
    /// # Errors
    /// When they cannot be read and never could be.
    pub(super) async fn keys(&self, server: &Server) -> anyhow::Result<Arc<Keys>> {
        Ok(self.keys_of_age(server, FRESH_FOR).await?.0)
    }

    /// The secrets once more, if they may have changed since they were read; none if they cannot have.
    ///
    /// # Errors
    /// As [`Keyring::keys`].
    pub(super) async fn newer_keys(&self, server: &Server) -> anyhow::Result<Option<Arc<Keys>>> {
        let (keys, is_new) = self.keys_of_age(server, STALE_FOR_STRANGERS).await?;
        Ok(is_new.then_some(keys))
    }

    /// The secrets, and whether they were read just now.
    async fn keys_of_age(&self, server: &Server, most: Duration) -> anyhow::Result<(Arc<Keys>, bool)> {
        // Whoever comes while they are read waits for that, and does not read them once more.
        let mut held = self.0.lock().await;
        let now = server.clock.monotonic();
        if let Some((keys, read_at)) = &*held
            && now.saturating_sub(*read_at) <= most
        {
            return Ok((Arc::clone(keys), false));
        }
        let read = server.desk.ask(|app| Box::pin(async move { read(&app).await })).await.flatten();
        match (read, held.as_ref()) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                *held = Some((Arc::clone(&keys), server.clock.monotonic()));
                Ok((keys, true))
            }
            (Err(error), Some((keys, _))) => {
                tracing::warn!(error = %message(&error), "secrets cannot be read anew; the former ones count");
                Ok((Arc::clone(keys), false))
            }
            (Err(error), None) => Err(error),
        }
    }
}

async fn read(app: &App) -> anyhow::Result<Keys> {
    let mut tx = app.db().await?.read().await?;
    let (accounts, tenants) = (setup::accounts(&mut tx).await?, setup::tenants(&mut tx).await?);
    drop(tx);
    let environment = &app.config.environment;
    let mut keys = Keys { everybody: app.config.webhook_secret.clone(), ..Keys::default() };
    for tenant in tenants {
        let Ok(settings) = tenant.settings() else { continue };
        let of = |key: &str, reference: Option<String>| {
            let secret = resolve("tenant", &tenant.name, key, &reference?, environment)?;
            Some((tenant.name.clone(), secret))
        };
        keys.tenants.extend(of("webhook_secret", settings.webhook_secret));
        keys.tokens.extend(of("api_token", settings.api_token));
    }
    for account in accounts {
        let Ok(settings) = account.settings() else { continue };
        let read = |setting, reference: &str| resolve("account", &account.name, setting, reference, environment);
        match account.provider.as_str() {
            "vapi" | "elevenlabs" => {
                let is_vapi = account.provider == "vapi";
                let provider = if is_vapi { EventSource::Vapi } else { EventSource::ElevenLabs };
                let Some(secret) = settings.webhook_secret.and_then(|it| read("webhook_secret", &it)) else { continue };
                keys.accounts.push(Account { name: account.name, provider, secret, plan: settings.webhook_signature });
            }
            welcome::PROVIDER => {
                // While a secret is rolled, both sign.
                let references = [
                    ("webhook_secret", settings.webhook_secret),
                    ("previous_webhook_secret", settings.previous_webhook_secret),
                ];
                for (setting, reference) in references {
                    let Some(secret) = reference.and_then(|reference| read(setting, &reference)) else { continue };
                    let name = account.name.clone();
                    keys.accounts.push(Account { name, provider: EventSource::Stripe, secret, plan: None });
                }
            }
            "livekit" => {
                let secret = settings.api_secret.and_then(|reference| read("api_secret", &reference));
                let Some((key, secret)) = read("api_key", &settings.api_key).zip(secret) else { continue };
                keys.pairs.push(Pair { account: account.name, key, secret });
            }
            _ => {}
        }
    }
    Ok(keys)
}

/// A secret that cannot be read shuts its own senders out, and nobody else's.
fn resolve(what: &str, name: &str, key: &str, reference: &str, environment: &Environment) -> Option<Secret> {
    let secret = reference
        .parse::<SecretRef>()
        .map_err(anyhow::Error::from)
        .and_then(|reference| reference.resolve(environment));
    match secret {
        Ok(secret) => Some(secret),
        Err(error) => {
            tracing::warn!("{what} {name}: {key}: {}: whoever shows it is refused", message(&error));
            None
        }
    }
}

impl Keys {
    /// Whom a `call-status` delivery speaks for; nobody, if no secret fits.
    pub(super) fn call_status(&self, delivery: &callops::Delivery<'_>, now: DateTime<Utc>) -> Option<Scope> {
        let fits = |secret: &Secret| callops::verify(secret, delivery, now).is_ok();
        // Each secret is tried once, however many have it.
        let mut scopes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, secret) in &self.tenants {
            scopes.entry(secret.expose()).or_default().push(name.clone());
        }
        let of_tenants: Vec<String> =
            scopes.into_iter().filter(|(secret, _)| fits(&Secret::new(*secret))).flat_map(|(_, names)| names).collect();
        if self.everybody.as_ref().is_some_and(fits) {
            return Some(Scope::Everybody);
        }
        (!of_tenants.is_empty()).then_some(Scope::Of(of_tenants))
    }

    /// The tenant whose token this is; nobody, if it is no one's or that of several.
    pub(super) fn tenant_of(&self, token: &str) -> Option<String> {
        let fitting: Vec<&String> = self
            .tokens
            .iter()
            .filter(|(_, known)| same(known.expose().as_bytes(), token.as_bytes()))
            .map(|(tenant, _)| tenant)
            .collect();
        match fitting[..] {
            [tenant] => Some(tenant.clone()),
            _ => None,
        }
    }

    /// Which accounts, or which of them if one is named, a delivery of Vapi's speaks for.
    pub(super) fn vapi(&self, named: Option<&str>, delivery: &vapi::Delivery<'_>, now: DateTime<Utc>) -> Option<Scope> {
        let fitting: Vec<String> = self
            .accounts_of(EventSource::Vapi, named)
            .filter(|account| vapi::verify(&account.secret, account.plan.as_ref(), delivery, now).is_ok())
            .map(|account| account.name.clone())
            .collect();
        (!fitting.is_empty()).then_some(Scope::Of(fitting))
    }

    /// Which accounts, or which of them if one is named, a webhook of LiveKit's speaks for: those whose key signed it.
    pub(super) fn livekit(
        &self,
        named: Option<&str>,
        token: Option<&str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Option<Scope> {
        let fitting: Vec<String> = self
            .pairs
            .iter()
            .filter(|pair| named.is_none_or(|name| pair.account == name))
            .filter(|pair| livekit::verify(pair.key.expose(), &pair.secret, token, body, now).is_ok())
            .map(|pair| pair.account.clone())
            .collect();
        (!fitting.is_empty()).then_some(Scope::Of(fitting))
    }

    /// Which accounts, or which of them if one is named, an event of Stripe's speaks for, each once.
    pub(super) fn stripe(
        &self,
        named: Option<&str>,
        header: Option<&str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Option<Scope> {
        let fits =
            |account: &&Account| stripe::verify(&account.secret, header, body, now, stripe::TOLERANCE_SECONDS).is_ok();
        let mut fitting: Vec<String> =
            self.accounts_of(EventSource::Stripe, named).filter(fits).map(|account| account.name.clone()).collect();
        fitting.dedup();
        (!fitting.is_empty()).then_some(Scope::Of(fitting))
    }

    fn accounts_of(&self, provider: EventSource, named: Option<&str>) -> impl Iterator<Item = &Account> {
        let is_meant = move |account: &&Account| named.is_none_or(|name| account.name == name);
        self.accounts.iter().filter(move |account| account.provider == provider).filter(is_meant)
    }

    /// Looks at a delivery of ElevenLabs' with the secret of every account, or of the one that is named.
    pub(super) fn elevenlabs(&self, named: Option<&str>, header: Option<&str>) -> Looking {
        let accounts = self.accounts_of(EventSource::ElevenLabs, named);
        let begin = |account: &Account| Some((account.name.clone(), Verifying::begin(&account.secret, header).ok()?));
        Looking(accounts.filter_map(begin).collect())
    }
}

/// Whose secret a body is signed with, looked for while it comes.
#[derive(Debug)]
pub(super) struct Looking(Vec<(String, Verifying)>);

impl Looking {
    /// Whether it can be anybody's.
    pub(super) fn is_nobodys(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next piece of the body.
    pub(super) fn update(&mut self, piece: &[u8]) {
        for (_, verifying) in &mut self.0 {
            verifying.update(piece);
        }
    }

    /// Whom the delivery speaks for, and whether it was signed too long ago; nobody, if no secret fits.
    pub(super) fn finish(self, now: DateTime<Utc>) -> Option<(Scope, bool)> {
        let (mut fresh, mut old) = (Vec::new(), Vec::new());
        for (name, verifying) in self.0 {
            match verifying.finish(now) {
                Ok(()) => fresh.push(name),
                // This comes last: whatever else is right.
                Err(Mismatch::Stale { .. }) => old.push(name),
                Err(_) => {}
            }
        }
        let is_old = fresh.is_empty();
        let names = if is_old { old } else { fresh };
        (!names.is_empty()).then_some((Scope::Of(names), is_old))
    }
}
