//! Lists as they are written: what each reads as.

use super::*;

/// Compares a report with what Google's library makes of every row of the same list.
fn agrees_with_expected(report: &str, file: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/expected");
    let expected = std::fs::read_to_string(folder.join(format!("{file}.expected.csv"))).expect("expected results");
    let (expected, report) = (read_csv(&expected), read_csv(report));
    assert_eq!(expected.len(), report.len());
    for (want, got) in expected.iter().zip(&report) {
        assert_eq!((&want["record"], &want["e164"], &want["ext"]), (&got["record"], &got["e164"], &got["extension"]));
        let result = match (want["class"].as_str(), want["dup_of_first"].as_str()) {
            ("valid", "") => "created",
            ("valid", _) => "duplicate",
            _ => "rejected",
        };
        assert_eq!(got["result"], result, "{want:?}");
        if result == "rejected" {
            assert_eq!(got["reason"], "no_phone");
        }
        if result == "duplicate" {
            let first = want["dup_of_first"].parse::<usize>().expect("a record") - 1;
            assert!(got["reason"].ends_with(&format!("_as_line_{}", report[first]["line"])), "{got:?}");
        }
    }
}

on_both_databases! {
    async fn real_lists_agree_with_googles_library(db) {
        let store = set_up(&db).await;
        for (file, want) in [
            ("us_congress_district_offices", [1312, 1204, 0, 0, 0, 76, 32]),
            ("us_vermont_town_offices", [255, 246, 0, 0, 0, 0, 9]),
        ] {
            let list = example(&format!("{file}.csv"));
            let output = import(&db, [&list, "--campaign", "checkup", "--report", "report.csv"]).exits(4);
            let summary = output.json();
            assert_eq!(counts(&summary), want, "{file}");
            assert_eq!(summary["enrolled"], want[1]);
            let report = std::fs::read_to_string(db.scratch().path().join("report.csv")).expect("a report");
            agrees_with_expected(&report, file);

            // The same list again: nothing new, and nobody is enrolled twice.
            let again = import(&db, [&list, "--campaign", "acme/checkup"]).exits(4).json();
            assert_eq!(counts(&again), [want[0], 0, 0, want[1], 0, want[5], want[6]], "{file}");
            assert_eq!(again["enrolled"], 0);
        }
        let stored = stored(&store).await;
        assert_eq!((stored.len(), enrolled(&store).await), (1450, 1450));
        assert!(stored.iter().all(|contact| contact.version == 1 && Phone::from_e164(&contact.phone).is_ok()));
        let town = contact(&store, "+18028496111").await;
        assert_eq!(town.extension.as_deref(), Some("2"));
        let attributes: Value = serde_json::from_str(&town.attributes).expect("JSON");
        assert_eq!(attributes["Mailing_State"], "VT");
        assert!(attributes["Location 1"].as_str().expect("text").contains('\n'));
        assert!(!town.attributes.contains("\"NULL\""));
    }
}

#[test]
fn a_list_is_checked_without_tenant_configuration_or_database() {
    let (summary, output) = check(b"phone\n802-223-6942\n802 223 6942 x5\n911\n", &["--region", "US"]);
    assert_eq!(summary, Some([3, 1, 0, 0, 0, 1, 1]));
    assert_eq!(output.code(), Some(4));
    // With no region, national numbers are refused rather than guessed.
    let (summary, output) = check(b"phone\n802-223-6942\n+1 802 223 6942\n", &[]);
    assert_eq!(summary, Some([2, 1, 0, 0, 0, 0, 1]));
    assert_eq!(output.json()["reasons"], json!({"region_needed": 1}));
    // A tenant is needed for the real thing.
    let scratch = Scratch::new();
    let list = scratch.write("list.csv", "phone\n+18022236942\n").display().to_string();
    Callops::new(&scratch).run(["import-contacts", &list]).exits(2);
    // A dry run goes on without the database; the real thing does not.
    let url = scratch.path().join("none.db").display().to_string();
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", &url);
    callops.run(["import-contacts", &list, "--tenant", "acme", "--dry-run"]).success();
    callops.run(["import-contacts", &list, "--tenant", "acme"]).exits(6);
    assert!(!scratch.path().join("none.db").exists());
}

#[test]
fn however_a_list_is_written_it_reads_the_same() {
    let list = "name,phone\n\"Ada\nL.\",802-223-6942\nBob,802-265-3610\n";
    for variant in [
        list.to_owned(),
        format!("\u{feff}{list}"),
        list.replace('\n', "\r\n"),
        list.trim_end().to_owned(),
        list.replace(',', ";"),
        list.replace(',', "\t"),
        list.replace(',', "|"),
        format!("sep=;\n{}", list.replace(',', ";")),
        list.replace("\nBob", "\n\n\nBob"),
    ] {
        let (summary, output) = check(variant.as_bytes(), &["--region", "US"]);
        assert_eq!(summary, Some([2, 2, 0, 0, 0, 0, 0]), "{variant:?} {output}");
    }
}

#[test]
fn a_column_is_named_when_it_is_not_found() {
    let list = b"Name,Mobile #,Office_Fax,Work Fax\nAda,802-223-6942,802-265-3610,802-265-3610\n";
    let (summary, _) = check(list, &["--region", "US", "--map", "phone=Mobile #"]);
    assert_eq!(summary, Some([1, 1, 0, 0, 0, 0, 0]));
    let scratch = Scratch::new();
    let path = scratch.write("list.csv", "Name,Contact,Office_Fax\nAda,802-223-6942,802-265-3610\n");
    let run = |map: &[&str]| {
        let path = path.display().to_string();
        let fixed = ["import-contacts", path.as_str(), "--dry-run"];
        Callops::new(&scratch).run(fixed.into_iter().chain(map.iter().copied()))
    };
    insta::assert_snapshot!(run(&[]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: [DIR]/list.csv: no column looks like phone numbers; the columns are: `Name`, `Contact`, `Office_Fax`
    hint: say which one it is with --map phone="COLUMN"; a list without a header wants --header no
    "#);
    insta::assert_snapshot!(run(&["--map", "phone=Contacts"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: [DIR]/list.csv: there is no column `Contacts` for phone; the columns are: `Name`, `Contact`, `Office_Fax`
    hint: did you mean `--map phone="Contact"`?
    "#);
    insta::assert_snapshot!(run(&["--map", "fone=Contact"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: `--map fone=Contact`: there is no field `fone`
    hint: did you mean `--map phone=Contact`?
    "#);
    insta::assert_snapshot!(run(&["--map", "phone"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: `--map phone` is not FIELD=COLUMN
    hint: for example --map phone="Mobile #"
    "#);
}
