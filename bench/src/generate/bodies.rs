//! The bodies of a worker's requests: uncompressed ones are patched in place for each sending, compressed ones are all made
//! before the clock starts.
//!
//! A patched body's memory is used again as soon as its request is answered, so that sending costs no allocation and no
//! copy of the template.

use super::options::Settings;
use super::rounds::positions;
use crate::corpus::identity::Identity;
use crate::corpus::{RoundPosition, RoundTemplate};
use bytes::{Bytes, BytesMut};
use tailwater_net::compression::{Deflater, Encoding};
use tailwater_runtime::clock::unix_nanos;

/// Rounds whose bodies exist at a time, at most: more in flight would have to wait for an answer.
const TEMPLATES_MAX: usize = 64;
/// Contents that differ: enough that compression across requests and branch predictors see variety.
const TEMPLATES_MIN: usize = 3;

/// The bodies of one worker.
pub struct Bodies {
    identity: Identity,
    templates: Vec<RoundTemplate>,
    /// for each template and request the memory of the last copy, when it is not in flight
    spare: Vec<Vec<Option<Bytes>>>,
    /// compressed rounds: round number modulo their count, then request
    compressed: Vec<Vec<Bytes>>,
    /// memory of a copy was still held and had to be allocated anew
    pub copies: u64,
}

impl Bodies {
    /// Encodes the templates of this worker and, if asked for, compresses rounds until the pool is full.
    ///
    /// # Errors
    /// If compression fails.
    pub fn prepare(settings: &Settings, worker: u64) -> Result<Self, String> {
        let requests = usize::from(settings.corpus.services) * usize::from(settings.corpus.requests_per_service) + 1;
        let rounds = (settings.in_flight.div_ceil(requests) + 2).clamp(TEMPLATES_MIN, TEMPLATES_MAX);
        let rounds_max = usize::try_from(settings.rounds_max).unwrap_or(usize::MAX).max(1);
        let templates: Vec<_> = (0..rounds.min(rounds_max))
            .map(|variant| RoundTemplate::build(&settings.corpus, Self::variant_seed(variant, worker)))
            .collect();
        let spare = templates
            .iter()
            .map(|round| round.requests.iter().map(|request| Some(Bytes::from(request.bytes.clone()))).collect())
            .collect();
        let identity = Identity::new(settings.corpus.seed);
        let mut bodies = Self { identity, templates, spare, compressed: Vec::new(), copies: 0 };
        if settings.compression != Encoding::Identity {
            bodies.compress(settings, worker)?;
        }
        Ok(bodies)
    }

    /// Makes distinct compressed rounds, as many as the run can need or the pool can hold.
    fn compress(&mut self, settings: &Settings, worker: u64) -> Result<(), String> {
        let mut deflater = Deflater::new(settings.compression_level);
        let mut used = 0_u64;
        let mut round = 0;
        while used < settings.pool_bytes && round < rounds_needed(settings) {
            let template = &self.templates[self.variant(round)];
            let position = positions(settings, worker, round, unix_nanos());
            let mut bodies = Vec::with_capacity(template.requests.len());
            for request in &template.requests {
                let mut body = request.bytes.clone();
                request.patch(&mut body, self.identity, position);
                let body = deflater.deflate(settings.compression, &body).map_err(|error| error.to_string())?;
                used += body.len() as u64;
                bodies.push(body);
            }
            self.compressed.push(bodies);
            round += 1;
        }
        Ok(())
    }

    /// What the contents of a template of a worker are drawn from.
    #[must_use]
    pub const fn variant_seed(variant: usize, worker: u64) -> u64 {
        (variant as u64) << 16 | worker
    }

    /// Index of the template of this round.
    #[must_use]
    pub fn variant(&self, round: u64) -> usize {
        usize::try_from(round % self.templates.len() as u64).unwrap_or(0)
    }

    /// The template of this round.
    #[must_use]
    pub fn template(&self, round: u64) -> &RoundTemplate {
        &self.templates[self.variant(round)]
    }

    /// Rounds after which trace ids repeat; `u64::MAX` where they never do.
    #[must_use]
    pub const fn rounds_distinct(&self) -> u64 {
        if self.compressed.is_empty() { u64::MAX } else { self.compressed.len() as u64 }
    }

    /// Whether the memory for this request of the round is free.
    #[must_use]
    pub fn is_free(&self, round: u64, request: usize) -> bool {
        !self.compressed.is_empty() || self.spare[self.variant(round)][request].is_some()
    }

    /// The body of a request, ready to send. Give it back with [`Bodies::give_back`] once it is answered.
    pub fn take(&mut self, round: u64, request: usize, position: RoundPosition) -> Bytes {
        let variant = self.variant(round);
        if !self.compressed.is_empty() {
            let round = usize::try_from(round % self.compressed.len() as u64).unwrap_or(0);
            return self.compressed[round][request].clone();
        }
        let template = &self.templates[variant].requests[request];
        let spare = self.spare[variant][request].take().unwrap_or_default();
        let mut body = spare.try_into_mut().unwrap_or_else(|_held| BytesMut::new());
        if body.len() != template.bytes.len() {
            self.copies += 1;
            body = BytesMut::from(&template.bytes[..]);
        }
        template.patch(&mut body, self.identity, position);
        body.freeze()
    }

    /// Takes an answered request's memory back.
    pub fn give_back(&mut self, variant: usize, request: usize, body: Bytes) {
        self.spare[variant][request] = Some(body);
    }

    /// Where ids come from.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }
}

/// Rounds that the run will send, as far as that is known; those that are open at the end are sent beyond it.
fn rounds_needed(settings: &Settings) -> u64 {
    let spans_per_round =
        u64::from(settings.corpus.traces_per_round()) * u64::from(settings.corpus.spans_per_trace.max(1));
    let by_rate = settings.rate.map_or(u64::MAX, |rate| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, which is what is meant"
        )]
        let spans = (rate * settings.duration.saturating_add(settings.spread).as_secs_f64()).ceil() as u64;
        spans / spans_per_round.max(1) + 2
    });
    by_rate.min(settings.rounds_max)
}
