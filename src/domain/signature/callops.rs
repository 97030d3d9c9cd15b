//! The signature of our own webhook, `call-status`: HMAC-SHA256 in hexadecimal digits, over the raw body, or over
//! `TIMESTAMP.BODY` where the sender names the time at which it signed.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Mismatch, check_age, from_hex, to_hex};
use crate::domain::secret::Secret;

/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "x-webhook-signature";
/// The header of the time of signing, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "x-webhook-timestamp";
/// How far from now the time of signing may be.
pub const TOLERANCE_SECONDS: i64 = 300;

/// What came with a request.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The header of the signature.
    pub signature: Option<&'a str>,
    /// The header of the time of signing.
    pub timestamp: Option<&'a str>,
    /// The body as it came.
    pub body: &'a [u8],
}

/// The signature of a body, and of the time, where one is given.
pub fn sign(secret: &Secret, timestamp: Option<&str>, body: &[u8]) -> String {
    to_hex(&mac(secret, timestamp, body).finalize().into_bytes())
}

/// Insists that the delivery was signed with this secret.
///
/// # Errors
/// What is wrong with it.
pub fn verify(secret: &Secret, delivery: &Delivery<'_>, now: DateTime<Utc>) -> Result<(), Mismatch> {
    let signature = delivery.signature.ok_or_else(|| Mismatch::Missing(SIGNATURE_HEADER.to_owned()))?;
    let signature = from_hex(signature).filter(|bytes| bytes.len() == 32).ok_or_else(|| Mismatch::Malformed {
        header: SIGNATURE_HEADER.to_owned(),
        expected: "64 hexadecimal digits",
    })?;
    mac(secret, delivery.timestamp, delivery.body).verify_slice(&signature).map_err(|_| Mismatch::Wrong)?;
    match delivery.timestamp {
        Some(timestamp) => check_age(TIMESTAMP_HEADER, timestamp, now, TOLERANCE_SECONDS),
        None => Ok(()),
    }
}

fn mac(secret: &Secret, timestamp: Option<&str>, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    if let Some(timestamp) = timestamp {
        mac.update(timestamp.as_bytes());
        mac.update(b".");
    }
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new("test_secret")
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_739_537_300, 0).unwrap()
    }

    fn verified(signature: Option<&str>, timestamp: Option<&str>, body: &[u8]) -> Result<(), Mismatch> {
        verify(&secret(), &Delivery { signature, timestamp, body }, now())
    }

    /// The vector of RFC 4231, test case 2, and what `openssl dgst -sha256 -hmac test_secret` says of a body.
    #[test]
    fn signatures_are_those_of_other_programs() {
        assert_eq!(
            sign(&Secret::new("Jefe"), None, b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            sign(
                &secret(),
                None,
                br#"{"message":{"type":"status-update","status":"ended","call":{"id":"call-uuid"}}}"#
            ),
            "2a1fade224af57c286e6de32d63660cf4c47af9b51b96da1040121f36ec2863c"
        );
    }

    #[test]
    fn the_body_and_the_time_are_signed() {
        let plain = sign(&secret(), None, b"{}");
        assert_eq!(verified(Some(&plain), None, b"{}"), Ok(()));
        assert_eq!(verified(Some(&plain.to_uppercase()), None, b"{}"), Ok(()));
        assert_eq!(verified(Some(&plain), None, b"{ }"), Err(Mismatch::Wrong));
        assert_eq!(
            verified(Some(&plain), Some("1739537300"), b"{}"),
            Err(Mismatch::Wrong),
            "a time that nobody signed"
        );

        let timed = sign(&secret(), Some("1739537000"), b"{}");
        assert_eq!(verified(Some(&timed), Some("1739537000"), b"{}"), Ok(()));
        assert_eq!(verified(Some(&timed), Some("1739537001"), b"{}"), Err(Mismatch::Wrong));
        assert_eq!(verified(Some(&timed), None, b"{}"), Err(Mismatch::Wrong), "the time is not to be left out");
        let old = sign(&secret(), Some("1739536999"), b"{}");
        assert!(matches!(verified(Some(&old), Some("1739536999"), b"{}"), Err(Mismatch::Stale { .. })));
        let other = sign(&Secret::new("test_secre"), None, b"{}");
        assert_eq!(verified(Some(&other), None, b"{}"), Err(Mismatch::Wrong));
    }

    #[test]
    fn what_is_no_signature_is_none() {
        let whole = sign(&secret(), None, b"{}");
        for text in ["", "0", &whole[..62], &format!("{whole}00"), &format!("sha256={whole}"), &"zz".repeat(32)] {
            assert!(matches!(verified(Some(text), None, b"{}"), Err(Mismatch::Malformed { .. })), "{text}");
        }
        assert!(matches!(verified(None, None, b"{}"), Err(Mismatch::Missing(_))));
    }
}
