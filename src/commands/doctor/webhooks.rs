//! Webhooks: whether they come, whether they are applied, and whether they can reach us.

use std::collections::HashMap;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};

use super::Report;
use crate::app::App;
use crate::commands::calling::inbox::MATCH_WITHIN;
use crate::commands::explain::evidence::length;
use crate::store::events::Outcomes;
use crate::store::setup::Account;
use crate::store::{Tx, events};

/// The span in which outcomes are counted.
const COUNTED_HOURS: i64 = 24;
/// An attempt is over within two days of being claimed: it is unknown for a day, or its deadlines pass.
const OVER_WITHIN: TimeDelta = TimeDelta::days(2);
/// Whoever was told of by webhook within this span should go on being told of.
const REMEMBERED: TimeDelta = TimeDelta::days(7);
/// An event is applied right after it is stored; one that waits this long was left behind by a server that died.
const APPLIED_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// What is known of an account's webhooks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// How the outcomes of late became known.
    pub(super) outcomes: Outcomes,
    /// Whether webhooks are set up, or came before.
    is_expected: bool,
}

/// Counts, for each account, of how many outcomes a webhook told. What cannot be read is told about the account itself.
pub(super) async fn count(tx: &mut Tx, accounts: &[Account], now: DateTime<Utc>) -> Result<HashMap<String, Seen>> {
    let mut seen = HashMap::new();
    let since = now - TimeDelta::hours(COUNTED_HOURS);
    for account in accounts {
        let Ok(settings) = account.settings() else { continue };
        let outcomes = events::outcomes(tx, &account.name, since - OVER_WITHIN, since, now).await?;
        let is_expected =
            settings.webhook_secret.is_some() || events::told_of_any(tx, &account.name, now - REMEMBERED).await?;
        seen.insert(account.name.clone(), Seen { outcomes, is_expected });
    }
    Ok(seen)
}

/// Says of how many outcomes a webhook told.
pub(super) fn outcomes(app: &App, accounts: &[Account], seen: &HashMap<String, Seen>, report: &mut Report) {
    for account in accounts {
        let Some(Seen { outcomes: Outcomes { ended, by_webhook }, is_expected }) = seen.get(&account.name) else {
            continue;
        };
        let check = format!("webhooks:{}", account.name);
        let counted = format!("{by_webhook} of {ended} outcomes came by webhook in {COUNTED_HOURS} h");
        let (not_set_up, without) = match account.provider.as_str() {
            // They are signed with the account's key, so that nothing here says whether there are any.
            "livekit" => ("none came in 7 days", "its agents' reports and the answers to dials tell how calls ended"),
            _ => ("none are set up (webhook_secret)", "outcomes are learned by polling alone"),
        };
        if *by_webhook > 0 {
            report.ok(&check, counted);
        } else if !is_expected {
            report.ok(&check, format!("{not_set_up}: {without}"));
        } else if *ended == 0 {
            report.ok(&check, format!("no call ended in {COUNTED_HOURS} h"));
        } else {
            let without = without.replace("outcomes are", "they are");
            report.warning(&check, format!("{counted}: {without}"), address_hint(app, account));
        }
    }
}

/// Where `serve` takes a provider's webhooks, the usual path first; an account's name may follow each.
pub(super) fn paths_of(provider: &str) -> &'static [&'static str] {
    match provider {
        "elevenlabs" => &["/api/voice/post_call", "/voice/post_call"],
        _ => &["/api/vapi/webhook"],
    }
}

/// How to have a provider send webhooks to an address.
pub(super) fn set_up(provider: &str, url: &str) -> String {
    match provider {
        "elevenlabs" => format!(
            "have elevenlabs send its post-call webhook to {url}, with the events transcript and \
             call_initiation_failure, signed with the account's webhook_secret"
        ),
        _ => format!(
            "give the assistants at {provider} the server URL {url}, with the account's webhook_secret, and the messages \
             status-update and end-of-call-report"
        ),
    }
}

/// Where the provider is told where to send webhooks.
fn address_hint(app: &App, account: &Account) -> String {
    let base = app.config.public_url.as_deref();
    let first = if base.is_some() { "" } else { "set public_url in callops.toml; " };
    if account.provider == "livekit" {
        return format!(
            "{first}add {}/api/webhooks/livekit/{} to the webhooks of the project at livekit, signed with the account's \
             api_key; see that `callops serve` runs",
            base.unwrap_or("PUBLIC_URL"),
            account.name
        );
    }
    let url = format!("{}{}/{}", base.unwrap_or("PUBLIC_URL"), paths_of(&account.provider)[0], account.name);
    format!("{first}{}; see that `callops serve` runs", set_up(&account.provider, &url))
}

/// Looks at the webhooks that were stored and not applied.
pub(super) async fn inbox(tx: &mut Tx, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    let stuck = events::stuck(tx, now - APPLIED_WITHIN).await?;
    let unmatched = events::unmatched(tx, now - MATCH_WITHIN).await?;
    if let (Some(oldest_at), 1..) = (stuck.oldest_at, stuck.count) {
        report.warning(
            "inbox",
            format!(
                "{} could not be applied, the oldest waits for {}: {}",
                stuck.count,
                length((now - oldest_at).num_seconds()),
                stuck.reason.as_deref().unwrap_or("they were never tried")
            ),
            "`callops list events --status pending` shows them; mend what the reason says, then `callops replay-events \
             --pending`",
        );
    }
    if unmatched > 0 {
        // Mostly calls of somebody else at the same provider.
        report.ok(
            "inbox",
            format!(
                "{unmatched} of the last {} h are about no call that is known: `callops list events --status unmatched` \
                 shows them, `callops replay-events --unmatched` tries them once more",
                MATCH_WITHIN.num_hours()
            ),
        );
    } else if stuck.count == 0 {
        report.ok("inbox", "no webhook waits");
    }
    Ok(())
}
