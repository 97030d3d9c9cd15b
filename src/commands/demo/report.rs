//! What the demo tells, from what its commands printed and what the stand-in saw.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::Day;
use super::stage::Stage;
use crate::domain::zone::Zone;
use crate::output::Rows;
use crate::sandbox::Ring;
use crate::store::calls::{self, Call};

const MAX_CALLS: i64 = 100_000;
const LATEST: usize = 10;

/// What the stand-in rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) rings: u64,
    pub(super) phones: u64,
    pub(super) most_rings: u64,
}

impl Ledger {
    pub(super) fn of(rings: &[Ring]) -> Self {
        let mut by_phone: BTreeMap<&str, u64> = BTreeMap::new();
        for ring in rings {
            *by_phone.entry(&ring.phone).or_default() += 1;
        }
        Self {
            rings: rings.len() as u64,
            phones: by_phone.len() as u64,
            most_rings: by_phone.values().copied().max().unwrap_or(0),
        }
    }
}

/// `once`, `twice`, `3 times`.
pub(super) fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// What `apply` did, in a line.
pub(super) fn changes(applied: &Value) -> String {
    // A line for each key that changed.
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in applied.as_array().into_iter().flatten() {
        if let (Some(kind), Some(name)) = (change["kind"].as_str(), change["name"].as_str()) {
            kinds.entry(kind).or_default().insert(name);
        }
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let list: Vec<String> =
        kinds.iter().map(|(kind, names)| format!("{} {kind}{}", names.len(), plural(names.len()))).collect();
    list.join(", ")
}

/// What an import did, in a line.
pub(super) fn import(import: &Value) -> String {
    let count = |name: &str| import[name].as_u64().unwrap_or(0);
    let mut parts = vec![format!("{} rows: {} contacts", HumanCount(count("rows")), HumanCount(count("created")))];
    for (name, text) in [("duplicate", "for a phone that came before"), ("rejected", "without a usable phone")] {
        if count(name) > 0 {
            parts.push(format!("{} {text}", HumanCount(count(name))));
        }
    }
    parts.join(", ")
}

/// What one minute did, in a line; none where nothing of note happened.
pub(super) fn minute(latest: &Day, minute: u32) -> Option<String> {
    let told = [
        ("placed", "placed"),
        ("ended", "ended"),
        ("unknown", "answer lost"),
        ("found", "found at the provider"),
        ("proven_absent", "proven not to have rung"),
    ];
    let parts: Vec<String> = told
        .iter()
        .filter_map(|(name, text)| {
            let count = latest.total(name);
            (count > 0).then(|| format!("{} {text}", HumanCount(count)))
        })
        .collect();
    let is_notable = ["unknown", "found", "proven_absent"].iter().any(|name| latest.total(name) > 0);
    (is_notable || (minute.is_multiple_of(5) && !parts.is_empty())).then(|| parts.join(", "))
}

/// Every call, newest first.
pub(super) async fn calls(stage: &Stage) -> Result<Vec<Call>> {
    let mut tx = stage.app().db().await?.read().await?;
    Ok(calls::calls(&mut tx, &calls::Filter { limit: MAX_CALLS, ..calls::Filter::default() }).await?)
}

/// Calls by campaign and outcome.
pub(super) fn outcomes(calls: &[Call]) -> Rows {
    let mut counts: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for call in calls {
        let campaign = format!("{}/{}", call.tenant, call.campaign);
        *counts.entry((campaign, outcome(call))).or_default() += 1;
    }
    let mut rows = Rows::new(&["campaign", "outcome", "calls"]);
    for ((campaign, outcome), count) in counts {
        rows.push(vec![json!(campaign), json!(outcome.replace('_', " ")), json!(HumanCount(count).to_string())]);
    }
    rows
}

/// The newest calls.
pub(super) fn latest(calls: &[Call], zone: Zone) -> Rows {
    let mut rows = Rows::new(&["placed", "campaign", "phone", "slot", "status", "outcome"]);
    for call in calls.iter().take(LATEST) {
        rows.push(vec![
            json!(zone.local(call.created_at).format("%a %H:%M").to_string()),
            json!(format!("{}/{}", call.tenant, call.campaign)),
            json!(call.phone),
            json!(call.slot_key),
            json!(call.status.as_str()),
            json!(outcome(call).replace('_', " ")),
        ]);
    }
    rows
}

pub(super) fn by_status(calls: &[Call]) -> BTreeMap<&'static str, u64> {
    count(calls.iter().map(|call| call.status.as_str()))
}

pub(super) fn by_outcome(calls: &[Call]) -> BTreeMap<&'static str, u64> {
    count(calls.iter().map(outcome))
}

fn outcome(call: &Call) -> &'static str {
    call.outcome.map_or("none", |outcome| outcome.as_str())
}

fn count<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts
}
