//! A customer's place in the campaign: taking it, leaving it, and who comes next.

use serde_json::json;

use super::Case;
use crate::domain::queue::CALLED_ELSEWHERE;
use crate::domain::welcome::WelcomeState;
use crate::store::contacts::{self, Contact};
use crate::store::enrollments::TAKEN_OUT;
use crate::store::setup::{self, Campaign};
use crate::store::welcomes::{self, Spent, Welcome};
use crate::store::{Result, Tx, calls, enrollments};

const ACTIVE: &str = "active";

impl Case<'_> {
    /// A customer as they stand: whom another system's queue put into the campaign is enrolled, whatever was told so far.
    pub(super) async fn as_enrolled(&self, tx: &mut Tx, stored: &Welcome) -> Result<Welcome> {
        use WelcomeState::{AlreadyCalled, CreatedBefore, Enrolled};
        let welcome = &self.tenant.welcome;
        let campaign = setup::campaign(tx, &stored.tenant, &welcome.campaign).await?;
        let Some(campaign) = campaign.filter(|_| !matches!(stored.state, Enrolled | AlreadyCalled | CreatedBefore))
        else {
            return Ok(stored.clone());
        };
        let places = enrollments::of_person(tx, &campaign.id, None, &stored.customer).await?;
        let Some(place) = places.into_iter().find(|place| place.status == ACTIVE) else { return Ok(stored.clone()) };
        let contact = contacts::contact(tx, &place.contact_id).await?;
        Ok(Welcome {
            state: Enrolled,
            reason: None,
            phone: contact.map(|contact| contact.phone).or_else(|| stored.phone.clone()),
            contact_id: Some(place.contact_id),
            enrollment_id: Some(place.id),
            ..stored.clone()
        })
    }

    /// Puts a contact into the campaign as the customer, and the customer's other phones out of it; unless somebody decided
    /// that they are not called, or another customer with the phone is in it.
    pub(super) async fn enrol(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        contact: Contact,
        is: &mut Welcome,
        left: &mut Vec<String>,
    ) -> Result<()> {
        let was = is.clone();
        is.contact_id = Some(contact.id.clone());
        is.enrollment_id = None;
        let known = enrollments::of_person(tx, &campaign.id, Some(&contact.id), &is.customer).await?;
        let is_in = |subject: &str| subject.is_empty() || subject == is.customer;
        let is_wanted = known.iter().any(|one| one.status == ACTIVE && is_in(&one.subject));
        let decided = known.iter().find(|one| one.status != ACTIVE && one.last_reason.as_deref() != Some(TAKEN_OUT));
        if let Some(decided) = decided.filter(|_| !is_wanted) {
            let reason = decided.last_reason.as_deref().unwrap_or("withdrawn");
            if reason == CALLED_ELSEWHERE {
                is.state = WelcomeState::AlreadyCalled;
                is.reason = Some(reason.to_owned());
            } else {
                is.state = WelcomeState::LeftOut;
                is.reason = Some(format!("{reason}; `callops enroll` brings them back"));
            }
            return Ok(());
        }
        for one in known.iter().filter(|one| one.contact_id == contact.id && one.status == ACTIVE) {
            if one.subject.is_empty() {
                // From now on as the customer, who has one call whatever the phone.
                enrollments::take_out(tx, &one.id, self.now).await?;
            } else if one.subject != is.customer {
                is.state = WelcomeState::SamePhone;
                is.reason = Some(format!("the phone is that of {}, who is welcomed", one.subject));
                return Ok(());
            }
        }
        self.take_out(tx, &was, Some(&contact.id), "another phone", left).await?;
        let own = known.iter().find(|one| one.contact_id == contact.id && one.subject == is.customer);
        let id = own.map_or_else(|| self.app.new_id(), |one| one.id.clone());
        let row = [(id.as_str(), contact.id.as_str(), is.customer.as_str())];
        enrollments::enroll_subjects(tx, &campaign.id, campaign.rules_version, &row, self.now).await?;
        is.state = WelcomeState::Enrolled;
        is.reason = None;
        let detail =
            json!({"contact": contact.id, "phone": contact.phone, "customer": is.customer, "event": self.event_id});
        self.app.audit(tx, "enroll", &format!("campaign:{}", campaign.full_name()), detail).await?;
        is.enrollment_id = Some(id);
        Ok(())
    }

    /// Takes a customer out of the campaign under every phone but that of the contact `keep`, with what waits for them; says
    /// whether they were in. Those contacts are put to `left`.
    pub(super) async fn take_out(
        &self,
        tx: &mut Tx,
        was: &Welcome,
        keep: Option<&str>,
        why: &str,
        left: &mut Vec<String>,
    ) -> Result<bool> {
        let mut places: Vec<(String, String)> =
            was.enrollment_id.clone().zip(was.contact_id.clone()).into_iter().collect();
        if let Some(campaign) = setup::campaign(tx, &was.tenant, &self.tenant.welcome.campaign).await? {
            let known = enrollments::of_person(tx, &campaign.id, None, &was.customer).await?;
            places.extend(known.into_iter().filter(|one| one.status == ACTIVE).map(|one| (one.id, one.contact_id)));
        }
        let mut was_in = false;
        for (id, contact_id) in places.into_iter().filter(|(_, contact_id)| keep != Some(contact_id)) {
            let withdrawn = enrollments::take_out(tx, &id, self.now).await?;
            let open = calls::open_of_enrollment(tx, &id).await?;
            if !withdrawn && open.is_empty() {
                continue;
            }
            let cancelled = calls::cancel(tx, &open, self.now).await?;
            let phone = contacts::contact(tx, &contact_id).await?.map(|contact| contact.phone);
            let detail = json!({
                "contact": contact_id, "phone": phone, "customer": was.customer, "event": self.event_id, "why": why,
                "withdrawn": withdrawn, "cancelled": cancelled.cancelled, "live": cancelled.live, "freed": cancelled.freed,
            });
            let campaign = format!("campaign:{}/{}", was.tenant, self.tenant.welcome.campaign);
            self.app.audit(tx, "withdraw", &campaign, detail).await?;
            was_in |= withdrawn;
            left.push(contact_id);
        }
        Ok(was_in)
    }

    /// Welcomes who waited behind a customer with the same phone who is out of the campaign now.
    pub(super) async fn give_way(&self, tx: &mut Tx, contact_id: &str, left: &mut Vec<String>) -> Result<()> {
        let tenant = &self.tenant.tenant.name;
        let Some(next) = welcomes::waiting_behind(tx, tenant, contact_id).await? else { return Ok(()) };
        let was = welcomes::lock(tx, tenant, &next.customer, &next.account, self.now).await?;
        let Some(contact) = contacts::contact(tx, contact_id).await? else { return Ok(()) };
        if was.state != WelcomeState::SamePhone || !was.standing().is_customer() {
            return Ok(());
        }
        let (campaign, _) = self.campaign(tx).await?;
        let mut is = was.clone();
        let spent = welcomes::spent_by(tx, tenant, &campaign.purpose, &contact.phone, &was.customer).await?;
        match spent.first() {
            Some(spent) => Self::blocked(spent, Some(contact.id), &mut is),
            None => self.enrol(tx, &campaign, contact, &mut is, left).await?,
        }
        if is == was {
            return Ok(());
        }
        welcomes::save(tx, &was, &is, self.now).await
    }

    /// Says of a customer that a call holds the slot: it is spent, or another customer's who may still leave.
    pub(super) fn blocked(spent: &Spent, contact_id: Option<String>, is: &mut Welcome) {
        let is_own = spent.subject.as_ref() == Some(&is.customer);
        if spent.may_have_rung || is_own || contact_id.is_none() {
            is.state = WelcomeState::AlreadyCalled;
            is.reason = Some(format!("call {}", spent.call_id));
        } else {
            let whose = spent.subject.as_deref().unwrap_or("somebody else");
            is.state = WelcomeState::SamePhone;
            is.reason = Some(format!("the phone is that of {whose}, who is called by call {}", spent.call_id));
            is.contact_id = contact_id;
            is.enrollment_id = None;
        }
    }
}
