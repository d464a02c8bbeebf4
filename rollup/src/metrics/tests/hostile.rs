//! Whatever bytes come, nothing panics, and what is told is OTLP.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::mend::mended;

fn sound_request() -> Vec<u8> {
    let list = [("k", "v"), ("pod", "p")];
    let explicit = HistogramDataPoint {
        count: 3,
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        sum: Some(1.0),
        ..HistogramDataPoint::default()
    };
    let mut exponential_point = ExponentialHistogramDataPoint::default();
    exponential_point.positive.get_or_insert_default().bucket_counts = vec![1, 0, 3];
    exponential_point.count = 4;
    request(vec![
        sum("s", CUMULATIVE, true, vec![int(SINCE + 1, SINCE + 5, 3, &list), end(SINCE + 1, SINCE + 6, &list)]),
        sum("l", CUMULATIVE, false, vec![double(SINCE + 1, SINCE + 5, 3.5, &list)]),
        sum("d", DELTA, true, vec![int(SINCE + 1, SINCE + 5, i64::MIN, &list)]),
        gauge("g", vec![int(0, 5, i64::MAX, &list)]),
        histogram("h", CUMULATIVE, vec![explicit.clone(), explicit]),
        exponential("e", CUMULATIVE, vec![exponential_point]),
    ])
}

fn run(requests: &[&[u8]]) {
    let (mut tally, mut sums) = (tally(aggregate()), sums());
    for request in requests {
        let taken = tally.take(request, SINCE, true);
        if let Passing::Some(body) = taken.passing {
            assert_eq!(tally.take(&body, SINCE, false).merged, 0, "what passes is merged nowhere");
        }
        sums.merge(&tally.take_partial());
    }
    for emitted in sums.emit(u64::MAX, 500, true) {
        ExportMetricsServiceRequest::decode(&emitted.body[..]).unwrap();
    }
    sums.expire(u64::MAX);
}

proptest! {
    #[test]
    fn damaged_requests_do_no_harm(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..6), cut in any::<Index>(), noise in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let sound = sound_request();
        let mut damaged = sound.clone();
        for (place, byte) in &changes {
            let place = place.index(damaged.len());
            damaged[place] = *byte;
        }
        // What is no OTLP is mended before it comes here; what is told of it then is OTLP.
        if let Ok(mended) = mended(Signal::Metrics, &damaged) {
            run(&[&sound, mended.body.as_deref().unwrap_or(&damaged), &sound]);
        }
        // Were it not, nothing would panic.
        let (mut tally, mut sums) = (tally(aggregate()), sums());
        for unsound in [&damaged, &damaged[..cut.index(damaged.len())], &noise] {
            tally.take(unsound, SINCE, true);
            sums.merge(&tally.take_partial());
        }
        _ = sums.emit(u64::MAX, 500, true);
    }

    #[test]
    fn damaged_partials_are_errors_or_do_no_harm(changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4), of_sums in any::<bool>()) {
        let (mut tally, mut sums) = (tally(aggregate()), sums());
        tally.take(&sound_request(), SINCE, true);
        let partial = tally.take_partial();
        sums.merge(&partial);
        let mut bytes = if of_sums { sums.to_partial() } else { partial }.to_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(partial) = MetricsPartial::from_bytes(&bytes) {
            sums.merge(&partial);
            sums.expire(SINCE);
            _ = sums.emit(u64::MAX, 500, true);
            _ = sums.to_partial().to_bytes();
        }
    }
}
