//! What becomes of a customer after an event: in the campaign, out of it, or listed.

mod place;

use anyhow::bail;
use chrono::{DateTime, Utc};
use thiserror::Error;

use super::{Setup, WelcomingTenant, explain, is_live};
use crate::app::App;
use crate::commands::calling::inbox::{DUPLICATE_OF, Verdict};
use crate::domain::campaign::Rules;
use crate::domain::event::EventState;
use crate::domain::phone::Phone;
use crate::domain::slot::Frequency;
use crate::domain::welcome::person::{self, Callee, Customer, Details, Reading};
use crate::domain::welcome::{Decision, PaymentEvent, WelcomeState};
use crate::domain::zone::Zone;
use crate::fail_point;
use crate::providers::http::ReadError;
use crate::providers::stripe;
use crate::store::contacts::{self, Contact};
use crate::store::events::{self, Event};
use crate::store::setup::Campaign;
use crate::store::welcomes::{self, Welcome};
use crate::store::{Result, StoreError, Tx, control, setup};

/// What an event came to for one tenant.
struct Told {
    /// Whether it changed what becomes of the customer.
    is_news: bool,
    /// In words.
    what: String,
}

/// What is wrong with one event or customer, and says nothing of the others of the account.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct AboutOne(String);

/// One event for one tenant, with what is needed to follow it.
struct Case<'a> {
    app: &'a App,
    tenant: &'a WelcomingTenant,
    event_id: &'a str,
    payment: &'a PaymentEvent,
    key: &'a str,
    /// The customer as the service shows it; none for a guest.
    customer: Option<&'a Customer>,
    now: DateTime<Utc>,
}

/// Applies a stored event: asks the service for its customer, with no transaction open, then writes what becomes of them in
/// one transaction with what becomes of the event. Nobody is called here.
///
/// # Errors
/// When the service or the database cannot be asked, or what a tenant says cannot be read. The event then waits.
pub async fn apply(app: &App, event: &Event) -> anyhow::Result<Verdict> {
    let ignored = |reason: &str| Verdict { state: EventState::Ignored, reason: Some(reason.to_owned()), about: None };
    if let Some(reason) = event.reason.as_deref().filter(|reason| reason.starts_with(DUPLICATE_OF)) {
        return Ok(ignored(reason));
    }
    let payment = read(event).map_err(|error| AboutOne(error.to_string()))?;
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let setup = Setup::read(&mut tx).await?;
    drop(tx);
    let Some(account) = setup.account(&event.scope) else {
        bail!("there is no account {} at stripe any more", event.scope);
    };
    let live = is_live(account)?;
    let decided: Vec<(&WelcomingTenant, Decision)> =
        setup.welcoming(&account.name).map(|tenant| (tenant, payment.decide(live, &tenant.welcome))).collect();
    let key = payment.customer_key();
    let customer = match &payment.customer {
        Some(id) if decided.iter().any(|(_, decision)| *decision == Decision::Enrol) => {
            let client = setup.client(app, account).await?;
            Some(match client.customer(id).await {
                Ok(Some(customer)) => customer,
                Ok(None) => bail!(AboutOne(format!(
                    "account {}: stripe knows no customer {id}: is api_key that of the same account?",
                    account.name
                ))),
                Err(ReadError::Broken { status, body }) => bail!(AboutOne(format!(
                    "account {}: customer {id} cannot be read (status {status}): {body}",
                    account.name
                ))),
                Err(error) => return Err(explain(&account.name, &error).into()),
            })
        }
        _ => None,
    };
    fail_point::hit("welcome.read");
    let now = app.clock.now();
    let verdict = db
        .write(async |tx| {
            let Some(event) = events::lock(tx, &event.id).await? else { return Ok(ignored("it is gone")) };
            // Before everybody who dials is kept waiting: a queue that is being taken over may take long, and has to see this,
            // or be seen.
            for (tenant, decision) in &decided {
                if !matches!(decision, Decision::Ignore(_)) {
                    contacts::lock_tenant(tx, &tenant.tenant.name).await?;
                }
            }
            // Whoever pays may be taken out as well, under another phone.
            if decided.iter().any(|(_, decision)| !matches!(decision, Decision::Ignore(_))) {
                control::lock_dialling(tx).await?;
            }
            let mut told: Vec<Told> = Vec::new();
            for (tenant, decision) in &decided {
                told.push(match (decision, &key) {
                    (Decision::Ignore(reason), _) => Told { is_news: false, what: reason.clone() },
                    (_, None) => Told { is_news: false, what: "it names no customer".to_owned() },
                    (_, Some(key)) => {
                        let customer = customer.as_ref();
                        let event_id = event.id.as_str();
                        let case = Case { app, tenant, event_id, payment: &payment, key, customer, now };
                        case.follow(tx, decision).await?
                    }
                });
            }
            let verdict = if told.iter().any(|told| told.is_news) {
                Verdict { state: EventState::Applied, reason: None, about: None }
            } else if told.is_empty() {
                ignored(&format!("no tenant welcomes the customers of account {}", event.scope))
            } else {
                ignored(&told.iter().map(|told| told.what.as_str()).collect::<Vec<_>>().join("; "))
            };
            let was_settled = matches!(event.state, EventState::Applied | EventState::Ignored);
            // What was applied before tells nothing new now, and stays applied.
            if !was_settled || verdict.state == EventState::Applied {
                let reason = verdict.reason.as_deref();
                events::settle(tx, &event, verdict.state, reason, None, event.tries, now).await?;
            }
            Ok(verdict)
        })
        .await?;
    Ok(verdict)
}

fn read(event: &Event) -> Result<PaymentEvent> {
    let unreadable = |problem: String| StoreError::Unreadable { what: "body", subject: event.id.clone(), problem };
    let body = serde_json::from_str(&event.payload).map_err(|error| unreadable(error.to_string()))?;
    stripe::read_event(&body).map_err(|(field, problem)| unreadable(format!("{field} {problem}")))
}

impl Case<'_> {
    /// Follows a payment, or one that was taken back. What was told before changes nothing.
    async fn follow(&self, tx: &mut Tx, decision: &Decision) -> Result<Told> {
        let (tenant, account) = (&self.tenant.tenant.name, &self.tenant.welcome.account);
        let stored = welcomes::lock(tx, tenant, self.key, account, self.now).await?;
        let was = self.as_enrolled(tx, &stored).await?;
        let mut standing = was.standing();
        let is_later = standing.learn(decision, self.payment.created);
        let mut is = Welcome { account: account.clone(), ..was.clone() }.standing_so(standing);
        if is_later && *decision == Decision::Enrol {
            is.event_id = Some(self.event_id.to_owned());
        }
        let at =
            |at: Option<DateTime<Utc>>| at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
        // Whom they are not any more.
        let mut left = Vec::new();
        if !standing.is_customer() {
            // Who was called already stays so, and so does who was there before.
            if !matches!(was.state, WelcomeState::AlreadyCalled | WelcomeState::CreatedBefore) {
                is.state = WelcomeState::Withdrawn;
            }
            if *decision == Decision::Withdraw && is_later {
                is.reason = Some(format!("{} at {} UTC", self.payment.kind, at(standing.withdrawn_at)));
            }
            self.take_out(tx, &was, None, &self.payment.kind, &mut left).await?;
        } else if *decision == Decision::Enrol {
            let is_told = stored.state == WelcomeState::Enrolled;
            self.welcome(tx, &was, is_told, &mut is, &mut left).await?;
        }
        if was.state == WelcomeState::Enrolled && is.state != WelcomeState::Enrolled {
            left.extend(was.contact_id.clone());
        }
        let moved =
            stored.state != is.state || stored.contact_id != is.contact_id || stored.enrollment_id != is.enrollment_id;
        let is_first = stored.paid_at.is_none() && stored.withdrawn_at.is_none();
        if is != stored {
            welcomes::save(tx, &stored, &is, self.now).await?;
        }
        while let Some(contact_id) = left.pop() {
            self.give_way(tx, &contact_id, &mut left).await?;
        }
        let what = match (*decision == Decision::Enrol, standing.is_customer()) {
            (true, false) => format!("the customer took it back at {} UTC", at(standing.withdrawn_at)),
            (false, true) => format!("the customer paid again at {} UTC", at(standing.paid_at)),
            _ => format!("the customer is {} already", is.state),
        };
        Ok(Told { is_news: moved || (is_first && is != stored), what })
    }

    fn unreadable(&self, problem: String) -> StoreError {
        StoreError::Unreadable { what: "welcome", subject: format!("tenant {}", self.tenant.tenant.name), problem }
    }

    /// The campaign that welcomes, with its rules.
    async fn campaign(&self, tx: &mut Tx) -> Result<(Campaign, Rules)> {
        let name = &self.tenant.welcome.campaign;
        let campaign = setup::campaign(tx, &self.tenant.tenant.name, name).await?;
        let campaign = campaign.ok_or_else(|| self.unreadable(format!("there is no campaign {name}")))?;
        let rules = campaign.rules()?;
        if rules.frequency != Frequency::Once {
            return Err(self.unreadable(format!("campaign {name} calls {}, and not once", rules.frequency)));
        }
        Ok((campaign, rules))
    }

    /// Puts who paid into the campaign, or says what stands in the way. `is_told`: that they are in it came of an event.
    async fn welcome(
        &self,
        tx: &mut Tx,
        was: &Welcome,
        is_told: bool,
        is: &mut Welcome,
        left: &mut Vec<String>,
    ) -> Result<()> {
        let settings = &self.tenant.welcome;
        let is_enrolled = was.state == WelcomeState::Enrolled;
        let created = match self.customer {
            Some(Customer { created: Some(created), .. }) => *created,
            Some(Customer { created: None, .. }) => {
                self.take_out(tx, was, None, "customer deleted", left).await?;
                is.state = WelcomeState::Withdrawn;
                is.reason = Some("the customer was deleted at stripe".to_owned());
                return Ok(());
            }
            // Of a guest nothing is known but this.
            None => self.payment.created,
        };
        let details = match self.customer {
            Some(customer) => customer.details.clone().or(&self.payment.details),
            None => self.payment.details.clone(),
        };
        is.customer_created_at = Some(created);
        is.name = details.name.clone().or_else(|| is.name.take());
        is.email = details.email.clone().or_else(|| is.email.take());
        if created < settings.welcome_since {
            // Whom somebody put in by hand or from a queue stays in.
            if is_told {
                self.take_out(tx, was, None, "created before welcome_since", left).await?;
            }
            is.state = WelcomeState::CreatedBefore;
            is.reason = Some(format!("made at {} UTC, before welcome_since", created.format("%Y-%m-%d %H:%M:%S")));
            return Ok(());
        }
        let (campaign, rules) = self.campaign(tx).await?;
        let tenant = &self.tenant.tenant;
        let region = tenant.region.as_deref().and_then(|code| code.parse().ok());
        let call_also = tenant.settings()?.call_also;
        let reading = Reading { settings, region, call_also, rules: &rules };
        let (known, callee) = match self.callee(tx, &details, reading, is).await? {
            Ok(found) => found,
            // Who is in already stays in, whatever they wrote since.
            Err(_) if is_enrolled => {
                is.phone.clone_from(&was.phone);
                return Ok(());
            }
            // An event without the phone that an earlier one had says less than that.
            Err((WelcomeState::NoPhone, _)) if WelcomeState::LISTED.contains(&was.state) && was.phone.is_some() => {
                is.event_id.clone_from(&was.event_id);
                return Ok(());
            }
            Err((state, reason)) => {
                is.state = state;
                is.reason = Some(reason);
                return Ok(());
            }
        };
        let spent = welcomes::spent_by(tx, &tenant.name, &campaign.purpose, callee.phone.as_str(), self.key).await?;
        if let Some(spent) = spent.first() {
            if is_enrolled {
                is.phone.clone_from(&was.phone);
            } else {
                Self::blocked(spent, known.map(|contact| contact.id), is);
            }
            return Ok(());
        }
        let contact = self.contact(tx, known, &callee, &details).await?;
        if is_enrolled && was.contact_id.as_ref() == Some(&contact.id) {
            self.take_out(tx, was, Some(&contact.id), "another phone", left).await?;
            return Ok(());
        }
        // Another phone than before, and nobody was called yet. Whom an operator took out stays out.
        if is_enrolled && !self.take_out(tx, was, None, "another phone", left).await? {
            is.phone.clone_from(&was.phone);
            return Ok(());
        }
        self.enrol(tx, &campaign, contact, is, left).await
    }

    /// Who can be called, beside the contact that has their phone already; or why nobody can.
    async fn callee(
        &self,
        tx: &mut Tx,
        details: &Details,
        reading: Reading<'_>,
        is: &mut Welcome,
    ) -> Result<std::result::Result<(Option<Contact>, Callee), (WelcomeState, String)>> {
        let parsed = match person::phone(details, reading) {
            Ok(parsed) => parsed,
            Err(problem) => return Ok(Err(problem)),
        };
        is.phone = Some(parsed.phone.as_str().to_owned());
        let known = self.known(tx, &parsed.phone).await?;
        let timezone = known.as_ref().and_then(|contact| contact.timezone.clone());
        let callee = person::callee(parsed, details, reading, timezone.as_deref(), self.now);
        Ok(callee.map(|callee| (known, callee)))
    }

    async fn known(&self, tx: &mut Tx, phone: &Phone) -> Result<Option<Contact>> {
        Ok(contacts::contacts_by_phones(tx, &self.tenant.tenant.name, &[phone.as_str()], true).await?.pop())
    }

    /// The contact with the callee's phone, made where there is none. What is not said never erases what is known.
    async fn contact(
        &self,
        tx: &mut Tx,
        known: Option<Contact>,
        callee: &Callee,
        details: &Details,
    ) -> Result<Contact> {
        let timezone = callee.timezone.map(|zone| Zone::name(zone).to_owned());
        let preferred_time = callee.preferred_time.map(|time| time.to_string());
        let known = if let Some(known) = known {
            known
        } else {
            let fresh = Contact {
                id: self.app.new_id(),
                tenant: self.tenant.tenant.name.clone(),
                phone: callee.phone.as_str().to_owned(),
                extension: callee.extension.clone(),
                name: details.name.clone(),
                email: details.email.clone(),
                external_id: self.payment.customer.clone(),
                timezone_source: timezone.as_ref().map(|_| GIVEN.to_owned()),
                timezone: timezone.clone(),
                preferred_time: preferred_time.clone(),
                attributes: "{}".to_owned(),
                version: 1,
                import_id: None,
                created_at: self.now,
                updated_at: self.now,
            };
            if !contacts::insert(tx, std::slice::from_ref(&fresh)).await?.is_empty() {
                return Ok(fresh);
            }
            let made = self.known(tx, &callee.phone).await?;
            made.ok_or_else(|| StoreError::Conflict(format!("contact {} is there and is not", fresh.phone)))?
        };
        let mut merged = known.clone();
        merged.name = merged.name.or_else(|| details.name.clone());
        merged.email = merged.email.or_else(|| details.email.clone());
        merged.extension = merged.extension.or_else(|| callee.extension.clone());
        if let Some(timezone) = timezone {
            merged.timezone = Some(timezone);
            merged.timezone_source = Some(GIVEN.to_owned());
        }
        merged.preferred_time = preferred_time.or(merged.preferred_time);
        if merged == known {
            return Ok(known);
        }
        let rings = |one: &Contact| (one.extension.clone(), one.timezone.clone(), one.preferred_time.clone());
        let concerns_calls = rings(&merged) != rings(&known);
        // A claim that was made before must not ring.
        merged.version += i64::from(concerns_calls);
        merged.updated_at = self.now;
        contacts::update(tx, std::slice::from_ref(&merged)).await?;
        if concerns_calls {
            contacts::recheck(tx, std::slice::from_ref(&merged.id), self.now).await?;
        }
        Ok(merged)
    }
}

/// Where a zone of a customer comes from.
const GIVEN: &str = "given";
