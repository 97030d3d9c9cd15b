//! Classes of numbers whose calls cost extra, from TOML.

use crate::config::nearest;
use crate::domain::phone::Costly;

/// A class of numbers by its word.
pub(super) fn costly(word: &str) -> Result<Costly, String> {
    word.parse().map_err(|_| {
        let known = Costly::ALL.iter().map(|class| class.as_str());
        match nearest(word, known) {
            Some(known) => format!("{word:?} is no class of numbers; did you mean {known}?"),
            None => format!(
                "{word:?} is no class of numbers that can be called; there are premium_rate and shared_cost, and \
                 emergency and short numbers are never called"
            ),
        }
    })
}
