//! Many processes at once on many due contacts: each phone rings once, and never more at once than the account holds.

use chrono::TimeDelta;

use super::stage::{Stage, Template, ordinary};
use super::{say, size};
use crate::common::{Output, on_both_databases};

/// Words of a database's own trouble that a crowd must never bring before the user.
const TROUBLE: [&str; 7] =
    ["locked", "deadlock", "too many", "could not serialize", "remaining connection", "panicked", "timed out"];

/// Runs the same command in so many processes at the same time.
fn at_once(stage: &Stage, processes: usize, command: &[&str]) -> Vec<Output> {
    let callops = stage.callops();
    let running: Vec<_> = (0..processes).map(|_| stage.spawn(&callops, command)).collect();
    running.into_iter().map(crate::common::Running::wait).collect()
}

on_both_databases! {
    fn a_crowd_rings_everybody_once(db) {
        let (processes, people, rounds) = (size(8, 20), size(100, 500), size(2, 50));
        let max_concurrency = i64::try_from(people * 2 / 5).expect("a small number");
        let template = Template::new(db.backend(), ordinary(people), max_concurrency);
        for round in 1..=rounds {
            let stage = template.stage();
            // The account holds two fifths of the people, so that three waves are needed.
            for _ in 0..6 {
                for output in at_once(&stage, processes, &["process-calls"]) {
                    assert_eq!(output.code(), Some(0), "round {round}: {output}");
                    for words in TROUBLE {
                        assert!(!output.stderr.contains(words), "round {round}: {output}");
                    }
                }
                if stage.rings().len() >= people {
                    break;
                }
                stage.wait(TimeDelta::minutes(5));
                stage.run(&["collect-outcomes"]).success();
            }
            let most = stage.most_live();
            assert!(most <= max_concurrency.unsigned_abs(), "round {round}: {most} live at once");
            assert_eq!(stage.verdict(), "", "round {round}");
            assert_eq!(stage.rings().len(), people, "round {round}");
        }
        say(&format!("{processes} processes rang {people} people once each in {rounds} rounds"));
    }
}
