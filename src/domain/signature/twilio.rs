//! `X-Twilio-Signature`: base64 of HMAC-SHA1, keyed with the account's auth token, over the address that was asked for and
//! the parameters of a form. A body of JSON is named by its hash in the address (`bodySHA256`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Mismatch, from_base64, same, to_hex};
use crate::domain::secret::Secret;

/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "x-twilio-signature";

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A form: names and values as they were before they were encoded, in any order.
    Form(&'a [(String, String)]),
    /// Anything else, as it came.
    Raw(&'a [u8]),
}

/// Insists that the request was signed with this auth token. `url` is the public address, with its query as it came.
/// Twilio and proxies do not agree about ports, so the address counts with and without one.
///
/// # Errors
/// What is wrong with it.
pub fn verify(auth_token: &Secret, header: Option<&str>, url: &str, body: Body<'_>) -> Result<(), Mismatch> {
    let header =
        header.filter(|text| !text.is_empty()).ok_or_else(|| Mismatch::Missing(SIGNATURE_HEADER.to_owned()))?;
    let signature = from_base64(header)
        .ok_or_else(|| Mismatch::Malformed { header: SIGNATURE_HEADER.to_owned(), expected: "base64" })?;
    let mut parameters = String::new();
    match body {
        Body::Form(pairs) => {
            let mut by_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (name, value) in pairs {
                by_name.entry(name).or_default().insert(value);
            }
            for (name, values) in by_name {
                for value in values {
                    parameters.push_str(name);
                    parameters.push_str(value);
                }
            }
        }
        Body::Raw(bytes) => {
            let query = url.split_once('?').map_or("", |(_, query)| query);
            let query = query.split('#').next().unwrap_or_default();
            let hash = query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256="));
            let hash = hash.ok_or(Mismatch::Body("the address names no bodySHA256"))?;
            if !same(hash.to_ascii_lowercase().as_bytes(), to_hex(&Sha256::digest(bytes)).as_bytes()) {
                return Err(Mismatch::Body("the body is not the one whose hash the address names"));
            }
        }
    }
    let is_right = addresses(url).iter().fold(false, |found, address| {
        let mut mac =
            Hmac::<Sha1>::new_from_slice(auth_token.expose().as_bytes()).expect("HMAC takes a key of any length");
        mac.update(address.as_bytes());
        mac.update(parameters.as_bytes());
        mac.verify_slice(&signature).is_ok() || found
    });
    if is_right { Ok(()) } else { Err(Mismatch::Wrong) }
}

/// The forms in which an address may have been signed: as it is, with its scheme's port, without one; each also with the
/// apostrophes of its query encoded, as some clients do.
fn addresses(url: &str) -> Vec<String> {
    let mut forms = vec![url.to_owned()];
    if let Some((scheme, rest)) = url.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host_at = authority.rfind('@').map_or(0, |at| at + 1);
        let port_at = authority[host_at..].rfind(':').map(|at| host_at + at);
        let port_at = port_at.filter(|at| authority[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
        let bare = &authority[..port_at.unwrap_or(authority.len())];
        let port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        forms.push(format!("{scheme}://{bare}{path}"));
        forms.push(format!("{scheme}://{bare}:{port}{path}"));
    }
    let encoded: Vec<String> = forms
        .iter()
        .filter_map(|form| form.split_once('?'))
        .filter(|(_, query)| query.contains('\''))
        .map(|(start, query)| format!("{start}?{}", query.replace('\'', "%27")))
        .collect();
    forms.extend(encoded);
    forms
}
