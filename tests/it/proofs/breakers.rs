//! A provider that begins to refuse in the middle of a run with many requests under way: how many more it is asked, what
//! is held back and said about it, and that everybody is rung exactly once in the end.

use std::fmt::Write as _;

use callops::store::runs::{self, Finding};
use callops::store::setup;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::stage::{Case, Stage, Template, every, ordinary};
use super::{say, seed, size};
use crate::common::on_both_databases;

const PEOPLE: usize = 60;
const CONCURRENCY: usize = 4;
/// While the first refusal is on its way, each request that ends is followed by another.
const MOST_AFTER_A_REFUSAL: usize = 2 * CONCURRENCY;

/// What a provider begins to do.
struct Trouble {
    what: &'static str,
    fault: Value,
    /// The finding that it raises, with its subject's beginning, and how the run ends.
    finding: Option<(&'static str, &'static str)>,
    exit: i32,
    /// Whether it refuses every call, so that the run has to stop.
    is_everybody: bool,
}

fn troubles() -> Vec<Trouble> {
    let account = Some(("account_refused", "account:"));
    let campaign = Some(("campaign_refused", "campaign:"));
    let refusal = |what, fault, finding, exit| Trouble { what, fault, finding, exit, is_everybody: true };
    let some = |what, fault| Trouble { what, fault, finding: None, exit: 0, is_everybody: false };
    vec![
        refusal("refuses the key", json!({"kind": "unauthorized_all"}), account, 6),
        refusal("wants to be paid", json!({"kind": "payment_required"}), account, 6),
        refusal("does not know the agent", json!({"kind": "assistant_missing"}), campaign, 4),
        refusal("asks for fewer requests", json!({"kind": "too_many_requests", "retry_after": "60"}), None, 0),
        refusal("has no line free", json!({"kind": "over_concurrency", "mode": "http_400"}), None, 0),
        some("fails half of the time", json!({"kind": "server_error", "status": 503, "match": {"percent": 50}})),
        some(
            "fails after it has rung",
            json!({"kind": "server_error", "status": 502, "rings": true, "match": {"percent": 30}}),
        ),
        some("asks for fewer requests in between", json!({"kind": "too_many_requests", "times": 3})),
    ]
}

/// What holds calls back at this moment.
#[derive(Debug)]
struct Held {
    until: Option<DateTime<Utc>>,
    refusals: i64,
    findings: Vec<Finding>,
}

impl Stage {
    /// When requests for calls came in since, and whether something went wrong with them.
    fn asked_since(&self, since: DateTime<Utc>) -> Vec<(DateTime<Utc>, bool)> {
        let requests = self.document("requests");
        let asked = requests
            .as_array()
            .expect("a list")
            .iter()
            .filter(|request| request["method"] == "POST" && request["path"] == "/call");
        asked
            .map(|request| {
                let at: DateTime<Utc> = request["at"].as_str().expect("a time").parse().expect("a time");
                (at, !request["fault"].is_null())
            })
            .filter(|(at, _)| *at >= since)
            .collect()
    }

    fn held(&self) -> Held {
        self.with_db(async |db| {
            let mut tx = db.read().await.expect("a transaction");
            let account = setup::accounts(&mut tx).await.expect("the accounts").remove(0);
            let campaign = setup::campaign(&mut tx, "acme", "checkup").await.expect("the campaign").expect("one");
            Held {
                until: account.held_until.max(campaign.held_until),
                refusals: account.refusals.max(campaign.refusals),
                findings: runs::standing_findings(&mut tx).await.expect("the findings"),
            }
        })
    }
}

/// A run into which the trouble comes after some phones rang; yields what went wrong.
fn trouble_in_mid_run(stage: &Stage, trouble: &Trouble) -> String {
    stage.control("settings", &json!({"latency_ms": 80}));
    let concurrency = CONCURRENCY.to_string();
    let running = stage.spawn(&stage.callops(), &["process-calls", "--concurrency", &concurrency]);
    let running = stage.until_rung(running, 5);
    let since = stage.now();
    stage.fault(trouble.fault.clone());
    let output = running.wait();
    let mut wrong = String::new();
    let asked = stage.asked_since(since);
    let first = asked.iter().find(|(_, refused)| *refused).map(|(at, _)| *at);
    let further = asked.iter().filter(|(at, _)| first.is_some_and(|first| *at > first)).count();
    if first.is_none() {
        wrong.push_str("it never came to that\n");
    }
    if trouble.is_everybody && (further > MOST_AFTER_A_REFUSAL || stage.rings().len() == PEOPLE) {
        let _ = writeln!(wrong, "{further} more were asked for after the first refusal");
    }
    if trouble.is_everybody && output.code() != Some(trouble.exit) {
        wrong.push_str("another exit code was expected\n");
    }
    say(&format!("a provider that {}: {further} more requests after the first", trouble.what));
    if wrong.is_empty() { wrong } else { format!("{wrong}{output}") }
}

/// Runs while the trouble lasts: one now, which must ask for nothing, and three more, each when the hold is over. Yields
/// what went wrong.
fn while_it_lasts(stage: &Stage, trouble: &Trouble) -> String {
    let mut wrong = String::new();
    let mut earlier: Option<Held> = None;
    for n in 0..4 {
        let since = stage.now();
        let output = stage.run(&["process-calls", "--concurrency", "4"]);
        let asked = stage.asked_since(since).len();
        if asked > if n == 0 { 0 } else { MOST_AFTER_A_REFUSAL } {
            let _ = writeln!(wrong, "run {n} asked for {asked} calls: {output}");
        }
        let held = stage.held();
        let wait = held.until.map_or(TimeDelta::zero(), |until| until - stage.now());
        let known: Vec<&str> = held.findings.iter().map(|finding| finding.kind.as_str()).collect();
        if known != trouble.finding.iter().map(|(kind, _)| *kind).collect::<Vec<_>>() {
            let _ = writeln!(wrong, "run {n} left the findings {known:?}: {output}");
        }
        if let (Some((_, subject)), Some(finding)) = (trouble.finding, held.findings.first()) {
            let since = earlier.as_ref().and_then(|held| held.findings.first()).map(|finding| finding.first_seen_at);
            if !finding.subject.starts_with(subject) || since.is_some_and(|since| since != finding.first_seen_at) {
                let _ = writeln!(wrong, "run {n} raised it anew: {finding:?}, first seen {since:?}");
            }
            // 1, 2, 4.. minutes: one refusal more with each run that was refused, however many requests were under way.
            let back_off = TimeDelta::minutes(1 << n);
            let expected = i64::from(n) + 1;
            if held.refusals != expected || wait > back_off || wait < back_off / 4 {
                let _ = writeln!(wrong, "run {n} of {expected} is held for {wait} after {} refusals", held.refusals);
            }
        }
        stage.wait(wait.max(TimeDelta::zero()) + TimeDelta::seconds(1));
        earlier = Some(held);
    }
    wrong
}

fn recovered(stage: &Stage) -> String {
    let mut wrong = stage.settle_after(&[2, 16, 6, 2, 40, 16, 6, 2]);
    let held = stage.held();
    if held.until.is_some_and(|until| until > stage.now()) || held.refusals > 0 || !held.findings.is_empty() {
        let _ = writeln!(wrong, "after everybody was rung there is still {held:?}");
    }
    wrong
}

on_both_databases! {
    fn a_provider_that_begins_to_refuse(db) {
        let template = Template::new(db.backend(), ordinary(PEOPLE), 1000);
        let mut troubles = troubles();
        fastrand::Rng::with_seed(seed()).shuffle(&mut troubles);
        troubles.truncate(size(4, troubles.len()));
        let rounds = size(1, 5);
        let cases = every(2, (troubles.len() * rounds) as u64, |n| {
            let trouble = &troubles[usize::try_from(n - 1).expect("a small number") % troubles.len()];
            let stage = template.stage();
            let mut wrong = trouble_in_mid_run(&stage, trouble);
            if trouble.is_everybody {
                wrong.push_str(&while_it_lasts(&stage, trouble));
            }
            wrong.push_str(&recovered(&stage));
            Case::Done(if wrong.is_empty() { wrong } else { format!("a provider that {}:\n{wrong}", trouble.what) })
        });
        say(&format!("{cases} runs met a provider that began to refuse"));
    }
}
