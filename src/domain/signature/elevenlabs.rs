//! `ElevenLabs-Signature: t=SECONDS,v0=HEX`: HMAC-SHA256 over `SECONDS.BODY`.

use chrono::{DateTime, Utc};

use super::{Mismatch, stripe};
use crate::domain::secret::Secret;

/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "elevenlabs-signature";
/// How old a signature may be, as the provider's library has it; a time in the future is no mistake there.
pub const TOLERANCE_SECONDS: i64 = 30 * 60;

/// Insists that the body was signed with this secret.
///
/// # Errors
/// What is wrong with it. [`Mismatch::Stale`] comes last: whatever else is right then was signed by whoever has the secret.
pub fn verify(secret: &Secret, header: Option<&str>, body: &[u8], now: DateTime<Utc>) -> Result<(), Mismatch> {
    let header = header.ok_or_else(|| Mismatch::Missing(SIGNATURE_HEADER.to_owned()))?;
    stripe::timed(secret, SIGNATURE_HEADER, header, "v0", body, now, TOLERANCE_SECONDS)
}
