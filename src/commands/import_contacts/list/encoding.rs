//! Which encoding a list is in.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::domain::contact_row::nearest;
use crate::error::Failure;

const CHUNK_BYTES: usize = 1024 * 1024;
/// So much text outside ASCII is enough to tell encodings apart.
const EVIDENCE_BYTES: usize = 4 * 1024 * 1024;

/// How a list's bytes become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Detected {
    pub(super) encoding: &'static Encoding,
    /// Bytes of the byte order mark at the beginning, which are no text.
    pub(super) bom_bytes: usize,
}

/// Reads `--encoding`.
///
/// # Errors
/// When there is no such encoding.
pub(in crate::commands) fn encoding_option(label: &str) -> anyhow::Result<&'static Encoding> {
    // What spreadsheets call ANSI is the code page of Western Europe and the Americas.
    let known = match label.trim().to_ascii_lowercase().as_str() {
        "ansi" | "windows1252" | "cp1252" => Encoding::for_label(b"windows-1252"),
        "utf16" | "utf16le" => Some(UTF_16LE),
        "utf16be" => Some(UTF_16BE),
        other => Encoding::for_label_no_replacement(other.as_bytes()),
    };
    known.ok_or_else(|| {
        const COMMON: [&str; 10] = [
            "utf-8",
            "utf-16le",
            "utf-16be",
            "windows-1252",
            "windows-1251",
            "latin1",
            "iso-8859-15",
            "shift_jis",
            "gbk",
            "euc-kr",
        ];
        let failure = Failure::usage(format!("--encoding: there is no encoding `{label}`"));
        match nearest(COMMON.into_iter(), label) {
            Some(name) => failure.hint(format!("did you mean `--encoding {name}`?")),
            None => failure.hint(format!("for example {}", COMMON.join(", "))),
        }
        .into()
    })
}

/// Finds a file's encoding: what the user says, else a byte order mark, else what its bytes look like.
pub(super) fn detect(file: &mut File, wanted: Option<&'static Encoding>) -> anyhow::Result<Detected> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    (&mut *file).take(64 * 1024).read_to_end(&mut head)?;
    // A program that adds a mark to each file that it passes on leaves several.
    let marked = Encoding::for_bom(&head).map(|(encoding, length)| {
        (encoding, length * head.chunks(length).take_while(|bytes| *bytes == &head[..length]).count())
    });
    if let Some(encoding) = wanted {
        let bom_bytes = marked.filter(|(marked, _)| *marked == encoding).map_or(0, |(_, length)| length);
        return Ok(Detected { encoding, bom_bytes });
    }
    if let Some((encoding, bom_bytes)) = marked {
        return Ok(Detected { encoding, bom_bytes });
    }
    refuse_other_kinds(&head)?;
    if let Some(encoding) = utf16_without_mark(&head) {
        return Ok(Detected { encoding, bom_bytes: 0 });
    }
    let (letters, errors) = count_utf8(file)?;
    // Text in another encoding hardly ever looks like UTF-8 by accident. A list of UTF-8 with a few broken cells stays
    // one, and those rows are rejected.
    let encoding = if errors == 0 || letters > errors { UTF_8 } else { guess(file)? };
    Ok(Detected { encoding, bom_bytes: 0 })
}

fn refuse_other_kinds(head: &[u8]) -> anyhow::Result<()> {
    let kind = match head {
        [b'P', b'K', 3, 4, ..] => "a workbook or an archive",
        [0xd0, 0xcf, 0x11, 0xe0, ..] => "an old workbook",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [0x1f, 0x8b, ..] => "compressed",
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("it is {kind}, not a CSV file"))
        .hint("save the list as CSV, for example as \"CSV UTF-8\" in Excel")
        .into())
}

/// Text in which every other byte is mostly zero.
fn utf16_without_mark(head: &[u8]) -> Option<&'static Encoding> {
    let pairs = head.len() / 2;
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if pairs < 4 {
        None
    } else if odd * 2 > pairs && even * 10 < pairs {
        Some(UTF_16LE)
    } else if even * 2 > pairs && odd * 10 < pairs {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// How many letters outside ASCII are UTF-8 in the whole file, and how many places are not.
fn count_utf8(file: &mut File) -> io::Result<(u64, u64)> {
    let (mut letters, mut errors) = (0_u64, 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut kept = 0;
    file.seek(SeekFrom::Start(0))?;
    loop {
        let read = file.read(&mut chunk[kept..])?;
        let end = kept + read;
        let mut at = 0;
        while at < end {
            let (valid, error) = match std::str::from_utf8(&chunk[at..end]) {
                Ok(text) => (text.len(), None),
                Err(error) => (error.valid_up_to(), Some(error.error_len())),
            };
            letters += chunk[at..at + valid].iter().filter(|byte| **byte >= 0xc0).count() as u64;
            at += valid;
            match error {
                None => {}
                Some(Some(length)) => {
                    errors += 1;
                    at += length;
                }
                // A letter whose end is yet to be read.
                Some(None) if read > 0 => break,
                Some(None) => {
                    // A list of UTF-8 that ends in the middle of a letter stays one.
                    errors += u64::from(letters == 0);
                    at = end;
                }
            }
        }
        if read == 0 {
            return Ok((letters, errors));
        }
        chunk.copy_within(at..end, 0);
        kept = end - at;
    }
}

/// What the bytes outside ASCII look like.
fn guess(file: &mut File) -> io::Result<&'static Encoding> {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let mut chunk = vec![0; CHUNK_BYTES / 16];
    let mut fed = 0;
    file.seek(SeekFrom::Start(0))?;
    loop {
        let read = file.read(&mut chunk)?;
        let bytes = &chunk[..read];
        if read == 0 || fed > EVIDENCE_BYTES {
            detector.feed(b"", true);
            return Ok(detector.guess(None, Utf8Detection::Deny));
        }
        // ASCII alone says nothing, but letters must stay together with their neighbours.
        if fed > 0 || !bytes.is_ascii() {
            detector.feed(bytes, false);
            fed += read;
        }
    }
}
