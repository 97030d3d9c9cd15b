//! How Vapi shows who it is: a shared secret in `X-Vapi-Secret`, a bearer token, or an HMAC whose form its users choose.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Mismatch, check_age, from_base64, from_hex, same};
use crate::domain::secret::Secret;

/// The header of a delivery's id.
const ID_HEADER: &str = "svix-id";
/// The header of the shared secret.
pub const SECRET_HEADER: &str = "x-vapi-secret";

/// Hash functions that a signature may be made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
    /// SHA-1: broken as a hash of documents, and good enough still with a key.
    Sha1,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// An HMAC as Vapi's users configure it, with Vapi's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HmacPlan {
    /// The header of the signature.
    pub header: String,
    /// The header of the time of signing.
    pub timestamp_header: String,
    /// What is signed: a text with `{timestamp}`, `{method}`, `{url}`, `{svix-id}` and `{body}` in it.
    pub payload: String,
    /// What stands before the signature in its header.
    pub prefix: String,
    /// The hash function.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// Whether the secret is base64 of the key's bytes.
    pub secret_is_base64: bool,
    /// How far from now the time of signing may be, where it is signed.
    pub tolerance_seconds: i64,
}

impl Default for HmacPlan {
    fn default() -> Self {
        Self {
            header: "x-signature".to_owned(),
            timestamp_header: "x-timestamp".to_owned(),
            payload: "{timestamp}.{body}".to_owned(),
            prefix: String::new(),
            algorithm: Algorithm::default(),
            encoding: Encoding::default(),
            secret_is_base64: false,
            // Nobody says whether a delivery that Vapi repeats is signed anew; a poll learns what is refused here.
            tolerance_seconds: 1800,
        }
    }
}

/// What came with a request.
pub struct Delivery<'a> {
    /// A header by its lower-case name.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The address as the sender knows it.
    pub url: &'a str,
    /// The body as it came.
    pub body: &'a [u8],
}

/// Insists that the delivery shows this secret: by the plan, where there is one; else in any of Vapi's three ways.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    secret: &Secret,
    plan: Option<&HmacPlan>,
    delivery: &Delivery<'_>,
    now: DateTime<Utc>,
) -> Result<(), Mismatch> {
    if let Some(plan) = plan {
        return verify_hmac(secret, plan, delivery, now);
    }
    let shown = (delivery.header)(SECRET_HEADER).or_else(|| bearer((delivery.header)("authorization")?));
    match shown {
        Some(shown) if same(shown.as_bytes(), secret.expose().as_bytes()) => Ok(()),
        Some(_) => Err(Mismatch::Wrong),
        None => match verify_hmac(secret, &HmacPlan::default(), delivery, now) {
            Err(Mismatch::Missing(_)) => Err(Mismatch::Missing(SECRET_HEADER.to_owned())),
            result => result,
        },
    }
}

/// The token of an `Authorization: Bearer ..` header.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn verify_hmac(secret: &Secret, plan: &HmacPlan, delivery: &Delivery<'_>, now: DateTime<Utc>) -> Result<(), Mismatch> {
    let missing = |header: &str| Mismatch::Missing(header.to_owned());
    let header = (delivery.header)(&plan.header).ok_or_else(|| missing(&plan.header))?;
    let timed = plan.payload.contains("{timestamp}");
    let timestamp = match (delivery.header)(&plan.timestamp_header) {
        Some(timestamp) => timestamp,
        None if timed => return Err(missing(&plan.timestamp_header)),
        None => "",
    };
    let id = (delivery.header)(ID_HEADER).unwrap_or_default();
    if id.is_empty() && plan.payload.contains("{svix-id}") {
        return Err(missing(ID_HEADER));
    }
    let signature = header.strip_prefix(&plan.prefix).and_then(|text| match plan.encoding {
        Encoding::Hex => from_hex(text),
        Encoding::Base64 => from_base64(text),
    });
    let signature = signature.ok_or_else(|| Mismatch::Malformed {
        header: plan.header.clone(),
        expected: match plan.encoding {
            Encoding::Hex => "hexadecimal digits behind the prefix",
            Encoding::Base64 => "base64 behind the prefix",
        },
    })?;
    let key = if plan.secret_is_base64 {
        from_base64(secret.expose()).ok_or(Mismatch::UnusableSecret("base64"))?
    } else {
        secret.expose().as_bytes().to_vec()
    };
    let is_right = match plan.algorithm {
        Algorithm::Sha256 => matches::<Hmac<Sha256>>(&key, plan, (timestamp, id), delivery, &signature),
        Algorithm::Sha512 => matches::<Hmac<Sha512>>(&key, plan, (timestamp, id), delivery, &signature),
        Algorithm::Sha1 => matches::<Hmac<Sha1>>(&key, plan, (timestamp, id), delivery, &signature),
    };
    if !is_right {
        return Err(Mismatch::Wrong);
    }
    if timed { check_age(&plan.timestamp_header, timestamp, now, plan.tolerance_seconds) } else { Ok(()) }
}

fn matches<M: Mac + KeyInit>(
    key: &[u8],
    plan: &HmacPlan,
    (timestamp, id): (&str, &str),
    delivery: &Delivery<'_>,
    signature: &[u8],
) -> bool {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    let mut rest = plan.payload.as_str();
    while let Some(start) = rest.find('{') {
        mac.update(&rest.as_bytes()[..start]);
        rest = &rest[start..];
        let parts: [(&str, &[u8]); 5] = [
            ("{timestamp}", timestamp.as_bytes()),
            ("{method}", delivery.method.as_bytes()),
            ("{url}", delivery.url.as_bytes()),
            ("{svix-id}", id.as_bytes()),
            ("{body}", delivery.body),
        ];
        if let Some((name, bytes)) = parts.iter().find(|(name, _)| rest.starts_with(name)) {
            mac.update(bytes);
            rest = &rest[name.len()..];
        } else {
            mac.update(b"{");
            rest = &rest[1..];
        }
    }
    mac.update(rest.as_bytes());
    mac.verify_slice(signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"message":{"type":"status-update","status":"ended","call":{"id":"call-uuid"}}}"#;
    /// Computed from the defaults that Vapi documents, over [`BODY`].
    const DEFAULT_SIGNATURE: &str = "71a84b4bee443d3b1c6f6bd6713f639f98d266a0d83f659af9f7fc062ed90dfc";
    const BODY_SIGNATURE: &str = "sha256=2a1fade224af57c286e6de32d63660cf4c47af9b51b96da1040121f36ec2863c";

    fn verified(
        plan: Option<&HmacPlan>,
        headers: &[(&str, &str)],
        body: &str,
        now_seconds: i64,
    ) -> Result<(), Mismatch> {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let delivery =
            Delivery { header: &header, method: "POST", url: "https://calls.example/v", body: body.as_bytes() };
        verify(&Secret::new("test_secret"), plan, &delivery, DateTime::from_timestamp(now_seconds, 0).unwrap())
    }

    const NOW: i64 = 1_739_537_300;

    #[test]
    fn the_documented_defaults_are_taken() {
        let headers = [("x-signature", DEFAULT_SIGNATURE), ("x-timestamp", "1739537297")];
        assert_eq!(verified(None, &headers, BODY, NOW), Ok(()));
        assert_eq!(verified(Some(&HmacPlan::default()), &headers, BODY, NOW), Ok(()));
        assert_eq!(verified(None, &headers, "{}", NOW), Err(Mismatch::Wrong));
        assert!(matches!(verified(None, &headers, BODY, NOW + 1800), Err(Mismatch::Stale { .. })));
        assert!(matches!(verified(None, &headers[..1], BODY, NOW), Err(Mismatch::Missing(_))));
    }

    #[test]
    fn a_plan_of_ones_own_is_taken_and_nothing_else_beside_it() {
        let plan = HmacPlan {
            header: "x-vapi-signature".to_owned(),
            payload: "{body}".to_owned(),
            prefix: "sha256=".to_owned(),
            ..HmacPlan::default()
        };
        assert_eq!(verified(Some(&plan), &[("x-vapi-signature", BODY_SIGNATURE)], BODY, NOW), Ok(()));
        assert!(matches!(
            verified(Some(&plan), &[("x-vapi-signature", &BODY_SIGNATURE[7..])], BODY, NOW),
            Err(Mismatch::Malformed { .. })
        ));
        assert!(verified(Some(&plan), &[("x-vapi-secret", "test_secret")], BODY, NOW).is_err());
        // `openssl dgst -sha512 -mac HMAC -macopt key:test_secret -binary | base64` over POST:https://..|{x}.
        let plan = HmacPlan {
            payload: "{method}:{url}|{x}{body}{".to_owned(),
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Base64,
            secret_is_base64: false,
            ..HmacPlan::default()
        };
        let signature = SHA512_SIGNATURE;
        assert_eq!(verified(Some(&plan), &[("x-signature", signature)], "{}", NOW), Ok(()));
    }

    #[test]
    fn the_id_of_a_delivery_can_be_signed_too() {
        let plan = HmacPlan {
            payload: "{svix-id}.{timestamp}.{body}".to_owned(),
            algorithm: Algorithm::Sha1,
            ..HmacPlan::default()
        };
        // `openssl dgst -sha1 -hmac test_secret` over msg_1.1739537297.BODY.
        let signature = ("x-signature", "90a962daef38e6afdfdb3e1ef74bb4af8c55e883");
        let (timestamp, id) = (("x-timestamp", "1739537297"), ("svix-id", "msg_1"));
        assert_eq!(verified(Some(&plan), &[signature, timestamp, id], BODY, NOW), Ok(()));
        assert_eq!(
            verified(Some(&plan), &[signature, timestamp, ("svix-id", "msg_2")], BODY, NOW),
            Err(Mismatch::Wrong)
        );
        assert_eq!(
            verified(Some(&plan), &[signature, timestamp], BODY, NOW),
            Err(Mismatch::Missing("svix-id".to_owned()))
        );
    }

    const SHA512_SIGNATURE: &str =
        "BWxnU/YaXpbwrDUTIwlDNy1HQOUbQcv4pRBqemWidcp2GQeAiqYuxd7Erw2fzC4HZ3iVZzM43WwEYebzFetipg==";

    #[test]
    fn a_secret_is_base64_where_the_plan_says_so() {
        let plan = HmacPlan { payload: "{body}".to_owned(), secret_is_base64: true, ..HmacPlan::default() };
        let header = |name: &str| (name == "x-signature").then_some(&BODY_SIGNATURE[7..]);
        let delivery = Delivery { header: &header, method: "POST", url: "", body: BODY.as_bytes() };
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        assert_eq!(verify(&Secret::new("dGVzdF9zZWNyZXQ="), Some(&plan), &delivery, now), Ok(()));
        let unusable = verify(&Secret::new("test_secret"), Some(&plan), &delivery, now);
        assert_eq!(unusable, Err(Mismatch::UnusableSecret("base64")));
    }

    #[test]
    fn a_shared_secret_or_a_bearer_is_taken() {
        for good in [
            ("x-vapi-secret", "test_secret"),
            ("authorization", "Bearer test_secret"),
            ("authorization", "bearer  test_secret"),
        ] {
            assert_eq!(verified(None, &[good], BODY, NOW), Ok(()), "{good:?}");
        }
        for bad in [
            ("x-vapi-secret", "test_secre"),
            ("x-vapi-secret", ""),
            ("authorization", "test_secret"),
            ("authorization", "Basic test_secret"),
            ("authorization", "Bearer "),
        ] {
            assert!(verified(None, &[bad], BODY, NOW).is_err(), "{bad:?}");
        }
        assert_eq!(verified(None, &[], BODY, NOW), Err(Mismatch::Missing(SECRET_HEADER.to_owned())));
    }
}
