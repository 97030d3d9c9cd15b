//! What became of every row, and how that is told.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use super::survey::Survey;
use super::{Done, Setting};
use crate::commands::import_contacts::entries::Raw;
use crate::commands::import_contacts::files::{Output, as_io};
use crate::domain::queue::{Fate, Said};
use crate::output::{Printer, Rows};

/// Rows that are listed; a report file has all of them.
const LISTED: usize = 200;

/// Customers that a warning names.
const NAMED: usize = 10;

/// What became of one row. Every row has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Its person is in the campaign now, and was not before.
    Enrolled,
    /// Its person was in the campaign already.
    AlreadyEnrolled,
    /// Its phone has had its one call by another system, which is known now.
    Spent,
    /// The one call was known before.
    AlreadySpent,
    /// Its person is not called, and had no call.
    LeftOut,
    /// Another row of the same person counts.
    Duplicate,
    /// It cannot be used.
    Rejected,
}

impl Verdict {
    const ALL: [Self; 7] = [
        Self::Enrolled,
        Self::AlreadyEnrolled,
        Self::Spent,
        Self::AlreadySpent,
        Self::LeftOut,
        Self::Duplicate,
        Self::Rejected,
    ];

    /// The stable word.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::AlreadyEnrolled => "already_enrolled",
            Self::Spent => "spent",
            Self::AlreadySpent => "already_spent",
            Self::LeftOut => "left_out",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
        }
    }
}

/// A verdict, and what the database adds to the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) because: Option<&'static str>,
}

/// One row as it is told.
struct Told {
    line: u64,
    phone: String,
    verdict: Verdict,
    reason: String,
    /// The line of the row that counts in its place, and why that one.
    kept: Option<(u64, &'static str)>,
}

/// Counts that add up to the rows read, and the rows that somebody may want to look at.
#[derive(Default)]
pub(super) struct Tally {
    rows: usize,
    counts: [u64; Verdict::ALL.len()],
    may_have_rung: u64,
    reasons: BTreeMap<String, u64>,
    listed: Vec<Told>,
    not_listed: u64,
}

impl Tally {
    pub(super) fn has_rejected(&self) -> bool {
        self.counts[Verdict::Rejected as usize] > 0
    }

    /// Stops the program rather than let a queue be taken over of which a row is unaccounted for.
    pub(super) fn assert_adds_up(&self, rows: usize) {
        let counted: u64 = self.counts.iter().sum();
        assert_eq!((self.rows, counted), (rows, rows as u64), "every row read must have one verdict");
    }

    /// `rows`, each verdict, and how many of the spent ones may have rung.
    pub(super) fn to_object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("rows".to_owned(), json!(self.rows));
        for verdict in Verdict::ALL {
            object.insert(verdict.as_str().to_owned(), json!(self.counts[verdict as usize]));
        }
        object.insert("may_have_rung".to_owned(), json!(self.may_have_rung));
        object
    }

    fn count(&mut self, told: Told, said: Said) {
        self.rows += 1;
        self.counts[told.verdict as usize] += 1;
        let is_open = told.verdict == Verdict::Spent && said == Said::MayHaveRung;
        self.may_have_rung += u64::from(is_open);
        if matches!(told.verdict, Verdict::Rejected | Verdict::LeftOut) {
            // Lines would make each reason one of its own.
            let reason = told.reason.split("_as_line_").next().unwrap_or_default();
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        let is_telling = matches!(told.verdict, Verdict::Duplicate | Verdict::LeftOut | Verdict::Rejected);
        if !is_telling && !is_open {
            return;
        }
        if self.listed.len() < LISTED {
            self.listed.push(told);
        } else {
            self.not_listed += 1;
        }
    }
}

impl Survey {
    fn tell(&self, outcomes: &[Outcome], index: usize) -> Option<Told> {
        let (row, fate, outcome) = (self.rows.get(index)?, self.fates.get(index)?, outcomes.get(index)?);
        let line_of = |index: usize| self.lines.get(index).copied().unwrap_or(0);
        let mut kept = None;
        let reason = match (outcome.because, *fate) {
            (Some(because), _) => because.to_owned(),
            (None, Fate::Spend { by: Some((by, link)) }) => format!("{}_as_line_{}", link.as_str(), line_of(by)),
            (None, Fate::Spend { by: None } | Fate::LeaveOut) => row.said.as_str().to_owned(),
            (None, Fate::Duplicate { of, link }) => {
                kept = Some((line_of(of), self.kept_because(of, index)));
                format!("{}_as_line_{}", link.as_str(), line_of(of))
            }
            (None, Fate::HoldBack { unclear }) => format!("unclear_as_line_{}", line_of(unclear)),
            (None, Fate::Nothing) => self.problems.get(&index).copied().unwrap_or("no_phone").to_owned(),
            (None, Fate::Enroll) => String::new(),
        };
        let phone = row.phone.map(|digits| format!("+{digits}")).unwrap_or_default();
        Some(Told { line: line_of(index), phone, verdict: outcome.verdict, reason, kept })
    }

    /// Why a row counts in the place of another.
    fn kept_because(&self, kept: usize, other: usize) -> &'static str {
        match (self.fates.get(kept), self.rows.get(kept), self.rows.get(other)) {
            (Some(Fate::Spend { .. }), ..) => "spent",
            (Some(Fate::Enroll), Some(kept), Some(dropped)) if dropped.said != kept.said => "waits",
            (Some(Fate::Enroll), Some(kept), Some(dropped)) if kept.created_at != dropped.created_at => "older",
            _ => "first_in_file",
        }
    }
}

impl Done {
    /// Counts rows, and writes them to the report, and what was rejected of them to the rejects.
    pub(super) fn account(
        &mut self,
        survey: &Survey,
        outcomes: &[Outcome],
        places: Range<usize>,
        raw: &HashMap<usize, Raw>,
    ) -> anyhow::Result<()> {
        for index in places {
            let told = survey.tell(outcomes, index).ok_or_else(|| anyhow!("the file changed while it was read"))?;
            if let Some(report) = &mut self.report {
                report.write(&told)?;
            }
            if let (Verdict::Rejected, Some(rejects), Some(raw)) = (told.verdict, &mut self.rejects, raw.get(&index)) {
                rejects.write(told.line, raw, &told.reason)?;
            }
            self.tally.count(told, survey.rows[index].said);
        }
        Ok(())
    }

    /// Everything that was written to files is complete, but for its name.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(rejects) = &mut self.rejects {
            rejects.flush()?;
        }
        if let Some(report) = &mut self.report {
            report.csv.flush()?;
        }
        Ok(())
    }
}

/// One line for every row, in the order of the file.
pub(super) struct ReportFile {
    csv: csv::Writer<Output>,
}

impl ReportFile {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let mut csv = csv::Writer::from_writer(Output::create(path)?);
        csv.write_record(["line", "e164", "result", "reason", "kept_line", "kept_because"]).map_err(as_io)?;
        Ok(Self { csv })
    }

    fn write(&mut self, told: &Told) -> anyhow::Result<()> {
        let (line, because) = told.kept.map_or_else(Default::default, |(line, because)| (line.to_string(), because));
        self.csv
            .write_record([&told.line.to_string(), &told.phone, told.verdict.as_str(), &told.reason, &line, because])
            .map_err(as_io)?;
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn publish(self) -> anyhow::Result<()> {
        self.csv.into_inner().map_err(|error| anyhow!(error.to_string()))?.publish()
    }
}

/// Tells what became of a queue.
pub(super) fn summarise(printer: &Printer, setting: &Setting<'_>, survey: &Survey, done: &Done) -> anyhow::Result<()> {
    let tally = &done.tally;
    for detail in &survey.details {
        printer.say(detail);
    }
    if tally.may_have_rung > 0 {
        printer.warn(match tally.may_have_rung {
            1 => "1 call was under way when the queue was written: it may have rung, and is not placed again".to_owned(),
            count => {
                format!("{count} calls were under way when the queue was written: they may have rung, and are not placed again")
            }
        });
    }
    if !done.unheld.is_empty() {
        let mut named: Vec<&str> = done.unheld.iter().take(NAMED).map(String::as_str).collect();
        let more = format!("and {} more", done.unheld.len().saturating_sub(NAMED));
        if done.unheld.len() > NAMED {
            named.push(&more);
        }
        printer.warn(format!(
            "customers were called, or may have been, and have no phone here that could hold their call: {}; a payment that \
             Stripe tells of would have them called again, so mend their phones and import the queue once more",
            named.join(", ")
        ));
    }
    let mut record = Map::new();
    record.insert("import".to_owned(), json!(done.import_id));
    record.insert("file".to_owned(), json!(setting.source.name()));
    record.insert("campaign".to_owned(), json!(setting.campaign.full_name()));
    record.insert("dry_run".to_owned(), json!(setting.args.dry_run));
    record.extend(tally.to_object());
    record.insert("unheld".to_owned(), json!(done.unheld.len()));
    let mut rows = Rows::new(&["line", "phone", "result", "reason", "kept_line", "kept_because"]);
    for told in &tally.listed {
        let kept = told.kept.map_or((Value::Null, Value::Null), |(line, because)| (json!(line), json!(because)));
        rows.push(vec![
            json!(told.line),
            json!(told.phone),
            json!(told.verdict.as_str()),
            json!(told.reason),
            kept.0,
            kept.1,
        ]);
    }
    if printer.is_table() {
        printer.record(&record)?;
        if !rows.is_empty() {
            printer.line("\nthese are not called as they stand there:")?;
            printer.rows(&rows)?;
        }
    } else {
        record.insert("reasons".to_owned(), json!(tally.reasons));
        record.insert("listed".to_owned(), rows.objects().map(Value::Object).collect());
        record.insert("unheld_customers".to_owned(), json!(done.unheld));
        record.insert("not_listed".to_owned(), json!(tally.not_listed));
        printer.record(&record)?;
    }
    if tally.not_listed > 0 {
        printer.say(format!("{} more such rows: --report FILE writes all of them", tally.not_listed));
    }
    Ok(())
}
