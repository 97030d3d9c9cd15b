//! `LiveKit` signs a webhook with a token in `Authorization`, without the word `Bearer`: a JWT (RFC 7519) by HMAC-SHA256
//! whose issuer is the API key, and whose claim `sha256` is the hash of the body, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Mismatch, same};
use crate::domain::secret::Secret;

/// The header of the token.
pub const TOKEN_HEADER: &str = "authorization";
/// How far the clocks of both sides may be apart, as `LiveKit`'s libraries have it.
pub const LEEWAY_SECONDS: i64 = 60;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    nbf: Option<i64>,
    exp: Option<i64>,
    sha256: Option<String>,
}

/// Insists that the token was made with this key and secret, that it is valid now, and that it is this body's.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    api_key: &str,
    api_secret: &Secret,
    header: Option<&str>,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(), Mismatch> {
    let token = header.filter(|text| !text.is_empty()).ok_or_else(|| Mismatch::Missing(TOKEN_HEADER.to_owned()))?;
    let malformed = || Mismatch::Malformed { header: TOKEN_HEADER.to_owned(), expected: "token of three parts" };
    let mut parts = token.split('.');
    let (Some(head), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decoded(head)?).map_err(|_| malformed())?;
    // Whoever sends the token does not choose how it is checked.
    if header.alg != "HS256" {
        return Err(Mismatch::Token("it is not signed by HS256"));
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(api_secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(head.as_bytes());
    mac.update(b".");
    mac.update(claims.as_bytes());
    mac.verify_slice(&decoded(signature)?).map_err(|_| Mismatch::Wrong)?;
    let claims: Claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| malformed())?;
    if !claims.iss.is_some_and(|issuer| same(issuer.as_bytes(), api_key.as_bytes())) {
        return Err(Mismatch::Token("its issuer is another API key"));
    }
    let now = now.timestamp();
    let expires = claims.exp.ok_or(Mismatch::Token("it has no end (exp)"))?;
    if now > expires.saturating_add(LEEWAY_SECONDS) {
        return Err(Mismatch::Token("it has expired"));
    }
    if claims.nbf.is_some_and(|begins| now < begins.saturating_sub(LEEWAY_SECONDS)) {
        return Err(Mismatch::Token("it is not valid yet"));
    }
    let hash = claims.sha256.filter(|hash| !hash.is_empty()).ok_or(Mismatch::Token("it has no hash of a body"))?;
    if same(hash.as_bytes(), STANDARD.encode(Sha256::digest(body)).as_bytes()) {
        Ok(())
    } else {
        Err(Mismatch::Body("the body is not the one whose hash the token names"))
    }
}
