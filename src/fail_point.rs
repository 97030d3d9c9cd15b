//! Places at which a test may kill or freeze the process. They exist only in builds with the `fail-points` feature;
//! otherwise nothing is left of them.
//!
//! Every point that is passed counts up. `CALLOPS_FAIL_AT=N` picks the N-th one; `CALLOPS_FAIL_DO` says what happens
//! there: `kill` (SIGKILL, the default) or `stop` (SIGSTOP, until somebody sends SIGCONT). `CALLOPS_FAIL_LOG=FILE`
//! gets the name of each point passed, a line each.

#[cfg(feature = "fail-points")]
mod armed {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex};

    use rustix::process::{Signal, getpid, kill_process};

    struct Plan {
        at: Option<u64>,
        signal: Signal,
        log: Option<Mutex<File>>,
    }

    static PASSED: AtomicU64 = AtomicU64::new(0);

    #[expect(clippy::disallowed_methods, reason = "only builds for tests have this, and no configuration knows it")]
    static PLAN: LazyLock<Plan> = LazyLock::new(|| {
        let variable = |name| std::env::var(name).ok();
        Plan {
            at: variable("CALLOPS_FAIL_AT").and_then(|text| text.parse().ok()),
            signal: if variable("CALLOPS_FAIL_DO").as_deref() == Some("stop") { Signal::STOP } else { Signal::KILL },
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
            let _ = kill_process(getpid(), PLAN.signal);
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
