//! Windows of counts as simple as can be: how many of each letter.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Letters(BTreeMap<u8, u32>);

impl Counts for Letters {
    fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(letter, count)| *self.0.entry(letter).or_default() += count);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (letter, count) in &self.0 {
            out.push(*letter);
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let (entries, rest) = bytes.as_chunks::<5>();
        let entry = |[letter, count @ ..]: &[u8; 5]| (*letter, u32::from_le_bytes(*count));
        if rest.is_empty() { Ok(Self(entries.iter().map(entry).collect())) } else { Err(StateError::Damaged) }
    }
}

fn letters(text: &str) -> Letters {
    let mut letters = Letters::default();
    text.bytes().for_each(|letter| *letters.0.entry(letter).or_default() += 1);
    letters
}

fn count(counting: &mut Counting<Letters>, text: &str) {
    counting.open().merge(letters(text));
}

fn body(bytes: &[u8]) -> Body {
    Body { signal: Signal::Metrics, items: u32::try_from(bytes.len()).unwrap(), bytes: bytes.to_vec() }
}

fn part(window: u64, text: &str) -> Part {
    Part { window, counts: written(&letters(text)) }
}

fn former(states: &[Vec<u8>]) -> Former<Letters> {
    Former::of(states)
}

/// A state without one of its parts (`state`), or with one in another place (`read_state`), comes back as something else.
#[test]
fn a_state_is_read_back() {
    let mut counting = Counting::new(5);
    count(&mut counting, "abba");
    counting.close(5);
    count(&mut counting, "c");
    let logs = Body { signal: Signal::Logs, items: 7, bytes: b"logs".to_vec() };
    let outgoing = Outgoing { window: 4, bodies: vec![body(b"metrics"), logs] };
    let emitting = Emitting::<Letters>::new(1, 4, Some(outgoing.clone()));
    let former = former(&[state(&counting, Some(&emitting), b"carried")]);
    assert_eq!(former.counts, letters("abbac"));
    assert_eq!((former.next_window, former.emitted_through, former.damaged), (7, 4, 0));
    assert_eq!((former.outgoing, former.carried), (Some(outgoing), b"carried".to_vec()));
}

/// Where the docs draw them.
#[test]
fn a_state_has_its_fields_where_they_are_drawn() {
    let mut counting = Counting::new(2);
    count(&mut counting, "a");
    let emitting = Emitting::<Letters>::new(1, 1, Some(Outgoing { window: 1, bodies: vec![body(b"xy")] }));
    let parts = [
        &[1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0][..],
        &[2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, b'a', 1, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 0, 0, 0, 2, 0, 0, 0, b'x', b'y'],
        &[1, 0, 0, 0, b'z'],
    ];
    assert_eq!(state(&counting, Some(&emitting), b"z"), parts.concat());
}

/// `Former::of` without `*window <= emitted_through` tells a window twice: a core may not have heard yet that it was emitted.
#[test]
fn what_was_emitted_is_left_out_whichever_core_still_has_it() {
    let (mut first, mut other) = (Counting::new(1), Counting::new(1));
    count(&mut first, "a");
    count(&mut other, "bb");
    first.close(1);
    other.close(1);
    count(&mut first, "c");
    count(&mut other, "d");
    first.emitted(1);
    let emitting = Emitting::<Letters>::new(2, 1, None);
    let states = [state(&first, Some(&emitting), &[]), state(&other, None, &[])];
    let former = former(&states);
    assert_eq!((former.counts, former.next_window, former.emitted_through), (letters("cd"), 3, 1));
}

/// `Former::of` with a `next_window` that a state has counts into a window that may be emitted: it would be left out.
#[test]
fn a_start_opens_a_window_that_no_state_has() {
    assert_eq!(former(&[]).next_window, 1);
    let mut counting = Counting::new(9);
    count(&mut counting, "a");
    let emitting = Emitting::<Letters>::new(1, 3, None);
    assert_eq!(former(&[state(&counting, Some(&emitting), &[])]).next_window, 10);
    let emitting = Emitting::<Letters>::new(1, 12, None);
    assert_eq!(former(&[state(&Counting::<Letters>::new(3), Some(&emitting), &[])]).next_window, 13);
}

/// What is carried is as of the last emission: of two first cores (the former's, and that of the run before, whose journal is
/// still there) the one that emitted last. `max_by_key` over what has nothing to carry would lose it.
#[test]
fn what_is_carried_is_that_of_the_last_emission() {
    let of = |through, carried: &[u8]| {
        state(&Counting::<Letters>::new(through + 1), Some(&Emitting::new(1, through, None)), carried)
    };
    let states = [of(4, b"new"), of(3, b"old"), of(5, b"")];
    assert_eq!(former(&states).carried, b"new");
    assert_eq!(former(&[of(4, b""), of(3, b"")]).carried, b"");
}

/// One state that can't be read costs no other: `filter_map` in `Former::of`.
#[test]
fn damaged_states_are_counted_and_cost_no_other() {
    let mut counting = Counting::new(1);
    count(&mut counting, "a");
    let good = state(&counting, None, &[]);
    let newer = [&[VERSION + 1], &good[1..]].concat();
    let cut = good[..good.len() - 1].to_vec();
    let longer = [&good[..], &[0]].concat();
    // The part has six bytes, of which no count is made.
    let mut part = good.clone();
    part[21] = 6;
    part.insert(26, 0);
    let former = former(&[newer, cut, longer, Vec::new(), part, good]);
    assert_eq!((former.counts, former.damaged), (letters("a"), 5));
}

/// The window is one core's until it is emitted: `Counting::emitted` that forgets more loses what came since, and less tells it
/// twice.
#[test]
fn a_core_forgets_what_is_emitted_and_no_more() {
    let mut counting = Counting::new(1);
    count(&mut counting, "a");
    counting.close(1);
    count(&mut counting, "b");
    counting.close(1);
    assert_eq!(counting.number(), 2, "closed once");
    assert_eq!(counting.given(1), [part(1, "a")]);
    counting.emitted(1);
    assert_eq!(counting.given(2), [part(2, "b")]);
    assert_eq!(counting.parts().map(|(window, _)| window).collect::<Vec<_>>(), [2]);
}

/// `Emitting::collect` has to wait for all, and to take each once: a message may come twice.
#[test]
fn a_window_is_complete_when_all_have_given() {
    let part = |text| vec![part(1, text)];
    let mut emitting = Emitting::<Letters>::new(3, 0, None);
    assert!(emitting.may_close());
    emitting.close(1);
    assert!(!emitting.may_close(), "one at a time");
    assert_eq!(emitting.collect(0, 1, &part("a")), Ok(None));
    assert_eq!(emitting.collect(0, 1, &part("a")), Ok(None));
    assert_eq!(emitting.collect(1, 7, &part("x")), Ok(None), "not this window");
    assert_eq!(emitting.collect(9, 1, &part("x")), Ok(None), "no such core");
    assert_eq!(emitting.collect(2, 1, &[]), Ok(None));
    assert_eq!(emitting.collect(1, 1, &part("b")), Ok(Some((1, letters("ab")))));
    emitting.emit(1, vec![body(b"one"), body(b"two")]);
    assert!(!emitting.may_close(), "what is on its way is delivered first");
    assert!(emitting.delivered());
    assert!(!emitting.delivered());
    assert!(emitting.may_close() && emitting.outgoing().is_none() && emitting.emitted_through() == 1);
    emitting.close(2);
    emitting.emit(2, Vec::new());
    assert!(emitting.outgoing().is_none(), "nothing leaves of an empty window");
}

/// A part that can't be read is told of, and the others count: without `for part` going on they would be lost with it.
#[test]
fn a_part_that_is_damaged_costs_no_other() {
    let mut emitting = Emitting::<Letters>::new(2, 0, None);
    emitting.close(1);
    let parts = [Part { window: 1, counts: vec![0] }, part(1, "a")];
    assert_eq!(emitting.collect(0, 1, &parts), Err(StateError::Damaged));
    assert_eq!(emitting.collect(1, 1, &[part(1, "b")]), Ok(Some((1, letters("ab")))));
}

proptest! {
    /// An index or a subtraction in place of `Rest` panics here.
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        _ = former(std::slice::from_ref(&bytes));
        bytes.insert(0, VERSION);
        _ = former(&[bytes]);
    }

    /// So it does with a state of which some bytes are others.
    #[test]
    fn no_damage_panics(at in 0..120_usize, byte in any::<u8>(), length in 0..120_usize) {
        let mut counting = Counting::new(5);
        count(&mut counting, "abba");
        let emitting = Emitting::<Letters>::new(1, 4, Some(Outgoing { window: 4, bodies: vec![body(b"metrics")] }));
        let mut state = state(&counting, Some(&emitting), b"carried");
        let at = at % state.len();
        state[at] = byte;
        _ = former(std::slice::from_ref(&state));
        state.truncate(length);
        prop_assert!(former(&[state.clone()]).damaged <= 1);
    }

    /// However counts are spread over cores and windows, and however late cores hear of emissions: each count is in one emission,
    /// or in what a start goes on from. `Emitting::collect` without `part.window > self.emitted_through` tells a window twice
    /// where a core gives the next before it has heard of it.
    #[test]
    fn nothing_is_lost_or_told_twice(
        texts in proptest::collection::vec("[a-d]{0,4}", 1..12), cores in 1..4_usize, heard in any::<u64>(),
    ) {
        let mut counting: Vec<_> = (0..cores).map(|_| Counting::new(1)).collect();
        let mut emitting = Emitting::<Letters>::new(cores, 0, None);
        let (mut told, mut sent) = (Letters::default(), Letters::default());
        for (turn, text) in texts.iter().enumerate() {
            count(&mut counting[turn % cores], text);
            sent.merge(letters(text));
            if turn % 3 == 2 {
                let window = counting[0].number();
                emitting.close(window);
                counting.iter_mut().for_each(|core| core.close(window));
                for (core, counting) in counting.iter().enumerate() {
                    let collected = emitting.collect(core, window, &counting.given(window)).unwrap();
                    collected.into_iter().for_each(|(_, counts)| told.merge(counts));
                }
                emitting.emit(window, Vec::new());
                counting[0].emitted(window);
            }
            let hears = |core: usize| heard >> (turn * cores + core) & 1 == 1;
            let hearing = counting.iter_mut().enumerate().filter(|(core, _)| hears(*core));
            hearing.for_each(|(_, counting)| counting.emitted(emitting.emitted_through()));
        }
        let of = |(core, counting)| state(counting, (core == 0).then_some(&emitting), &[]);
        let states: Vec<_> = counting.iter().enumerate().map(of).collect();
        told.merge(former(&states).counts);
        prop_assert_eq!(told, sent);
    }
}
