//! What is read in Vapi's answers.

use super::*;

fn report(json: &str) -> CallReport {
    report_of(serde_json::from_str(json).unwrap()).unwrap()
}

#[test]
fn records_are_read_leniently() {
    let call = report(
        r#"{"id": "7420f27a-30fd-4f49-a995-5549ae7cc00d", "assistantId": "5b0a", "phoneNumberId": "42b4",
        "type": "outboundPhoneCall", "createdAt": "2024-09-10T11:14:12.339Z", "orgId": "eb16", "cost": 0,
        "customer": {"number": "+12345678913"}, "status": "queued", "monitor": {"listenUrl": "wss://x"}}"#,
    );
    assert_eq!(call.state, ProviderState::Queued);
    assert_eq!(call.created_at, Some("2024-09-10T11:14:12.339Z".parse().unwrap()));
    assert_eq!((call.org_id.as_deref(), call.to.as_deref()), (Some("eb16"), Some("+12345678913")));
    assert_eq!((call.correlation, call.outcome, call.cost_usd), (None, None, Some(0.0)));

    let call = report(
        r#"{"id": "a", "status": "ended", "endedReason": "customer-ended-call", "cost": 0.15,
        "customer": {"externalId": "01JD"}, "startedAt": "2026-07-16T18:00:00.000Z", "endedAt": "soon",
        "analysis": {"summary": "S"}, "artifact": {"transcript": "T", "messages": []}}"#,
    );
    assert_eq!(call.outcome, Some(Outcome::Answered));
    assert_eq!((call.summary.as_deref(), call.transcript.as_deref()), (Some("S"), Some("T")));
    assert_eq!((call.correlation.as_deref(), call.ended_at), (Some("01JD"), None));
    assert!(!call.never_rang);

    let call = report(r#"{"id": "a", "status": "teleported", "cost": "free", "createdAt": 7, "customer": null}"#);
    assert_eq!(call.state, ProviderState::Other("teleported".to_owned()));
    assert_eq!(report(r#"{"id": "a", "status": "not-found"}"#).state, ProviderState::Missing);
    assert_eq!(report(r#"{"id": "a", "status": "ended"}"#).outcome, Some(Outcome::Unknown));
    assert!(report_of(json!({"status": "ended"})).is_none());
}

#[test]
fn a_record_is_complete_once_it_has_an_end_a_cost_and_an_analysis_of_a_conversation() {
    let complete = |json: &str| report(json).is_complete;
    let talk = r#"{"id": "a", "status": "ended", "endedReason": "voicemail", "cost": 0.1, "analysis": {},
        "startedAt": "2026-11-16T15:00:10Z", "endedAt": "2026-11-16T15:01:10Z"}"#;
    assert!(complete(talk));
    assert!(!complete(&talk.replace("\"ended\"", "\"in-progress\"")));
    for key in ["cost", "analysis", "endedReason", "endedAt"] {
        assert!(!complete(&talk.replace(&format!("\"{key}\""), "\"x\"")), "{key}");
    }
    assert!(!complete(&talk.replace("0.1", "0")), "it is not charged yet");
    let busy = r#"{"id": "a", "status": "ended", "endedReason": "customer-busy", "cost": 0,
        "endedAt": "2026-11-16T15:01:10Z"}"#;
    assert!(complete(busy), "there is nothing to charge or to analyse");
    assert!(!complete(&busy.replace("\"cost\"", "\"x\"")), "a message about the end, without the record");
}

fn judged(status: u16, body: &str) -> DialAnswer {
    judge(&Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() })
}

#[test]
fn an_acceptance_needs_an_id_and_may_be_queued() {
    let free = r#"{"subscriptionLimits": {"concurrencyBlocked": false, "concurrencyLimit": 10,
        "remainingConcurrentCalls": 9}, "id": "019a9046-121e-766d-bd1f-84f3ccc309c1", "status": "queued"}"#;
    assert!(matches!(judged(201, free), DialAnswer::Accepted { queued: false, org_id: None, .. }));
    let blocked = r#"{"subscriptionLimits": {"concurrencyBlocked": true}, "id": "a", "status": "queued"}"#;
    assert!(matches!(judged(201, blocked), DialAnswer::Accepted { queued: true, .. }));
    assert!(matches!(judged(200, r#"{"id": "a", "status": "scheduled"}"#), DialAnswer::Accepted { queued: true, .. }));
    for body in ["", "{}", "<html>", r#"{"id": ""}"#, r#"{"id": 7}"#, r#"{"results": [], "errors": []}"#] {
        assert!(matches!(judged(201, body), DialAnswer::Unknown { .. }), "{body}");
    }
}

#[test]
fn statuses_that_prove_nothing_are_unknown() {
    for status in [100, 202, 204, 301, 302, 307, 408, 409, 499, 500, 502, 503, 504, 520, 599] {
        assert!(matches!(judged(status, "{}"), DialAnswer::Unknown { .. }), "{status}");
    }
}

#[test]
fn a_bad_request_is_the_campaigns_unless_it_names_another_culprit() {
    let number = "customer.number must be a valid phone number in the E.164 format.";
    for (message, class) in [
        (json!([number]), RefusalClass::Number),
        (json!(number), RefusalClass::Number),
        (json!(["customer.extension must be shorter than or equal to 10 characters"]), RefusalClass::Number),
        (json!([number, "property metadata should not exist"]), RefusalClass::Campaign),
        (json!(["customer.property number should not exist"]), RefusalClass::Campaign),
        (json!(["phoneNumberId must be a UUID"]), RefusalClass::Campaign),
        (json!("Couldn't get phone number."), RefusalClass::Campaign),
        (json!([]), RefusalClass::Campaign),
        (json!(7), RefusalClass::Campaign),
        (json!("Your wallet balance is too low"), RefusalClass::Account),
        (json!("Over Concurrency Limit"), RefusalClass::Capacity),
    ] {
        let body = json!({"message": message, "error": "Bad Request", "statusCode": 400}).to_string();
        assert_eq!(class_of_message(body.as_bytes()), class, "{message}");
    }
    assert_eq!(class_of_message(br#"{"error": "Over Concurrency Limit"}"#), RefusalClass::Capacity);
    assert_eq!(class_of_message(b"<html>no</html>"), RefusalClass::Campaign);
    assert_eq!(class_of_message(b""), RefusalClass::Campaign);
}

/// A body like one that the service sends, spoilt.
fn spoilt(random: &mut fastrand::Rng) -> Vec<u8> {
    const SAMPLES: [&str; 4] = [
        r#"{"id": "019a9046", "orgId": "o", "status": "queued", "subscriptionLimits": {"concurrencyBlocked": true}}"#,
        r#"{"message": ["customer.number must be a valid phone number"], "error": "Bad Request", "statusCode": 400}"#,
        r#"{"message": "Over Concurrency Limit", "statusCode": 400}"#,
        r#"{"results": [], "errors": [{"message": "wallet"}]}"#,
    ];
    const WORDS: [&str; 8] = ["null", "\"\"", "7", "[]", "{}", "\"\\u0000\"", "\"id\"", "\"scheduled\""];
    let mut body = SAMPLES[random.usize(..SAMPLES.len())].as_bytes().to_vec();
    for _ in 0..random.u8(..4) {
        let at = random.usize(..=body.len());
        match random.u8(..4) {
            0 => body.truncate(at),
            1 => body.insert(at, random.u8(..)),
            2 => drop(body.splice(at..at, WORDS[random.usize(..WORDS.len())].bytes())),
            _ => drop(body.splice(at.saturating_sub(random.usize(..9))..at, *b"")),
        }
    }
    body
}

#[test]
fn whatever_is_answered_is_judged_by_the_rules() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let status =
            [100, 200, 201, 204, 302, 400, 401, 402, 404, 408, 409, 422, 429, 499, 500, 503][random.usize(..16)];
        let body = spoilt(&mut random);
        let shown = || format!("seed {seed}: {status} {}", body.escape_ascii());
        match judge(&Answer { status, body: body.clone(), ..Answer::default() }) {
            DialAnswer::Accepted { provider_call_id, .. } => {
                accepted += 1;
                assert!((200..300).contains(&status) && !provider_call_id.is_empty(), "{}", shown());
                assert!(!provider_call_id.contains('\0'), "{}", shown());
            }
            DialAnswer::Refused { .. } => {
                refused += 1;
                assert!((400..500).contains(&status) && ![408, 409, 499].contains(&status), "{}", shown());
            }
            DialAnswer::Unknown { reason } => assert!(!reason.is_empty(), "{}", shown()),
            other => panic!("{other:?}: {}", shown()),
        }
        if let Some(report) = serde_json::from_slice(&body).ok().and_then(report_of) {
            assert!(!report.provider_call_id.is_empty(), "{}", shown());
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} {refused}");
}
