//! Names of days, months and halves of the day in other languages.

const LOCALES: &str = include_str!("../data/locales.txt");

/// The names of one language; lists are empty where it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locale {
    /// Sunday first.
    pub short_days: Vec<&'static str>,
    /// Sunday first.
    pub long_days: Vec<&'static str>,
    /// January first.
    pub short_months: Vec<&'static str>,
    /// January first.
    pub long_months: Vec<&'static str>,
    /// Before noon, after noon.
    pub halves: Vec<&'static str>,
}

/// The locale of a tag such as `de` or `pt-BR`, which is written as the CLDR writes it.
#[must_use]
pub fn locale(tag: &str) -> Option<Locale> {
    let mut lines = LOCALES.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let mut fields = line.split('\t');
        fields.next().filter(|tags| tags.split(' ').any(|known| known == tag))?;
        let mut names =
            || fields.next().filter(|names| !names.is_empty()).map_or(Vec::new(), |names| names.split('|').collect());
        Some(Locale {
            short_days: names(),
            long_days: names(),
            short_months: names(),
            long_months: names(),
            halves: names(),
        })
    })
}
