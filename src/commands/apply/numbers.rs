//! A tenant's phone numbers, from TOML.

use rust_decimal::Decimal;

use super::Stored;
use super::problems::Problems;
use super::read::{Wanted, required};
use crate::config::{Located, Section, nearest};
use crate::domain::numbers::{MAX_NAME_CHARS, NumberSettings, PROVIDER};
use crate::store::setup::{Account, Tenant};

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

/// Adds a problem for each tenant whose numbers no account rents, and for accounts that reach the same numbers.
pub(super) fn check(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    // What is stored stays, unless a file says otherwise.
    let kept = |name: &str| !wanted.accounts.iter().any(|account| account.at.value == name);
    let kept: Vec<&Account> = stored.accounts.iter().filter(|account| kept(&account.name)).collect();
    let names = wanted.accounts.iter().map(|account| account.at.value.as_str());
    let names: Vec<&str> = names.chain(kept.iter().map(|account| account.name.as_str())).collect();
    let provider_of = |name: &str| {
        let wanted = wanted.accounts.iter().find(|account| account.at.value == name).map(|one| one.provider.as_str());
        wanted.or_else(|| kept.iter().find(|account| account.name == name).map(|account| account.provider.as_str()))
    };
    for account in wanted.tenants.iter().filter_map(|tenant| tenant.number_account.as_ref()) {
        match provider_of(&account.value) {
            Some(PROVIDER) => {}
            Some(provider) => {
                let failure =
                    account.failure(format!("{:?} is an account of {provider}, which rents none", account.value));
                problems.add(failure.hint("name an account of twilio"));
            }
            None => {
                let failure = account.failure(format!("there is no account {:?}", account.value));
                problems.add(failure.hint(match nearest(&account.value, names.iter().copied()) {
                    Some(name) => format!("did you mean {name}?"),
                    None => format!("describe it: [account.{}] with provider = \"twilio\"", account.value),
                }));
            }
        }
    }
    for account in wanted.accounts.iter().filter(|account| account.provider != PROVIDER) {
        let stays = |name: &str| !wanted.tenants.iter().any(|tenant| tenant.at.value == name);
        let rents = |tenant: &&Tenant| {
            let numbers = tenant.settings().ok().and_then(|settings| settings.numbers);
            stays(&tenant.name) && numbers.is_some_and(|numbers| numbers.account == account.at.value)
        };
        if let Some(tenant) = stored.tenants.iter().find(rents) {
            let failure = account.at.failure(format!("the numbers of tenant {} are rented with it", tenant.name));
            problems.add(failure.hint("leave it an account of twilio, or give the tenant's numbers another account"));
        }
    }
    // Each would take the other's numbers for nobody's.
    let sid_of = |account: &Account| account.settings().ok().and_then(|settings| settings.account_sid);
    let mut holders: Vec<(String, &str)> =
        kept.iter().filter_map(|account| Some((sid_of(account)?, account.name.as_str()))).collect();
    for account in &wanted.accounts {
        let Some(sid) = account.settings.account_sid.clone() else { continue };
        if let Some((_, other)) = holders.iter().find(|(known, _)| *known == sid) {
            let failure = account.at.failure(format!("account {other} has the account_sid {sid} already"));
            problems.add(failure.hint("one account here is enough: tenants may share it"));
        }
        holders.push((sid, &account.at.value));
    }
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
    let parsed = reqwest::Url::parse(&text).map_err(|_| "no web address; write https://host/path".to_owned())?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        // It is not repeated: it may hold a password.
        return Err("an address with a user or password in it would be shown to whoever looks".to_owned());
    }
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
        for bad in ["", "acme.example", "ftp://acme.example", "https://u:p@acme.example", "https://u@acme.example"] {
            assert!(url(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
