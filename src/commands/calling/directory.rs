//! The accounts of a run and the clients of their providers, each made when it is first needed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::counts::Counts;
use super::provider::{Provider, in_time, places_calls};
use crate::app::{App, check_skew};
use crate::error::{Exit, classify};
use crate::providers::http::ReadError;
use crate::store::setup::{self, Account};
use crate::store::{self, Tx, control, runs};

/// The first back-off of an account or campaign that the provider refused, doubled with each refusal in a row.
const HOLD_SECONDS: i64 = 60;
/// The longest back-off.
const MAX_HOLD_SECONDS: i64 = 3600;

/// The accounts that can call, and their clients, of one run.
#[derive(Debug)]
pub struct Directory {
    accounts: HashMap<String, Account>,
    clients: HashMap<String, Option<Provider>>,
    /// The accounts whose providers have been asked for the time, and whether they could be.
    probed: HashMap<String, bool>,
    is_rehearsal: bool,
    /// The findings that stand, by kind and subject.
    standing: HashSet<(String, String)>,
}

impl Directory {
    /// Reads the accounts.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn load(app: &App) -> anyhow::Result<Self> {
        let mut tx = app.db().await?.read().await?;
        Ok(Self::read(&mut tx).await?)
    }

    /// Reads the accounts in a transaction that is open already.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn read(tx: &mut Tx) -> store::Result<Self> {
        let accounts = setup::accounts(tx).await?.into_iter().filter(|account| places_calls(&account.provider));
        let accounts = accounts.map(|account| (account.name.clone(), account)).collect();
        let is_rehearsal = control::is_rehearsal(tx).await?;
        let standing =
            runs::standing_findings(tx).await?.into_iter().map(|finding| (finding.kind, finding.subject)).collect();
        Ok(Self { accounts, clients: HashMap::new(), probed: HashMap::new(), is_rehearsal, standing })
    }

    /// An account as it was read.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// The names of all accounts, in their order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.accounts.keys().cloned().collect();
        names.sort();
        names
    }

    /// The client of an account's provider; none, with a problem counted, when there can be none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn client(&mut self, app: &App, name: &str, counts: &mut Counts) -> anyhow::Result<Option<Provider>> {
        if let Some(client) = self.clients.get(name) {
            return Ok(client.clone());
        }
        let Some(account) = self.accounts.get(name) else { return Ok(None) };
        let client = match Provider::of_account(app, account, self.is_rehearsal).await {
            Ok(client) => Some(client),
            Err(error) => {
                let sentence = format!("{error:#}");
                raise(app, "account_unusable", name, &sentence).await?;
                counts.problem(classify(&error).or(Exit::Configuration), sentence);
                None
            }
        };
        self.clients.insert(name.to_owned(), client.clone());
        Ok(client)
    }

    /// The clients of these accounts that may dial, each as [`Directory::probed`] gives it.
    ///
    /// # Errors
    /// As [`Directory::probed`].
    pub async fn probe(
        &mut self,
        app: &App,
        names: impl IntoIterator<Item = &str>,
        stop_at: Duration,
        counts: &mut Counts,
    ) -> anyhow::Result<HashMap<String, Provider>> {
        let mut usable = HashMap::new();
        for name in names {
            if let Some(client) = self.probed(app, name, stop_at, counts).await? {
                usable.insert(name.to_owned(), client);
            }
        }
        Ok(usable)
    }

    /// The client of an account whose provider was asked something harmless before, once for each directory: a refused
    /// key costs no slot, and a clock that is wrong is noticed before anybody is dialled, and before it ends a call.
    /// None when it could not be asked, or did not answer by `stop_at` on the monotonic clock.
    ///
    /// # Errors
    /// Exit 6 when a provider's clock and ours are too far apart; or when the database cannot be written.
    pub async fn probed(
        &mut self,
        app: &App,
        name: &str,
        stop_at: Duration,
        counts: &mut Counts,
    ) -> anyhow::Result<Option<Provider>> {
        let Some(client) = self.client(app, name, counts).await? else { return Ok(None) };
        if let Some(answered) = self.probed.get(name) {
            return Ok(answered.then_some(client));
        }
        let answer = in_time(&app.clock, stop_at, client.probe()).await;
        self.probed.insert(name.to_owned(), answer.is_ok());
        match answer {
            Ok(probe) => {
                if let Some(date) = probe.date {
                    check_skew(&format!("the provider of account {name}"), date, app.clock.now())?;
                }
                let known = self.accounts.get(name).and_then(|account| account.org_id.as_deref());
                if let Some(org_id) = probe.org_id.as_deref().filter(|org_id| known != Some(org_id)) {
                    app.db().await?.write(async |tx| setup::learn_organisation(tx, name, org_id).await).await?;
                }
                // Its key can be read; that it may call again shows only when a call is taken.
                self.gone(app, "account_unusable", &format!("account:{name}")).await?;
                Ok(Some(client))
            }
            Err(error) => {
                self.read_failed(app, name, &error, counts).await?;
                Ok(None)
            }
        }
    }

    /// Takes note that the cause of a finding is gone, if it stands.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn gone(&self, app: &App, kind: &str, subject: &str) -> anyhow::Result<()> {
        if self.standing.contains(&(kind.to_owned(), subject.to_owned())) {
            let now = app.clock.now();
            app.db().await?.write(async |tx| runs::resolve_finding(tx, kind, subject, now).await).await?;
        }
        Ok(())
    }

    /// Takes note that a provider could not be read: a refused key holds the account back, the rest is for later.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn read_failed(
        &self,
        app: &App,
        name: &str,
        error: &ReadError,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let sentence = format!("account {name}: {error}");
        match error {
            ReadError::Unauthorized { .. } => {
                self.hold(app, name, &error.to_string()).await?;
                counts.problem(Exit::Configuration, sentence);
            }
            _ => counts.problem(Exit::Unreachable, sentence),
        }
        Ok(())
    }

    /// Holds an account back because its provider refused it, longer with each refusal in a row, and raises a finding.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn hold(&self, app: &App, name: &str, reason: &str) -> anyhow::Result<()> {
        let now = app.clock.now();
        let refusals = self.accounts.get(name).map_or(0, |account| account.refusals);
        let until = now + back_off(refusals);
        app.db()
            .await?
            .write(async |tx| {
                setup::hold_account(tx, name, until, reason, refusals + 1).await?;
                runs::raise(tx, "account_refused", &format!("account:{name}"), reason, now).await
            })
            .await?;
        Ok(())
    }
}

/// How long an account or campaign is held back after this many refusals in a row.
pub fn back_off(refusals: i64) -> TimeDelta {
    let doublings = u32::try_from(refusals.clamp(0, 6)).unwrap_or(0);
    TimeDelta::seconds((HOLD_SECONDS << doublings).min(MAX_HOLD_SECONDS))
}

/// The moment until which somebody is held back who was refused now.
pub fn held_until(now: DateTime<Utc>, refusals: i64) -> DateTime<Utc> {
    now + back_off(refusals)
}

async fn raise(app: &App, kind: &str, account: &str, detail: &str) -> anyhow::Result<()> {
    let now = app.clock.now();
    app.db().await?.write(async |tx| runs::raise(tx, kind, &format!("account:{account}"), detail, now).await).await?;
    Ok(())
}
