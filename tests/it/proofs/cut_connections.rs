//! A database connection that is cut at any question: nothing is lost, and the exit code says so when work was left.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use serde_json::json;

use super::stage::{Case, Stage, Template, every, ordinary};
use super::{say, seed, size};
use crate::common::proxy::{Cut, Proxy};
use crate::common::{Backend, Output};

/// One request at a time, and each takes a while, so that they are recorded one by one.
const RUN: [&str; 3] = ["process-calls", "--concurrency", "1"];
/// Longer than a run waits for more outcomes to record with the first.
const ANSWER_MS: u64 = 80;

/// Runs on a copy through a proxy that cuts the connection there, and yields how many questions were asked.
fn run_through(stage: &Stage, at: u64, cut: Cut) -> (Output, u64) {
    stage.fault(json!({"kind": "delay_answer", "ms": ANSWER_MS, "match": {"method": "POST"}}));
    let proxy = stage.block_on(Proxy::start(stage.url(), at, cut));
    let callops = stage.callops().env("CALLOPS_DATABASE_URL", proxy.url(stage.url()));
    (stage.run_with(&callops, &RUN), proxy.asked())
}

/// What is wrong with how the run ended.
fn ending(output: &Output, left: &str) -> String {
    match output.code() {
        Some(0) if left.is_empty() => String::new(),
        Some(0) => format!("exit code 0, and yet {left}"),
        Some(7) if !output.stderr.contains("\nhint: ") => "it does not say what to do\n".to_owned(),
        Some(7) => String::new(),
        _ => "a lost database is exit code 7\n".to_owned(),
    }
}

#[test]
fn connections_cut_at_every_question() {
    let (people, cases) = size((5, 15), (14, 400));
    let template = Template::new(Backend::Postgres, ordinary(people), 1000);
    let (output, asked) = run_through(&template.stage(), u64::MAX, Cut::BeforeQuestion);
    output.success();
    // In the long form each of the first 200, before the server sees it and before its answer; in the short one some of
    // all of them. The number differs a little between runs.
    let questions = size(asked * 9 / 10, 200);
    assert!(asked >= questions, "a whole run asks {asked} questions, and {questions} are to be cut");
    let step = questions / 15;
    let first = seed() % step;
    let codes = Mutex::new(BTreeMap::<_, u64>::new());
    let cut = every(2, cases, |n| {
        // Before an answer: the server has carried the question out by then.
        let cut = if n % 2 == 0 { Cut::BeforeAnswer } else { Cut::BeforeQuestion };
        let at = size(n * step - first, n.div_ceil(2));
        let stage = template.stage();
        let (output, asked) = run_through(&stage, at, cut);
        if asked < at {
            return Case::Done(format!("the run ended before question {at}: {output}"));
        }
        *codes.lock().unwrap_or_else(PoisonError::into_inner).entry(output.code()).or_default() += 1;
        let mut wrong = ending(&output, &stage.verdict());
        // What was cut off before it was recorded is found at the provider; the rest is rung.
        stage.wait(TimeDelta::seconds(1));
        wrong.push_str(&stage.settle());
        if !wrong.is_empty() {
            wrong = format!("cut {cut:?} {at}: {wrong}\nthe run that was cut: {output}");
        }
        Case::Done(wrong)
    });
    let codes = codes.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!("{cut} connections were cut, at the first {questions} of {asked} questions; exit codes: {codes:?}"));
    // A run may find another connection in time and do all its work, but most are cut where work is left.
    assert!(codes.get(&Some(7)).is_some_and(|count| 3 * count >= cut), "too few had work left: {codes:?}");
}
