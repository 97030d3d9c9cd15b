//! Takes in a list: rows come from the reading thread, get their verdicts, and are accounted for.

use std::collections::BTreeMap;

use anyhow::anyhow;
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::REJECTS_SHOWN;
use super::entries::{Entry, FirstLines, Message, Reading};
use super::files::ReportFile;
use super::list::ListReader;
use super::rejects::RejectsFile;
use super::settle::Target;
use super::tally::{Tally, Verdict};
use crate::commands::calling::stop::Stop;
use crate::domain::contact_row::{RowReader, ZoneTally};
use crate::domain::preferred::PreferredTime;
use crate::error::Failure;
use crate::store::Tx;

/// Chunks that the reading thread may be ahead.
const CHUNKS_AHEAD: usize = 1;

/// Takes in a list.
pub(super) struct Importer {
    pub(super) target: Option<Target>,
    pub(super) rejects: Option<RejectsFile>,
    pub(super) report: Option<ReportFile>,
    pub(super) tally: Tally,
    pub(super) examples: Vec<String>,
    /// How many contacts of the list have each preferred time.
    pub(super) preferred_times: BTreeMap<PreferredTime, u64>,
    /// What is known of the zones of rows that can be used.
    pub(super) zones: ZoneTally,
    /// Rows whose phone cell holds several valid numbers.
    pub(super) with_alternates: u64,
    stop: Stop,
}

impl Importer {
    pub(super) fn new(
        target: Option<Target>,
        rejects: Option<RejectsFile>,
        report: Option<ReportFile>,
        stop: Stop,
    ) -> Self {
        Self {
            target,
            rejects,
            report,
            tally: Tally::default(),
            examples: Vec::new(),
            preferred_times: BTreeMap::new(),
            zones: ZoneTally::default(),
            with_alternates: 0,
            stop,
        }
    }

    /// Reads the list to its end; gives the SHA-256 of the file.
    pub(super) async fn run(
        &mut self,
        list: ListReader,
        rows: RowReader,
        tx: Option<&mut Tx>,
        progress: &ProgressBar,
    ) -> anyhow::Result<String> {
        let (sender, mut receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (give_back, done) = std::sync::mpsc::channel();
        let first_lines = FirstLines::default();
        let reading = Reading { list, rows, first_lines: first_lines.clone(), keeps_raw: self.rejects.is_some(), done };
        let reader = tokio::task::spawn_blocking(move || reading.run(&sender));
        let outcome = self.take_all(&mut receiver, &give_back, tx, &first_lines, progress).await;
        // The reader must have ended before the list is read again, or the program ends.
        drop(receiver);
        let read = reader.await?;
        let sha256 = outcome?;
        read?;
        sha256.ok_or_else(|| anyhow!("the list was not read to its end"))
    }

    async fn take_all(
        &mut self,
        receiver: &mut mpsc::Receiver<Message>,
        give_back: &std::sync::mpsc::Sender<Vec<Entry>>,
        mut tx: Option<&mut Tx>,
        first_lines: &FirstLines,
        progress: &ProgressBar,
    ) -> anyhow::Result<Option<String>> {
        let mut sha256 = None;
        loop {
            let message = tokio::select! {
                message = receiver.recv() => message,
                exit = self.stop.asked() => {
                    return Err(Failure::new(exit, "interrupted: nothing was imported").into());
                }
            };
            let Some(message) = message else { return Ok(sha256) };
            match message {
                Message::Rows(mut entries, bytes_read) => {
                    self.settle(tx.as_deref_mut(), &mut entries, first_lines).await?;
                    self.account(&entries)?;
                    // Once the list was read to its end, nobody takes them.
                    let _ = give_back.send(entries);
                    progress.set_position(bytes_read);
                    if !progress.is_hidden() {
                        progress.set_message(self.progress(progress));
                    }
                }
                Message::End { sha256: digest, records } => {
                    self.tally.assert_adds_up(records);
                    sha256 = Some(digest);
                }
            }
        }
    }

    fn progress(&self, bar: &ProgressBar) -> String {
        let rows = self.tally.rows_read();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people"
        )]
        let rate = (rows as f64 / bar.elapsed().as_secs_f64().max(0.001)) as u64;
        format!("{rows} rows, {rate} a second, {} rejected", self.tally.of(Verdict::Rejected))
    }

    async fn settle(
        &mut self,
        tx: Option<&mut Tx>,
        entries: &mut [Entry],
        first_lines: &FirstLines,
    ) -> anyhow::Result<()> {
        if let (Some(tx), Some(target)) = (tx, &mut self.target) {
            return target.settle(tx, entries, first_lines).await;
        }
        // With no database to compare with, every contact is new.
        for entry in entries.iter_mut().filter(|entry| entry.is_open()) {
            entry.verdict = Some(Verdict::Created);
        }
        Ok(())
    }

    /// Counts the rows, and writes them to the report, and what was rejected of them to the rejects.
    fn account(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        for entry in entries {
            let verdict = entry.verdict.ok_or_else(|| anyhow!("line {} was left without a verdict", entry.line))?;
            self.tally.count(verdict, entry.reason);
            let is_contact = matches!(verdict, Verdict::Created | Verdict::Updated | Verdict::Unchanged);
            if let Some(row) = entry.row.as_ref().filter(|_| is_contact) {
                self.zones.count(row.timezone.is_some(), row.phone.as_str());
                self.with_alternates += u64::from(!row.alternates.is_empty());
                if let Some(time) = row.preferred_time {
                    *self.preferred_times.entry(time).or_default() += 1;
                }
            }
            if let Some(detail) = entry.detail.as_ref().filter(|_| self.examples.len() < REJECTS_SHOWN) {
                self.examples.push(detail.clone());
            }
            if let (Verdict::Rejected, Some(rejects), Some(raw)) = (verdict, &mut self.rejects, &entry.raw) {
                rejects.write(entry.line, raw, &entry.reason.map(|reason| reason.to_string()).unwrap_or_default())?;
            }
            if let Some(report) = &mut self.report {
                report.write(entry)?;
            }
        }
        Ok(())
    }

    /// How many contacts were put into the campaign that were not in it.
    pub(super) fn enrolled(&self) -> u64 {
        self.target.as_ref().map_or(0, |target| target.enrolled)
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
