//! The ways to stop: once the command has returned, or the process has ended, nothing more is placed.

use chrono::TimeDelta;

use super::stage::{Stage, Template, ordinary};
use crate::common::{Running, on_both_databases};

const PEOPLE: usize = 60;
const LATENCY_MS: u64 = 300;
/// The most that ring after a button was pressed: those under way and committed ahead, about a second's worth, and those
/// that were sent while the command started. A run that goes through all that it has claimed rings more than that.
const MOST_AFTER: usize = 30;

/// A run in the middle of its work: several phones rang, most have not.
fn in_the_middle(stage: &Stage) -> Running {
    stage.control("settings", &serde_json::json!({"latency_ms": LATENCY_MS}));
    let running = stage.spawn(&stage.callops(), &["process-calls", "--concurrency", "3"]);
    stage.until_rung(running, 5)
}

/// Presses a button in the middle of a run: nothing is placed after it returned.
fn pressed(stage: &Stage, button: &[&str]) {
    let running = in_the_middle(stage);
    let before = stage.rings().len();
    let output = stage.run(button).success();
    let returned_at = stage.now();
    let rang = stage.rings().len();
    // The command waits for what is under way; it must not wait until the run has done everything.
    assert!(rang - before <= MOST_AFTER, "{} rang after {button:?}: {output}", rang - before);
    let run = running.wait();
    // Whoever starts now places nothing either.
    stage.run(&["process-calls"]);
    let late: Vec<_> = stage.rings().into_iter().filter(|ring| ring.at > returned_at).collect();
    assert!(late.is_empty(), "{late:?} rang after {button:?} had returned\n{run}");
    assert_eq!(stage.rings().len(), rang);
    everything_in_flight_is_recorded(stage);
}

fn everything_in_flight_is_recorded(stage: &Stage) {
    let rings = stage.rings();
    for attempt in stage.attempts() {
        let rang = rings.iter().any(|ring| ring.name.as_deref() == Some(&attempt.id));
        assert_eq!(attempt.may_have_rung, rang, "{attempt:?}");
        assert!(matches!(attempt.state.as_str(), "placed" | "void" | "ended"), "{attempt:?}");
    }
}

on_both_databases! {
    fn a_pause_in_the_middle_of_a_run(db) {
        let stage = Template::new(db.backend(), ordinary(PEOPLE), 1000).stage();
        pressed(&stage, &["pause"]);
        stage.run(&["resume"]).success();
        stage.wait(TimeDelta::minutes(2));
        stage.run(&["process-calls"]);
        assert_eq!(stage.verdict(), "", "after the pause everybody is rung");
    }

    fn a_campaign_stopped_in_the_middle_of_a_run(db) {
        let stage = Template::new(db.backend(), ordinary(PEOPLE), 1000).stage();
        pressed(&stage, &["stop-campaign", "acme/checkup"]);
        stage.run(&["start-campaign", "acme/checkup"]).success();
        stage.wait(TimeDelta::minutes(2));
        stage.run(&["process-calls"]);
        assert_eq!(stage.verdict(), "", "started again, everybody is rung");
    }

    fn a_prefix_suppressed_in_the_middle_of_a_run(db) {
        let stage = Template::new(db.backend(), ordinary(PEOPLE), 1000).stage();
        pressed(&stage, &["suppress", "--prefix", "+1212555", "--tenant", "acme", "--reason", "wrong list"]);
        stage.run(&["unsuppress", "--prefix", "+1212555", "--tenant", "acme"]).success();
        stage.wait(TimeDelta::minutes(2));
        stage.run(&["process-calls"]);
        assert_eq!(stage.verdict(), "", "suppressed no more, everybody is rung");
    }

    fn a_run_that_is_told_to_end(db) {
        let template = Template::new(db.backend(), ordinary(PEOPLE), 1000);
        for (signal, code) in [("TERM", 143), ("INT", 130)] {
            let stage = template.stage();
            let running = in_the_middle(&stage);
            running.signal(signal);
            running.wait().exits(code);
            assert!(stage.rings().len() < PEOPLE, "the run was over before SIG{signal}");
            everything_in_flight_is_recorded(&stage);
            stage.wait(TimeDelta::seconds(1));
            stage.run(&["process-calls"]).success();
            assert_eq!(stage.verdict(), "", "the next run goes on at once after SIG{signal}");
        }
    }
}
