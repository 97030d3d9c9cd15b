use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::error::{Exit, classify, hints};

/// A machine with a working directory, a configuration directory and a data directory.
struct Machine {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["srv", "config", "data"] {
            fs::create_dir(dir.path().join(name)).expect("created");
        }
        Self { dir, variables: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).expect("written");
        self
    }

    fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    fn environment(&self) -> Environment {
        Environment::of_variables(self.variables.clone(), self.path("srv"))
            .with_directories(self.path("config"), self.path("data"))
    }

    fn load(&self) -> Result<Config> {
        Config::load(&ConfigArgs::default(), &self.environment())
    }

    /// The message, with the machine's directory taken out, and the hints.
    #[track_caller]
    fn told(&self) -> (String, Vec<String>) {
        let error = self.load().expect_err("an error");
        assert_eq!(classify(&error), Exit::Configuration);
        let dir = self.dir.path().display().to_string();
        (format!("{error:#}").replace(&dir, ""), hints(&error))
    }
}

fn file(text: &str) -> Machine {
    Machine::new().write("srv/callops.toml", text)
}

#[test]
fn without_any_configuration_everything_has_its_documented_default() {
    let machine = Machine::new();
    let config = machine.load().expect("a configuration");
    let database = config.database().expect("a database");
    assert_eq!(database.url.sqlite_path(), Some(machine.path("data/callops.db").as_path()));
    assert_eq!(database.source, Source::Default);
    assert!(config.file.is_none() && config.env_file.is_none() && config.warnings.is_empty());
    let documented = |name: &str| {
        let key = KEYS.iter().find(|key| key.name == name).expect(name);
        key.default.map(|text| text.trim_matches('`').to_owned())
    };
    for (name, value) in [
        ("database_schema", Some(database.schema.clone())),
        ("database_statement_cache", Some(database.statement_cache.to_string())),
        ("env_file", None),
        ("log", Some(config.log.clone())),
        ("ping_url", config.ping_url.as_ref().map(ToString::to_string)),
        ("run_interval", Some(config.run_interval.to_string())),
        ("request_timeout", Some(config.request_timeout.to_string())),
    ] {
        assert_eq!(documented(name), value, "{name}");
    }
}

#[test]
fn every_declared_key_is_read_and_its_example_is_valid() {
    let shown = |text: &str| {
        let machine = file(text).write("srv/callops.env", "A=1\n");
        let config = machine.load().unwrap_or_else(|error| panic!("{text}: {error:#}"));
        let dir = machine.dir.path().display().to_string();
        let warnings_aside = Config { warnings: Vec::new(), ..config };
        format!("{warnings_aside:?}").replace(&dir, "")
    };
    let without = shown("");
    for key in KEYS {
        let text = match key.name.split_once('.') {
            Some((section, name)) => format!("[{section}]\n{name} = {}\n", key.example),
            None => format!("{} = {}\n", key.name, key.example),
        };
        assert_ne!(shown(&text), without, "{} changes nothing", key.name);
    }
}

#[test]
fn every_variable_overrides_its_key() {
    let values = [
        ("database_url", "/variable.db"),
        ("database_schema", "variable"),
        ("env_file", "variable.env"),
        ("log", "trace"),
    ];
    let overriding: BTreeSet<_> = VARIABLES.iter().filter_map(|variable| variable.overrides).collect();
    assert_eq!(overriding, values.iter().map(|(key, _)| *key).collect());
    for variable in VARIABLES {
        let Some(key) = variable.overrides else { continue };
        let value = values.iter().find(|(name, _)| *name == key).expect(key).1;
        let machine =
            file("database_url = '/file.db'\ndatabase_schema = 'file'\nenv_file = 'file.env'\nlog = 'info'\n")
                .write("srv/file.env", "")
                .write("srv/variable.env", "")
                .env(variable.name, value);
        let shown = format!("{:?}", machine.load().expect("a configuration"));
        assert!(shown.contains(value), "{} does not override {key}: {shown}", variable.name);
    }
}

#[test]
fn the_file_is_found_in_the_documented_order() {
    let named = |name: &str| format!("log = '{name}=info'\n");
    let machine = Machine::new()
        .write("option.toml", &named("option"))
        .write("variable.toml", &named("variable"))
        .write("srv/callops.toml", &named("srv"))
        .write("config/callops.toml", &named("config"))
        .env(declared::CONFIG, "../variable.toml");
    let option = ConfigArgs { config: Some("../option.toml".into()), ..ConfigArgs::default() };
    assert_eq!(Config::load(&option, &machine.environment()).expect("a configuration").log, "option=info");
    assert_eq!(machine.load().expect("a configuration").log, "variable=info");
    let machine = Machine { variables: Vec::new(), ..machine };
    let config = machine.load().expect("a configuration");
    assert_eq!((config.log.as_str(), config.file), ("srv=info", Some(machine.path("srv/callops.toml"))));
    fs::remove_file(machine.path("srv/callops.toml")).expect("removed");
    assert_eq!(machine.load().expect("a configuration").log, "config=info");
    fs::remove_file(machine.path("config/callops.toml")).expect("removed");
    assert_eq!(machine.load().expect("a configuration").file, None);

    let machine = machine.env(declared::CONFIG, "gone.toml");
    assert_eq!(machine.told().0, "no configuration file at /srv/gone.toml, which CALLOPS_CONFIG names");
}

#[test]
fn the_database_is_named_by_option_variable_env_file_and_file_in_this_order() {
    let machine = file("database_url = 'file.db'\nenv_file = '../cron.env'\n").write("cron.env", "");
    let database = |machine: &Machine, args: &ConfigArgs| {
        let config = Config::load(args, &machine.environment()).expect("a configuration");
        let database = config.database().expect("a database").clone();
        let path =
            database.url.sqlite_path().expect("a file").strip_prefix(machine.dir.path()).expect("below").to_owned();
        (path.display().to_string(), database.source)
    };
    let none = ConfigArgs::default();
    assert_eq!(database(&machine, &none), ("srv/file.db".to_owned(), Source::File(machine.path("srv/callops.toml"))));
    let machine = machine.write("cron.env", "CALLOPS_DATABASE_URL=env_file.db\n");
    let by_variable = Source::Variable("CALLOPS_DATABASE_URL");
    assert_eq!(database(&machine, &none), ("srv/env_file.db".to_owned(), by_variable.clone()));
    let machine = machine.env("CALLOPS_DATABASE_URL", "variable.db");
    assert_eq!(database(&machine, &none), ("srv/variable.db".to_owned(), by_variable));
    let option = ConfigArgs { database_url: Some("option.db".into()), ..none };
    assert_eq!(database(&machine, &option), ("srv/option.db".to_owned(), Source::Option("--database-url")));

    let homeless = Environment::of_variables([("A", "1")], machine.path("config"));
    let config = Config::load(&ConfigArgs::default(), &homeless).expect("a configuration");
    let error = config.database().expect_err("no place");
    assert_eq!(classify(&error), Exit::Configuration);
    assert_eq!(hints(&error).len(), 1);
}

#[test]
fn a_wrong_value_is_told_with_file_line_column_value_and_rule() {
    for (text, expected) in [
        (
            "\nrun_interval = \"1 minute\"",
            "/srv/callops.toml:2:16: run_interval: \"1 minute\" is no length of time: write a whole number and one unit \
             (s, m, h or d), such as 15m",
        ),
        ("run_interval = \"0s\"", "/srv/callops.toml:1:16: run_interval: \"0s\" is not from 1s to 1d"),
        ("run_interval = 60", "/srv/callops.toml:1:16: run_interval: a string in quotes is wanted, not an integer"),
        ("request_timeout = '6m'", "/srv/callops.toml:1:19: request_timeout: \"6m\" is not from 1s to 5m"),
        (
            "log = 'a=loud'",
            "/srv/callops.toml:1:7: log: \"a=loud\" is neither a level (error, warn, info, debug, trace) nor a \
             target=level list",
        ),
        (
            "database_schema = 'Calls'",
            "/srv/callops.toml:1:19: database_schema: \"Calls\" is no name of a schema: at most 63 lower-case letters, \
             digits and _, not beginning with a digit or pg_",
        ),
        (
            "database_url = 'mysql://u:hunter2@h/d'",
            "/srv/callops.toml:1:16: database_url: mysql: is no known kind of database: \
             write postgres://.., sqlite:///path or a path",
        ),
        (
            "database_statement_cache = 'no'",
            "/srv/callops.toml:1:28: database_statement_cache: true or false is wanted, not a string",
        ),
        (
            "ping_url = 'hunter2'",
            "/srv/callops.toml:1:12: ping_url: no http or https address (relative URL without a base)",
        ),
        ("env_file = 'gone.env'", "cannot read the env_file /srv/gone.env: No such file or directory (os error 2)"),
    ] {
        let (message, _) = file(text).told();
        assert_eq!(message, expected);
        assert!(!message.contains("hunter2"));
    }
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    assert_eq!(
        file("log = 'info'\ndatabase_ulr = 'x'\n").told(),
        ("/srv/callops.toml:2:1: unknown key database_ulr".to_owned(), vec!["did you mean database_url?".to_owned()])
    );
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let machine = Machine::new().env("CALLOPS_LOG", "a=loud");
    assert!(machine.told().0.starts_with("CALLOPS_LOG: \"a=loud\" is neither"));
    let machine = Machine::new().env("CALLOPS_DATABASE_URL", "mysql://u:hunter2@h/d");
    assert!(machine.told().0.starts_with("CALLOPS_DATABASE_URL: mysql: is no known"));
}

#[test]
fn the_env_file_feeds_secrets_and_is_warned_about_where_it_may() {
    let machine = file("env_file = 'cron.env'\nping_url = 'env:PING'\n")
        .write("srv/cron.env", "export PING=https://ping.example/hunter2\nCALLOPS_CONFIG=x\nNO_COLOR=1\n");
    let config = machine.load().expect("a configuration");
    let ping_url = config.ping_url.as_ref().expect("an address").resolve(&config.environment).expect("resolved");
    assert_eq!(ping_url.expose(), "https://ping.example/hunter2");
    assert!(config.warnings.iter().any(|warning| warning.starts_with("CALLOPS_CONFIG has no effect in ")));
    assert!(!config.may_color());
    assert!(!format!("{config:?}").contains("hunter2"));
}
