//! What lists, pages of others and `doctor` show of the books, and of whom they ask for it.

use serde_json::{Value, json};

use super::{begin, check_ledger, requests, run_sync, sync};
use crate::common::story::Story;
use crate::common::{TestDatabase, on_both_databases};
use crate::serve::Serving;

const ACME: (&str, &str) = ("Authorization", "Bearer the-token-of-acme");

/// Three customers and five invoices, read; then the stand-in is not there any more.
async fn begin_offline(db: TestDatabase) -> Story {
    let story = begin(db).await;
    story.sandbox.zoho(books()).expect("books");
    sync(&story, false).await;
    story.fault(json!({"kind": "refuse_and_drop", "match": {"path": "/"}}));
    story
}

fn books() -> Value {
    let invoice = |id: u32, customer: &str, due: &str, status: &str, total: Value| json!({"invoice_id": id.to_string(), "customer_id": customer, "due_date": due, "status": status, "total": total});
    json!({
        "customers": [
            {"contact_id": "1", "contact_name": "Zebra & Co", "phone": "+1-925-921-9201", "email": "z@example.com"},
            {"contact_id": "2", "contact_name": "ada", "company_name": "100% Ada_Bakery", "currency_code": "EUR",
                "status": "inactive"},
            {"contact_id": "3", "contact_name": "Bob", "mobile": "+1 405 443 9562"},
        ],
        "invoices": [
            invoice(11, "1", "2026-11-10", "overdue", json!(1250.5)),
            invoice(12, "1", "2026-11-20", "sent", json!(10)),
            invoice(13, "2", "2026-11-13", "partially_paid", json!(300)),
            invoice(14, "2", "2026-10-01", "paid", json!(2)),
            invoice(15, "3", "2026-12-24", "draft", json!(99.99)),
        ],
    })
}

fn ids(story: &Story, args: &[&str]) -> Vec<String> {
    let rows = story.run(&[&["list"], args, &["--format", "json"]].concat()).success().json();
    rows.as_array().expect("rows").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

on_both_databases! {
    async fn lists_are_filtered_sorted_and_cut_without_asking_anybody(db) {
        let story = begin_offline(db).await;
        let before = requests(&story);
        for (args, wanted) in [
            (&["customers"][..], &["3", "1", "2"][..]),
            (&["customers", "--reverse"], &["2", "1", "3"]),
            (&["customers", "--status", "inactive"], &["2"]),
            (&["customers", "--text", "443"], &["3"]),
            (&["customers", "--text", "100%"], &["2"]),
            (&["customers", "--text", "a_b"], &["2"]),
            (&["customers", "--text", "nobody"], &[]),
            (&["customers", "--sort", "outstanding", "--reverse"], &["1", "2", "3"]),
            (&["invoices"], &["14", "11", "13", "12", "15"]),
            (&["invoices", "--status", "overdue"], &["11"]),
            (&["invoices", "--customer", "2"], &["14", "13"]),
            (&["invoices", "--overdue-days", "7"], &["11", "13"]),
            (&["invoices", "--overdue-days", "8"], &["11"]),
            (&["invoices", "--overdue-days", "0"], &["11", "13", "12"]),
            (&["invoices", "--text", "ZEBRA"], &["11", "12"]),
            (&["invoices", "--sort", "total"], &["14", "12", "15", "13", "11"]),
            (&["invoices", "--sort", "customer"], &["15", "11", "12", "13", "14"]),
            (&["invoices", "--limit", "2", "--page", "2"], &["13", "12"]),
            (&["invoices", "--limit", "2", "--page", "3"], &["15"]),
            (&["invoices", "--tenant", "acme", "--sort", "due_date", "--reverse", "--limit", "1"], &["15"]),
        ] {
            assert_eq!(ids(&story, args), wanted, "{args:?}");
        }
        for args in [
            &["invoices", "--status", "open"][..],
            &["invoices", "--sort", "name"],
            &["customers", "--overdue-days", "1"],
            &["calls", "--text", "x"],
            &["invoices", "--page", "0"],
        ] {
            story.run(&[&["list"], args].concat()).exits(2);
        }
        let invoice = story.run(&["show", "invoice", "11", "--format", "json"]).success().json();
        let shown = ["customer", "status", "due_date", "total", "balance", "overdue_days"].map(|key| invoice[key].clone());
        assert_eq!(json!(shown), json!(["Zebra & Co", "overdue", "2026-11-10", "1250.5", "1250.5", 10]));
        let number = invoice["number"].as_str().expect("a number");
        assert_eq!(story.run(&["show", "invoice", number, "--format", "json"]).success().json()["id"], "11");
        let customer = story.run(&["show", "customer", "1", "--tenant", "acme", "--format", "json"]).success().json();
        assert_eq!(customer["invoices"].as_array().map(Vec::len), Some(2), "{customer}");
        assert_eq!(customer["contact_persons"][0]["email"], "z@example.com", "{customer}");
        let told = story.run(&["show", "invoice", "99"]).exits(2).to_string();
        assert!(told.contains("there is no invoice 99"), "{told}");
        assert_eq!(requests(&story), before);
    }

    async fn pages_get_them_in_zohos_own_shape(db) {
        let story = begin_offline(db).await;
        let serving = Serving::start(&story);
        let get = async |path: &str| {
            let answer = serving.client.get(format!("{}{path}", serving.url)).header(ACME.0, ACME.1).send().await;
            let answer = answer.expect("an answer");
            let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
            (status, serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
        };
        let before = requests(&story);
        let (status, page) = get("/api/db/invoices?per_page=2").await;
        assert_eq!((status, &page["code"], &page["message"]), (200, &json!(0), &json!("success")), "{page}");
        assert_eq!(page["page_context"], json!({"page": 1, "per_page": 2, "has_more_page": true,
            "sort_column": "due_date", "sort_order": "A"}));
        let ids = |page: &Value, list: &str, id: &str| {
            let records = page[list].as_array().unwrap_or_else(|| panic!("{page}"));
            records.iter().map(|one| one[id].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&page, "invoices", "invoice_id"), ["14", "11"]);
        let overdue = &page["invoices"][1];
        let shown = ["customer_name", "status", "total", "due_days"].map(|key| overdue[key].clone());
        assert_eq!(json!(shown), json!(["Zebra & Co", "overdue", 1250.5, "Overdue by 10 days"]));
        let (_, page) = get("/api/db/invoices?per_page=2&page=3").await;
        assert_eq!((ids(&page, "invoices", "invoice_id"), &page["page_context"]["has_more_page"]), (vec!["15".to_owned()], &json!(false)));
        let (_, page) = get("/api/db/invoices?status=partially_paid&customer_id=2&search_text=ADA&sort_column=total&sort_order=D").await;
        assert_eq!(ids(&page, "invoices", "invoice_id"), ["13"]);
        let (_, page) = get("/api/db/customers").await;
        assert_eq!(ids(&page, "contacts", "contact_id"), ["3", "1", "2"]);
        for wrong in ["per_page=201", "page=0", "sort_column=x", "sort_order=a", "status=", "colour=red"] {
            let (status, answer) = get(&format!("/api/db/invoices?{wrong}")).await;
            assert_eq!((status, &answer["code"]), (400, &json!(2)), "{wrong}");
        }
        let stranger = serving.client.get(format!("{}/api/db/invoices", serving.url)).send().await.expect("an answer");
        assert_eq!(stranger.status().as_u16(), 401);
        assert_eq!(requests(&story), before, "nobody was asked");

        // This one is.
        let (status, answer) = get("/api/zoho/contacts/2").await;
        assert_eq!((status, &answer["code"]), (503, &json!(1000)), "{answer}");
        story.sandbox.clear_faults();
        let (status, answer) = get("/api/zoho/contacts/2").await;
        assert_eq!((status, &answer["contact"]["contact_name"]), (200, &json!("ada")), "{answer}");
        for unknown in ["77", "x"] {
            let (status, answer) = get(&format!("/api/zoho/contacts/{unknown}")).await;
            assert_eq!((status, &answer["code"]), (404, &json!(1002)), "{answer}");
        }
        check_ledger(&story).await;
        serving.end();
    }

    async fn doctor_says_how_old_they_are(db) {
        let story = begin(db).await;
        story.sandbox.zoho(books()).expect("books");
        let rows = |args: &[&str]| {
            let rows = story.run(&[&["doctor", "--format", "json"], args].concat()).json();
            let found = |check: &str| {
                let row = rows.as_array().expect("rows").iter().find(|row| row["check"] == check);
                row.unwrap_or_else(|| panic!("no {check}: {rows}")).clone()
            };
            (found("account:acme-zoho"), found("billing:acme"))
        };
        let (account, cache) = rows(&[]);
        assert_eq!((&account["verdict"], &cache["verdict"]), (&json!("ok"), &json!("warning")));
        assert!(cache["what"].as_str().expect("a text").contains("never read"), "{cache}");
        run_sync(&story, &[]).success();
        let (account, cache) = rows(&["--online"]);
        assert!(account["what"].as_str().expect("a text").contains("it reaches Zillium Inc (10229182)"), "{account}");
        let what = cache["what"].as_str().expect("a text");
        assert!(cache["verdict"] == "ok" && what.contains("3 customers and 5 invoices"), "{cache}");
        assert!(what.contains("requests today") && what.contains("of 1000"), "{cache}");
        story.wait(chrono::TimeDelta::hours(7));
        assert_eq!(rows(&[]).1["verdict"], "warning");
    }
}
