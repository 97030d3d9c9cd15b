//! Tokens (RFC 7519) signed by HMAC-SHA256, the only kind that is made or taken here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use super::{Mismatch, same};
use crate::domain::secret::Secret;

/// How far the clocks of both sides may be apart, as LiveKit's libraries have it.
pub const LEEWAY_SECONDS: i64 = 60;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// A token with these claims. It opens what they allow, so it is as secret as a key for as long as it lives.
pub fn sign(secret: &Secret, claims: &Value) -> Secret {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(mac(secret, &signed).finalize().into_bytes());
    Secret::new(format!("{signed}.{signature}"))
}

/// Who says that they signed a token. Nothing is checked: it only tells which secret to check it with.
pub fn issuer(token: &str) -> Option<String> {
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// The claims of a token, if it was made by this issuer with this secret, and is valid now. `header` is where it stood.
///
/// # Errors
/// What is wrong with it.
pub fn verify(header: &str, issuer: &str, secret: &Secret, token: &str, now: DateTime<Utc>) -> Result<Value, Mismatch> {
    let malformed = || Mismatch::Malformed { header: header.to_owned(), expected: "token of three parts" };
    let mut parts = token.split('.');
    let (Some(head), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let kind: Header = serde_json::from_slice(&decoded(head)?).map_err(|_| malformed())?;
    // Whoever sends the token does not choose how it is checked.
    if kind.alg != "HS256" {
        return Err(Mismatch::Token("it is not signed by HS256"));
    }
    mac(secret, &format!("{head}.{claims}")).verify_slice(&decoded(signature)?).map_err(|_| Mismatch::Wrong)?;
    let claims: Value = serde_json::from_slice(&decoded(claims)?).map_err(|_| malformed())?;
    let number = |key: &str| match claims.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(malformed),
    };
    let (begins, expires) = (number("nbf")?, number("exp")?);
    if !claims.get("iss").and_then(Value::as_str).is_some_and(|iss| same(iss.as_bytes(), issuer.as_bytes())) {
        return Err(Mismatch::Token("its issuer is another API key"));
    }
    let now = now.timestamp();
    let expires = expires.ok_or(Mismatch::Token("it has no end (exp)"))?;
    if now > expires.saturating_add(LEEWAY_SECONDS) {
        return Err(Mismatch::Token("it has expired"));
    }
    if begins.is_some_and(|begins| now < begins.saturating_sub(LEEWAY_SECONDS)) {
        return Err(Mismatch::Token("it is not valid yet"));
    }
    Ok(claims)
}

fn mac(secret: &Secret, signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_taken_from_its_issuer_in_its_time_and_nobody_else() {
        let (secret, now) = (Secret::new("hunter2"), DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        let claims = json!({"iss": "key", "nbf": now.timestamp(), "exp": now.timestamp() + 300, "sip": {"call": true}});
        let token = sign(&secret, &claims);
        let read = |issuer, secret, at| verify("authorization", issuer, secret, token.expose(), at);
        assert_eq!(read("key", &secret, now), Ok(claims));
        assert_eq!(issuer(token.expose()).as_deref(), Some("key"));
        assert!(read("other", &secret, now).is_err());
        let other = Secret::new("hunter3");
        assert_eq!(verify("authorization", "key", &other, token.expose(), now), Err(Mismatch::Wrong));
        assert!(read("key", &secret, now + TimeDelta::seconds(361)).is_err());
        assert!(read("key", &secret, now - TimeDelta::seconds(61)).is_err());
        assert!(!format!("{token:?} {token}").contains('.'), "it is not printed");
    }
}
