//! Where a credential is kept, so that no configuration holds one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place of a credential: `env:NAME` is an environment variable, `file:/path` a file that holds nothing else.
///
/// The reference is no secret and may be stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// The environment variable of this name.
    Variable(String),
    /// The file at this absolute path.
    File(String),
}

/// Why a text is no reference. It never holds the text, which may be the credential itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefError {
    /// Neither `env:` nor `file:`.
    #[error("not a reference to a secret: write env:NAME or file:/path, never the value (it is not shown here)")]
    NotAReference,
    /// `env:` without a name that a shell can set.
    #[error("env: needs the name of a variable: letters, digits and _, not beginning with a digit")]
    VariableName,
    /// `file:` with something else than an absolute path.
    #[error("file: needs an absolute path, such as file:/etc/callops/key")]
    RelativePath,
}

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        if let Some(name) = text.strip_prefix("env:") {
            return if is_variable_name(name) {
                Ok(Self::Variable(name.to_owned()))
            } else {
                Err(SecretRefError::VariableName)
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            // A drive letter makes a path absolute on Windows.
            let is_absolute = path.starts_with('/') || path.get(1..3).is_some_and(|rest| rest == ":\\" || rest == ":/");
            return if is_absolute && !path.contains('\0') {
                Ok(Self::File(path.to_owned()))
            } else {
                Err(SecretRefError::RelativePath)
            };
        }
        Err(SecretRefError::NotAReference)
    }
}

/// Whether a shell could set a variable of this name.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_back_as_they_were_written() {
        for text in ["env:ACME_VAPI_KEY", "env:_k1", "file:/etc/callops/key", "file:C:\\keys\\vapi"] {
            let reference: SecretRef = text.parse().expect(text);
            assert_eq!(reference.to_string(), text);
            let json = serde_json::to_string(&reference).expect("JSON");
            assert_eq!(serde_json::from_str::<SecretRef>(&json).expect("a reference"), reference);
        }
    }

    #[test]
    fn a_value_in_place_of_a_reference_is_refused_and_not_shown() {
        for (text, expected) in [
            ("sk-hunter2", SecretRefError::NotAReference),
            ("", SecretRefError::NotAReference),
            ("ENV:hunter2", SecretRefError::NotAReference),
            ("env:", SecretRefError::VariableName),
            ("env:1hunter2", SecretRefError::VariableName),
            ("env:hunter2-key", SecretRefError::VariableName),
            ("env:$HUNTER2", SecretRefError::VariableName),
            ("file:hunter2", SecretRefError::RelativePath),
            ("file:~/hunter2", SecretRefError::RelativePath),
            ("file:", SecretRefError::RelativePath),
        ] {
            let error = text.parse::<SecretRef>().expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!format!("{error} {error:?}").to_lowercase().contains("hunter2"), "{error}");
        }
        let error = serde_json::from_str::<SecretRef>("\"sk-hunter2\"").expect_err("no reference");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
