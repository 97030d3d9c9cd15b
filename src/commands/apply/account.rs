//! What an account needs by its provider, and what its values may be.

use super::problems::Problems;
use crate::commands::calling::provider::is_loopback;
use crate::config::{Located, Section};
use crate::domain::numbers;
use crate::domain::secret_ref::{SecretRef, SecretRefError};

/// Adds a problem for what the provider needs and has not, and for what it has no use for.
pub(super) fn check_provider(
    at: &Located<'_, String>,
    section: &Section<'_>,
    provider: Option<&str>,
    problems: &mut Problems,
) {
    if provider == Some("livekit") {
        for (key, hint) in [
            ("api_secret", "such as api_secret = \"env:ACME_LIVEKIT_SECRET\""),
            ("base_url", "such as base_url = \"wss://acme.livekit.cloud\""),
        ] {
            if !section.has(key) {
                problems.add(at.failure(format!("{key} is missing")).hint(hint));
            }
        }
        for key in ["webhook_secret", "webhook_signature"] {
            if let Some(failure) = section.has(key).then(|| at.failure(format!("livekit has no {key}"))) {
                problems.add(failure.hint("it signs webhooks with an API key: choose that of the account there"));
            }
        }
    } else if provider == Some(numbers::PROVIDER) {
        if !section.has("account_sid") {
            let failure = at.failure("account_sid is missing");
            problems.add(failure.hint("such as account_sid = \"AC...\": Twilio's console shows it"));
        }
        for key in ["webhook_secret", "webhook_signature", "max_concurrency", "calls_per_minute"] {
            if section.has(key) {
                let failure = at.failure(format!("twilio has no {key}: it rents numbers, and places no calls here"));
                problems.add(failure.hint("leave it out"));
            }
        }
    } else if provider.is_some() && section.has("api_secret") {
        let failure = at.failure("only livekit and twilio have an api_secret");
        problems.add(failure.hint("leave it out"));
    }
    if provider.is_some_and(|provider| provider != numbers::PROVIDER) && section.has("account_sid") {
        problems.add(at.failure("only twilio has an account_sid").hint("leave it out"));
    }
}

pub(super) fn secret(text: &str) -> Result<String, SecretRefError> {
    text.parse::<SecretRef>().map(|reference| reference.to_string())
}

pub(super) fn base_url_of(text: &str, has_sockets: bool) -> Result<String, String> {
    // The text is not repeated: it may carry a password.
    let url = reqwest::Url::parse(text).map_err(|_| "no web address; write https://host".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("a base address has no user, password, query or fragment".to_owned());
    }
    let safe = match url.scheme() {
        "https" => true,
        "wss" if has_sockets => true,
        "ws" if has_sockets => is_loopback(text),
        // The key is sent along.
        "http" => is_loopback(text),
        _ => false,
    };
    if safe { Ok(text.trim_end_matches('/').to_owned()) } else { Err(format!("{text:?} must begin with https://")) }
}
