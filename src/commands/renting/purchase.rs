//! Getting a tenant its one number: at most one purchase, whoever asks for it, and however often.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::{RentingTenant, Setup, explain, unreadable};
use super::moment::{lease, may_send};
use crate::app::App;
use crate::commands::draining::longest_request;
use crate::domain::numbers::purchase::{Absence, SETTLE_SECONDS, absence};
use crate::domain::numbers::{Claim, IntentState, Number, purchase_name};
use crate::error::Failure;
use crate::fail_point;
use crate::providers::http::LastLook;
use crate::providers::twilio::{self, Bought, Twilio};
use crate::store::numbers::{self, Seen, StoredNumber};
use crate::store::purchases::{self, Purchase};
use crate::store::releases;

/// A new purchase of one tenant begins at most once in this time.
pub const SECONDS_BETWEEN_PURCHASES: i64 = 60;
/// How long whoever does not buy itself waits for the one who does.
pub const WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const POLL: Duration = Duration::from_millis(250);
/// How many numbers are asked for, should each be taken by somebody else a moment before.
const MOST_CANDIDATES: u32 = 5;

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
    Has(Provided),
    /// Numbers that are the tenant's already, though none is *the* one.
    Owns(Vec<StoredNumber>),
    /// Somebody else acts.
    Busy(Purchase),
    /// It is ours to act on.
    Ours(Purchase),
    Over(Provided),
}

impl Asking<'_> {
    /// Gets the tenant its number, or waits for whoever does, for [`WAIT`] at most.
    ///
    /// # Errors
    /// Exit 6 when the credentials are refused, 7 when Twilio or the database cannot be reached. The intent stays, and the
    /// next one to ask goes on.
    pub async fn run(&self, setup: &Setup) -> anyhow::Result<Provided> {
        let renter = setup.renter_of(self.app, self.tenant).await?;
        let owner = self.app.new_id();
        let give_up = self.app.clock.monotonic() + WAIT;
        loop {
            match self.stand(&renter.client, &owner).await? {
                Standing::Has(provided) | Standing::Over(provided) => return Ok(provided),
                Standing::Owns(held) => return self.adopt(&renter.client, held).await,
                Standing::Ours(purchase) => {
                    (self.on_intent)(&purchase.id);
                    let result = self.carry_out(&renter.client, &purchase, &owner).await;
                    // Whoever comes next need not wait for the lease: nothing of ours is under way.
                    let now = self.app.clock.now();
                    let let_go = async |tx: &mut _| purchases::let_go(tx, &purchase.id, &owner, now).await;
                    self.app.db().await?.write(let_go).await?;
                    return result;
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

    /// Looks at the tenant, and takes or makes an intent where that is called for, in one transaction.
    async fn stand(&self, client: &Twilio, owner: &str) -> anyhow::Result<Standing> {
        let (app, tenant) = (self.app, self.tenant.name.as_str());
        let standing = app.db().await?.write(async |tx| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            if let Some(known) = numbers::tenant_number(tx, tenant).await? {
                return Ok(Standing::Has(Provided::Number { sid: known.sid, phone: known.phone, had: true }));
            }
            let lease_until = now + lease(app);
            if let Some(mut open) = purchases::open_of(tx, tenant).await? {
                if purchases::take(tx, &open.id, owner, lease_until, now).await? {
                    open.lease_until = lease_until;
                    return Ok(Standing::Ours(open));
                }
                return Ok(Standing::Busy(open));
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
            purchases::open(tx, &purchase).await?;
            let detail =
                json!({"purchase": purchase.id, "wanted": self.wanted, "friendly_name": purchase.friendly_name});
            app.audit(tx, "intend-purchase", &format!("tenant:{tenant}"), detail).await?;
            Ok(Standing::Ours(purchase))
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
    async fn adopt(&self, client: &Twilio, held: Vec<StoredNumber>) -> anyhow::Result<Provided> {
        let (app, tenant) = (self.app, self.tenant.name.as_str());
        let [only] = &held[..] else {
            return Ok(Provided::Failed { purchase_id: None, reason: too_many(tenant, held.len()) });
        };
        if only.owner() != Some(tenant) {
            let reason = format!("{} is claimed by two tenants: mend their numbers first", only.phone);
            return Ok(Provided::Failed { purchase_id: None, reason });
        }
        let found = client.number(&only.account_sid, &only.sid).await;
        let Some(number) = found.map_err(|error| explain(&only.account, &error))? else {
            app.db()
                .await?
                .write(async |tx| numbers::mark_gone(tx, &only.sid, &only.account_sid, app.clock.now()).await)
                .await?;
            let reason = format!("{} was the tenant's, and Twilio has it no more; ask again", only.phone);
            return Ok(Provided::Failed { purchase_id: None, reason });
        };
        let (sid, phone) = (number.sid, number.phone);
        let adopt = async |tx: &mut _| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            numbers::adopt(tx, &sid, tenant, now).await?;
            if numbers::set_tenant_number(tx, tenant, &sid, &phone, now).await? {
                let detail = json!({"tenant": tenant, "phone": phone});
                app.audit(tx, "adopt-number", &format!("number:{sid}"), detail).await?;
            }
            Ok(())
        };
        app.db().await?.write(adopt).await?;
        Ok(Provided::Number { sid, phone, had: true })
    }

    /// Looks for the number of an intent, and buys one only if none can have been bought.
    async fn carry_out(&self, client: &Twilio, purchase: &Purchase, owner: &str) -> anyhow::Result<Provided> {
        let app = self.app;
        if let Some(number) = find(client, purchase).await? {
            return self.record(purchase, &number, "found").await;
        }
        let held = self.held(client).await?;
        match &held[..] {
            [] => {}
            [only] => return self.record(purchase, only, "adopted").await,
            several if purchase.asked_at.is_none() => {
                let reason = too_many(&purchase.tenant, several.len());
                return self.give_up(purchase, owner, reason).await;
            }
            // What was asked for may be among them; somebody has to choose, and not this command.
            _ => return Ok(in_progress(purchase, TimeDelta::seconds(SECONDS_BETWEEN_PURCHASES))),
        }
        let mut first = None;
        if let (Some(asked_at), Some(phone)) = (purchase.asked_at, &purchase.asked_phone) {
            let now = app.clock.now();
            let ended_at = purchase.request_ended_at.unwrap_or(asked_at + longest_request(app));
            let absences = purchase.absences;
            match absence(ended_at, purchase.absence_seen_at.filter(|_| absences > 0), now) {
                Absence::Proven => {
                    let forget = async |tx: &mut _| purchases::not_bought(tx, &purchase.id, now).await;
                    app.db().await?.write(forget).await?;
                    first = Some(phone.clone());
                }
                Absence::TooEarly(again_at) => return Ok(in_progress(purchase, again_at - now)),
                Absence::Counts(again_at) => {
                    let count = async |tx: &mut _| purchases::absent(tx, &purchase.id, absences + 1, now).await;
                    app.db().await?.write(count).await?;
                    return Ok(in_progress(purchase, again_at - now));
                }
            }
        }
        let wanted: WantedNumber = serde_json::from_str(&purchase.wanted)
            .map_err(|error| unreadable("wanted", format!("purchase {}", purchase.id), &error))?;
        let wanted =
            twilio::Wanted { country: wanted.country, area_code: wanted.area_code, sms: wanted.sms, mms: wanted.mms };
        let found = client.available(&purchase.account_sid, &wanted, MOST_CANDIDATES).await;
        let found = found.map_err(|error| explain(&purchase.account, &error))?;
        // What was asked for before comes first, for then nothing can be bought twice.
        let candidates: Vec<String> =
            first.iter().cloned().chain(found.into_iter().filter(|phone| Some(phone) != first.as_ref())).collect();
        let mut last = match &wanted.area_code {
            Some(code) => format!("Twilio has no number for {} with the area code {code}", wanted.country),
            None => format!("Twilio has no number of this kind for {}", wanted.country),
        };
        for phone in candidates.iter().take(MOST_CANDIDATES as usize) {
            match self.buy(client, purchase, owner, phone).await? {
                Bought::Yes(number) => return self.record(purchase, &number, "bought").await,
                Bought::Taken { reason } => {
                    self.not_bought(purchase).await?;
                    last = format!("{phone}: {reason}");
                }
                Bought::Refused { reason, is_key } => {
                    self.not_bought(purchase).await?;
                    if is_key {
                        let failure = Failure::configuration(format!("account {}: {reason}", purchase.account));
                        return Err(failure.hint("compare account_sid and api_key with Twilio's console").into());
                    }
                    last = reason;
                    break;
                }
                Bought::NotSent { reason } => {
                    self.not_bought(purchase).await?;
                    let failure = Failure::unreachable(format!("{phone} was not bought: {reason}"));
                    return Err(failure.hint("ask again: the intent stays, and nothing is bought twice").into());
                }
                Bought::Unknown { reason } => return self.settle(client, purchase, &reason).await,
            }
        }
        self.give_up(purchase, owner, last).await
    }

    /// The numbers at Twilio that only this tenant can have, whether or not they were ever seen before.
    async fn held(&self, client: &Twilio) -> anyhow::Result<Vec<Number>> {
        let settings = &self.tenant.numbers;
        let (sid, exact) = (settings.subaccount.as_deref(), |name: &&str| !name.contains('*'));
        let found = match (sid, settings.friendly_name.as_deref().filter(exact)) {
            (Some(sid), _) => client.numbers_page(sid, None).await.map(|page| page.numbers),
            (None, Some(name)) => client.numbers_named(client.account_sid(), name).await,
            (None, None) => Ok(Vec::new()),
        };
        Ok(found.map_err(|error| explain(&settings.account, &error))?)
    }

    async fn give_up(&self, purchase: &Purchase, owner: &str, reason: String) -> anyhow::Result<Provided> {
        let app = self.app;
        let write = async |tx: &mut _| {
            purchases::failed(tx, &purchase.id, owner, &reason, app.clock.now()).await?;
            let detail = json!({"purchase": purchase.id, "reason": reason});
            app.audit(tx, "purchase-failed", &format!("tenant:{}", purchase.tenant), detail).await
        };
        app.db().await?.write(write).await?;
        Ok(Provided::Failed { purchase_id: Some(purchase.id.clone()), reason })
    }

    /// Commits to buy one number, and asks for it once.
    async fn buy(&self, client: &Twilio, purchase: &Purchase, owner: &str, phone: &str) -> anyhow::Result<Bought> {
        let app = self.app;
        let commit = async |tx: &mut _| {
            let now = app.clock.now();
            let is_ours = purchases::take(tx, &purchase.id, owner, now + lease(app), now).await?;
            if is_ours {
                purchases::ask(tx, &purchase.id, owner, phone, now).await?;
            }
            Ok(is_ours)
        };
        if !app.db().await?.write(commit).await? {
            return Ok(Bought::NotSent { reason: "another one took the purchase over".to_owned() });
        }
        fail_point::hit("purchase.committed");
        let look = LastLook::new(may_send(app));
        let settings = &self.tenant.numbers;
        let request = twilio::Purchase {
            phone,
            friendly_name: &purchase.friendly_name,
            voice_url: settings.voice_url.as_deref(),
            sms_url: settings.sms_url.as_deref(),
            status_callback: settings.status_callback.as_deref(),
        };
        let bought = client.buy(&purchase.account_sid, &request, &look).await;
        fail_point::hit("purchase.answered");
        Ok(bought)
    }

    /// What to do when nobody knows whether it was bought: look, at once, and leave the rest to later looks.
    async fn settle(&self, client: &Twilio, purchase: &Purchase, reason: &str) -> anyhow::Result<Provided> {
        let app = self.app;
        let ended = async |tx: &mut _| purchases::request_ended(tx, &purchase.id, app.clock.now()).await;
        app.db().await?.write(ended).await?;
        let asked = app.db().await?.read().await;
        let purchase = match purchases::purchase(&mut asked?, &purchase.id).await? {
            Some(purchase) => purchase,
            None => purchase.clone(),
        };
        if let Ok(Some(number)) = find(client, &purchase).await {
            return self.record(&purchase, &number, "found").await;
        }
        tracing::warn!(purchase = %purchase.id, reason, "it is not known whether a number was bought");
        Ok(in_progress(&purchase, TimeDelta::seconds(SETTLE_SECONDS)))
    }

    async fn not_bought(&self, purchase: &Purchase) -> anyhow::Result<()> {
        let now = self.app.clock.now();
        self.app.db().await?.write(async |tx| purchases::not_bought(tx, &purchase.id, now).await).await?;
        Ok(())
    }

    /// Records the number of an intent: whoever brings it may, and the first to do so is believed.
    async fn record(&self, purchase: &Purchase, number: &Number, how: &str) -> anyhow::Result<Provided> {
        let (app, tenant) = (self.app, purchase.tenant.as_str());
        let write = async |tx: &mut _| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            let seen = Seen { number, claim: Some((tenant, Claim::Purchase)) };
            numbers::see(tx, &purchase.account, &[seen], now).await?;
            numbers::adopt(tx, &number.sid, tenant, now).await?;
            let is_news = purchases::done(tx, &purchase.id, (&number.sid, &number.phone), now).await?;
            if is_news {
                numbers::set_tenant_number(tx, tenant, &number.sid, &number.phone, now).await?;
                let detail = json!({"purchase": purchase.id, "sid": number.sid, "phone": number.phone, "how": how});
                app.audit(tx, "provision-number", &format!("tenant:{tenant}"), detail).await?;
            }
            Ok((is_news, numbers::tenant_number(tx, tenant).await?))
        };
        let (is_news, known) = app.db().await?.write(write).await?;
        let (sid, phone) = match known {
            Some(known) => (known.sid, known.phone),
            None => (number.sid.clone(), number.phone.clone()),
        };
        Ok(Provided::Number { sid, phone, had: !is_news })
    }
}

fn too_many(tenant: &str, count: usize) -> String {
    format!("{tenant} has {count} numbers already; `callops release-duplicate-numbers --tenant {tenant}` leaves one")
}

fn in_progress(purchase: &Purchase, wait: TimeDelta) -> Provided {
    Provided::InProgress { purchase_id: purchase.id.clone(), retry_after_seconds: wait.num_seconds().max(1) }
}

/// The number that an intent brought, by the name that only its number has.
async fn find(client: &Twilio, purchase: &Purchase) -> anyhow::Result<Option<Number>> {
    let found = client.numbers_named(&purchase.account_sid, &purchase.friendly_name).await;
    let found = found.map_err(|error| explain(&purchase.account, &error))?;
    Ok(found.into_iter().min_by(|one, other| (one.bought_at, &one.sid).cmp(&(other.bought_at, &other.sid))))
}
