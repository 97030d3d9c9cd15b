//! The first look at a queue: what becomes of each row, before anything is written. Then the rows once more, those that
//! make something of themselves.

use std::collections::{HashMap, HashSet};

use indicatif::ProgressBar;

use super::Setting;
use super::columns::QueueReader;
use super::settle::Item;
use super::tell::{Outcome, Verdict};
use crate::commands::calling::stop::Stop;
use crate::commands::import_contacts::entries::Raw;
use crate::commands::import_contacts::list::{ListReader, Record};
use crate::domain::contact_row::ContactRow;
use crate::domain::queue::{Decided, Fate, QueueRow, Row, Said, decide};
use crate::error::Failure;
use crate::store::contacts::BATCH_ROWS;

/// Rejected rows of which is said what is wrong.
const DETAILS: usize = 5;

/// What a queue says, with little memory for each row: names and attributes are read again when they are written.
pub(super) struct Survey {
    pub(super) rows: Vec<Row>,
    pub(super) lines: Vec<u64>,
    pub(super) fates: Vec<Fate>,
    /// The row whose customer a row bears in the place of its own.
    lent: HashMap<usize, usize>,
    /// Rows of customers who may have been called, and whom no phone can bear.
    pub(super) unheld: Vec<usize>,
    /// The customers of the rows of these two, by their place.
    customers: HashMap<usize, String>,
    /// Why rows are rejected, by their place.
    pub(super) problems: HashMap<usize, &'static str>,
    /// What is wrong with the first of these.
    pub(super) details: Vec<String>,
    /// Of the file, in hexadecimal.
    pub(super) sha256: String,
}

/// Rows of the last reading.
pub(super) struct Batch {
    /// Those that are enrolled, or left out with a note.
    pub(super) items: Vec<Item>,
    /// How many rows were passed, whatever became of them.
    pub(super) rows: usize,
    /// The bytes of rejected rows, by their place.
    pub(super) raw: HashMap<usize, Raw>,
}

/// A queue at its first row.
pub(super) fn opened(setting: &Setting<'_>) -> anyhow::Result<ListReader> {
    let mut list = ListReader::open(&setting.source, setting.read_as)?;
    list.header()?;
    Ok(list)
}

impl Survey {
    /// Reads a queue behind its header, and decides about every row.
    pub(super) fn of(
        mut list: ListReader,
        reader: &QueueReader,
        retry_failed: bool,
        progress: &ProgressBar,
        stop: &Stop,
    ) -> anyhow::Result<Self> {
        let mut survey = Self {
            rows: Vec::new(),
            lines: Vec::new(),
            fates: Vec::new(),
            lent: HashMap::new(),
            unheld: Vec::new(),
            customers: HashMap::new(),
            problems: HashMap::new(),
            details: Vec::new(),
            sha256: String::new(),
        };
        while let Some(record) = list.next()? {
            survey.add(&record, reader);
            if survey.rows.len().is_multiple_of(BATCH_ROWS) {
                progress.set_position(list.bytes_read());
                if let Some(exit) = stop.exit() {
                    return Err(Failure::new(exit, "interrupted: nothing was imported").into());
                }
            }
        }
        survey.sha256 = list.sha256();
        Decided { fates: survey.fates, lent: survey.lent, unheld: survey.unheld } = decide(&survey.rows, retry_failed);
        Ok(survey)
    }

    /// Reads the customers that rows bear in the place of others, and those that none bears; from a list at its first row.
    pub(super) fn learn_customers(&mut self, list: &mut ListReader, reader: &QueueReader) -> anyhow::Result<()> {
        let wanted: HashSet<usize> = self.lent.values().chain(&self.unheld).copied().collect();
        while self.customers.len() < wanted.len() {
            let Some(record) = list.next()? else { break };
            let index = place(&record);
            if wanted.contains(&index)
                && let (_, Some(QueueRow { customer_id: Some(id), .. })) = reader.read(&record)
            {
                self.customers.insert(index, id);
            }
        }
        Ok(())
    }

    /// The customers who may have been called, and whom no phone can bear.
    pub(super) fn unheld_customers(&self) -> Vec<&str> {
        self.unheld.iter().filter_map(|index| self.customers.get(index)).map(String::as_str).collect()
    }

    fn add(&mut self, record: &Record<'_>, reader: &QueueReader) {
        let index = self.rows.len();
        let (contact, queue) = reader.read(record);
        let said = queue.as_ref().map_or(Ok(Said::Unclear), |queue| queue.said.clone());
        let is_spent = said.as_ref().is_ok_and(|said| said.is_spent());
        let phone = match &contact {
            Ok(contact) => Some(contact.phone),
            // A call that was placed counts, whatever else of its row cannot be read.
            // So does a word that nobody knows.
            Err(_) if is_spent || said.is_err() => reader.phone_of(record),
            Err(_) => None,
        };
        let problem = match (contact, &said) {
            (Err(_), Ok(_)) if is_spent && phone.is_some() => None,
            (Err(problem), _) => Some((problem.reason.code(), problem.detail)),
            (Ok(_), Err(problem)) => Some(problem.clone()),
            (Ok(_), Ok(_)) => None,
        };
        if let Some((code, detail)) = problem {
            self.problems.insert(index, code);
            if self.details.len() < DETAILS {
                self.details.push(format!("line {}: {detail}", record.line));
            }
        }
        self.lines.push(record.line);
        self.rows.push(Row {
            phone: phone.map(|phone| phone.digits()),
            customer: queue.as_ref().and_then(crate::domain::queue::QueueRow::customer_key),
            said: said.unwrap_or(Said::Unclear),
            created_at: queue.and_then(|queue| queue.created_at).map(|at| at.timestamp_micros()),
        });
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What becomes of each row as far as the file alone tells.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let verdict = |fate: &Fate| match fate {
            Fate::Spend { .. } => Verdict::Spent,
            Fate::Enroll => Verdict::Enrolled,
            Fate::Duplicate { .. } => Verdict::Duplicate,
            Fate::LeaveOut | Fate::HoldBack { .. } => Verdict::LeftOut,
            Fate::Nothing => Verdict::Rejected,
        };
        self.fates.iter().map(|fate| Outcome { verdict: verdict(fate), because: None }).collect()
    }

    /// The next rows that spend a slot; none at the end.
    pub(super) fn next_spent(&self, list: &mut ListReader, reader: &QueueReader) -> anyhow::Result<Option<Vec<Item>>> {
        let mut items = Vec::new();
        while items.len() < BATCH_ROWS {
            let Some(record) = list.next()? else { break };
            let index = place(&record);
            if matches!(self.fates.get(index), Some(Fate::Spend { .. })) {
                items.extend(self.item(index, &record, reader));
            }
        }
        Ok((!items.is_empty()).then_some(items))
    }

    /// The next rows, of which the items are to be enrolled or left out; none at the end. With `keeps_raw` rejected ones
    /// come with their bytes.
    pub(super) fn next_rest(
        &self,
        list: &mut ListReader,
        reader: &QueueReader,
        keeps_raw: bool,
    ) -> anyhow::Result<Option<Batch>> {
        let mut batch = Batch { items: Vec::new(), rows: 0, raw: HashMap::new() };
        while batch.rows < BATCH_ROWS {
            let Some(record) = list.next()? else { break };
            let index = place(&record);
            batch.rows += 1;
            match self.fates.get(index) {
                Some(Fate::Enroll | Fate::LeaveOut | Fate::HoldBack { .. }) => {
                    batch.items.extend(self.item(index, &record, reader));
                }
                Some(Fate::Nothing) => {
                    // Rejected, and known all the same as somebody who is not to be called.
                    if self.rows.get(index).is_some_and(|row| row.phone.is_some()) {
                        batch.items.extend(self.item(index, &record, reader));
                    }
                    if keeps_raw {
                        batch.raw.insert(index, Raw::of(&record));
                    }
                }
                _ => {}
            }
        }
        Ok((batch.rows > 0).then_some(batch))
    }

    fn item(&self, index: usize, record: &Record<'_>, reader: &QueueReader) -> Option<Item> {
        let (contact, queue) = reader.read(record);
        let row = match contact {
            Ok(contact) => contact,
            Err(_) => ContactRow::bare(reader.phone_of(record)?),
        };
        let customer_id = queue.and_then(|queue| queue.customer_id);
        let lent = self.lent.get(&index).and_then(|lender| self.customers.get(lender)).cloned();
        Some(Item {
            index,
            row,
            subject: lent.or_else(|| customer_id.clone()),
            customer_id,
            said: self.rows.get(index)?.said,
            is_enrolled: matches!(self.fates.get(index), Some(Fate::Enroll)),
            is_unclear: matches!(self.fates.get(index), Some(Fate::HoldBack { .. } | Fate::Nothing)),
        })
    }
}

/// The place of a record among all, from 0.
fn place(record: &Record<'_>) -> usize {
    usize::try_from(record.number).unwrap_or(usize::MAX).saturating_sub(1)
}
