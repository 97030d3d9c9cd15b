//! Places at which a test may kill or freeze the process, or set its wall clock. They exist only in builds with the
//! `fail-points` feature; otherwise nothing is left of them.
//!
//! Every point that is passed counts up. `CALLOPS_FAIL_AT=N` picks the N-th one; `CALLOPS_FAIL_DO` says what happens
//! there: `kill` (SIGKILL, the default), `stop` (SIGSTOP, until somebody sends SIGCONT), `step:SECONDS` (the wall clock
//! moves by so much, the monotonic one goes on) or `sleep:SECONDS` (as `step`, then `stop`: what a machine that was
//! asleep looks like). `CALLOPS_FAIL_LOG=FILE` gets the name of each point passed, a line each.

use chrono::TimeDelta;

#[cfg(feature = "fail-points")]
mod armed {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex};

    use rustix::process::{Signal, getpid, kill_process};

    struct Plan {
        at: Option<u64>,
        step_seconds: i64,
        signal: Option<Signal>,
        log: Option<Mutex<File>>,
    }

    static PASSED: AtomicU64 = AtomicU64::new(0);
    pub(super) static STEP_SECONDS: AtomicI64 = AtomicI64::new(0);

    #[expect(clippy::disallowed_methods, reason = "only builds for tests have this, and no configuration knows it")]
    static PLAN: LazyLock<Plan> = LazyLock::new(|| {
        let variable = |name| std::env::var(name).ok();
        let what = variable("CALLOPS_FAIL_DO").unwrap_or_default();
        let (what, seconds) = what.split_once(':').unwrap_or((&what, "0"));
        Plan {
            at: variable("CALLOPS_FAIL_AT").and_then(|text| text.parse().ok()),
            step_seconds: seconds.parse().unwrap_or(0),
            signal: match what {
                "step" => None,
                "stop" | "sleep" => Some(Signal::STOP),
                _ => Some(Signal::KILL),
            },
            log: variable("CALLOPS_FAIL_LOG")
                .and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok())
                .map(Mutex::new),
        }
    });

    pub(super) fn hit(name: &str) {
        let count = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mut log) = PLAN.log.as_ref().and_then(|log| log.lock().ok()) {
            let _ = writeln!(log, "{name}");
        }
        if PLAN.at == Some(count) {
            STEP_SECONDS.store(PLAN.step_seconds, Ordering::SeqCst);
            if let Some(signal) = PLAN.signal {
                let _ = kill_process(getpid(), signal);
            }
        }
    }
}

/// Passes a fail point.
#[inline]
pub fn hit(name: &str) {
    #[cfg(feature = "fail-points")]
    armed::hit(name);
    #[cfg(not(feature = "fail-points"))]
    let _ = name;
}

/// How far a test has moved the wall clock.
#[inline]
pub fn wall_clock_step() -> TimeDelta {
    #[cfg(feature = "fail-points")]
    return TimeDelta::seconds(armed::STEP_SECONDS.load(std::sync::atomic::Ordering::SeqCst));
    #[cfg(not(feature = "fail-points"))]
    TimeDelta::zero()
}
