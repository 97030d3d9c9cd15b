//! Lists in the encodings, delimiters and line ends that people send them in: the same people, whatever they are written
//! in.

use encoding_rs::{EUC_KR, Encoding, GBK, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1251, WINDOWS_1252};

use super::*;

/// A text in an encoding that has all of its letters.
fn encoded(text: &str, encoding: &'static Encoding) -> Vec<u8> {
    if encoding == UTF_16LE {
        return text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    }
    if encoding == UTF_16BE {
        return text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    }
    let (bytes, _, has_gaps) = encoding.encode(text);
    assert!(!has_gaps, "{} has no letters for {text}", encoding.name());
    bytes.into_owned()
}

/// A way to write a list.
struct Written {
    encoding: &'static Encoding,
    mark: &'static [u8],
    /// What `--encoding` says; none where the bytes tell.
    label: Option<&'static str>,
    /// Names that the encoding has letters for; each bears a sign that is not ASCII.
    names: [&'static str; 3],
}

const WESTERN: [&str; 3] = ["Zoë Ünal", "José Peña", "Renée d'Été"];

const WAYS: [Written; 14] = [
    Written { encoding: UTF_8, mark: b"", label: None, names: ["Zoë Ünal", "山田 太郎", "Иванов"] },
    Written {
        encoding: UTF_8, mark: b"\xef\xbb\xbf", label: None, names: ["Zoë Ünal", "山田 太郎", "Иванов"]
    },
    Written {
        encoding: UTF_16LE, mark: b"\xff\xfe", label: None, names: ["Zoë Ünal", "山田 太郎", "Иванов"]
    },
    Written {
        encoding: UTF_16BE, mark: b"\xfe\xff", label: None, names: ["Zoë Ünal", "山田 太郎", "Иванов"]
    },
    Written { encoding: UTF_16LE, mark: b"", label: None, names: WESTERN },
    Written { encoding: UTF_16BE, mark: b"", label: None, names: WESTERN },
    Written {
        encoding: UTF_16BE, mark: b"", label: Some("utf-16be"), names: ["山田", "鈴木", "上\u{0d0a}\u{0a15}"]
    },
    Written { encoding: WINDOWS_1252, mark: b"", label: None, names: WESTERN },
    Written { encoding: WINDOWS_1252, mark: b"", label: Some("windows-1252"), names: ["Zoë €", "José", "Š"] },
    Written { encoding: WINDOWS_1252, mark: b"", label: Some("ISO-8859-1"), names: WESTERN },
    Written {
        encoding: WINDOWS_1251, mark: b"", label: Some("windows-1251"), names: ["Иванов", "Ёлка", "Щука"]
    },
    Written {
        encoding: SHIFT_JIS, mark: b"", label: Some("shift_jis"), names: ["ソ表能", "山田 太郎", "ポール"]
    },
    Written { encoding: GBK, mark: b"", label: Some("gbk"), names: ["王伟", "李娜", "張丂"] },
    Written { encoding: EUC_KR, mark: b"", label: Some("euc-kr"), names: ["김민준", "이서연", "박똠"] },
];

impl Written {
    fn list(&self, text: &str) -> Vec<u8> {
        [self.mark, &encoded(text, self.encoding)].concat()
    }

    fn options(&self) -> Vec<&'static str> {
        self.label.map_or(vec![], |label| vec!["--encoding", label])
    }
}

/// Names that stand in quotes and over several lines where the encoding's own bytes look like signs of CSV.
fn people(names: [&str; 3], delimiter: char, end: &str) -> String {
    let quoted = |name: &str| format!("\"{name}\"");
    let rows = [
        ["name", "phone", "note"].map(str::to_owned),
        [names[0].to_owned(), "802-223-6942".to_owned(), String::new()],
        [quoted(names[1]), "802-265-3610".to_owned(), format!("\"{}{delimiter}{end}\"\"x\"\"\"", names[0])],
        [quoted(names[2]), "802-755-6100".to_owned(), names[1].to_owned()],
    ];
    rows.map(|row| row.join(&delimiter.to_string()) + end).concat()
}

on_both_databases! {
    async fn the_same_people_come_of_every_encoding(db) {
        let store = set_up(&db).await;
        for (index, way) in WAYS.iter().enumerate() {
            let name = format!("{index} {}", way.encoding.name());
            let (delimiter, end) = [(',', "\n"), (';', "\r\n"), ('\t', "\r"), ('|', "\n")][index % 4];
            let list = db.scratch().write("list.csv", way.list(&people(way.names, delimiter, end)));
            let list = list.display().to_string();
            let output = import(&db, way.options().into_iter().chain([list.as_str()])).success();
            let wanted = if index == 0 { [3, 3, 0, 0, 0, 0, 0] } else { [3, 0, 3, 0, 0, 0, 0] };
            let settled = counts(&output.json());
            // Where the same names were there before, nothing is new but the line's ends.
            assert_eq!((settled[0], settled[6]), (wanted[0], 0), "{name}: {output}");
            let label = if way.encoding == WINDOWS_1252 { "windows-1252" } else { way.encoding.name() };
            assert!(output.stderr.contains(&format!("reading {label},")), "{name}: {output}");
            for (phone, want) in ["+18022236942", "+18022653610", "+18027556100"].into_iter().zip(way.names) {
                assert_eq!(contact(&store, phone).await.name.as_deref(), Some(want.trim()), "{name}");
            }
            let attributes: Value =
                serde_json::from_str(&contact(&store, "+18022653610").await.attributes).expect("JSON");
            assert_eq!(attributes["note"], format!("{}{delimiter}{end}\"x\"", way.names[0]), "{name}");
        }
        assert_eq!(stored(&store).await.len(), 3);
    }

    async fn rejects_are_the_bytes_of_the_list_in_every_encoding(db) {
        let store = set_up(&db).await;
        for (index, way) in WAYS.iter().enumerate() {
            let name = format!("{index} {}", way.encoding.name());
            let (delimiter, end) = [(",", "\r\n"), (";", "\n"), ("|", "\n"), ("\t", "\r")][index % 4];
            let header = ["name", "phone", "note"].join(delimiter);
            let good = [way.names[0], "802-223-6942", ""].join(delimiter);
            let short = [&format!("\"{}{end}\"\"\"", way.names[1]), "80226536", way.names[0]].join(delimiter);
            let none = [way.names[2], "", "\"x\""].join(delimiter);
            let text = [&header, &good, &short, &none].map(|line| format!("{line}{end}")).concat();
            db.scratch().write("list.csv", way.list(&text));
            let rejected = import(&db, way.options().into_iter().chain(["list.csv", "--rejects", "rejects.csv"])).exits(4);
            assert_eq!((counts(&rejected.json())[0], counts(&rejected.json())[6]), (3, 2), "{name}: {rejected}");
            let ours = |line: &str, reason: &str| format!("{delimiter}{line}{delimiter}{reason}{end}");
            // The name of the second row has a line's end in it.
            let wanted = format!(
                "{header}{}{short}{}{none}{}",
                ours("callops_line", "callops_reason"),
                ours("3", "too_short"),
                ours("5", "no_phone")
            );
            let path = db.scratch().path().join("rejects.csv");
            assert_eq!(std::fs::read(&path).expect("rejects"), way.list(&wanted), "{name}");

            // Mended in its own encoding it goes in; one row stays, and has its line and reason once.
            let mended = wanted.replace("80226536", "802-265-3610");
            std::fs::write(&path, way.list(&mended)).expect("a file");
            let again = import(&db, way.options().into_iter().chain(["rejects.csv", "--rejects", "rest.csv"])).exits(4);
            assert_eq!((counts(&again.json())[0], counts(&again.json())[6]), (2, 1), "{name}: {again}");
            let contact = contact(&store, "+18022653610").await;
            assert_eq!(contact.name, Some(format!("{}{end}\"", way.names[1])), "{name}");
            assert!(!contact.attributes.contains("callops"), "{name}: {contact:?}");
            let wanted = format!("{header}{}{none}{}", ours("callops_line", "callops_reason"), ours("4", "no_phone"));
            let rest = std::fs::read(db.scratch().path().join("rest.csv")).expect("rejects");
            assert_eq!(rest, way.list(&wanted), "{name}");
        }
    }

    async fn a_list_without_a_header_has_rejects_with_one(db) {
        let store = set_up(&db).await;
        db.scratch().write("list.csv", "Ada;802-223-6942;x\nBob;80226536;y\n");
        import(&db, ["list.csv", "--header", "no", "--rejects", "rejects.csv"]).exits(4);
        let path = db.scratch().path().join("rejects.csv");
        let rejects = std::fs::read_to_string(&path).expect("rejects");
        assert_eq!(rejects, "column_1;phone;column_3;callops_line;callops_reason\nBob;80226536;y;2;too_short\n");
        std::fs::write(&path, rejects.replace("80226536", "802-265-3610")).expect("a file");
        import(&db, ["rejects.csv"]).success();
        assert_eq!(contact(&store, "+18022653610").await.attributes, r#"{"column_1":"Bob","column_3":"y"}"#);
        assert_eq!(contact(&store, "+18022236942").await.attributes, r#"{"column_1":"Ada","column_3":"x"}"#);
    }
}

#[test]
fn what_is_said_of_the_encoding_wins_over_what_it_looks_like() {
    // UTF-8 by its looks and by its mark, and whoever says otherwise gets otherwise.
    for (list, label, header) in [
        (&b"pr\xc3\xa9nom,phone\nx,802-223-6942\n"[..], "windows-1252", "prÃ©nom"),
        (b"pr\xe9nom,phone\nx,802-223-6942\n", "windows-1251", "prйnom"),
        (b"\xef\xbb\xbfprenom,phone\nx,802-223-6942\n", "windows-1252", "ï»¿prenom"),
    ] {
        let (summary, output) =
            check(list, &["--encoding", label, "--region", "US", "--map", &format!("name={header}")]);
        assert_eq!(summary, Some([1, 1, 0, 0, 0, 0, 0]), "{output}");
        assert!(output.stderr.contains(&format!("name = `{header}`")), "{output}");
    }
    let (_, output) = check(b"phone\n", &["--encoding", "windows-125"]);
    assert_eq!(output.code(), Some(2));
    assert!(output.stderr.contains("did you mean `--encoding windows-1252`?"), "{output}");
}

#[test]
fn a_few_broken_bytes_make_no_other_encoding_of_utf8() {
    let names = ["Zoë", "Ünal", "José", "Peña", "Müller", "Åse"];
    let mut list = b"name,phone\n".to_vec();
    for (index, name) in names.iter().enumerate() {
        list.extend_from_slice(format!("{name},802-223-694{index}\n").as_bytes());
    }
    list.extend_from_slice(b"Ren\xe9,802-265-3610\n\xc3,802-755-6100\n");
    let (summary, output) = check(&list, &["--region", "US"]);
    assert_eq!(summary, Some([8, 6, 0, 0, 0, 0, 2]), "{output}");
    assert!(output.stderr.contains("reading UTF-8,"), "{output}");
    assert_eq!(output.json()["reasons"], json!({"bad_encoding": 2}));
}

#[test]
fn delimiters_and_headers_are_found_or_said() {
    for (list, args) in [
        ("name,phone\nAda,802-223-6942\nBob,802-265-3610\n", &[][..]),
        ("sep=;\r\nname;phone\r\nAda;802-223-6942\r\nBob;802-265-3610", &[]),
        ("sep=\t\nname\tphone\nAda\t802-223-6942\nBob\t802-265-3610\n", &[]),
        ("a,b,c;phone\nx;802-223-6942\ny;802-265-3610\n", &["--delimiter", ";"]),
        ("name:phone\nAda:802-223-6942\nBob:802-265-3610\n", &["--delimiter", ":"]),
        ("name\tphone\nAda\t802-223-6942\nBob\t802-265-3610\n", &["--delimiter", "tab"]),
        ("Ada,802-223-6942\nBob,802-265-3610\n", &[]),
        ("Ada,802-223-6942\nBob,802-265-3610\n", &["--header", "no"]),
        ("phone,802-223-6942\nBob,802-265-3610\n", &["--header", "no", "--map", "phone=column_2"]),
        ("8022236942\n8022653610\n", &[]),
        ("802-223-6942,name\n802-265-3610,x\n802-755-6100,y\n", &["--header", "yes", "--map", "phone=802-223-6942"]),
        ("\"name\",\"phone\"\r\"A\rda\",\"802-223-6942\"\rBob,802-265-3610", &[]),
    ] {
        let (summary, output) = check(list.as_bytes(), &[args, &["--region", "US"]].concat());
        assert_eq!(summary, Some([2, 2, 0, 0, 0, 0, 0]), "{list:?} {output}");
    }
}
