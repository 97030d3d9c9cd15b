//! The environment, read once, and the file that stands in for it under cron.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use directories::ProjectDirs;

use crate::domain::secret_ref::is_variable_name;
use crate::error::Failure;

/// A snapshot of what surrounds the process: variables, platform directories, working directory.
///
/// `Debug` shows the names of the variables and never a value.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    fallback: BTreeMap<String, String>,
    config_dir: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    current_dir: PathBuf,
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are as good as absent.
    pub fn of_process() -> Self {
        let directories = ProjectDirs::from("", "", "callops");
        Self {
            variables: env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            fallback: BTreeMap::new(),
            config_dir: directories.as_ref().map(|found| found.config_dir().to_owned()),
            data_dir: directories.as_ref().map(|found| found.data_dir().to_owned()),
            current_dir: env::current_dir().unwrap_or_default(),
        }
    }

    /// An environment of these variables only, without platform directories, that works in `current_dir`.
    pub fn of_variables<N, V>(variables: impl IntoIterator<Item = (N, V)>, current_dir: impl Into<PathBuf>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        Self {
            variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            current_dir: current_dir.into(),
            ..Self::default()
        }
    }

    /// The same environment with these platform directories.
    #[must_use]
    pub fn with_directories(mut self, config_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        self.config_dir = Some(config_dir.into());
        self.data_dir = Some(data_dir.into());
        self
    }

    /// The same environment with variables that hold where the process has none.
    #[must_use]
    pub fn with_fallback(mut self, fallback: BTreeMap<String, String>) -> Self {
        self.fallback = fallback;
        self
    }

    /// A variable, of the process or else of the `env_file`. An empty one is as good as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .or_else(|| self.fallback.get(name).filter(|value| !value.is_empty()))
            .map(String::as_str)
    }

    /// Whether the process has the variable but leaves it empty, and no `env_file` gives it a value.
    pub fn is_empty_variable(&self, name: &str) -> bool {
        self.get(name).is_none() && (self.variables.contains_key(name) || self.fallback.contains_key(name))
    }

    /// The platform's directory for configuration, such as `~/.config/callops`.
    pub fn config_dir(&self) -> Option<&Path> {
        self.config_dir.as_deref()
    }

    /// The platform's directory for data, such as `~/.local/share/callops`.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The working directory.
    pub fn current_dir(&self) -> &Path {
        &self.current_dir
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("fallback", &self.fallback.keys().collect::<Vec<_>>())
            .field("config_dir", &self.config_dir)
            .field("data_dir", &self.data_dir)
            .field("current_dir", &self.current_dir)
            .finish()
    }
}

/// Reads an `env_file`; the second value is a warning when others may read it too.
///
/// # Errors
/// Exit 6 naming file and line, never a value.
pub(super) fn read_env_file(path: &Path) -> Result<(BTreeMap<String, String>, Option<String>)> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::configuration(format!("cannot read the env_file {name}: {error}")))?;
    Ok((parse_env_file(&name, &text)?, permission_warning(path)))
}

/// A warning when a file of secrets is open to others than its owner.
#[cfg(unix)]
pub(super) fn permission_warning(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o177 != 0).then(|| {
        let path = path.display();
        format!("{path} holds secrets and has mode {mode:04o}; make it 0600: chmod 600 {path}")
    })
}

/// A warning when a file of secrets is open to others than its owner.
#[cfg(not(unix))]
pub(super) fn permission_warning(_path: &Path) -> Option<String> {
    None
}

/// Reads lines of `NAME=value`, as shells and systemd write them: comments, an `export` before the name, and quotes.
/// Inside double quotes `\n`, `\"`, `\\` and `\$` are escapes; nothing is expanded.
fn parse_env_file(file: &str, text: &str) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |rule: &str| Failure::configuration(format!("{file}:{}: {rule}", index + 1));
        let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line);
        let (variable, value) =
            line.split_once('=').ok_or_else(|| fail("a line is NAME=value, a # comment, or empty"))?;
        let variable = variable.trim_start();
        if !is_variable_name(variable) {
            return Err(fail("the name before = may hold letters, digits and _, with no blank before the =").into());
        }
        let value = parse_value(value.trim()).map_err(|rule| fail(&format!("{variable}: {rule}")))?;
        if variables.insert(variable.to_owned(), value).is_some() {
            return Err(fail(&format!("{variable} has a value in an earlier line already")).into());
        }
    }
    Ok(variables)
}

fn parse_value(text: &str) -> Result<String, &'static str> {
    let (value, rest) = match text.chars().next() {
        Some('\'') => text[1..].split_once('\'').map(|(value, rest)| (value.to_owned(), rest)).ok_or(UNCLOSED)?,
        Some('"') => double_quoted(&text[1..])?,
        _ => {
            // A # begins a comment only after a blank: colours and fragments hold one too.
            let end = text
                .char_indices()
                .find(|(at, c)| *c == '#' && (*at == 0 || text[..*at].ends_with([' ', '\t'])))
                .map_or(text.len(), |(at, _)| at);
            return Ok(text[..end].trim_end().to_owned());
        }
    };
    let is_end =
        rest.is_empty() || (rest.starts_with([' ', '\t']) && matches!(rest.trim().chars().next(), None | Some('#')));
    if is_end { Ok(value) } else { Err("only a comment may follow the closing quote") }
}

const UNCLOSED: &str = "the quote is not closed in this line";

fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\' | '$'))) => value.push(escaped),
                Some(_) => return Err("in double quotes, \\ may stand before n, \", \\ and $ only"),
                None => return Err(UNCLOSED),
            },
            _ => value.push(c),
        }
    }
    Err(UNCLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<String, String>> {
        parse_env_file("callops.env", text)
    }

    #[test]
    fn lines_as_shells_and_systemd_write_them() {
        let text = "\u{feff}# for cron\r
A=plain\r
\texport B='single # $quoted \\n'  # a comment
C=\"a \\\"b\\\" \\\\ \\$c\\n\"
D=https://example/#part # a comment

E=
F= padded value
G=#none
exported=1
";
        let expected = [
            ("A", "plain"),
            ("B", "single # $quoted \\n"),
            ("C", "a \"b\" \\ $c\n"),
            ("D", "https://example/#part"),
            ("E", ""),
            ("F", "padded value"),
            ("G", ""),
            ("exported", "1"),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(parse(text).expect("variables"), expected);
    }

    #[test]
    fn a_bad_line_is_named_and_its_value_is_not() {
        for (text, expected) in [
            ("\n# x\nhunter2\n", "callops.env:3: a line is NAME=value, a # comment, or empty"),
            (
                "A-B=hunter2",
                "callops.env:1: the name before = may hold letters, digits and _, with no blank before the =",
            ),
            (
                "A ='hunter2'",
                "callops.env:1: the name before = may hold letters, digits and _, with no blank before the =",
            ),
            ("A='hunter2", "callops.env:1: A: the quote is not closed in this line"),
            ("A=\"hunter2\\\"", "callops.env:1: A: the quote is not closed in this line"),
            ("A=\"hunter2\\t\"", "callops.env:1: A: in double quotes, \\ may stand before n, \", \\ and $ only"),
            ("A=\"hunter\"2", "callops.env:1: A: only a comment may follow the closing quote"),
            ("A=1\nA=hunter2", "callops.env:2: A has a value in an earlier line already"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert_eq!(error, expected);
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn the_process_wins_over_the_file_and_empty_is_absent() {
        let file = BTreeMap::from([("A", "file"), ("B", "file"), ("C", "file"), ("D", "")])
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let environment = Environment::of_variables([("A", "process"), ("B", "")], "/srv").with_fallback(file);
        assert_eq!(environment.get("A"), Some("process"));
        assert_eq!(environment.get("B"), Some("file"));
        assert_eq!(environment.get("C"), Some("file"));
        assert_eq!(environment.get("D"), None);
        assert!(environment.is_empty_variable("D"));
        assert!(!environment.is_empty_variable("E"));
        let shown = format!("{environment:?}");
        assert!(shown.contains("\"A\"") && !shown.contains("process\"") && !shown.contains("\"file\""), "{shown}");
    }

    #[test]
    fn the_process_has_an_environment() {
        let environment = Environment::of_process();
        assert!(environment.get("PATH").is_some());
        assert!(environment.current_dir().is_absolute());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_warned_about() {
        use std::os::unix::fs::PermissionsExt as _;

        let file = tempfile::NamedTempFile::new().expect("a file");
        for (mode, is_warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o700, true)] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).expect("the mode can be set");
            let (_, warning) = read_env_file(file.path()).expect("an empty file");
            assert_eq!(warning.is_some(), is_warned, "{mode:o}");
        }
        let warning = permission_warning(file.path()).expect("a warning");
        assert!(warning.contains("mode 0700") && warning.contains("chmod 600"), "{warning}");
    }
}
