//! The report, the summary and what is said agree, whatever policy decides.

use super::*;

/// One line of a report: record, line, result, phone, extension, alternates, reason.
fn report(database: &TestDatabase) -> Vec<[String; 7]> {
    let columns = ["record", "line", "result", "e164", "extension", "alternates", "reason"];
    let text = std::fs::read_to_string(database.scratch().path().join("report.csv")).expect("a report");
    assert!(text.starts_with(&format!("{}\n", columns.join(","))), "{text:.200}");
    read_csv(&text).into_iter().map(|line| columns.map(|column| line[column].clone())).collect()
}

/// What the report counts, in the order of [`counts`].
fn counted(report: &[[String; 7]]) -> [u64; 7] {
    let of = |result: &str| report.iter().filter(|line| line[2] == result).count() as u64;
    let verdicts = ["created", "updated", "unchanged", "skipped", "duplicate", "rejected"].map(of);
    [&[report.len() as u64], &verdicts[..]].concat().try_into().expect("seven")
}

fn lines(report: &[[String; 7]]) -> Vec<String> {
    report.iter().map(|line| line.join(",")).collect()
}

on_both_databases! {
    async fn the_report_says_what_each_policy_did(db) {
        let store = set_up(&db).await;
        db.scratch().write("list.csv", "name,phone\nAda,802-223-6942\nBob,802-265-3610\n");
        import(&db, ["list.csv"]).success();
        db.scratch().write(
            "list.csv",
            "name,phone\nEva,802-223-6942\nBob,802-265-3610\n\nCarl,802-755-6100 x5\nCarl,802-755-6100 x6\nX,911\nCarl,(802) 755-6100 x5\n",
        );
        let rest = |carl: &str| {
            [
                format!("3,5,{carl},+18027556100,5,,"),
                "4,6,duplicate,+18027556100,6,,same_phone_other_extension_as_line_5".to_owned(),
                "5,7,rejected,,,,short_or_emergency".to_owned(),
                "6,8,duplicate,+18027556100,5,,same_phone_as_line_5".to_owned(),
            ]
        };
        let failed = import(&db, ["list.csv", "--on-existing", "fail", "--report", "report.csv"]).exits(5);
        assert!(failed.stderr.contains("line 2: +18022236942 is a contact of acme already"), "{failed}");
        assert!(!db.scratch().path().join("report.csv").exists());
        assert_eq!(stored(&store).await.len(), 2);
        for (options, first, second, carl) in [
            (&["--on-existing", "skip", "--dry-run"][..], "skipped", "skipped", "created"),
            (&["--dry-run"], "updated", "unchanged", "created"),
            (&["--on-existing", "skip"], "skipped", "skipped", "created"),
            (&["--on-existing", "update"], "updated", "unchanged", "unchanged"),
            (&[], "unchanged", "unchanged", "unchanged"),
        ] {
            let args = ["list.csv", "--report", "report.csv"].into_iter().chain(options.iter().copied());
            let output = import(&db, args).exits(4);
            let report = report(&db);
            let mut wanted = vec![format!("1,2,{first},+18022236942,,,"), format!("2,3,{second},+18022653610,,,")];
            wanted.extend(rest(carl));
            assert_eq!(lines(&report), wanted, "{options:?}");
            assert_eq!(counted(&report), counts(&output.json()), "{options:?}");
        }
        assert_eq!(contact(&store, "+18022236942").await.name.as_deref(), Some("Eva"));
        assert_eq!(contact(&store, "+18027556100").await.extension.as_deref(), Some("5"));
    }

    async fn further_numbers_of_a_cell_are_kept_and_told(db) {
        let store = set_up(&db).await;
        db.scratch().write(
            "list.csv",
            "phone,note\n802-223-6942 / 802-265-3610,a\n802-755-6100; 802-467-3717,b\n802-849-6111 or 802-748-4336,c\n\
             \"802-888-4455\n802-222-5400\",d\n802-372-8890 / 12,e\n",
        );
        let output = import(&db, ["list.csv", "--report", "report.csv"]).success();
        let said = "4 rows have several valid numbers in one cell: the first is called, the others are kept as the \
                    attribute `alternate_phones`";
        assert!(output.stderr.contains(said), "{output}");
        for ((first, other), line) in [
            ("+18022236942", "+18022653610"),
            ("+18027556100", "+18024673717"),
            ("+18028496111", "+18027484336"),
            ("+18028884455", "+18022225400"),
        ]
        .into_iter()
        .zip(&report(&db))
        {
            assert_eq!((line[3].as_str(), line[5].as_str()), (first, other));
            let attributes: Value = serde_json::from_str(&contact(&store, first).await.attributes).expect("JSON");
            assert_eq!(attributes["alternate_phones"], other);
        }
        assert_eq!(stored(&store).await.len(), 5);
    }

    async fn a_long_report_has_a_line_for_each_record(db) {
        // Over the borders of what is read, written and looked up at once: 8192 rows.
        const ROWS: usize = 20_000;
        set_up(&db).await;
        let phone = |row: usize| format!("+1802{}{:04}", 223 + row / 10_000, row % 10_000);
        let mut text = String::from("name,phone\n");
        let mut wanted = Vec::new();
        let mut line = 2;
        for row in 0..ROWS {
            let number = row + 1;
            // Every tenth is not valid, every seventh has the number of the first row of all, which is long gone.
            let (cell, told) = if row % 10 == 9 {
                ("ask".to_owned(), format!("{number},{line},rejected,,,,not_a_number"))
            } else if row % 7 == 6 {
                (phone(0), format!("{number},{line},duplicate,{},,,same_phone_as_line_2", phone(0)))
            } else {
                (phone(row), format!("{number},{line},created,{},,,", phone(row)))
            };
            wanted.push(told);
            let name = if row % 100 == 50 { "\"two\nlines\"" } else { "Ada" };
            text += &format!("{name},{cell}\n");
            line += if row % 100 == 50 { 2 } else { 1 };
        }
        db.scratch().write("list.csv", &text);
        let output = import(&db, ["list.csv", "--report", "report.csv"]).exits(4);
        let told = report(&db);
        assert_eq!(counted(&told), counts(&output.json()));
        for (told, wanted) in lines(&told).iter().zip(&wanted) {
            assert_eq!(told, wanted);
        }
        assert_eq!(told.len(), ROWS);
        // Again, every row that made a contact meets it.
        let again = import(&db, ["list.csv", "--report", "report.csv"]).exits(4);
        assert_eq!(counted(&report(&db)), counts(&again.json()));
        assert_eq!(counts(&again.json())[3], counts(&output.json())[1]);
    }

    async fn a_dry_run_shows_the_first_changes(db) {
        let store = set_up(&db).await;
        db.scratch().write("list.csv", "name,phone,plan\nAda,802-223-6942,gold\n");
        import(&db, ["list.csv"]).success();
        let mut text = String::from("name,phone,plan\nEva,802-223-6942,silver\n");
        for row in 0..20 {
            text += &format!("New {row},802-265-36{row:02},\n");
        }
        db.scratch().write("list.csv", text);
        let dry = import(&db, ["list.csv", "--dry-run"]).success();
        let shown: Vec<&str> = dry.stderr.lines().filter(|line| line.starts_with(['~', '+'])).collect();
        assert_eq!(shown.len(), 10, "{dry}");
        assert!(shown.contains(&r#"~ line 2: +18022236942 name: "Ada" -> "Eva", plan: "gold" -> "silver""#), "{dry}");
        assert!(shown.contains(&r#"+ line 3: +18022653600 "New 0""#), "{dry}");
        assert_eq!(dry.json()["changes"].as_array().map(Vec::len), Some(10));
        assert_eq!(stored(&store).await.len(), 1);
        assert_eq!(contact(&store, "+18022236942").await.version, 1);
    }

    async fn a_zone_that_was_given_outlives_a_list_without_zones(db) {
        let store = set_up(&db).await;
        db.scratch().write("with.csv", "name,phone,timezone\nAda,802-223-6942,America/Chicago\n");
        db.scratch().write("without.csv", "name,phone\nAda L.,802-223-6942\n");
        db.scratch().write("empty.csv", "name,phone,timezone\nAda M.,802-223-6942,\n");
        for (list, name) in [("with.csv", "Ada"), ("without.csv", "Ada L."), ("empty.csv", "Ada M.")] {
            import(&db, [list]).success();
            let ada = contact(&store, "+18022236942").await;
            assert_eq!(ada.name.as_deref(), Some(name));
            assert_eq!(
                (ada.timezone.as_deref(), ada.timezone_source.as_deref()),
                (Some("America/Chicago"), Some("given")),
                "{list}"
            );
        }
    }
}
