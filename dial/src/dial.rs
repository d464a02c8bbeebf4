//! What a node does less of. A dial at rest changes nothing; of several the strongest holds, lever by lever, so that it does not
//! matter in which order they came.

use crate::error::DialError;
use crate::lever::{Lever, WINDOW_FACTOR_MAX};

/// The least part of limits, budgets and percentages that may be left: what is meant to be nothing is said with rules.
/// At the bound: the value is refused.
const PART_MIN: f64 = 0.001;
/// How many times a lever with degrees may be moved in one step, in either direction.
/// At the bound: the rest follows in steps to come.
pub const STEP_FACTOR: u32 = 2;
/// Attributes that a dial may name.
/// At the bound: the value is refused.
pub const DIMENSIONS_MAX: usize = 64;
/// Bytes of their names.
/// At the bound: the value is refused.
const DIMENSION_BYTES_MAX: usize = 256;

/// Where all levers stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Dial {
    /// Windows of summaries are so many times as long.
    pub window: u32,
    /// Span metrics are without these attributes; `*` is all that are configured besides the usual ones. In the order of
    /// their names, each once.
    pub drop_dimensions: Vec<String>,
    /// Patterns of logs are coarser, without samples and values.
    pub has_strong_masks: bool,
    /// This part of limits and budgets is left.
    pub budget: f64,
    /// This part of percentages is left.
    pub percentage: f64,
}

impl Default for Dial {
    fn default() -> Self {
        Self { window: 1, drop_dimensions: Vec::new(), has_strong_masks: false, budget: 1.0, percentage: 1.0 }
    }
}

impl Dial {
    /// Whether nothing is changed by it.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        *self == Self::default()
    }

    /// Lever by lever the stronger of both.
    pub fn join(&mut self, other: &Self) {
        self.window = self.window.max(other.window);
        self.drop_dimensions.extend(other.drop_dimensions.iter().cloned());
        self.drop_dimensions.sort();
        self.drop_dimensions.dedup();
        self.has_strong_masks |= other.has_strong_masks;
        self.budget = self.budget.min(other.budget);
        self.percentage = self.percentage.min(other.percentage);
    }

    /// Puts a lever where another dial has it.
    pub fn set(&mut self, lever: Lever, other: &Self) {
        match lever {
            Lever::Window => self.window = other.window,
            Lever::DropDimensions => self.drop_dimensions.clone_from(&other.drop_dimensions),
            Lever::Mask => self.has_strong_masks = other.has_strong_masks,
            Lever::Budget => self.budget = other.budget,
            Lever::Percentage => self.percentage = other.percentage,
        }
    }

    /// Goes a step towards `goal`: what has degrees by a factor of `STEP_FACTOR` at most, the rest at once.
    pub fn approach(&mut self, goal: &Self) {
        self.window = goal.window.clamp(self.window.div_ceil(STEP_FACTOR), self.window.saturating_mul(STEP_FACTOR));
        let factor = f64::from(STEP_FACTOR);
        let part = |here: f64, goal: f64| goal.clamp(here / factor, here * factor);
        (self.budget, self.percentage) = (part(self.budget, goal.budget), part(self.percentage, goal.percentage));
        self.drop_dimensions.clone_from(&goal.drop_dimensions);
        self.has_strong_masks = goal.has_strong_masks;
    }

    /// Puts a lever where a text says.
    ///
    /// # Errors
    /// The text says nothing that the lever has.
    pub fn put(&mut self, lever: Lever, text: &str) -> Result<(), DialError> {
        let text = text.trim();
        let wrong = || DialError::Value { lever, value: text.chars().take(64).collect() };
        match lever {
            Lever::Window => {
                let factor: u32 = text.trim_end_matches('x').parse().map_err(|_| wrong())?;
                self.window =
                    Some(factor).filter(|factor| (1..=WINDOW_FACTOR_MAX).contains(factor)).ok_or_else(wrong)?;
            }
            Lever::DropDimensions => {
                let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                let mut names: Vec<String> = names.map(str::to_string).collect();
                names.sort();
                names.dedup();
                if names.len() > DIMENSIONS_MAX || names.iter().any(|name| name.len() > DIMENSION_BYTES_MAX) {
                    return Err(wrong());
                }
                self.drop_dimensions = names;
            }
            Lever::Mask => {
                self.has_strong_masks = match text {
                    "usual" => false,
                    "strong" => true,
                    _ => return Err(wrong()),
                }
            }
            Lever::Budget => self.budget = part(text).ok_or_else(wrong)?,
            Lever::Percentage => self.percentage = part(text).ok_or_else(wrong)?,
        }
        Ok(())
    }

    /// Where a lever stands, as it is written.
    #[must_use]
    pub fn text(&self, lever: Lever) -> String {
        match lever {
            Lever::Window => format!("{}x", self.window),
            Lever::DropDimensions => self.drop_dimensions.join(","),
            Lever::Mask => if self.has_strong_masks { "strong" } else { "usual" }.to_string(),
            Lever::Budget => self.budget.to_string(),
            Lever::Percentage => self.percentage.to_string(),
        }
    }

    /// Where a lever stands, as a number: the factor of windows, how many attributes are left out, 1 for strong masks, what is
    /// left of budgets and of percentages.
    #[must_use]
    pub fn level(&self, lever: Lever) -> f64 {
        match lever {
            Lever::Window => f64::from(self.window),
            Lever::DropDimensions => f64::from(u32::try_from(self.drop_dimensions.len()).unwrap_or(u32::MAX)),
            Lever::Mask => f64::from(u8::from(self.has_strong_masks)),
            Lever::Budget => self.budget,
            Lever::Percentage => self.percentage,
        }
    }

    /// The levers that do not stand where another dial has them.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Lever> + 'a {
        Lever::ALL.into_iter().filter(|lever| {
            let mut same = self.clone();
            same.set(*lever, other);
            same != *self
        })
    }
}

/// A part that may be left.
fn part(text: &str) -> Option<f64> {
    text.parse().ok().filter(|part| (PART_MIN..=1.0).contains(part))
}

/// As it is written: the levers that are not at rest.
impl std::fmt::Display for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rest = Self::default();
        let levers: Vec<String> =
            self.differing(&rest).map(|lever| format!("{}={}", lever.word(), self.text(lever))).collect();
        if levers.is_empty() { f.write_str("nothing") } else { f.write_str(&levers.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(levers: &[(Lever, &str)]) -> Dial {
        let mut dial = Dial::default();
        levers.iter().for_each(|(lever, text)| dial.put(*lever, text).unwrap());
        dial
    }

    #[test]
    fn of_several_the_strongest_holds_lever_by_lever() {
        let one = dial(&[(Lever::Window, "4x"), (Lever::Budget, "0.9"), (Lever::DropDimensions, "b,a")]);
        let two = dial(&[
            (Lever::Window, "2"),
            (Lever::Budget, "0.5"),
            (Lever::DropDimensions, "c, a"),
            (Lever::Mask, "strong"),
        ]);
        let (mut left, mut right) = (one.clone(), two.clone());
        left.join(&two);
        right.join(&one);
        assert_eq!(left, right);
        assert_eq!(left.to_string(), "window=4x drop_dimensions=a,b,c mask=strong budget=0.5");
        let mut same = left.clone();
        same.join(&Dial::default());
        same.join(&one);
        assert_eq!(same, left);
    }

    #[test]
    fn a_step_is_bounded_and_gets_there() {
        let goal = dial(&[
            (Lever::Window, "60x"),
            (Lever::Budget, "0.3"),
            (Lever::Percentage, "0.01"),
            (Lever::DropDimensions, "a"),
            (Lever::Mask, "strong"),
        ]);
        let mut here = Dial::default();
        let mut told = Vec::new();
        while here != goal {
            here.approach(&goal);
            told.push(format!("{} {} {}", here.window, here.budget, here.percentage));
        }
        let expected = ["2 0.5 0.5", "4 0.3 0.25", "8 0.3 0.125", "16 0.3 0.0625", "32 0.3 0.03125", "60 0.3 0.015625"];
        assert_eq!((&told[..6], told.len()), (&expected.map(str::to_string)[..], 7));
        for _ in 0..6 {
            here.approach(&Dial::default());
            assert!(!here.is_at_rest());
        }
        here.approach(&Dial::default());
        assert!(here.is_at_rest());
    }

    #[test]
    fn what_is_written_is_read_again_and_nonsense_is_refused() {
        let dial = dial(&[
            (Lever::Window, "60x"),
            (Lever::Budget, "0.001"),
            (Lever::DropDimensions, "*"),
            (Lever::Mask, "strong"),
            (Lever::Percentage, "0.25"),
        ]);
        for lever in Lever::ALL {
            let mut read = Dial::default();
            read.put(lever, &dial.text(lever)).unwrap();
            assert_eq!(read.text(lever), dial.text(lever));
            assert_eq!(read.differing(&Dial::default()).collect::<Vec<_>>(), [lever]);
            assert_eq!(Lever::from_word(lever.word()), Some(lever));
        }
        let wrong = [
            (Lever::Window, "0"),
            (Lever::Window, "61x"),
            (Lever::Window, "x"),
            (Lever::Window, "-1"),
            (Lever::Mask, "weak"),
            (Lever::Budget, "0"),
            (Lever::Budget, "1.1"),
            (Lever::Budget, "NaN"),
            (Lever::Budget, "half"),
            (Lever::Percentage, "50%"),
        ];
        for (lever, text) in wrong {
            let mut dial = Dial::default();
            assert!(dial.put(lever, text).is_err(), "{text}");
            assert!(dial.is_at_rest(), "{text}");
        }
        assert!(Dial::default().put(Lever::DropDimensions, &"x".repeat(257)).is_err());
    }
}
