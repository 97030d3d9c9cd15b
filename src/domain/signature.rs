//! Who signed a webhook. Secrets and signatures are compared in constant time.
//!
//! A [`Mismatch`] says what was wrong, for whoever sets a webhook up and looks with the secret in hand. A server that
//! answers strangers keeps it to itself.

pub mod callops;
pub mod elevenlabs;
pub mod jwt;
pub mod livekit;
pub mod stripe;
pub mod twilio;
pub mod vapi;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Why a delivery was not signed with a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The header that holds the signature or secret is not there.
    #[error("the header {0} is missing")]
    Missing(String),
    /// The signature is in no form that it can have.
    #[error("the header {header} holds no {expected}")]
    Malformed {
        /// The header.
        header: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// It was made too long ago, or too far ahead.
    #[error("it was signed {seconds} s away from now, more than {tolerance_seconds} s")]
    Stale {
        /// How far away.
        seconds: i64,
        /// How far it may be.
        tolerance_seconds: i64,
    },
    /// The secret itself cannot be used as the plan says.
    #[error("the secret is no {0}")]
    UnusableSecret(&'static str),
    /// The token is not one that is taken.
    #[error("the token is not taken: {0}")]
    Token(&'static str),
    /// What was signed is right, and names another body.
    #[error("{0}")]
    Body(&'static str),
    /// It was made with another secret, or over other bytes.
    #[error("it was made with another secret, or over other bytes")]
    Wrong,
}

/// Whether two secrets are the same, in a time that says nothing about where they differ or how long they are.
pub fn same(given: &[u8], expected: &[u8]) -> bool {
    Sha256::digest(given).as_slice().ct_eq(Sha256::digest(expected).as_slice()).into()
}

/// Bytes from hexadecimal digits of either case.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()
        })
        .collect()
}

/// Bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|d| char::from_digit(d.into(), 16)).collect()
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Refuses a moment too far from now. Seconds or milliseconds since 1970: what is too large for seconds is the latter.
fn check_age(header: &str, timestamp: &str, now: DateTime<Utc>, tolerance_seconds: i64) -> Result<(), Mismatch> {
    const LARGEST_SECONDS: u64 = 100_000_000_000;
    let malformed = || Mismatch::Malformed { header: header.to_owned(), expected: "seconds since 1970" };
    let number: i64 = timestamp.parse().map_err(|_| malformed())?;
    let seconds = if number.unsigned_abs() < LARGEST_SECONDS { number } else { number / 1000 };
    let away = now.timestamp().saturating_sub(seconds).saturating_abs();
    if away > tolerance_seconds { Err(Mismatch::Stale { seconds: away, tolerance_seconds }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_reads_back_and_nothing_else_does() {
        assert_eq!(from_hex("00fFa1"), Some(vec![0, 255, 161]));
        assert_eq!(to_hex(&[0, 255, 161]), "00ffa1");
        for bad in ["0", "0g", "+1", " 1", "é0", "0x"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn secrets_are_the_same_or_not() {
        assert!(same(b"hunter2", b"hunter2"));
        for other in ["", "hunter", "hunter22", "Hunter2"] {
            assert!(!same(other.as_bytes(), b"hunter2"), "{other}");
        }
    }

    #[test]
    fn an_age_is_read_in_seconds_or_milliseconds() {
        let now = DateTime::from_timestamp(1_739_537_300, 0).unwrap();
        for fresh in ["1739537297", "1739537297000", "1739537600", "1739537000"] {
            assert_eq!(check_age("t", fresh, now, 300), Ok(()), "{fresh}");
        }
        for stale in ["1739536999", "1739537601", "0", "-9223372036854775808", "9223372036854775807"] {
            assert!(matches!(check_age("t", stale, now, 300), Err(Mismatch::Stale { .. })), "{stale}");
        }
        for bad in ["", "soon", "1e9", "1739537297.5", "99999999999999999999"] {
            assert!(matches!(check_age("t", bad, now, 300), Err(Mismatch::Malformed { .. })), "{bad}");
        }
    }
}
