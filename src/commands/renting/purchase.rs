//! Getting a tenant its one number: at most one purchase, whoever asks for it, and however often.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::{RentingTenant, Setup, explain};
use super::buying::{Buying, too_many};
use super::moment::lease;
use crate::app::App;
use crate::domain::numbers::{IntentState, NumberStatus, purchase_name};
use crate::providers::twilio::Twilio;
use crate::store::numbers::{self, StoredNumber, TenantNumber};
use crate::store::purchases::{self, Purchase};
use crate::store::{StoreError, Tx, releases};

/// A new purchase of one tenant begins at most once in this time.
pub const SECONDS_BETWEEN_PURCHASES: i64 = 60;
/// How long whoever does not buy itself waits for the one who does.
pub const WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const POLL: Duration = Duration::from_millis(250);

/// What number a tenant wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedNumber {
    /// Two letters, such as `US`.
    pub country: String,
    /// In the United States and Canada.
    pub area_code: Option<String>,
    /// That it takes text messages.
    #[serde(default)]
    pub sms: bool,
    /// That it takes messages with pictures.
    #[serde(default)]
    pub mms: bool,
}

/// What came of asking for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provided {
    /// The tenant has it.
    Number {
        /// Its SID.
        sid: String,
        /// E.164.
        phone: String,
        /// Whether the tenant had it before.
        had: bool,
    },
    /// Somebody is buying it, or nothing is known yet of what came of that.
    InProgress {
        /// The intent's id.
        purchase_id: String,
        /// When asking again is of use.
        retry_after_seconds: i64,
    },
    /// A new purchase would follow the last one too soon.
    TooSoon {
        /// When it would not.
        retry_after_seconds: i64,
    },
    /// Nothing was bought.
    Failed {
        /// The intent's id; none where none was made.
        purchase_id: Option<String>,
        /// Why.
        reason: String,
    },
}

/// Asks for a number for a tenant.
pub struct Asking<'a> {
    /// The app.
    pub app: &'a App,
    /// For whom.
    pub tenant: &'a RentingTenant,
    /// What it wants.
    pub wanted: WantedNumber,
    /// The key by which whoever asks asks again.
    pub idempotency_key: Option<String>,
    /// Is told the id of the intent that is acted on or waited for, as soon as that is known.
    pub on_intent: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking")
            .field("tenant", &self.tenant.name)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Where a tenant stands when it is looked at.
enum Standing {
    /// There is nothing to be done.
    Over(Provided),
    /// Numbers that are the tenant's already, though none is *the* one.
    Owns(Vec<StoredNumber>),
    /// Somebody else acts.
    Busy(Purchase),
    /// It is ours to act on, and what number the tenant has meanwhile.
    Ours(Purchase, Option<TenantNumber>),
}

impl From<TenantNumber> for Provided {
    fn from(known: TenantNumber) -> Self {
        Self::Number { sid: known.sid, phone: known.phone, had: true }
    }
}

impl Asking<'_> {
    /// Gets the tenant its number, or waits for whoever does, for [`WAIT`] at most.
    ///
    /// # Errors
    /// Exit 6 when the credentials are refused, 7 when Twilio or the database cannot be reached. The intent stays, and the
    /// next one to ask goes on.
    pub async fn run(&self, setup: &Setup) -> anyhow::Result<Provided> {
        let renter = setup.renter(self.app, &self.tenant.numbers.account).await?;
        let owner = self.app.new_id();
        let give_up = self.app.clock.monotonic() + WAIT;
        loop {
            match self.stand(&renter.client, &owner).await? {
                Standing::Over(provided) => return Ok(provided),
                Standing::Owns(held) => return self.adopt(setup, held).await,
                Standing::Ours(purchase, known) => {
                    (self.on_intent)(&purchase.id);
                    return self.act(setup, &owner, purchase, known).await;
                }
                Standing::Busy(purchase) => {
                    (self.on_intent)(&purchase.id);
                    if self.app.clock.monotonic() >= give_up {
                        let left = (purchase.lease_until - self.app.clock.now()).num_seconds();
                        let retry_after_seconds = left.clamp(1, SECONDS_BETWEEN_PURCHASES);
                        return Ok(Provided::InProgress { purchase_id: purchase.id, retry_after_seconds });
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    async fn act(
        &self,
        setup: &Setup,
        owner: &str,
        purchase: Purchase,
        known: Option<TenantNumber>,
    ) -> anyhow::Result<Provided> {
        let app = self.app;
        // The account may have been another one when the intent was made.
        let renter = setup.renter(app, &purchase.account).await?;
        let buying = Buying { app, renter: &renter, settings: &self.tenant.numbers, purchase: &purchase, owner };
        let result = buying.carry_out(known).await;
        // Whoever comes next need not wait for the lease: nothing of ours is under way.
        let let_go = async |tx: &mut Tx| purchases::let_go(tx, &purchase.id, owner, app.clock.now()).await;
        app.db().await?.write(let_go).await?;
        match result {
            Err(error) if matches!(error.downcast_ref(), Some(StoreError::Conflict(_))) => {
                tracing::warn!(purchase = %purchase.id, %error, "another one acts on it by now");
                Ok(Provided::InProgress { purchase_id: purchase.id, retry_after_seconds: 1 })
            }
            result => result,
        }
    }

    /// Looks at the tenant, and takes or makes an intent where that is called for, in one transaction.
    async fn stand(&self, client: &Twilio, owner: &str) -> anyhow::Result<Standing> {
        let (app, tenant) = (self.app, self.tenant.name.as_str());
        let standing = app.db().await?.write(async |tx| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            let known = known_number(tx, tenant).await?;
            let lease_until = now + lease(app);
            if let Some(mut open) = purchases::open_of(tx, tenant).await? {
                if purchases::take(tx, &open.id, owner, lease_until, now).await? {
                    open.lease_until = lease_until;
                    return Ok(Standing::Ours(open, known));
                }
                return Ok(known.map_or(Standing::Busy(open), |known| Standing::Over(known.into())));
            }
            if let Some(known) = known {
                return Ok(Standing::Over(known.into()));
            }
            if let Some(key) = &self.idempotency_key
                && let Some(before) = purchases::with_key(tx, tenant, key).await?
            {
                let reason = before.reason.unwrap_or_else(|| "its number is not the tenant's any more".to_owned());
                return Ok(Standing::Over(Provided::Failed { purchase_id: Some(before.id), reason }));
            }
            let held: Vec<StoredNumber> = numbers::of_tenant(tx, tenant).await?;
            if !held.is_empty() {
                return Ok(Standing::Owns(held));
            }
            let latest = purchases::latest_of(tx, tenant, 1).await?;
            let free_at = latest.first().map(|last| last.created_at + TimeDelta::seconds(SECONDS_BETWEEN_PURCHASES));
            if let Some(free_at) = free_at.filter(|free_at| *free_at > now) {
                let retry_after_seconds = (free_at - now).num_seconds().max(1);
                return Ok(Standing::Over(Provided::TooSoon { retry_after_seconds }));
            }
            let purchase = self.intent(client, owner, now, lease_until);
            if !purchases::open(tx, &purchase).await? {
                return Err(StoreError::Conflict(format!("{tenant} has another purchase by now")));
            }
            let detail =
                json!({"purchase": purchase.id, "wanted": self.wanted, "friendly_name": purchase.friendly_name});
            app.audit(tx, "intend-purchase", &format!("tenant:{tenant}"), detail).await?;
            Ok(Standing::Ours(purchase, None))
        });
        Ok(standing.await?)
    }

    fn intent(&self, client: &Twilio, owner: &str, now: DateTime<Utc>, lease_until: DateTime<Utc>) -> Purchase {
        let id = self.app.new_id();
        let settings = &self.tenant.numbers;
        let account_sid = settings.subaccount.clone().unwrap_or_else(|| client.account_sid().to_owned());
        Purchase {
            friendly_name: purchase_name(&self.tenant.name, &id),
            id,
            tenant: self.tenant.name.clone(),
            account: settings.account.clone(),
            account_sid,
            idempotency_key: self.idempotency_key.clone(),
            wanted: json!(self.wanted).to_string(),
            state: IntentState::Open,
            owner: owner.to_owned(),
            lease_until,
            asked_phone: None,
            asked_at: None,
            request_ended_at: None,
            absences: 0,
            absence_seen_at: None,
            sid: None,
            phone: None,
            reason: None,
            created_at: now,
            ended_at: None,
        }
    }

    /// Takes the one number that the tenant owns already for its number. Of several, somebody has to choose first.
    async fn adopt(&self, setup: &Setup, held: Vec<StoredNumber>) -> anyhow::Result<Provided> {
        let (app, tenant) = (self.app, self.tenant.name.as_str());
        let failed = |reason| Ok(Provided::Failed { purchase_id: None, reason });
        let [only] = &held[..] else { return failed(too_many(tenant, held.len())) };
        if only.owner() != Some(tenant) {
            return failed(format!("{} is claimed by several tenants: mend their numbers first", only.phone));
        }
        let renter = setup.renter(app, &only.account).await?;
        let found = renter.client.number(&only.account_sid, &only.sid).await;
        if found.map_err(|error| explain(&only.account, &error))?.is_none() {
            let gone = async |tx: &mut Tx| {
                let now = app.clock.now();
                if numbers::mark_gone(tx, &only.sid, &only.account_sid, now).await? {
                    let detail = json!({"phone": only.phone, "tenant": tenant, "how": "found gone"});
                    app.audit(tx, "mark-released", &format!("number:{}", only.sid), detail).await?;
                }
                Ok(())
            };
            app.db().await?.write(gone).await?;
            return failed(format!("{} was the tenant's, and Twilio has it no more; ask again", only.phone));
        }
        let adopt = async |tx: &mut Tx| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            if let Some(known) = known_number(tx, tenant).await? {
                return Ok(Some(known));
            }
            // It was looked at a while ago.
            if !numbers::lock(tx, &only.sid).await?.is_some_and(|stored| stored.is_of(tenant)) {
                return Ok(None);
            }
            numbers::adopt(tx, &only.sid, tenant, now).await?;
            numbers::set_tenant_number(tx, tenant, &only.sid, &only.phone, now).await?;
            let detail = json!({"tenant": tenant, "phone": only.phone});
            app.audit(tx, "adopt-number", &format!("number:{}", only.sid), detail).await?;
            numbers::tenant_number(tx, tenant).await
        };
        match app.db().await?.write(adopt).await? {
            Some(known) => Ok(known.into()),
            None => failed(format!("{} is not the tenant's any more; ask again", only.phone)),
        }
    }
}

/// The number of a tenant, as long as it is there.
async fn known_number(tx: &mut Tx, tenant: &str) -> crate::store::Result<Option<TenantNumber>> {
    let Some(known) = numbers::tenant_number(tx, tenant).await? else { return Ok(None) };
    let is_gone = numbers::lock(tx, &known.sid).await?.is_some_and(|stored| stored.status == NumberStatus::Gone);
    if is_gone {
        numbers::forget_tenant_number(tx, tenant, &known.sid).await?;
    }
    Ok((!is_gone).then_some(known))
}
