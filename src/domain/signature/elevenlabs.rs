//! `ElevenLabs-Signature: t=SECONDS,v0=HEX`: HMAC-SHA256 over `SECONDS.BODY`.

use std::fmt;

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
    let mut verifying = Verifying::begin(secret, header)?;
    verifying.update(body);
    verifying.finish(now)
}

/// A body that comes in pieces, none of which has to be kept to know who signed the whole.
pub struct Verifying(stripe::Timed);

impl Verifying {
    /// Reads the header, before anything of the body.
    ///
    /// # Errors
    /// When it is missing, or has no time or no signature.
    pub fn begin(secret: &Secret, header: Option<&str>) -> Result<Self, Mismatch> {
        let header = header.ok_or_else(|| Mismatch::Missing(SIGNATURE_HEADER.to_owned()))?;
        stripe::Timed::begin(secret, SIGNATURE_HEADER, header, "v0").map(Self)
    }

    /// Takes the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Insists that the pieces were signed with the secret.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn finish(self, now: DateTime<Utc>) -> Result<(), Mismatch> {
        self.0.finish(now, TOLERANCE_SECONDS)
    }
}

impl fmt::Debug for Verifying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifying")
    }
}
