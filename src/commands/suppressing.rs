//! What `suppress` and `unsuppress` share: which numbers and prefixes are meant, and for whom.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::check_phone::region_option;
use super::lookup;
use crate::app::App;
use crate::domain::region::Region;
use crate::domain::suppression::{Pattern, PatternProblem};
use crate::error::{Exit, Failure};
use crate::store::suppressions::{ALL_TENANTS, Suppression};

/// How many numbers are settled in one transaction: others, who want to dial, wait for it.
pub(super) const BATCH: usize = 2000;
/// A longer list is more likely another file.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// So many lines that cannot be read are said one by one.
const BAD_LINES_SAID: usize = 20;
/// What stands for all tenants where one could be named.
const EVERYBODY: &str = "*";

/// Which numbers.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "numbers", required = true, multiple = true)]
pub struct Numbers {
    /// Numbers as people write them; an extension is passed over
    #[arg(value_name = "PHONE")]
    pub phones: Vec<String>,
    /// All numbers that begin so, such as +1900
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Vec<String>,
    /// A list with a number on each line, or a prefix with `*` behind it; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// For whom.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "scope", required = true, multiple = false)]
pub struct Scope {
    /// For the calls of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// For the calls of every tenant, also of those to come
    #[arg(long)]
    pub all_tenants: bool,
}

/// What was named, read.
pub(super) struct Targets {
    /// The tenant, or [`ALL_TENANTS`].
    pub(super) tenant: String,
    /// Each once, in order.
    pub(super) patterns: Vec<Pattern>,
    /// The lines of the file that name nothing.
    bad_lines: Vec<BadLine>,
}

struct BadLine {
    line: usize,
    text: String,
    problem: String,
}

impl Targets {
    /// Reads what the command line and its file name, by the region of the option, else of the tenant.
    ///
    /// # Errors
    /// Exit 2 for a tenant that is not there, a number or prefix of the command line that is none, a file that cannot be
    /// read.
    pub(super) async fn read(
        app: &App,
        numbers: &Numbers,
        scope: &Scope,
        region: Option<&str>,
    ) -> anyhow::Result<Self> {
        let given = region.map(region_option).transpose()?;
        let (tenant, region) = match &scope.tenant {
            None => (ALL_TENANTS.to_owned(), given),
            Some(name) => {
                let mut tx = app.db().await?.read().await?;
                let tenant = lookup::tenant(&mut tx, name).await??;
                let own = tenant.region.as_deref().and_then(|code| code.parse().ok());
                (tenant.name, given.or(own))
            }
        };
        let mut patterns = BTreeSet::new();
        for text in &numbers.phones {
            patterns.insert(Pattern::number(text, region).map_err(|problem| refused(text, "phone", &problem))?);
        }
        for text in &numbers.prefix {
            patterns.insert(Pattern::prefix(text).map_err(|problem| refused(text, "prefix", &problem))?);
        }
        let mut bad_lines = Vec::new();
        if let Some(path) = &numbers.file {
            let before = patterns.len();
            read_list(&read_file(path)?, region, &mut patterns, &mut bad_lines);
            if patterns.len() == before && bad_lines.is_empty() && before == 0 {
                return Err(Failure::usage(format!("{} names no number", path.display())).into());
            }
        }
        Ok(Self { tenant, patterns: patterns.into_iter().collect(), bad_lines })
    }

    /// Says which lines of the file were passed over. Exit 4 when there are any.
    pub(super) fn report_bad_lines(&self, app: &App, file: Option<&Path>) -> Exit {
        let Some(file) = file.filter(|_| !self.bad_lines.is_empty()) else { return Exit::Success };
        for BadLine { line, text, problem } in self.bad_lines.iter().take(BAD_LINES_SAID) {
            app.printer.warn(format!("{}, line {line}: {text:?}: {problem}", file.display()));
        }
        let more = self.bad_lines.len().saturating_sub(BAD_LINES_SAID);
        if more > 0 {
            app.printer.warn(format!("{} has {more} more such lines", file.display()));
        }
        Exit::Partial
    }

    /// The texts that name nothing, as they stand in the file.
    pub(super) fn rejected(&self) -> impl ExactSizeIterator<Item = &str> {
        self.bad_lines.iter().map(|bad| bad.text.as_str())
    }
}

fn refused(text: &str, what: &str, problem: &PatternProblem) -> Failure {
    let failure = Failure::usage(format!("{text:?} is no {what}: {problem}"));
    match problem {
        PatternProblem::Phone(_) => failure.hint("a phone is safest as +<country code>...; --region reads others"),
        PatternProblem::Prefix => failure,
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = |error: io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    }
    if bytes.len() as u64 == limit {
        return Err(Failure::usage(format!("{} is longer than 64 MiB", path.display()))
            .hint("is it a list with a number on each line? if so, split it")
            .into());
    }
    Ok(bytes)
}

/// Reads a list line by line. Blank lines and what stands behind a `#` are passed over.
fn read_list(bytes: &[u8], region: Option<Region>, patterns: &mut BTreeSet<Pattern>, bad_lines: &mut Vec<BadLine>) {
    const SHOWN_CHARS: usize = 60;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let whole = String::from_utf8_lossy(line);
        let text = whole.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match Pattern::line(text, region) {
            Ok(pattern) => {
                patterns.insert(pattern);
            }
            Err(problem) => bad_lines.push(BadLine {
                line: index + 1,
                text: text.chars().take(SHOWN_CHARS).collect(),
                problem: problem.to_string(),
            }),
        }
    }
}

/// The tenant as it is shown.
pub(super) fn scope_shown(tenant: &str) -> &str {
    if tenant == ALL_TENANTS { EVERYBODY } else { tenant }
}

/// The options that name this tenant, or all.
pub(super) fn scope_options(tenant: &str) -> String {
    if tenant == ALL_TENANTS { "--all-tenants".to_owned() } else { format!("--tenant {tenant}") }
}

/// The same in a sentence.
pub(super) fn whose(tenant: &str) -> String {
    if tenant == ALL_TENANTS { "all tenants".to_owned() } else { tenant.to_owned() }
}

/// A suppression for the audit log.
pub(super) fn audited(suppression: &Suppression) -> Value {
    json!({
        "reason": suppression.reason, "source": suppression.source,
        "created_at": suppression.created_at, "expires_at": suppression.expires_at,
    })
}

/// What the audit log calls a pattern.
pub(super) fn subject(pattern: &Pattern) -> String {
    format!("phone:{pattern}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_to_its_end_whatever_stands_on_its_lines() {
        let (mut patterns, mut bad_lines) = (BTreeSet::new(), Vec::new());
        let list =
            b"\xef\xbb\xbf802-223-6942\r\n\n# those who wrote\n+1900* # premium\n12\n  \n8022236942\n\xff\xfe\n+*\n";
        read_list(list, Some("US".parse().unwrap()), &mut patterns, &mut bad_lines);
        assert_eq!(patterns.iter().map(Pattern::to_string).collect::<Vec<_>>(), ["+18022236942", "+1900*"]);
        assert_eq!(bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), [5, 8, 9]);
        assert_eq!(bad_lines[0].text, "12");
    }
}
