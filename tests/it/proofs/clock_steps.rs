//! A wall clock that moves in the middle of a run, by an hour or a day, forth or back; and a machine that was asleep.
//! The provider, which keeps the ledger, and all later runs have the true time.

use std::sync::{Mutex, PoisonError};

use callops::domain::campaign::{Rules, ZonePolicy};
use callops::domain::slot::Frequency;
use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use serde_json::json;

use super::stage::{BEGINS, Case, Cast, Stage, Template, every, mixed, ordinary};
use super::{say, seed, size};
use crate::common::story::rules;
use crate::common::{Condition, Output, TestDatabase, on_both_databases};

const THREADS: usize = 2;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const STEPS: [i64; 4] = [HOUR, -HOUR, DAY, -DAY];

/// One way in which a clock goes wrong.
#[derive(Clone, Copy, Debug)]
struct Disturbance {
    /// At which fail point.
    at: u64,
    /// How far the wall clock moves.
    seconds: i64,
    /// Whether the provider's moves as well, because it was our machine that was asleep.
    asleep: bool,
}

/// A run in which clocks go wrong.
struct Scene<'a> {
    template: &'a Template,
    /// Where the people live whose window is open, and where the others do, if there are any.
    open: Place,
    closed: Place,
    /// What was done before.
    prepare: &'a (dyn Fn(&Stage) + Sync),
    command: &'a [&'a str],
    /// The minutes after which clean runs follow.
    later: &'a [i64],
    /// How the wall clock may go wrong.
    disturbances: &'a [(i64, bool)],
}

impl Scene<'_> {
    /// The names of the points that an undisturbed run passes.
    fn points(&self) -> Vec<String> {
        let stage = self.template.stage();
        (self.prepare)(&stage);
        let log = stage.file("points");
        stage.run_with(&stage.callops().env("CALLOPS_FAIL_LOG", &log), self.command).success();
        std::fs::read_to_string(&log).expect("the points").lines().map(str::to_owned).collect()
    }

    /// Every disturbance at every point in the long form. The short one takes so many of them, chosen by the seed: half of
    /// them before anybody is claimed, where a wrong clock says who is due, and half of them after.
    fn play(&self, sample: usize) {
        let points = self.points();
        let claimed_at = points.iter().position(|point| point == "claim").unwrap_or(points.len()) as u64;
        let mut cases: Vec<Disturbance> = (1..=points.len() as u64)
            .flat_map(|at| self.disturbances.iter().map(move |&(seconds, asleep)| Disturbance { at, seconds, asleep }))
            .collect();
        fastrand::Rng::with_seed(seed()).shuffle(&mut cases);
        let (before, after): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.at <= claimed_at);
        let of = |half: &[Disturbance]| half.len().min(size(sample.div_ceil(2), half.len()));
        let cases = [&before[..of(&before)], &after[..of(&after)]].concat();
        let over_before = Mutex::new(Vec::new());
        let count = every(THREADS, cases.len() as u64, |n| {
            let case = cases[usize::try_from(n).expect("a small number") - 1];
            Case::Done(self.disturbed(case, &points).unwrap_or_else(|why| {
                over_before.lock().unwrap_or_else(PoisonError::into_inner).push(why);
                String::new()
            }))
        });
        let over_before = over_before.into_inner().unwrap_or_else(PoisonError::into_inner);
        say(&format!(
            "{}: {} clocks went wrong, at {} points in {} ways; {} runs were over before",
            self.command[0],
            cases.len() - over_before.len(),
            points.len(),
            self.disturbances.len(),
            over_before.len()
        ));
        assert_eq!(count, cases.len() as u64);
        // The number of points differs a little between runs, so a run may end before one of the last.
        let most = (cases.len() / 10).max(1);
        assert!(over_before.len() <= most, "too many runs were over before:\n{}", over_before.join("\n"));
        assert!(points.len() > 4, "{points:?}");
    }

    /// What went wrong on a fresh stage. An error when the run was over before its clock could go wrong.
    fn disturbed(&self, disturbance: Disturbance, points: &[String]) -> Result<String, String> {
        let stage = self.template.stage();
        (self.prepare)(&stage);
        let log = stage.file("points");
        let output = run_disturbed(&stage, disturbance, &log, self.command);
        let passed = std::fs::read_to_string(&log).unwrap_or_default().lines().count() as u64;
        if passed < disturbance.at {
            return Err(format!("{disturbance:?} after {passed} points: {output}"));
        }
        let mut wrong = stage.settle_after(self.later);
        wrong.push_str(&outside_the_window(&stage, self.open, self.closed));
        wrong.push_str(&decided_by_a_timer(&stage));
        // The last three points are those of the transaction that records how the run ended.
        let is_over = passed < disturbance.at + 3;
        if !is_over && (output.code() != Some(6) || !output.stderr.contains("clock")) {
            wrong.push_str("the run did not say so\n");
        }
        if wrong.is_empty() {
            return Ok(wrong);
        }
        let point = points.get(usize::try_from(disturbance.at).expect("a small number") - 1);
        Ok(format!("{disturbance:?} at {point:?}:\n{wrong}disturbed: {output}"))
    }
}

/// Runs the command, and lets the clock go wrong on the way.
fn run_disturbed(stage: &Stage, disturbance: Disturbance, log: &str, command: &[&str]) -> Output {
    let Disturbance { at, seconds, asleep } = disturbance;
    let what = if asleep { "sleep" } else { "step" };
    let callops = stage
        .callops()
        .env("CALLOPS_FAIL_AT", at.to_string())
        .env("CALLOPS_FAIL_DO", format!("{what}:{seconds}"))
        .env("CALLOPS_FAIL_LOG", log);
    let mut running = stage.spawn(&callops, command);
    while asleep && running.condition() != Condition::Over {
        if running.condition() == Condition::Stopped {
            stage.provider_hears_out();
            stage.wait(TimeDelta::seconds(seconds));
            running.signal("CONT");
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.wait()
}

/// Where somebody lives, and how many hours behind UTC that is in November.
#[derive(Clone, Copy)]
struct Place {
    zone: &'static str,
    hours_behind: i64,
}

const NEW_YORK: Place = Place { zone: "America/New_York", hours_behind: 5 };
const CHICAGO: Place = Place { zone: "America/Chicago", hours_behind: 6 };
/// The area code of those whose window is closed.
const CLOSED: &str = "+1312";

/// The rings outside the window by the true time, each a line.
fn outside_the_window(stage: &Stage, open: Place, closed: Place) -> String {
    let is_outside = |phone: &str, at: DateTime<Utc>| {
        let place = if phone.starts_with(CLOSED) { closed } else { open };
        !(9..17).contains(&(at - TimeDelta::hours(place.hours_behind)).hour())
    };
    let outside = stage.rings().into_iter().filter(|ring| is_outside(&ring.phone, ring.at));
    lines(outside.map(|ring| format!("{} rang at {}, outside its window", ring.phone, ring.at)))
}

/// The attempts that a timer ended, each a line: here the provider knows of every call, and is always asked in time.
fn decided_by_a_timer(stage: &Stage) -> String {
    let ended = |state: &str| matches!(state, "lost" | "ended");
    let by_timer = stage
        .attempts()
        .into_iter()
        .filter(|attempt| ended(&attempt.state) && attempt.evidence.as_deref() == Some("timer"));
    lines(by_timer.map(|attempt| format!("{attempt:?} was decided by a timer")))
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// A run that left some calls unclear, and two minutes.
fn some_are_unclear(stage: &Stage) {
    stage.run(&["process-calls", "--limit", "4"]);
    stage.wait(TimeDelta::minutes(2));
}

/// Everybody is called once, by the callee's clock; the window is open in one place and closed in the other.
fn in_two_places(begins: &'static str, open: Place, closed: Place) -> Cast<'static> {
    let mut people: Vec<(String, Option<&str>)> = mixed().into_iter().map(|phone| (phone, Some(open.zone))).collect();
    people.extend(ordinary(4).into_iter().map(|phone| (phone.replace("+1212", CLOSED), Some(closed.zone))));
    let rules = Rules { zone_policy: ZonePolicy::Callee, frequency: Frequency::Once, ..rules() };
    Cast { begins, rules, control_zone: Some(open.zone), people, max_concurrency: 1000 }
}

const PROCESS_CALLS: &[&str] = &["process-calls", "--concurrency", "2"];

on_both_databases! {
    fn a_clock_that_steps_in_the_middle_of_process_calls(db) {
        Scene {
            template: &Template::new(db.backend(), mixed(), 1000),
            open: NEW_YORK,
            closed: NEW_YORK,
            prepare: &some_are_unclear,
            command: PROCESS_CALLS,
            later: &[2, 16, 6, 2],
            disturbances: &STEPS.map(|seconds| (seconds, false)),
        }
        .play(8);
    }

    /// Calls whose answers are lost are listed late: whoever believes that a quarter of an hour went by takes them for
    /// absent.
    fn a_clock_that_steps_in_the_middle_of_a_sweep(db) {
        let listed_late = |stage: &Stage| {
            stage.fault(json!({"kind": "list_lag", "seconds": 600}));
            stage.run(&["process-calls"]);
            stage.wait(TimeDelta::minutes(3));
        };
        Scene {
            template: &Template::new(db.backend(), mixed(), 1000),
            open: NEW_YORK,
            closed: NEW_YORK,
            prepare: &listed_late,
            command: &["sweep-timeouts"],
            later: &[4, 4, 4, 4, 6, 2],
            disturbances: &STEPS.map(|seconds| (seconds, false)),
        }
        .play(4);
    }

    /// 09:30 in New York, 08:30 in Chicago: by a clock that is an hour ahead Chicago is awake.
    fn a_clock_that_steps_forth_before_the_window_opens(db) {
        Scene {
            template: &Template::of(TestDatabase::new(db.backend()), in_two_places("2026-11-16T14:00:00Z", NEW_YORK, CHICAGO)),
            open: NEW_YORK,
            closed: CHICAGO,
            prepare: &some_are_unclear,
            command: PROCESS_CALLS,
            later: &[2, 16, 6, 2, 10],
            disturbances: &[(HOUR, false), (DAY + HOUR, false)],
        }
        .play(4);
    }

    /// 17:30 in New York, 16:30 in Chicago: by a clock that is an hour behind New York is at work.
    fn a_clock_that_steps_back_after_the_window_closed(db) {
        Scene {
            template: &Template::of(TestDatabase::new(db.backend()), in_two_places("2026-11-16T22:00:00Z", CHICAGO, NEW_YORK)),
            open: CHICAGO,
            closed: NEW_YORK,
            prepare: &some_are_unclear,
            command: PROCESS_CALLS,
            later: &[2, 16, 6, 2, 16 * 60, 16, 6, 2],
            disturbances: &[(-HOUR, false), (-DAY - HOUR, false)],
        }
        .play(4);
    }

    /// It is put to sleep at 16:30 in New York and woken when the window is closed.
    fn a_machine_that_sleeps_over_the_end_of_the_window(db) {
        let cast = Cast {
            begins: "2026-11-16T21:00:00Z",
            rules: Rules { frequency: Frequency::Once, ..rules() },
            control_zone: None,
            people: mixed().into_iter().map(|phone| (phone, None)).collect(),
            max_concurrency: 1000,
        };
        Scene {
            template: &Template::of(TestDatabase::new(db.backend()), cast),
            open: NEW_YORK,
            closed: NEW_YORK,
            prepare: &some_are_unclear,
            command: PROCESS_CALLS,
            later: &[2, 16, 6, 2, 15 * 60, 16, 6, 2],
            disturbances: &[(HOUR, true), (2 * HOUR, true)],
        }
        .play(6);
    }

    fn a_machine_that_sleeps_in_the_middle_of_the_day(db) {
        let cast = Cast {
            begins: BEGINS,
            rules: rules(),
            control_zone: None,
            people: mixed().into_iter().map(|phone| (phone, None)).collect(),
            max_concurrency: 1000,
        };
        Scene {
            template: &Template::of(TestDatabase::new(db.backend()), cast),
            open: NEW_YORK,
            closed: NEW_YORK,
            prepare: &some_are_unclear,
            command: PROCESS_CALLS,
            later: &[2, 16, 6, 2],
            disturbances: &[(HOUR, true)],
        }
        .play(3);
    }
}
