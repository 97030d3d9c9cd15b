//! A conversation that callops did not dial: in a browser, or called by somebody else.

use std::fmt;
use std::str::FromStr;

use super::call::{UnknownWord, words};

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// It goes on, as far as is known.
    Active,
    /// It is over.
    Completed,
}

words!(SessionStatus, "session status", { Active => "active", Completed => "completed" });

/// How long a session may be active before the provider is asked whether it is over, unless its tenant says otherwise.
pub const DEFAULT_SESSION_TIMEOUT_SECONDS: i64 = 60 * 60;
