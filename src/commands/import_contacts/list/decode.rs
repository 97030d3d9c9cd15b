//! From a file's bytes to UTF-8, without forgetting which bytes a record came from.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use sha2::{Digest as _, Sha256};

use super::encoding::Detected;

/// So much is read at once. Little where this is tested, so that whatever can lie across a border does.
const CHUNK_BYTES: usize = if cfg!(test) { 509 } else { 256 * 1024 };
/// What stands in the text for bytes that are nothing in the list's encoding: no UTF-8 either, so that their row is
/// rejected.
const NO_TEXT: u8 = 0xff;

/// A list's bytes, and the text that they are.
pub(super) struct Input {
    file: File,
    digest: Sha256,
    bytes_read: u64,
    encoding: &'static Encoding,
    /// None for UTF-8, of which the text is the bytes.
    transcoder: Option<Transcoder>,
}

impl Input {
    /// Begins to read `file`, which stands at its beginning; also gives the byte order mark.
    pub(super) fn new(mut file: File, detected: Detected) -> io::Result<(Self, Vec<u8>)> {
        let mut mark = vec![0; detected.bom_bytes];
        file.read_exact(&mut mark)?;
        let digest = Sha256::new_with_prefix(&mark);
        let encoding = detected.encoding;
        let transcoder = (encoding != UTF_8).then(|| Transcoder::new(encoding));
        Ok((Self { file, digest, bytes_read: mark.len() as u64, encoding, transcoder }, mark))
    }

    /// Adds more of the list to `text`; says whether there was more.
    pub(super) fn fill(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        let buffer = match &mut self.transcoder {
            None => &mut *text,
            Some(transcoder) => transcoder.room(),
        };
        let before = buffer.len();
        buffer.resize(before + CHUNK_BYTES, 0);
        let read = loop {
            match self.file.read(&mut buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        buffer.truncate(before + read.as_ref().copied().unwrap_or(0));
        let read = read?;
        self.digest.update(&buffer[before..]);
        self.bytes_read += read as u64;
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.decode(text, read == 0);
        }
        Ok(read > 0)
    }

    /// Takes `length` bytes of text as done. Must end at a line's end, or at the end of the list.
    pub(super) fn forget(&mut self, length: usize) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.forget(length);
        }
    }

    /// The file's bytes behind the first `length` bytes of text that are not forgotten, where they are other ones.
    pub(super) fn raw(&self, length: usize) -> Option<&[u8]> {
        self.transcoder.as_ref().map(|transcoder| transcoder.raw(length))
    }

    /// How many bytes of the file were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The list's encoding.
    pub(super) fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    /// SHA-256 of what was read.
    pub(super) fn digest(&self) -> Sha256 {
        self.digest.clone()
    }
}

/// Decodes a list line by line, and remembers how many bytes each line had.
struct Transcoder {
    decoder: Decoder,
    /// Bytes of one code unit: 2 for UTF-16, else 1.
    unit_bytes: usize,
    is_big_endian: bool,
    raw: Vec<u8>,
    /// How much of `raw` is forgotten, and how much is decoded.
    begin: usize,
    decoded: usize,
    /// Lengths of text and of bytes, piece by piece, from `begin` on. Every line's end is a piece's end.
    pieces: VecDeque<(usize, usize)>,
}

impl Transcoder {
    fn new(encoding: &'static Encoding) -> Self {
        let is_utf16 = [UTF_16LE, UTF_16BE].contains(&encoding);
        Self {
            decoder: encoding.new_decoder_without_bom_handling(),
            unit_bytes: if is_utf16 { 2 } else { 1 },
            is_big_endian: encoding == UTF_16BE,
            raw: Vec::new(),
            begin: 0,
            decoded: 0,
            pieces: VecDeque::new(),
        }
    }

    /// Where more bytes of the file go.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.begin > CHUNK_BYTES {
            self.raw.drain(..self.begin);
            self.decoded -= self.begin;
            self.begin = 0;
        }
        &mut self.raw
    }

    fn decode(&mut self, text: &mut Vec<u8>, is_last: bool) {
        let end =
            if is_last { self.raw.len() } else { self.raw.len() - (self.raw.len() - self.decoded) % self.unit_bytes };
        while self.decoded < end {
            let piece_end = self.line_end(end);
            self.decode_piece(text, piece_end, false);
        }
        if is_last {
            self.decode_piece(text, end, true);
        }
    }

    /// The end of the line that begins where decoding stands; `end` when it is not in the buffer.
    fn line_end(&self, end: usize) -> usize {
        let rest = &self.raw[self.decoded..end];
        let at = if self.unit_bytes == 1 {
            memchr::memchr2(b'\n', b'\r', rest)
        } else {
            let is_end = |unit: &[u8]| {
                let unit = if self.is_big_endian { [unit[1], unit[0]] } else { [unit[0], unit[1]] };
                unit == [b'\n', 0] || unit == [b'\r', 0]
            };
            rest.chunks_exact(2).position(is_end).map(|unit| unit * 2)
        };
        at.map_or(end, |at| self.decoded + at + self.unit_bytes)
    }

    fn decode_piece(&mut self, text: &mut Vec<u8>, end: usize, is_last: bool) {
        let (text_before, raw_before) = (text.len(), self.decoded);
        loop {
            let source = &self.raw[self.decoded..end];
            let needed =
                self.decoder.max_utf8_buffer_length_without_replacement(source.len()).unwrap_or(source.len() * 4);
            let at = text.len();
            text.resize(at + needed, 0);
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(source, &mut text[at..], is_last);
            text.truncate(at + written);
            self.decoded += read;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => text.push(NO_TEXT),
            }
        }
        self.pieces.push_back((text.len() - text_before, self.decoded - raw_before));
    }

    fn forget(&mut self, mut length: usize) {
        while length > 0
            && let Some((text, raw)) = self.pieces.pop_front()
        {
            length = length.saturating_sub(text);
            self.begin += raw;
        }
    }

    fn raw(&self, length: usize) -> &[u8] {
        let (mut text, mut raw) = (0, 0);
        for (piece_text, piece_raw) in &self.pieces {
            if text >= length {
                break;
            }
            text += piece_text;
            raw += piece_raw;
        }
        &self.raw[self.begin..self.begin + raw]
    }
}
