//! LiveKit signs a webhook with a token in `Authorization`, without the word `Bearer`: a JWT (RFC 7519) by HMAC-SHA256
//! whose issuer is the API key, and whose claim `sha256` is the hash of the body, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use super::jwt::LEEWAY_SECONDS;
use super::{Mismatch, jwt, same};
use crate::domain::secret::Secret;

/// The header of the token.
pub const TOKEN_HEADER: &str = "authorization";
/// For how long the service's own tokens are valid.
const VALID_SECONDS: i64 = 300;

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
    let claims = jwt::verify(TOKEN_HEADER, api_key, api_secret, token, now)?;
    let hash = claims.get("sha256").and_then(Value::as_str).filter(|hash| !hash.is_empty());
    let hash = hash.ok_or(Mismatch::Token("it has no hash of a body"))?;
    if same(hash.as_bytes(), hash_of(body).as_bytes()) {
        Ok(())
    } else {
        Err(Mismatch::Body("the body is not the one whose hash the token names"))
    }
}

/// The token that the service sends with a body.
pub fn sign(api_key: &str, api_secret: &Secret, body: &[u8], now: DateTime<Utc>) -> Secret {
    let now = now.timestamp();
    let claims = json!({"iss": api_key, "nbf": now, "exp": now + VALID_SECONDS, "sha256": hash_of(body)});
    jwt::sign(api_secret, &claims)
}

fn hash_of(body: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(body))
}
