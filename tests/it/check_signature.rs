//! `check-signature`: what the providers' own libraries say of the same deliveries.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{Callops, Output, Scratch};

fn vectors(scheme: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/signatures/{scheme}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("vectors")).expect("JSON")
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("no {key} in {case}"))
}

/// Runs the command on a body; the answer agrees with the exit code.
fn check(body: &[u8], args: &[&str]) -> (bool, Output) {
    let scratch = Scratch::new();
    let path = scratch.write("body", body).display().to_string();
    let fixed = ["check-signature", "--format", "json", "--body-file", &path];
    let output = Callops::new(&scratch).run(fixed.into_iter().chain(args.iter().copied()));
    let answer = output.json();
    let is_valid = answer["valid"].as_bool().unwrap_or_else(|| panic!("no answer: {output}"));
    assert_eq!(output.code(), Some(if is_valid { 0 } else { 3 }), "{output}");
    assert_eq!(answer["reason"].is_null(), is_valid, "{output}");
    (is_valid, output)
}

#[test]
fn stripe() {
    let vectors = vectors("stripe");
    for case in vectors["cases"].as_array().expect("cases") {
        let header = format!("Stripe-Signature: {}", text(case, "header"));
        let (now, tolerance) = (case["now"].to_string(), case["tolerance_s"].to_string());
        let body = case.get("payload").or_else(|| case.get("body")).and_then(Value::as_str).expect("a body");
        let (is_valid, output) = check(
            body.as_bytes(),
            &[
                "--scheme",
                "stripe",
                "--secret",
                text(case, "secret"),
                "--header",
                &header,
                "--at",
                &now,
                "--tolerance",
                &tolerance,
            ],
        );
        assert_eq!(is_valid, case["expect"] == "valid", "{}: {output}", case["name"]);
    }
}

#[test]
fn twilio() {
    let vectors = vectors("twilio");
    for case in vectors["cases"].as_array().expect("cases") {
        let header = format!("X-Twilio-Signature: {}", text(case, "signature"));
        let mut args = vec![
            "--scheme",
            "twilio",
            "--secret",
            text(case, "auth_token"),
            "--header",
            &header,
            "--url",
            text(case, "url"),
        ];
        let body = if let Some(body) = case["json_body"].as_str() {
            body.to_owned()
        } else {
            args.push("--form");
            let pairs = case["params"].as_array().expect("parameters").iter();
            let pair = |pair: &Value| {
                (pair[0].as_str().expect("a name").to_owned(), pair[1].as_str().expect("a value").to_owned())
            };
            form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.map(pair)).finish()
        };
        let (is_valid, output) = check(body.as_bytes(), &args);
        assert_eq!(is_valid, case["expect"] == "valid", "{}: {output}", case["name"]);
    }
}

#[test]
fn livekit() {
    let vectors = vectors("livekit");
    for case in vectors["cases"].as_array().expect("cases") {
        let header = format!("Authorization: {}", text(case, "authorization"));
        let now = case["now"].to_string();
        let (is_valid, output) = check(
            text(case, "body").as_bytes(),
            &[
                "--scheme",
                "livekit",
                "--key",
                text(case, "api_key"),
                "--secret",
                text(case, "api_secret"),
                "--header",
                &header,
                "--at",
                &now,
            ],
        );
        assert_eq!(is_valid, case["expect"] == "valid", "{}: {output}", case["name"]);
    }
}

#[test]
fn elevenlabs_and_vapi() {
    for case in vectors("elevenlabs")["vectors"].as_array().expect("vectors") {
        let header = format!("ElevenLabs-Signature: {}", text(case, "header"));
        let args = [
            "--scheme",
            "elevenlabs",
            "--secret",
            text(case, "secret"),
            "--header",
            &header,
            "--at",
            text(case, "timestamp"),
        ];
        let body = text(case, "raw_body");
        assert!(check(body.as_bytes(), &args).0, "{case}");
        let (is_valid, output) = check(format!("{body} ").as_bytes(), &args);
        assert!(
            !is_valid && output.json()["reason"].as_str().is_some_and(|reason| reason.contains("other bytes")),
            "{output}"
        );
    }
    let vapi = vectors("vapi");
    let [usual, planned] = [&vapi["vectors"][0], &vapi["vectors"][1]];
    let time = format!("X-Timestamp: {}", text(usual, "x-timestamp"));
    let signature = format!("x-signature: {}", text(usual, "x-signature"));
    let fixed = ["--scheme", "vapi", "--secret", "test_secret", "--at", "1739537300"];
    let args = [&fixed[..], &["--header", &time, "--header", &signature]].concat();
    assert!(check(text(usual, "raw_body").as_bytes(), &args).0);
    let signature = format!("X-Vapi-Signature: {}", text(planned, "x-vapi-signature"));
    let plan = json!({"header": "x-vapi-signature", "payload": "{body}", "prefix": "sha256="}).to_string();
    let args = [&fixed[..], &["--header", &signature, "--plan", &plan]].concat();
    assert!(check(text(planned, "raw_body").as_bytes(), &args).0);
    assert!(check(b"{}", &[&fixed[..], &["--header", "X-Vapi-Secret: test_secret"]].concat()).0);
    assert!(!check(b"{}", &[&fixed[..], &["--header", "X-Vapi-Secret: test_secreT"]].concat()).0);
}

/// At the border of what is too old, and too far ahead, as each provider documents it.
#[test]
fn ages() {
    const SIGNED_AT: i64 = 1_700_000_000;
    let hmac = |message: String| {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").expect("a key");
        mac.update(message.as_bytes());
        callops::domain::signature::to_hex(&mac.finalize().into_bytes())
    };
    let signature = hmac(format!("{SIGNED_AT}.{{}}"));
    let stripe = format!("Stripe-Signature: t={SIGNED_AT},v1={signature}");
    let elevenlabs = format!("ElevenLabs-Signature: t={SIGNED_AT},v0={signature}");
    let own = [format!("X-Webhook-Signature: {signature}"), format!("X-Webhook-Timestamp: {SIGNED_AT}")];
    // Seconds from the signature to its arrival.
    for (later, stripe_valid, elevenlabs_valid, own_valid) in [
        (-301, true, true, false),
        (-300, true, true, true),
        (300, true, true, true),
        (301, false, true, false),
        (1800, false, true, false),
        (1801, false, false, false),
    ] {
        let at = (SIGNED_AT + later).to_string();
        let valid = |scheme: &str, headers: &[&str]| {
            let mut args = vec!["--scheme", scheme, "--secret", "s3cret", "--at", &at];
            for header in headers {
                args.extend(["--header", *header]);
            }
            let (is_valid, output) = check(b"{}", &args);
            assert!(
                is_valid || output.json()["reason"].as_str().is_some_and(|reason| reason.contains("s away")),
                "{output}"
            );
            is_valid
        };
        assert_eq!(valid("stripe", &[&stripe]), stripe_valid, "stripe {later}");
        assert_eq!(valid("elevenlabs", &[&elevenlabs]), elevenlabs_valid, "elevenlabs {later}");
        assert_eq!(valid("callops", &[&own[0], &own[1]]), own_valid, "callops {later}");
    }
}

#[test]
fn a_wrong_use_is_told_from_a_wrong_signature() {
    let scratch = Scratch::new();
    let body = scratch.write("body", "{}").display().to_string();
    let run = |args: &[&str]| {
        let fixed = ["check-signature", "--scheme", "stripe", "--body-file", &body];
        Callops::new(&scratch).run(fixed.into_iter().chain(args.iter().copied()))
    };
    let output = run(&["--secret", "s"]).exits(3);
    assert_eq!(output.stdout, "not valid: the header stripe-signature is missing\n");
    assert!(run(&["--secret", "env:CALLOPS_NO_SUCH_SECRET"]).exits(6).stderr.contains("CALLOPS_NO_SUCH_SECRET"));
    assert!(run(&["--secret", "s", "--header", "no colon"]).exits(2).stderr.contains("Name: value"));
    assert!(run(&["--secret", "s", "--at", "soon"]).exits(2).stderr.contains("no time"));
    let absent =
        ["check-signature", "--scheme", "twilio", "--secret", "s", "--body-file", "absent", "--url", "https://x"];
    assert!(Callops::new(&scratch).run(absent).exits(2).stderr.contains("--body-file absent"));
    Callops::new(&scratch)
        .run(["check-signature", "--scheme", "livekit", "--secret", "s", "--body-file", &body])
        .exits(2);
}
