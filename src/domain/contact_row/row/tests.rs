use super::*;

fn joined(cells: &[impl AsRef<[u8]>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let ends = cells.iter().map(|cell| {
        bytes.extend_from_slice(cell.as_ref());
        bytes.len()
    });
    let ends = ends.collect();
    (bytes, ends)
}

fn read(header: &[&str], cells: &[&str], region: &str) -> Result<ContactRow, RowProblem> {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let region = (!region.is_empty()).then(|| region.parse().unwrap());
    let reader = RowReader::new(Mapping::new(&header, &[]).unwrap(), region, CallAlso::default());
    let (bytes, ends) = joined(cells);
    reader.read(Cells::new(&bytes, &ends))
}

#[test]
fn a_row_becomes_a_contact() {
    let row = read(
        &["First Name", "Last Name", "Phone", "E-Mail", "Time Zone", "Preferred_Time", "External ID", "Plan", "x"],
        &["Ada", "Lovelace", "802-223-6942 x1", "ada@example.com", "america/new_york", "9:30", "A-1", "gold", " "],
        "US",
    )
    .unwrap();
    assert_eq!(row.phone.as_str(), "+18022236942");
    assert_eq!(row.extension.as_deref(), Some("1"));
    assert_eq!(row.name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(row.email.as_deref(), Some("ada@example.com"));
    assert_eq!(row.timezone.unwrap().name(), "America/New_York");
    assert_eq!(row.preferred_time.unwrap().to_string(), "09:30");
    assert_eq!(row.external_id.as_deref(), Some("A-1"));
    assert_eq!(row.attributes, r#"{"Plan":"gold"}"#);
}

#[test]
fn an_extension_may_have_a_column_of_its_own() {
    for (phone, cell, want) in [
        ("802-223-6942", "101", Some("101")),
        ("802-223-6942", "x 101", Some("101")),
        ("802-223-6942", "Ext. 007", Some("007")),
        ("802-223-6942", "101.0", Some("101")),
        ("802-223-6942", "n/a", None),
        // What stands behind the number is surer.
        ("802-223-6942 x1", "2", Some("1")),
    ] {
        let row = read(&["Phone", "Ext."], &[phone, cell], "US").unwrap();
        assert_eq!(row.extension.as_deref(), want, "{phone} {cell}");
        assert!(row.attributes.is_empty());
    }
    for cell in ["front desk", "12 or 13", "1-2", "123456789012345678901", "ext"] {
        let problem = read(&["Phone", "Ext."], &["802-223-6942", cell], "US").unwrap_err();
        assert_eq!(problem.reason.code(), "invalid_extension", "{cell}");
    }
}

#[test]
fn an_apostrophe_before_a_formula_is_a_spreadsheets_and_goes() {
    let row = read(&["phone", "name", "'=note"], &["'+18022236942", "''=x", "'-1"], "").unwrap();
    assert_eq!((row.phone.as_str(), row.name.as_deref()), ("+18022236942", Some("'=x")));
    assert_eq!(row.attributes, r#"{"=note":"-1"}"#);
}

#[test]
fn a_us_name_is_a_zone() {
    let zone = |cell| read(&["phone", "timezone"], &["802-223-6942", cell], "US").unwrap().timezone.unwrap().name();
    assert_eq!(zone("Eastern"), "America/New_York");
    assert_eq!(zone("EST"), "America/New_York");
    assert_eq!(zone("US/Pacific"), "US/Pacific");
}

#[test]
fn words_for_nothing_are_nothing() {
    let row = read(&["phone", "name", "email", "notes", "hours"], &["+18022236942", "NULL", "n/a", "none", "NULL"], "");
    let row = row.unwrap();
    assert_eq!((row.name, row.email), (None, None));
    assert_eq!(row.attributes, r#"{"notes":"none"}"#);
}

#[test]
fn a_rows_country_wins_and_an_unknown_one_is_not_replaced() {
    let header = ["phone", "country"];
    assert_eq!(read(&header, &["030 2270123", "Germany"], "US").unwrap().phone.as_str(), "+49302270123");
    assert_eq!(read(&header, &["802-223-6942", ""], "US").unwrap().phone.as_str(), "+18022236942");
    let problem = read(&header, &["802-223-6942", "Atlantis"], "US").unwrap_err();
    assert_eq!(problem.reason.code(), "unknown_region");
    assert!(problem.detail.contains("`Atlantis`"));
    assert_eq!(read(&header, &["+1 802-223-6942", "Atlantis"], "").unwrap().phone.as_str(), "+18022236942");
    assert_eq!(read(&header, &["802-223-6942", ""], "").unwrap_err().reason.code(), "region_needed");
    assert_eq!(read(&header, &["61 220 1234", "NA"], "US").unwrap().phone.as_str(), "+264612201234");
}

#[test]
fn a_code_that_may_be_a_state_decides_nothing() {
    for (header, phone, code) in [
        ("region", "302-227-0123", "DE"),
        ("Region", "317-636-1234", "IN"),
        ("Land", "303-555-0188", "CO"),
        ("region", "512-555-0188", "TX"),
    ] {
        let problem = read(&["phone", header], &[phone, code], "US").unwrap_err();
        assert_eq!(problem.reason.code(), "ambiguous_region", "{code}");
        assert!(problem.detail.contains("--map state="), "{}", problem.detail);
    }
    let header = ["phone", "region"];
    assert_eq!(read(&header, &["802-223-6942", "US"], "US").unwrap().phone.as_str(), "+18022236942");
    assert_eq!(read(&header, &["030 2270123", "Germany"], "US").unwrap().phone.as_str(), "+49302270123");
    assert_eq!(read(&header, &["+49 30 2270123", "BE"], "US").unwrap().phone.as_str(), "+49302270123");
    let names = header.map(str::to_owned);
    let mapping = Mapping::new(&names, &[(Field::Region, "region".to_owned())]).unwrap();
    let (bytes, ends) = joined(&["030 2270123", "DE"]);
    let reader = RowReader::new(mapping, None, CallAlso::default());
    assert_eq!(reader.read(Cells::new(&bytes, &ends)).unwrap().phone.as_str(), "+49302270123");
}

#[test]
fn of_several_numbers_the_first_is_taken_and_the_others_kept() {
    for cell in [
        "802-223-6942 / 802-265-3610",
        "802-223-6942; 802-265-3610",
        "802-223-6942 or 802-265-3610",
        "802-223-6942\n802-265-3610",
        "802-223-6942/802-265-3610/802-223-6942",
        "802-223-6942, 802-265-3610",
        "123-456-7890 / 802-223-6942 / 802-265-3610",
    ] {
        let row = read(&["phone"], &[cell], "US").unwrap();
        assert_eq!(row.phone.as_str(), "+18022236942", "{cell}");
        assert_eq!(row.alternates.iter().map(Phone::as_str).collect::<Vec<_>>(), ["+18022653610"], "{cell}");
        assert_eq!(row.attributes, r#"{"alternate_phones":"+18022653610"}"#);
    }
    let header = ["phone", "alternate_phones"];
    for (own, want) in [("+14165550100", "+14165550100"), ("", "+18022653610")] {
        let row = read(&header, &["802-223-6942 / 802-265-3610", own], "US").unwrap();
        assert_eq!(row.attributes, format!(r#"{{"alternate_phones":"{want}"}}"#));
    }
    let row = read(&["phone"], &["+49 30 2270123 / 24"], "").unwrap();
    assert_eq!((row.phone.as_str(), row.alternates.len()), ("+49302270123", 0));
    assert!(read(&["phone"], &["030/2270123/2270124"], "DE").is_err());
    for (cell, code) in [
        ("+49302270123,5", "spreadsheet_damage"),
        ("fax 030 2270127, 030 2270128", "fax"),
        ("fax 030 2270127 / 030 2270128", "fax"),
    ] {
        assert_eq!(read(&["phone"], &[cell], "DE").unwrap_err().reason.code(), code, "{cell}");
    }
    assert_eq!(read(&["phone"], &["030 / 2270123"], "DE").unwrap().phone.as_str(), "+49302270123");
    assert_eq!(read(&["phone"], &["123 / 456"], "US").unwrap_err().reason.code(), "too_short");
}

#[test]
fn each_broken_row_has_its_reason() {
    let header = ["phone", "timezone", "preferred_time"];
    let good = "+18022236942";
    for (cells, code) in [
        (&[good, "America/New York", ""][..], "invalid_timezone"),
        (&[good, "EST5EDT4", ""], "invalid_timezone"),
        (&[good, "Mountain", ""], "invalid_timezone"),
        (&["+61291234567", "EST", ""], "invalid_timezone"),
        (&[good, "", "25:00"], "invalid_preferred_time"),
        (&[good, "", "noon"], "invalid_preferred_time"),
        (&[good, ""], "ragged_row"),
        (&[good, "", "", "more"], "ragged_row"),
        (&[good, "a\0b", ""], "nul_byte"),
        (&["", "", ""], "no_phone"),
        (&["1.41555E+10", "", ""], "spreadsheet_damage"),
        (&["911", "", ""], "short_or_emergency"),
        (&["900-234-5678", "", ""], "premium_rate"),
    ] {
        assert_eq!(read(&header, cells, "US").unwrap_err().reason.code(), code, "{cells:?}");
    }
    let mapping = Mapping::new(&["phone".to_owned()], &[]).unwrap();
    let (bytes, ends) = joined(&[b"+1\xff"]);
    let problem = RowReader::new(mapping, None, CallAlso::default()).read(Cells::new(&bytes, &ends)).unwrap_err();
    assert_eq!(problem.reason.code(), "bad_encoding");
    // Half a letter in each of two cells is no letter, though one behind the other they would be.
    let mapping = Mapping::new(&["phone".to_owned(), "name".to_owned()], &[]).unwrap();
    let (bytes, ends) = joined(&[b"+18022236942\xc3", &b"\xa9"[..]]);
    let problem = RowReader::new(mapping, None, CallAlso::default()).read(Cells::new(&bytes, &ends)).unwrap_err();
    assert_eq!(problem.reason.code(), "bad_encoding");
    assert!(read(&header, &[good, "", "9:30:00"], "").unwrap().preferred_time.unwrap().to_string() == "09:30");
}
