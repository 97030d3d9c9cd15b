//! Zones that a list gives, or its numbers leave open.

use super::*;

on_both_databases! {
    async fn rows_that_no_window_suits_are_said(db) {
        let store = set_up(&db).await;
        // A place, a satellite, a Russian mobile that may be anywhere in eleven zones, and one with its zone.
        let list = "phone,timezone\n802-223-6942,\n+88213300301,\n+79161234567,\n+79161234568,Europe/Moscow\n";
        let list = db.scratch().write("list.csv", list).display().to_string();
        let output = import(&db, [&list, "--campaign", "checkup"]).success();
        let warnings: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("warning:")).collect();
        assert_eq!(warnings.len(), 2, "{output}");
        assert!(warnings[0].starts_with("warning: of 1 rows no time zone is known"), "{output}");
        assert!(warnings[1].starts_with("warning: 1 rows may be in zones so far apart"), "{output}");
        // What the number plan says is not stored, so a zone that is given is never lost to it.
        assert_eq!(contact(&store, "+18022236942").await.timezone, None);
        let again = db.scratch().write("again.csv", "phone\n+79161234568\n").display().to_string();
        assert_eq!(counts(&import(&db, [again.as_str()]).success().json()), [1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(contact(&store, "+79161234568").await.timezone.as_deref(), Some("Europe/Moscow"));
    }
}
