//! What becomes of rows: compares them with the contacts that are there, and writes what is new.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};

use super::OnExisting;
use super::changes::Changes;
use super::entries::{Entry, FirstLines, Reason};
use super::known::Known;
use super::plan::{self, Merged};
use super::tally::Verdict;
use crate::domain::contact_row::ContactRow;
use crate::domain::phone::Phone;
use crate::error::Failure;
use crate::store::contacts::{self, BATCH_ROWS, Contact, Fresh, Origin};
use crate::store::{Tx, enrollments, imports};

/// The reason of a row that would give one contact the phone of another.
pub(super) const EXTERNAL_ID_OF_ANOTHER: &str = "external_id_of_another_contact";
/// Changes that a dry run shows.
const CHANGES_SHOWN: usize = 10;

/// Where rows go.
pub(super) struct Target {
    pub(super) tenant: String,
    pub(super) import_id: String,
    /// The campaign's id and its rules' version.
    campaign: Option<(String, i64)>,
    pub(super) on_existing: OnExisting,
    pub(super) dry_run: bool,
    pub(super) now: DateTime<Utc>,
    ids: ulid::Generator,
    /// The phones that contacts gave up for others in a dry run, in which the database still shows them.
    pub(super) given_up: HashSet<String>,
    /// Whether an external id of a row can be one that the tenant knew before this import.
    knows_external_ids: bool,
    /// Whether the rows before these were new for the most part, so that these are probably new too.
    expects_new: bool,
    /// How many contacts were put into the campaign that were not in it.
    pub(super) enrolled: u64,
    /// The first changes, a line each.
    pub(super) changes_shown: Vec<String>,
}

impl Target {
    pub(super) async fn new(
        tx: &mut Tx,
        tenant: String,
        campaign: Option<(String, i64)>,
        on_existing: OnExisting,
        dry_run: bool,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let knows_external_ids = contacts::any_external_id(tx, &tenant).await?;
        let mut target = Self {
            tenant,
            import_id: String::new(),
            campaign,
            on_existing,
            dry_run,
            now,
            ids: ulid::Generator::new(),
            given_up: HashSet::new(),
            knows_external_ids,
            expects_new: true,
            enrolled: 0,
            changes_shown: Vec::new(),
        };
        target.import_id = target.new_id();
        Ok(target)
    }

    /// Ids in rising order: neighbours in the list are neighbours in the index.
    fn new_id(&mut self) -> String {
        match self.ids.generate_from_datetime(self.now.into()) {
            Ok(id) => id.to_string(),
            Err(overflow) => overflow.commit_overflow_random().to_string(),
        }
    }

    /// Gives every open entry its verdict, and writes what is new.
    pub(super) async fn settle(
        &mut self,
        tx: &mut Tx,
        entries: &mut [Entry],
        first_lines: &FirstLines,
    ) -> anyhow::Result<()> {
        let mut made = Vec::new();
        let open = entries.iter().filter(|entry| entry.is_open()).count();
        if self.expects_new && !self.dry_run {
            made = self.insert_new(tx, entries).await?;
        }
        let mut met = Vec::new();
        let mut rest: Vec<&mut Entry> = entries.iter_mut().filter(|entry| entry.is_open()).collect();
        for batch in rest.chunks_mut(BATCH_ROWS) {
            // Somebody else may make a contact between our look and our write; the next round then finds it.
            let mut rounds = 0;
            while batch.iter().any(|entry| entry.is_open()) {
                rounds += 1;
                ensure!(rounds <= 10, "contacts of this list are made and removed by somebody else; try again later");
                self.settle_round(tx, batch, first_lines, &mut made, &mut met).await?;
            }
        }
        self.expects_new = made.len() * 2 >= open;
        self.enroll(tx, made, met).await
    }

    /// Makes contacts of all open entries whose phone the tenant does not have, without looking for them first; gives
    /// the ids of those that were made.
    async fn insert_new(&mut self, tx: &mut Tx, entries: &mut [Entry]) -> anyhow::Result<Vec<String>> {
        let knows_external_ids = self.knows_external_ids;
        let may_be_known = |entry: &Entry| knows_external_ids && entry.identifies;
        let chosen = entries.iter_mut().filter(|entry| entry.is_open() && !may_be_known(entry)).collect();
        self.insert(tx, chosen).await
    }

    /// Makes contacts of these entries; gives the ids of those that were made, and leaves the others open.
    async fn insert(&mut self, tx: &mut Tx, mut chosen: Vec<&mut Entry>) -> anyhow::Result<Vec<String>> {
        // One order for everybody who writes contacts, so that two never wait for one another. It also keeps together
        // what is written to one page of the index.
        chosen.sort_unstable_by_key(|entry| entry.row.as_ref().map(|row| row.phone));
        let ids: Vec<String> = chosen.iter().map(|_| self.new_id()).collect();
        let origin = Origin { tenant: &self.tenant, import_id: &self.import_id, now: self.now };
        let fresh: Vec<Fresh<'_>> =
            chosen.iter().zip(&ids).filter_map(|(entry, id)| Some(fresh(entry.row.as_ref()?, id))).collect();
        let count = contacts::insert_fresh(tx, origin, &fresh).await?;
        let made = if count == fresh.len() as u64 {
            None
        } else {
            let phones: Vec<&str> = fresh.iter().map(|contact| contact.phone).collect();
            Some(contacts::made_by(tx, origin, &phones).await?.into_iter().collect::<HashSet<String>>())
        };
        let mut made_ids = Vec::with_capacity(ids.len());
        for (entry, id) in chosen.into_iter().zip(ids) {
            if made.as_ref().is_none_or(|made| made.contains(entry.phone())) {
                entry.verdict = Some(Verdict::Created);
                made_ids.push(id);
            }
        }
        Ok(made_ids)
    }

    /// One look and one write for the entries without a verdict. Adds the ids of contacts that were made, and of others
    /// that are to be enrolled.
    async fn settle_round(
        &mut self,
        tx: &mut Tx,
        batch: &mut [&mut Entry],
        first_lines: &FirstLines,
        made: &mut Vec<String>,
        met: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let rows: Vec<(&ContactRow, bool)> = batch
            .iter()
            .filter(|entry| entry.verdict.is_none())
            .filter_map(|entry| Some((entry.row.as_ref()?, entry.identifies)))
            .collect();
        let mut known = Known::look_up(tx, self, &rows).await?;
        let mut to_insert = Vec::new();
        let mut writes = Writes::default();
        for (index, entry) in batch.iter_mut().enumerate() {
            let Some(row) = entry.row.as_ref().filter(|_| entry.verdict.is_none()) else { continue };
            let holder = known.by_phone.get(row.phone.as_str());
            let external_id = row.external_id.as_deref().filter(|_| entry.identifies);
            let mut owner = external_id.and_then(|id| known.moved(id, row.phone.as_str()));
            // Where the list has an earlier row for the phone that the id's owner has now, it speaks of two people.
            if let Some(phone) = owner.and_then(|owner| Phone::from_e164(&owner.phone).ok())
                && first_lines.line_of(phone)?.is_some_and(|line| line < entry.line)
            {
                owner = None;
            }
            let Some(old) = holder.or(owner).cloned() else {
                to_insert.push(index);
                continue;
            };
            let verdict = match (self.on_existing, holder, owner) {
                (OnExisting::Fail, ..) => return Err(self.refuse(entry.line, &old)),
                (OnExisting::Skip, ..) => Verdict::Skipped,
                (OnExisting::Update, Some(_), Some(_)) => {
                    entry.reason = Some(Reason::Rejected(EXTERNAL_ID_OF_ANOTHER));
                    let phone = row.phone;
                    let detail =
                        format!("{phone} is the phone of another contact than {:?}", external_id.unwrap_or_default());
                    entry.detail = Some(format!("line {}: {detail}", entry.line));
                    Verdict::Rejected
                }
                (OnExisting::Update, None, _) => {
                    let merged = plan::corrected(&old, row, self.now)?;
                    known.replace(&old, &merged.contact);
                    self.show(entry.line, &old.phone, &merged.changes);
                    writes.corrections.push((old.phone, merged));
                    continue;
                }
                (OnExisting::Update, Some(_), None) => {
                    met.push(old.id.clone());
                    match plan::merged(&old, row, self.now)? {
                        None => Verdict::Unchanged,
                        Some(merged) => {
                            known.replace(&old, &merged.contact);
                            self.show(entry.line, &old.phone, &merged.changes);
                            writes.updates.push(merged);
                            Verdict::Updated
                        }
                    }
                }
            };
            entry.verdict = Some(verdict);
        }
        let corrected = writes.run(tx, self).await?;
        let mut settled: HashMap<String, Verdict> = HashMap::new();
        for (given_up, merged) in writes.corrections {
            if corrected.contains(&merged.contact.id) {
                settled.insert(merged.contact.phone, Verdict::Updated);
                met.push(merged.contact.id);
                if self.dry_run {
                    self.given_up.insert(given_up);
                }
            }
        }
        if self.dry_run {
            for index in to_insert {
                self.show_created(&*batch[index]);
                batch[index].verdict = Some(Verdict::Created);
            }
        } else {
            let chosen = batch.iter_mut().enumerate().filter(|(index, _)| to_insert.contains(index));
            let chosen = chosen.map(|(_, entry)| &mut **entry).collect();
            made.append(&mut self.insert(tx, chosen).await?);
        }
        for entry in batch.iter_mut().filter(|entry| entry.is_open()) {
            entry.verdict = settled.get(entry.phone()).copied();
        }
        Ok(())
    }

    /// Enrolls contacts that were made, and those that were there and were never in the campaign.
    async fn enroll(&mut self, tx: &mut Tx, mut made: Vec<String>, met: Vec<String>) -> anyhow::Result<()> {
        if let (Some((campaign_id, rules_version)), false) = (self.campaign.clone(), self.dry_run) {
            // A withdrawn contact stays withdrawn, however often a list names it.
            made.append(&mut contacts::never_enrolled(tx, &campaign_id, &met).await?);
            let pairs: Vec<(String, String)> = made.into_iter().map(|contact| (self.new_id(), contact)).collect();
            self.enrolled += enrollments::enroll(tx, &campaign_id, rules_version, &pairs, self.now).await?;
        }
        Ok(())
    }

    fn refuse(&self, line: u64, old: &Contact) -> anyhow::Error {
        Failure::refused(format!(
            "line {line}: {} is a contact of {} already; nothing was imported",
            old.phone, self.tenant
        ))
        .hint("--on-existing update takes over what the list says, --on-existing skip leaves contacts as they are")
        .into()
    }

    fn show(&mut self, line: u64, phone: &str, changes: &Changes) {
        if self.dry_run && self.changes_shown.len() < CHANGES_SHOWN {
            self.changes_shown.push(format!("~ line {line}: {phone} {changes}"));
        }
    }

    fn show_created(&mut self, entry: &Entry) {
        if self.changes_shown.len() < CHANGES_SHOWN {
            let name = entry.row.as_ref().and_then(|row| row.name.as_deref());
            let name = name.map(|name| format!(" {name:?}")).unwrap_or_default();
            self.changes_shown.push(format!("+ line {}: {}{name}", entry.line, entry.phone()));
        }
    }
}

/// The contact that a row makes where there was none.
fn fresh<'a>(row: &'a ContactRow, id: &'a str) -> Fresh<'a> {
    Fresh {
        id,
        phone: row.phone.as_str(),
        extension: row.extension.as_deref(),
        name: row.name.as_deref(),
        email: row.email.as_deref(),
        external_id: row.external_id.as_deref(),
        timezone: row.timezone.map(crate::domain::zone::Zone::name),
        preferred_time: row.preferred_time.map(|time| time.to_string()),
        attributes: if row.attributes.is_empty() { "{}" } else { &row.attributes },
    }
}

/// Contacts that changed.
#[derive(Default)]
struct Writes {
    updates: Vec<Merged>,
    /// Each with the phone that it gives up.
    corrections: Vec<(String, Merged)>,
}

impl Writes {
    /// Writes them, with what changed; gives the ids of those whose phone was corrected.
    async fn run(&mut self, tx: &mut Tx, target: &Target) -> anyhow::Result<HashSet<String>> {
        if target.dry_run {
            return Ok(self.corrections.iter().map(|(_, merged)| merged.contact.id.clone()).collect());
        }
        // One order for everybody who writes contacts, so that two never wait for one another.
        self.updates.sort_unstable_by(|a, b| a.contact.phone.cmp(&b.contact.phone));
        let updates: Vec<Contact> = self.updates.iter().map(|merged| merged.contact.clone()).collect();
        let written = contacts::update(tx, &updates).await?;
        ensure!(written == updates.len() as u64, "{written} of {} contacts could be updated", updates.len());
        let corrections: Vec<Contact> = self.corrections.iter().map(|(_, merged)| merged.contact.clone()).collect();
        let corrected = contacts::correct(tx, &corrections).await?;
        let done = self.corrections.iter().map(|(_, merged)| merged).filter(|m| corrected.contains(&m.contact.id));
        let done: Vec<&Merged> = self.updates.iter().chain(done).collect();
        let recheck: Vec<String> =
            done.iter().filter(|merged| merged.concerns_calls).map(|merged| merged.contact.id.clone()).collect();
        contacts::recheck(tx, &recheck, target.now).await?;
        let changes = done
            .iter()
            .map(|merged| {
                let changes = serde_json::to_string(&merged.changes).context("a change cannot be written as JSON")?;
                Ok(imports::Change { contact_id: merged.contact.id.clone(), changes })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        imports::record_changes(tx, &target.import_id, &changes).await?;
        Ok(corrected)
    }
}
