//! Where lists come from: standard input, pipes, and files that end too soon.

use std::io::Write as _;
use std::process::Command;

use super::*;

/// Checks what comes through standard input; the summary's counts and the whole output.
fn check_piped(input: &[u8]) -> Output {
    let scratch = Scratch::new();
    let fixed = ["--format=json", "import-contacts", "-", "--dry-run", "--region", "US"];
    Callops::new(&scratch).stdin(input).run(fixed)
}

#[test]
fn a_list_comes_through_a_pipe() {
    let list = "name,phone\nAda,802-223-6942\nBob,802-265-3610\n";
    assert_eq!(counts(&check_piped(list.as_bytes()).success().json()), [2, 2, 0, 0, 0, 0, 0]);
    let utf16: Vec<u8> = list.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(counts(&check_piped(&utf16).success().json()), [2, 2, 0, 0, 0, 0, 0]);
    let empty = check_piped(b"").exits(2);
    assert!(empty.stderr.contains("cannot read standard input: it is empty"), "{empty}");
    // A sender that stops in the middle of a row.
    let cut = check_piped(b"name,phone\nAda,802-223-6942\nBob,802-").exits(4);
    assert_eq!(counts(&cut.json()), [2, 1, 0, 0, 0, 0, 1]);
}

#[cfg(unix)]
#[test]
fn a_sender_may_be_slow() {
    let scratch = Scratch::new();
    let fifo = scratch.path().join("list.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo can be started").success());
    let path = fifo.display().to_string();
    let callops = Callops::new(&scratch);
    let mut running = callops.spawn([
        "--format=json",
        "import-contacts",
        &path,
        "--dry-run",
        "--region",
        "US",
        "--report",
        "report.csv",
    ]);
    // Opened once the command reads it.
    let mut sender = std::fs::OpenOptions::new().write(true).open(&fifo).expect("a reader");
    for piece in ["name,ph", "one\nAda,802-22", "3-6942\nBob,\"802-265", "-3610\"\n"] {
        sender.write_all(piece.as_bytes()).expect("the reader takes it");
        assert!(!running.is_over(), "it did not wait for the end");
        assert!(!scratch.path().join("report.csv.part").exists(), "nothing begins before the list is there");
    }
    drop(sender);
    assert_eq!(counts(&running.wait().success().json()), [2, 2, 0, 0, 0, 0, 0]);
}

on_both_databases! {
    async fn nobody_waits_in_the_database_for_a_slow_sender(db) {
        let store = set_up(&db).await;
        let fifo = db.scratch().path().join("list.fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo can be started").success());
        let running = db.callops().spawn(["import-contacts", "list.fifo", "--tenant", "acme", "--format", "json"]);
        let mut sender = std::fs::OpenOptions::new().write(true).open(&fifo).expect("a reader");
        sender.write_all(b"phone\n802-223-6942\n").expect("the reader takes it");
        // Another import goes on meanwhile, and so would calls.
        let other = db.scratch().write("other.csv", "phone\n802-265-3610\n").display().to_string();
        import(&db, [other.as_str()]).success();
        drop(sender);
        assert_eq!(counts(&running.wait().success().json()), [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(stored(&store).await.len(), 2);
    }

    async fn a_file_that_ends_too_soon_loses_its_last_row_alone(db) {
        let store = set_up(&db).await;
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for (list, reason) in [
            (b"name,phone,note\nAda,802-223-6942,x\nBob,802-265".to_vec(), "ragged_row"),
            (b"name,phone,note\nAda,802-223-6942,x\nBob,802-265-3610,\"x\ny".to_vec(), "unclosed_quote"),
            (b"name,phone,note\nAda,802-223-6942,\xc3\xab\nBob,802-265-3610,\xc3".to_vec(), "bad_encoding"),
            ([utf16("name,phone,note\nAda,802-223-6942,x\nBob,802-265-3610,x"), vec![b'y']].concat(), "bad_encoding"),
            ([utf16("name,phone,note\nAda,802-223-6942,x\nBob,802-265-3610,"), vec![0x3d, 0xd8]].concat(), "bad_encoding"),
        ] {
            db.scratch().write("list.csv", &list);
            let output = import(&db, ["list.csv", "--rejects", "rejects.csv"]).exits(4);
            assert_eq!((counts(&output.json())[0], counts(&output.json())[6]), (2, 1), "{output}");
            assert_eq!(output.json()["reasons"], json!({reason: 1}));
            assert_eq!(stored(&store).await.len(), 1);
            // What there is of the row is in the rejects, and legible.
            let again = import(&db, ["rejects.csv", "--dry-run"]);
            assert_eq!(counts(&again.json())[0], 1, "{again}");
        }
    }

    async fn a_directory_for_temporary_files_that_is_not_there_is_named(db) {
        let store = set_up(&db).await;
        let absent = db.scratch().path().join("absent").display().to_string();
        let callops = db.callops().env("TMPDIR", &absent).stdin("phone\n802-223-6942\n");
        let output = callops.run(["import-contacts", "-", "--tenant", "acme"]);
        assert_eq!(output.code(), Some(6), "{output}");
        let wanted = format!("cannot read standard input: a temporary file in {absent} cannot be written or read");
        assert!(output.stderr.contains(&wanted) && output.stderr.contains("TMPDIR"), "{output}");
        // No room for it is no other failure than a database without room.
        let list = format!("phone,note\n802-223-6942,{}\n", "x".repeat(2 << 20));
        let callops = db.callops().stdin(list).file_size_limit(2048);
        let output = callops.run(["import-contacts", "-", "--tenant", "acme"]).exits(7);
        assert!(output.stderr.contains("a temporary file in"), "{output}");
        assert_eq!(stored(&store).await.len(), 0);
    }
}

#[test]
fn records_that_are_no_rows_of_a_contact_are_counted() {
    let wide = ["x"; 3000].join(",");
    for (list, wanted) in [
        // As many quotes as one likes, a NUL in each place, rows of any width.
        (
            format!("name,phone\n\"Ada\"\"\",802-223-6942\n\"B\"ob\",802-265-3610\n{wide}\n\n\nx\n"),
            [4, 2, 0, 0, 0, 0, 2],
        ),
        ("na\u{0}me,phone\nAda,802-223-6942\n".to_owned(), [0; 7]),
        ("name,phone\n\u{0},802-223-6942\nAda,802\u{0}2236942\n".to_owned(), [2, 0, 0, 0, 0, 0, 2]),
    ] {
        let (summary, output) = check(list.as_bytes(), &["--region", "US"]);
        if wanted == [0; 7] {
            assert_eq!(output.code(), Some(2), "{output}");
            assert!(output.stderr.contains("the header (line 1) is not UTF-8 text"), "{output}");
        } else {
            assert_eq!(summary, Some(wanted), "{output}");
        }
    }
}
