//! `check-phone`: one answer for each number, from arguments or standard input, with no database.

use crate::common::{Callops, Scratch};

#[test]
fn numbers_given_as_arguments_are_listed() {
    let scratch = Scratch::new();
    let output = Callops::new(&scratch).run(["check-phone", "--region", "US", "802-849-6111 x2", "911", "NULL"]);
    insta::assert_snapshot!(output, @r"
    exit: 4
    --- stdout
     input            e164          extension  reason              zones
     802-849-6111 x2  +18028496111  2                              America/New_York
     911                                       short_or_emergency
     NULL                                      no_phone
    --- stderr
    ");
    let output = Callops::new(&scratch).run(["check-phone", "+49302270123.0", "--format", "json"]).success();
    assert_eq!(
        output.json(),
        serde_json::json!([{"input": "+49302270123.0", "e164": "+49302270123", "extension": null, "reason": null, "zones": ["Europe/Berlin"]}])
    );
}

#[test]
fn standard_input_is_answered_line_by_line() {
    let scratch = Scratch::new();
    let input = b"802-849-6111 x2\r\n\xff\xfe\n\n1.41555E+10\n802-849-6111\n+1 802 849 6111";
    let output = Callops::new(&scratch).stdin(*input).run(["check-phone", "--format", "jsonl", "-"]);
    insta::assert_snapshot!(output, @r#"
    exit: 4
    --- stdout
    {"input":"802-849-6111 x2","e164":null,"extension":null,"reason":"region_needed","zones":null}
    {"input":"��","e164":null,"extension":null,"reason":"not_utf8","zones":null}
    {"input":"","e164":null,"extension":null,"reason":"no_phone","zones":null}
    {"input":"1.41555E+10","e164":null,"extension":null,"reason":"spreadsheet_damage","zones":null}
    {"input":"802-849-6111","e164":null,"extension":null,"reason":"region_needed","zones":null}
    {"input":"+1 802 849 6111","e164":"+18028496111","extension":null,"reason":null,"zones":["America/New_York"]}
    --- stderr
    "#);
    let empty = Callops::new(&scratch).run(["check-phone", "--format", "jsonl", "-"]).success();
    assert_eq!(empty.stdout, "");
}

#[test]
fn a_region_that_is_none_is_a_usage_error() {
    let scratch = Scratch::new();
    let output = Callops::new(&scratch).run(["check-phone", "--region", "Germany", "030 2270123"]);
    insta::assert_snapshot!(output, @r"
    exit: 2
    --- stdout
    --- stderr
    error: unknown region `Germany`: expected a two-letter ISO 3166 country code such as US, GB or DE
    hint: did you mean `--region DE`?
    ");
    Callops::new(&scratch).run(["check-phone"]).exits(2);
}
