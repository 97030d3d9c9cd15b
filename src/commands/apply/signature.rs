//! How an account's webhooks are signed, from TOML.

use super::problems::Problems;
use super::read::seconds;
use crate::config::Section;
use crate::domain::signature::vapi::{Algorithm, Encoding, HmacPlan};

const KEYS: &[&str] =
    &["header", "timestamp_header", "payload", "prefix", "algorithm", "encoding", "secret_is_base64", "tolerance"];
/// What a payload may have places for.
const PLACES: [&str; 5] = ["{timestamp}", "{method}", "{url}", "{svix-id}", "{body}"];
const DAY_SECONDS: i64 = 24 * 3600;

/// Reads `webhook_signature`; what it leaves out is as the provider has it by default.
pub(super) fn read(section: &Section<'_>, problems: &mut Problems) -> Option<HmacPlan> {
    if !section.has("webhook_signature") {
        return None;
    }
    let table = problems.take(section.section("webhook_signature").map(Some))?;
    problems.unknown(&table, KEYS);
    let usual = HmacPlan::default();
    let mut header = |key: &str, usual: String| {
        let name = problems.take(table.string(key));
        let name = problems.convert(name, |name| {
            let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if sound { Ok(name.to_ascii_lowercase()) } else { Err(format!("{name:?} is no name of a header")) }
        });
        name.unwrap_or(usual)
    };
    let (header, timestamp_header) =
        (header("header", usual.header), header("timestamp_header", usual.timestamp_header));
    let payload = problems.take(table.string("payload"));
    let payload = problems.convert(payload, |payload| {
        let rest = PLACES.iter().fold(payload.clone(), |rest, place| rest.replace(place, ""));
        if !payload.contains("{body}") {
            Err(format!("{payload:?} has no {{body}} in it: anybody could change what is not signed"))
        } else if rest.contains(['{', '}']) {
            Err(format!("{payload:?} has a place that is not known; there are {}", PLACES.join(", ")))
        } else {
            Ok(payload)
        }
    });
    let prefix = problems.take(table.string("prefix")).map(|prefix| prefix.value);
    let algorithm = problems.take(table.string("algorithm"));
    let algorithm = problems.convert(algorithm, |word| match word.as_str() {
        "sha256" => Ok(Algorithm::Sha256),
        "sha512" => Ok(Algorithm::Sha512),
        "sha1" => Ok(Algorithm::Sha1),
        _ => Err(format!("{word:?} is no algorithm; there are sha256, sha512 and sha1")),
    });
    let encoding = problems.take(table.string("encoding"));
    let encoding = problems.convert(encoding, |word| match word.as_str() {
        "hex" => Ok(Encoding::Hex),
        "base64" => Ok(Encoding::Base64),
        _ => Err(format!("{word:?} is no encoding; there are hex and base64")),
    });
    let secret_is_base64 = problems.take(table.boolean("secret_is_base64")).map(|given| given.value);
    let tolerance = seconds(&table, "tolerance", 1..=DAY_SECONDS, problems);
    Some(HmacPlan {
        header,
        timestamp_header,
        payload: payload.unwrap_or(usual.payload),
        prefix: prefix.unwrap_or(usual.prefix),
        algorithm: algorithm.unwrap_or(usual.algorithm),
        encoding: encoding.unwrap_or(usual.encoding),
        secret_is_base64: secret_is_base64.unwrap_or(usual.secret_is_base64),
        tolerance_seconds: tolerance.unwrap_or(usual.tolerance_seconds),
    })
}
