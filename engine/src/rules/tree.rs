//! The trees: each policy's vote on a trace's evidence.
//!
//! A tree is read in one of two ways. As the Collector reads it, a node samples or does not. By OTEP 235 a node has a
//! rejection threshold from 0 (samples for certain) to `NEVER`: all of several is the highest, any of several the lowest,
//! the opposite of `t` is `NEVER - t`; the trace is kept if its randomness is not below the threshold. A node may also
//! abstain, when a condition could not be evaluated: its policy has no vote then.

use super::StatusMask;
use super::limit::{Cost, View, ViewMut};
use crate::evidence::{Size, Summary};
use crate::vocabulary::{Nanos, TraceId};
use tailwater_proto::consistent::NEVER;

/// What is known of a trace when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Its id.
    pub trace_id: &'a TraceId,
    /// What its spans say.
    pub seen: &'a Summary,
    /// How many they are.
    pub size: Size,
    /// The leaves past the first 64 that held for any of them, and then its keys.
    pub more: &'a [u64],
    /// The lowest threshold with which a span of it came; `None` when none said any.
    pub level: Option<u64>,
}

impl Evidence<'_> {
    #[inline]
    pub(super) fn leaf(&self, leaf: u16) -> bool {
        let word = match usize::from(leaf / 64) {
            0 => self.seen.leaves,
            more => self.more.get(more - 1).copied().unwrap_or(0),
        };
        word >> (leaf % 64) & 1 == 1
    }

    /// The group and cost by which a trace passes a limit.
    fn terms(&self, limit: LimitNumber) -> (u64, u64) {
        let group = match limit.group {
            Group::All => 0,
            Group::Rule(number) => u64::from(number),
            Group::Key(word) => self.more.get(usize::from(word)).copied().unwrap_or(0),
        };
        (group, self.cost(limit.cost))
    }

    fn cost(&self, cost: Cost) -> u64 {
        u64::from(match cost {
            Cost::Spans => self.size.spans,
            Cost::Bytes => self.size.bytes,
        })
    }
}

/// A limit within a tree: its number among the rules' limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct LimitNumber {
    pub(super) number: u16,
    pub(super) cost: Cost,
    pub(super) group: Group,
}

/// Which group of a limit a trace belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group {
    /// There is one.
    All,
    /// That of a rule, counted from 1.
    Rule(u16),
    /// That of a key: its word behind the first of the leaves.
    Key(u16),
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
        /// It stands in what is to be dropped, or not to be sampled: less of it would keep more, so that it stays as it is.
        is_fixed: bool,
    },
    /// A share of the traces, by their randomness.
    Share {
        threshold: u64,
    },
    SpanCount {
        min: i64,
        max: i64,
    },
    Limit(LimitNumber),
    Composite(Vec<Class>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// The second of the first pair of which the first holds.
    First(Vec<(Node, Node)>),
    /// What senders have sampled; without a threshold among the spans the sampled flag when there is no root, and else
    /// the node.
    Parent {
        root: Box<Node>,
        sampled_flag: u16,
    },
    /// What the node keeps gets attributes: their number among the rules' annotations.
    Annotated(Box<Node>, u16),
}

/// What the Collector's reading needs beside the evidence.
pub(super) struct Arrival<'a> {
    pub(super) limits: ViewMut<'a>,
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

    /// Whether it sampled, told afterwards: nothing is paid, and every limit counts as passed.
    pub(super) fn sampled(&self, evidence: &Evidence<'_>) -> Option<bool> {
        Some(match self {
            Self::Probabilistic { salted, hash_max, .. } => fnv_1a(*salted, evidence.trace_id) <= *hash_max,
            Self::Limit(_) => true,
            Self::Composite(classes) => classes.iter().any(|class| class.node.sampled(evidence) == Some(true)),
            Self::All(nodes) => nodes.iter().all(|node| node.sampled(evidence) == Some(true)),
            Self::Not(node) => !node.sampled(evidence)?,
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
                let count = i64::from(evidence.size.spans);
                count >= *min && (*max == 0 || count <= *max)
            }
            _ => false,
        })
    }

    /// Its rejection threshold; `None` when it abstains. Without `limits` every limit lets all through.
    pub(super) fn threshold(&self, evidence: &Evidence<'_>, limits: Option<View<'_>>) -> Option<u64> {
        Some(match self {
            Self::Probabilistic { threshold, is_fixed: true, .. } => *threshold,
            Self::Probabilistic { threshold, .. } | Self::Share { threshold } => {
                limits.map_or(*threshold, |limits| limits.share(*threshold))
            }
            Self::Limit(limit) => limits.map_or(0, |limits| {
                let (group, cost) = evidence.terms(*limit);
                limits.threshold(limit.number, group, cost)
            }),
            Self::Composite(classes) => {
                let mut least = NEVER;
                for class in classes {
                    let own = class.node.threshold(evidence, limits)?;
                    if own < NEVER {
                        let (group, cost) = evidence.terms(class.limit);
                        let limit = limits.map_or(0, |limits| limits.threshold(class.limit.number, group, cost));
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
            Self::Any(nodes) => {
                let mut least = NEVER;
                for node in nodes {
                    least = least.min(node.threshold(evidence, limits)?);
                }
                least
            }
            Self::Not(node) => NEVER - node.threshold(evidence, limits)?,
            Self::First(pairs) => match Self::first(pairs, evidence)? {
                Some(node) => node.threshold(evidence, limits)?,
                None => NEVER,
            },
            Self::Parent { root, sampled_flag } => match evidence.level {
                Some(level) => level,
                None if evidence.seen.root_seen => root.threshold(evidence, limits)?,
                None if evidence.leaf(*sampled_flag) => 0,
                None => NEVER,
            },
            Self::Annotated(node, _) => node.threshold(evidence, limits)?,
            _ => {
                if self.holds(evidence)? {
                    0
                } else {
                    NEVER
                }
            }
        })
    }

    /// The node of the first pair whose condition holds; conditions involve no chance.
    fn first<'a>(pairs: &'a [(Node, Node)], evidence: &Evidence<'_>) -> Option<Option<&'a Node>> {
        for (condition, node) in pairs {
            if condition.threshold(evidence, None)? == 0 {
                return Some(Some(node));
            }
        }
        Some(None)
    }

    /// Whether there is a limit in it.
    pub(super) fn is_limited(&self) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(Self::is_limited),
            Self::First(pairs) => pairs.iter().any(|(_, node)| node.is_limited()),
            Self::Parent { root, .. } => root.is_limited(),
            Self::Annotated(node, _) => node.is_limited(),
            Self::Limit(_) | Self::Composite(_) => true,
            Self::All(nodes) => nodes.iter().any(Self::is_limited),
            Self::Not(node) => node.is_limited(),
            _ => false,
        }
    }

    /// The limits that every trace has to pass that it keeps by its randomness, into `out`.
    pub(super) fn limits_passed(&self, out: &mut Vec<LimitNumber>) {
        match self {
            Self::Limit(limit) => out.push(*limit),
            Self::All(nodes) => nodes.iter().for_each(|node| node.limits_passed(out)),
            Self::Annotated(node, _) => node.limits_passed(out),
            Self::Composite(classes) => {
                if let [class] = &**classes {
                    class.node.limits_passed(out);
                    out.push(class.limit);
                }
            }
            _ => {}
        }
    }

    /// Tells `offer` of every limit that a trace of this randomness wants to pass: those on which it depends whether the
    /// node keeps it, as far as `others` let it through.
    pub(super) fn offers(
        &self,
        evidence: &Evidence<'_>,
        randomness: u64,
        others: View<'_>,
        offer: &mut impl FnMut(u16, u64, u64),
    ) {
        let passes =
            |node: &Self| node.threshold(evidence, Some(others)).is_some_and(|threshold| threshold <= randomness);
        match self {
            Self::Limit(limit) => {
                let (group, cost) = evidence.terms(*limit);
                offer(limit.number, group, cost);
            }
            Self::Composite(classes) => {
                for class in classes {
                    let own = class.node.threshold(evidence, Some(others.opened()));
                    if own.is_some_and(|own| own <= randomness) {
                        class.node.offers(evidence, randomness, others, offer);
                        let (group, cost) = evidence.terms(class.limit);
                        offer(class.limit.number, group, cost);
                    }
                    if own.is_none_or(|own| own == 0) {
                        break;
                    }
                }
            }
            Self::All(nodes) => {
                for (number, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_limited()) {
                    let siblings = nodes.iter().enumerate().filter(|(other, _)| *other != number);
                    if siblings.map(|(_, node)| node).all(passes) {
                        node.offers(evidence, randomness, others, offer);
                    }
                }
            }
            Self::Any(nodes) => nodes.iter().for_each(|node| node.offers(evidence, randomness, others, offer)),
            Self::Not(node) | Self::Annotated(node, _) => node.offers(evidence, randomness, others, offer),
            Self::First(pairs) => {
                if let Some(Some(node)) = Self::first(pairs, evidence) {
                    node.offers(evidence, randomness, others, offer);
                }
            }
            Self::Parent { root, .. } if evidence.level.is_none() && evidence.seen.root_seen => {
                root.offers(evidence, randomness, others, offer);
            }
            _ => {}
        }
    }

    /// The annotations of the nodes that keep a trace of this randomness, into `out`.
    pub(super) fn annotations(&self, evidence: &Evidence<'_>, limits: View<'_>, randomness: u64, out: &mut Vec<u16>) {
        let keeps =
            |node: &Self| node.threshold(evidence, Some(limits)).is_some_and(|threshold| threshold <= randomness);
        match self {
            Self::Annotated(node, number) if keeps(node) => {
                node.annotations(evidence, limits, randomness, out);
                out.push(*number);
            }
            Self::All(nodes) | Self::Any(nodes) => {
                for node in nodes.iter().filter(|node| keeps(node)) {
                    node.annotations(evidence, limits, randomness, out);
                }
            }
            Self::First(pairs) => {
                if let Some(Some(node)) = Self::first(pairs, evidence) {
                    node.annotations(evidence, limits, randomness, out);
                }
            }
            Self::Parent { root, .. } if evidence.level.is_none() && evidence.seen.root_seen => {
                root.annotations(evidence, limits, randomness, out);
            }
            _ => {}
        }
    }

    /// The class of a composite that keeps a trace of this randomness, where the node is one or has one.
    pub(super) fn class(&self, evidence: &Evidence<'_>, limits: View<'_>, randomness: u64) -> Option<u16> {
        match self {
            Self::Composite(classes) => classes.iter().find_map(|class| {
                let own = class.node.threshold(evidence, Some(limits))?;
                let (group, cost) = evidence.terms(class.limit);
                let limit = limits.threshold(class.limit.number, group, cost);
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
