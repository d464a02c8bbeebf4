//! What is told apart: heads, which are all that the series of a metric have in common, series, and series that come in.
//!
//! ```text
//! head          resource attributes that are selected, scope, name, unit, kind, temporality and window of what comes of it
//! series        its head; attributes of points that are selected; bounds, of a histogram that has some
//! input series  its head; all attributes of the resource and of points
//! ```
//! Each is known by 128 bits of XXH3, keyed, of these in a fixed order, attributes sorted by their keys. The description
//! tells nothing apart. Bounds do, so that histograms which cannot be merged become two points, whichever cores they come
//! to.

use super::amount::Amount;
use super::plan::{Aggregate, Gauge, Selection, Temporality};
use super::point::{Attribute, Metric, Shape};
use serde::{Deserialize, Serialize};
use tailwater_proto::otlp::wire::put_varint;
use twox_hash::xxhash3_128;

/// What a head, a series or an input series is known by.
pub type Key = u128;

/// The kind of a merged metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Of numbers that are added.
    Sum {
        /// Whether it only grows.
        is_monotonic: bool,
    },
    /// Of histograms.
    Explicit,
    /// Of exponential histograms.
    Exponential,
    /// Of readings.
    Gauge(Gauge),
}

impl Kind {
    /// The kind that comes of points of a shape.
    #[must_use]
    pub fn of(shape: Shape, gauge: Gauge) -> Self {
        match shape {
            Shape::Gauge => Self::Gauge(gauge),
            Shape::Sum { is_monotonic } => Self::Sum { is_monotonic },
            Shape::Explicit => Self::Explicit,
            Shape::Exponential => Self::Exponential,
        }
    }

    /// Whether its cumulative input grows until it begins anew. Of the others the last value holds, and falls are no resets.
    #[must_use]
    pub fn only_grows(self) -> bool {
        matches!(self, Self::Sum { is_monotonic: true } | Self::Explicit | Self::Exponential)
    }

    /// Whether it tells a total, of some time, and no state.
    #[must_use]
    pub fn is_total(self) -> bool {
        !matches!(self, Self::Gauge(_))
    }

    /// Whether an amount is of this kind.
    #[must_use]
    pub fn holds(self, amount: &Amount) -> bool {
        matches!(
            (self, amount),
            (Self::Sum { .. } | Self::Gauge(Gauge::Sum), Amount::Number(_))
                | (Self::Explicit, Amount::Explicit(_))
                | (Self::Exponential, Amount::Exponential(_))
                | (Self::Gauge(Gauge::Last | Gauge::Min | Gauge::Max | Gauge::Mean), Amount::Readings(_))
        )
    }

    /// The number of a point's attributes in its message.
    #[must_use]
    pub fn attributes_field(self) -> u8 {
        match self {
            Self::Sum { .. } | Self::Gauge(_) => 7,
            Self::Explicit => 9,
            Self::Exponential => 1,
        }
    }
}

/// All that the series of a metric have in common. Bytes are fields as they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The content of a `Resource`.
    pub resource: Vec<u8>,
    /// The content of an `InstrumentationScope`: name and version.
    pub scope: Vec<u8>,
    /// Its name.
    pub name: Vec<u8>,
    /// What it is, as the first point had it.
    pub description: Vec<u8>,
    /// Its unit.
    pub unit: Vec<u8>,
    /// Its kind.
    pub kind: Kind,
    /// Of which time it tells.
    pub temporality: Temporality,
    /// How often.
    pub window_nanos: u64,
}

impl Head {
    /// The head of a metric, with the key that was made of the same.
    #[must_use]
    pub fn new(
        resource: &[Attribute<'_>],
        scope: [&[u8]; 2],
        metric: &Metric<'_>,
        kind: Kind,
        how: &Aggregate,
    ) -> Self {
        Self {
            resource: fields(resource, &how.resource),
            scope: scope.concat(),
            name: metric.name.to_vec(),
            description: metric.description.to_vec(),
            unit: metric.unit.to_vec(),
            kind,
            temporality: how.temporality,
            window_nanos: how.window_nanos.max(1),
        }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = [&self.resource, &self.scope, &self.name, &self.description, &self.unit];
        size_of::<Self>() + lists.iter().map(|list| list.capacity()).sum::<usize>()
    }
}

/// The fields of those attributes that are selected, in one piece.
#[must_use]
pub fn fields(attributes: &[Attribute<'_>], selection: &Selection) -> Vec<u8> {
    let selected = || attributes.iter().filter(|(key, _)| selection.has(key));
    let mut out = Vec::with_capacity(selected().map(|(_, field)| field.len()).sum());
    selected().for_each(|(_, field)| out.extend_from_slice(field));
    out
}

/// A merged series, or what is new of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its head's key.
    pub head: Key,
    /// Its attributes, as fields of its points.
    pub attributes: Box<[u8]>,
    /// When something came for it last.
    pub seen: u64,
    /// Since when it counts, of sums; zero where that is not known, in what tallies tell.
    pub start: u64,
    /// What it has come to, if anything.
    pub amount: Option<Amount>,
}

impl Series {
    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<(Key, Self)>() + self.attributes.len() + self.amount.as_ref().map_or(0, Amount::heap_bytes)
    }
}

/// Makes keys.
#[derive(Debug, Default)]
pub struct Keys {
    seed: u64,
    scratch: Vec<u8>,
}

impl Keys {
    /// Keys of a seed: nobody who does not know it can tell what falls together.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, scratch: Vec::with_capacity(512) }
    }

    fn hash(&self) -> Key {
        xxhash3_128::Hasher::oneshot_with_seed(self.seed, &self.scratch)
    }

    fn put(&mut self, bytes: &[u8]) {
        put_varint(&mut self.scratch, bytes.len() as u64);
        self.scratch.extend_from_slice(bytes);
    }

    /// Of all attributes of a resource.
    #[must_use]
    pub fn resource(&mut self, attributes: &[Attribute<'_>]) -> Key {
        self.scratch.clear();
        attributes.iter().for_each(|(_, field)| self.scratch.extend_from_slice(field));
        self.hash()
    }

    /// Of a head.
    #[must_use]
    pub fn head(
        &mut self,
        resource: &[Attribute<'_>],
        scope: [&[u8]; 2],
        metric: &Metric<'_>,
        kind: Kind,
        how: &Aggregate,
    ) -> Key {
        self.scratch.clear();
        let kind = match kind {
            Kind::Sum { is_monotonic } => u8::from(is_monotonic),
            Kind::Explicit => 2,
            Kind::Exponential => 3,
            Kind::Gauge(Gauge::Last) => 4,
            Kind::Gauge(Gauge::Min) => 5,
            Kind::Gauge(Gauge::Max) => 6,
            Kind::Gauge(Gauge::Mean) => 7,
            Kind::Gauge(Gauge::Sum) => 8,
        };
        self.scratch.extend_from_slice(&[kind, u8::from(how.temporality == Temporality::Cumulative)]);
        self.scratch.extend_from_slice(&how.window_nanos.to_le_bytes());
        [metric.name, metric.unit, scope[0], scope[1]].iter().for_each(|part| self.put(part));
        for (_, field) in resource.iter().filter(|(key, _)| how.resource.has(key)) {
            self.scratch.extend_from_slice(field);
        }
        self.hash()
    }

    /// Of a series: the attributes that are selected, and bounds.
    #[must_use]
    pub fn series(&mut self, head: Key, attributes: &[Attribute<'_>], how: &Aggregate, amount: Option<&Amount>) -> Key {
        self.scratch.clear();
        self.scratch.extend_from_slice(&head.to_le_bytes());
        for (_, field) in attributes.iter().filter(|(key, _)| how.attributes.has(key)) {
            self.scratch.extend_from_slice(field);
        }
        self.put_bounds(amount);
        self.hash()
    }

    /// Of an input series.
    #[must_use]
    pub fn input(&mut self, head: Key, resource: Key, attributes: &[Attribute<'_>], amount: Option<&Amount>) -> Key {
        self.scratch.clear();
        self.scratch.extend_from_slice(&head.to_le_bytes());
        self.scratch.extend_from_slice(&resource.to_le_bytes());
        attributes.iter().for_each(|(_, field)| self.scratch.extend_from_slice(field));
        self.put_bounds(amount);
        self.hash()
    }

    fn put_bounds(&mut self, amount: Option<&Amount>) {
        if let Some(Amount::Explicit(histogram)) = amount {
            self.scratch.extend(histogram.bounds().iter().flat_map(|bound| bound.to_le_bytes()));
            self.scratch.push(u8::from(histogram.counts().is_empty()));
        }
    }
}

/// The key of the series for what there is no room for, of a head, and of bounds. It needs no seed: heads have one.
#[must_use]
pub fn overflow_key(head: Key, amount: Option<&Amount>) -> Key {
    let mut keys = Keys::new(0);
    keys.scratch.extend_from_slice(b"otel.metric.overflow");
    keys.scratch.extend_from_slice(&head.to_le_bytes());
    keys.put_bounds(amount);
    keys.hash()
}

/// `otel.metric.overflow=true`, as a field of this number.
#[must_use]
pub fn overflow_attribute(field: u8) -> Box<[u8]> {
    const KEY: &[u8] = b"otel.metric.overflow";
    let mut out = vec![field << 3 | 2, 26, 1 << 3 | 2, 20];
    out.extend_from_slice(KEY);
    out.extend_from_slice(&[2 << 3 | 2, 2, 2 << 3, 1]);
    out.into_boxed_slice()
}
