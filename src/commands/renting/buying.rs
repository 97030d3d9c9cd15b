//! Carrying an intent out: the number is looked for, and bought only if none can have been.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::accounts::{Renter, explain};
use super::moment::{lease, may_send};
use super::purchase::{Provided, SECONDS_BETWEEN_PURCHASES, WantedNumber};
use crate::app::App;
use crate::commands::draining::longest_request;
use crate::domain::numbers::claims::Claimed;
use crate::domain::numbers::purchase::{Absence, SETTLE_SECONDS, absence};
use crate::domain::numbers::{Claim, Number, NumberSettings};
use crate::error::Failure;
use crate::fail_point;
use crate::providers::http::LastLook;
use crate::providers::twilio::{self, Bought};
use crate::store::numbers::{self, Seen, TenantNumber};
use crate::store::purchases::{self, Purchase};
use crate::store::{StoreError, Tx, releases};

/// How many numbers are asked for, should each be taken by somebody else a moment before.
const MOST_CANDIDATES: u32 = 5;

/// An intent, and who acts on it.
#[derive(Debug)]
pub(super) struct Buying<'b> {
    pub(super) app: &'b App,
    pub(super) renter: &'b Renter,
    pub(super) settings: &'b NumberSettings,
    pub(super) purchase: &'b Purchase,
    pub(super) owner: &'b str,
}

/// What was asked for before, and is proven not to have been bought by then.
#[derive(Clone, Debug)]
struct Settled {
    phone: String,
    asked_at: DateTime<Utc>,
}

/// What is known of the request that was made last.
enum Before {
    /// There was none.
    Nothing,
    /// It brought nothing.
    Settled(Settled),
    /// Nothing yet; look again after this long.
    Open(TimeDelta),
}

impl Buying<'_> {
    /// Looks for the number of the intent, and buys one only if none can have been bought. `known` is the number that the
    /// tenant has meanwhile.
    ///
    /// # Errors
    /// As [`super::purchase::Asking::run`].
    pub(super) async fn carry_out(&self, known: Option<TenantNumber>) -> anyhow::Result<Provided> {
        if let Some(number) = self.find().await? {
            return self.record(&number, "found").await;
        }
        let before = self.before().await?;
        if let Some(known) = known {
            // Something else came first. What may have been bought all the same is looked for by whoever asks next.
            let settled = match before {
                Before::Nothing => None,
                Before::Settled(settled) => Some(settled),
                Before::Open(_) => return Ok(known.into()),
            };
            self.give_up("the tenant has another number by now".to_owned(), settled.as_ref()).await?;
            return Ok(known.into());
        }
        let settled = match before {
            Before::Nothing => None,
            Before::Settled(settled) => Some(settled),
            Before::Open(wait) => return Ok(self.in_progress(wait)),
        };
        match &self.held().await?[..] {
            [] => {}
            [only] => return self.take(only, settled.as_ref()).await,
            several => {
                return self.give_up(too_many(&self.purchase.tenant, several.len()), settled.as_ref()).await;
            }
        }
        self.buy_one(settled).await
    }

    /// The number of the intent, by the name that only it has.
    async fn find(&self) -> anyhow::Result<Option<Number>> {
        let Purchase { account, account_sid, friendly_name, .. } = self.purchase;
        let found = self.renter.client.numbers_named(account_sid, friendly_name).await;
        let found = found.map_err(|error| explain(account, &error))?;
        Ok(found.into_iter().min_by(|one, other| (one.bought_at, &one.sid).cmp(&(other.bought_at, &other.sid))))
    }

    /// What is known of the last request, now that its number was not found.
    async fn before(&self) -> anyhow::Result<Before> {
        let (app, purchase) = (self.app, self.purchase);
        let (Some(asked_at), Some(phone)) = (purchase.asked_at, &purchase.asked_phone) else {
            return Ok(Before::Nothing);
        };
        let (now, absences) = (app.clock.now(), purchase.absences);
        let ended_at = purchase.request_ended_at.unwrap_or(asked_at + longest_request(app));
        match absence(ended_at, purchase.absence_seen_at.filter(|_| absences > 0), now) {
            Absence::Proven => Ok(Before::Settled(Settled { phone: phone.clone(), asked_at })),
            Absence::TooEarly(again_at) => Ok(Before::Open(again_at - now)),
            Absence::Counts(again_at) => {
                let count = async |tx: &mut Tx| {
                    purchases::absent(tx, &purchase.id, self.owner, asked_at, absences + 1, now).await
                };
                app.db().await?.write(count).await?;
                Ok(Before::Open(again_at - now))
            }
        }
    }

    /// The numbers at Twilio that only this tenant can have, whether or not they were ever seen before.
    async fn held(&self) -> anyhow::Result<Vec<Number>> {
        let (settings, client) = (self.settings, &self.renter.client);
        // Under another account the tenant's words mean other numbers.
        if settings.account != self.purchase.account {
            return Ok(Vec::new());
        }
        let (sid, exact) = (settings.subaccount.as_deref(), |name: &&str| !name.contains('*'));
        let found = match (sid, settings.friendly_name.as_deref().filter(exact)) {
            (Some(sid), _) => client.numbers_page(sid, None).await.map(|page| page.numbers),
            (None, Some(name)) => client.numbers_named(client.account_sid(), name).await,
            (None, None) => Ok(Vec::new()),
        };
        Ok(found.map_err(|error| explain(&settings.account, &error))?)
    }

    /// Takes the one number that the tenant says is its own, if nobody else says so.
    async fn take(&self, number: &Number, settled: Option<&Settled>) -> anyhow::Result<Provided> {
        let (app, tenant) = (self.app, self.purchase.tenant.as_str());
        let claimed = self.renter.claims.of(number);
        let take = async |tx: &mut Tx| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            let seen = Seen { number, claimed_by: claimed.tenant(), claim: claimed.claim() };
            numbers::see(tx, &self.renter.name, &[seen], now).await?;
            let is_its = numbers::lock(tx, &number.sid).await?.is_some_and(|stored| stored.is_of(tenant));
            if !is_its || !purchases::done(tx, &self.purchase.id, (&number.sid, &number.phone), now).await? {
                return Ok(None);
            }
            self.make_it_the_tenants(tx, number, "adopted").await?;
            numbers::tenant_number(tx, tenant).await
        };
        if let (Claimed::By(..), Some(known)) = (&claimed, app.db().await?.write(take).await?) {
            return Ok(known.into());
        }
        let reason = format!("{} is claimed by several tenants: mend their numbers first", number.phone);
        self.give_up(reason, settled).await
    }

    async fn buy_one(&self, mut settled: Option<Settled>) -> anyhow::Result<Provided> {
        let purchase = self.purchase;
        let wanted: WantedNumber = serde_json::from_str(&purchase.wanted).map_err(|error| StoreError::Unreadable {
            what: "wanted",
            subject: format!("purchase {}", purchase.id),
            problem: error.to_string(),
        })?;
        let wanted =
            twilio::Wanted { country: wanted.country, area_code: wanted.area_code, sms: wanted.sms, mms: wanted.mms };
        let found = self.renter.client.available(&purchase.account_sid, &wanted, MOST_CANDIDATES).await;
        let found = found.map_err(|error| explain(&purchase.account, &error))?;
        // What was asked for before comes first: one number can be had once, so that nothing is bought twice by it.
        let first = settled.as_ref().map(|settled| settled.phone.clone());
        let others = found.into_iter().filter(|phone| Some(phone) != first.as_ref());
        let candidates: Vec<String> = first.iter().cloned().chain(others).collect();
        let mut last = match &wanted.area_code {
            Some(code) => format!("Twilio has no number for {} with the area code {code}", wanted.country),
            None => format!("Twilio has no number of this kind for {}", wanted.country),
        };
        for phone in candidates.iter().take(MOST_CANDIDATES as usize) {
            let Some((bought, asked_at)) = self.buy(phone, settled.take().map(|settled| settled.asked_at)).await?
            else {
                return Ok(self.in_progress(TimeDelta::seconds(1)));
            };
            match bought {
                Bought::Yes(number) => return self.record(&number, "bought").await,
                Bought::Unknown { reason } => return self.settle(asked_at, &reason).await,
                // The first request for it may have been carried out after all: then it is we who took it.
                Bought::Taken { reason } | Bought::Refused { reason, .. } | Bought::NotSent { reason }
                    if first.as_ref() == Some(phone) =>
                {
                    return self.settle(asked_at, &reason).await;
                }
                Bought::Taken { reason } => {
                    self.not_bought(asked_at).await?;
                    last = format!("{phone}: {reason}");
                }
                Bought::Refused { reason, is_key } => {
                    self.not_bought(asked_at).await?;
                    if is_key {
                        let failure = Failure::configuration(format!("account {}: {reason}", purchase.account));
                        return Err(failure.hint("compare account_sid and api_key with Twilio's console").into());
                    }
                    last = reason;
                    break;
                }
                Bought::NotSent { reason } => {
                    self.not_bought(asked_at).await?;
                    let failure = Failure::unreachable(format!("{phone} was not bought: {reason}"));
                    return Err(failure.hint("ask again: the intent stays, and nothing is bought twice").into());
                }
            }
        }
        self.give_up(last, None).await
    }

    /// Commits to buy one number, and asks for it once. Yields what came of it, and when it was committed to; none where
    /// somebody else acts on the intent by now.
    async fn buy(
        &self,
        phone: &str,
        settled: Option<DateTime<Utc>>,
    ) -> anyhow::Result<Option<(Bought, DateTime<Utc>)>> {
        let (app, purchase) = (self.app, self.purchase);
        let commit = async |tx: &mut Tx| {
            let now = app.clock.now();
            if !purchases::take(tx, &purchase.id, self.owner, now + lease(app), now).await? {
                return Ok(None);
            }
            purchases::ask(tx, &purchase.id, self.owner, phone, settled, now).await?;
            Ok(Some(now))
        };
        let Some(asked_at) = app.db().await?.write(commit).await? else { return Ok(None) };
        let look = LastLook::new(may_send(app));
        fail_point::hit("purchase.committed");
        let request = twilio::Purchase {
            phone,
            friendly_name: &purchase.friendly_name,
            voice_url: self.settings.voice_url.as_deref(),
            sms_url: self.settings.sms_url.as_deref(),
            status_callback: self.settings.status_callback.as_deref(),
        };
        let bought = self.renter.client.buy(&purchase.account_sid, &request, &look).await;
        fail_point::hit("purchase.answered");
        Ok(Some((bought, asked_at)))
    }

    /// What to do when nobody knows whether it was bought: look, at once, and leave the rest to later looks.
    async fn settle(&self, asked_at: DateTime<Utc>, reason: &str) -> anyhow::Result<Provided> {
        let (app, purchase) = (self.app, self.purchase);
        let ended = async |tx: &mut Tx| purchases::request_ended(tx, &purchase.id, asked_at, app.clock.now()).await;
        app.db().await?.write(ended).await?;
        if let Ok(Some(number)) = self.find().await {
            return self.record(&number, "found").await;
        }
        tracing::warn!(purchase = %purchase.id, reason, "it is not known whether a number was bought");
        Ok(self.in_progress(TimeDelta::seconds(SETTLE_SECONDS)))
    }

    async fn not_bought(&self, asked_at: DateTime<Utc>) -> anyhow::Result<()> {
        let now = self.app.clock.now();
        let write = async |tx: &mut Tx| purchases::not_bought(tx, &self.purchase.id, asked_at, now).await;
        self.app.db().await?.write(write).await?;
        Ok(())
    }

    async fn give_up(&self, reason: String, settled: Option<&Settled>) -> anyhow::Result<Provided> {
        let (app, purchase) = (self.app, self.purchase);
        let settled = settled.map(|settled| settled.asked_at);
        let write = async |tx: &mut Tx| {
            purchases::failed(tx, &purchase.id, self.owner, &reason, settled, app.clock.now()).await?;
            let detail = json!({"purchase": purchase.id, "reason": reason});
            app.audit(tx, "purchase-failed", &format!("tenant:{}", purchase.tenant), detail).await
        };
        app.db().await?.write(write).await?;
        Ok(Provided::Failed { purchase_id: Some(purchase.id.clone()), reason })
    }

    /// Records the number of the intent: whoever brings it may, and the first to do so is believed.
    async fn record(&self, number: &Number, how: &str) -> anyhow::Result<Provided> {
        let (app, purchase) = (self.app, self.purchase);
        let tenant = purchase.tenant.as_str();
        let write = async |tx: &mut Tx| {
            let now = app.clock.now();
            releases::lock_tenant(tx, tenant).await?;
            let is_news = purchases::done(tx, &purchase.id, (&number.sid, &number.phone), now).await?;
            if is_news {
                let seen = Seen { number, claimed_by: Some(tenant), claim: Some(Claim::Purchase) };
                numbers::see(tx, &self.renter.name, &[seen], now).await?;
                self.make_it_the_tenants(tx, number, how).await?;
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

    /// Makes a number the tenant's, and its only one if it has none.
    async fn make_it_the_tenants(&self, tx: &mut Tx, number: &Number, how: &str) -> crate::store::Result<()> {
        let (tenant, now) = (self.purchase.tenant.as_str(), self.app.clock.now());
        numbers::adopt(tx, &number.sid, tenant, now).await?;
        if numbers::tenant_number(tx, tenant).await?.is_none() {
            numbers::set_tenant_number(tx, tenant, &number.sid, &number.phone, now).await?;
        }
        let detail = json!({"purchase": self.purchase.id, "tenant": tenant, "phone": number.phone, "how": how});
        self.app.audit(tx, "provision-number", &format!("number:{}", number.sid), detail).await
    }

    fn in_progress(&self, wait: TimeDelta) -> Provided {
        let retry_after_seconds = wait.num_seconds().clamp(1, 3 * SECONDS_BETWEEN_PURCHASES);
        Provided::InProgress { purchase_id: self.purchase.id.clone(), retry_after_seconds }
    }
}

pub(super) fn too_many(tenant: &str, count: usize) -> String {
    format!("{tenant} has {count} numbers already; `callops release-duplicate-numbers --tenant {tenant}` leaves one")
}
