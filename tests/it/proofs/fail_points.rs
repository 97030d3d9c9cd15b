//! A process that is killed or frozen between any two of its steps: nobody is rung twice, nobody is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use callops::clock::Clock;
use chrono::TimeDelta;

use super::stage::{Case, Stage, Template, every, mixed};
use super::{say, seed, size};
use crate::common::{Condition, on_both_databases};

const THREADS: usize = 2;
/// More points than any of these runs passes; a run that passes them all has no end.
const MOST: u64 = 2000;

/// Kills the command at each of its points in turn, each time on a fresh copy, until a run ends by itself. The short
/// form takes every third point, beginning with one that the seed chooses. Yields how many it took.
fn killed_at_every_point(template: &Template, prepare: impl Fn(&Stage) + Sync, command: &[&str]) -> u64 {
    let step = size(3, 1);
    let first = seed() % step;
    every(THREADS, MOST, |n| {
        let n = n * step - first;
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
        let wrong = stage.settle();
        Case::Done(if wrong.is_empty() { wrong } else { format!("killed at {point}: {wrong}") })
    })
}

/// What a frozen process waits for before it is revived: longer than a dial may wait between commit and sending, by the
/// machine's own clock. The frozen process has no other.
const FROZEN: Duration = Duration::from_millis(5500);

/// Freezes process-calls at its n-th point, lets others go on until everything is settled, and revives it.
fn frozen_at(template: &Template, n: u64) -> Case {
    let stage = template.stage();
    let log = stage.file("points");
    let callops = stage
        .callops()
        .env("CALLOPS_FAIL_AT", n.to_string())
        .env("CALLOPS_FAIL_DO", "stop")
        .env("CALLOPS_FAIL_LOG", &log);
    let mut frozen = stage.spawn(&callops, &["process-calls", "--concurrency", "2"]);
    let real = Clock::system();
    let frozen_from = loop {
        match frozen.condition() {
            Condition::Running => std::thread::sleep(Duration::from_millis(5)),
            Condition::Stopped => break real.monotonic(),
            Condition::Over => {
                let passed = std::fs::read_to_string(&log).unwrap_or_default().lines().count() as u64;
                assert!(passed < n, "point {n} of {passed} froze nobody");
                return Case::Last;
            }
        }
    };
    let point = std::fs::read_to_string(&log).unwrap_or_default().lines().last().unwrap_or_default().to_owned();
    stage.provider_recovers();
    let mut waiting = None;
    for minutes in [2, 16, 6, 2] {
        stage.wait(TimeDelta::minutes(minutes));
        let mut other = stage.spawn(&stage.callops(), &["process-calls"]);
        while other.condition() == Condition::Running && real.monotonic().saturating_sub(frozen_from) < 2 * FROZEN {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The frozen one holds locks of the database, and nobody gets on before it does or its session is ended.
        if other.condition() == Condition::Running {
            waiting = Some(other);
            break;
        }
    }
    std::thread::sleep(FROZEN.saturating_sub(real.monotonic().saturating_sub(frozen_from)));
    frozen.signal("CONT");
    let revived = frozen.wait();
    if let Some(waiting) = waiting {
        waiting.wait();
    }
    let after = stage.settle();
    if after.is_empty() {
        Case::Done(after)
    } else {
        Case::Done(format!("frozen at {point}: {after}revived: {revived}"))
    }
}

on_both_databases! {
    fn process_calls_killed_at_every_point(db) {
        let template = Template::new(db.backend(), mixed(), 1000);
        let points = killed_at_every_point(&template, |_| {}, &["process-calls", "--concurrency", size("8", "2")]);
        say(&format!("process-calls was killed at {points} of its points"));
        assert!(points > 10, "only {points} points");
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
        say(&format!("sweep-timeouts was killed at {points} of its points"));
        assert!(points > 2, "only {points} points");
    }

    fn collect_outcomes_killed_at_every_point(db) {
        let template = Template::new(db.backend(), mixed(), 1000);
        let prepare = |stage: &Stage| {
            stage.run(&["process-calls"]);
            stage.wait(TimeDelta::minutes(2));
        };
        let points = killed_at_every_point(&template, prepare, &["collect-outcomes"]);
        say(&format!("collect-outcomes was killed at {points} of its points"));
        assert!(points > 1, "only {points} points");
    }

    fn process_calls_frozen_between_its_steps(db) {
        let template = Template::new(db.backend(), mixed(), 1000);
        let stage = template.stage();
        let log = stage.file("points");
        stage.run_with(&stage.callops().env("CALLOPS_FAIL_LOG", &log), &["process-calls", "--concurrency", "2"]);
        let points = std::fs::read_to_string(&log).expect("the points");
        drop(stage);
        let points: Vec<&str> = points.lines().collect();
        // The short form takes each kind of step once: a point, and the one before it.
        let mut seen = BTreeSet::new();
        let chosen: Vec<u64> = (0..points.len())
            .filter(|index| size(seen.insert((index.checked_sub(1).map(|before| points[before]), points[*index])), true))
            .map(|index| index as u64 + 1)
            .collect();
        let cases = every(6, chosen.len() as u64, |index| {
            match frozen_at(&template, chosen[usize::try_from(index).expect("a small number") - 1]) {
                // The number of points differs a little between runs.
                Case::Last => Case::Done(String::new()),
                done @ Case::Done(_) => done,
            }
        });
        say(&format!("process-calls was frozen at {cases} of its {} points", points.len()));
        assert!(cases > 10, "only {cases} points: {points:?}");
    }
}
