//! The cells of one record, before anybody knows whether they are text.

/// The cells of one record: their bytes one behind another, without quotes, and where each ends.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Cells<'a> {
    /// Cells of which the first is `bytes[..ends[0]]`, the second `bytes[ends[0]..ends[1]]`, and so on.
    pub fn new(bytes: &'a [u8], ends: &'a [usize]) -> Self {
        Self { bytes: &bytes[..ends.last().copied().unwrap_or(0)], ends }
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The cells in their order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (0..self.len()).map(move |index| &self.bytes[self.start(index)..self.ends[index]])
    }

    /// All cells one behind another, if each of them is UTF-8.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.bytes).ok()?;
        // Two halves of a letter, the one at the end of a cell and the other at the beginning of the next, are none.
        self.ends.iter().all(|end| text.is_char_boundary(*end)).then_some(text)
    }

    /// One cell of `text`, which [`Cells::as_text`] gave.
    pub(super) fn text(&self, text: &'a str, index: usize) -> &'a str {
        &text[self.start(index)..self.ends[index]]
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}
