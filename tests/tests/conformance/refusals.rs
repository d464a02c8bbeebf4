//! What the Collector refuses is refused, and nothing else but what is said in the documentation.

use tailwater_tests::conformance::{recorded, refusals};

#[test]
fn processors_are_refused_as_the_collector_refuses_them() {
    let all = refusals::read(&recorded::directory().join(refusals::FILE));
    let refused = all.iter().filter(|(_, is_accepted)| !is_accepted).count();
    assert!(refused > 30 && refused + 30 < all.len(), "{refused} of {}", all.len());
    let lines = refusals::differences(&all);
    assert!(lines.is_empty(), "{} lines:\n{}", lines.len(), lines.join("\n"));
}
