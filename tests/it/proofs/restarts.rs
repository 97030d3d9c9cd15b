//! A PostgreSQL server that goes down as in a crash in the middle of a run and comes back: nothing that was recorded is
//! lost, the exit code says that work was left, and the next run does it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use callops::clock::Clock;
use chrono::TimeDelta;

use super::stage::{Case, Row, Stage, Template, every, ordinary};
use super::{say, seed, size};
use crate::common::{Callops, Condition, Output, OwnPostgres, Running, TestDatabase};

const RUN: [&str; 3] = ["process-calls", "--concurrency", "2"];

/// When the run goes on after it was frozen: what it meets then differs.
#[derive(Clone, Copy, Debug)]
enum GoesOn {
    /// Nobody listens.
    WhileDown,
    /// Connections are refused, then answered that the server is starting, then let in.
    AsItStarts,
    /// Only what the run held in its hands is gone.
    Afterwards,
}

/// How a run was brought into the middle of its work.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Frozen at this point, so that its state is known.
    Frozen(u64, GoesOn),
    /// Running on, so that the server is hit in the middle of its own work.
    Running(Duration),
}

/// What an undisturbed run passes and takes.
struct Undisturbed {
    points: u64,
    span: Duration,
}

impl Undisturbed {
    fn of(template: &Template) -> Self {
        let stage = template.stage();
        let log = stage.file("points");
        let clock = Clock::system();
        let from = clock.monotonic();
        stage.run_with(&stage.callops().env("CALLOPS_FAIL_LOG", &log), &RUN).success();
        let span = clock.monotonic().saturating_sub(from);
        let points = std::fs::read_to_string(&log).expect("the points").lines().count() as u64;
        Self { points, span }
    }

    /// The moment of the n-th of so many cases: spread over the run, from where the seed says.
    fn moment(&self, n: u64, cases: u64, random: &mut fastrand::Rng) -> Moment {
        if n.is_multiple_of(3) {
            return Moment::Running(self.span.mul_f64(random.f64() * 0.8));
        }
        // The last points come after all the work.
        let most = self.points * 9 / 10;
        let point = 1 + (n * most / cases + random.u64(..=most / cases)) % most;
        let goes_on = match n % 6 {
            1 | 5 => GoesOn::WhileDown,
            2 => GoesOn::AsItStarts,
            _ => GoesOn::Afterwards,
        };
        Moment::Frozen(point, goes_on)
    }
}

/// Starts a run and freezes it at a point; none when it was over before.
fn frozen(stage: &Stage, callops: &Callops<'_>, point: u64) -> Option<Running> {
    let callops = callops.clone().env("CALLOPS_FAIL_AT", point.to_string()).env("CALLOPS_FAIL_DO", "stop");
    let mut running = stage.spawn(&callops, &RUN);
    loop {
        match running.condition() {
            Condition::Running => std::thread::sleep(Duration::from_millis(5)),
            Condition::Stopped => return Some(running),
            Condition::Over => return None,
        }
    }
}

/// A run in whose middle the server is restarted, and what of its records the restart lost. None when the run was over
/// too early.
fn disturbed(stage: &Stage, server: &mut OwnPostgres, moment: Moment) -> Option<(Output, String)> {
    match moment {
        Moment::Frozen(point, goes_on) => {
            let running = frozen(stage, &stage.callops(), point)?;
            let before = stage.attempts();
            server.stop();
            let output = match goes_on {
                GoesOn::WhileDown => {
                    running.signal("CONT");
                    let output = running.wait();
                    server.start();
                    output
                }
                GoesOn::AsItStarts => {
                    running.signal("CONT");
                    server.start();
                    running.wait()
                }
                GoesOn::Afterwards => {
                    server.start();
                    let lost = forgotten(&before, &stage.attempts());
                    running.signal("CONT");
                    return Some((running.wait(), lost));
                }
            };
            Some((output, forgotten(&before, &stage.attempts())))
        }
        Moment::Running(after) => {
            let running = stage.spawn(&stage.callops(), &RUN);
            std::thread::sleep(after);
            server.stop();
            server.start();
            Some((running.wait(), String::new()))
        }
    }
}

/// Attempts that were committed before and are not there afterwards, or not as far as they were.
fn forgotten(before: &[Row], after: &[Row]) -> String {
    let mut wrong = String::new();
    for old in before {
        let kept = after.iter().find(|new| new.id == old.id);
        if !kept.is_some_and(|new| {
            (new.state == old.state || old.state != "ended") && new.may_have_rung >= old.may_have_rung
        }) {
            let _ = writeln!(wrong, "{old:?} was committed, and after the restart it is {kept:?}");
        }
    }
    wrong
}

/// What is wrong with how the run ended.
fn ending(output: &Output, left: &str) -> String {
    let says = |text: &str| output.stderr.contains(text);
    let mut wrong = String::new();
    match output.code() {
        Some(0) if left.is_empty() => {}
        // Frozen for longer than a dial may wait after its commit, which is no loss of the server's.
        Some(0) if output.stdout.contains("not_sent") => {}
        Some(0) => wrong = format!("exit code 0, and yet {left}"),
        Some(7) if !says("error: lost the database ") && !says("error: cannot open the database ") => {
            wrong.push_str("it does not say what is lost\n");
        }
        Some(7) if !says("\nhint: ") => wrong.push_str("it does not say what to do\n"),
        Some(7) => {}
        _ => wrong.push_str("a lost database is exit code 7\n"),
    }
    if says("panicked") {
        wrong.push_str("it panicked\n");
    }
    wrong
}

#[test]
fn servers_restarted_in_the_middle_of_a_run() {
    let restarts = size(3, 50);
    let seed = seed();
    let server = OwnPostgres::new();
    let template = Template::in_database(TestDatabase::on_server(&server), ordinary(8), 1000);
    let server = Mutex::new(server);
    let undisturbed = Undisturbed::of(&template);
    let codes = Mutex::new(BTreeMap::<_, u64>::new());
    let cases = every(1, restarts, |n| {
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(n));
        let (stage, moment, (output, lost)) = loop {
            let (stage, moment) = (template.stage(), undisturbed.moment(n, restarts, &mut random));
            // The number of points differs a little between runs.
            if let Some(result) = disturbed(&stage, &mut server, moment) {
                break (stage, moment, result);
            }
        };
        let mut wrong = lost + &ending(&output, &stage.verdict());
        *codes.lock().unwrap_or_else(PoisonError::into_inner).entry(output.code()).or_default() += 1;
        stage.wait(TimeDelta::seconds(1));
        wrong.push_str(&stage.settle());
        if !wrong.is_empty() {
            wrong = format!("CALLOPS_PROVE_SEED={seed}, {moment:?}: {wrong}\nthe run that was disturbed: {output}");
        }
        Case::Done(wrong)
    });
    let codes = codes.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!("{cases} runs met a restart of the server, with exit codes {codes:?}, seed {seed}"));
    // Whoever goes on while the server is down cannot but fail; the others may find a connection in time.
    assert!(codes.get(&Some(7)).is_some_and(|count| 3 * count >= restarts), "too few had work left: {codes:?}");
}
