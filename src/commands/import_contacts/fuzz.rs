//! A fuzzer of reading lists: it makes lists of what real ones are made of, spoils them, reads them as a dry run does, and
//! compares what comes of it with what simple rules say about the same bytes.
//!
//! It runs for seconds and not for a number of lists, so that it takes as long on any machine. `scripts/fuzz` runs it for
//! longer. What it finds is written to a file that can be read again.

mod checks;
mod making;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use encoding_rs::Encoding;

use super::Header;
use crate::clock::Clock;

/// A list, and what the command line says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    bytes: Vec<u8>,
    encoding: Option<&'static Encoding>,
    delimiter: Option<u8>,
    header: Header,
}

impl List {
    /// The file that keeps it: a line for the options, then its bytes.
    fn to_file(&self) -> Vec<u8> {
        let encoding = self.encoding.map_or("-", Encoding::name);
        let delimiter = self.delimiter.map_or("-".to_owned(), |sign| sign.to_string());
        let header = match self.header {
            Header::Auto => "auto",
            Header::Yes => "yes",
            Header::No => "no",
        };
        let mut file = format!("{encoding} {delimiter} {header}\n").into_bytes();
        file.extend_from_slice(&self.bytes);
        file
    }

    /// Reads such a file.
    fn from_file(file: &[u8]) -> Self {
        let end = file.iter().position(|byte| *byte == b'\n').expect("a line of options");
        let options: Vec<&str> = std::str::from_utf8(&file[..end]).expect("options").split(' ').collect();
        Self {
            bytes: file[end + 1..].to_vec(),
            encoding: Encoding::for_label(options[0].as_bytes()),
            delimiter: options[1].parse().ok(),
            header: match options[2] {
                "yes" => Header::Yes,
                "no" => Header::No,
                _ => Header::Auto,
            },
        }
    }
}

/// What is wrong with how a list is read; none where all is well.
fn problem(list: &List, folder: &Path) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| checks::check(list, folder))) {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
        }
    }
}

/// What kind of problem it is: its text up to where it tells of the list.
fn kind(problem: &str) -> String {
    problem.chars().take_while(|c| !matches!(c, '"' | '[' | ':')).filter(|c| !c.is_ascii_digit()).collect()
}

/// The list without whatever can be left out of it while the same is wrong with it.
fn shortened(mut list: List, found: &str, folder: &Path, patience: Duration) -> List {
    let clock = Clock::system();
    let mut piece = list.bytes.len().div_ceil(2);
    while piece > 0 && clock.monotonic() < patience {
        let mut at = 0;
        while at < list.bytes.len() && clock.monotonic() < patience {
            let mut shorter = list.clone();
            shorter.bytes.drain(at..(at + piece).min(list.bytes.len()));
            if problem(&shorter, folder).is_some_and(|other| kind(&other) == kind(found)) {
                list = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    list
}

/// Makes lists and reads them for so long; gives how many.
///
/// # Panics
/// With the first list that is not read as it should be.
fn run(seed: u64, limit: Duration, folder: &Path) -> u64 {
    let clock = Clock::system();
    let mut lists = 0;
    while lists == 0 || clock.monotonic() < limit {
        let list = making::list(&mut fastrand::Rng::with_seed(seed.wrapping_add(lists)));
        lists += 1;
        let Some(found) = problem(&list, folder) else { continue };
        let list = shortened(list, &found, folder, Duration::from_secs(30));
        let found = problem(&list, folder).unwrap_or(found);
        let kept = std::env::temp_dir().join(format!("callops-fuzz-{}.list", seed.wrapping_add(lists - 1)));
        std::fs::write(&kept, list.to_file()).expect("a file");
        panic!(
            "{found}\nlist {lists} of CALLOPS_FUZZ_SEED={seed}; CALLOPS_FUZZ_FILE={} scripts/fuzz reads it again",
            kept.display()
        );
    }
    lists
}

mod tests {
    use super::*;

    /// A variable of the test run's own environment.
    #[expect(clippy::disallowed_methods, reason = "the tests' own settings are read here, and nowhere else")]
    fn variable(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    #[test]
    fn every_record_of_any_list_is_accounted_for() {
        let folder = tempfile::tempdir().expect("a directory");
        if let Some(path) = variable("CALLOPS_FUZZ_FILE") {
            let list = List::from_file(&std::fs::read(&path).expect("the list"));
            assert_eq!(problem(&list, folder.path()), None, "{path}");
            return;
        }
        let number = |name| variable(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}")));
        let seed = number("CALLOPS_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("CALLOPS_FUZZ_SEED={seed}");
        let seconds = number("CALLOPS_FUZZ_SECONDS").unwrap_or(20);
        let lists = run(seed, Duration::from_secs(seconds), folder.path());
        println!("{lists} lists in {seconds} seconds");
    }

    #[test]
    fn a_kept_list_is_read_again_as_it_was() {
        for seed in 0..50 {
            let list = making::list(&mut fastrand::Rng::with_seed(seed));
            assert_eq!(List::from_file(&list.to_file()), list);
        }
    }

    #[test]
    fn what_is_wrong_is_found_and_told_in_few_bytes() {
        // A check that fails for whatever holds the letter Q, in place of the real one.
        let folder = tempfile::tempdir().expect("a directory");
        let bytes = format!("phone\n{}Q\n802-223-6942\n", "802-223-6942\n".repeat(50)).into_bytes();
        let list = List { bytes, encoding: None, delimiter: None, header: Header::Auto };
        assert_eq!(problem(&list, folder.path()), None);
        checks::PLANTED.with(|planted| planted.set(Some(b'Q')));
        let short = shortened(list, "planted", folder.path(), Duration::from_secs(30));
        checks::PLANTED.with(|planted| planted.set(None));
        assert_eq!(short.bytes, b"Q");
    }
}
