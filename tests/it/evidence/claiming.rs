//! Who may dial: claims and commits against capacity, slots, phones, buttons and each other.

use super::*;

on_both_databases! {
    async fn a_commit_to_dial_asks_again_for_everything(db) {
        let story = begin(db).await;
        let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
        let ids = claim(&story, &plans(&story).await).await.attempts;
        let now = story.now();
        let (past, later) = (now - TimeDelta::seconds(1), now + TimeDelta::hours(9));
        let refused = async |why: &str| {
            assert!(commit(&story, &ids, OWNER, now).await.is_empty(), "{why}");
            assert_eq!(attempt(&story, &ids[0]).await.state, AttemptState::Claimed, "{why}");
        };
        // Each alone, and taken back afterwards: in the end nothing else is left to refuse.
        assert!(commit(&story, &ids, "run-2", now).await.is_empty(), "another run's claim");
        sql(&story, "UPDATE attempts SET lease_until = $1", Some(now)).await;
        refused("the lease ended").await;
        sql(&story, "UPDATE attempts SET lease_until = $1", Some(later)).await;
        let dial_before = "2026-11-16T21:58:00Z".parse().expect("an instant");
        assert!(commit(&story, &ids, OWNER, dial_before).await.is_empty(), "two minutes before the window closes");
        for scope in ["all", "tenant:acme"] {
            story.write(async |tx| control::pause(tx, scope, None, now).await).await;
            refused(scope).await;
            story.write(async |tx| control::resume(tx, scope).await).await;
        }
        let changes: &[(&str, &'static str, &'static str)] = &[
            ("stopped", "UPDATE campaigns SET active = FALSE", "UPDATE campaigns SET active = TRUE"),
            (
                "rules changed",
                "UPDATE campaigns SET rules_version = rules_version + 1",
                "UPDATE campaigns SET rules_version = rules_version - 1",
            ),
            (
                "contact changed",
                "UPDATE contacts SET version = version + 1",
                "UPDATE contacts SET version = version - 1",
            ),
            (
                "phone changed",
                "UPDATE contacts SET phone = '+12025550199'",
                "UPDATE contacts SET phone = '+12025550101'",
            ),
            (
                "cancelled",
                "UPDATE calls SET status = 'cancelled'",
                "UPDATE calls SET status = 'scheduled'",
            ),
        ];
        for (why, change, undo) in changes {
            sql(&story, change, None).await;
            refused(why).await;
            sql(&story, undo, None).await;
        }
        let suppressions: &[(&str, &'static str)] = &[
            ("the number", "INSERT INTO suppressions VALUES ('s', 'acme', '+12025550101', FALSE, 'r', 's', $1, NULL)"),
            ("everywhere", "INSERT INTO suppressions VALUES ('s', '', '+12025550101', FALSE, 'r', 's', $1, NULL)"),
            ("its prefix", "INSERT INTO suppressions VALUES ('s', 'acme', '+1202', TRUE, 'r', 's', $1, NULL)"),
        ];
        for (why, insert) in suppressions {
            sql(&story, insert, Some(past)).await;
            refused(why).await;
            sql(&story, "UPDATE suppressions SET expires_at = $1", Some(now + TimeDelta::seconds(1))).await;
            refused("not expired yet").await;
            sql(&story, "DELETE FROM suppressions", None).await;
        }
        for (hold, release) in [
            ("UPDATE accounts SET held_until = $1", "UPDATE accounts SET held_until = NULL"),
            ("UPDATE campaigns SET held_until = $1", "UPDATE campaigns SET held_until = NULL"),
        ] {
            sql(&story, hold, Some(now + TimeDelta::seconds(1))).await;
            refused(hold).await;
            sql(&story, release, None).await;
        }
        // What concerns others, or is over, does not matter.
        story.write(async |tx| control::pause(tx, "tenant:other", None, now).await).await;
        sql(&story, "INSERT INTO suppressions VALUES ('a', 'other', '+12025550101', FALSE, 'r', 's', $1, NULL)", Some(past)).await;
        sql(&story, "INSERT INTO suppressions VALUES ('b', 'acme', '+1202', FALSE, 'not a prefix', 's', $1, NULL)", Some(past)).await;
        sql(&story, "INSERT INTO suppressions VALUES ('c', 'acme', '+12025550101', FALSE, 'expired', 's', $1, $1)", Some(past)).await;
        sql(&story, "UPDATE accounts SET held_until = $1", Some(now)).await;
        assert_eq!(commit(&story, &ids, OWNER, now).await, ids);
        let placed = attempt(&story, &ids[0]).await;
        assert_eq!((placed.state, placed.placing_at, placed.may_have_rung), (AttemptState::Placing, Some(now), true));
        let call = story.only_call().await;
        assert_eq!((call.status, call.contact_id), (CallStatus::Calling, ada.id));
        assert!(commit(&story, &ids, OWNER, now).await.is_empty(), "once");
    }

    async fn a_claim_takes_what_the_account_can_hold(db) {
        let story = begin(db).await;
        for n in 0..5 {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
        }
        let planned = plans(&story).await;
        story.put_account("acme-vapi", "env:ACME_KEY", 2).await;
        let claimed = claim(&story, &planned).await;
        assert_eq!((claimed.attempts.len(), claimed.no_capacity.len()), (2, 3));
        assert_eq!(claim(&story, &planned[2..]).await.no_capacity.len(), 3, "full");
        assert_eq!(count(&story, "SELECT count(*) FROM calls").await, 2, "the others leave nothing behind");
        story.put_account("acme-vapi", "env:ACME_KEY", 100).await;
        sql(&story, "UPDATE accounts SET calls_per_minute = 3", None).await;
        let claimed = claim(&story, &planned[2..]).await;
        assert_eq!((claimed.attempts.len(), claimed.no_capacity.len()), (1, 2), "three a minute, claims included");
        sql(&story, "UPDATE accounts SET calls_per_minute = NULL", None).await;
        assert_eq!(claim(&story, &planned[3..]).await.attempts.len(), 2);
    }

    async fn an_attempt_that_comes_back_to_life_counts_against_its_account(db) {
        let story = begin(db).await;
        for n in 0..4 {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
        }
        story.put_account("acme-vapi", "env:ACME_KEY", 2).await;
        let planned = plans(&story).await;
        let now = story.now();
        let mut dialled = Vec::new();
        for claims in planned[..3].chunks(1) {
            let claimed = claim(&story, claims).await;
            let ids = commit(&story, &claimed.attempts, OWNER, now).await;
            assert_eq!(ids.len(), 1, "there is room: {claimed:?}");
            let lost = Seen::Lost { reason: "unknown for 24 hours".to_owned() };
            let refused =
                Seen::Refused { class: RefusalClass::Number, reason: "no such number".to_owned(), retry_at: None };
            let observations = match dialled.len() {
                0 => vec![
                    seen(&ids[0], Evidence::Owner, now, Seen::Unknown { reason: "no answer".to_owned() }),
                    seen(&ids[0], Evidence::Timer, now, lost),
                ],
                1 => vec![seen(&ids[0], Evidence::Owner, now, refused)],
                _ => Vec::new(),
            };
            apply(&story, &observations).await;
            dialled.extend(ids);
        }
        apply(&story, &[seen(&dialled[0], Evidence::Provider, now, accepted(&dialled[0]))]).await;
        assert_eq!(count(&story, "SELECT count(*) FROM attempts WHERE live").await, 2);
        let claimed = claim(&story, &planned[3..]).await;
        assert_eq!((claimed.attempts.len(), claimed.no_capacity.len()), (0, 1), "{claimed:?}");
    }

    async fn a_slot_or_a_phone_that_is_taken_is_not_claimed(db) {
        let story = begin(db).await;
        story.campaign("survey", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup", "survey"]).await;
        let first = plans(&story).await;
        let again = plans(&story).await;
        assert_eq!(first.len(), 2);
        assert_eq!(claim(&story, &first[..1]).await.attempts.len(), 1);
        let slot = claim(&story, &again[..1]).await;
        assert_eq!((slot.slot_taken.len(), slot.attempts.len()), (1, 0), "{slot:?}");
        let other = claim(&story, &first[1..]).await;
        assert_eq!((other.phone_taken.len(), other.attempts.len()), (1, 0), "{other:?}");
        for table in ["SELECT count(*) FROM calls", "SELECT count(*) FROM slots", "SELECT count(*) FROM attempts"] {
            assert_eq!(count(&story, table).await, 1, "{table}");
        }
        // Rung and over: the other campaign's plan is older than that and must not be acted on.
        let id = first[0].attempt_id.clone();
        let now = story.now();
        commit(&story, std::slice::from_ref(&id), OWNER, now).await;
        apply(&story, &[seen(&id, Evidence::Provider, now, ended(&id, Outcome::Answered, now))]).await;
        let stale = claim(&story, &again[1..]).await;
        assert_eq!((stale.phone_taken.len(), stale.attempts.len()), (1, 0), "rang since the plan: {stale:?}");
        assert_eq!(count(&story, "SELECT count(*) FROM calls").await, 1);
        assert_eq!(count(&story, "SELECT count(*) FROM attempts").await, 1);
    }

    async fn a_retry_of_a_call_that_does_not_wait_is_not_claimed(db) {
        let story = begin(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let id = placing(&story).await.remove(0);
        let now = story.now();
        apply(&story, &[seen(&id, Evidence::Provider, now, ended(&id, Outcome::Busy, now))]).await;
        story.wait(TimeDelta::hours(2));
        let retry = plans(&story).await;
        let call = story.only_call().await.id;
        let now = story.now();
        story.write(async |tx| calls::cancel(tx, std::slice::from_ref(&call), now).await).await;
        let claimed = claim(&story, &retry).await;
        assert!(claimed.attempts.is_empty(), "{claimed:?}");
        assert_eq!(count(&story, "SELECT count(*) FROM attempts").await, 1);
        assert_eq!(count(&story, "SELECT count(*) FROM slots").await, 1, "spent for good: it rang");
        assert_eq!(story.only_call().await.status, CallStatus::Cancelled);
    }

    async fn runs_that_claim_the_same_people_at_once_get_each_of_them_once(db) {
        const RUNS: usize = 6;
        let story = begin(db).await;
        for n in 0..50 {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
        }
        let mut planned = Vec::new();
        for _ in 0..RUNS {
            planned.push(plans(&story).await);
        }
        let (barrier, now) = (Barrier::new(RUNS), story.now());
        let (barrier, story) = (&barrier, &story);
        let won: Vec<usize> = std::thread::scope(|scope| {
            let runs: Vec<_> = planned
                .iter()
                .enumerate()
                .map(|(n, claims)| {
                    scope.spawn(move || {
                        block_on(async move || {
                            let db = story.app.connect(1, false).await.expect("the database");
                            // Half of them from the other end, so that they meet in the middle.
                            let mut claims = claims.clone();
                            if n % 2 == 1 {
                                claims.reverse();
                            }
                            let owner = format!("run-{n}");
                            let mut won = 0;
                            barrier.wait();
                            for batch in claims.chunks(7) {
                                let lease_until = now + TimeDelta::seconds(60);
                                let claimed = db
                                    .write(async |tx| claims::claim(tx, "acme-vapi", batch, &owner, lease_until, now).await)
                                    .await
                                    .expect("a claim");
                                won += claimed.attempts.len();
                            }
                            db.close().await;
                            won
                        })
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a run")).collect()
        });
        assert_eq!(won.iter().sum::<usize>(), 50, "{won:?}");
        for statement in [
            "SELECT count(*) FROM calls",
            "SELECT count(*) FROM slots",
            "SELECT count(*) FROM attempts",
            "SELECT count(DISTINCT phone) FROM attempts",
            "SELECT count(DISTINCT phone) FROM slots",
        ] {
            assert_eq!(count(story, statement).await, 50, "{statement}");
        }
    }

    async fn nothing_is_placed_once_a_pause_has_returned(db) {
        const RUNS: usize = 3;
        let story = begin(db).await;
        for n in 0..60 {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
        }
        let ids = claim(&story, &plans(&story).await).await.attempts;
        assert_eq!(ids.len(), 60);
        let (barrier, now) = (Barrier::new(RUNS + 1), story.now());
        let (barrier, story, ids) = (&barrier, &story, &ids);
        let at_pause = std::thread::scope(|scope| {
            for batch in ids.chunks(60 / RUNS) {
                scope.spawn(move || {
                    block_on(async move || {
                        let db = story.app.connect(1, false).await.expect("the database");
                        barrier.wait();
                        for id in batch {
                            let one = std::slice::from_ref(id);
                            db.write(async |tx| claims::commit_to_dial(tx, one, OWNER, now).await).await.expect("a commit");
                        }
                        db.close().await;
                    });
                });
            }
            let pause = scope.spawn(move || {
                block_on(async move || {
                    let db = story.app.connect(1, false).await.expect("the database");
                    barrier.wait();
                    db.write(async |tx| control::pause(tx, "all", None, now).await).await.expect("a pause");
                    let mut tx = db.read().await.expect("a transaction");
                    let placed = control::placing_since(&mut tx, None, None, DateTime::UNIX_EPOCH).await.expect("a count");
                    drop(tx);
                    db.close().await;
                    placed
                })
            });
            pause.join().expect("a pause")
        });
        assert_eq!(count(story, "SELECT count(*) FROM attempts WHERE state = 'placing'").await, at_pause);
    }

    /// On SQLite one transaction writes at a time, so that there is nothing to wait for.
    async fn a_pause_waits_for_a_commit_that_is_under_way(db) {
        let story = begin(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let ids = claim(&story, &plans(&story).await).await.attempts;
        let now = story.now();
        let Db::Postgres(..) = story.db().await else { return };
        let mut dialling = story.db().await.begin().await.expect("a transaction");
        assert_eq!(claims::commit_to_dial(&mut dialling, &ids, OWNER, now).await.expect("a commit"), ids);
        let mut pausing = story.db().await.begin().await.expect("a transaction");
        if let Tx::Postgres(tx) = &mut pausing {
            sqlx::query("SET LOCAL lock_timeout = '300ms'").execute(&mut **tx).await.expect("a setting");
        }
        let early = control::pause(&mut pausing, "all", None, now).await;
        assert!(early.is_err(), "a pause that returned would have let a dial through behind it");
        drop(pausing);
        dialling.commit().await.expect("a commit");
        story.write(async |tx| control::pause(tx, "all", None, now).await).await;
    }
}
