//! What goes wrong on the way: files that are no lists, full disks, kills, others who import at the same time.

use super::*;

on_both_databases! {
    async fn a_killed_import_leaves_nothing(db) {
        const ROWS: u64 = 20_000;
        let store = set_up(&db).await;
        let rows: Vec<String> = (0..ROWS).map(|i| format!("802-{}-{:04}", 223 + i / 10_000, i % 10_000)).collect();
        let rows = rows.join("\n");
        let list = db.scratch().write("list.csv", format!("phone\n{rows}")).display().to_string();
        let callops = db.callops();
        let mut running = callops.spawn(["import-contacts", &list, "--tenant", "acme", "--report", "report.csv"]);
        // The report grows with every batch, and has its name only once the import is done.
        let report = db.scratch().path().join("report.csv.part");
        let grown = || std::fs::metadata(&report).is_ok_and(|metadata| metadata.len() >= 50_000);
        let is_under_way = (0..60_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            grown()
        });
        assert!(is_under_way, "the import never began to write its report");
        running.kill();
        assert_eq!(running.wait().code(), None, "it was killed before its end");
        assert_eq!(stored(&store).await.len(), 0);
        assert!(!db.scratch().path().join("report.csv").exists());
        let again = import(&db, [list.as_str()]);
        assert_eq!(counts(&again.json())[0], ROWS);
        assert_eq!(counts(&again.json())[1] + counts(&again.json())[6], ROWS);
    }

    async fn a_full_disk_is_an_error_before_anything_is_imported(db) {
        let store = set_up(&db).await;
        let list = example("us_vermont_town_offices.csv");
        for option in ["--report", "--rejects"] {
            let output = import(&db, [&list, option, "/dev/full"]);
            assert_eq!(output.code(), Some(7), "{output}");
            assert!(output.stderr.contains("cannot write /dev/full: No space left on device"), "{output}");
        }
        assert_eq!(stored(&store).await.len(), 0);
    }

    async fn two_imports_at_once_both_account_for_every_row(db) {
        let store = set_up(&db).await;
        let list = example("us_vermont_town_offices.csv");
        let callops = db.callops();
        let args = ["import-contacts", &list, "--tenant", "acme", "--campaign", "checkup", "--format", "json"];
        let running = [callops.spawn(args), callops.spawn(args), callops.spawn(args)];
        let mut created = 0;
        for one in running {
            let counts = counts(&one.wait().exits(4).json());
            assert_eq!((counts[0], counts[1] + counts[3], counts[6]), (255, 246, 9));
            created += counts[1];
        }
        assert_eq!((created, stored(&store).await.len(), enrolled(&store).await), (246, 246, 246));
    }
}

#[test]
fn cells_of_a_megabyte_are_no_trouble() {
    let list = format!("note,phone\n\"{}\",802-223-6942\nx,{}\n", "z\n".repeat(500_000), "8".repeat(1_000_000));
    let (summary, output) = check(list.as_bytes(), &["--region", "US"]);
    assert_eq!(summary, Some([2, 1, 0, 0, 0, 0, 1]));
    assert_eq!(output.json()["reasons"], json!({"not_a_number": 1}));
    assert!(output.stderr.len() < 2000, "{}", output.stderr.len());
}

#[test]
fn what_is_no_list_is_a_usage_error() {
    for (list, says) in [
        (&b""[..], "it is empty"),
        (b"\xef\xbb\xbf\n", "it is empty"),
        (b"PK\x03\x04", "workbook"),
        (b"caf\xe9\n1\n", "the columns are: `café`"),
        (b"\"phone\n1\n2\n", "never closed"),
    ] {
        let (_, output) = check(list, &[]);
        assert_eq!(output.code(), Some(2), "{output}");
        assert!(output.stderr.contains(says) && output.stderr.contains("list.csv"), "{says}: {output}");
    }
    let scratch = Scratch::new();
    let directory = scratch.path().display().to_string();
    let output = Callops::new(&scratch).run(["import-contacts", &directory, "--dry-run"]).exits(2);
    assert!(output.stderr.contains("it is a directory"), "{output}");
    let output = Callops::new(&scratch).run(["import-contacts", "absent.csv", "--dry-run"]).exits(2);
    assert!(output.stderr.contains("absent.csv"), "{output}");
    // A header and nothing else is a list of nobody.
    assert_eq!(check(b"phone,name\n", &[]).0, Some([0; 7]));
}

#[test]
fn a_file_is_never_written_over_the_list_or_left_half_done() {
    let scratch = Scratch::new();
    let list = scratch.write("list.csv", "phone\n+18022236942\n").display().to_string();
    for option in ["--rejects", "--report"] {
        let output = Callops::new(&scratch).run(["import-contacts", &list, "--dry-run", option, "list.csv"]).exits(2);
        assert!(output.stderr.contains("is the list itself"), "{output}");
    }
    assert_eq!(std::fs::read_to_string(&list).expect("the list"), "phone\n+18022236942\n");
    let absent = Callops::new(&scratch).run(["import-contacts", &list, "--dry-run", "--report", "no/such/report.csv"]);
    assert!(absent.exits(2).stderr.contains("cannot write no/such/report.csv"));
    let bad = scratch.write("bad.csv", format!("phone\n+18022236942\n\"{}", "z".repeat(17 << 20)));
    let bad = bad.display().to_string();
    let output = Callops::new(&scratch).run(["import-contacts", &bad, "--dry-run", "--report", "report.csv"]).exits(2);
    assert!(output.stderr.contains("line 3: a record is longer than 16 MiB"), "{output}");
    assert!(!scratch.path().join("report.csv").exists() && !scratch.path().join("report.csv.part").exists());
}
