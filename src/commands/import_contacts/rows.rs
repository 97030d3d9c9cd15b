//! From records to contacts, some hundred rows at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::ensure;
use chrono::{DateTime, Utc};
use csv::ByteRecord;
use indicatif::ProgressBar;

use super::files::{RejectsFile, ReportFile, ReportLine};
use super::known::Known;
use super::plan::{self, Merged};
use super::reader::ListReader;
use super::tally::{Tally, Verdict};
use super::{OnExisting, REJECTS_SHOWN};
use crate::domain::contact_row::{ContactRow, RowProblem, RowReader, RowReason};
use crate::domain::phone::Phone;
use crate::domain::preferred::PreferredTime;
use crate::error::Failure;
use crate::store::contacts::{self, BATCH_ROWS, Contact};
use crate::store::{Tx, enrollments};

/// The reason of a row that would give one contact the phone of another.
const EXTERNAL_ID_OF_ANOTHER: &str = "external_id_of_another_contact";

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
}

impl Target {
    pub(super) fn new(
        tenant: String,
        campaign: Option<(String, i64)>,
        on_existing: OnExisting,
        dry_run: bool,
        now: DateTime<Utc>,
    ) -> Self {
        let mut target = Self {
            tenant,
            import_id: String::new(),
            campaign,
            on_existing,
            dry_run,
            now,
            ids: ulid::Generator::new(),
            given_up: HashSet::new(),
        };
        target.import_id = target.new_id();
        target
    }

    /// Ids in rising order: neighbours in the list are neighbours in the index.
    fn new_id(&mut self) -> String {
        match self.ids.generate_from_datetime(self.now.into()) {
            Ok(id) => id.to_string(),
            Err(overflow) => overflow.commit_overflow_random().to_string(),
        }
    }
}

/// A row on its way to its verdict.
struct Entry {
    record: u64,
    line: u64,
    phone: Option<Phone>,
    extension: Option<String>,
    alternates: Vec<Phone>,
    /// What is still to be written; none once there is a verdict.
    row: Option<ContactRow>,
    /// Whether the row's external id may say whose row it is: an earlier row did not bear it.
    identifies: bool,
    /// The row as it was, where it is or may still be rejected and rejected rows are written.
    cells: Option<ByteRecord>,
    verdict: Option<Verdict>,
    reason: Option<String>,
}

/// The first row of the list with a number.
struct FirstSeen {
    line: u64,
    extension_hash: u64,
}

/// Takes in a list.
pub(super) struct Importer {
    rows: RowReader,
    pub(super) target: Option<Target>,
    rejects: Option<RejectsFile>,
    report: Option<ReportFile>,
    seen: HashMap<Phone, FirstSeen>,
    /// Hashes of the external ids of earlier rows.
    external_ids: HashSet<u64>,
    pub(super) tally: Tally,
    examples: Vec<String>,
    /// How many contacts were put into the campaign that were not in it.
    pub(super) enrolled: u64,
    /// How many rows named each preferred time.
    pub(super) preferred_times: BTreeMap<PreferredTime, u64>,
    pub(super) without_zone: u64,
}

impl Importer {
    pub(super) fn new(
        rows: RowReader,
        target: Option<Target>,
        rejects: Option<RejectsFile>,
        report: Option<ReportFile>,
    ) -> Self {
        Self {
            rows,
            target,
            rejects,
            report,
            seen: HashMap::new(),
            external_ids: HashSet::new(),
            tally: Tally::default(),
            examples: Vec::new(),
            enrolled: 0,
            preferred_times: BTreeMap::new(),
            without_zone: 0,
        }
    }

    /// Reads the list to its end.
    pub(super) async fn run(
        &mut self,
        list: &mut ListReader,
        mut tx: Option<&mut Tx>,
        progress: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        loop {
            batch.clear();
            while batch.len() < BATCH_ROWS
                && let Some(entry) = self.next_entry(list)?
            {
                batch.push(entry);
            }
            if batch.is_empty() {
                return Ok(());
            }
            self.settle(&mut batch, tx.as_deref_mut()).await?;
            self.account(&batch)?;
            progress.set_position(self.tally.rows_read());
        }
    }

    fn next_entry(&mut self, list: &mut ListReader) -> anyhow::Result<Option<Entry>> {
        let Some(record) = list.next()? else { return Ok(None) };
        self.tally.read();
        let read = if record.is_unclosed {
            let detail = format!("a quote that opens at or behind line {} is never closed", record.line);
            Err(RowProblem { reason: RowReason::UnclosedQuote, detail })
        } else {
            self.rows.read(record.cells.iter())
        };
        let mut entry = Entry {
            record: record.number,
            line: record.line,
            phone: None,
            extension: None,
            alternates: Vec::new(),
            row: None,
            identifies: false,
            cells: None,
            verdict: None,
            reason: None,
        };
        let writes_rejects = self.rejects.is_some();
        let keep = |cells: &ByteRecord| writes_rejects.then(|| cells.clone());
        match read {
            Err(problem) => {
                entry.cells = keep(record.cells);
                if self.examples.len() < REJECTS_SHOWN {
                    self.examples.push(format!("line {}: {problem}", record.line));
                }
                self.tally.settle(Verdict::Rejected, Some(problem.reason.code()));
                entry.verdict = Some(Verdict::Rejected);
                entry.reason = Some(problem.reason.code().to_owned());
            }
            Ok(mut row) => {
                entry.phone = Some(row.phone);
                entry.extension.clone_from(&row.extension);
                entry.alternates = std::mem::take(&mut row.alternates);
                self.note(&row);
                match self.duplicate_of(&row, record.line) {
                    None => {
                        if let Some(external_id) = &row.external_id {
                            entry.identifies = self.external_ids.insert(hash_of(external_id));
                            entry.cells = keep(record.cells);
                        }
                        entry.row = Some(row);
                    }
                    reason => {
                        self.tally.settle(Verdict::Duplicate, None);
                        entry.verdict = Some(Verdict::Duplicate);
                        entry.reason = reason;
                    }
                }
            }
        }
        Ok(Some(entry))
    }

    fn note(&mut self, row: &ContactRow) {
        self.without_zone += u64::from(row.timezone.is_none());
        if let Some(time) = row.preferred_time {
            *self.preferred_times.entry(time).or_default() += 1;
        }
    }

    /// Remembers the row's number, or says which line had it first.
    fn duplicate_of(&mut self, row: &ContactRow, line: u64) -> Option<String> {
        let extension_hash = hash_of(&row.extension);
        if let Some(first) = self.seen.get(&row.phone) {
            let kind = if first.extension_hash == extension_hash { "same_phone" } else { "same_phone_other_extension" };
            return Some(format!("{kind}_as_line_{}", first.line));
        }
        self.seen.insert(row.phone, FirstSeen { line, extension_hash });
        None
    }

    /// Gives every entry of the batch its verdict, and writes what is new.
    async fn settle(&mut self, batch: &mut [Entry], tx: Option<&mut Tx>) -> anyhow::Result<()> {
        let (Some(tx), Some(target)) = (tx, &mut self.target) else {
            // With no database to compare with, every contact is new.
            for entry in batch.iter_mut().filter(|entry| entry.row.is_some()) {
                entry.verdict = Some(Verdict::Created);
                self.tally.settle(Verdict::Created, None);
            }
            return Ok(());
        };
        let mut contact_ids = Vec::new();
        // Somebody else may make a contact between our look and our write; the next round then finds it.
        let mut rounds = 0;
        while batch.iter().any(|entry| entry.row.is_some() && entry.verdict.is_none()) {
            rounds += 1;
            ensure!(rounds <= 10, "contacts of this list are being made and removed by somebody else; try again later");
            settle_round(batch, tx, target, &self.seen, &mut contact_ids).await?;
        }
        for entry in batch.iter().filter(|entry| entry.row.is_some()) {
            let verdict = entry.verdict.unwrap_or(Verdict::Unchanged);
            let is_rejected = verdict == Verdict::Rejected;
            self.tally.settle(verdict, is_rejected.then_some(EXTERNAL_ID_OF_ANOTHER));
            if is_rejected && self.examples.len() < REJECTS_SHOWN {
                let external_id = entry.row.as_ref().and_then(|row| row.external_id.as_deref()).unwrap_or_default();
                let phone = entry.phone.as_ref().map_or("", Phone::as_str);
                self.examples
                    .push(format!("line {}: {phone} is the phone of another contact than {external_id:?}", entry.line));
            }
        }
        if let (Some((campaign_id, rules_version)), false) = (target.campaign.clone(), target.dry_run) {
            // A withdrawn contact stays withdrawn, however often a list names it.
            let new = contacts::never_enrolled(tx, &campaign_id, &contact_ids).await?;
            let pairs: Vec<(String, String)> = new.into_iter().map(|contact| (target.new_id(), contact)).collect();
            self.enrolled += enrollments::enroll(tx, &campaign_id, rules_version, &pairs, target.now).await?;
        }
        Ok(())
    }

    /// Writes the batch to the report, and what was rejected of it to the rejects.
    fn account(&mut self, batch: &[Entry]) -> anyhow::Result<()> {
        if let Some(rejects) = &mut self.rejects {
            for entry in batch.iter().filter(|entry| entry.verdict == Some(Verdict::Rejected)) {
                if let Some(cells) = &entry.cells {
                    rejects.write(entry.line, cells, entry.reason.as_deref().unwrap_or_default())?;
                }
            }
        }
        let Some(report) = &mut self.report else { return Ok(()) };
        for entry in batch {
            report.write(&ReportLine {
                record: entry.record,
                line: entry.line,
                verdict: entry.verdict.unwrap_or(Verdict::Rejected),
                phone: entry.phone,
                extension: entry.extension.as_deref(),
                alternates: &entry.alternates,
                reason: entry.reason.as_deref(),
            })?;
        }
        Ok(())
    }

    /// The first rejected rows, a sentence each.
    pub(super) fn examples(&self) -> &[String] {
        &self.examples
    }

    /// Everything that was written to files is complete, but for its name.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(rejects) = &mut self.rejects {
            rejects.flush()?;
        }
        if let Some(report) = &mut self.report {
            report.flush()?;
        }
        Ok(())
    }

    /// Gives the files their names.
    pub(super) fn publish(&mut self) -> anyhow::Result<()> {
        if let Some(rejects) = self.rejects.take() {
            rejects.publish()?;
        }
        if let Some(report) = self.report.take() {
            report.publish()?;
        }
        Ok(())
    }
}

/// One look and one write for the entries without a verdict. Adds the ids of contacts that are to be enrolled.
async fn settle_round(
    batch: &mut [Entry],
    tx: &mut Tx,
    target: &mut Target,
    seen: &HashMap<Phone, FirstSeen>,
    contact_ids: &mut Vec<String>,
) -> anyhow::Result<()> {
    let open = |entry: &&mut Entry| entry.row.is_some() && entry.verdict.is_none();
    let rows: Vec<(&ContactRow, bool)> = batch
        .iter()
        .filter(|entry| entry.verdict.is_none())
        .filter_map(|entry| Some((entry.row.as_ref()?, entry.identifies)))
        .collect();
    let mut known = Known::look_up(tx, target, &rows).await?;
    let mut to_insert = Vec::new();
    let mut to_update = Vec::new();
    let mut to_correct = Vec::new();
    let mut to_recheck = Vec::new();
    for entry in batch.iter_mut().filter(open) {
        let Some(row) = &entry.row else { continue };
        let holder = known.by_phone.get(row.phone.as_str());
        // Where the list has an earlier row for the phone that the id's owner has now, it speaks of two people.
        let was_met = |owner: &&Contact| {
            let phone = Phone::from_e164(&owner.phone).ok();
            phone.and_then(|phone| seen.get(&phone)).is_some_and(|first| first.line < entry.line)
        };
        let external_id = row.external_id.as_deref().filter(|_| entry.identifies);
        let owner = external_id.and_then(|id| known.moved(id, row.phone.as_str())).filter(|owner| !was_met(owner));
        let Some(old) = holder.or(owner).cloned() else {
            let id = target.new_id();
            to_insert.push(plan::created(row, id, &target.tenant, &target.import_id, target.now));
            continue;
        };
        let verdict = match (target.on_existing, holder, owner) {
            (OnExisting::Fail, ..) => {
                return Err(Failure::refused(format!(
                    "line {}: {} is a contact of {} already; nothing was imported",
                    entry.line, old.phone, target.tenant
                ))
                .hint("--on-existing update takes over what the list says, --on-existing skip leaves contacts as they are")
                .into());
            }
            (OnExisting::Skip, ..) => Verdict::Skipped,
            (OnExisting::Update, Some(_), Some(_)) => {
                entry.reason = Some(EXTERNAL_ID_OF_ANOTHER.to_owned());
                Verdict::Rejected
            }
            (OnExisting::Update, None, _) => {
                let contact = plan::corrected(&old, row, target.now)?;
                known.replace(&old, &contact);
                to_correct.push((old.phone, contact));
                continue;
            }
            (OnExisting::Update, Some(_), None) => {
                contact_ids.push(old.id.clone());
                match plan::merged(&old, row, target.now)? {
                    None => Verdict::Unchanged,
                    Some(Merged { contact, concerns_calls }) => {
                        known.replace(&old, &contact);
                        if concerns_calls {
                            to_recheck.push(contact.id.clone());
                        }
                        to_update.push(contact);
                        Verdict::Updated
                    }
                }
            }
        };
        entry.verdict = Some(verdict);
    }
    let corrected = write(tx, target, &mut to_update, &to_correct, &to_recheck).await?;
    let made = insert(tx, target, &mut to_insert).await?;
    contact_ids.extend(to_insert.into_iter().filter(|c| made.contains(&c.phone)).map(|contact| contact.id));
    let mut settled: HashMap<&str, Verdict> = made.iter().map(|phone| (phone.as_str(), Verdict::Created)).collect();
    for (given_up, contact) in &to_correct {
        if corrected.contains(&contact.id) {
            settled.insert(&contact.phone, Verdict::Updated);
            contact_ids.push(contact.id.clone());
            if target.dry_run {
                target.given_up.insert(given_up.clone());
            }
        }
    }
    for entry in batch.iter_mut().filter(open) {
        entry.verdict = entry.phone.as_ref().and_then(|phone| settled.get(phone.as_str())).copied();
    }
    Ok(())
}

/// Writes contacts that changed; gives the ids of those whose phone was corrected.
async fn write(
    tx: &mut Tx,
    target: &Target,
    to_update: &mut [Contact],
    to_correct: &[(String, Contact)],
    to_recheck: &[String],
) -> anyhow::Result<HashSet<String>> {
    if target.dry_run {
        return Ok(to_correct.iter().map(|(_, contact)| contact.id.clone()).collect());
    }
    // One order for everybody who writes contacts, so that two never wait for one another.
    to_update.sort_unstable_by(|a, b| a.phone.cmp(&b.phone));
    contacts::update(tx, to_update).await?;
    contacts::recheck(tx, to_recheck, target.now).await?;
    let contacts: Vec<Contact> = to_correct.iter().map(|(_, contact)| contact.clone()).collect();
    let corrected = contacts::correct(tx, &contacts).await?;
    contacts::recheck(tx, &corrected.iter().cloned().collect::<Vec<_>>(), target.now).await?;
    Ok(corrected)
}

/// Makes contacts; gives the phones of those that were made.
async fn insert(tx: &mut Tx, target: &Target, to_insert: &mut [Contact]) -> anyhow::Result<HashSet<String>> {
    if target.dry_run {
        return Ok(to_insert.iter().map(|contact| contact.phone.clone()).collect());
    }
    to_insert.sort_unstable_by(|a, b| a.phone.cmp(&b.phone));
    Ok(contacts::insert(tx, to_insert).await?)
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
