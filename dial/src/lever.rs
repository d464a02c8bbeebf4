//! What can be turned, by the word that the configuration has for it.

/// How many times as long a window may be made.
/// At the bound: the value is refused.
pub const WINDOW_FACTOR_MAX: u32 = 60;

/// What can be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lever {
    /// How long windows of summaries are.
    Window,
    /// Which attributes span metrics are without.
    DropDimensions,
    /// How much patterns of logs leave out.
    Mask,
    /// How much of limits and budgets is left.
    Budget,
    /// How much of percentages is left.
    Percentage,
}

impl Lever {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Window, Self::DropDimensions, Self::Mask, Self::Budget, Self::Percentage];
    /// Their words.
    pub const WORDS: [&str; 5] = ["window", "drop_dimensions", "mask", "budget", "percentage"];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The lever of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lever| lever.word() == word)
    }
}
