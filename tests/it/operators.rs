//! The operators' buttons: stop and start, pause and resume, enroll, withdraw, cancel, retry, resolve.

use callops::app::new_id;
use callops::domain::call::{CallStatus, Evidence};
use callops::domain::dial::RefusalClass;
use callops::domain::evidence::{Observation, Seen};
use callops::store::claims::{self, Claim};
use callops::store::{self, Db, attempts, calls, contacts, control, enrollments, evidence, runs, setup};
use chrono::{DateTime, TimeDelta, Utc};

use crate::common::{Callops, Output, TestDatabase, assert_same_snapshot, on_both_databases};

/// A window that is always open, so that no test depends on the time of day.
const ACME: &str = r#"
[account.acme-vapi]
provider = "vapi"
api_key = "env:ACME_VAPI_KEY"

[tenant.acme]
region = "US"
timezone = "UTC"

[tenant.acme.campaign.checkup]
account = "acme-vapi"
vapi = { assistant_id = "assistant", phone_number_id = "line" }
window = "00:00-24:00"
zone_policy = "campaign"
"#;
const PHONE: &str = "+18022236942";
const CAMPAIGN: [&str; 2] = ["--campaign", "acme/checkup"];

/// The machine's time: what commands reckon by.
#[expect(clippy::disallowed_methods, reason = "the binary's clock is the machine's")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn callops(database: &TestDatabase) -> Callops<'_> {
    // Long, so that who waits for a request waits until it is heard of.
    database.scratch().write("callops.toml", "request_timeout = \"100s\"\n");
    database.callops().env("ACME_VAPI_KEY", "a-key")
}

fn operate<const N: usize>(database: &TestDatabase, args: [&str; N]) -> Output {
    callops(database).run(args)
}

/// A started campaign with one contact in it.
async fn set_up(database: &TestDatabase) -> Db {
    database.scratch().write("acme.toml", ACME);
    operate(database, ["apply", "acme.toml"]).success();
    operate(database, ["start-campaign", "acme/checkup"]).success();
    operate(database, ["enroll", PHONE, CAMPAIGN[0], CAMPAIGN[1]]).success();
    let options = store::Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 2,
        statement_cache: true,
        create: false,
    };
    Db::connect(&options).await.expect("the database opens")
}

/// A claimed attempt of a new call for today, or a further one of an old call.
async fn claim(db: &Db, call: Option<(&str, i64)>) -> (String, String) {
    let now = now();
    let (attempt_id, call_id) = (new_id(now), call.map_or_else(|| new_id(now), |(id, _)| id.to_owned()));
    let claimed = db
        .write(async |tx| {
            let campaign = setup::campaign(tx, "acme", "checkup").await?.expect("the campaign");
            let contact = contacts::contacts_by_phones(tx, "acme", &[PHONE], false).await?.pop().expect("the contact");
            let candidate = enrollments::candidate(tx, &campaign.id, &contact.id).await?.expect("the enrollment");
            let seen = claims::last_rang(tx, [("acme", PHONE)].into_iter()).await?;
            let claim = Claim {
                attempt_id: attempt_id.clone(),
                call_id: call_id.clone(),
                number: call.map_or(1, |(_, number)| number),
                tenant: "acme".to_owned(),
                campaign_id: campaign.id.clone(),
                rules_version: campaign.rules_version,
                enrollment_id: candidate.enrollment_id,
                contact_id: contact.id,
                contact_version: contact.version,
                phone: PHONE.to_owned(),
                purpose: "checkup".to_owned(),
                slot_key: now.date_naive().to_string(),
                slots: vec![claims::SlotKey { subject: String::new(), key: now.date_naive().to_string() }],
                window_closes_at: now + TimeDelta::days(1),
                dial_before: now + TimeDelta::hours(1),
                answer_timeout_seconds: 600,
                call_timeout_seconds: 3600,
                line: None,
                agent: None,
                next_check_at: None,
                last_rang_seen: seen.values().next().copied(),
                calls_per_minute: None,
                requested_by: "test".to_owned(),
            };
            claims::claim(tx, "acme-vapi", &[claim], "owner", now + TimeDelta::minutes(1), now).await
        })
        .await
        .expect("claimed");
    assert_eq!(claimed.attempts, std::slice::from_ref(&attempt_id), "{claimed:?}");
    (call_id, attempt_id)
}

/// Whether the owner was let to dial.
async fn dial(db: &Db, attempt: &str, at: DateTime<Utc>) -> bool {
    let attempts = [attempt.to_owned()];
    let placed = db.write(async |tx| claims::commit_to_dial(tx, &attempts, "owner", at).await).await;
    !placed.expect("asked").is_empty()
}

async fn observe(db: &Db, attempt: &str, by: Evidence, seen: Seen) {
    let observation = Observation { attempt_id: attempt.to_owned(), by, at: now(), seen };
    db.write(async |tx| evidence::apply(tx, std::slice::from_ref(&observation), now()).await).await.expect("applied");
}

async fn call(db: &Db, id: &str) -> calls::Call {
    let mut tx = db.read().await.expect("a transaction");
    calls::call(&mut tx, id).await.expect("a call").expect("a call")
}

async fn slot_holder(db: &Db) -> Option<String> {
    let mut tx = db.read().await.expect("a transaction");
    let key = now().date_naive().to_string();
    calls::slot_holder(&mut tx, "acme", PHONE, "checkup", &key).await.expect("a slot")
}

async fn actions(db: &Db, subject: &str) -> Vec<String> {
    let mut tx = db.read().await.expect("a transaction");
    let log = runs::audit_of(&mut tx, subject, 100).await.expect("the log");
    log.into_iter().map(|entry| entry.action).collect()
}

fn unknown() -> Seen {
    Seen::Unknown { reason: "no answer".to_owned() }
}

fn accepted(id: &str) -> Seen {
    Seen::Accepted { provider_call_id: id.to_owned(), org_id: None, queued: false }
}

on_both_databases! {
    async fn a_stopped_campaign_gives_back_what_never_rang(db) {
        let store = set_up(&db).await;
        let (first, attempt) = claim(&store, None).await;
        assert_same_snapshot!(operate(&db, ["stop-campaign", "acme/checkup"]), @r#"
        exit: 0
        --- stdout
        acme/checkup: stopped; 1 call cancelled, of which 1 may be called again
        --- stderr
        "#);
        assert!(!dial(&store, &attempt, now()).await, "a stopped campaign dialled");
        assert_eq!(call(&store, &first).await.status, CallStatus::Cancelled);
        assert_eq!(slot_holder(&store).await, None);
        assert_same_snapshot!(operate(&db, ["stop-campaign", "acme/checkup"]), @r#"
        exit: 0
        --- stdout
        acme/checkup: was stopped already
        --- stderr
        "#);
        // The same day: nobody is lost.
        operate(&db, ["start-campaign", "acme/checkup"]).success();
        assert_same_snapshot!(operate(&db, ["start-campaign", "acme/checkup"]), @r#"
        exit: 0
        --- stdout
        acme/checkup: was started already
        --- stderr
        "#);
        let (second, attempt) = claim(&store, None).await;
        assert!(dial(&store, &attempt, now()).await);
        assert_eq!(slot_holder(&store).await, Some(second));
        let log = actions(&store, "campaign:acme/checkup").await;
        assert_eq!(log, ["apply", "start-campaign", "enroll", "stop-campaign", "start-campaign"]);
    }

    async fn a_stop_keeps_what_rang_and_leaves_live_calls_alone(db) {
        let store = set_up(&db).await;
        let (id, attempt) = claim(&store, None).await;
        assert!(dial(&store, &attempt, now()).await);
        observe(&store, &attempt, Evidence::Owner, accepted("p1")).await;
        let output = operate(&db, ["stop-campaign", "acme/checkup", "--format", "json"]).success().json();
        assert_eq!((&output["cancelled"], &output["live"], &output["freed"]), (&0.into(), &1.into(), &0.into()));
        assert_eq!(call(&store, &id).await.status, CallStatus::Calling);
        assert_eq!(slot_holder(&store).await, Some(id));
    }

    /// Nothing that was committed is under way once the command has returned.
    async fn a_stop_and_a_pause_wait_for_what_is_being_sent(db) {
        let store = set_up(&db).await;
        let (_, attempt) = claim(&store, None).await;
        assert!(dial(&store, &attempt, now()).await);
        let mut waiting: Vec<_> = [vec!["pause"], vec!["pause", "--tenant", "acme"], vec!["stop-campaign", "acme/checkup"]]
            .into_iter()
            .map(|args| callops(&db).spawn(args))
            .collect();
        for command in &mut waiting {
            command.stderr_line("being placed at this moment: 1");
        }
        observe(&store, &attempt, Evidence::Owner, accepted("p1")).await;
        for command in waiting {
            let output = command.wait().success();
            assert!(output.stderr.ends_with("nothing is being placed any more\n"), "{output}");
        }
    }

    /// A process that died in the middle of sending holds nobody up.
    async fn a_pause_does_not_wait_for_the_dead(db) {
        let store = set_up(&db).await;
        let (_, attempt) = claim(&store, None).await;
        assert!(dial(&store, &attempt, now() - TimeDelta::hours(1)).await);
        let output = operate(&db, ["pause"]).success();
        assert_eq!(output.stderr, "");
    }

    async fn a_pause_stops_everybody_or_one_tenant_until_resume(db) {
        let store = set_up(&db).await;
        let (_, attempt) = claim(&store, None).await;
        assert_same_snapshot!(operate(&db, ["pause", "--reason", "a wrong price"]), @r#"
        exit: 0
        --- stdout
        all dialling is paused; `callops resume` goes on
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["pause", "--tenant", "acme"]), @r#"
        exit: 0
        --- stdout
        dialling for acme is paused; `callops resume` goes on
        --- stderr
        "#);
        assert!(!dial(&store, &attempt, now()).await, "dialled in spite of a pause");
        assert_same_snapshot!(operate(&db, ["resume"]), @r#"
        exit: 0
        --- stdout
        all dialling goes on
        --- stderr
        warning: tenant:acme is still paused; `callops resume --tenant acme` ends that
        "#);
        assert!(!dial(&store, &attempt, now()).await, "dialled in spite of the tenant's pause");
        operate(&db, ["resume", "--tenant", "acme"]).success();
        assert!(dial(&store, &attempt, now()).await);
        assert_same_snapshot!(operate(&db, ["resume"]), @r#"
        exit: 0
        --- stdout
        all dialling was not paused
        --- stderr
        "#);
        assert_same_snapshot!(operate(&db, ["pause", "--tenant", "acne"]), @r#"
        exit: 2
        --- stdout
        --- stderr
        error: there is no tenant acne
        hint: did you mean acme?
        "#);
        let mut tx = store.read().await.expect("a transaction");
        assert!(control::pauses(&mut tx).await.expect("pauses").is_empty());
        drop(tx);
        assert_eq!(actions(&store, "all").await, ["pause", "resume"]);
    }

    async fn a_withdrawn_contact_is_not_dialled(db) {
        let store = set_up(&db).await;
        let (id, attempt) = claim(&store, None).await;
        let output = operate(&db, ["withdraw", "(802) 223-6942", CAMPAIGN[0], CAMPAIGN[1], "--format", "csv"]);
        assert_same_snapshot!(output, @r#"
        exit: 0
        --- stdout
        campaign,contact,phone,result,cancelled,live
        acme/checkup,[ulid-1------------------],+18022236942,withdrawn,1,0
        --- stderr
        "#);
        assert!(!dial(&store, &attempt, now()).await);
        assert_eq!(call(&store, &id).await.status, CallStatus::Cancelled);
        operate(&db, ["withdraw", "+18022236943", CAMPAIGN[0], CAMPAIGN[1]]).exits(2);
        let output = operate(&db, ["enroll", PHONE, CAMPAIGN[0], CAMPAIGN[1], "--format", "jsonl"]).success();
        assert!(output.stdout.contains("\"result\":\"enrolled\""), "{output}");
    }

    async fn a_claim_planned_before_a_withdrawal_does_not_ring(db) {
        let store = set_up(&db).await;
        let mut tx = store.read().await.expect("a transaction");
        let before = contacts::contacts_by_phones(&mut tx, "acme", &[PHONE], false).await.expect("contacts").remove(0);
        drop(tx);
        operate(&db, ["withdraw", PHONE, CAMPAIGN[0], CAMPAIGN[1]]).success();
        let mut tx = store.read().await.expect("a transaction");
        let after = contacts::contact(&mut tx, &before.id).await.expect("contacts").expect("the contact");
        assert!(after.version > before.version, "claims carry the contact's version");
    }

    fn enrolling_is_all_or_nothing(db) {
        db.scratch().write("acme.toml", ACME);
        operate(&db, ["apply", "acme.toml"]).success();
        let output = operate(&db, ["enroll", PHONE, "12", "--campaign", "acme/checkup"]);
        assert_same_snapshot!(output, @r#"
        exit: 2
        --- stdout
        --- stderr
        error: "12" is no contact's id, and no phone: emergency and short numbers are not called
        hint: `callops list contacts` shows ids; a phone is safest as +<country code>...
        "#);
        let listed = operate(&db, ["list", "contacts", "--format", "json"]).json();
        assert_eq!(listed, serde_json::json!([]));
        assert_same_snapshot!(operate(&db, ["enroll", PHONE, "--campaign", "acme/chekup"]), @r#"
        exit: 2
        --- stdout
        --- stderr
        error: there is no campaign acme/chekup
        hint: did you mean acme/checkup?
        "#);
        let zone = ["enroll", PHONE, "--campaign", "acme/checkup", "--timezone", "New York"];
        assert!(operate(&db, zone).exits(2).stderr.contains("America/New_York"));
    }

    async fn a_waiting_call_is_cancelled_and_a_live_one_goes_on(db) {
        let store = set_up(&db).await;
        let (waiting, _) = claim(&store, None).await;
        let output = operate(&db, ["cancel", &waiting, "--format", "csv"]);
        assert_same_snapshot!(output, @r#"
        exit: 0
        --- stdout
        call,phone,before,result,slot_freed
        [ulid-1------------------],+18022236942,scheduled,cancelled,true
        --- stderr
        "#);
        assert_eq!(slot_holder(&store).await, None);
        operate(&db, ["cancel", &waiting]).success();
        let (live, attempt) = claim(&store, None).await;
        assert!(dial(&store, &attempt, now()).await);
        operate(&db, ["cancel", &live]).exits(4);
        assert_eq!(call(&store, &live).await.status, CallStatus::Calling);
        operate(&db, ["cancel", &live, "01JD0000000000000000000000"]).exits(2);
        assert_eq!(actions(&store, &format!("call:{waiting}")).await, ["cancel"]);
    }

    async fn a_failed_call_is_tried_again_within_its_slot(db) {
        let store = set_up(&db).await;
        let (id, attempt) = claim(&store, None).await;
        assert!(operate(&db, ["retry", &id]).exits(4).stderr.contains("it is scheduled"));
        assert!(dial(&store, &attempt, now()).await);
        let refused = Seen::Refused {
            class: RefusalClass::Number,
            reason: "no such number".to_owned(),
            retry_at: None,
        };
        observe(&store, &attempt, Evidence::Owner, refused).await;
        assert_eq!(call(&store, &id).await.status, CallStatus::Failed);
        operate(&db, ["retry", &id]).success();
        assert_eq!(call(&store, &id).await.status, CallStatus::Scheduled);
        assert_eq!(actions(&store, &format!("call:{id}")).await, ["retry"]);
        // The second attempt of the same call, whose fate nobody knows.
        let (_, attempt) = claim(&store, Some((&id, 2))).await;
        assert!(dial(&store, &attempt, now()).await);
        observe(&store, &attempt, Evidence::Owner, unknown()).await;
        assert!(operate(&db, ["retry", &id]).exits(4).stderr.contains("nobody knows yet whether it rang"));
        observe(&store, &attempt, Evidence::Timer, Seen::Lost { reason: "a day".to_owned() }).await;
        assert!(operate(&db, ["retry", &id]).exits(4).stderr.contains("its slot stays spent"));
    }

    async fn an_operator_settles_what_is_unknown(db) {
        let store = set_up(&db).await;
        let (id, attempt) = claim(&store, None).await;
        let resolve = |verdict: &'static str, yes: bool| {
            let mut args = vec!["resolve", &attempt, "--as", verdict, "--reason", "by phone"];
            args.extend(yes.then_some("--yes"));
            callops(&db).run(args)
        };
        assert!(resolve("lost", false).exits(4).stderr.contains("nothing was sent"));
        // While its owner may still be sending it, nobody says that nothing rang.
        assert!(dial(&store, &attempt, now()).await);
        assert!(resolve("not_sent", true).exits(4).stderr.contains("being sent at this moment"));
        observe(&store, &attempt, Evidence::Owner, unknown()).await;
        assert_same_snapshot!(resolve("not_sent", false), @r#"
        exit: 5
        --- stdout
        --- stderr
        attempt [ulid-1------------------] to +18022236942 is unknown. Resolved as not_sent, +18022236942 is dialled again: a second time if the first did ring.
        error: not confirmed, so nothing was changed
        hint: give --yes when you are sure that nothing rang
        "#);
        assert_eq!(call(&store, &id).await.status, CallStatus::Calling);
        assert_same_snapshot!(resolve("not_sent", true), @r#"
        exit: 0
        --- stdout
        attempt [ulid-1------------------] to +18022236942 was unknown and is not_sent; its call is scheduled
        --- stderr
        attempt [ulid-1------------------] to +18022236942 is unknown. Resolved as not_sent, +18022236942 is dialled again: a second time if the first did ring.
        "#);
        assert_eq!(call(&store, &id).await.status, CallStatus::Scheduled);
        assert!(resolve("answered", false).exits(4).stderr.contains("which is settled"));
        // The provider's word stands above the operator's.
        observe(&store, &attempt, Evidence::Provider, accepted("p1")).await;
        assert_eq!(call(&store, &id).await.status, CallStatus::Calling);
        assert!(resolve("lost", false).exits(4).stderr.contains("the provider took it"));
        assert_same_snapshot!(resolve("answered", false), @r#"
        exit: 0
        --- stdout
        attempt [ulid-1------------------] to +18022236942 was placed and is ended; its call is completed
        --- stderr
        "#);
        assert_eq!(call(&store, &id).await.status, CallStatus::Completed);
        assert_eq!(actions(&store, &format!("attempt:{attempt}")).await, ["resolve", "resolve"]);
        let mut tx = store.read().await.expect("a transaction");
        let stored = attempts::attempt(&mut tx, &attempt).await.expect("an attempt").expect("an attempt");
        assert_eq!((stored.evidence, stored.reason.as_deref()), (Some(Evidence::Operator), Some("by phone")));
    }
}

#[test]
fn a_missing_database_is_named() {
    let scratch = crate::common::Scratch::new();
    for args in [["pause", "-q"], ["resume", "-q"], ["stop-campaign", "a/b"], ["cancel", "x"], ["retry", "x"]] {
        let output = Callops::new(&scratch).run(args).exits(6);
        assert!(output.stderr.contains("there is no database at"), "{output}");
    }
}
