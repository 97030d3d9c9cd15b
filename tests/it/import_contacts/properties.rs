//! What holds whatever a list says.

use super::*;
use proptest::prelude::*;

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("802-223-6942".to_owned()),
        Just("802-223-6942 x2".to_owned()),
        Just("802-265-3610 / 802-223-6942".to_owned()),
        Just("NULL".to_owned()),
        Just("1.4E+10".to_owned()),
        Just("\"".to_owned()),
        Just("\"a\nb\"".to_owned()),
        "[0-9,;\"\n\r +.x\u{0}]{0,14}",
        any::<String>().prop_map(|text| text.chars().take(12).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever stands below a header, every record has exactly one line in the report, and the counts add up.
    #[test]
    fn every_record_is_accounted_for(rows in prop::collection::vec(prop::collection::vec(cell(), 1..5), 0..40)) {
        let body: String = rows.iter().map(|row| row.join(",") + "\n").collect();
        let scratch = Scratch::new();
        let path = scratch.write("list.csv", format!("phone,name,x\n{body}")).display().to_string();
        let output = Callops::new(&scratch).run([
            "import-contacts", &path, "--dry-run", "--region", "US", "--report", "report.csv", "--format", "json",
        ]);
        prop_assert!(matches!(output.code(), Some(0 | 4)), "{}", output);
        let counts = counts(&output.json());
        let report = read_csv(&std::fs::read_to_string(scratch.path().join("report.csv")).expect("a report"));
        prop_assert_eq!(report.len() as u64, counts[0]);
        for (index, line) in report.iter().enumerate() {
            prop_assert_eq!(&line["record"], &(index + 1).to_string());
            prop_assert_eq!(line["e164"].is_empty(), line["result"] == "rejected");
        }
        for (verdict, count) in [("created", counts[1]), ("duplicate", counts[5]), ("rejected", counts[6])] {
            prop_assert_eq!(report.iter().filter(|line| line["result"] == verdict).count() as u64, count);
        }
    }
}
