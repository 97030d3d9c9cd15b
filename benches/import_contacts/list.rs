//! A list as customers send it, and the same people as rows that need no more work.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fastrand::Rng;

/// Two in a hundred rows have no number that can be called, five in a hundred the number of an earlier row.
const INVALID_PERCENT: u8 = 2;
const DUPLICATE_PERCENT: u8 = 5;
const INVALID: [&str; 6] = ["12345", "N/A", "1.41555E+10", "802-555", "ask her", ""];
const FIRST_NAMES: [&str; 10] = ["Ada", "Bob", "Eva", "Zoë", "Max", "Ida", "Leo", "Mia", "José", "Anh"];
const LAST_NAMES: [&str; 10] =
    ["Smith", "Jones", "Brown", "López", "Nguyen", "Kim", "Stone", "Rivers", "O'Neil", "Müller"];
const CITIES: [&str; 6] = ["Springfield", "Barre", "Montpelier", "Burlington", "Rutland", "Brattleboro"];
/// Area codes of the fifty states.
const AREAS: &str = "201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 224 225 228 229 231 234 239 240 \
 248 251 252 253 254 256 260 262 267 269 270 276 281 301 302 303 304 305 307 308 309 310 312 313 314 315 316 317 318 \
 319 320 321 323 325 330 331 334 336 337 339 347 351 352 360 361 385 386 401 402 404 405 406 407 408 409 410 412 413 \
 414 415 417 419 423 424 425 432 434 435 440 443 469 478 479 480 484 501 502 503 504 505 507 508 509 510 512 513 515 \
 516 517 518 520 530 540 541 551 559 561 562 563 567 570 571 573 574 580 585 586 601 602 603 605 606 607 608 609 610 \
 612 614 615 616 617 618 619 620 623 626 630 631 636 641 646 650 651 660 661 662 678 682 701 702 703 704 706 707 708 \
 712 713 714 715 716 717 718 719 720 724 727 731 732 734 740 754 757 760 763 765 770 772 773 774 775 781 785 786 801 \
 802 803 804 805 806 808 810 812 813 814 815 816 817 818 828 830 831 832 843 845 847 850 856 857 858 859 860 862 863 \
 864 865 870 901 903 904 906 907 908 909 910 912 913 914 915 916 917 918 919 920 925 928 931 936 937 940 941 949 951 \
 952 954 956 970 971 972 973 978 979 980 985 989";

/// The files of one size.
pub(crate) struct Lists {
    pub(crate) rows: u64,
    /// As customers send it.
    pub(crate) list: PathBuf,
    /// The columns of the list, of the rows that can be called, with clean numbers: name, phone, email, plan, city, note.
    pub(crate) bare: PathBuf,
    /// What an import stores of them: every column of the table of contacts.
    pub(crate) stored: PathBuf,
    /// How many rows can be called.
    pub(crate) clean_rows: u64,
}

impl Lists {
    /// Writes them, the same ones each time.
    pub(crate) fn write(folder: &Path, rows: u64) -> Result<Self> {
        let path = |kind: &str| folder.join(format!("{kind}-{rows}.csv"));
        let mut lists = Self { rows, list: path("list"), bare: path("bare"), stored: path("stored"), clean_rows: 0 };
        let create = |path: &Path| File::create(path).map(BufWriter::new).context("cannot write a list");
        let mut list = create(&lists.list)?;
        let mut bare = csv::Writer::from_writer(create(&lists.bare)?);
        let mut stored = csv::Writer::from_writer(create(&lists.stored)?);
        let mut rng = Rng::with_seed(20_261_125);
        let areas: Vec<&str> = AREAS.split_whitespace().collect();
        let (mut seen, mut phones) = (HashSet::new(), Vec::<u64>::new());
        writeln!(list, "Name,Phone,Email,Plan,City,Notes")?;
        for row in 0..rows {
            let percent = rng.u8(..100);
            let name = format!("{} {}", rng.choice(FIRST_NAMES).unwrap_or(""), rng.choice(LAST_NAMES).unwrap_or(""));
            let email = format!("user{row}@example.com");
            let plan = if rng.bool() { "gold" } else { "silver" };
            let city = rng.choice(CITIES).unwrap_or("");
            let note = format!("called before {row}");
            let number = if percent < INVALID_PERCENT {
                rng.choice(INVALID).unwrap_or("").to_owned()
            } else if percent < INVALID_PERCENT + DUPLICATE_PERCENT && !phones.is_empty() {
                written(phones[rng.usize(..phones.len())], &mut rng)
            } else {
                let phone = loop {
                    let area: u64 = rng.choice(&areas).unwrap_or(&"802").parse()?;
                    let (exchange, line) = (rng.u64(200..1000), rng.u64(..10_000));
                    // 555 and numbers that end in 11 are reserved.
                    let phone = area * 10_000_000 + exchange * 10_000 + line;
                    if exchange != 555 && exchange % 100 != 11 && seen.insert(phone) {
                        break phone;
                    }
                };
                phones.push(phone);
                let e164 = format!("+1{phone}");
                bare.write_record([name.as_str(), &e164, &email, plan, city, &note])?;
                let id = format!("01KAXM5Q{row:018}");
                let attributes = format!(r#"{{"Plan":"{plan}","City":"{city}","Notes":"{note}"}}"#);
                let at = "2026-11-25T12:00:00.123456+00:00";
                let import = "01KAXM5Q000000000000000000";
                stored.write_record([
                    id.as_str(),
                    "acme",
                    &e164,
                    "",
                    &name,
                    &email,
                    "",
                    "",
                    "",
                    "",
                    &attributes,
                    "1",
                    import,
                    at,
                    at,
                ])?;
                lists.clean_rows += 1;
                written(phone, &mut rng)
            };
            writeln!(list, "{name},{number},{email},{plan},{city},{note}")?;
        }
        list.flush()?;
        bare.flush()?;
        stored.flush()?;
        Ok(lists)
    }
}

/// A number as people write it.
fn written(phone: u64, rng: &mut Rng) -> String {
    let (area, exchange, line) = (phone / 10_000_000, phone / 10_000 % 1000, phone % 10_000);
    match rng.u8(..10) {
        0..4 => format!("({area}) {exchange:03}-{line:04}"),
        4..8 => format!("{area}-{exchange:03}-{line:04}"),
        _ => format!("+1{phone}"),
    }
}
