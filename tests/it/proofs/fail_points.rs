//! A process that is killed or frozen between any two of its steps: nobody is rung twice, nobody is lost.

use chrono::TimeDelta;

use super::stage::{Case, Stage, Template, every, mixed};
use super::{say, size};
use crate::common::on_both_databases;

const THREADS: usize = 2;
/// More points than any of these runs passes; a run that passes them all has no end.
const MOST: u64 = 2000;

/// Kills the command at each of its points in turn, each time on a fresh copy, until a run ends by itself.
fn killed_at_every_point(template: &Template, prepare: impl Fn(&Stage) + Sync, command: &[&str]) -> u64 {
    every(THREADS, MOST, |n| {
        let stage = template.stage();
        prepare(&stage);
        let log = stage.file("points");
        let callops = stage.callops().env("CALLOPS_FAIL_AT", n.to_string()).env("CALLOPS_FAIL_LOG", &log);
        let output = stage.run_with(&callops, command);
        let point = std::fs::read_to_string(&log).unwrap_or_default();
        let point = point.lines().nth(usize::try_from(n).expect("a small number") - 1);
        let Some(point) = point else {
            assert!(output.code().is_some(), "killed without a fail point: {output}");
            return Case::Last;
        };
        assert_eq!(output.code(), None, "point {n} is passed and kills nobody: {output}");
        let runs = stage.settle();
        let mut wrong = stage.verdict();
        if !wrong.is_empty() {
            wrong = format!("killed at {point}: {wrong}{}", runs.iter().map(ToString::to_string).collect::<String>());
        }
        Case::Done(wrong)
    })
}

on_both_databases! {
    fn process_calls_killed_at_every_point(db) {
        let template = Template::new(db.backend(), mixed(), 1000);
        let points = killed_at_every_point(&template, |_| {}, &["process-calls", "--concurrency", size("8", "2")]);
        say(&format!("process-calls was killed at each of its {points} points"));
        assert!(points > 30, "only {points} points");
    }

    fn sweep_timeouts_killed_at_every_point(db) {
        let template = Template::new(db.backend(), mixed(), 1000);
        let prepare = |stage: &Stage| {
            stage.run(&["process-calls"]);
            // What is unknown is read for the second time, and what was placed is past its deadline.
            stage.wait(TimeDelta::minutes(16));
            stage.run(&["sweep-timeouts"]);
            stage.wait(TimeDelta::minutes(6));
        };
        let points = killed_at_every_point(&template, prepare, &["sweep-timeouts"]);
        say(&format!("sweep-timeouts was killed at each of its {points} points"));
        assert!(points > 10, "only {points} points");
    }

    fn collect_outcomes_killed_at_every_point(db) {
        let template = Template::new(db.backend(), mixed(), 1000);
        let prepare = |stage: &Stage| {
            stage.run(&["process-calls"]);
            stage.wait(TimeDelta::minutes(2));
        };
        let points = killed_at_every_point(&template, prepare, &["collect-outcomes"]);
        say(&format!("collect-outcomes was killed at each of its {points} points"));
        assert!(points > 3, "only {points} points");
    }
}
