//! The nearest known name to a misspelt one.

/// The known name nearest to `name`, when it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.map(|candidate| (distance(name, candidate), candidate)).min()?;
    // One slip in three characters is a slip, more is another word.
    (best.0 <= (name.len() / 3).max(1)).then_some(best.1)
}

/// Edits (insert, remove, replace, swap of neighbours) from one name to the other. Names are short.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(100).collect();
    let right: Vec<char> = right.chars().take(100).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = previous[column] + usize::from(a != b);
            let mut best = replaced.min(previous[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_slip_and_not_another_word() {
        let known = ["decision_wait", "num_traces", "policies"];
        assert_eq!(nearest("decison_wait", known.into_iter()), Some("decision_wait"));
        assert_eq!(nearest("num_tarces", known.into_iter()), Some("num_traces"));
        assert_eq!(nearest("storage", known.into_iter()), None);
        assert_eq!(nearest("", known.into_iter()), None);
    }

    #[test]
    fn counts_edits() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
