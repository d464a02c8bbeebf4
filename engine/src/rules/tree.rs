//! The trees: each policy's vote on a trace's evidence.
//!
//! A tree is read in one of two ways. As the Collector reads it, a node samples or does not. By OTEP 235 a node has a
//! rejection threshold from 0 (samples for certain) to `NEVER`: all of several is the highest, any of several the lowest,
//! the opposite of `t` is `NEVER - t`; the trace is kept if its randomness is not below the threshold. A node may also
//! abstain, when a condition could not be evaluated: its policy has no vote then.

use super::StatusMask;
use super::limit::{Cost, Limits};
use crate::evidence::Summary;
use crate::vocabulary::{Nanos, TraceId};
use tailwater_proto::consistent::NEVER;

/// What is known of a trace when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Its id.
    pub trace_id: &'a TraceId,
    /// Its spans.
    pub seen: &'a Summary,
    /// The leaves past the first 64 that held for any of them.
    pub more: &'a [u64],
}

impl Evidence<'_> {
    #[inline]
    fn leaf(&self, leaf: u16) -> bool {
        let word = match usize::from(leaf / 64) {
            0 => self.seen.leaves,
            more => self.more.get(more - 1).copied().unwrap_or(0),
        };
        word >> (leaf % 64) & 1 == 1
    }

    fn cost(&self, cost: Cost) -> u64 {
        u64::from(match cost {
            Cost::Spans => self.seen.spans,
            Cost::Bytes => self.seen.bytes,
        })
    }
}

/// A limit within a tree: its number among the rules' limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct LimitNumber {
    pub(super) number: u16,
    pub(super) cost: Cost,
}

/// A sub-policy of a composite: what it asks, the limit on what it keeps, its name.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) node: Node,
    pub(super) limit: LimitNumber,
    /// Its number among the names of sub-policies.
    pub(super) name: u16,
}

/// One policy or part of one.
#[derive(Debug)]
pub(super) enum Node {
    Always,
    Leaf(u16),
    /// A condition that may fail: two leaves of which a trace has the one that came first.
    Fallible {
        matched: u16,
        failed: u16,
    },
    Status(StatusMask),
    Probabilistic {
        /// FNV-1a over the salt: the Collector's hash goes on with the trace id.
        salted: u64,
        /// The largest hash that the Collector samples.
        hash_max: u64,
        /// The same share as a rejection threshold.
        threshold: u64,
    },
    SpanCount {
        min: i64,
        max: i64,
    },
    Limit(LimitNumber),
    Composite(Vec<Class>),
    All(Vec<Node>),
    Not(Box<Node>),
}

/// What the Collector's reading needs beside the evidence.
pub(super) struct Arrival<'a> {
    pub(super) limits: &'a mut Limits,
    pub(super) now: Nanos,
    /// The sub-policy of a composite that sampled.
    pub(super) class: Option<u16>,
}

impl Node {
    /// Whether it samples, as the Collector decides it: in order, and what a limit lets through is paid at once. `None`
    /// when it abstains.
    pub(super) fn samples(&self, evidence: &Evidence<'_>, arrival: &mut Arrival<'_>) -> Option<bool> {
        Some(match self {
            Self::Probabilistic { salted, hash_max, .. } => fnv_1a(*salted, evidence.trace_id) <= *hash_max,
            Self::Limit(limit) => arrival.limits.allow(limit.number, evidence.cost(limit.cost), arrival.now),
            Self::Composite(classes) => {
                for class in classes {
                    if class.node.samples(evidence, arrival)? {
                        arrival.class = Some(class.name);
                        let cost = evidence.cost(class.limit.cost);
                        return Some(arrival.limits.allow(class.limit.number, cost, arrival.now));
                    }
                }
                false
            }
            Self::All(nodes) => {
                for node in nodes {
                    if !node.samples(evidence, arrival)? {
                        return Some(false);
                    }
                }
                true
            }
            Self::Not(node) => !node.samples(evidence, arrival)?,
            _ => return self.holds(evidence),
        })
    }

    /// Whether a node that involves neither chance nor limits holds.
    fn holds(&self, evidence: &Evidence<'_>) -> Option<bool> {
        Some(match self {
            Self::Always => true,
            Self::Leaf(leaf) => evidence.leaf(*leaf),
            Self::Fallible { matched, failed } => {
                if evidence.leaf(*failed) {
                    return None;
                }
                evidence.leaf(*matched)
            }
            Self::Status(mask) => evidence.seen.status & mask != 0,
            Self::SpanCount { min, max } => {
                let count = i64::from(evidence.seen.spans);
                count >= *min && (*max == 0 || count <= *max)
            }
            _ => false,
        })
    }

    /// Its rejection threshold; `None` when it abstains. Without `limits` every limit lets all through.
    pub(super) fn threshold(&self, evidence: &Evidence<'_>, limits: Option<&Limits>) -> Option<u64> {
        Some(match self {
            Self::Probabilistic { threshold, .. } => *threshold,
            Self::Limit(limit) => limits.map_or(0, |limits| limits.threshold(limit.number, evidence.cost(limit.cost))),
            Self::Composite(classes) => {
                let mut least = NEVER;
                for class in classes {
                    let own = class.node.threshold(evidence, limits)?;
                    if own < NEVER {
                        let cost = evidence.cost(class.limit.cost);
                        let limit = limits.map_or(0, |limits| limits.threshold(class.limit.number, cost));
                        least = least.min(own.max(limit));
                    }
                    if own == 0 {
                        break;
                    }
                }
                least
            }
            Self::All(nodes) => {
                let mut greatest = 0;
                for node in nodes {
                    greatest = greatest.max(node.threshold(evidence, limits)?);
                    if greatest == NEVER {
                        break;
                    }
                }
                greatest
            }
            Self::Not(node) => NEVER - node.threshold(evidence, limits)?,
            _ => {
                if self.holds(evidence)? {
                    0
                } else {
                    NEVER
                }
            }
        })
    }

    /// Whether there is a limit in it.
    pub(super) fn is_limited(&self) -> bool {
        match self {
            Self::Limit(_) | Self::Composite(_) => true,
            Self::All(nodes) => nodes.iter().any(Self::is_limited),
            Self::Not(node) => node.is_limited(),
            _ => false,
        }
    }

    /// Tells `offer` of every limit that a trace of this randomness wants to pass: those on which it depends whether the
    /// node keeps it, all other limits let through.
    pub(super) fn offers(&self, evidence: &Evidence<'_>, randomness: u64, offer: &mut impl FnMut(u16, u64)) {
        let passes = |node: &Self| node.threshold(evidence, None).is_some_and(|threshold| threshold <= randomness);
        match self {
            Self::Limit(limit) => offer(limit.number, evidence.cost(limit.cost)),
            Self::Composite(classes) => {
                for class in classes {
                    let own = class.node.threshold(evidence, None);
                    if own.is_some_and(|own| own <= randomness) {
                        class.node.offers(evidence, randomness, offer);
                        offer(class.limit.number, evidence.cost(class.limit.cost));
                    }
                    if own.is_none_or(|own| own == 0) {
                        break;
                    }
                }
            }
            Self::All(nodes) => {
                for (number, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_limited()) {
                    let others = nodes.iter().enumerate().filter(|(other, _)| *other != number);
                    if others.map(|(_, node)| node).all(passes) {
                        node.offers(evidence, randomness, offer);
                    }
                }
            }
            Self::Not(node) => node.offers(evidence, randomness, offer),
            _ => {}
        }
    }

    /// The class of a composite that keeps a trace of this randomness, where the node is one or has one.
    pub(super) fn class(&self, evidence: &Evidence<'_>, limits: &Limits, randomness: u64) -> Option<u16> {
        match self {
            Self::Composite(classes) => classes.iter().find_map(|class| {
                let own = class.node.threshold(evidence, Some(limits))?;
                let limit = limits.threshold(class.limit.number, evidence.cost(class.limit.cost));
                (own.max(limit) <= randomness).then_some(class.name)
            }),
            _ => None,
        }
    }
}

/// FNV-1a, 64 bits, continued from `hash`.
pub(super) fn fnv_1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// FNV-1a's offset basis.
pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
