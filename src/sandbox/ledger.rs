//! What the sandbox did to people's phones: appended before anything else happens, never changed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

/// One phone that rang.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// The phone, as the request wrote it.
    pub phone: String,
    /// The call's `name`, by which clients mark their calls.
    pub name: Option<String>,
    /// The organisation that called.
    pub org: String,
    /// The call's id.
    pub id: String,
    /// The assistant that called.
    pub assistant: Option<String>,
    /// The line that called.
    pub line: Option<String>,
}

/// All rings so far, and how many calls were live at once.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rings: Vec<Ring>,
    most_live: BTreeMap<String, usize>,
    file: Option<File>,
    file_error: Option<String>,
}

impl Ledger {
    /// A ledger that also appends a JSON line per ring to `path`, if given.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        Ok(Self { file, ..Self::default() })
    }

    /// Notes a ring, together with how many calls of its organisation are live now that it rings.
    pub(super) fn record(&mut self, ring: Ring, live: usize) {
        let most = self.most_live.entry(ring.org.clone()).or_default();
        *most = live.max(*most);
        if let Some(file) = &mut self.file {
            let mut text = json!(ring).to_string();
            text.push('\n');
            if let Err(error) = file.write_all(text.as_bytes()) {
                self.file_error = Some(error.to_string());
            }
        }
        self.rings.push(ring);
    }

    pub(super) fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// The report; days are UTC. A file that could not be written is part of it, because it lacks rings.
    pub(super) fn to_json(&self) -> Value {
        let mut by_phone: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_phone_and_day: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        for ring in &self.rings {
            *by_phone.entry(&ring.phone).or_default() += 1;
            let day = ring.at.date_naive().to_string();
            *by_phone_and_day.entry(&ring.phone).or_default().entry(day).or_default() += 1;
        }
        let mut report = json!({
            "rings": self.rings,
            "rings_by_phone": by_phone,
            "rings_by_phone_and_day": by_phone_and_day,
            "most_live_by_org": self.most_live,
        });
        if let Some(error) = &self.file_error {
            report["file_error"] = json!(error);
        }
        report
    }
}
