//! A run ends within its `--max-runtime`, whatever the provider does: what it did is recorded, nothing stays claimed, and
//! later runs dial the rest.

use std::fmt::Write as _;
use std::time::Duration;

use callops::clock::Clock;
use callops::domain::campaign::Rules;
use callops::domain::slot::Frequency;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::stage::{BEGINS, Case, Cast, Stage, Template, every, ordinary};
use super::{say, seed, size};
use crate::common::story::rules;
use crate::common::{Output, TestDatabase, on_both_databases};

const PEOPLE: usize = 60;
/// How long a request may take, and the run. The first is long, so that requests which begin too late show.
const REQUEST_TIMEOUT: &str = "request_timeout = \"4s\"\n";
const MAX_RUNTIME: Duration = Duration::from_secs(9);
/// Starting and ending a process on a machine that does other things as well. No longer: a request that begins too late
/// keeps the run for only about two seconds more.
const AROUND_IT: Duration = Duration::from_millis(1500);
/// Almost as long as a request may take.
const SLOW_MS: u64 = 3600;
const FOR_EVER_MS: u64 = 60_000;

/// One way in which a provider keeps a run waiting.
struct Provider {
    what: &'static str,
    /// What goes wrong from the beginning of the run on.
    faults: Value,
    /// Whether earlier runs left calls of which nothing is known, so that it is read before anybody is dialled.
    after_lost_answers: bool,
    /// Whether there is more to do than the time allows.
    is_cut_short: bool,
    /// Whether less than an hour of the window is left.
    at_the_end_of_the_day: bool,
}

impl Provider {
    fn new(what: &'static str, faults: Value) -> Self {
        Self { what, faults, after_lost_answers: false, is_cut_short: false, at_the_end_of_the_day: false }
    }
}

fn too_many_requests(retry_after: &str) -> Value {
    json!({"kind": "too_many_requests", "retry_after": retry_after, "match": {"every": 5}})
}

fn providers() -> Vec<Provider> {
    let slow = json!({"kind": "delay_answer", "ms": SLOW_MS});
    let slow_to_read = |kind: &str, ms: u64| json!({"kind": kind, "ms": ms, "match": {"method": "GET"}});
    vec![
        Provider { is_cut_short: true, ..Provider::new("answers slowly", slow.clone()) },
        Provider::new("never answers", json!({"kind": "delay_answer", "ms": FOR_EVER_MS})),
        Provider::new(
            "never answers every third",
            json!([
                {"kind": "delay_answer", "ms": FOR_EVER_MS, "match": {"every": 3}},
                {"kind": "delay_answer", "ms": SLOW_MS / 4},
            ]),
        ),
        Provider::new("asks for two seconds", too_many_requests("2")),
        Provider::new("asks to wait until a time", too_many_requests("date+2")),
        Provider::new("asks to wait", too_many_requests("absent")),
        Provider::new("asks for an absurd time", too_many_requests("absurd")),
        Provider::new("fails slowly when it is read", slow_to_read("slow_refuse", SLOW_MS)),
        Provider {
            after_lost_answers: true,
            ..Provider::new("does not answer when it is read", slow_to_read("delay_answer", FOR_EVER_MS))
        },
        Provider {
            after_lost_answers: true,
            is_cut_short: true,
            ..Provider::new("answers everything slowly", json!([slow, slow_to_read("delay_answer", SLOW_MS)]))
        },
        Provider {
            at_the_end_of_the_day: true,
            ..Provider::new(
                "holds calls back, so late that they have to be taken back",
                json!([
                    {"kind": "over_concurrency", "mode": "queued_blocked", "seconds": 7200, "match": {"every": 2}},
                    slow_to_read("delay_answer", SLOW_MS / 3),
                ]),
            )
        },
    ]
}

/// A run that takes as long as it wants to, and how long that was.
fn timed(stage: &Stage) -> (Output, Duration) {
    let clock = Clock::system();
    let max_runtime = format!("{}s", MAX_RUNTIME.as_secs());
    let output = stage.run(&["process-calls", "--concurrency", "8", "--max-runtime", &max_runtime]);
    (output, clock.monotonic())
}

/// What is wrong with a run against such a provider.
fn kept_waiting([at_noon, at_the_end]: &[Template; 2], provider: &Provider) -> String {
    let stage = if provider.at_the_end_of_the_day { at_the_end.stage() } else { at_noon.stage() };
    std::fs::write(stage.file("callops.toml"), REQUEST_TIMEOUT).expect("a configuration");
    if provider.after_lost_answers {
        stage.fault(json!({"kind": "accept_and_drop"}));
        stage.run(&["process-calls", "--limit", "4"]);
        stage.provider_recovers();
        stage.wait(TimeDelta::minutes(2));
    }
    stage.fault(provider.faults.clone());
    let (output, took) = timed(&stage);
    let rang = stage.rings().len();
    let mut wrong = String::new();
    if took > MAX_RUNTIME + AROUND_IT {
        let _ = writeln!(wrong, "the run took {took:?}");
    }
    if provider.is_cut_short && rang >= PEOPLE {
        wrong.push_str("the run was over before its time was\n");
    }
    let unrecorded = |state: &str| matches!(state, "claimed" | "placing");
    for attempt in stage.attempts().iter().filter(|attempt| unrecorded(&attempt.state)) {
        let _ = writeln!(wrong, "{attempt:?} was left behind");
    }
    wrong.push_str(&stage.settle_after(&[2, 16, 6, 2, 40, 16, 15 * 60, 16, 6, 2]));
    say(&format!("a provider that {}: {took:?}, {rang} of {PEOPLE} rang in it", provider.what));
    if wrong.is_empty() { wrong } else { format!("a provider that {}: {wrong}{output}", provider.what) }
}

on_both_databases! {
    fn a_run_ends_within_its_time(db) {
        let of_once = |begins: &'static str| {
            let people = ordinary(PEOPLE).into_iter().map(|phone| (phone, None)).collect();
            let rules = Rules { frequency: Frequency::Once, ..rules() };
            Template::of(TestDatabase::new(db.backend()), Cast { begins, rules, control_zone: None, people, max_concurrency: 1000 })
        };
        let templates = [of_once(BEGINS), of_once("2026-11-16T21:00:00Z")];
        let mut providers = providers();
        // The first one waits the longest; the short form takes it and some others.
        fastrand::Rng::with_seed(seed()).shuffle(&mut providers[1..]);
        providers.truncate(size(4, providers.len()));
        // They wait most of the time. The long form has the machine to itself; in the short one other tests run beside it.
        let cases = every(size(2, 4), providers.len() as u64, |n| {
            Case::Done(kept_waiting(&templates, &providers[usize::try_from(n).expect("a small number") - 1]))
        });
        say(&format!("{cases} providers kept runs of {MAX_RUNTIME:?} waiting"));
    }
}
