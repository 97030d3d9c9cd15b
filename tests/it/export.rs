//! Contacts as CSV: nothing in it is a formula, and an import takes it back as it was.

use callops::store::contacts::{self, Contact, Filter};
use callops::store::{self, Db};
use serde_json::{Value, json};

use crate::common::{TestDatabase, assert_same_snapshot, on_both_databases};

const TENANTS: &str = r#"
[tenant.acme]
region = "US"

[tenant.other]
region = "DE"
"#;

async fn open(database: &TestDatabase) -> Db {
    database.scratch().write("tenants.toml", TENANTS);
    database.callops().run(["apply", "tenants.toml"]).success();
    let options = store::Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 1,
        statement_cache: true,
        create: false,
    };
    Db::connect(&options).await.expect("the database opens")
}

fn contact(n: usize, name: Option<&str>, attributes: &Value) -> Contact {
    let at = "2026-11-20T12:00:00Z".parse().expect("an instant");
    Contact {
        id: format!("01JD00000000000000000000{n:02}"),
        tenant: "acme".to_owned(),
        phone: format!("+180222369{n:02}"),
        extension: None,
        name: name.map(str::to_owned),
        email: None,
        external_id: None,
        timezone: None,
        timezone_source: None,
        preferred_time: None,
        attributes: attributes.to_string(),
        version: 1,
        import_id: None,
        created_at: at,
        updated_at: at,
    }
}

/// Contacts that would do harm in a spreadsheet, or be read as something else.
fn nasty() -> Vec<Contact> {
    let names = [
        "=HYPERLINK(\"http://example.com\",\"click\")",
        "'=x",
        "''+1",
        "-1",
        "@SUM(A1:A9)",
        "+1 802",
        "+18022236942",
        "'tis",
        "Ann\n\"Lee\"\r\nof; Barre, VT",
        "a\tb|c",
        "Ünï 氏名",
    ];
    let mut nasty: Vec<Contact> =
        names.iter().enumerate().map(|(n, name)| contact(n, Some(name), &json!({}))).collect();
    nasty.push(Contact {
        extension: Some("007".to_owned()),
        email: Some("=cmd|' /C calc'!A0".to_owned()),
        external_id: Some("-0012".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        timezone_source: Some("given".to_owned()),
        preferred_time: Some("09:30".to_owned()),
        ..contact(20, None, &json!({"city": "Barre", "=key": "-1", "note": "'=x\n;", "Country": "Atlantis"}))
    });
    // Names that an import would read as something else, were they not marked.
    let strange = json!({
        "Mobile": "+1 802 223 0000", "First Name": "Eve", "extension": "front desk", "region": "Mars",
        "callops_id": "x", "callops_line": "7", "attribute:y": "z", "'@": "at", "city": "Stowe",
        "a;b;c;d;e;f;g;h;i;j;k;l;m;n;o;p;q;r;s;t;u;v;w;x;y;z": "semicolons",
    });
    nasty.push(contact(21, None, &strange));
    nasty
}

async fn people(db: &Db, tenant: &str) -> Vec<Contact> {
    let filter = Filter { tenant: Some(tenant.to_owned()), limit: 1000, ..Filter::default() };
    let mut tx = db.read().await.expect("a transaction");
    contacts::contacts(&mut tx, &filter).await.expect("contacts")
}

/// What a contact holds, apart from what an import gives it.
fn held(contact: &Contact) -> Value {
    let attributes: Value = serde_json::from_str(&contact.attributes).expect("JSON");
    json!([
        contact.phone,
        contact.extension,
        contact.name,
        contact.email,
        contact.external_id,
        contact.timezone,
        contact.timezone_source,
        contact.preferred_time,
        attributes,
    ])
}

fn export(database: &TestDatabase, tenant: &str) -> String {
    database.callops().run(["list", "contacts", "--tenant", tenant, "--format", "csv"]).success().stdout
}

fn import(database: &TestDatabase, tenant: &str) -> Value {
    database.callops().run(["import-contacts", "export.csv", "--tenant", tenant, "--format", "json"]).success().json()
}

on_both_databases! {
    async fn contacts_come_back_from_an_export_as_they_were(db) {
        let store = open(&db).await;
        let nasty = nasty();
        store.write(async |tx| contacts::insert(tx, &nasty).await).await.expect("contacts");
        let before = people(&store, "acme").await;
        assert_eq!(before.len(), nasty.len());

        let exported = export(&db, "acme");
        for record in csv::ReaderBuilder::new().has_headers(false).from_reader(exported.as_bytes()).records() {
            for cell in &record.expect("a record of as many cells as the header") {
                let is_phone = cell.strip_prefix('+').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
                assert!(is_phone || !cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?} is a formula");
            }
        }

        db.scratch().write("export.csv", &exported);
        let done = import(&db, "other");
        assert_eq!((&done["rows"], &done["created"]), (&json!(before.len()), &json!(before.len())), "{done}");
        let copies = people(&store, "other").await;
        assert_eq!(copies.iter().map(held).collect::<Vec<_>>(), before.iter().map(held).collect::<Vec<_>>());

        let again = import(&db, "acme");
        assert_eq!((&again["rows"], &again["unchanged"]), (&json!(before.len()), &json!(before.len())), "{again}");
        assert_eq!(people(&store, "acme").await, before);

        // And as a spreadsheet of many countries would save it.
        let mut csv = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
        for record in csv::ReaderBuilder::new().has_headers(false).from_reader(exported.as_bytes()).records() {
            csv.write_record(&record.expect("a record")).expect("a record");
        }
        db.scratch().write("export.csv", csv.into_inner().expect("the file"));
        let again = import(&db, "acme");
        assert_eq!(again["unchanged"], json!(before.len()), "{again}");
    }

    async fn an_export_has_a_column_for_each_attribute(db) {
        let store = open(&db).await;
        let people = [
            contact(1, Some("Ann"), &json!({"city": "Barre"})),
            contact(2, Some("=1+1"), &json!({"Mobile": "-1", "city": "Stowe"})),
        ];
        store.write(async |tx| contacts::insert(tx, &people).await).await.expect("contacts");
        assert_same_snapshot!(export(&db, "acme"), @r#"
        phone,extension,name,email,external_id,timezone,preferred_time,city,attribute:Mobile,callops_tenant,callops_id,callops_created_at
        +18022236901,,Ann,,,,,Barre,,acme,01JD0000000000000000000001,2026-11-20T12:00:00Z
        +18022236902,,'=1+1,,,,,Stowe,'-1,acme,01JD0000000000000000000002,2026-11-20T12:00:00Z
        "#);
        let cut = db.callops().run(["list", "contacts", "--limit", "1", "--format", "csv"]).success();
        assert_same_snapshot!(cut, @r#"
        exit: 0
        --- stdout
        phone,extension,name,email,external_id,timezone,preferred_time,city,callops_tenant,callops_id,callops_created_at
        +18022236901,,Ann,,,,,Barre,acme,[ulid-1------------------],2026-11-20T12:00:00Z
        --- stderr
        only 1 are shown; --limit shows more
        "#);
        // Other listings have the same escape, and programs that read JSON see what is stored.
        let listed = db.callops().run(["list", "contacts", "--format", "json"]).success().json();
        assert_eq!(listed[1]["name"], "=1+1");
        let shown = db.callops().run(["show", "contact", &people[1].id, "--format", "csv"]).success();
        assert!(shown.stdout.contains(",'=1+1,"), "{shown}");
        assert_same_snapshot!(export(&db, "other"), @r#"
        phone,extension,name,email,external_id,timezone,preferred_time,callops_tenant,callops_id,callops_created_at
        "#);
    }
}
