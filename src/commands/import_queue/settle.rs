//! What a queue makes of the database: contacts, spent slots, enrollments.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::ensure;
use chrono::{DateTime, Utc};

use super::COMMAND;
use super::tell::{Outcome, Verdict};
use crate::commands::import_contacts::changes::Changes;
use crate::domain::contact_row::ContactRow;
use crate::domain::queue::{CALLED_ELSEWHERE, CANCELLED_ELSEWHERE, FAILED_ELSEWHERE, Said, UNCLEAR_ELSEWHERE};
use crate::domain::slot::Period;
use crate::domain::zone::Zone;
use crate::store::contacts::{self, BATCH_ROWS, Contact, Fresh, Origin};
use crate::store::enrollments::{self, Known, TAKEN_OUT};
use crate::store::imports::{self, Change};
use crate::store::setup::Campaign;
use crate::store::spent::{self, Borne, Held, Spent};
use crate::store::{StoreError, Tx, welcomes};

/// Why somebody is left out whom a service tells of.
const TAKEN_BACK: &str = "payment_taken_back";

/// A row that makes something of itself.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place among all rows.
    pub(super) index: usize,
    /// Whom to call.
    pub(super) row: ContactRow,
    /// The person's id where they pay.
    pub(super) customer_id: Option<String>,
    /// The customer that its slot or enrollment bears: its own, or that of another row of the person.
    pub(super) subject: Option<String>,
    /// What it says.
    pub(super) said: Said,
    /// Whether its person is to be called; else they are left out.
    pub(super) is_enrolled: bool,
    /// Whether they are left out since nobody can tell what became of them.
    pub(super) is_unclear: bool,
}

impl Item {
    /// The ids of its person where they pay.
    fn customers(&self) -> impl Iterator<Item = &str> {
        let lent = self.subject.as_deref().filter(|subject| self.customer_id.as_deref() != Some(subject));
        self.customer_id.as_deref().into_iter().chain(lent)
    }
}

/// Where rows go.
pub(super) struct Target<'a> {
    pub(super) import_id: String,
    campaign: &'a Campaign,
    /// Whether it is the campaign that welcomes those who pay.
    is_welcome: bool,
    key: String,
    dry_run: bool,
    now: DateTime<Utc>,
    ids: ulid::Generator,
    /// Phones of the database whose slot is spent by a row with another phone of the same customer.
    spent_beside: HashSet<String>,
}

/// The people of a batch whom the database knows.
#[derive(Default)]
struct People {
    by_phone: HashMap<String, Contact>,
    by_customer: HashMap<String, Vec<Contact>>,
}

impl People {
    async fn of(tx: &mut Tx, tenant: &str, items: &[Item]) -> Result<Self, StoreError> {
        let phones: Vec<&str> = items.iter().map(|item| item.row.phone.as_str()).collect();
        let customers: Vec<&str> = items.iter().flat_map(Item::customers).collect();
        let mut people = Self::default();
        for contact in contacts::contacts_by_phones(tx, tenant, &phones, false).await? {
            people.by_phone.insert(contact.phone.clone(), contact);
        }
        for contact in contacts::contacts_by_external_ids(tx, tenant, &customers, false).await? {
            let id = contact.external_id.clone().unwrap_or_default();
            people.by_customer.entry(id).or_default().push(contact);
        }
        Ok(people)
    }

    /// The contacts that the customers of a row have.
    fn of_customers(&self, item: &Item) -> Vec<&Contact> {
        item.customers().filter_map(|id| self.by_customer.get(id)).flatten().collect()
    }
}

impl<'a> Target<'a> {
    pub(super) fn new(campaign: &'a Campaign, is_welcome: bool, dry_run: bool, now: DateTime<Utc>) -> Self {
        let mut target = Self {
            import_id: String::new(),
            campaign,
            is_welcome,
            key: Period::Always.to_string(),
            dry_run,
            now,
            ids: ulid::Generator::new(),
            spent_beside: HashSet::new(),
        };
        target.import_id = target.new_id();
        target
    }

    /// Ids in rising order: neighbours in the file are neighbours in the index.
    fn new_id(&mut self) -> String {
        match self.ids.generate_from_datetime(self.now.into()) {
            Ok(id) => id.to_string(),
            Err(overflow) => overflow.commit_overflow_random().to_string(),
        }
    }

    /// Spends the slots of these rows' phones, and of the phones under which the database knows their customers.
    pub(super) async fn spend(&mut self, tx: &mut Tx, items: &[Item], outcomes: &mut [Outcome]) -> anyhow::Result<()> {
        let mut people = People::of(tx, &self.campaign.tenant, items).await?;
        let held = self.held(tx, items, &people).await?;
        // A phone and whose it is; the customer's slot goes to the first of the phones.
        let mut wanted: Vec<(String, Option<&Item>, Option<String>)> = Vec::new();
        let mut taken: HashSet<String> = HashSet::new();
        let mut subjects: HashSet<&str> = HashSet::new();
        // Slots that bear no customer so far.
        let mut borne: Vec<Borne<'_>> = Vec::new();
        for item in items {
            let own = item.row.phone.as_str();
            if held.phones.contains(own) {
                outcomes[item.index] = Outcome { verdict: Verdict::AlreadySpent, because: Some("slot_taken") };
                let subject = item.subject.as_deref();
                let subject = subject.filter(|id| held.without_subject.contains(own) && !held.subjects.contains(*id));
                if let Some(subject) = subject.filter(|id| subjects.insert(id)) {
                    borne.push(Borne { phone: own, subject });
                }
            }
            let others = people.of_customers(item).into_iter().map(|contact| contact.phone.as_str());
            for phone in [own].into_iter().chain(others.filter(|phone| *phone != own)) {
                if held.phones.contains(phone) || !taken.insert(phone.to_owned()) {
                    continue;
                }
                if phone != own {
                    self.spent_beside.insert(phone.to_owned());
                }
                let subject = item.subject.as_deref();
                let subject = subject.filter(|id| !held.subjects.contains(*id) && subjects.insert(id));
                wanted.push((phone.to_owned(), Some(item).filter(|_| phone == own), subject.map(str::to_owned)));
            }
        }
        if self.dry_run {
            return Ok(());
        }
        spent::bear(tx, self.campaign, &self.key, &borne).await?;
        let rows: Vec<&Item> = wanted.iter().filter_map(|(_, item, _)| *item).collect();
        self.make_contacts(tx, &rows, &mut people).await?;
        let known = |people: &People, phone: &str| {
            let elsewhere = || people.by_customer.values().flatten().find(|contact| contact.phone == phone);
            people.by_phone.get(phone).or_else(elsewhere).map(|contact| contact.id.clone())
        };
        let mut owners = Vec::with_capacity(wanted.len());
        for (phone, _, _) in &wanted {
            let Some(id) = known(&people, phone) else {
                return Err(StoreError::Conflict(format!("the contact {phone} went away meanwhile")).into());
            };
            owners.push(id);
        }
        let enrolled = self.known_enrollments(tx, &owners).await?;
        let mut made = Vec::new();
        let mut spent = Vec::with_capacity(wanted.len());
        for ((phone, _, subject), contact_id) in wanted.into_iter().zip(owners) {
            let text = subject.clone().unwrap_or_default();
            let there = enrolled.get(&contact_id).map(Vec::as_slice).unwrap_or_default();
            let enrollment = there.iter().find(|one| one.subject == text).or_else(|| there.first());
            let enrollment_id = if let Some(enrollment) = enrollment {
                enrollment.id.clone()
            } else {
                let id = self.new_id();
                made.push(withdrawn(&id, &contact_id, text, CALLED_ELSEWHERE));
                id
            };
            spent.push(Spent { call_id: self.new_id(), enrollment_id, contact_id, phone, subject });
        }
        self.take_over(tx, &made).await?;
        // One order for everybody who takes slots, so that two never wait for one another.
        spent.sort_unstable_by(|a, b| a.phone.cmp(&b.phone));
        spent::spend(tx, self.campaign, &self.key, &spent, COMMAND, self.now).await?;
        Ok(())
    }

    /// Enrolls the people of these rows, or notes that they are not to be called.
    pub(super) async fn enroll(&mut self, tx: &mut Tx, items: &[Item], outcomes: &mut [Outcome]) -> anyhow::Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let mut people = People::of(tx, &self.campaign.tenant, items).await?;
        let held = self.held(tx, items, &people).await?;
        let taken_back = self.taken_back(tx, items).await?;
        let mut open: Vec<(&Item, Option<Contact>)> = Vec::new();
        // Slots that bear no customer so far.
        let mut borne: Vec<(String, &str)> = Vec::new();
        let (mut subjects, mut bearers): (HashSet<&str>, HashSet<String>) = Default::default();
        for item in items {
            let phone = item.row.phone.as_str();
            // Whom the database knows by their customer's id alone is enrolled under the phone that they have there.
            let contact = people.by_phone.get(phone).or(match people.of_customers(item)[..] {
                [one] => Some(one),
                _ => None,
            });
            let phones = contact.map(|contact| contact.phone.as_str()).into_iter().chain([phone]);
            let is_held = item.customers().any(|id| held.subjects.contains(id));
            let mut spent =
                phones.filter(|phone| held.phones.contains(*phone) || self.spent_beside.contains(*phone)).peekable();
            if is_held || spent.peek().is_some() {
                let bearer = spent.find(|phone| held.without_subject.contains(*phone)).filter(|_| !is_held);
                if let (Some(phone), Some(subject)) = (bearer, item.subject.as_deref())
                    && subjects.insert(subject)
                    && bearers.insert(phone.to_owned())
                {
                    borne.push((phone.to_owned(), subject));
                }
                if item.is_enrolled {
                    outcomes[item.index] = Outcome { verdict: Verdict::AlreadySpent, because: Some("slot_taken") };
                }
                continue;
            }
            open.push((item, contact.cloned()));
        }
        let ids: Vec<String> =
            open.iter().filter_map(|(_, contact)| contact.as_ref().map(|one| one.id.clone())).collect();
        let enrolled = self.known_enrollments(tx, &ids).await?;
        if !self.dry_run {
            let new: Vec<&Item> = open.iter().filter(|(_, contact)| contact.is_none()).map(|(item, _)| *item).collect();
            self.make_contacts(tx, &new, &mut people).await?;
        }
        let (mut made, mut revived) = (Vec::new(), Vec::new());
        let mut named: HashMap<&str, &str> = HashMap::new();
        let mut met: HashSet<String> = HashSet::new();
        for (item, contact) in open {
            let outcome = &mut outcomes[item.index];
            let made_now = people.by_phone.get(item.row.phone.as_str()).filter(|_| !self.dry_run);
            let contact_id = contact.as_ref().or(made_now).map(|contact| contact.id.clone()).unwrap_or_default();
            let there = enrolled.get(&contact_id).map(Vec::as_slice).unwrap_or_default();
            if there.iter().any(|one| one.status == "active")
                || (!contact_id.is_empty() && !met.insert(contact_id.clone()))
            {
                if item.is_enrolled {
                    *outcome = Outcome { verdict: Verdict::AlreadyEnrolled, because: None };
                }
                named.extend(nameless(there, item));
            } else if let Some(one) = there.first() {
                let ours = [FAILED_ELSEWHERE, CANCELLED_ELSEWHERE, UNCLEAR_ELSEWHERE];
                let reason = one.last_reason.as_deref().filter(|reason| ours.contains(reason));
                named.extend(nameless(there, item));
                if taken_back.contains(&item.index) {
                    *outcome = Outcome { verdict: Verdict::LeftOut, because: Some(TAKEN_BACK) };
                } else if let Some(reason) = reason.filter(|_| item.is_enrolled) {
                    revived.push((contact_id, one.id.clone(), reason.to_owned()));
                } else if item.is_enrolled {
                    *outcome = Outcome { verdict: Verdict::LeftOut, because: Some("withdrawn") };
                }
            } else {
                if taken_back.contains(&item.index) {
                    *outcome = Outcome { verdict: Verdict::LeftOut, because: Some(TAKEN_BACK) };
                } else if item.is_enrolled && contact.as_ref().is_some_and(|one| one.phone != item.row.phone.as_str()) {
                    outcome.because = Some("known_by_customer_id");
                }
                let (id, subject) = (self.new_id(), item.subject.clone().unwrap_or_default());
                made.push(match item.said {
                    // Whoever pays again comes back.
                    _ if taken_back.contains(&item.index) => withdrawn(&id, &contact_id, subject, TAKEN_OUT),
                    _ if item.is_enrolled => Known {
                        status: "active".to_owned(),
                        last_reason: None,
                        ..withdrawn(&id, &contact_id, subject, "")
                    },
                    _ if item.is_unclear => withdrawn(&id, &contact_id, subject, UNCLEAR_ELSEWHERE),
                    Said::Cancelled => withdrawn(&id, &contact_id, subject, CANCELLED_ELSEWHERE),
                    _ => withdrawn(&id, &contact_id, subject, FAILED_ELSEWHERE),
                });
            }
        }
        if self.dry_run {
            return Ok(());
        }
        let borne: Vec<Borne<'_>> = borne.iter().map(|(phone, subject)| Borne { phone, subject }).collect();
        spent::bear(tx, self.campaign, &self.key, &borne).await?;
        let named: Vec<(&str, &str)> = named.into_iter().collect();
        enrollments::name_subjects(tx, &named).await?;
        self.take_over(tx, &made).await?;
        self.revive(tx, revived).await
    }

    /// Has withdrawn enrollments count again, and notes what they were, so that this can be undone: contact, enrollment, and
    /// why it was withdrawn.
    async fn revive(&self, tx: &mut Tx, revived: Vec<(String, String, String)>) -> anyhow::Result<()> {
        let ids: Vec<&str> = revived.iter().map(|(_, id, _)| id.as_str()).collect();
        if enrollments::revive(tx, &ids, self.now).await? != ids.len() as u64 {
            return Err(StoreError::Conflict("somebody was enrolled meanwhile".to_owned()).into());
        }
        let mut journal = Vec::with_capacity(revived.len());
        for (contact_id, id, reason) in revived {
            let changes = Changes { revived: BTreeMap::from([(id, reason)]), ..Changes::default() };
            journal.push(Change { contact_id, changes: serde_json::to_string(&changes)? });
        }
        Ok(imports::record_changes(tx, &self.import_id, &journal).await?)
    }

    /// Which of these customers hold no slot.
    pub(super) async fn unheld(&self, tx: &mut Tx, customers: &[&str]) -> Result<Vec<String>, StoreError> {
        let held = spent::held(tx, self.campaign, &self.key, &[], customers).await?;
        Ok(customers.iter().filter(|id| !held.subjects.contains(**id)).map(|id| (*id).to_owned()).collect())
    }

    /// Those of the rows whose person is to be called, and who took their payment back.
    async fn taken_back(&self, tx: &mut Tx, items: &[Item]) -> Result<HashSet<usize>, StoreError> {
        if !self.is_welcome {
            return Ok(HashSet::new());
        }
        let items = || items.iter().filter(|item| item.is_enrolled);
        let customers: Vec<&str> = items().flat_map(Item::customers).collect();
        let phones: Vec<&str> = items().map(|item| item.row.phone.as_str()).collect();
        let (customers, phones) = welcomes::taken_back(tx, &self.campaign.tenant, &customers, &phones).await?;
        let is_theirs = |item: &&Item| {
            phones.contains(item.row.phone.as_str()) || item.customers().any(|id| customers.contains(id))
        };
        Ok(items().filter(is_theirs).map(|item| item.index).collect())
    }

    /// Which slots of these rows' phones and customers are held, and of the phones under which the customers are known.
    async fn held(&self, tx: &mut Tx, items: &[Item], people: &People) -> Result<Held, StoreError> {
        let own = items.iter().map(|item| item.row.phone.as_str());
        let others = people.by_customer.values().flatten().map(|contact| contact.phone.as_str());
        let phones: Vec<&str> = own.chain(others).collect();
        let subjects: Vec<&str> = items.iter().flat_map(Item::customers).collect();
        spent::held(tx, self.campaign, &self.key, &phones, &subjects).await
    }

    /// Makes contacts of rows whose phone nobody has; all of them are known afterwards.
    async fn make_contacts(&mut self, tx: &mut Tx, items: &[&Item], people: &mut People) -> anyhow::Result<()> {
        let mut met: HashSet<&str> = HashSet::new();
        let is_new = |phone: &str| !people.by_phone.contains_key(phone);
        let mut new: Vec<&Item> = items
            .iter()
            .filter(|item| is_new(item.row.phone.as_str()) && met.insert(item.row.phone.as_str()))
            .copied()
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        // One order for everybody who writes contacts, so that two never wait for one another.
        new.sort_unstable_by_key(|item| item.row.phone);
        let ids: Vec<String> = new.iter().map(|_| self.new_id()).collect();
        let fresh: Vec<Fresh<'_>> = new.iter().zip(&ids).map(|(item, id)| fresh(item, id)).collect();
        let origin = Origin { tenant: &self.campaign.tenant, import_id: &self.import_id, now: self.now };
        contacts::insert_fresh(tx, origin, &fresh).await?;
        let phones: Vec<&str> = new.iter().map(|item| item.row.phone.as_str()).collect();
        let mut found = 0;
        for contact in contacts::contacts_by_phones(tx, &self.campaign.tenant, &phones, false).await? {
            people.by_phone.insert(contact.phone.clone(), contact);
            found += 1;
        }
        ensure!(found == new.len(), StoreError::Conflict("a contact went away meanwhile".to_owned()));
        Ok(())
    }

    /// The enrollments of these contacts in the campaign.
    async fn known_enrollments(&self, tx: &mut Tx, ids: &[String]) -> Result<HashMap<String, Vec<Known>>, StoreError> {
        let mut known: HashMap<String, Vec<Known>> = HashMap::new();
        for batch in ids.chunks(BATCH_ROWS) {
            let ids: Vec<&str> = batch.iter().map(String::as_str).collect();
            for one in enrollments::known(tx, &self.campaign.id, &ids).await? {
                known.entry(one.contact_id.clone()).or_default().push(one);
            }
        }
        Ok(known)
    }

    async fn take_over(&self, tx: &mut Tx, made: &[Known]) -> Result<(), StoreError> {
        let (campaign, version) = (&self.campaign.id, self.campaign.rules_version);
        if enrollments::take_over(tx, campaign, version, made, self.now).await? != made.len() as u64 {
            return Err(StoreError::Conflict("somebody was enrolled meanwhile".to_owned()));
        }
        Ok(())
    }
}

/// An enrollment that is to bear the customer of a row, where none of their contact does and one bears nobody.
fn nameless<'a>(there: &'a [Known], item: &'a Item) -> Option<(&'a str, &'a str)> {
    let subject = item.subject.as_deref()?;
    let one = there.iter().find(|one| one.subject.is_empty())?;
    (!there.iter().any(|one| one.subject == subject)).then_some((one.id.as_str(), subject))
}

/// An enrollment that is never looked at.
fn withdrawn(id: &str, contact_id: &str, subject: String, reason: &str) -> Known {
    Known {
        id: id.to_owned(),
        contact_id: contact_id.to_owned(),
        subject,
        status: "withdrawn".to_owned(),
        last_reason: Some(reason.to_owned()),
    }
}

/// The contact that a row makes where there was none. Whoever has no other id is known by their customer's.
fn fresh<'a>(item: &'a Item, id: &'a str) -> Fresh<'a> {
    let row = &item.row;
    Fresh {
        id,
        phone: row.phone.as_str(),
        extension: row.extension.as_deref(),
        name: row.name.as_deref(),
        email: row.email.as_deref(),
        external_id: row.external_id.as_deref().or(item.customer_id.as_deref()).or(item.subject.as_deref()),
        timezone: row.timezone.map(Zone::name),
        preferred_time: row.preferred_time.map(|time| time.to_string()),
        attributes: if row.attributes.is_empty() { "{}" } else { &row.attributes },
    }
}
