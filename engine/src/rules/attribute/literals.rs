//! What the expression of a policy asks of the two ends of a text. Most are anchored, and most texts then differ in their
//! first or last bytes: one comparison spares the search.

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Look};
use tailwater_ottl::pattern::Pattern;

/// The ends that a text must have one of to match. They say only which texts do not.
#[derive(Debug, Clone)]
pub(super) struct Literals {
    starts: Vec<End>,
    ends: Vec<End>,
}

/// An end of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    /// The outermost of its bytes, up to eight, and which they are of a word.
    mask: u64,
    bytes: u64,
    /// All of them.
    whole: Box<[u8]>,
}

/// Bytes of an end that are compared before all of it is.
const END_BYTES: usize = size_of::<u64>();
/// Ends that are compared one after the other; with more of them the search is no dearer.
const ENDS_MAX: usize = 16;

impl Literals {
    /// Those of an expression, if each of its alternatives is anchored and begins or ends there with known bytes.
    pub(super) fn of(pattern: &Pattern) -> Option<Self> {
        // As `regex` reads expressions over bytes.
        let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern.as_str()).ok()?;
        let mut literals = Self { starts: Vec::new(), ends: Vec::new() };
        match hir.kind() {
            HirKind::Alternation(branches) => branches.iter().try_for_each(|branch| literals.add(branch))?,
            _ => literals.add(&hir)?,
        }
        (literals.starts.len() + literals.ends.len() <= ENDS_MAX).then_some(literals)
    }

    fn add(&mut self, branch: &Hir) -> Option<()> {
        let properties = branch.properties();
        let (kind, all) = if properties.look_set_prefix().contains(Look::Start) {
            (ExtractKind::Prefix, &mut self.starts)
        } else if properties.look_set_suffix().contains(Look::End) {
            (ExtractKind::Suffix, &mut self.ends)
        } else {
            return None;
        };
        let found = Extractor::new().kind(kind.clone()).extract(branch);
        for literal in found.literals()? {
            let end = End::of(literal.as_bytes(), &kind)?;
            if !all.contains(&end) {
                all.push(end);
            }
        }
        Some(())
    }

    /// From now on also those of `other`.
    pub(super) fn widen(&mut self, other: &Self) {
        self.starts.extend_from_slice(&other.starts);
        self.ends.extend_from_slice(&other.ends);
    }

    /// False where no search will find anything.
    #[inline]
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        let (Some(first), Some(last)) = (text.first_chunk::<END_BYTES>(), text.last_chunk::<END_BYTES>()) else {
            return true;
        };
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        self.starts.iter().any(|end| first & end.mask == end.bytes && text.starts_with(&end.whole))
            || self.ends.iter().any(|end| last & end.mask == end.bytes && text.ends_with(&end.whole))
    }
}

impl End {
    /// Of a literal, none if it is empty.
    fn of(literal: &[u8], kind: &ExtractKind) -> Option<Self> {
        let length = literal.len().min(END_BYTES);
        let (mut mask, mut bytes) = ([0; END_BYTES], [0; END_BYTES]);
        let (place, part) = match kind {
            ExtractKind::Suffix => (END_BYTES - length..END_BYTES, &literal[literal.len() - length..]),
            _ => (0..length, &literal[..length]),
        };
        mask[place.clone()].fill(0xff);
        bytes[place].copy_from_slice(part);
        let (mask, bytes) = (u64::from_le_bytes(mask), u64::from_le_bytes(bytes));
        (length > 0).then(|| Self { mask, bytes, whole: literal.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::attribute::{AttributeRules, Site, Test};
    use tailwater_ottl::pattern::compile;
    use tailwater_proto::otlp::check::{AnyValue, KeyValue};

    fn literals(pattern: &str) -> Option<Literals> {
        Literals::of(&compile(pattern).unwrap())
    }

    #[test]
    fn what_has_neither_end_does_not_match() {
        let patterns = [
            "^/admin/.*",
            "(?:^/admin/.*)|(?:/internal/(debug|trace)$)",
            "^/api/v1/payments/",
            "^a",
            "^(?i)Health",
            "^/a\\b.*x$",
            "^[a-c]x|(yz)+$",
            "(?:^/very/long/prefix/of/a/path)|(?:/very/long/suffix$)",
            "^\\x{e9}t",
            "t\\x{e9}$",
            "\\A/admin|\\.js\\z",
            "^(/a|/b)?$",
            "^/admin\\B",
            "(?m)^/admin/",
            "(?m)/admin/$",
            "/admin/",
            "^",
            "$",
            "",
            "(^a|b)c",
            "^/(admin|debug|trace|live|ready)/",
        ];
        let parts = [
            "/admin/",
            "/internal/",
            "debug",
            "trace",
            "/api/v1/payments/",
            "a",
            "x",
            "yz",
            "HEALTH",
            "health",
            "\u{e9}t",
            "t\u{e9}",
            "/very/long/prefix/of/a/path",
            "/very/long/suffix",
            ".js",
            "\n",
            "b",
            "c",
            "/b",
            "live/",
            " ",
        ];
        let mut texts: Vec<String> = parts.iter().map(|part| part.to_string()).collect();
        for one in parts {
            for other in parts {
                texts.push(format!("{one}{other}"));
                texts.extend(parts.iter().map(|third| format!("{one}{other}{third}")));
            }
        }
        let (mut spared, mut matched) = (0, 0);
        for pattern in patterns {
            let compiled = compile(pattern).unwrap();
            let Some(literals) = literals(pattern) else { continue };
            for text in &texts {
                let (may, does) = (literals.may_match(text.as_bytes()), compiled.is_match(text.as_bytes()));
                assert!(may || !does, "{pattern} {text:?}");
                spared += u32::from(!may);
                matched += u32::from(does);
            }
        }
        assert!(spared > 50_000 && matched > 2_000, "{spared} {matched}");
    }

    #[test]
    fn what_is_not_anchored_says_nothing() {
        for pattern in ["/admin/", "^/a|b", "(?m)^/admin/", "(?m)/admin/$", "^", "$", "", "^.*$", "(^a|b)c", "^[^/]x"] {
            assert!(literals(pattern).is_none(), "{pattern}");
        }
        for pattern in ["^/admin/.*", "(?:^/admin/.*)|(?:/internal/(debug|trace)$)", "\\A/admin|\\.js\\z"] {
            assert!(literals(pattern).is_some(), "{pattern}");
        }
        let known = literals("(?:^/admin/.*)|(?:/internal/(debug|trace)$)").unwrap();
        assert!(!known.may_match(b"/api/v1/carts/81234"));
        assert!(known.may_match(b"/x/internal/debug") && known.may_match(b"/admin/x"));
        assert!(known.may_match(b"/admin"), "short texts are searched");
        let long = literals("^/api/v1/payments/").unwrap();
        assert!(!long.may_match(b"/api/v1/carts/81234") && long.may_match(b"/api/v1/payments/1"));
    }

    /// Breaks where a key passes a text over that one of its leaves is satisfied by.
    #[test]
    fn a_key_of_several_expressions_and_texts_asks_all_that_may_hold() {
        let patterns = ["(?:^/admin/.*)|(?:/internal/(debug|trace)$)", "^/api/v1/payments/", "live", "^$|^no"];
        let among: Vec<Box<[u8]>> = vec![b"/healthz"[..].into(), b"/ready"[..].into()];
        let texts = [
            "/admin/users",
            "/x/internal/trace",
            "/internal/debug/",
            "/api/v1/payments/7",
            "/api/v1/carts/7",
            "/healthz",
            "/ready",
            "/live",
            "/alive/and/well",
            "",
            "none",
            "nothing at all",
        ];
        let (mut set, mut clear) = (0, 0);
        for chosen in 1..1u32 << (patterns.len() + 1) {
            let mut rules = AttributeRules::default();
            for (bit, pattern) in (0..).zip(patterns).filter(|(bit, _)| chosen >> bit & 1 == 1) {
                let test = rules.pattern(compile(pattern).unwrap());
                rules.leaf("url.path", test, bit);
            }
            if chosen >> patterns.len() & 1 == 1 {
                rules.leaf("url.path", Test::TextAmong(among.clone()), 4);
            }
            for (text, site) in texts.iter().flat_map(|text| [(text, Site::Span), (text, Site::Resource)]) {
                let (mut memory, mut leaves) = (rules.memory(), [0]);
                let attribute = KeyValue { key: b"url.path", value: AnyValue::Text(text.as_bytes()) };
                rules.visit(&attribute, site, &mut memory, &mut leaves);
                let is_asked = |bit: usize| chosen >> bit & 1 == 1;
                let is_read = site == Site::Resource || !text.is_empty();
                let mut expected = 0;
                for (bit, pattern) in patterns.iter().enumerate().filter(|(bit, _)| is_asked(*bit) && is_read) {
                    expected |= u64::from(compile(pattern).unwrap().is_match(text.as_bytes())) << bit;
                }
                let is_among = is_asked(4) && among.iter().any(|known| **known == *text.as_bytes());
                expected |= u64::from(is_among) << 4;
                assert_eq!(leaves[0], expected, "{chosen:b} {text:?} {site:?}");
                set += leaves[0].count_ones();
                clear += u32::from(leaves[0] == 0);
            }
        }
        assert!(set > 100 && clear > 100, "{set} {clear}");
    }
}
