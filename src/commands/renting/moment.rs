//! From committing to a request to sending it.

use std::time::Duration;

use chrono::TimeDelta;

use crate::app::App;
use crate::clock::{MAX_CLOCK_SKEW_SECONDS, MAX_CLOCK_STEP_SECONDS};
use crate::commands::draining::longest_request;

/// Later than this after its commit a request is not sent any more.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// What an owner has beyond the longest request, to record what came of it.
const RECORD_WITHIN_SECONDS: i64 = 10;

/// How long nobody else acts on what was committed to: for the longest request and what it takes to record it, and for as
/// far as the clocks of two machines may be apart.
pub fn lease(app: &App) -> TimeDelta {
    let clocks = TimeDelta::seconds(2 * MAX_CLOCK_SKEW_SECONDS + MAX_CLOCK_STEP_SECONDS);
    longest_request(app) + TimeDelta::seconds(RECORD_WITHIN_SECONDS) + clocks
}

/// Says, at the last moment before a request that was committed to now, whether it may still be sent: not if too much time
/// has passed by either clock, since the machine may have slept, and somebody else may act by now.
pub fn may_send(app: &App) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    let clock = app.clock.clone();
    let (wall, monotonic) = (clock.now(), clock.monotonic());
    move || {
        let within = TimeDelta::from_std(SEND_WITHIN).unwrap_or_default();
        let is_late = clock.now() - wall > within || clock.monotonic().saturating_sub(monotonic) > SEND_WITHIN;
        if is_late {
            Err(format!("more than {} s passed since it was committed to", SEND_WITHIN.as_secs()))
        } else {
            Ok(())
        }
    }
}
