//! Waiting until nothing is being sent any more.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::app::App;
use crate::clock::{MAX_CLOCK_SKEW_SECONDS, MAX_CLOCK_STEP_SECONDS};
use crate::store::{self, Tx, control};

/// A run that committed to dial sends within this many seconds, or not at all.
const SEND_GRACE_SECONDS: i64 = 5;
const POLL: Duration = Duration::from_millis(100);

/// How long after committing to dial a request can still be under way.
pub fn longest_request(app: &App) -> TimeDelta {
    app.config.request_timeout.to_delta() + TimeDelta::seconds(SEND_GRACE_SECONDS)
}

/// Waits until no request is under way for a tenant, or a campaign, or anybody. What commits to dial from now on must
/// have been stopped before. Says how many requests were waited for.
///
/// # Errors
/// When the database cannot be asked.
pub async fn wait(app: &App, tenant: Option<&str>, campaign_id: Option<&str>) -> anyhow::Result<i64> {
    wait_while(app, async |tx, since| control::placing_since(tx, tenant, campaign_id, since).await).await
}

/// As [`wait`], for the requests that `placing` counts among those committed to after an instant.
///
/// # Errors
/// When the database cannot be asked.
pub async fn wait_while(
    app: &App,
    placing: impl AsyncFn(&mut Tx, DateTime<Utc>) -> store::Result<i64>,
) -> anyhow::Result<i64> {
    let db = app.db().await?;
    let deadline = app.clock.monotonic() + longest_request(app).to_std().unwrap_or_default();
    let mut most = 0;
    loop {
        // The machines that dial have clocks of their own, each as far off as is tolerated, and may have slept.
        let since = app.clock.now()
            - longest_request(app)
            - TimeDelta::seconds(2 * MAX_CLOCK_SKEW_SECONDS + MAX_CLOCK_STEP_SECONDS);
        let mut tx = db.read().await?;
        let count = placing(&mut tx, since).await?;
        drop(tx);
        if count > most {
            app.printer.say(format!("waiting for calls that are being placed at this moment: {count}"));
        }
        most = most.max(count);
        // Older ones are under way no more, whatever became of the process that sent them.
        if count == 0 {
            if most > 0 {
                app.printer.say("nothing is being placed any more");
            }
            return Ok(most);
        }
        if app.clock.monotonic() >= deadline {
            app.printer.warn(format!("{count} calls were not heard of in time; `callops sweep-timeouts` settles them"));
            return Ok(most);
        }
        tokio::time::sleep(POLL).await;
    }
}
