//! `Stripe-Signature: t=SECONDS,v1=HEX[,v1=HEX]`: HMAC-SHA256 over `SECONDS.BODY`, keyed with the endpoint's whole secret.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Mismatch, from_hex};
use crate::domain::secret::Secret;

/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "stripe-signature";
/// How old a signature may be, as Stripe's libraries have it.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Insists that the body was signed with this secret. Any `v1` may be the right one, because a secret that is being rolled
/// signs beside its successor. As in Stripe's own libraries, a time in the future is no mistake, and a tolerance of 0
/// asks for no age.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    secret: &Secret,
    header: Option<&str>,
    body: &[u8],
    now: DateTime<Utc>,
    tolerance_seconds: i64,
) -> Result<(), Mismatch> {
    let header = header.ok_or_else(|| Mismatch::Missing(SIGNATURE_HEADER.to_owned()))?;
    timed(secret, SIGNATURE_HEADER, header, "v1", body, now, tolerance_seconds)
}

/// Verifies `t=SECONDS,SCHEME=HEX,..`, the form that Stripe and `ElevenLabs` share.
pub(super) fn timed(
    secret: &Secret,
    name: &str,
    header: &str,
    scheme: &str,
    body: &[u8],
    now: DateTime<Utc>,
    tolerance_seconds: i64,
) -> Result<(), Mismatch> {
    let mut timed = Timed::begin(secret, name, header, scheme)?;
    timed.update(body);
    timed.finish(now, tolerance_seconds)
}

/// The same, of a body that comes in pieces.
#[derive(Clone)]
pub(super) struct Timed {
    mac: Hmac<Sha256>,
    seconds: i64,
    signatures: Vec<String>,
}

impl Timed {
    pub(super) fn begin(secret: &Secret, name: &str, header: &str, scheme: &str) -> Result<Self, Mismatch> {
        let malformed = |expected| Mismatch::Malformed { header: name.to_owned(), expected };
        let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
        let timestamp = parts().find(|(key, _)| *key == "t").map(|(_, value)| value);
        let timestamp = timestamp.ok_or_else(|| malformed("time `t=SECONDS`"))?;
        let seconds: i64 = timestamp.parse().map_err(|_| malformed("time `t=SECONDS`"))?;
        let signatures: Vec<String> =
            parts().filter(|(key, _)| *key == scheme).map(|(_, value)| value.to_owned()).collect();
        if signatures.is_empty() {
            return Err(malformed(if scheme == "v1" { "signature `v1=HEX`" } else { "signature `v0=HEX`" }));
        }
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        Ok(Self { mac, seconds, signatures })
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.mac.update(piece);
    }

    pub(super) fn finish(self, now: DateTime<Utc>, tolerance_seconds: i64) -> Result<(), Mismatch> {
        let mac = self.mac;
        // Every one is looked at: how many there are is no secret, which of them is right may be.
        let is_right =
            |signature: &&String| from_hex(signature).is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok());
        if self.signatures.iter().filter(is_right).count() == 0 {
            return Err(Mismatch::Wrong);
        }
        let age = now.timestamp().saturating_sub(self.seconds);
        if tolerance_seconds > 0 && age > tolerance_seconds {
            return Err(Mismatch::Stale { seconds: age, tolerance_seconds });
        }
        Ok(())
    }
}
