//! A story: a rehearsal database and a sandbox on one clock that stands still until the story moves it.
//!
//! What a story claims about phones it asks the sandbox's ledger, never callops' own tables.

use callops::app::App;
use callops::clock::Clock;
use callops::commands::calling::counts::Counts;
use callops::commands::calling::provider::Provider;
use callops::commands::calling::stop::Stop;
use callops::commands::{collect_outcomes, process_calls, sweep_timeouts};
use callops::config::{Config, ConfigArgs, Environment};
use callops::domain::campaign::{AccountSettings, Rules, TenantSettings, ZonePolicy};
use callops::domain::dial::CallReport;
use callops::domain::evidence::RetryPolicy;
use callops::domain::schedule::Schedule;
use callops::domain::slot::Frequency;
use callops::error::Exit;
use callops::output::{Format, Printer};
use callops::sandbox::{self, Organisation, Settings};
use callops::store::attempts::Attempt;
use callops::store::calls::{self, Call, Filter};
use callops::store::contacts::{self, Contact};
use callops::store::conversations::{self, Conversation};
use callops::store::setup::{Account, Campaign, Tenant};
use callops::store::{Db, Tx, attempts, control, enrollments, setup};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Backend, Output, Running, Scratch, TestDatabase};

/// A rehearsal with a tenant `acme` in New York, an account `acme-vapi`, and no campaign yet.
pub(crate) struct Story {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    pub(crate) sandbox: sandbox::Running,
    database: TestDatabase,
}

#[derive(Parser)]
struct ProcessCalls {
    #[command(flatten)]
    args: process_calls::Args,
}

/// An instant.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The rules of a daily campaign from 09:00 to 17:00 on the tenant's clock.
pub(crate) fn rules() -> Rules {
    Rules {
        frequency: Frequency::Daily,
        schedule: Schedule::every_day("09:00-17:00".parse().expect("a window")),
        zone_policy: ZonePolicy::Campaign,
        timezone: None,
        agent: json!({"assistant_id": "assistant-1", "phone_number_id": "line-1"}),
        retry: RetryPolicy::default(),
        look_back_seconds: 900,
        answer_timeout_seconds: None,
        call_timeout_seconds: None,
        calls_per_minute: None,
        min_gap_seconds: None,
        max_calls_per_day: None,
        reminders: None,
        max_calls_per_week: None,
    }
}

impl Story {
    pub(crate) async fn begin(database: TestDatabase, now: &str) -> Self {
        Self::begin_with(database, now, vec![Organisation { concurrency: 1000, ..Organisation::default() }]).await
    }

    pub(crate) async fn begin_with(database: TestDatabase, now: &str, organisations: Vec<Organisation>) -> Self {
        let clock = Clock::manual(at(now));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let settings = Settings { organisations, ..Settings::new(clock.clone()) };
        let sandbox = sandbox::serve(settings, listener).expect("a sandbox");
        let directory = database.scratch().path().to_owned();
        let variables =
            [("CALLOPS_DATABASE_URL", database.url()), ("ACME_KEY", "sandbox-key"), ("OTHER_KEY", "other-key")];
        // As the binary has them.
        let home = directory.join("home");
        let environment = Environment::of_variables(variables, directory.clone())
            .with_directories(home.join("config/callops"), home.join("data/callops"));
        std::fs::write(directory.join("callops.toml"), "request_timeout = \"2s\"\n").expect("a configuration");
        let config = Config::load(&ConfigArgs::default(), &environment).expect("a configuration");
        let app = App::new(clock.clone(), Printer::new(Format::Json, true), config, false);
        let db = app.connect(1, false).await.expect("the database");
        db.write(async |tx| control::mark_rehearsal(tx).await).await.expect("a rehearsal");
        db.close().await;
        let story = Self { app, clock, sandbox, database };
        story.put_account("acme-vapi", "env:ACME_KEY", 1000).await;
        story
            .write(async |tx| {
                let tenant = Tenant {
                    name: "acme".to_owned(),
                    display_name: "Acme Dental".to_owned(),
                    region: Some("US".to_owned()),
                    timezone: Some("America/New_York".to_owned()),
                    settings: serde_json::to_string(&TenantSettings::default()).expect("JSON"),
                };
                setup::put_tenant(tx, &tenant, at("2026-01-01T00:00:00Z")).await
            })
            .await;
        story
    }

    /// The binary, on this story's database, at this story's time.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.spawn(args).wait()
    }

    /// The same, left running.
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        self.spawn_with(&[], args)
    }

    /// The same, with more variables.
    pub(crate) fn spawn_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Running {
        let now = self.now().to_rfc3339();
        let args: Vec<&str> = args.iter().copied().chain(["--now", &now]).collect();
        self.spawn_today(variables, &args)
    }

    /// The binary on this story's database, by the machine's clock.
    pub(crate) fn spawn_today(&self, variables: &[(&str, &str)], args: &[&str]) -> Running {
        let callops = self.database.callops().env("ACME_KEY", "sandbox-key").env("OTHER_KEY", "other-key");
        let callops = variables.iter().fold(callops, |callops, (name, value)| callops.env(name, *value));
        callops.spawn(args)
    }

    /// The directory in which the binary runs.
    pub(crate) fn scratch(&self) -> &Scratch {
        self.database.scratch()
    }

    /// The kind of its database.
    pub(crate) fn backend(&self) -> Backend {
        self.database.backend()
    }

    /// Ends the story; its database stays.
    pub(crate) async fn end(self) -> TestDatabase {
        self.app.close().await;
        self.database
    }

    pub(crate) async fn db(&self) -> &Db {
        self.app.db().await.expect("the database")
    }

    pub(crate) async fn write<T>(&self, work: impl AsyncFn(&mut Tx) -> callops::store::Result<T>) -> T {
        self.db().await.write(work).await.expect("a transaction")
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Moves both clocks on by a span such as `TimeDelta::minutes(5)`.
    pub(crate) fn wait(&self, by: TimeDelta) {
        self.clock.advance(by);
        let _ = self.sandbox.rings();
    }

    /// Moves both clocks to a later moment.
    pub(crate) fn wait_until(&self, moment: &str) {
        let by = at(moment) - self.now();
        assert!(by >= TimeDelta::zero(), "{moment} is past");
        self.wait(by);
    }

    pub(crate) async fn put_account(&self, name: &str, api_key: &str, max_concurrency: i64) {
        self.put_account_with("vapi", name, api_key, max_concurrency).await;
    }

    /// The same, with another provider. A key that is half of a pair is the other half as well.
    pub(crate) async fn put_account_with(&self, provider: &str, name: &str, api_key: &str, max_concurrency: i64) {
        let settings = AccountSettings {
            api_key: api_key.to_owned(),
            api_secret: (provider == "livekit").then(|| api_key.to_owned()),
            base_url: Some(self.sandbox.url()),
            ..AccountSettings::default()
        };
        let account = Account {
            name: name.to_owned(),
            provider: provider.to_owned(),
            settings: serde_json::to_string(&settings).expect("JSON"),
            max_concurrency,
            calls_per_minute: None,
            org_id: None,
            held_until: None,
            held_reason: None,
            refusals: 0,
        };
        let now = self.now();
        // Through a connection of its own: the first account is put in before the app opened the database.
        let db = self.app.connect(1, false).await.expect("the database");
        db.write(async |tx| setup::put_account(tx, &account, now).await).await.expect("an account");
        db.close().await;
    }

    /// Creates a campaign or edits its rules; a new one is started.
    pub(crate) async fn campaign(&self, name: &str, rules: &Rules) {
        self.campaign_for(name, name, rules).await;
    }

    pub(crate) async fn campaign_for(&self, name: &str, purpose: &str, rules: &Rules) {
        self.campaign_with("acme-vapi", name, purpose, rules).await;
    }

    /// The same, of which another account places the calls.
    pub(crate) async fn campaign_with(&self, account: &str, name: &str, purpose: &str, rules: &Rules) {
        let now = self.now();
        let campaign = Campaign {
            id: self.app.new_id(),
            tenant: "acme".to_owned(),
            name: name.to_owned(),
            purpose: purpose.to_owned(),
            account: account.to_owned(),
            active: false,
            priority: 0,
            rules: serde_json::to_string(rules).expect("JSON"),
            rules_version: 0,
            next_open_at: None,
            last_served_at: DateTime::UNIX_EPOCH,
            held_until: None,
            held_reason: None,
            refusals: 0,
        };
        self.write(async |tx| {
            setup::put_campaign(tx, &campaign, now).await?;
            let id = setup::campaign(tx, "acme", name).await?.expect("the campaign").id;
            setup::set_active(tx, &id, true, now).await
        })
        .await;
    }

    pub(crate) async fn find_campaign(&self, name: &str) -> Campaign {
        self.write(async |tx| Ok(setup::campaign(tx, "acme", name).await?.expect("the campaign"))).await
    }

    /// A contact, enrolled in the campaigns. Yields it.
    pub(crate) async fn contact(&self, phone: &str, edit: impl Fn(&mut Contact), campaigns: &[&str]) -> Contact {
        let now = self.now();
        let mut contact = Contact {
            id: self.app.new_id(),
            tenant: "acme".to_owned(),
            phone: phone.to_owned(),
            extension: None,
            name: Some("Ada".to_owned()),
            email: None,
            external_id: None,
            timezone: None,
            timezone_source: None,
            preferred_time: None,
            attributes: "{}".to_owned(),
            version: 1,
            import_id: None,
            created_at: now,
            updated_at: now,
        };
        edit(&mut contact);
        self.write(async |tx| contacts::insert(tx, std::slice::from_ref(&contact)).await).await;
        for name in campaigns {
            self.enroll(&contact, name).await;
        }
        contact
    }

    pub(crate) async fn enroll(&self, contact: &Contact, campaign: &str) {
        let now = self.now();
        let campaign = self.find_campaign(campaign).await;
        let pair = [(self.app.new_id(), contact.id.clone())];
        self.write(async |tx| enrollments::enroll(tx, &campaign.id, campaign.rules_version, &pair, now).await).await;
    }

    /// Contacts with these phones and nothing else, enrolled in a campaign.
    pub(crate) async fn people(&self, phones: &[String], campaign: &str) {
        let now = self.now();
        let campaign = self.find_campaign(campaign).await;
        let contacts: Vec<Contact> = phones
            .iter()
            .map(|phone| Contact {
                id: self.app.new_id(),
                tenant: "acme".to_owned(),
                phone: phone.clone(),
                extension: None,
                name: None,
                email: None,
                external_id: None,
                timezone: None,
                timezone_source: None,
                preferred_time: None,
                attributes: "{}".to_owned(),
                version: 1,
                import_id: None,
                created_at: now,
                updated_at: now,
            })
            .collect();
        for batch in contacts.chunks(200) {
            let pairs: Vec<(String, String)> =
                batch.iter().map(|contact| (self.app.new_id(), contact.id.clone())).collect();
            self.write(async |tx| {
                contacts::insert(tx, batch).await?;
                enrollments::enroll(tx, &campaign.id, campaign.rules_version, &pairs, now).await
            })
            .await;
        }
    }

    /// Gives a contact another phone.
    pub(crate) async fn correct_phone(&self, contact: &Contact, phone: &str) {
        let now = self.now();
        assert!(self.write(async |tx| contacts::correct_phone(tx, &contact.id, phone, now).await).await);
    }

    /// One run of `process-calls` with these options.
    pub(crate) async fn process(&self, options: &[&str]) -> (Counts, Exit) {
        Box::pin(self.try_process(options)).await.expect("a run")
    }

    /// As [`Story::process`], where the run may be refused.
    pub(crate) async fn try_process(&self, options: &[&str]) -> anyhow::Result<(Counts, Exit)> {
        let args = ["process-calls"].iter().chain(options);
        let args = ProcessCalls::parse_from(args).args;
        process_calls::once(&self.app, &args, &Stop::default()).await
    }

    pub(crate) async fn sweep(&self) -> (Counts, Exit) {
        sweep_timeouts::once(&self.app).await.expect("a sweep")
    }

    pub(crate) async fn collect(&self) -> (Counts, Exit) {
        collect_outcomes::once(&self.app).await.expect("a collection")
    }

    /// What the next calls to a phone come to, by Vapi's reasons or `{"ended_reason", "ring_seconds", ..}`.
    pub(crate) async fn script(&self, phone: &str, outcomes: Value) {
        self.control("script", json!({"phone": phone, "outcomes": outcomes})).await;
    }

    /// Asks something of the sandbox.
    pub(crate) async fn control(&self, path: &str, body: Value) {
        let url = format!("{}/_sandbox/{path}", self.sandbox.url());
        let answer = reqwest_client().post(url).json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap_or_default());
    }

    pub(crate) fn fault(&self, rule: Value) {
        self.sandbox.add_faults(rule).expect("a fault");
    }

    /// How often each phone rang, by the ledger.
    pub(crate) fn rings_of(&self, phone: &str) -> usize {
        self.sandbox.rings().iter().filter(|ring| ring.phone == phone).count()
    }

    /// How often any phone rang, by the ledger.
    pub(crate) fn rings(&self) -> usize {
        self.sandbox.rings().len()
    }

    pub(crate) async fn calls(&self) -> Vec<Call> {
        self.write(async |tx| calls::calls(tx, &Filter { limit: 10_000, ..Filter::default() }).await).await
    }

    /// The only call there is.
    pub(crate) async fn only_call(&self) -> Call {
        let mut calls = self.calls().await;
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    pub(crate) async fn attempts(&self, call: &Call) -> Vec<Attempt> {
        self.write(async |tx| attempts::of_call(tx, &call.id).await).await
    }
}

impl Story {
    pub(crate) async fn conversation(&self, attempt_id: &str) -> Option<Conversation> {
        self.write(async |tx| conversations::conversation(tx, attempt_id).await).await
    }

    /// The newest attempt to a phone, and its conversation.
    pub(crate) async fn conversation_with(&self, phone: &str) -> (Attempt, Conversation) {
        let call = self.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
        let attempt = self.attempts(&call).await.pop().expect("an attempt");
        let conversation = self.conversation(&attempt.id).await.expect("a conversation");
        (attempt, conversation)
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's own endpoints are no provider")]
pub(crate) fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Story {
    /// The claim of the first person who is due, not made yet.
    pub(crate) async fn plan_first(&self) -> callops::store::claims::Claim {
        use callops::commands::calling::plan::{self, Search, Source};
        let now = self.now();
        let due = self.write(async |tx| setup::campaigns_due(tx, now).await).await;
        let (mut contexts, _) = self.write(async |tx| plan::contexts(tx, due.clone()).await).await;
        let mut source = Source::new(contexts.remove(0));
        let search = Search { requested_by: "test", dry_run: false, run_interval_seconds: 60 };
        let person = source.next(&self.app, search, &mut Counts::default()).await.expect("a plan").expect("a person");
        person.claim
    }

    /// Claims the first person who is due for a run that is then held in this state. Yields the attempt.
    pub(crate) async fn claim_first(&self, owner: &str) -> String {
        let now = self.now();
        let claims = [self.plan_first().await];
        let lease_until = now + TimeDelta::seconds(60);
        let claimed = self
            .write(async |tx| callops::store::claims::claim(tx, "acme-vapi", &claims, owner, lease_until, now).await)
            .await;
        assert_eq!(claimed.attempts.len(), 1, "{claimed:?}");
        claimed.attempts[0].clone()
    }

    /// Makes the stored rules of a campaign unreadable.
    pub(crate) async fn spoil_rules(&self, campaign: &str, zone: &str) {
        let campaign = self.find_campaign(campaign).await;
        let mut rules: Value = serde_json::from_str(&campaign.rules).expect("rules");
        rules["timezone"] = json!(zone);
        let now = self.now();
        let spoilt = Campaign { rules: rules.to_string(), ..campaign };
        self.write(async |tx| setup::put_campaign(tx, &spoilt, now).await).await;
    }

    /// The most calls that an organisation had live at once, by the ledger.
    pub(crate) async fn most_live(&self, org: &str) -> u64 {
        let url = format!("{}/_sandbox/calls", self.sandbox.url());
        let ledger: Value = reqwest_client().get(url).send().await.expect("an answer").json().await.expect("JSON");
        ledger["most_live_by_org"][org].as_u64().unwrap_or_else(|| panic!("{ledger}"))
    }

    async fn client(&self, account: &str) -> Provider {
        let accounts = self.write(async |tx| setup::accounts(tx).await).await;
        let account = accounts.into_iter().find(|known| known.name == account).expect("the account");
        Provider::of_account(&self.app, &account, true).await.expect("a client")
    }

    /// What the provider says of an attempt now.
    pub(crate) async fn report_of(&self, attempt: &Attempt) -> CallReport {
        let id = attempt.provider_call_id.as_deref().expect("an id");
        self.client(&attempt.account).await.fetch(id).await.expect("an answer").expect("a record")
    }

    /// Has the provider forget a call that is over.
    pub(crate) async fn erase(&self, attempt: &Attempt) {
        let id = attempt.provider_call_id.as_deref().expect("an id");
        self.client(&attempt.account).await.take_back(id).await.expect("an answer").expect("a record");
    }

    /// The paths of the requests that the provider got.
    pub(crate) async fn request_paths(&self) -> Vec<String> {
        let url = format!("{}/_sandbox/requests", self.sandbox.url());
        let requests: Value = reqwest_client().get(url).send().await.expect("an answer").json().await.expect("JSON");
        let paths =
            requests.as_array().into_iter().flatten().map(|request| request["path"].as_str().map(str::to_owned));
        paths.collect::<Option<_>>().unwrap_or_else(|| panic!("{requests}"))
    }

    /// Records what the provider says of an attempt now, as a late webhook would.
    pub(crate) async fn learn_from_provider(&self, attempt: &Attempt) {
        use callops::domain::call::Evidence;
        use callops::domain::evidence::{Observation, Seen};
        let report = self.report_of(attempt).await;
        let now = self.now();
        let seen = Seen::from_report(&report, now).expect("something");
        let observation = Observation { attempt_id: attempt.id.clone(), by: Evidence::Provider, at: now, seen };
        self.write(async |tx| callops::store::evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
    }
}
