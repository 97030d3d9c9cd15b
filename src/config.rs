//! What belongs to the machine: `callops.toml`, the environment, and the options that override both.
//!
//! An option wins over the environment, the environment over its `env_file`, that over `callops.toml`, and that over
//! the default. Every key and variable is declared once, in [`KEYS`] and [`VARIABLES`].

mod database_url;
mod declared;
mod document;
mod environment;
mod secrets;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::domain::duration::HumanDuration;
use crate::domain::secret::Secret;
use crate::error::Failure;

pub use database_url::{DatabaseUrl, Source};
pub use declared::{KEYS, Key, VARIABLES, Variable};
pub use document::{Document, Located, Section, nearest};
pub use environment::Environment;
pub use secrets::{AlertUrl, SecretUrl};

/// The name of the configuration file where it is looked for.
const FILE_NAME: &str = "callops.toml";
/// The name of the database file in the platform's data directory.
const DATABASE_NAME: &str = "callops.db";

const DEFAULT_SCHEMA: &str = "callops";
const DEFAULT_LOG: &str = "warn";
const DEFAULT_RUN_INTERVAL: HumanDuration = HumanDuration::from_minutes(1);
const DEFAULT_REQUEST_TIMEOUT: HumanDuration = HumanDuration::from_seconds(20);
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
const DEFAULT_ADMIN_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8788);
const MAX_REQUEST_TIMEOUT: HumanDuration = HumanDuration::from_minutes(5);

/// The options that say where the configuration is and override it.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// The configuration file, instead of the one that is found.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "Configuration file [env: CALLOPS_CONFIG] [default: ./callops.toml, or the one in your configuration directory]"
    )]
    pub config: Option<PathBuf>,
    /// The database, instead of the configured one.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "Database: postgres://.. or the path of a SQLite file [env: CALLOPS_DATABASE_URL]"
    )]
    pub database_url: Option<String>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from, if there is one.
    pub file: Option<PathBuf>,
    /// The database; use [`Config::database`].
    database: Option<DatabaseSettings>,
    /// The file of further variables, if one is named.
    pub env_file: Option<PathBuf>,
    /// What is logged to stderr, as a `tracing` filter.
    pub log: String,
    /// Whether somebody chose what is logged.
    pub log_is_chosen: bool,
    /// What is asked after each run that went well.
    pub ping_url: Option<SecretUrl>,
    /// Where findings that are new are told.
    pub alert_url: Option<AlertUrl>,
    /// How often cron starts `process-calls`.
    pub run_interval: HumanDuration,
    /// How long a provider may take to answer one request.
    pub request_timeout: HumanDuration,
    /// Where `serve` answers senders.
    pub listen: SocketAddr,
    /// Where `serve` answers about itself.
    pub admin_bind: SocketAddr,
    /// The address by which senders reach `serve`, without a slash at the end.
    pub public_url: Option<String>,
    /// What signs `call-status` webhooks of every tenant.
    pub webhook_secret: Option<Secret>,
    /// What opens the cron endpoints.
    pub cron_secret: Option<Secret>,
    /// The environment with the `env_file` below it: what references to secrets are resolved by.
    pub environment: Environment,
    /// What should be looked at but stops nothing.
    pub warnings: Vec<String>,
}

/// Which database, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Its address.
    pub url: DatabaseUrl,
    /// Who said so.
    pub source: Source,
    /// The PostgreSQL schema that holds the tables.
    pub schema: String,
    /// Whether prepared statements are kept.
    pub statement_cache: bool,
}

impl Config {
    /// Reads the configuration: finds the file, reads it and the `env_file`, and lays variables and options over them.
    ///
    /// # Errors
    /// Exit 6, naming file, line, column, value and rule where a file is wrong.
    pub fn load(args: &ConfigArgs, environment: &Environment) -> Result<Self> {
        let file = find_file(args, environment)?;
        let document = match &file {
            Some(path) => Document::read(path)?,
            None => Document::new(FILE_NAME, ""),
        };
        Self::read(args, environment, file, &document)
    }

    fn read(args: &ConfigArgs, process: &Environment, file: Option<PathBuf>, document: &Document) -> Result<Self> {
        let root = document.root()?;
        refuse_unknown_keys(&root)?;
        let folder = file.as_deref().and_then(Path::parent).unwrap_or(process.current_dir()).to_owned();
        let mut warnings = Vec::new();

        let env_file = match process.get(declared::ENV_FILE) {
            Some(path) => Some(process.current_dir().join(path)),
            None => root.string("env_file")?.map(|path| folder.join(path.value)),
        };
        let environment = match &env_file {
            Some(path) => {
                let (variables, warning) = environment::read_env_file(path)?;
                warnings.extend(warning);
                for name in [declared::CONFIG, declared::ENV_FILE].iter().filter(|name| variables.contains_key(**name))
                {
                    warnings.push(format!("{name} has no effect in {}", path.display()));
                }
                process.clone().with_fallback(variables)
            }
            None => process.clone(),
        };

        let database = read_database(args, &environment, &root, file.as_deref(), &folder)?;
        let log =
            overridden(&environment, declared::LOG, root.string("log")?, |text| match EnvFilter::try_new(&text) {
                Ok(_) => Ok(text),
                Err(_) => Err(format!(
                    "{text:?} is neither a level (error, warn, info, debug, trace) nor a target=level list"
                )),
            })?;
        let secret = |name| environment.get(name).map(Secret::new);
        Ok(Self {
            database,
            log_is_chosen: log.is_some(),
            log: log.unwrap_or_else(|| DEFAULT_LOG.to_owned()),
            listen: read_address(&root, "listen", DEFAULT_LISTEN)?,
            admin_bind: read_address(&root, "admin_bind", DEFAULT_ADMIN_BIND)?,
            public_url: read_public_url(&root)?,
            webhook_secret: secret(declared::WEBHOOK_SECRET),
            cron_secret: secret(declared::CRON_SECRET),
            ping_url: read_secret_url(&root, "ping_url", SecretUrl::parse)?,
            alert_url: read_secret_url(&root, "alert_url", AlertUrl::parse)?,
            run_interval: read_duration(
                &root,
                "run_interval",
                DEFAULT_RUN_INTERVAL,
                HumanDuration::from_minutes(24 * 60),
            )?,
            request_timeout: read_duration(&root, "request_timeout", DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT)?,
            file,
            env_file,
            environment,
            warnings,
        })
    }

    /// The database.
    ///
    /// # Errors
    /// Exit 6 when none is named and the platform has no data directory in which the default would be.
    pub fn database(&self) -> Result<&DatabaseSettings> {
        self.database.as_ref().ok_or_else(|| {
            Failure::configuration("no database is named, and there is no home directory for a default one")
                .hint("set CALLOPS_DATABASE_URL, give --database-url, or set database_url in callops.toml")
                .into()
        })
    }

    /// The folder of what a machine keeps beside the database: that of a SQLite file, else the platform's data directory.
    ///
    /// # Errors
    /// Exit 6 when there is neither.
    pub fn data_folder(&self) -> Result<PathBuf> {
        if let Some(file) = self.database()?.url.sqlite_path() {
            return Ok(file.parent().unwrap_or(Path::new(".")).to_owned());
        }
        self.environment.data_dir().map(Path::to_owned).ok_or_else(|| {
            Failure::configuration("there is no home directory, so that nothing can be kept beside the database")
                .hint("set HOME, or XDG_DATA_HOME")
                .into()
        })
    }

    /// Whether colours are wanted at all: `NO_COLOR` is absent or empty.
    pub fn may_color(&self) -> bool {
        self.environment.get(declared::NO_COLOR).is_none()
    }
}

/// The configuration file: the one that was named, which must exist, or the first that does.
fn find_file(args: &ConfigArgs, environment: &Environment) -> Result<Option<PathBuf>> {
    let named = match (&args.config, environment.get(declared::CONFIG)) {
        (Some(path), _) => Some((path.clone(), "--config")),
        (None, Some(path)) => Some((PathBuf::from(path), declared::CONFIG)),
        (None, None) => None,
    };
    if let Some((path, by)) = named {
        let path = environment.current_dir().join(path);
        if !path.is_file() {
            return Err(Failure::configuration(format!(
                "no configuration file at {}, which {by} names",
                path.display()
            ))
            .into());
        }
        return Ok(Some(path));
    }
    let places = [Some(environment.current_dir()), environment.config_dir()];
    Ok(places.into_iter().flatten().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file()))
}

fn refuse_unknown_keys(root: &Section<'_>) -> Result<()> {
    root.refuse_unknown(KEYS.iter().map(|key| key.name))
}

fn read_database(
    args: &ConfigArgs,
    environment: &Environment,
    root: &Section<'_>,
    file: Option<&Path>,
    folder: &Path,
) -> Result<Option<DatabaseSettings>> {
    let here = environment.current_dir();
    let wrong = |by: &str, rule: String| Failure::configuration(format!("{by}: {rule}"));
    // Read even where it is overridden: a mistake that shows only on another day is worse.
    let in_file = root.string("database_url")?.map(|url| url.try_map(|text| DatabaseUrl::parse(&text, folder)));
    let in_file = in_file.transpose()?.map(|url| url.value);
    let (url, source) = if let Some(text) = &args.database_url {
        (
            DatabaseUrl::parse(text, here).map_err(|rule| wrong("--database-url", rule))?,
            Source::Option("--database-url"),
        )
    } else if let Some(text) = environment.get(declared::DATABASE_URL) {
        (
            DatabaseUrl::parse(text, here).map_err(|rule| wrong(declared::DATABASE_URL, rule))?,
            Source::Variable(declared::DATABASE_URL),
        )
    } else if let Some(url) = in_file {
        (url, file.map_or(Source::Default, |path| Source::File(path.to_owned())))
    } else if let Some(folder) = environment.data_dir() {
        (DatabaseUrl::of_file(&folder.join(DATABASE_NAME)), Source::Default)
    } else {
        return Ok(None);
    };
    let schema = overridden(environment, declared::DATABASE_SCHEMA, root.string("database_schema")?, |name| {
        if is_schema_name(&name) {
            Ok(name)
        } else {
            Err(format!(
                "{name:?} is no name of a schema: at most 63 lower-case letters, digits and _, not beginning with a \
                 digit or pg_"
            ))
        }
    })?
    .unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
    let statement_cache = root.boolean("database_statement_cache")?.is_none_or(|cache| cache.value);
    Ok(Some(DatabaseSettings { url, source, schema, statement_cache }))
}

/// The checked value of a key, or of the variable that overrides it. The key is checked even where it is overridden.
fn overridden<T>(
    environment: &Environment,
    variable: &str,
    key: Option<Located<'_, String>>,
    check: impl Fn(String) -> Result<T, String>,
) -> Result<Option<T>> {
    let in_file = key.map(|located| located.try_map(&check)).transpose()?.map(|located| located.value);
    match environment.get(variable) {
        Some(text) => match check(text.to_owned()) {
            Ok(value) => Ok(Some(value)),
            Err(rule) => Err(Failure::configuration(format!("{variable}: {rule}")).into()),
        },
        None => Ok(in_file),
    }
}

fn is_schema_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with("pg_")
}

fn read_duration(
    section: &Section<'_>,
    key: &str,
    default: HumanDuration,
    longest: HumanDuration,
) -> Result<HumanDuration> {
    let Some(text) = section.string(key)? else { return Ok(default) };
    let value = text.try_map(|text| {
        let length: HumanDuration =
            text.parse().map_err(|error: crate::domain::duration::DurationError| error.to_string())?;
        if length.is_zero() || length > longest {
            return Err(format!("{text:?} is not from 1s to {longest}"));
        }
        Ok(length)
    })?;
    Ok(value.value)
}

fn read_address(section: &Section<'_>, key: &str, default: SocketAddr) -> Result<SocketAddr> {
    let Some(text) = section.string(key)? else { return Ok(default) };
    let rule = |text: &str| format!("{text:?} is no address and port, such as {default}");
    Ok(text.try_map(|text| text.parse().map_err(|_| rule(&text)))?.value)
}

fn read_public_url(section: &Section<'_>) -> Result<Option<String>> {
    let Some(text) = section.string("public_url")? else { return Ok(None) };
    let checked = text.try_map(|text| {
        let url = secrets::check_web_address(&text)?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("an address that paths are appended to has no user, query or fragment".to_owned());
        }
        Ok(text.trim_end_matches('/').to_owned())
    })?;
    Ok(Some(checked.value))
}

fn read_secret_url<T>(
    section: &Section<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>> {
    let Some(text) = section.string(key)? else { return Ok(None) };
    Ok(Some(text.try_map(|text| parse(&text))?.value))
}

#[cfg(test)]
mod tests;
