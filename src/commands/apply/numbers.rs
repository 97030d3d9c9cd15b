//! A tenant's phone numbers, from TOML.

use rust_decimal::Decimal;

use super::problems::Problems;
use super::read::required;
use crate::config::{Located, Section};
use crate::domain::numbers::NumberSettings;

const KEYS: &[&str] = &[
    "account",
    "subaccount",
    "friendly_name",
    "voice_url_pattern",
    "voice_url",
    "sms_url",
    "status_callback",
    "monthly_cost",
];
/// Twilio's own limit for the name of a number.
const MAX_NAME_CHARS: usize = 64;
/// Twilio's own limit for an address.
const MAX_URL_CHARS: usize = 4000;

/// A tenant's `numbers`, and where its account is named.
pub(super) fn read<'d>(
    at: &Located<'d, String>,
    section: &Section<'d>,
    problems: &mut Problems,
) -> Option<(Located<'d, String>, NumberSettings)> {
    if !section.has("numbers") {
        return None;
    }
    let table = problems.take(section.section("numbers").map(Some))?;
    problems.unknown(&table, KEYS);
    let account = required(at, &table, "account", "the name of an account at twilio", problems);
    let mut read = |key: &str, check: fn(String) -> Result<String, String>| {
        let text = problems.take(table.string(key));
        problems.convert(text, check)
    };
    let subaccount = read("subaccount", account_sid);
    let friendly_name = read("friendly_name", |text| pattern(text, MAX_NAME_CHARS));
    let voice_url_pattern = read("voice_url_pattern", |text| pattern(text, MAX_URL_CHARS));
    let voice_url = read("voice_url", url);
    let sms_url = read("sms_url", url);
    let status_callback = read("status_callback", url);
    let monthly_cost = problems.take(table.text("monthly_cost"));
    let monthly_cost = problems.convert(monthly_cost, |text| money(&text));
    let account = account?;
    let settings = NumberSettings {
        account: account.value.clone(),
        subaccount,
        friendly_name,
        voice_url_pattern,
        voice_url,
        sms_url,
        status_callback,
        monthly_cost,
    };
    Some((account, settings))
}

/// A Twilio account's SID.
pub(super) fn account_sid(text: String) -> Result<String, String> {
    let digits = text.strip_prefix("AC").unwrap_or_default();
    let is_sid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sid { Ok(text) } else { Err(format!("{text:?} is no SID of an account: AC and 32 hex digits")) }
}

fn pattern(text: String, max_chars: usize) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().count() > max_chars || text.chars().any(char::is_control) {
        return Err(format!("{text:?} is nothing to know a number by: 1 to {max_chars} characters"));
    }
    if text.chars().all(|c| c == '*' || c == ' ') {
        return Err(format!("{text:?} would claim every number of the account"));
    }
    Ok(text)
}

fn url(text: String) -> Result<String, String> {
    let parsed = reqwest::Url::parse(&text).map_err(|_| format!("{text:?} is no web address"))?;
    if !matches!(parsed.scheme(), "https" | "http") || text.len() > MAX_URL_CHARS {
        return Err(format!("{text:?} must begin with https:// or http://"));
    }
    Ok(text)
}

fn money(text: &str) -> Result<Decimal, String> {
    let sum: Option<Decimal> = text.parse().ok().filter(|sum: &Decimal| !sum.is_sign_negative() && sum.scale() <= 4);
    sum.ok_or_else(|| format!("{text:?} is no sum of money; write \"5.00\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_claim_everything_or_nothing_is_refused() {
        for bad in ["", " ", "*", "**", "* *", "a\nb", &"x".repeat(65)] {
            assert!(pattern(bad.to_owned(), MAX_NAME_CHARS).is_err(), "{bad:?}");
        }
        assert!(pattern("Acme *".to_owned(), MAX_NAME_CHARS).is_ok());
        for bad in ["", "AC12", "ac0000000000000000000000000000005a", "AC0000000000000000000000000000005g"] {
            assert!(account_sid(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(account_sid("AC0000000000000000000000000000005a".to_owned()).is_ok());
        for bad in ["", "-1", "5,00", "five", "0.00001", "$5"] {
            assert!(money(bad).is_err(), "{bad:?}");
        }
        assert_eq!(money("5.00").map(|sum| sum.to_string()), Ok("5.00".to_owned()));
        for bad in ["", "acme.example", "ftp://acme.example"] {
            assert!(url(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
