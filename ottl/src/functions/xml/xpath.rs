//! XPath expressions, as the reference's `antchfx/xpath` reads them: where it differs from XPath 1.0 it is followed.
//!
//! ```text
//! text -> syntax (tokens and grammar) -> plan (what is walked, and in which order)
//! ```

pub(super) mod names;
mod plan;
mod syntax;

pub use plan::{Axis, Compare, Compute, Function, Plan, Test, Type};

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, or what of it is not supported, in words.
pub fn compile(text: &str) -> Result<Plan, String> {
    if text.is_empty() {
        return Err("it is empty".to_string());
    }
    plan::plan(&syntax::parse(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_said() {
        for (text, words) in [
            ("", "empty"),
            ("//a[", "node"),
            ("$x", "variables"),
            ("namespace::a", "namespace"),
            ("nope::a", "no axis"),
            ("nope(1)", "no function"),
            ("replace('a', 'b', 'c')", "not supported"),
            ("matches('a', string(.))", "written out"),
            ("matches('a', '(')", "unclosed group"),
            ("count(a)[1]", "predicate"),
            ("a:b:c", "unexpected"),
            ("a: b", "name"),
            ("'a", "quote"),
        ] {
            let error = compile(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(compile(&"(".repeat(5_000)).unwrap_err().contains("nested"));
        assert!(compile(&"a[".repeat(5_000)).unwrap_err().contains("nested"));
        assert!(compile(&"a/".repeat(5_000)).unwrap_err().contains("nested"));
        assert!(compile(&"-".repeat(5_000)).is_err());
        assert!(compile(&format!("1{}", "+1".repeat(5_000))).unwrap_err().contains("nested"));
    }
}
