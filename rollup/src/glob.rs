//! Patterns of names: `*` is any characters, also none; `?` is one character; everything else is itself.

use std::fmt;

/// A pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<char>,
}

impl Glob {
    /// Every text is a pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self { pattern: pattern.chars().collect() }
    }

    /// Whether the whole name is as the pattern says. Takes as many steps as name and pattern are long, multiplied; no more.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (mut rest, mut place) = (name.chars(), 0);
        // Where the last `*` is, and what it has not swallowed yet.
        let mut star: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (self.pattern.get(place), rest.next()) {
                (Some('*'), _) => {
                    rest = before.clone();
                    star = Some((place, before));
                    place += 1;
                }
                (None, None) => return true,
                (Some(wanted), Some(found)) if *wanted == '?' || *wanted == found => place += 1,
                _ => {
                    let Some((at, swallowed)) = &mut star else { return false };
                    if swallowed.next().is_none() {
                        return false;
                    }
                    rest = swallowed.clone();
                    place = *at + 1;
                }
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.iter().try_for_each(|c| write!(f, "{c}"))
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|taken| by_definition(rest, &name[taken..])),
            (['?', rest @ ..], [_, name @ ..]) => by_definition(rest, name),
            ([wanted, rest @ ..], [found, name @ ..]) => wanted == found && by_definition(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_by_its_definition(pattern in "[ab*?\u{e9}]{0,8}", name in "[ab\u{e9}]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&name));
            prop_assert_eq!(Glob::new(&pattern).matches(&name), expected);
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let name = "a".repeat(5_000);
        assert!(!Glob::new(&("*a".repeat(100) + "b")).matches(&name));
        assert!(Glob::new("http.*.duration").matches("http.server.duration"));
        assert_eq!(Glob::new("a?*").to_string(), "a?*");
    }
}
