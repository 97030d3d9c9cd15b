//! Tokens that allow one thing for a few minutes.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::domain::secret::Secret;
use crate::domain::signature::jwt;

/// Long enough for a request, and for clocks that differ by as much as is tolerated anywhere here.
const VALID_SECONDS: i64 = 300;

/// What one method needs, and no other has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    MakeRooms,
    ListRooms,
    /// The room to look into.
    LookInto(String),
    Call,
    ListTrunks,
}

pub(super) fn of(key: &str, secret: &Secret, grant: &Grant, now: DateTime<Utc>) -> Secret {
    let mut claims = json!({"iss": key, "nbf": now.timestamp(), "exp": now.timestamp() + VALID_SECONDS});
    let (kind, allowed): (&str, Value) = match grant {
        Grant::MakeRooms => ("video", json!({"roomCreate": true})),
        Grant::ListRooms => ("video", json!({"roomList": true})),
        Grant::LookInto(room) => ("video", json!({"roomAdmin": true, "room": room})),
        Grant::Call => ("sip", json!({"call": true})),
        Grant::ListTrunks => ("sip", json!({"admin": true})),
    };
    claims[kind] = allowed;
    jwt::sign(secret, &claims)
}
