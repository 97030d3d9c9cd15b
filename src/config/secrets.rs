//! From the place of a credential to the credential.

use std::fmt;
use std::fs;

use anyhow::Result;

use super::Environment;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::error::Failure;

impl SecretRef {
    /// Reads the credential: the variable's value, or the file's content without one line end after it.
    ///
    /// # Errors
    /// Exit 6 when it is absent, unreadable, empty, or spread over several lines.
    pub fn resolve(&self, environment: &Environment) -> Result<Secret> {
        let value = match self {
            Self::Variable(name) => match environment.get(name) {
                Some(value) => value.to_owned(),
                None if environment.is_empty_variable(name) => {
                    return Err(Failure::configuration(format!("the variable {name} is set but empty")).into());
                }
                None => {
                    return Err(Failure::configuration(format!("the variable {name} is not set"))
                        .hint("cron starts programs with a bare environment: put it in the env_file of callops.toml")
                        .into());
                }
            },
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| Failure::configuration(format!("cannot read the secret in {path}: {error}")))?;
                let line =
                    text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
                line.to_owned()
            }
        };
        if value.trim().is_empty() {
            return Err(Failure::configuration(format!("the secret in {self} is empty")).into());
        }
        // It goes into HTTP headers, and an editor's second line end is easily overlooked.
        if value.contains(['\n', '\r', '\0']) {
            return Err(Failure::configuration(format!("the secret in {self} is more than one line")).into());
        }
        Ok(Secret::new(value))
    }
}

/// An address that may itself be a secret, as those of alert services are: given outright, or by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretUrl {
    /// The address as it stood in the configuration.
    Given(Secret),
    /// Where it is kept.
    Reference(SecretRef),
}

impl SecretUrl {
    /// Takes an http(s) address or a reference. What is told about a wrong one does not hold it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(reference) = text.parse() {
            return Ok(Self::Reference(reference));
        }
        check_web_address(text)?;
        Ok(Self::Given(Secret::new(text)))
    }

    /// The address.
    ///
    /// # Errors
    /// Exit 6 when the reference leads nowhere, or to something that is no http(s) address.
    pub fn resolve(&self, environment: &Environment) -> Result<Secret> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::Reference(reference) => {
                let url = reference.resolve(environment)?;
                check_web_address(url.expose())
                    .map_err(|rule| Failure::configuration(format!("what {reference} holds is {rule}")))?;
                Ok(url)
            }
        }
    }
}

/// The address of a service that is told things which only it should read: of http, none beyond this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertUrl(SecretUrl);

impl AlertUrl {
    /// As [`SecretUrl::parse`].
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = SecretUrl::parse(text)?;
        if let SecretUrl::Given(given) = &url {
            check_private(given.expose())?;
        }
        Ok(Self(url))
    }

    /// The address.
    ///
    /// # Errors
    /// Exit 6 when the reference leads nowhere, or to something that may not be told.
    pub fn resolve(&self, environment: &Environment) -> Result<Secret> {
        let url = self.0.resolve(environment)?;
        check_private(url.expose())
            .map_err(|rule| Failure::configuration(format!("what {} holds is {rule}", self.0)))?;
        Ok(url)
    }
}

fn check_private(text: &str) -> Result<(), String> {
    let url = check_web_address(text)?;
    let host = url.host_str().unwrap_or_default();
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if url.scheme() == "https" || is_here {
        Ok(())
    } else {
        Err("an http address of another machine: https is wanted".to_owned())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(url) => url.fmt(f),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

/// Refuses what is no http or https address with a host, without showing it.
pub(super) fn check_web_address(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("no http or https address ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("no http or https address".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::{Exit, classify, hints};

    fn environment() -> Environment {
        Environment::of_variables(
            [
                ("KEY", "hunter2"),
                ("EMPTY", ""),
                ("BLANK", "  "),
                ("LINES", "a\nb"),
                ("URL", "https://x.example/hunter2"),
            ],
            "/",
        )
    }

    fn file(content: &str) -> (tempfile::NamedTempFile, SecretRef) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content.as_bytes()).expect("written");
        let reference = SecretRef::File(file.path().display().to_string());
        (file, reference)
    }

    fn reference(text: &str) -> SecretRef {
        text.parse().expect(text)
    }

    #[test]
    fn a_variable_or_a_file_holds_the_value() {
        assert_eq!(reference("env:KEY").resolve(&environment()).expect("a secret").expose(), "hunter2");
        for content in ["hunter2", "hunter2\n", "hunter2\r\n"] {
            let (_file, reference) = file(content);
            assert_eq!(reference.resolve(&environment()).expect("a secret").expose(), "hunter2");
        }
        let (_file, reference) = file(" inner blanks stay \n");
        assert_eq!(reference.resolve(&environment()).expect("a secret").expose(), " inner blanks stay ");
    }

    #[test]
    fn what_is_no_value_is_an_error_that_names_the_place() {
        for (text, part) in [
            ("env:ABSENT", "the variable ABSENT is not set"),
            ("env:EMPTY", "the variable EMPTY is set but empty"),
            ("env:BLANK", "the secret in env:BLANK is empty"),
            ("env:LINES", "the secret in env:LINES is more than one line"),
            ("file:/nowhere/key", "cannot read the secret in /nowhere/key"),
        ] {
            let error = reference(text).resolve(&environment()).expect_err(text);
            assert_eq!(classify(&error), Exit::Configuration);
            assert!(error.to_string().starts_with(part), "{error}");
        }
        assert!(!hints(&reference("env:ABSENT").resolve(&environment()).expect_err("absent")).is_empty());
        for content in ["", "\n", "hunter2\n\n", "a\nhunter2\n"] {
            let (_file, reference) = file(content);
            let error = reference.resolve(&environment()).expect_err("no secret").to_string();
            assert!(error.contains(&reference.to_string()) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn alerts_go_encrypted_or_nowhere_else() {
        for text in [
            "https://x.example/hunter2",
            "http://127.0.0.1:8080/hunter2",
            "http://[::1]:8080/hunter2",
            "http://localhost/hunter2",
            "env:URL",
        ] {
            AlertUrl::parse(text).and_then(|url| url.resolve(&environment()).map_err(|e| e.to_string())).expect(text);
        }
        for text in ["http://x.example/hunter2", "http://10.0.0.1/hunter2", "http://127.0.0.1.example/hunter2"] {
            let error = AlertUrl::parse(text).expect_err(text);
            assert_eq!(error, "an http address of another machine: https is wanted");
            let environment = Environment::of_variables([("PLAIN", text)], "/");
            let error = AlertUrl::parse("env:PLAIN").expect("a reference").resolve(&environment).expect_err(text);
            assert_eq!(classify(&error), Exit::Configuration);
            assert!(error.to_string().starts_with("what env:PLAIN holds is an http address"), "{error}");
        }
        assert!(AlertUrl::parse("hunter2").is_err());
    }

    #[test]
    fn an_address_is_given_or_referred_to_and_never_shown() {
        let given = SecretUrl::parse("https://x.example/hunter2").expect("an address");
        assert_eq!(format!("{given} {given:?}"), "[secret] Given([secret])");
        assert_eq!(given.resolve(&environment()).expect("an address").expose(), "https://x.example/hunter2");
        let referred = SecretUrl::parse("env:URL").expect("a reference");
        assert_eq!(referred.to_string(), "env:URL");
        assert_eq!(referred.resolve(&environment()).expect("an address"), Secret::new("https://x.example/hunter2"));
        let error = SecretUrl::parse("env:KEY").expect("a reference").resolve(&environment()).expect_err("no address");
        assert!(error.to_string().starts_with("what env:KEY holds is no http or https address"), "{error}");
        for text in ["hunter2", "ftp://x.example/hunter2", "https:///", "mailto:hunter2@x.example", ""] {
            let error = SecretUrl::parse(text).expect_err(text);
            assert!(error.contains("no http or https address") && !error.contains("hunter2"), "{error}");
        }
    }
}
