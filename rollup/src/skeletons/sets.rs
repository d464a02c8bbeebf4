//! Sets of services by number: traces go through few different ones, so that a trace needs a number only, and a span that
//! adds nothing new a look into one table.

use super::names::OTHERS;
use ahash::RandomState;
use hashbrown::HashMap;

/// Services of one trace that are told apart.
/// At the bound: further ones are one service, `*`.
const SERVICES_OF_TRACE_MAX: usize = 64;
/// Different sets at a time.
/// At the bound: traces count for the shape `<*>` until the next window.
const SETS_MAX: usize = 1 << 14;
/// Ways from one set to another that are remembered.
/// At the bound: as at that on sets.
const STEPS_MAX: usize = 1 << 16;

/// Bytes of all sets at the bounds: of each twice what most traces go through at most, sixteen services.
pub const SETS_BYTES_MAX: usize = SETS_MAX * (2 * 16 * 4 + 64) + STEPS_MAX * 16;

/// Nothing yet.
pub const EMPTY: u32 = 0;
/// A set that there was no room for.
pub const LOST: u32 = u32::MAX;

/// A service in a set: its number, and whether a span of it has an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u32);

impl Member {
    /// A service of that number, at most `OTHERS`.
    pub fn new(service: u32, has_error: bool) -> Self {
        Self(service << 1 | u32::from(has_error))
    }

    /// Its number.
    pub fn service(self) -> u32 {
        self.0 >> 1
    }

    /// Whether a span of it has an error.
    pub fn has_error(self) -> bool {
        self.0 & 1 == 1
    }
}

/// All sets.
#[derive(Debug)]
pub struct Sets {
    /// Each in order, a service once.
    sets: Vec<Box<[Member]>>,
    numbers: HashMap<Box<[Member]>, u32, RandomState>,
    steps: HashMap<(u32, Member), u32, RandomState>,
    is_full: bool,
}

impl Sets {
    /// The empty one.
    pub fn new(hasher: RandomState) -> Self {
        let empty: Box<[Member]> = Box::default();
        let mut numbers = HashMap::with_hasher(hasher.clone());
        numbers.insert(empty.clone(), EMPTY);
        Self { sets: vec![empty], numbers, steps: HashMap::with_hasher(hasher), is_full: false }
    }

    /// The set with that member besides; `LOST` where there is no room for it.
    #[inline]
    pub fn with(&mut self, set: u32, member: Member) -> u32 {
        match self.steps.get(&(set, member)) {
            Some(next) => *next,
            None => self.learn(set, member),
        }
    }

    #[cold]
    fn learn(&mut self, set: u32, member: Member) -> u32 {
        let Some(members) = self.sets.get(set as usize) else { return LOST };
        let mut next = members.to_vec();
        match next.binary_search_by_key(&member.service(), |known| known.service()) {
            Ok(place) => next[place] = next[place].max(member),
            // The room of the last is that of all further ones, which is the greatest number.
            Err(_) if next.len() >= SERVICES_OF_TRACE_MAX => {
                let has_error = next[SERVICES_OF_TRACE_MAX - 1].has_error() || member.has_error();
                next[SERVICES_OF_TRACE_MAX - 1] = Member::new(OTHERS, has_error);
            }
            Err(place) => next.insert(place, member),
        }
        let number = match self.numbers.get(next.as_slice()) {
            Some(number) => *number,
            None => match u32::try_from(self.sets.len()) {
                Ok(number) if self.sets.len() < SETS_MAX => {
                    self.sets.push(next.clone().into());
                    self.numbers.insert(next.into(), number);
                    number
                }
                _ => LOST,
            },
        };
        if number == LOST || self.steps.len() >= STEPS_MAX {
            self.is_full = true;
            return LOST;
        }
        self.steps.insert((set, member), number);
        number
    }

    /// The members of a set, in order; of one that is lost none.
    pub fn members(&self, set: u32) -> &[Member] {
        self.sets.get(set as usize).map_or(&[], |members| members)
    }

    /// Whether there was no room for one.
    pub fn is_full(&self) -> bool {
        self.is_full
    }
}
