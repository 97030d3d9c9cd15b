//! What an account needs by its provider, and what its values may be.

use super::numbers::account_sid as account_sid_of;
use super::problems::Problems;
use super::read::{WantedAccount, check_name, integer, required};
use super::signature;
use crate::commands::calling::provider::{PROVIDERS, is_loopback};
use crate::config::{Located, Section};
use crate::domain::billing::{self, DataCenter};
use crate::domain::campaign::{AccountSettings, DEFAULT_MAX_CONCURRENCY};
use crate::domain::secret_ref::{SecretRef, SecretRefError};
use crate::domain::{numbers, welcome};

const ACCOUNT_KEYS: &[&str] = &[
    "provider",
    "api_key",
    "api_secret",
    "account_sid",
    "client_id",
    "data_center",
    "webhook_secret",
    "previous_webhook_secret",
    "webhook_signature",
    "livemode",
    "max_concurrency",
    "calls_per_minute",
    "base_url",
];
/// The providers that place no calls.
const OTHERS: [&str; 3] = [numbers::PROVIDER, billing::PROVIDER, welcome::PROVIDER];

/// An account.
pub(super) fn read_account<'d>(
    at: Located<'d, String>,
    section: &Section<'d>,
    problems: &mut Problems,
) -> Option<WantedAccount<'d>> {
    check_name(&at, problems);
    problems.unknown(section, ACCOUNT_KEYS);
    let provider = required(&at, section, "provider", "such as provider = \"vapi\"", problems);
    let provider = problems.convert(provider, |word| {
        let known: Vec<&str> = PROVIDERS.iter().copied().chain(OTHERS).collect();
        if known.contains(&word.as_str()) {
            return Ok(word);
        }
        Err(format!("{word:?} is no provider; there are {}", known.join(", ")))
    });
    let api_key = required(&at, section, "api_key", "such as api_key = \"env:ACME_VAPI_KEY\"", problems);
    let api_key = problems.convert(api_key, |text| secret(&text));
    let webhook_secret = problems.take(section.string("webhook_secret"));
    let webhook_secret = problems.convert(webhook_secret, |text| secret(&text));
    let previous_webhook_secret = problems.take(section.string("previous_webhook_secret"));
    let previous_webhook_secret = problems.convert(previous_webhook_secret, |text| secret(&text));
    let livemode = problems.take(section.boolean("livemode")).map(|livemode| livemode.value);
    let webhook_signature = signature::read(section, problems);
    let api_secret = problems.take(section.string("api_secret"));
    let api_secret = problems.convert(api_secret, |text| secret(&text));

    if webhook_signature.is_some() && provider.as_deref().is_some_and(|provider| provider != "vapi") {
        let failure = at.failure("webhook_signature says how Vapi signs; this provider signs in its own way");
        problems.add(failure.hint("leave it out: webhook_secret is enough"));
    }
    let base_url = problems.take(section.string("base_url"));
    let account_sid = problems.take(section.string("account_sid"));
    let account_sid = problems.convert(account_sid, account_sid_of);
    let client_id = problems.take(section.string("client_id"));
    let client_id = problems.convert(client_id, client_id_of);
    let data_center = problems.take(section.string("data_center"));
    let data_center = problems.convert(data_center, |word| data_center_of(&word));
    let is_livekit = provider.as_deref() == Some("livekit");
    let base_url = base_url.and_then(|url| {
        problems.take(url.try_map(|text| base_url_of(&text, is_livekit)).map(Some).map_err(Into::into))
    });
    check_provider(&at, section, provider.as_deref(), problems);
    let max_concurrency = integer(section, "max_concurrency", 1..=10_000, problems);
    let calls_per_minute = integer(section, "calls_per_minute", 1..=100_000, problems);
    Some(WantedAccount {
        at,
        provider: provider?,
        settings: AccountSettings {
            api_key: api_key?,
            account_sid,
            client_id,
            data_center,
            api_secret,
            webhook_secret,
            previous_webhook_secret,
            livemode,
            webhook_signature,
            base_url: base_url.as_ref().map(|url| url.value.clone()),
        },
        base_url,
        max_concurrency: max_concurrency.unwrap_or(DEFAULT_MAX_CONCURRENCY),
        calls_per_minute,
    })
}

/// Adds a problem for what the provider needs and has not, and for what it has no use for.
fn check_provider(at: &Located<'_, String>, section: &Section<'_>, provider: Option<&str>, problems: &mut Problems) {
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
    } else if provider == Some(billing::PROVIDER) {
        for (key, hint) in [
            ("client_id", "such as client_id = \"1000.ABC\", from the API console of your data centre"),
            ("api_secret", "the client's secret, such as api_secret = \"env:ACME_ZOHO_SECRET\""),
        ] {
            if !section.has(key) {
                problems.add(at.failure(format!("{key} is missing")).hint(hint));
            }
        }
        if !section.has("data_center") && !section.has("base_url") {
            let known = DataCenter::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
            problems.add(at.failure("data_center is missing").hint(format!("one of {known}")));
        }
        for key in ["webhook_secret", "webhook_signature", "max_concurrency", "calls_per_minute"] {
            if section.has(key) {
                let failure = at.failure(format!("zoho has no {key}: it holds bills, and places no calls here"));
                problems.add(failure.hint("leave it out"));
            }
        }
    } else if provider == Some(welcome::PROVIDER) {
        if !section.has("webhook_secret") {
            let failure = at.failure("webhook_secret is missing");
            problems.add(failure.hint(
                "the signing secret of the endpoint at Stripe, such as webhook_secret = \"env:ACME_STRIPE_WEBHOOK\"",
            ));
        }
        for key in ["api_secret", "max_concurrency", "calls_per_minute"] {
            if section.has(key) {
                let failure = at.failure(format!("stripe has no {key}: it takes payments, and places no calls here"));
                problems.add(failure.hint("leave it out"));
            }
        }
    } else if provider.is_some() && section.has("api_secret") {
        let failure = at.failure("only livekit, twilio and zoho have an api_secret");
        problems.add(failure.hint("leave it out"));
    }
    if provider.is_some_and(|provider| provider != numbers::PROVIDER) && section.has("account_sid") {
        problems.add(at.failure("only twilio has an account_sid").hint("leave it out"));
    }
    for key in ["previous_webhook_secret", "livemode"] {
        if provider.is_some_and(|provider| provider != welcome::PROVIDER) && section.has(key) {
            problems.add(at.failure(format!("only stripe has a {key}")).hint("leave it out"));
        }
    }
    for key in ["client_id", "data_center"] {
        if provider.is_some_and(|provider| provider != billing::PROVIDER) && section.has(key) {
            problems.add(at.failure(format!("only zoho has a {key}")).hint("leave it out"));
        }
    }
}

pub(super) fn secret(text: &str) -> Result<String, SecretRefError> {
    text.parse::<SecretRef>().map(|reference| reference.to_string())
}

/// The id of a client, which is no secret, or where it is kept.
fn client_id_of(text: String) -> Result<String, String> {
    if text.starts_with("env:") || text.starts_with("file:") {
        return secret(&text).map_err(|error| error.to_string());
    }
    let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_id { Ok(text) } else { Err(format!("{text:?} is no id of a client")) }
}

fn data_center_of(word: &str) -> Result<DataCenter, String> {
    word.parse().map_err(|_| {
        let known: Vec<&str> = DataCenter::ALL.iter().map(|one| one.as_str()).collect();
        format!("{word:?} is no data centre; there are {}", known.join(", "))
    })
}

fn base_url_of(text: &str, has_sockets: bool) -> Result<String, String> {
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
