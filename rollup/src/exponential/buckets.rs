//! Counts of a range of neighbouring buckets, as narrow as the greatest of them allows: most series see few values, and
//! their counts fit a byte.

/// Counts from the first bucket on that has ever been needed to the last.
#[derive(Debug, Clone)]
pub struct Buckets {
    first: i32,
    counts: Counts,
}

#[derive(Debug, Clone)]
enum Counts {
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

/// Room is made for so many counts at a time, for values come near one another.
const GROWTH: usize = 8;

/// Does the same with counts of each width.
macro_rules! each_width {
    ($counts:expr, $list:ident => $body:expr) => {
        match $counts {
            Counts::One($list) => $body,
            Counts::Two($list) => $body,
            Counts::Four($list) => $body,
            Counts::Eight($list) => $body,
        }
    };
}

impl Default for Buckets {
    fn default() -> Self {
        Self { first: 0, counts: Counts::One(Vec::new()) }
    }
}

/// Two are equal when they cover the same buckets with the same counts, however wide.
impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.range() == other.range() && self.iter().eq(other.iter())
    }
}

impl Buckets {
    /// So many buckets from the first on.
    pub fn new(first: i32, counts: &[u64]) -> Self {
        let mut narrow = Counts::One(Vec::new());
        let widest = counts.iter().copied().max().unwrap_or(0);
        resize(&mut narrow, 0, counts.len());
        narrow.widen_for(widest);
        let mut buckets = Self { first, counts: narrow };
        for (place, count) in counts.iter().enumerate() {
            buckets.counts.set(place, *count);
        }
        buckets
    }

    /// The first and the last bucket that are covered. Some may be empty.
    #[inline]
    pub fn range(&self) -> Option<(i32, i32)> {
        let length = i32::try_from(self.len()).unwrap_or(i32::MAX);
        (length > 0).then(|| (self.first, self.first.saturating_add(length - 1)))
    }

    /// Buckets that are covered.
    #[inline]
    pub fn len(&self) -> usize {
        each_width!(&self.counts, list => list.len())
    }

    /// Each bucket that is covered and its count.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        (0..self.len()).map(|place| (self.first + i32::try_from(place).unwrap_or(0), self.counts.get(place)))
    }

    /// Covers the buckets from `first` to `last` too.
    pub fn cover(&mut self, first: i32, last: i32) {
        let Some((own_first, own_last)) = self.range() else {
            self.first = first;
            resize(&mut self.counts, 0, distance(first, last) + 1);
            return;
        };
        if first < own_first || last > own_last {
            let front = distance(first.min(own_first), own_first);
            let back = distance(own_last, last.max(own_last));
            resize(&mut self.counts, front, back);
            self.first = first.min(own_first);
        }
    }

    /// Adds to a bucket that is covered; false for another.
    #[inline]
    pub fn add(&mut self, index: i32, weight: u64) -> bool {
        let Ok(place) = usize::try_from(i64::from(index) - i64::from(self.first)) else { return false };
        if place >= self.len() {
            return false;
        }
        if let Counts::One(list) = &mut self.counts
            && weight == 1
            && list[place] < u8::MAX
        {
            list[place] += 1;
            return true;
        }
        let count = self.counts.get(place).saturating_add(weight);
        self.counts.set(place, count);
        true
    }

    /// Adds counts of the same scale.
    pub fn merge(&mut self, other: &Self) {
        if let Some((first, last)) = other.range() {
            self.cover(first, last);
            for (index, count) in other.iter().filter(|(_, count)| *count > 0) {
                self.add(index, count);
            }
        }
    }

    /// Takes counts of the same scale away; false where one is more than there is, and then what is left is of no use.
    pub fn subtract(&mut self, other: &Self) -> bool {
        other.iter().filter(|(_, count)| *count > 0).all(|(index, count)| {
            let place = usize::try_from(i64::from(index) - i64::from(self.first)).unwrap_or(usize::MAX);
            let is_covered = place < self.len();
            match is_covered.then(|| self.counts.get(place).checked_sub(count)).flatten() {
                Some(rest) => {
                    self.counts.set(place, rest);
                    true
                }
                None => false,
            }
        })
    }

    /// Makes one bucket of each `2^shift`.
    pub fn downscale(&mut self, shift: u32) {
        let Some((first, last)) = self.range() else { return };
        let mut counts = vec![0_u64; distance(first >> shift, last >> shift) + 1];
        for (index, count) in self.iter() {
            let sum = &mut counts[distance(first >> shift, index >> shift)];
            *sum = sum.saturating_add(count);
        }
        *self = Self::new(first >> shift, &counts);
    }

    /// Empties all buckets. They stay covered.
    pub fn empty(&mut self) {
        each_width!(&mut self.counts, list => list.fill(0));
    }

    /// Empties the buckets up to this one and returns what was in them. They stay covered.
    pub fn empty_up_to(&mut self, index: i32) -> u64 {
        let mut taken = 0_u64;
        for place in 0..self.len() {
            if i64::from(self.first) + i64::try_from(place).unwrap_or(i64::MAX) > i64::from(index) {
                break;
            }
            taken = taken.saturating_add(self.counts.get(place));
            self.counts.set(place, 0);
        }
        taken
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.counts {
            Counts::One(list) => list.capacity(),
            Counts::Two(list) => list.capacity() * 2,
            Counts::Four(list) => list.capacity() * 4,
            Counts::Eight(list) => list.capacity() * 8,
        }
    }
}

impl Counts {
    #[inline]
    #[expect(clippy::useless_conversion, reason = "of the widest counts it is none")]
    fn get(&self, place: usize) -> u64 {
        each_width!(self, list => list.get(place).map_or(0, |count| u64::from(*count)))
    }

    #[inline]
    #[expect(clippy::useless_conversion, reason = "of the widest counts it is none")]
    fn set(&mut self, place: usize, count: u64) {
        let is_set = each_width!(self, list => match (count.try_into(), list.get_mut(place)) {
            (Ok(count), Some(entry)) => {
                *entry = count;
                true
            }
            (_, None) => true,
            (Err(_), _) => false,
        });
        if !is_set {
            self.widen_for(count);
            self.set(place, count);
        }
    }

    /// Makes the counts as wide as this one, if they are narrower.
    #[cold]
    #[expect(clippy::useless_conversion, reason = "of the widest counts it is none")]
    fn widen_for(&mut self, count: u64) {
        let is_narrow = match self {
            Self::One(_) => count > u64::from(u8::MAX),
            Self::Two(_) => count > u64::from(u16::MAX),
            Self::Four(_) => count > u64::from(u32::MAX),
            Self::Eight(_) => false,
        };
        if is_narrow {
            let wide = |list: &mut dyn Iterator<Item = u64>| -> Self {
                if count <= u64::from(u16::MAX) {
                    Self::Two(list.map(|count| u16::try_from(count).unwrap_or(u16::MAX)).collect())
                } else if count <= u64::from(u32::MAX) {
                    Self::Four(list.map(|count| u32::try_from(count).unwrap_or(u32::MAX)).collect())
                } else {
                    Self::Eight(list.collect())
                }
            };
            *self = each_width!(self, list => wide(&mut list.iter().map(|count| u64::from(*count))));
        }
    }
}

/// Adds empty buckets before and behind.
fn resize(counts: &mut Counts, front: usize, back: usize) {
    each_width!(counts, list => {
        let length = list.len() + front + back;
        if length > list.capacity() {
            list.reserve_exact(length.next_multiple_of(GROWTH) - list.len());
        }
        list.splice(0..0, std::iter::repeat_n(0, front));
        list.resize(length, 0);
    });
}

/// How far the second is behind the first, which is not behind it.
fn distance(first: i32, second: i32) -> usize {
    usize::try_from(i64::from(second) - i64::from(first)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_widen_as_they_grow_and_saturate() {
        let mut buckets = Buckets::default();
        buckets.cover(-3, 3);
        let mut expected = 0_u64;
        for weight in [1, 254, 1, 65_000, 536, 1 << 32, u64::MAX - 5, 100] {
            expected = expected.saturating_add(weight);
            assert!(buckets.add(-1, weight));
            assert_eq!(buckets.iter().nth(2), Some((-1, expected)));
        }
        assert_eq!(expected, u64::MAX);
        assert!(!buckets.add(4, 1) && !buckets.add(-4, 1));
    }

    #[test]
    fn a_narrow_range_takes_a_byte_a_bucket() {
        let mut buckets = Buckets::default();
        buckets.cover(0, 0);
        buckets.cover(-80, 79);
        for index in -80..80 {
            buckets.add(index, 200);
        }
        assert_eq!((buckets.len(), buckets.heap_bytes()), (160, 160));
    }

    #[test]
    fn coarser_buckets_have_the_counts_of_theirs() {
        let mut buckets = Buckets::new(-3, &[1, 2, 3, 4, 5, 6]);
        buckets.downscale(1);
        // -3 is in -2; -2 and -1 in -1; 0 and 1 in 0; 2 in 1.
        assert_eq!(buckets.iter().collect::<Vec<_>>(), [(-2, 1), (-1, 5), (0, 9), (1, 6)]);
        assert_eq!(buckets.empty_up_to(-1), 6);
        assert_eq!((buckets.iter().map(|(_, count)| count).sum::<u64>(), buckets.range()), (15, Some((-2, 1))));
    }

    #[test]
    fn what_is_taken_away_must_be_there() {
        let mut buckets = Buckets::new(0, &[5, 5]);
        assert!(buckets.subtract(&Buckets::new(-2, &[0, 0, 3])));
        assert_eq!(buckets.iter().collect::<Vec<_>>(), [(0, 2), (1, 5)]);
        assert!(!buckets.clone().subtract(&Buckets::new(0, &[3])));
        assert!(!buckets.subtract(&Buckets::new(2, &[1])), "a bucket that there is not");
    }
}
