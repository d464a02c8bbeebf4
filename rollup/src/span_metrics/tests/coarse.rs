//! Span metrics that are without some attributes for a time.

use super::*;

fn dimensions(names: &[(&str, Option<&str>)]) -> Vec<Dimension> {
    let one = |(name, default): &(&str, Option<&str>)| Dimension {
        name: (*name).to_string(),
        default: default.map(str::to_string),
    };
    names.iter().map(one).collect()
}

fn with(attributes: Vec<KeyValue>, name: &str) -> Span {
    Span { attributes, ..span(name, 1, 0, 3) }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_dropped_dimension_is_gone_and_comes_back() {
    let plan = Arc::new(Plan { dimensions: dimensions(&[("route", Some("none")), ("tenant", None)]), ..plan() });
    let (mut tally, mut output) = (Tally::new(plan.clone(), 7), Output::new(plan));
    let resource = || vec![text("service.name", "s")];
    let mut window = |tally: &mut Tally, route: &str, names: &[&str], at| {
        let mut sums = Sums::default();
        tally.leave_out(&owned(names), &mut sums);
        output.tell_idle(names.is_empty());
        count(tally, &request(resource(), vec![with(vec![text("route", route), text("tenant", "t")], "x")]), at);
        tally.take_into(&mut sums);
        seen(&output.emit(sums, Exemplars::default(), at))
            .into_iter()
            .map(|(name, (calls, ..))| (name, calls))
            .collect::<Vec<_>>()
    };
    let rest =
        "service.name=s | service.name=s span.name=x span.kind=SPAN_KIND_INTERNAL status.code=STATUS_CODE_UNSET ";
    let named = |attributes: &str| format!("{rest}{attributes}");
    assert_eq!(window(&mut tally, "/a", &[], 1), [(named("route=/a tenant=t "), 1)]);
    // Not `route=none`: that is what a span without one counts for.
    assert_eq!(window(&mut tally, "/a", &["route"], 2), [(named("tenant=t "), 1)], "and no series that stands still");
    assert_eq!(window(&mut tally, "/b", &["*"], 3), [(named(""), 1)]);
    let back = window(&mut tally, "/a", &[], 4);
    assert!(back.contains(&(named("route=/a tenant=t "), 2)), "goes on where it was: {back:?}");
    assert_eq!(back.iter().map(|(_, calls)| calls).sum::<u64>(), 4, "{back:?}");
}

#[test]
fn what_was_gathered_before_is_walked_again() {
    let plan = Arc::new(Plan { dimensions: dimensions(&[("route", None)]), ..plan() });
    let mut tally = Tally::new(plan, 7);
    let bytes = request(Vec::new(), vec![with(vec![text("route", "/a")], "x")]).encode_to_vec();
    let gather = |tally: &mut Tally| {
        let mut walk = Walk(tally.gather());
        traces(&bytes, 1 << 20, &mut walk).unwrap();
        walk.0.finish()
    };
    let gathered = gather(&mut tally);
    let mut sums = Sums::default();
    tally.leave_out(&owned(&["route"]), &mut sums);
    assert!(!tally.count(gathered, 1), "numbers of series mean something else");
    let again = gather(&mut tally);
    assert!(tally.count(again, 1));
    tally.take_into(&mut sums);
    assert_eq!((sums.calls(), sums.len()), (1, 1));
}

#[test]
fn any_attribute_that_tells_series_apart_can_be_left_out() {
    let all = plan();
    let left = all.without(&owned(&["span.name", "service.name", "host"]));
    assert_eq!(left.standard, Standard { service: false, name: false, ..Standard::ALL });
    assert_eq!(left.resource, ResourceAttributes::AllBut(owned(&["span.name", "service.name", "host"])));
    let these = Plan { resource: ResourceAttributes::These(owned(&["a", "host"])), ..plan() };
    assert_eq!(these.without(&owned(&["host"])).resource, ResourceAttributes::These(owned(&["a"])));
    let mut tally = Tally::new(Arc::new(all), 7);
    let mut sums = Sums::default();
    tally.leave_out(&owned(&["host", "span.name"]), &mut sums);
    for host in ["1", "2", "3"] {
        count(&mut tally, &request(vec![text("host", host)], vec![span(host, 1, 0, 1)]), 1);
    }
    tally.take_into(&mut sums);
    assert_eq!((sums.calls(), sums.len()), (3, 1));
}

/// What an attribute of a series is, in what `seen` says.
fn by_name(seen: &Seen) -> BTreeMap<String, (u64, u64)> {
    let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (series, (calls, durations, _)) in seen {
        let name = series.split(' ').find(|word| word.starts_with("span.name=")).unwrap_or_default();
        let total = totals.entry(name.to_string()).or_default();
        *total = (total.0 + calls, total.1 + durations);
    }
    totals
}

proptest! {
    /// Without `take_into` in `Tally::leave_out`, or with keys that outlive it, some spans would be lost or count twice.
    #[test]
    fn totals_are_the_same_under_any_sequence_of_dials_and_any_split(
        spans in proptest::collection::vec((0..3_u8, 0..4_u8, 0..3_u8, 0..3_usize, 0..8_u8, 0..5_u8), 1..150),
        is_explicit in any::<bool>(),
    ) {
        let durations = if is_explicit { Durations::Explicit(Arc::new([1.0, 10.0])) } else { Durations::Exponential(20) };
        let dimensions = dimensions(&[("route", Some("none")), ("tenant", None)]);
        let plan = Arc::new(Plan { durations, dimensions, ..plan() });
        let sets: [&[&str]; 8] = [
            &[], &[], &["*"], &["route"], &["tenant", "host"], &["status.code"], &["host", "span.kind", "*"], &["service.name"],
        ];
        let mut whole = Tally::new(plan.clone(), 7);
        let mut cores: Vec<_> = (0..3).map(|core| Tally::new(plan.clone(), core)).collect();
        let (mut all, mut windows) = (Sums::default(), vec![vec![Sums::default(); 3]]);
        for (name, route, host, core, dial, step) in spans {
            let attributes = if route == 0 { Vec::new() } else { vec![text("route", &route.to_string()), text("tenant", "t")] };
            let resource = vec![text("service.name", "s"), text("host", &host.to_string())];
            let request = request(resource, vec![with(attributes, &name.to_string())]);
            count(&mut whole, &request, 5);
            // Cores hear of another dial one after the other, at any time.
            let open = windows.last_mut().unwrap();
            cores[core].leave_out(&owned(sets[usize::from(dial)]), &mut open[core]);
            count(&mut cores[core], &request, 5);
            if step == 0 {
                cores.iter_mut().zip(open).for_each(|(core, sums)| core.take_into(sums));
                windows.push(vec![Sums::default(); 3]);
            }
        }
        whole.take_into(&mut all);
        cores.iter_mut().zip(windows.last_mut().unwrap()).for_each(|(core, sums)| core.take_into(sums));
        let mut output = Output::new(plan.clone());
        let mut told = Seen::new();
        for (number, window) in windows.into_iter().enumerate() {
            let mut merged = Sums::default();
            window.into_iter().for_each(|sums| merged.merge(sums));
            output.tell_idle(number % 2 == 0);
            // What is cumulative is told again or not; what was told last holds.
            told.extend(seen(&output.emit(merged, Exemplars::default(), 9 + number as u64)));
        }
        prop_assert_eq!(by_name(&told), by_name(&seen(&Output::new(plan).emit(all, Exemplars::default(), 9))));
    }
}
