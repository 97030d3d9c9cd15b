//! `explain`: the gates with their evidence, the next moment, and who is counted under which reason.

use std::collections::BTreeMap;

use callops::domain::call::Evidence;
use callops::domain::evidence::{Ending, Observation, RetryPolicy, Seen};
use callops::domain::gate::GATES;
use callops::domain::outcome::Outcome;
use callops::store::claims::Claim;
use callops::store::contacts::Contact;
use callops::store::setup::{Account, Campaign, Tenant};
use callops::store::{self, Db, claims, contacts, control, enrollments, evidence, setup};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::common::{Output, TestDatabase, on_both_databases};

pub(crate) const PHONE: &str = "+14155550100";
const ANN: &str = "01JDA000000000000000000001";
pub(crate) const CHECKUP: &str = "01JDC000000000000000000001";

/// A Friday, 10:00 in New York.
pub(crate) const FRIDAY: &str = "2026-11-20T15:00:00Z";

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// When everything was set up.
fn start() -> DateTime<Utc> {
    at("2026-11-19T08:00:00Z")
}

/// The rules of a campaign on weekdays from 9 to 17, by the tenant's wall clock, with some keys replaced.
pub(crate) fn rules(changes: &Value) -> Value {
    let mut rules = json!({
        "frequency": "daily",
        "schedule": {"window": "09:00-17:00", "days": ["mon", "tue", "wed", "thu", "fri"]},
        "zone_policy": "campaign",
        "agent": {"assistant_id": "a", "phone_number_id": "p"},
        "retry": RetryPolicy::default(),
        "look_back_seconds": 900,
        "answer_timeout_seconds": 600,
        "call_timeout_seconds": 3600,
        "max_calls_per_day": 3
    });
    for (key, value) in changes.as_object().expect("an object") {
        rules[key] = value.clone();
    }
    rules
}

/// A database with a tenant `acme`, a started campaign `acme/checkup` and one contact in it, as of 2026-11-19.
pub(crate) struct World {
    pub(crate) db: Db,
}

impl World {
    pub(crate) async fn new(database: &TestDatabase) -> Self {
        let options = store::Options {
            url: database.url().to_owned(),
            schema: "callops".to_owned(),
            max_connections: 2,
            statement_cache: true,
            create: false,
        };
        let world = Self { db: Db::connect(&options).await.expect("the database opens") };
        let account = Account {
            name: "acme-vapi".to_owned(),
            provider: "vapi".to_owned(),
            settings: json!({"api_key": "env:KEY"}).to_string(),
            max_concurrency: 10,
            calls_per_minute: None,
            org_id: None,
            held_until: None,
            held_reason: None,
            refusals: 0,
        };
        let mut tx = world.db.begin().await.expect("a transaction");
        setup::put_account(&mut tx, &account, start()).await.expect("an account");
        tx.commit().await.expect("a commit");
        world.put_tenant("acme", &json!({})).await;
        world.put_campaign(CHECKUP, "acme", "checkup", &json!({})).await;
        world.put_contact(ANN, "acme", PHONE, None).await;
        world.enroll(CHECKUP, ANN).await;
        world
    }

    pub(crate) async fn put_tenant(&self, name: &str, settings: &Value) {
        let tenant = Tenant {
            name: name.to_owned(),
            display_name: name.to_owned(),
            region: Some("US".to_owned()),
            timezone: Some("America/New_York".to_owned()),
            settings: settings.to_string(),
        };
        let mut tx = self.db.begin().await.expect("a transaction");
        setup::put_tenant(&mut tx, &tenant, start()).await.expect("a tenant");
        tx.commit().await.expect("a commit");
    }

    pub(crate) async fn put_campaign(&self, id: &str, tenant: &str, name: &str, changes: &Value) {
        let campaign = Campaign {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            purpose: name.to_owned(),
            account: "acme-vapi".to_owned(),
            active: true,
            priority: 0,
            rules: rules(changes).to_string(),
            rules_version: 1,
            next_open_at: None,
            last_served_at: DateTime::UNIX_EPOCH,
            held_until: None,
            held_reason: None,
            refusals: 0,
        };
        let mut tx = self.db.begin().await.expect("a transaction");
        setup::put_campaign(&mut tx, &campaign, start()).await.expect("a campaign");
        setup::set_active(&mut tx, id, true, start()).await.expect("a start");
        tx.commit().await.expect("a commit");
    }

    pub(crate) async fn put_contact(&self, id: &str, tenant: &str, phone: &str, preferred_time: Option<&str>) {
        let contact = Contact {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            phone: phone.to_owned(),
            extension: None,
            name: Some("Ann Lee".to_owned()),
            email: None,
            external_id: None,
            timezone: None,
            timezone_source: None,
            preferred_time: preferred_time.map(str::to_owned),
            attributes: "{}".to_owned(),
            version: 1,
            import_id: None,
            created_at: start(),
            updated_at: start(),
        };
        let mut tx = self.db.begin().await.expect("a transaction");
        assert_eq!(contacts::insert(&mut tx, &[contact]).await.expect("a contact").len(), 1);
        tx.commit().await.expect("a commit");
    }

    pub(crate) async fn enroll(&self, campaign_id: &str, contact_id: &str) {
        let enrollment = format!("01JDE0000000000000{}{}", &campaign_id[22..], &contact_id[22..]);
        let mut tx = self.db.begin().await.expect("a transaction");
        let version = setup::campaign_by_id(&mut tx, campaign_id).await.expect("a read").expect("a campaign");
        let people = [(enrollment, contact_id.to_owned())];
        enrollments::enroll(&mut tx, campaign_id, version.rules_version, &people, start())
            .await
            .expect("an enrollment");
        tx.commit().await.expect("a commit");
    }

    /// Dials the contact's phone for a campaign and leaves the attempt in `placing`.
    pub(crate) async fn dial(
        &self,
        campaign_id: &str,
        contact_id: &str,
        key: &str,
        now: DateTime<Utc>,
    ) -> (String, String) {
        let mut tx = self.db.begin().await.expect("a transaction");
        let campaign = setup::campaign_by_id(&mut tx, campaign_id).await.expect("a read").expect("a campaign");
        let candidate =
            enrollments::candidate(&mut tx, campaign_id, contact_id).await.expect("a read").expect("enrolled");
        let last_rang = claims::last_rang(&mut tx, [(campaign.tenant.as_str(), candidate.phone.as_str())].into_iter())
            .await
            .expect("a read");
        let (call_id, attempt_id) = (callops::app::new_id(now), callops::app::new_id(now));
        let claim = Claim {
            attempt_id: attempt_id.clone(),
            call_id: call_id.clone(),
            number: 1,
            tenant: campaign.tenant.clone(),
            campaign_id: campaign_id.to_owned(),
            rules_version: campaign.rules_version,
            enrollment_id: candidate.enrollment_id,
            contact_id: contact_id.to_owned(),
            contact_version: 1,
            phone: candidate.phone.clone(),
            purpose: campaign.purpose,
            slot_key: key.to_owned(),
            slots: vec![claims::SlotKey { subject: String::new(), key: key.to_owned() }],
            window_closes_at: now + TimeDelta::hours(2),
            dial_before: now + TimeDelta::hours(1),
            answer_timeout_seconds: 600,
            call_timeout_seconds: 3600,
            line: None,
            agent: None,
            next_check_at: Some(now + TimeDelta::hours(18)),
            last_rang_seen: last_rang.get(&(campaign.tenant, candidate.phone)).copied(),
            calls_per_minute: None,
            requested_by: "test".to_owned(),
        };
        let claimed = claims::claim(&mut tx, "acme-vapi", &[claim], "me", now + TimeDelta::minutes(2), now)
            .await
            .expect("a claim");
        assert_eq!(claimed.attempts, std::slice::from_ref(&attempt_id));
        let placing = claims::commit_to_dial(&mut tx, &claimed.attempts, "me", now).await.expect("an update");
        assert_eq!(placing, claimed.attempts);
        tx.commit().await.expect("a commit");
        (call_id, attempt_id)
    }

    pub(crate) async fn observe(&self, attempt_id: &str, seen: Seen, now: DateTime<Utc>) {
        let observation = Observation { attempt_id: attempt_id.to_owned(), by: Evidence::Owner, at: now, seen };
        let mut tx = self.db.begin().await.expect("a transaction");
        assert_eq!(evidence::apply(&mut tx, &[observation], now).await.expect("an update").len(), 1);
        tx.commit().await.expect("a commit");
    }

    /// Ends an attempt.
    pub(crate) async fn end(&self, attempt_id: &str, outcome: Outcome, now: DateTime<Utc>) {
        let seen = Seen::Accepted { provider_call_id: format!("p-{attempt_id}"), org_id: None, queued: false };
        self.observe(attempt_id, seen, now).await;
        let ending = Ending { outcome, reason: Some("because".to_owned()), ..Ending::timeout(now) };
        self.observe(attempt_id, Seen::Ended(ending), now).await;
    }
}

fn explain(database: &TestDatabase, args: &[&str]) -> Output {
    database.callops().env("KEY", "secret").run(["explain"].iter().chain(args))
}

fn explained(database: &TestDatabase, moment: DateTime<Utc>) -> Value {
    let moment = moment.to_rfc3339();
    let args = ["--contact", PHONE, "--at", &moment, "--format", "json"];
    explain(database, &args).success().json()["campaigns"][0].clone()
}

fn gate<'a>(campaign: &'a Value, name: &str) -> &'a Value {
    campaign["gates"].as_array().expect("gates").iter().find(|gate| gate["gate"] == name).expect("the gate")
}

on_both_databases! {
    async fn every_gate_says_yes_and_why(db) {
        World::new(&db).await;
        let output = explain(&db, &["--contact", PHONE, "--at", FRIDAY]).success();
        insta::allow_duplicates! {
            insta::assert_snapshot!(output, @r"
            exit: 0
            --- stdout
            contact [ulid-1------------------], Ann Lee, +14155550100 of acme, at 2026-11-20T15:00:00Z

            campaign acme/checkup: every gate says yes
             gate            verdict  reason  until  evidence
             pause           pass                    nobody paused
             active          pass                    acme/checkup is started; enrolled since 2026-11-19T08:00:00Z
             dates           pass                    no first or last date; today is 2026-11-20
             zone            pass                    America/New_York, the tenant's
             reminder        pass                    the campaign reminds of no invoices
             window          pass                    09:00-17:00 on mon,tue,wed,thu,fri; it is Fri 2026-11-20 10:00 in America/New_York, open until 2026-11-20T22:00:00Z
             preferred_time  pass                    no preferred time
             frequency       pass                    daily; never called for checkup
             slot            pass                    checkup 2026-11-20 is free
             live_attempt    pass                    no attempt to this phone is live
             gap             pass                    at least 4h between calls; none so far
             caps            pass                    0 of at most 3 on 2026-11-20, counted until 2026-11-21T05:00:00Z
             suppression     pass                    not suppressed
             retry           pass                    no call waits for another attempt
             breaker         pass                    no refusal holds calls back
             credentials     pass                    the key of account acme-vapi is in env:KEY
             capacity        pass                    account acme-vapi may start 10 now (at most 10 at once)
            called: no, not for 2026-11-20
            next call: 2026-11-20T15:00:00Z (Fri 2026-11-20 10:00 in America/New_York)
            last check: none yet
            --- stderr
            ");
        }
    }

    async fn a_call_today_is_the_reason_for_none_today(db) {
        let world = World::new(&db).await;
        let (call, attempt) = world.dial(CHECKUP, ANN, "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        world.end(&attempt, Outcome::Answered, at("2026-11-20T14:35:00Z")).await;
        let campaign = explained(&db, at(FRIDAY));
        assert_eq!(campaign["first_block"], "already_called");
        assert_eq!(gate(&campaign, "slot")["reason"], "slot_taken");
        assert_eq!(gate(&campaign, "gap")["until"], "2026-11-20T18:30:00Z");
        let evidence = gate(&campaign, "frequency")["evidence"].as_str().expect("text");
        assert!(evidence.contains(&attempt) && evidence.contains("which used 2026-11-20"), "{evidence}");
        assert_eq!(
            campaign["called"],
            json!({"called": true, "period": "2026-11-20", "call_id": call, "status": "completed",
                "outcome": "answered", "at": "2026-11-20T14:30:00Z"})
        );
        assert_eq!(campaign["next_call_at"], "2026-11-23T14:00:00Z", "Monday at nine in New York");
        assert_eq!(campaign["next_call_local"], "Mon 2026-11-23 09:00 in America/New_York");
        assert_eq!(campaign["last_check"]["reason"], "claimed");
        let people = explain(&db, &["--contact", ANN, "--at", FRIDAY]).success().stdout;
        assert!(people.contains("called: yes, for 2026-11-20 at 2026-11-20T14:30:00Z by call"), "{people}");
    }

    async fn a_live_attempt_is_named_and_its_end_awaited(db) {
        let world = World::new(&db).await;
        let (_, attempt) = world.dial(CHECKUP, ANN, "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        let seen = Seen::Unknown { reason: "no answer".to_owned() };
        world.observe(&attempt, seen, at("2026-11-20T14:31:00Z")).await;
        let campaign = explained(&db, at(FRIDAY));
        let live = gate(&campaign, "live_attempt");
        assert_eq!((&live["verdict"], &live["reason"]), (&json!("block"), &json!("live_attempt")));
        let evidence = live["evidence"].as_str().expect("text");
        assert!(evidence.contains(&attempt) && evidence.contains("is unknown since"), "{evidence}");
        assert_eq!(campaign["next_call_at"], Value::Null);
        assert_eq!(campaign["never_because"], "live_attempt");
        assert_eq!(campaign["once_lifted_at"], "2026-11-23T14:00:00Z");
    }

    async fn a_call_that_waits_is_explained_as_a_retry(db) {
        let world = World::new(&db).await;
        let (call, attempt) = world.dial(CHECKUP, ANN, "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        world.end(&attempt, Outcome::NoAnswer, at("2026-11-20T14:35:00Z")).await;
        let campaign = explained(&db, at(FRIDAY));
        assert_eq!(campaign["first_block"], "retry_waits", "{campaign}");
        assert_eq!(campaign["waiting_call"]["call_id"], call);
        // The gap does not hold between attempts of one call.
        assert_eq!(gate(&campaign, "gap")["verdict"], "pass");
        assert_eq!(campaign["next_call_at"], campaign["waiting_call"]["next_attempt_at"]);
        // Too late for today: the call will have expired, and a new one follows on Monday.
        let campaign = explained(&db, at("2026-11-20T23:00:00Z"));
        assert_eq!(gate(&campaign, "slot")["reason"], "slot_expired");
        assert_eq!(campaign["next_call_at"], "2026-11-23T14:00:00Z");
    }

    async fn what_a_person_ordered_is_told_in_their_words(db) {
        let world = World::new(&db).await;
        let mut tx = world.db.begin().await.expect("a transaction");
        control::pause(&mut tx, "tenant:acme", Some("fire drill"), at("2026-11-20T14:00:00Z")).await.expect("a pause");
        setup::hold_account(&mut tx, "acme-vapi", at("2026-11-20T16:00:00Z"), "no credits", 1).await.expect("a hold");
        tx.commit().await.expect("a commit");
        world.put_tenant("acme", &json!({"allow_only": ["+14155550199"]})).await;
        let campaign = explained(&db, at(FRIDAY));
        assert_eq!(campaign["first_block"], "paused");
        assert_eq!(gate(&campaign, "pause")["evidence"], "paused (tenant:acme) since 2026-11-20T14:00:00Z: fire drill");
        let breaker = gate(&campaign, "breaker");
        assert_eq!(breaker["until"], "2026-11-20T16:00:00Z");
        assert_eq!(breaker["evidence"], "account acme-vapi is held back until 2026-11-20T16:00:00Z: no credits");
        assert_eq!(gate(&campaign, "suppression")["reason"], "not_on_allow_list");
        assert_eq!(campaign["never_because"], "paused");
        assert_eq!(campaign["once_lifted_at"], Value::Null, "the allow list still says no");
        let output = db.callops().run(["explain", "--contact", PHONE, "--at", FRIDAY, "--format", "json"]).success();
        let campaign = &output.json()["campaigns"][0];
        assert_eq!(gate(campaign, "credentials")["evidence"], "account acme-vapi: the variable KEY is not set");
        assert!(!explain(&db, &["--contact", PHONE]).stdout.contains("secret"));
    }

    /// Whatever the moment: the next one that is named passes every gate, and none just before it does.
    async fn the_next_moment_is_the_first_at_which_every_gate_passes(db) {
        let world = World::new(&db).await;
        world.put_contact("01JDA000000000000000000002", "acme", "+14155550102", Some("16:50")).await;
        let (_, attempt) = world.dial(CHECKUP, ANN, "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        world.end(&attempt, Outcome::Answered, at("2026-11-20T14:35:00Z")).await;
        let mut passed = 0;
        for step in 0..24_i64 {
            let moment = at("2026-11-20T13:00:00Z") + TimeDelta::minutes(step * 331);
            let campaign = explained(&db, moment);
            let next = at(campaign["next_call_at"].as_str().expect("it comes round"));
            assert_eq!(campaign["all_pass"] == true, next == moment, "{moment}: {campaign}");
            passed += u32::from(next == moment);
            assert_eq!(explained(&db, next)["all_pass"], true, "{next}");
            if next > moment {
                assert_eq!(explained(&db, next - TimeDelta::seconds(1))["all_pass"], false, "just before {next}");
            }
        }
        assert!(passed > 3 && passed < 20, "{passed} moments were inside");
    }

    async fn people_and_campaigns_that_are_not_there(db) {
        let world = World::new(&db).await;
        world.put_tenant("bolt", &json!({})).await;
        world.put_contact("01JDA000000000000000000003", "bolt", PHONE, None).await;
        let output = explain(&db, &["--contact", PHONE]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(output, @r"
            exit: 2
            --- stdout
            --- stderr
            error: several tenants have a contact with +14155550100: acme, bolt
            hint: name one of them: --tenant acme
            ");
        }
        explain(&db, &["--contact", "(415) 555-0100", "--tenant", "bolt"]).success();
        explain(&db, &["--contact", PHONE, "--tenant", "acme"]).success();
        insta::allow_duplicates! {
            insta::assert_snapshot!(explain(&db, &["--contact", "+14155550177", "--tenant", "acme"]), @r"
            exit: 2
            --- stdout
            --- stderr
            error: there is no contact of acme with the id or phone +14155550177
            hint: write the phone with its country code, such as +14155550100
            hint: `callops list contacts` shows them
            ");
        }
        insta::allow_duplicates! {
            insta::assert_snapshot!(explain(&db, &["--contact", PHONE, "--campaign", "acme/checkups"]), @r"
            exit: 2
            --- stdout
            --- stderr
            error: there is no campaign acme/checkups
            hint: did you mean acme/checkup?
            ");
        }
        let output = explain(&db, &["--contact", "nobody"]).exits(2);
        assert!(output.stderr.contains("is no contact's id, and no phone"), "{output}");
        explain(&db, &[]).exits(2);
    }

    async fn somebody_who_is_not_enrolled_is_told_so(db) {
        let world = World::new(&db).await;
        world.put_contact("01JDA000000000000000000004", "acme", "+14155550104", None).await;
        let args = ["--contact", "+14155550104", "--at", FRIDAY];
        assert!(explain(&db, &args).success().stdout.contains("is in no campaign"));
        let args = [&args[..], &["--campaign", "acme/checkup", "--format", "csv"]].concat();
        let output = explain(&db, &args).success();
        assert!(output.stdout.contains("acme/checkup,active,block,not_enrolled,,"), "{output}");
    }

    async fn a_campaign_that_cannot_be_read_is_a_problem_and_the_others_go_on(db) {
        let world = World::new(&db).await;
        world.put_campaign("01JDC000000000000000000002", "acme", "broken", &json!({"frequency": "hourly"})).await;
        world.enroll("01JDC000000000000000000002", ANN).await;
        let output = explain(&db, &["--contact", PHONE, "--at", FRIDAY, "--format", "json"]).success().json();
        let problem = output["campaigns"][0]["problem"].as_str().expect("a problem");
        assert!(problem.contains("hourly"), "{problem}");
        assert_eq!(output["campaigns"][1]["all_pass"], true);
        explain(&db, &["--campaign", "acme/broken"]).exits(4);
    }

    async fn a_campaign_is_counted_by_reason_and_nothing_is_written(db) {
        let world = World::new(&db).await;
        for number in 5..9 {
            let id = format!("01JDA00000000000000000000{number}");
            let preferred = (number == 5).then_some("15:30");
            world.put_contact(&id, "acme", &format!("+1415555010{number}"), preferred).await;
            world.enroll(CHECKUP, &id).await;
        }
        let (_, attempt) = world.dial(CHECKUP, ANN, "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        world.end(&attempt, Outcome::Answered, at("2026-11-20T14:35:00Z")).await;
        let (_, attempt) = world.dial(CHECKUP, "01JDA000000000000000000008", "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        world.end(&attempt, Outcome::NoAnswer, at("2026-11-20T14:35:00Z")).await;
        let output = explain(&db, &["--campaign", "acme/checkup", "--at", FRIDAY]).success();
        insta::allow_duplicates! {
            insta::assert_snapshot!(output, @r"
            exit: 0
            --- stdout
            campaign acme/checkup: 5 enrolled, at 2026-11-20T15:00:00Z
             reason                 now  at last check
             due                    2    0
             already_called         1    0
             before_preferred_time  1    0
             retry_waits            1    0
             not_checked            0    3
             claimed                0    2
            --- stderr
            ");
        }
        let again = explain(&db, &["--campaign", "acme/checkup", "--at", FRIDAY]).success();
        assert_eq!(output.to_string(), again.to_string());
        let cut = explain(&db, &["--campaign", "acme/checkup", "--at", FRIDAY, "--limit", "2", "--format", "json"]);
        let cut = cut.success().json();
        assert_eq!((&cut["enrolled"], &cut["asked"], &cut["is_complete"]), (&json!(5), &json!(2), &json!(false)));
        let now: i64 = cut["reasons"].as_array().expect("reasons").iter().filter_map(|row| row["now"].as_i64()).sum();
        assert_eq!(now, 2);
    }

    /// A gate that is added, dropped or moved must show here.
    async fn the_gates_are_those_of_the_planner_in_their_order(db) {
        World::new(&db).await;
        let campaign = explained(&db, at(FRIDAY));
        let shown: Vec<&str> =
            campaign["gates"].as_array().expect("gates").iter().map(|gate| gate["gate"].as_str().expect("text")).collect();
        let asked: Vec<&str> = GATES.iter().map(|(gate, _)| gate.as_str()).collect();
        assert_eq!(shown, asked);
        let evidence: BTreeMap<&str, &str> = campaign["gates"]
            .as_array()
            .expect("gates")
            .iter()
            .map(|gate| (gate["gate"].as_str().expect("text"), gate["evidence"].as_str().expect("text")))
            .collect();
        assert!(evidence.values().all(|text| !text.is_empty()), "{evidence:?}");
    }
}
