//! Which database, and who said so.

use std::fmt;
use std::path::{Path, PathBuf};

/// The address of a database in the form that the store takes. `Display` and `Debug` hide a password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes `postgres://..`, `sqlite:..`, or a plain path; relative paths start at `base`.
    ///
    /// # Errors
    /// The rule that the text breaks, without the text, which may hold a password.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| is_scheme(scheme));
        let path = match scheme {
            Some("postgres" | "postgresql") => {
                // The parser's own words hold no part of the text.
                let url = reqwest::Url::parse(text).map_err(|error| format!("no PostgreSQL address ({error})"))?;
                if !text[url.scheme().len()..].starts_with("://") {
                    return Err("no PostgreSQL address: it begins with postgres://".to_owned());
                }
                return Ok(Self(text.to_owned()));
            }
            Some("sqlite") => {
                let rest = &text["sqlite:".len()..];
                rest.strip_prefix("//").unwrap_or(rest)
            }
            Some("env" | "file") => {
                return Err("a reference is not taken here; CALLOPS_DATABASE_URL, which may stand in the env_file, \
                            keeps a password out of callops.toml"
                    .to_owned());
            }
            Some(scheme) => {
                return Err(format!(
                    "{scheme}: is no known kind of database: write postgres://.., sqlite:///path or a path"
                ));
            }
            None => text,
        };
        if path.is_empty() {
            return Err("no path of a database file".to_owned());
        }
        if path.contains(":memory:") {
            return Err("a database in memory forgets what was called".to_owned());
        }
        if path.starts_with('~') {
            return Err("~ is expanded by shells only: write the whole path".to_owned());
        }
        if path.contains('?') {
            return Err("options after ? are taken for PostgreSQL only".to_owned());
        }
        Ok(Self::of_file(&base.join(path)))
    }

    /// A SQLite file.
    pub fn of_file(path: &Path) -> Self {
        Self(format!("sqlite://{}", path.display()))
    }

    /// The address with its password, for the connection.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file of a SQLite database.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.0.strip_prefix("sqlite://").map(Path::new)
    }
}

/// Whether this is the scheme of an address; one letter is a drive of Windows.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(url) = reqwest::Url::parse(&self.0) else { return f.write_str(&self.0) };
        if self.sqlite_path().is_some() {
            return f.write_str(&self.0);
        }
        let host = url.host_str().unwrap_or_default();
        let user = url.username();
        write!(f, "{}://", url.scheme())?;
        match (user, url.password().is_some()) {
            ("", false) => {}
            (user, false) => write!(f, "{user}@")?,
            (user, true) => write!(f, "{user}:[secret]@")?,
        }
        f.write_str(host)?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        for (index, (name, value)) in url.query_pairs().enumerate() {
            let value = if name == "password" { "[secret]" } else { &value };
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An option of the command line, by its name.
    Option(&'static str),
    /// An environment variable, by its name.
    Variable(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("the default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_one_form_and_servers_are_left_as_they_are() {
        for (text, expected) in [
            ("callops.db", "sqlite:///base/callops.db"),
            ("/data/calls.db", "sqlite:///data/calls.db"),
            ("sqlite:calls.db", "sqlite:///base/calls.db"),
            ("sqlite:///data/calls.db", "sqlite:///data/calls.db"),
            ("sqlite://calls.db", "sqlite:///base/calls.db"),
            ("postgres://u:p@h:5433/d?sslmode=require", "postgres://u:p@h:5433/d?sslmode=require"),
            ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
        ] {
            let url = DatabaseUrl::parse(text, Path::new("/base")).expect(text);
            assert_eq!(url.as_str(), expected);
            assert_eq!(url.sqlite_path().is_some(), expected.starts_with("sqlite"));
        }
    }

    #[test]
    fn what_is_no_database_is_refused_without_being_shown() {
        for (text, part) in [
            ("", "no path"),
            ("sqlite:", "no path"),
            ("sqlite::memory:", "forgets"),
            ("~/hunter2.db", "expanded by shells"),
            ("sqlite:///hunter2.db?mode=rwc", "PostgreSQL only"),
            ("mysql://u:hunter2@h/d", "mysql: is no known kind"),
            ("env:HUNTER2", "a reference is not taken here"),
            ("postgres:hunter2", "no PostgreSQL address"),
            ("postgres://u:hunter2@h:port/d", "no PostgreSQL address"),
        ] {
            let error = DatabaseUrl::parse(text, Path::new("/base")).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.to_lowercase().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://u:hunter2@h:5433/d?sslmode=require", "postgres://u:[secret]@h:5433/d?sslmode=require"),
            ("postgres://u@h/d?a=1&password=hunter2", "postgres://u@h/d?a=1&password=[secret]"),
            ("postgres:///d?host=/run/postgresql", "postgres:///d?host=/run/postgresql"),
            ("/data/calls.db", "sqlite:///data/calls.db"),
        ] {
            let url = DatabaseUrl::parse(text, Path::new("/")).expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("DatabaseUrl({shown})"));
        }
    }
}
