//! The functions, by what they are about: each row of the table is one, and names the module that has all of it. What stands
//! in no row is told by the compiler to be unused.

mod case;
mod collection;
mod csv;
mod encoding;
mod format;
mod grok;
mod hash;
mod kind;
mod network;
mod parse;
mod severity;
mod text;
mod time;
mod time_format;
mod url;
mod user_agent;
mod xml;

use super::field::Context;
use super::function::Function;

/// All functions, by their names.
static FUNCTIONS: &[&Function] = &[
    &encoding::BASE64_ENCODE,
    &kind::BOOL,
    &kind::COALESCE,
    &network::COMMUNITY_ID,
    &text::CONCAT,
    &collection::CONTAINS_VALUE,
    &xml::CONVERT_ATTRIBUTES_TO_ELEMENTS_XML,
    &case::CONVERT_CASE,
    &xml::CONVERT_TEXT_TO_ELEMENTS_XML,
    &time::DAY,
    &encoding::DECODE,
    &kind::DOUBLE,
    &time::PARSED_DURATION,
    &grok::EXTRACT_GROK_PATTERNS,
    &parse::EXTRACT_PATTERNS,
    &hash::FNV,
    &format::FORMAT,
    &time_format::FORMAT_TIME,
    &xml::GET_XML,
    &text::HAS_PREFIX,
    &text::HAS_SUFFIX,
    &kind::HEX,
    &time::HOUR,
    &time::HOURS,
    &collection::INDEX,
    &xml::INSERT_XML,
    &kind::INT,
    &kind::IS_BOOL,
    &kind::IS_DOUBLE,
    &kind::IS_EMPTY,
    &network::IS_IN_CIDR,
    &kind::IS_INT,
    &kind::IS_LIST,
    &kind::IS_MAP,
    &text::IS_MATCH,
    &kind::IS_ROOT_SPAN,
    &kind::IS_STRING,
    &text::IS_VALID_LUHN,
    &collection::KEYS,
    &kind::LEN,
    &parse::LOG,
    &hash::MD5,
    &time::MICROSECONDS,
    &time::MILLISECONDS,
    &time::MINUTE,
    &time::MINUTES,
    &time::MONTH,
    &hash::MURMUR3_HASH,
    &hash::MURMUR3_HASH_128,
    &time::NANOSECOND,
    &time::NANOSECONDS,
    &csv::PARSE_CSV,
    &parse::PARSE_INT,
    &parse::PARSE_JSON,
    &parse::PARSE_KEY_VALUE,
    &severity::PARSE_SEVERITY,
    &xml::PARSE_SIMPLIFIED_XML,
    &xml::PARSE_XML,
    &kind::PROFILE_ID,
    &xml::REMOVE_XML,
    &hash::SHA1,
    &hash::SHA256,
    &hash::SHA512,
    &time::SECOND_OF_MINUTE,
    &time::SECONDS,
    &collection::SLICE_TO_MAP,
    &collection::SORT,
    &kind::SPAN_ID,
    &text::SPLIT,
    &kind::STRING,
    &text::SUBSTRING,
    &time_format::TIME,
    &case::TO_CAMEL_CASE,
    &collection::TO_KEY_VALUE_STRING,
    &case::TO_LOWER_CASE,
    &case::TO_SNAKE_CASE,
    &case::TO_UPPER_CASE,
    &kind::TRACE_ID,
    &text::TRIM,
    &text::TRIM_PREFIX,
    &text::TRIM_SUFFIX,
    &time::TRUNCATE_TIME,
    &url::URL,
    &time::UNIX,
    &time::UNIX_MICRO,
    &time::UNIX_MILLI,
    &time::UNIX_NANO,
    &time::UNIX_SECONDS,
    &user_agent::USER_AGENT,
    &collection::VALUES,
    &time::WEEKDAY,
    &hash::XXH128,
    &hash::XXH3,
    &time::YEAR,
];

/// Converters of the reference that are refused, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["All", "Any", "Filter", "Find", "MapEach", "MapKeys", "Reduce", "When"],
        "takes a lambda, which the Collector has behind a feature gate; it is not supported",
    ),
    (&["Append", "DeleteIndex"], "changes data, which a condition must not"),
    (
        &["Now", "UUID", "UUIDv7"],
        "has another value each time; a verdict must come out the same when it is reached again",
    ),
];

/// The function of this name that `context` has.
pub(super) fn find(name: &str, context: Context) -> Option<&'static Function> {
    let is_there = |function: &Function| !function.is_of_spans || context == Context::Span;
    FUNCTIONS.iter().copied().find(|function| function.name == name && is_there(function))
}

/// Why a function that the reference has is refused.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    if FUNCTIONS.iter().any(|function| function.name == name) {
        return Some("is for conditions on spans only");
    }
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

/// All names, to find the nearest to a misspelt one.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

/// The names of the reference that are refused.
#[cfg(test)]
pub(super) fn refused_names() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().flat_map(|(names, _)| names.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_no_name_comes_twice() {
        let names: Vec<&str> = names().collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    }

    #[test]
    fn parameters_that_are_left_out_stand_last_and_have_names_of_their_own() {
        for function in FUNCTIONS {
            let parameters = function.parameters;
            assert!(parameters.is_sorted_by_key(|parameter| parameter.is_optional), "{function:?}");
            let of_name = |name: &str| parameters.iter().filter(|parameter| parameter.name == name).count();
            assert!(parameters.iter().all(|parameter| of_name(parameter.name) == 1), "{function:?}");
        }
    }
}
