//! What a list has shown before, in memory that hardly grows with the list.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

/// So many entries are kept in memory: about 5 MB. What is more goes to a temporary file, sorted.
const RESIDENT: usize = 225_000;
const ENTRY_BYTES: usize = 16;
/// Bits of a run's filter for each of its entries: one look in a hundred is in vain.
const FILTER_BITS: usize = 10;
const PROBES: u64 = 7;
/// Entries of a run that are read at once.
const PAGE_ENTRIES: usize = 256;

/// A map from keys to values, each of 64 bits, to which a key is added once.
///
/// The keys of long lists lie in sorted runs on the disk, each behind a filter in memory, so that a million entries take
/// about a megabyte there.
#[derive(Default)]
pub(super) struct Seen {
    resident: HashMap<u64, u64, BuildHasherDefault<Mixer>>,
    runs: Vec<Run>,
}

impl Seen {
    /// The value of a key that is there; else adds it with `value`.
    ///
    /// # Errors
    /// When the temporary file cannot be written or read.
    pub(super) fn get_or_add(&mut self, key: u64, value: u64) -> io::Result<Option<u64>> {
        self.get_or_add_within(key, value, RESIDENT)
    }

    fn get_or_add_within(&mut self, key: u64, value: u64, resident: usize) -> io::Result<Option<u64>> {
        if let Some(found) = self.resident.get(&key) {
            return Ok(Some(*found));
        }
        for run in &mut self.runs {
            if let Some(found) = run.get(key)? {
                return Ok(Some(found));
            }
        }
        if self.resident.len() >= resident {
            self.runs.push(Run::write(self.resident.drain())?);
        }
        self.resident.insert(key, value);
        Ok(None)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Seen::get_or_add`].
    pub(super) fn get(&mut self, key: u64) -> io::Result<Option<u64>> {
        if let Some(found) = self.resident.get(&key) {
            return Ok(Some(*found));
        }
        for run in &mut self.runs {
            if let Some(found) = run.get(key)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Sorted entries in a temporary file.
struct Run {
    file: File,
    /// The first key of each page.
    pages: Vec<u64>,
    filter: Vec<u64>,
    entries: usize,
}

impl Run {
    fn write(entries: impl ExactSizeIterator<Item = (u64, u64)>) -> io::Result<Self> {
        let mut sorted: Vec<(u64, u64)> = entries.collect();
        sorted.sort_unstable();
        let mut filter = vec![0; (sorted.len() * FILTER_BITS).div_ceil(64)];
        let mut file = io::BufWriter::new(tempfile::tempfile()?);
        for (key, value) in &sorted {
            for bit in bits(*key, filter.len()) {
                filter[bit / 64] |= 1 << (bit % 64);
            }
            file.write_all(&key.to_le_bytes())?;
            file.write_all(&value.to_le_bytes())?;
        }
        let pages = sorted.iter().step_by(PAGE_ENTRIES).map(|(key, _)| *key).collect();
        Ok(Self { file: file.into_inner()?, pages, filter, entries: sorted.len() })
    }

    fn get(&mut self, key: u64) -> io::Result<Option<u64>> {
        if bits(key, self.filter.len()).any(|bit| self.filter[bit / 64] & (1 << (bit % 64)) == 0) {
            return Ok(None);
        }
        let Some(page) = self.pages.partition_point(|first| *first <= key).checked_sub(1) else { return Ok(None) };
        let first = page * PAGE_ENTRIES;
        let count = PAGE_ENTRIES.min(self.entries - first);
        let mut bytes = [0; PAGE_ENTRIES * ENTRY_BYTES];
        let bytes = &mut bytes[..count * ENTRY_BYTES];
        self.file.seek(SeekFrom::Start((first * ENTRY_BYTES) as u64))?;
        self.file.read_exact(bytes)?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes are eight"));
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let found = entries.binary_search_by_key(&key, |entry| number(&entry[..8]));
        Ok(found.ok().map(|at| number(&entries[at][8..])))
    }
}

/// The bits of a filter of so many words that stand for a key.
fn bits(key: u64, words: usize) -> impl Iterator<Item = usize> {
    let (mut hash, step) = (mixed(key), mixed(key ^ 0x5851_f42d_4c95_7f2d) | 1);
    (0..PROBES).map(move |_| {
        hash = hash.wrapping_add(step);
        // A multiplication in place of a division: the high half is evenly spread over the filter.
        usize::try_from((u128::from(hash) * (words as u128 * 64)) >> 64).unwrap_or(0)
    })
}

/// Spreads a key over 64 bits: the finaliser of `SplitMix64`.
fn mixed(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// Hashes one integer.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mixed(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mixed(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map_wherever_its_entries_lie(
            keys in prop::collection::vec(0..3000_u64, 0..4000), resident in 1..700_usize, spread in any::<bool>()
        ) {
            let (mut seen, mut map) = (Seen::default(), HashMap::new());
            for (value, key) in (0_u64..).zip(keys) {
                let key = if spread { mixed(key) } else { key };
                prop_assert_eq!(seen.get(key).unwrap(), map.get(&key).copied());
                let known = seen.get_or_add_within(key, value, resident).unwrap();
                prop_assert_eq!(known, map.get(&key).copied());
                map.entry(key).or_insert(value);
            }
        }
    }

    #[test]
    fn a_filter_seldom_sends_anybody_to_the_disk_in_vain() {
        let run = Run::write((0..10_000_u64).map(|key| (key, 0)).collect::<Vec<_>>().into_iter()).unwrap();
        let passes = |key: u64| bits(key, run.filter.len()).all(|bit| run.filter[bit / 64] & (1 << (bit % 64)) != 0);
        assert!((0..10_000).all(passes), "what is there always passes");
        let in_vain = (10_000..110_000).filter(|key| passes(*key)).count();
        assert!(in_vain < 2_000, "{in_vain} of 100,000");
    }
}
