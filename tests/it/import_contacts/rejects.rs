//! Rows that cannot be used, in the report and in the file of rejected rows.

use super::*;

on_both_databases! {
    async fn rejected_rows_can_be_mended_and_imported_again(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write(
            "list.csv",
            b"\xef\xbb\xbfname;phone;note\r\nAda;802-223-6942;\r\nBob;80226536;\"a;\"\"b\"\"\nc\"\r\nEva;802-755-6100\r\nM\xff;802-467-3717;x\r\nZed;NULL;\r\n",
        );
        let list = list.display().to_string();
        let output = import(&db, [&list, "--rejects", "rejects.csv", "--encoding", "utf-8"]).exits(4);
        assert_eq!(counts(&output.json()), [5, 1, 0, 0, 0, 0, 4]);
        assert_eq!(output.json()["reasons"], json!({"no_phone": 1, "bad_encoding": 1, "ragged_row": 1, "too_short": 1}));
        let path = db.scratch().path().join("rejects.csv");
        let rejects = std::fs::read(&path).expect("rejects");
        let want = b"\xef\xbb\xbfname;phone;note;callops_line;callops_reason\r\nBob;80226536;\"a;\"\"b\"\"\nc\";3;too_short\r\nEva;802-755-6100;;5;ragged_row\r\nM\xff;802-467-3717;x;6;bad_encoding\r\nZed;NULL;;7;no_phone\r\n";
        assert_eq!(String::from_utf8_lossy(&rejects), String::from_utf8_lossy(want));
        assert_eq!(rejects, want);

        let mended = String::from_utf8_lossy(&rejects).replace("80226536;", "802-265-3610;").replace('\u{fffd}', "ü");
        std::fs::write(&path, mended).expect("a file");
        let again = import(&db, ["rejects.csv", "--rejects", "rest.csv"]).exits(4);
        assert_eq!(counts(&again.json()), [4, 3, 0, 0, 0, 0, 1]);
        assert_eq!(contact(&store, "+18022653610").await.attributes, "{\"note\":\"a;\\\"b\\\"\\nc\"}");
        assert_eq!(contact(&store, "+18024673717").await.name.as_deref(), Some("Mü"));
        let rest = std::fs::read_to_string(db.scratch().path().join("rest.csv")).expect("rejects");
        assert_eq!(rest, "\u{feff}name;phone;note;callops_line;callops_reason\r\nZed;NULL;;6;no_phone\r\n");
    }

    async fn what_an_open_quote_swallowed_is_no_name_the_second_time(db) {
        let store = set_up(&db).await;
        let list = db.scratch().write("list.csv", "phone,name\n\"802-223-6942,Ada\n802-265-3610,Bob\n802-755-6100,Eva\n");
        let list = list.display().to_string();
        let first = import(&db, [&list, "--rejects", "rejects.csv"]).exits(4).json();
        assert_eq!((&first["rejected"], &first["reasons"]), (&json!(1), &json!({"unclosed_quote": 1})));
        let again = import(&db, ["rejects.csv"]).exits(4).json();
        assert_eq!((&again["rows"], &again["created"], &again["rejected"]), (&json!(1), &json!(0), &json!(1)));
        assert_eq!(stored(&store).await.len(), 0);
    }
}

#[test]
fn bad_rows_are_counted_and_said() {
    let mut list = b"name,phone,timezone,preferred_time\n".to_vec();
    for row in [
        "Zoë Ünal,802-223-6942,,".as_bytes(),
        b"short,802-265-3610",
        b"long,802-265-3610,,,,",
        b"nul\0,802-265-3610,,",
        b"latin\xe9,802-265-3610,,",
        b"zone,802-265-3610,America/New York,",
        b"time,802-265-3610,,9am",
        b"float,1.41555E+10,,",
        b"twice,(802) 223-6942,,",
        b"extension,802-223-6942 x7,,",
    ] {
        list.extend_from_slice(row);
        list.push(b'\n');
    }
    list.extend_from_slice(b"open,\"802-265-3610,,\nlost,802-265-3610,,\n");
    let scratch = Scratch::new();
    let path = scratch.write("list.csv", &list).display().to_string();
    let output = Callops::new(&scratch).run([
        "import-contacts",
        &path,
        "--dry-run",
        "--region",
        "US",
        "--report",
        "report.csv",
        "--format",
        "jsonl",
    ]);
    insta::assert_snapshot!(output, @r#"
    exit: 4
    --- stdout
    {"import":null,"file":"[DIR]/list.csv","tenant":null,"campaign":null,"dry_run":true,"rows":11,"created":1,"updated":0,"unchanged":0,"skipped":0,"duplicate":2,"rejected":8,"enrolled":0,"reasons":{"ragged_row":2,"bad_encoding":1,"invalid_preferred_time":1,"invalid_timezone":1,"nul_byte":1,"spreadsheet_damage":1,"unclosed_quote":1}}
    --- stderr
    reading UTF-8, cells parted by `,`
    columns: phone = `phone`, name = `name`, timezone = `timezone`, preferred_time = `preferred_time`; 0 more as attributes
    line 3: the row has 2 cells where the header has 4
    line 4: the row has 6 cells where the header has 4
    line 5: column `name` holds a NUL character
    line 6: column `name` is no text in the list's encoding from its byte 6 on
    line 7: "America/New York" is no IANA time zone (did you mean America/New_York?)
    rejected 8: 2 ragged_row, 1 bad_encoding, 1 invalid_preferred_time, 1 invalid_timezone, 1 nul_byte, 1 spreadsheet_damage, 1 unclosed_quote
    "#);
    let report = std::fs::read_to_string(scratch.path().join("report.csv")).expect("a report");
    insta::assert_snapshot!(report, @r#"
    record,line,result,e164,extension,alternates,reason
    1,2,created,+18022236942,,,
    2,3,rejected,,,,ragged_row
    3,4,rejected,,,,ragged_row
    4,5,rejected,,,,nul_byte
    5,6,rejected,,,,bad_encoding
    6,7,rejected,,,,invalid_timezone
    7,8,rejected,,,,invalid_preferred_time
    8,9,rejected,,,,spreadsheet_damage
    9,10,duplicate,+18022236942,,,same_phone_as_line_2
    10,11,duplicate,+18022236942,7,,same_phone_other_extension_as_line_2
    11,12,rejected,,,,unclosed_quote
    "#);
}
