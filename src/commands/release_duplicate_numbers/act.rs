//! Releasing, one number at a time: looked at once more, committed to, sent, and believed only when it is gone.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::plan::{Plan, TenantPlan, ToRelease};
use crate::app::App;
use crate::commands::renting::accounts::{Renter, Setup, explain};
use crate::commands::renting::evidence::Users;
use crate::commands::renting::moment::{lease, may_send};
use crate::domain::numbers::evidence::Evidence;
use crate::domain::numbers::{IntentState, Number};
use crate::error::Exit;
use crate::fail_point;
use crate::providers::twilio::{Released, Twilio};
use crate::store::releases::{self, Release};
use crate::store::{Tx, numbers, runs};

/// How often Twilio is asked whether a number is gone that it says it released, and the pause between.
const LOOKS: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// What became of one number that was to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) tenant: String,
    pub(super) sid: String,
    pub(super) phone: String,
    pub(super) what: What,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Released,
    /// Somebody else had released it.
    Gone,
    /// It is kept after all, and why.
    Kept(String),
    /// It was not released, and why.
    Failed(String),
    /// Nobody knows yet; the next run looks.
    Unclear(String),
    /// Another run acts on the business.
    Busy(String),
}

impl Outcome {
    /// A stable word.
    pub(super) const fn word(&self) -> &'static str {
        match self.what {
            What::Released => "released",
            What::Gone => "already_gone",
            What::Kept(_) => "kept",
            What::Failed(_) => "failed",
            What::Unclear(_) => "unclear",
            What::Busy(_) => "busy",
        }
    }

    /// Why it was not released.
    pub(super) fn reason(&self) -> Option<&str> {
        match &self.what {
            What::Released | What::Gone => None,
            What::Kept(why) | What::Failed(why) | What::Unclear(why) | What::Busy(why) => Some(why),
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.what, What::Released | What::Gone)
    }

    pub(super) const fn exit(&self) -> Exit {
        match self.what {
            What::Released | What::Gone => Exit::Success,
            What::Kept(_) | What::Failed(_) | What::Unclear(_) => Exit::Partial,
            What::Busy(_) => Exit::Unreachable,
        }
    }
}

/// Settles what former runs left open: by looking whether the number is gone. Yields exit 7 where another run is acting.
///
/// # Errors
/// When the database or Twilio cannot be asked.
pub(super) async fn settle_open(app: &App, setup: &Setup, tenant: Option<&str>) -> Result<Exit> {
    let db = app.db().await?;
    let mut exit = Exit::Success;
    let open = releases::open_of(&mut db.read().await?, tenant).await?;
    let owner = app.new_id();
    for release in open {
        let renter = setup.renter(app, &release.account).await?;
        let now = app.clock.now();
        let take = async |tx: &mut Tx| releases::take(tx, &release.id, &owner, now + lease(app), now).await;
        if !db.write(take).await? {
            app.printer.warn(format!(
                "another run is releasing {} of {}, or was until {}: what it began is settled after that",
                release.phone,
                release.tenant,
                release.lease_until.format("%H:%M:%S UTC")
            ));
            exit = exit.or(Exit::Unreachable);
            continue;
        }
        let found = renter.client.number(&release.account_sid, &release.sid).await;
        let found = found.map_err(|error| explain(&renter.name, &error))?;
        fail_point::hit("release.settling");
        if found.is_none() {
            record_gone(app, &release, "found gone").await?;
            app.printer.say(format!("{} of {} was released by a former run", release.phone, release.tenant));
        } else {
            let reason = "a former run ended before it was released, and it is still there";
            end(app, &release, reason).await?;
        }
    }
    Ok(exit)
}

/// Releases what the plan says, and adds what came of each to `outcomes`, whatever ends it.
///
/// # Errors
/// When the database cannot be written, or Twilio not be asked about a number before anything is sent.
pub(super) async fn release(
    app: &App,
    renters: &[Renter],
    plan: &Plan,
    run_id: &str,
    outcomes: &mut Vec<Outcome>,
) -> Result<()> {
    for tenant in &plan.tenants {
        let Some(renter) = renters.iter().find(|renter| renter.name == tenant.account) else { continue };
        let is_free = settle_record(app, tenant, run_id).await?;
        for release in plan.releases().filter(|release| release.of.tenant == tenant.tenant) {
            let what = match &is_free {
                Ok(()) => release_one(app, renter, release, run_id).await?,
                Err(reason) => What::Busy(reason.clone()),
            };
            let Number { sid, phone, .. } = release.number;
            let outcome = Outcome { tenant: tenant.tenant.clone(), sid: sid.clone(), phone: phone.clone(), what };
            app.printer.say(match outcome.reason() {
                None => format!("{phone} of {}: {}", tenant.tenant, outcome.word()),
                Some(reason) => format!("{phone} of {}: {}: {reason}", tenant.tenant, outcome.word()),
            });
            outcomes.push(outcome);
        }
        if outcomes.iter().any(|outcome| outcome.tenant == tenant.tenant && outcome.is_done()) {
            end_finding(app, &tenant.tenant).await?;
        }
    }
    Ok(())
}

/// Ends the finding that a business has too many numbers, where it has not any more.
async fn end_finding(app: &App, tenant: &str) -> Result<()> {
    let write = async |tx: &mut Tx| {
        if numbers::of_tenant(tx, tenant).await?.len() <= 1 {
            let subject = format!("tenant:{tenant}");
            runs::resolve_finding(tx, runs::DUPLICATE_NUMBERS, &subject, app.clock.now()).await?;
        }
        Ok(())
    };
    Ok(app.db().await?.write(write).await?)
}

/// Makes the number that is kept the one of its business, before any other goes. Says why it cannot be, if somebody else
/// is acting.
async fn settle_record(app: &App, plan: &TenantPlan, run_id: &str) -> Result<Result<(), String>> {
    let tenant = plan.tenant.as_str();
    let Some(keeper) = plan.keeper() else { return Ok(Err("the plan keeps no number".to_owned())) };
    let write = async |tx: &mut Tx| {
        let now = app.clock.now();
        releases::lock_tenant(tx, tenant).await?;
        if let Some(busy) = busy(tx, tenant, run_id).await? {
            return Ok(Err(busy));
        }
        let stored = numbers::lock(tx, &keeper.sid).await?;
        if !stored.is_some_and(|stored| stored.is_of(tenant)) {
            return Ok(Err(format!("{} is not its number any more", keeper.phone)));
        }
        numbers::adopt(tx, &keeper.sid, tenant, now).await?;
        if numbers::set_tenant_number(tx, tenant, &keeper.sid, &keeper.phone, now).await? {
            let detail = json!({"tenant": tenant, "phone": keeper.phone});
            app.audit(tx, "keep-number", &format!("number:{}", keeper.sid), detail).await?;
        }
        Ok(Ok(()))
    };
    Ok(app.db().await?.write_unless(write).await?)
}

/// Who else is acting on a business, if anybody is.
async fn busy(tx: &mut Tx, tenant: &str, run_id: &str) -> crate::store::Result<Option<String>> {
    let open = releases::open_of(tx, Some(tenant)).await?;
    let other = open.into_iter().find(|release| release.owner != run_id);
    Ok(other.map(|release| format!("another run is releasing {}", release.phone)))
}

async fn release_one(app: &App, renter: &Renter, release: ToRelease<'_>, run_id: &str) -> Result<What> {
    let (client, ToRelease { of: plan, number }) = (&renter.client, release);
    let Some(keeper) = plan.keeper() else { return Ok(What::Kept("the plan keeps no number".to_owned())) };
    // What was true of the plan may have changed while somebody thought about it.
    let Some(found) = look(client, number).await.map_err(|error| explain(&plan.account, &error))? else {
        gone_before(app, plan, number).await?;
        return Ok(What::Gone);
    };
    let Some(kept) = look(client, keeper).await.map_err(|error| explain(&plan.account, &error))? else {
        return Ok(What::Kept(format!("{}, which was to be kept, is gone", keeper.phone)));
    };
    let setup = Setup::read(&mut app.db().await?.read().await?).await?;
    let claims = setup.claims_of(&renter.name);
    for number in [&found, &kept] {
        if !claims.of(number).leaves_it_to(&plan.tenant) {
            return Ok(What::Kept(format!("{} is claimed by others meanwhile", number.phone)));
        }
    }
    let evidence = evidence_now(app, client, plan, &found).await?;
    if let Some(reason) = evidence.uses().into_iter().chain(evidence.doubts()).next() {
        return Ok(What::Kept(format!("it came into use meanwhile: {reason}")));
    }
    let intent = match commit(app, plan, keeper, &found, &evidence, run_id).await? {
        Ok(intent) => intent,
        Err(reason) => return Ok(What::Busy(reason)),
    };
    let may_send = may_send(app);
    fail_point::hit("release.committed");
    let released = client.release(&found.account_sid, &found.sid, may_send).await;
    fail_point::hit("release.answered");
    match released {
        Released::Refused { reason } | Released::NotSent { reason } => {
            end(app, &intent, &reason).await?;
            Ok(What::Failed(reason))
        }
        Released::Yes | Released::Gone | Released::Unknown { .. } => {
            let said = match released {
                Released::Unknown { reason } => format!("{reason}, and it is still there"),
                _ => "Twilio says that it released it, and it is still there".to_owned(),
            };
            match is_gone(client, &found).await {
                Ok(true) => {
                    record_gone(app, &intent, "confirmed").await?;
                    Ok(What::Released)
                }
                // The intent stays open: the next run looks again when the lease is over.
                Ok(false) => Ok(What::Unclear(said)),
                Err(error) => Ok(What::Unclear(format!("whether it is gone cannot be learned: {error}"))),
            }
        }
    }
}

async fn look(client: &Twilio, number: &Number) -> Result<Option<Number>, crate::providers::ReadError> {
    client.number(&number.account_sid, &number.sid).await
}

async fn is_gone(client: &Twilio, number: &Number) -> Result<bool, crate::providers::ReadError> {
    for _ in 1..LOOKS {
        if look(client, number).await?.is_none() {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Ok(look(client, number).await?.is_none())
}

/// The use of a number, asked anew of everybody.
async fn evidence_now(app: &App, client: &Twilio, plan: &TenantPlan, number: &Number) -> Result<Evidence> {
    let mut tx = app.db().await?.read().await?;
    let users = Users::read(&mut tx).await?;
    drop(tx);
    let sources = users.ask(app).await;
    Ok(sources.of(client, number, &plan.settings, false, app.clock.now().date_naive()).await)
}

/// Commits to release a number: from here on it may be gone. Says why not, if the business is not as it was planned.
async fn commit(
    app: &App,
    plan: &TenantPlan,
    keeper: &Number,
    number: &Number,
    evidence: &Evidence,
    run_id: &str,
) -> Result<Result<Release, String>> {
    let intent_at = |now| Release {
        id: app.new_id(),
        sid: number.sid.clone(),
        tenant: plan.tenant.clone(),
        account: plan.account.clone(),
        account_sid: number.account_sid.clone(),
        phone: number.phone.clone(),
        keeper_sid: keeper.sid.clone(),
        evidence: shown(evidence, number).to_string(),
        state: IntentState::Open,
        owner: run_id.to_owned(),
        lease_until: now + lease(app),
        reason: None,
        created_at: now,
        ended_at: None,
    };
    let write = async |tx: &mut Tx| {
        let tenant = plan.tenant.as_str();
        releases::lock_tenant(tx, tenant).await?;
        if let Some(busy) = busy(tx, tenant, run_id).await? {
            return Ok(Err(busy));
        }
        // Another run may have chosen another number to keep, and this one at that.
        let record = numbers::tenant_number(tx, tenant).await?;
        if record.is_none_or(|record| record.sid != keeper.sid) {
            return Ok(Err(format!("{} is not the number of {tenant} any more", keeper.phone)));
        }
        let stored = numbers::lock(tx, &number.sid).await?;
        if !stored.is_some_and(|stored| stored.is_of(tenant)) {
            return Ok(Err(format!("it is not a number of {tenant} any more")));
        }
        // Now, and not before whoever held the database was done with it.
        let intent = intent_at(app.clock.now());
        if !releases::open(tx, &intent).await? {
            return Ok(Err("another run is releasing it".to_owned()));
        }
        let detail = json!({"release": intent.id, "phone": number.phone, "tenant": tenant, "keeper": keeper.sid});
        app.audit(tx, "intend-release", &format!("number:{}", number.sid), detail).await?;
        Ok(Ok(intent))
    };
    Ok(app.db().await?.write_unless(write).await?)
}

fn shown(evidence: &Evidence, number: &Number) -> serde_json::Value {
    json!({
        "recent_calls": evidence.recent_calls.as_ref().ok(),
        "voice_accounts": evidence.voice_accounts.as_ref().ok(),
        "campaigns": evidence.campaigns.as_ref().ok(),
        "voice_url": number.voice_url, "sms_url": number.sms_url, "friendly_name": number.friendly_name,
        "bought_at": number.bought_at,
    })
}

/// Records that a number is gone. Whoever else ended the intent meanwhile: what was seen is true.
async fn record_gone(app: &App, release: &Release, how: &str) -> Result<()> {
    let write = async |tx: &mut Tx| {
        let now = app.clock.now();
        let is_ended = releases::end(tx, &release.id, IntentState::Done, None, now).await?;
        if numbers::mark_gone(tx, &release.sid, &release.account_sid, now).await? || is_ended {
            let detail = json!({"release": release.id, "phone": release.phone, "tenant": release.tenant, "how": how});
            app.audit(tx, "release-number", &format!("number:{}", release.sid), detail).await?;
        }
        Ok(())
    };
    Ok(app.db().await?.write(write).await?)
}

async fn end(app: &App, release: &Release, reason: &str) -> Result<()> {
    let write = async |tx: &mut Tx| {
        if releases::end(tx, &release.id, IntentState::Failed, Some(reason), app.clock.now()).await? {
            let detail = json!({"release": release.id, "phone": release.phone, "reason": reason});
            app.audit(tx, "release-failed", &format!("number:{}", release.sid), detail).await?;
        }
        Ok(())
    };
    Ok(app.db().await?.write(write).await?)
}

/// Takes note of a number that somebody else released meanwhile.
async fn gone_before(app: &App, plan: &TenantPlan, number: &Number) -> Result<()> {
    let write = async |tx: &mut Tx| {
        if numbers::mark_gone(tx, &number.sid, &number.account_sid, app.clock.now()).await? {
            let detail = json!({"phone": number.phone, "tenant": plan.tenant, "how": "found gone"});
            app.audit(tx, "release-number", &format!("number:{}", number.sid), detail).await?;
        }
        Ok(())
    };
    Ok(app.db().await?.write(write).await?)
}
