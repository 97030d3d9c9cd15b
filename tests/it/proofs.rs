//! At most one ring for each slot, whatever happens: the real binary is killed, frozen, crowded, cut off from its
//! database and left without room on its disk, and the sandbox's ledger is the judge.
//!
//! `scripts/test` runs the short form. `CALLOPS_PROVE=long` (as `scripts/prove` sets it) makes every proof as large as
//! its long form says, and `CALLOPS_PROVE_SEED=N` repeats what a failure printed.

mod breakers;
mod buttons;
#[cfg(feature = "fail-points")]
mod clock_steps;
mod crowd;
mod cut_connections;
#[cfg(feature = "fail-points")]
mod fail_points;
mod full_disk;
mod imports;
mod kills;
mod late_truth;
mod lost_answers;
mod max_runtime;
#[cfg(feature = "fail-points")]
mod restarts;
mod stage;
mod webhooks;

use crate::common::variable;

/// One of two sizes: that of the short form, and that of the long one.
fn size<T>(short: T, long: T) -> T {
    if variable("CALLOPS_PROVE").as_deref() == Some("long") { long } else { short }
}

/// Where randomness comes from, printed so that a failure can be repeated.
fn seed() -> u64 {
    let seed = variable("CALLOPS_PROVE_SEED")
        .map_or_else(|| fastrand::u64(..), |text| text.parse().expect("CALLOPS_PROVE_SEED is a number"));
    say(&format!("CALLOPS_PROVE_SEED={seed}"));
    seed
}

/// A line for whoever watches; the test harness shows it when the proof fails.
#[expect(clippy::print_stderr, reason = "a proof reports what it has seen")]
fn say(line: &str) {
    eprintln!("{line}");
}
