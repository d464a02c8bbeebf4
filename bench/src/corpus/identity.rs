//! Trace ids and span ids that follow from a seed and a sequence number, so that nothing has to be remembered.

/// Weyl constant of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finaliser of SplitMix64: a bijection, so distinct inputs give distinct outputs.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Source of the ids of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    key: u64,
}

/// The id of one trace in two halves, most significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    high: u64,
    low: u64,
}

impl Identity {
    /// Ids of the run with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { key: mix(seed.wrapping_add(GOLDEN)) }
    }

    /// Id of the trace with this sequence number; distinct for distinct numbers, never zero.
    #[must_use]
    pub const fn trace(self, sequence: u64) -> TraceId {
        // The high half is a bijection of the sequence number, so ids never collide within a run. Both halves look
        // random: samplers read the low 7 bytes as randomness (W3C trace context level 2), tables hash the whole.
        let high = mix(self.key ^ sequence.wrapping_mul(GOLDEN));
        let low = mix(high.wrapping_add(self.key).wrapping_add(GOLDEN)) | 1;
        TraceId { high, low }
    }
}

impl TraceId {
    /// The 16 bytes as OTLP carries them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }

    /// Id of the trace's span with this index, 8 bytes as OTLP carries them, never zero.
    #[must_use]
    pub const fn span(self, index: u16) -> [u8; 8] {
        let id = mix(self.low.wrapping_add((index as u64 + 1).wrapping_mul(GOLDEN)));
        (if id == 0 { 1 } else { id }).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_repeat_for_a_seed_and_differ_between_traces_spans_and_seeds() {
        let identity = Identity::new(7);
        assert_eq!(identity.trace(3), Identity::new(7).trace(3));
        let mut seen = std::collections::HashSet::new();
        for sequence in 0..10_000 {
            assert!(seen.insert(identity.trace(sequence).to_bytes()));
            assert!(seen.insert(Identity::new(8).trace(sequence).to_bytes()));
        }
        let trace = identity.trace(5);
        let spans: std::collections::HashSet<_> = (0..1000).map(|index| trace.span(index)).collect();
        assert_eq!(spans.len(), 1000);
    }
}
