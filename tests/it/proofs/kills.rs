//! Processes killed at random moments.

use std::time::Duration;

use chrono::TimeDelta;

use super::stage::{Case, Template, every, mixed};
use super::{say, seed, size};
use crate::common::on_both_databases;

on_both_databases! {
    fn processes_killed_at_random_moments(db) {
        let (kills, kills_a_stage) = (size(20, 500), 4);
        let seed = seed();
        let template = Template::new(db.backend(), mixed(), 1000);
        // How long an undisturbed run takes here bounds the moments.
        let began = callops::clock::Clock::system();
        let stage = template.stage();
        let from = began.monotonic();
        stage.run(&["process-calls", "--concurrency", "2"]);
        let span = began.monotonic().saturating_sub(from);
        drop(stage);
        let stages = every(2, kills / kills_a_stage, |n| {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(n));
            let stage = template.stage();
            let callops = stage.callops();
            let mut moments = Vec::new();
            for _ in 0..kills_a_stage / 2 {
                let mut two = ["process-calls", "process-calls"]
                    .map(|command| stage.spawn(&callops, &[command, "--concurrency", "2"]));
                for running in &mut two {
                    let moment = span.mul_f64(random.f64() * 0.7);
                    moments.push(moment);
                    std::thread::sleep(moment);
                    running.kill();
                }
                drop(two);
                stage.wait(TimeDelta::seconds(random.i64(0..20)));
            }
            let wrong = stage.settle();
            if wrong.is_empty() {
                return Case::Done(wrong);
            }
            Case::Done(format!("CALLOPS_PROVE_SEED={seed}, killed after {moments:?} of {span:?}:\n{wrong}"))
        });
        assert!(span > Duration::ZERO);
        say(&format!("{} processes were killed within {span:?}, seed {seed}", stages * kills_a_stage));
    }
}
