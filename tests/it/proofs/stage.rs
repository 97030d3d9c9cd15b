//! A seeded database that can be copied, a sandbox beside each copy, and the verdict of the sandbox's ledger.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use callops::clock::Clock;
use callops::domain::campaign::{AccountSettings, Rules};
use callops::sandbox::{self, Organisation, Ring, Settings};
use callops::store::contacts::Contact;
use callops::store::setup::{self, Account};
use callops::store::{Db, Options, Tx};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::common::story::{Story, at, reqwest_client, rules};
use crate::common::{Backend, Callops, Output, Running, Scratch, TestDatabase, block_on};

/// Monday, ten in the morning in New York.
pub(super) const BEGINS: &str = "2026-11-16T15:00:00Z";
/// Somebody who was called half an hour before, so that the organisation is known and readings have a call to show.
const CONTROL: &str = "+12025550100";
/// Phones whose calls are accepted without an answer, and phones whose first call is neither taken nor answered.
const DROPPED: &str = "+1202555200";
const REFUSED: &str = "+1202555300";
/// How long a run may take to do what is waited for. It proves nothing; it only ends a hang.
const PATIENCE: Duration = Duration::from_mins(2);

/// So many phones at which nothing goes wrong.
pub(super) fn ordinary(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("+1212555{:04}", 1000 + n)).collect()
}

/// Eight people: three ordinary ones, three whose answers are lost, two whose requests are lost.
pub(super) fn mixed() -> Vec<String> {
    let mut phones = ordinary(3);
    phones.extend((0..3).map(|n| format!("{DROPPED}{n}")));
    phones.extend((0..2).map(|n| format!("{REFUSED}{n}")));
    // Their order in the database decides who is called first.
    phones.swap(1, 4);
    phones.swap(2, 6);
    phones
}

/// A database in which these people are due.
pub(super) struct Template {
    database: TestDatabase,
    people: Vec<String>,
    begins: DateTime<Utc>,
    control: Ring,
    max_concurrency: i64,
}

/// Who is called, by which rules, from when on.
pub(super) struct Cast<'a> {
    /// When the control call is placed; the stage opens half an hour later.
    pub(super) begins: &'a str,
    pub(super) rules: Rules,
    /// The zone of the one who is called first.
    pub(super) control_zone: Option<&'a str>,
    /// Phones, with their zones where the rules ask for them.
    pub(super) people: Vec<(String, Option<&'a str>)>,
    pub(super) max_concurrency: i64,
}

impl Template {
    pub(super) fn new(backend: Backend, people: Vec<String>, max_concurrency: i64) -> Self {
        Self::in_database(TestDatabase::new(backend), people, max_concurrency)
    }

    pub(super) fn in_database(database: TestDatabase, people: Vec<String>, max_concurrency: i64) -> Self {
        let people = people.into_iter().map(|phone| (phone, None)).collect();
        Self::of(database, Cast { begins: BEGINS, rules: rules(), control_zone: None, people, max_concurrency })
    }

    pub(super) fn of(database: TestDatabase, cast: Cast<'_>) -> Self {
        let (database, control) = block_on(async || {
            let story = Story::begin(database, cast.begins).await;
            story.campaign("checkup", &cast.rules).await;
            let zone = |zone: Option<&str>| {
                let zone = zone.map(str::to_owned);
                move |contact: &mut Contact| contact.timezone.clone_from(&zone)
            };
            story.contact(CONTROL, zone(cast.control_zone), &["checkup"]).await;
            story.script(CONTROL, json!(["customer-ended-call"])).await;
            story.process(&[]).await;
            story.wait(TimeDelta::minutes(30));
            story.collect().await;
            for group in cast.people.chunk_by(|a, b| a.1.is_none() && b.1.is_none()) {
                if let [(phone, Some(_))] = group {
                    story.contact(phone, zone(group[0].1), &["checkup"]).await;
                } else {
                    let phones: Vec<String> = group.iter().map(|(phone, _)| phone.clone()).collect();
                    story.people(&phones, "checkup").await;
                }
            }
            let control = story.sandbox.rings().pop().expect("the control call rang");
            (story.end().await, control)
        });
        let people = cast.people.into_iter().map(|(phone, _)| phone).collect();
        Self { database, people, begins: at(cast.begins), control, max_concurrency: cast.max_concurrency }
    }

    /// A copy with a sandbox of its own, half an hour after the control call.
    pub(super) fn stage(&self) -> Stage {
        self.stage_on(self.database.copy())
    }

    /// As [`Template::stage`], with the SQLite database in this directory.
    pub(super) fn stage_in(&self, scratch: Scratch) -> Stage {
        self.stage_on(self.database.copy_to(scratch))
    }

    fn stage_on(&self, database: TestDatabase) -> Stage {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let clock = Clock::starting_at(self.begins);
        let sandbox = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let organisations = vec![Organisation { concurrency: 1000, ..Organisation::default() }];
            sandbox::serve(Settings { organisations, ..Settings::new(clock) }, listener).expect("a sandbox")
        });
        let config = "request_timeout = \"2s\"\n";
        database.scratch().write("callops.toml", config);
        let stage = Stage { sandbox, database, people: self.people.clone(), runtime };
        stage.place_control(&self.control);
        stage.wait(TimeDelta::minutes(30));
        stage.point_account_here(self.max_concurrency);
        for person in &self.people {
            if person.starts_with(DROPPED) {
                stage.fault(json!({"kind": "accept_and_drop", "match": {"phone_prefix": person}}));
            } else if person.starts_with(REFUSED) {
                stage.fault(json!({"kind": "refuse_and_drop", "match": {"phone_prefix": person}, "times": 1}));
            }
        }
        stage
    }
}

/// One copy of a template. Its clock runs; `wait` moves it on for the sandbox and for every process started later.
pub(super) struct Stage {
    sandbox: sandbox::Running,
    database: TestDatabase,
    people: Vec<String>,
    runtime: Runtime,
}

/// A wait for something that only a run can bring about.
pub(super) struct Wait(Clock);

impl Wait {
    pub(super) fn begin() -> Self {
        Self(Clock::system())
    }

    /// Whether it can still come to that: the run is not over, and has not taken too long.
    pub(super) fn has_hope(&self, is_over: bool) -> bool {
        !is_over && self.0.monotonic() < PATIENCE
    }
}

/// An attempt as far as verdicts need it.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) phone: String,
    pub(super) state: String,
    pub(super) may_have_rung: bool,
    pub(super) evidence: Option<String>,
}

impl Stage {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.sandbox.now()
    }

    pub(super) fn wait(&self, by: TimeDelta) {
        self.sandbox.advance(by);
    }

    /// Lets the provider read what had reached it: a request that was sent in time came in time, however busy this machine is.
    pub(super) fn provider_hears_out(&self) {
        let url = format!("{}/_sandbox/clock", self.sandbox.url());
        self.runtime.block_on(async {
            for _ in 0..3 {
                reqwest_client().get(&url).send().await.expect("an answer");
            }
        });
    }

    pub(super) fn fault(&self, rule: Value) {
        self.sandbox.add_faults(rule).expect("a fault");
    }

    /// Nothing goes wrong there any more.
    pub(super) fn provider_recovers(&self) {
        self.sandbox.clear_faults();
    }

    pub(super) fn rings(&self) -> Vec<Ring> {
        self.sandbox.rings().into_iter().filter(|ring| ring.phone != CONTROL).collect()
    }

    /// Runs async code beside the sandbox.
    pub(super) fn block_on<T>(&self, code: impl Future<Output = T>) -> T {
        self.runtime.block_on(code)
    }

    pub(super) fn url(&self) -> &str {
        self.database.url()
    }

    /// The directory of the database, if it is SQLite's, and of the configuration.
    pub(super) fn folder(&self) -> &Path {
        self.database.scratch().path()
    }

    /// The path of a file beside the database.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    pub(super) fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// A copy of the database as it is at this moment.
    pub(super) fn copy(&self) -> TestDatabase {
        self.database.copy()
    }

    pub(super) fn callops(&self) -> Callops<'_> {
        self.database.callops().env("ACME_KEY", "sandbox-key")
    }

    /// The arguments for a command that starts at this moment.
    pub(super) fn args<'a>(&self, command: &[&'a str]) -> Vec<std::borrow::Cow<'a, str>> {
        let now = self.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let mut args = vec!["--now".into(), now.into()];
        args.extend(command.iter().map(|arg| (*arg).into()));
        args
    }

    pub(super) fn run(&self, command: &[&str]) -> Output {
        self.callops().run(self.args(command).iter().map(AsRef::as_ref).collect::<Vec<&str>>())
    }

    pub(super) fn run_with(&self, callops: &Callops<'_>, command: &[&str]) -> Output {
        callops.run(self.args(command).iter().map(AsRef::as_ref).collect::<Vec<&str>>())
    }

    pub(super) fn spawn(&self, callops: &Callops<'_>, command: &[&str]) -> Running {
        callops.spawn(self.args(command).iter().map(AsRef::as_ref).collect::<Vec<&str>>())
    }

    /// Waits until so many phones rang in this run.
    ///
    /// # Panics
    /// When the run ends, or does nothing more, before that.
    pub(super) fn until_rung(&self, mut running: Running, phones: usize) -> Running {
        let wait = Wait::begin();
        loop {
            // Asked first: what rang before the end is in the ledger afterwards.
            let is_over = running.is_over();
            let rang = self.rings().len();
            if rang >= phones {
                return running;
            }
            if !wait.has_hope(is_over) {
                running.kill();
                panic!("{rang} of {phones} phones rang: {}", running.wait());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks something of the sandbox's own endpoints.
    #[expect(clippy::disallowed_methods, reason = "the sandbox's own endpoints are no provider")]
    pub(super) fn control(&self, path: &str, body: &Value) {
        let url = format!("{}/_sandbox/{path}", self.sandbox.url());
        self.runtime.block_on(async {
            let answer = reqwest::Client::new().post(url).json(body).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap_or_default());
        });
    }

    /// The sandbox's report or another document of its own.
    #[expect(clippy::disallowed_methods, reason = "the sandbox's own endpoints are no provider")]
    pub(super) fn document(&self, path: &str) -> Value {
        let url = format!("{}/_sandbox/{path}", self.sandbox.url());
        self.runtime.block_on(async {
            reqwest::Client::new().get(url).send().await.expect("an answer").json().await.expect("JSON")
        })
    }

    /// The most calls that were live at once.
    pub(super) fn most_live(&self) -> u64 {
        self.document("calls")["most_live_by_org"]["org-sandbox"].as_u64().expect("a number")
    }

    /// The same seed gives the first call the same id, so that the database knows the call.
    #[expect(clippy::disallowed_methods, reason = "this is what another client did before")]
    fn place_control(&self, ring: &Ring) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let body = json!({
            "name": ring.name, "assistantId": ring.assistant, "phoneNumberId": ring.line,
            "customer": {"number": ring.phone},
        });
        self.control("script", &json!({"phone": CONTROL, "outcomes": ["customer-ended-call"]}));
        let url = format!("{}/call", self.sandbox.url());
        let taken: Value = self.runtime.block_on(async {
            let request = reqwest::Client::new().post(url).bearer_auth("sandbox-key").json(&body);
            request.send().await.expect("an answer").json().await.expect("JSON")
        });
        assert_eq!(taken["id"], json!(ring.id), "{taken}");
        for person in &self.people {
            self.control(
                "script",
                &json!({"phone": person, "outcomes": ["customer-ended-call", "customer-ended-call"]}),
            );
        }
    }

    fn point_account_here(&self, max_concurrency: i64) {
        let settings = AccountSettings {
            api_key: "env:ACME_KEY".to_owned(),
            api_secret: None,
            client_id: None,
            data_center: None,
            account_sid: None,
            webhook_secret: None,
            previous_webhook_secret: None,
            livemode: None,
            webhook_signature: None,
            base_url: Some(self.sandbox.url()),
        };
        let account = Account {
            name: "acme-vapi".to_owned(),
            provider: "vapi".to_owned(),
            settings: serde_json::to_string(&settings).expect("JSON"),
            max_concurrency,
            calls_per_minute: None,
            org_id: None,
            held_until: None,
            held_reason: None,
            refusals: 0,
        };
        let now = self.now();
        self.with_db(async |db| {
            db.write(async |tx| setup::put_account(tx, &account, now).await).await.expect("an account");
        });
    }

    pub(super) fn with_db<T>(&self, work: impl AsyncFnOnce(&Db) -> T) -> T {
        self.with_db_of(&self.database, work)
    }

    pub(super) fn with_db_of<T>(&self, database: &TestDatabase, work: impl AsyncFnOnce(&Db) -> T) -> T {
        self.runtime.block_on(async {
            let options = Options {
                url: database.url().to_owned(),
                schema: "callops".to_owned(),
                max_connections: 1,
                statement_cache: true,
                create: false,
            };
            let db = Db::connect(&options).await.expect("the database");
            let value = work(&db).await;
            db.close().await;
            value
        })
    }

    pub(super) fn attempts(&self) -> Vec<Row> {
        self.attempts_of(&self.database)
    }

    pub(super) fn attempts_of(&self, database: &TestDatabase) -> Vec<Row> {
        const SQL: &str = "SELECT id, phone, state, may_have_rung, evidence FROM attempts ORDER BY id";
        let rows: Vec<Row> = self.with_db_of(database, async |db| {
            match &mut db.read().await.expect("a transaction") {
                Tx::Sqlite(tx) => sqlx::query_as(SQL).fetch_all(&mut **tx).await,
                Tx::Postgres(tx) => sqlx::query_as(SQL).fetch_all(&mut **tx).await,
            }
            .expect("the attempts")
        });
        rows.into_iter().filter(|row| row.phone != CONTROL).collect()
    }

    /// Clean runs with a provider that has recovered, later in time: past the lease, past the time to settle, past the
    /// second reading, and a retry. Ends as soon as the verdict is clean; otherwise yields it with what the runs said.
    pub(super) fn settle(&self) -> String {
        self.settle_after(&[2, 16, 6, 2])
    }

    /// As [`Stage::settle`], with a run after each of these numbers of minutes.
    pub(super) fn settle_after(&self, minutes: &[i64]) -> String {
        self.provider_recovers();
        let mut said = String::new();
        for minutes in minutes {
            self.wait(TimeDelta::minutes(*minutes));
            let output = self.run(&["process-calls"]);
            if self.verdict().is_empty() {
                return String::new();
            }
            let _ = write!(said, "{minutes} minutes later: {output}");
        }
        format!("{}{said}", self.verdict())
    }

    /// Everything that is wrong by the ledger, and where the database disagrees with it.
    pub(super) fn verdict(&self) -> String {
        let rings = self.rings();
        let attempts = self.attempts();
        let mut wrong = self.second_rings();
        for phone in &self.people {
            if !rings.iter().any(|ring| ring.phone == *phone) {
                let _ = writeln!(wrong, "{phone} was lost: it never rang");
            }
        }
        for attempt in &attempts {
            let rang = rings.iter().any(|ring| ring.name.as_deref() == Some(&attempt.id));
            if attempt.may_have_rung != rang {
                let _ = writeln!(wrong, "{attempt:?}, but by the ledger rang is {rang}");
            }
            if matches!(attempt.state.as_str(), "claimed" | "placing" | "unknown") {
                let _ = writeln!(wrong, "{attempt:?} is not settled");
            }
        }
        for (account, most, live) in self.too_low_bounds() {
            let _ = writeln!(wrong, "{account} has {live} live attempts, and says that there are {most} at most");
        }
        wrong
    }

    /// The accounts that have more live attempts than the bound by which they are given more: name, bound, and number.
    fn too_low_bounds(&self) -> Vec<(String, i64, i64)> {
        const SQL: &str = "SELECT name, live_at_most, live FROM (
                SELECT name, live_at_most,
                       (SELECT count(*) FROM attempts WHERE attempts.account = accounts.name AND attempts.live) AS live
                FROM accounts
            ) AS bounds
            WHERE live_at_most < live";
        self.with_db(async |db| {
            match &mut db.read().await.expect("a transaction") {
                Tx::Sqlite(tx) => sqlx::query_as(SQL).fetch_all(&mut **tx).await,
                Tx::Postgres(tx) => sqlx::query_as(SQL).fetch_all(&mut **tx).await,
            }
            .expect("the accounts")
        })
    }

    /// The phones that rang more than once, each a line.
    pub(super) fn second_rings(&self) -> String {
        let mut by_phone: BTreeMap<String, usize> = BTreeMap::new();
        for ring in self.rings() {
            *by_phone.entry(ring.phone).or_default() += 1;
        }
        let mut wrong = String::new();
        for (phone, count) in by_phone.into_iter().filter(|(_, count)| *count > 1) {
            let _ = writeln!(wrong, "{phone} rang {count} times");
        }
        wrong
    }
}

/// What a case came to.
pub(super) enum Case {
    /// Nothing wrong, or everything that is.
    Done(String),
    /// There are no more cases from this one on.
    Last,
}

/// Runs cases 1, 2, 3.. on several threads until one says that it is the last, or `most` are done. Yields how many
/// there were.
///
/// # Panics
/// Naming everything that went wrong in any of them.
pub(super) fn every(threads: usize, most: u64, case: impl Fn(u64) -> Case + Sync) -> u64 {
    let next = AtomicU64::new(1);
    let last = AtomicU64::new(most + 1);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= last.load(Ordering::SeqCst) {
                        return;
                    }
                    match case(n) {
                        Case::Done(problems) if problems.is_empty() => {}
                        Case::Done(problems) => {
                            wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("case {n}: {problems}"));
                        }
                        Case::Last => {
                            last.fetch_min(n, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
    last.into_inner() - 1
}
