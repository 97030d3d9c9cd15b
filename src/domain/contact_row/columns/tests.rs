use super::*;
use proptest::prelude::*;

fn map(header: &[&str], explicit: &[(Field, &str)]) -> Result<Mapping, MappingProblem> {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let explicit: Vec<(Field, String)> = explicit.iter().map(|(field, name)| (*field, (*name).to_owned())).collect();
    Mapping::new(&header, &explicit)
}

fn phone_of(header: &[&str]) -> Option<String> {
    map(header, &[]).ok().map(|m| m.columns()[m.column_of(Field::Phone).unwrap()].clone())
}

#[test]
fn phone_columns_are_found_by_their_names() {
    for (header, want) in [
        (&["id", "fax", "phone", "city"][..], "phone"),
        (&["Town_Name", "Office_Fax", "Office_Phone"], "Office_Phone"),
        (&["Name", "Phone Number"], "Phone Number"),
        (&["Nom", "Téléphone"], "Téléphone"),
        (&["Name", "TELEFON"], "TELEFON"),
        (&["Name", "Tel."], "Tel."),
        (&["Name", "Mobile"], "Mobile"),
        (&["Mobile", "Phone"], "Phone"),
        (&["Home Phone", "Mobile", "Work Phone"], "Mobile"),
        (&["Name", "Phone 1 - Type", "Phone 1 - Value"], "Phone 1 - Value"),
        (&["Customer Phone #", "Phone Type"], "Customer Phone #"),
        (&["customerPhone"], "customerPhone"),
        (&["氏名", "電話番号"], "電話番号"),
    ] {
        assert_eq!(phone_of(header).as_deref(), Some(want), "{header:?}");
    }
}

#[test]
fn a_fax_is_never_the_phone() {
    for header in [&["fax"][..], &["Fax Phone"], &["Phone/Fax"], &["telefax"], &["Office_Fax", "name"]] {
        assert!(matches!(map(header, &[]), Err(MappingProblem::NoPhoneColumn { .. })), "{header:?}");
    }
    for header in ["phone_type", "phone verified", "last phone call date", "country phone code", "headphones", "hotel"]
    {
        assert_eq!(phone_of(&[header]), None, "{header}");
    }
}

#[test]
fn an_explicit_column_wins_and_must_exist() {
    let mapping = map(&["phone", "Mobile #", "name"], &[(Field::Phone, "mobile #")]).unwrap();
    assert_eq!(mapping.column_of(Field::Phone), Some(1));
    assert_eq!(mapping.attributes(), [(0, "phone".to_owned())]);
    let problem = map(&["phone", "Mobile #"], &[(Field::Phone, "Mobil")]).unwrap_err();
    let MappingProblem::NoSuchColumn { nearest, .. } = &problem else { panic!("{problem:?}") };
    assert_eq!(nearest.as_deref(), Some("Mobile #"));
    assert!(problem.to_string().contains("`phone`, `Mobile #`"), "{problem}");
    let none = map(&["phone", "region"], &[(Field::Region, "")]).unwrap();
    assert_eq!(none.column_of(Field::Region), None);
    assert_eq!(none.attributes(), [(1, "region".to_owned())]);
    assert!(matches!(map(&["a", "b"], &[(Field::Phone, "a"), (Field::Phone, "b")]), Err(MappingProblem::Twice { .. })));
}

#[test]
fn the_rest_are_attributes_with_names_of_their_own() {
    let mapping = map(&["phone", "note", "note", "", "callops_line", "callops_reason", "Mobile"], &[]).unwrap();
    let names: Vec<_> = mapping.attributes().iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["note", "note_2", "column_4", "Mobile"]);
    assert_eq!(mapping.phone_alternatives(), ["Mobile"]);
    assert_eq!(mapping.width(), 7);
    let mapping = map(&["phone", "zip", "postal_code", "state"], &[]).unwrap();
    let names: Vec<_> = mapping.attributes().iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["postal_code_2"]);
}

#[test]
fn a_marked_column_is_an_attribute_whatever_its_name() {
    let mapping =
        map(&["phone", "attribute:Mobile", "'=x", "attribute:", "callops_id", "attribute:callops_id"], &[]).unwrap();
    let names: Vec<_> = mapping.attributes().iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["Mobile", "=x", "attribute:", "callops_id"]);
    assert!(mapping.phone_alternatives().is_empty());
}

proptest! {
    #[test]
    fn an_attribute_comes_back_under_its_name(
        name in prop_oneof![
            "[a-z=+' :_-]{1,12}",
            "[a-z ]{195,205}",
            prop::sample::select(vec![
                "phone", "Mobile", "First Name", "Country", "attribute:x", "attribute:", "callops_line", "callops_id",
                "Extension", "'=x", "'phone", "+1", "fax", "hotel", "", "氏名",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let name = name.trim();
        prop_assume!(!name.is_empty());
        let written = escape(&attribute_header(name)).into_owned();
        let header = ["phone", "extension", "name", &written].map(str::to_owned);
        let mapping = Mapping::new(&header, &[]).unwrap();
        prop_assert_eq!(mapping.attributes(), [(3, name.to_owned())], "{}", written);
    }
}

#[test]
fn many_columns_of_one_name_are_no_trouble() {
    let header = vec!["x".to_owned(); 50_000];
    let mapping = Mapping::new(&[vec!["phone".to_owned()], header].concat(), &[]).unwrap();
    assert_eq!(mapping.attributes().last().map(|(_, name)| name.as_str()), Some("x_50000"));
}

#[test]
fn every_synonym_is_folded_and_means_one_field() {
    let mut seen = std::collections::HashMap::new();
    for field in Field::ALL {
        assert_eq!(Field::from_name(field.name()), Some(field));
        for synonym in synonyms(field) {
            assert_eq!(fold(synonym), synonym, "{}", field.name());
            assert_eq!(seen.insert(synonym, field), None, "{synonym}");
        }
    }
}
