//! The agents and lines of started campaigns: whether their provider has them, and whom it tells what becomes of calls.

use std::collections::{BTreeSet, HashMap};

use reqwest::Url;

use super::Report;
use super::webhooks::{Seen, paths_of, set_up};
use crate::app::App;
use crate::commands::calling::provider::Provider;
use crate::commands::explain::evidence::utc;
use crate::domain::agent::AgentReport;
use crate::error::Exit;
use crate::store::setup::{Account, Campaign};

const POLLED: &str = "outcomes are learned by polling alone";

/// An account whose provider answers.
pub(super) struct Reachable<'a> {
    pub(super) account: &'a Account,
    pub(super) provider: Provider,
}

/// Asks for the agent and line of each campaign that is started; `seen` are the accounts' outcomes of late.
pub(super) async fn check(
    app: &App,
    campaigns: &[Campaign],
    reachable: &[Reachable<'_>],
    seen: &HashMap<String, Seen>,
    report: &mut Report,
) {
    let mut given_up = BTreeSet::new();
    for campaign in campaigns.iter().filter(|campaign| campaign.active) {
        // What cannot be read, and who cannot be reached, is told elsewhere.
        let Ok(rules) = campaign.rules() else { continue };
        let Some(Reachable { account, provider }) =
            reachable.iter().find(|reachable| reachable.account.name == campaign.account)
        else {
            continue;
        };
        if given_up.contains(&account.name) {
            continue;
        }
        let check = format!("agent:{}", campaign.full_name());
        match provider.agent(&rules).await {
            Ok(AgentReport::Missing(key)) => report.problem(
                Exit::Findings,
                &check,
                format!("cannot call: {} does not have its {key}", account.provider),
                "copy the id from the provider's dashboard into the campaign, and put it in with `callops apply`",
            ),
            Ok(AgentReport::OtherWay { via }) => report.problem(
                Exit::Findings,
                &check,
                format!("cannot call: its line is one of {via} at {}", account.provider),
                format!(
                    "say via = \"{via}\" in the campaign, or name another line, and put it in with `callops apply`"
                ),
            ),
            Ok(AgentReport::Unheard { webhook_url, by_itself, last_failure, failed_at }) => {
                let (how, why) = if by_itself {
                    let status = last_failure.map_or("no answer".to_owned(), |status| format!("status {status}"));
                    let at = failed_at.map(|at| format!(" at {}", utc(at))).unwrap_or_default();
                    ("the provider turned it off after failures", format!(", the last one {status}{at}"))
                } else {
                    ("it is turned off", String::new())
                };
                report.warning(
                    &check,
                    format!("no webhooks come from {}: {how}{why}: {POLLED}", shown(&webhook_url)),
                    "see that `callops serve` answers there with 200 (`callops doctor --online` tries public_url), then turn \
                     the webhook on again at the provider",
                );
            }
            Ok(AgentReport::Present { webhook_url, tells_ends }) => {
                let told = seen.get(&account.name).is_some_and(|seen| seen.outcomes.by_webhook > 0);
                telling(app, account, webhook_url.as_deref(), tells_ends, told, &check, report);
            }
            Err(error) => {
                report.warning(&check, error.to_string(), "run `callops doctor --online` once more, later");
                if error.is_transient() {
                    given_up.insert(&account.name);
                }
            }
        }
    }
}

/// Says whether webhooks lead to us, where some are expected.
fn telling(
    app: &App,
    account: &Account,
    url: Option<&str>,
    tells_ends: bool,
    told: bool,
    check: &str,
    report: &mut Report,
) {
    const HAS: &str = "the provider has its agent and line";
    if account.provider == "livekit" {
        return report.ok(check, "the provider has its trunk; it lists neither agents nor where webhooks go");
    }
    let expected = account.settings().is_ok_and(|settings| settings.webhook_secret.is_some());
    let Some(base) = app.config.public_url.as_deref().filter(|_| expected) else { return report.ok(check, HAS) };
    let paths = paths_of(&account.provider).iter();
    let ours: Vec<String> =
        paths.flat_map(|path| [format!("{base}{path}/{}", account.name), format!("{base}{path}")]).collect();
    let hint = set_up(&account.provider, &ours[0]);
    let polled = POLLED;
    match url {
        // That of the organisation cannot be read; what came speaks for it.
        None if told => report.ok(check, format!("{HAS}; neither names a server URL, but webhooks come")),
        None if account.provider == "elevenlabs" => report.warning(
            check,
            format!("neither its agent nor the workspace names a post-call webhook that the key may see: {polled}"),
            hint,
        ),
        None => report.warning(
            check,
            format!("neither its agent nor its line has a server URL; unless the organisation has one, {polled}"),
            hint,
        ),
        Some(url) if !ours.iter().any(|ours| is_same(ours, url)) => {
            report.warning(check, format!("its webhooks go to {} and not to us: {polled}", shown(url)), hint);
        }
        Some(_) if !tells_ends => {
            let key = if account.provider == "vapi" { "serverMessages" } else { "events" };
            report.warning(check, format!("its webhooks do not tell how calls end ({key}): {polled}"), hint);
        }
        Some(url) => report.ok(check, format!("{HAS}; its webhooks go to {}", shown(url))),
    }
}

/// Whether two addresses are the same place, however they are written. Parameters lead nowhere else.
fn is_same(one: &str, other: &str) -> bool {
    match (place(one), place(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

fn place(url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// An address without what may be secret in it.
fn shown(url: &str) -> String {
    let Some(mut url) = place(url) else { return "something that is no address".to_owned() };
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::{is_same, shown};

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let ours = "https://calls.acme.example/api/vapi/webhook";
        for same in [ours, "https://CALLS.acme.example:443/api/vapi/webhook", &format!("{ours}?x=1")] {
            assert!(is_same(ours, same), "{same}");
        }
        for other in [
            "",
            "nonsense",
            "http://calls.acme.example/api/vapi/webhook",
            "https://calls.acme.example/",
            &format!("{ours}/"),
        ] {
            assert!(!is_same(ours, other), "{other}");
        }
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        assert_eq!(shown("https://user:hunter2@example.com/hook?token=hunter2#x"), "https://example.com/hook");
        assert_eq!(shown("hunter2"), "something that is no address");
    }
}
