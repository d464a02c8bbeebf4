//! What a hub does with each frame that it hears.

use super::{Hub, PROBES_MAX, STRANGERS_MAX, micros};
use crate::frame::{Acknowledge, Echo, Frame, FrameError, Frames, PROBE_BYTES_MIN, Position, Probe, Range, Report};
use crate::frame::{put_echo, put_pushed};
use crate::hello::{Hello, VERSION_HIGHEST, VERSION_LOWEST};
use crate::link::Bundle;
use crate::members::Identity;
use crate::peer::{Out, Peer};
use crate::streams::{Run, Said};
use crate::wire::Wire;
use std::net::SocketAddr;
use std::time::Duration;
use tailwater_proto::cluster::{Incarnation, NodeId};

/// How often one member is greeted at most.
const GREETING_PAUSE: Duration = Duration::from_millis(200);

impl Hub {
    /// A datagram that was opened, for this run of this node: `sender` is who sealed it, `from` where it came from. A frame that
    /// cannot be read costs itself and is counted.
    pub fn hear(
        &mut self,
        now: Duration,
        from: SocketAddr,
        sender: (NodeId, Incarnation),
        frames: &[u8],
        wire: &mut impl Wire,
    ) {
        self.hear_datagram(now, (from, true), sender, frames, wire);
    }

    /// As [`Hub::hear`], of a datagram that is for no run in particular: somebody may have recorded it and send it now. Greetings
    /// and probes in it count, for nothing follows from them but an answer; other frames are counted and forgotten.
    pub fn hear_unbound(
        &mut self,
        now: Duration,
        from: SocketAddr,
        sender: (NodeId, Incarnation),
        frames: &[u8],
        wire: &mut impl Wire,
    ) {
        self.hear_datagram(now, (from, false), sender, frames, wire);
    }

    fn hear_datagram(
        &mut self,
        now: Duration,
        (from, is_bound): (SocketAddr, bool),
        sender: Run,
        frames: &[u8],
        wire: &mut impl Wire,
    ) {
        self.counts.datagrams_heard += 1;
        if sender.0 == self.plan.node {
            self.counts.twins_heard += u64::from(sender.1 != self.plan.incarnation);
            return;
        }
        if self.farewells.is_some() {
            return;
        }
        if let Some(peer) = self.live(sender).filter(|_| is_bound) {
            (peer.heard_at, peer.doubted_at) = (now, None);
        }
        let (mut is_strange, mut reports) = (false, false);
        for frame in Frames::new(frames) {
            match frame {
                Err(FrameError::Malformed) => self.counts.frames_malformed += 1,
                Err(FrameError::Unknown) => self.counts.frames_unknown += 1,
                Ok(Frame::Hello(hello)) => self.greeted(now, from, sender, &hello, wire),
                Ok(Frame::Probe(probe)) => self.probed(now, (from, sender), &probe, wire),
                // It is for who sent a probe, which is no hub.
                Ok(Frame::Echo(_)) => self.counts.frames_from_strangers += 1,
                Ok(_) if !is_bound => self.counts.frames_unbound += 1,
                Ok(Frame::Swim(message)) => {
                    let is_heard = self.members.hear(now, sender, message);
                    self.counts.frames_malformed += u64::from(!is_heard);
                    self.settle(now, wire);
                }
                Ok(frame) => {
                    let is_live = self.live(sender).is_some();
                    reports |= matches!(frame, Frame::Report(_));
                    if is_live {
                        self.take(now, sender, frame, wire);
                    }
                    self.counts.frames_from_strangers += u64::from(!is_live);
                    is_strange |= !is_live;
                }
            }
        }
        if is_strange {
            self.raise(now, (from, sender), reports, wire);
        }
        self.settle(now, wire);
        self.flush(wire);
    }

    /// The live member in just this run.
    fn live(&mut self, run: Run) -> Option<&mut Peer> {
        self.peers.get_mut(&run.0).filter(|peer| peer.is_live() && peer.run == run)
    }

    /// Whether one more stranger may be answered in this second.
    fn may_answer_stranger(&mut self, now: Duration) -> bool {
        if now >= self.strangers.1 {
            self.strangers = (STRANGERS_MAX, now + Duration::from_secs(1));
        }
        let may = self.strangers.0 > 0;
        self.strangers.0 = self.strangers.0.saturating_sub(1);
        self.counts.hellos_unanswered += u64::from(!may);
        may
    }

    /// Somebody asks how large a datagram may be and what time it is. The answer is as long as the question.
    fn probed(&mut self, now: Duration, (from, sender): (SocketAddr, Run), probe: &Probe, wire: &mut impl Wire) {
        self.counts.probes_heard += 1;
        if now >= self.probes.1 {
            self.probes = (PROBES_MAX, now + Duration::from_secs(1));
        }
        if self.probes.0 == 0 || probe.bytes < PROBE_BYTES_MIN {
            self.counts.probes_unanswered += 1;
            return;
        }
        self.probes.0 -= 1;
        let (lowest, highest) = (VERSION_LOWEST, VERSION_HIGHEST);
        let echo = Echo { number: probe.number, unix_ms: wire.unix_ms(), lowest, highest };
        let mut frame = Vec::new();
        put_echo(&mut frame, &echo, probe.bytes);
        let bytes_max = self.plan.datagram_bytes();
        Out { wire, counts: &mut self.counts, bytes_max }.send(from, Some(sender), &frame);
    }

    /// Somebody who is no member here speaks as if it were. Who is taken for dead learns that, and comes back. Who was never
    /// heard of is greeted if it reports, as each does to its members: gossip has missed it, and who is asked whom it knows names
    /// some of a large cluster only.
    fn raise(&mut self, now: Duration, (from, sender): (SocketAddr, Run), reports: bool, wire: &mut impl Wire) {
        let dead = self.members.dead(sender).cloned();
        let known = self.members.member(sender.0);
        let is_known = known.is_some_and(|(member, _)| member.incarnation >= sender.1);
        let is_answered = dead.is_some() || (reports && !is_known);
        if !is_answered || !self.may_answer_stranger(now) {
            return;
        }
        match dead {
            Some(identity) => self.members.announce(now, identity),
            None => {
                let bytes_max = self.plan.datagram_bytes();
                Out { wire, counts: &mut self.counts, bytes_max }.send(from, Some(sender), &self.hellos[1]);
            }
        }
    }

    fn greeted(&mut self, now: Duration, from: SocketAddr, sender: Run, hello: &Hello<'_>, wire: &mut impl Wire) {
        if !hello.is_understood() || hello.tags.len() > crate::plan::TAGS_BYTES_MAX {
            self.counts.hellos_refused += 1;
            return;
        }
        let bytes_max = self.plan.datagram_bytes();
        match self.peers.get_mut(&sender.0).filter(|peer| peer.is_live()) {
            Some(peer) if peer.run == sender => {
                if hello.number >= peer.tags.0 {
                    peer.tags = (hello.number, hello.tags.to_vec());
                    if peer.is_leaving != hello.is_leaving {
                        peer.is_leaving = hello.is_leaving;
                        self.leaving.push(sender.0);
                    }
                }
                let is_due = peer.greeted_at.is_none_or(|at| at + GREETING_PAUSE <= now);
                if hello.asks && is_due {
                    peer.greeted_at = Some(now);
                    peer.post(&self.hellos[0], now, &mut Out { wire, counts: &mut self.counts, bytes_max });
                    self.ready.push(sender.0);
                } else if hello.asks {
                    // It has missed the last one, or could not use it yet.
                    peer.greeted_at = None;
                    peer.report_at = peer.report_at.min(now + GREETING_PAUSE);
                    self.peers_due = self.peers_due.min(peer.report_at);
                }
            }
            // A former run, late.
            Some(peer) if peer.run.1 > sender.1 => {}
            _ => {
                if self.may_answer_stranger(now) {
                    if hello.asks {
                        Out { wire, counts: &mut self.counts, bytes_max }.send(from, None, &self.hellos[0]);
                    }
                    self.members.announce(now, Identity::new(sender, hello.address, hello.shards));
                }
            }
        }
    }

    /// A frame of a live member.
    fn take(&mut self, now: Duration, sender: Run, frame: Frame<'_>, wire: &mut impl Wire) {
        match frame {
            Frame::Acknowledge(acknowledge) => self.acknowledged(&acknowledge, sender),
            Frame::Report(report) => self.reported(now, sender, &report),
            Frame::Told(epoch, number, bundle) => self.told(now, sender, (epoch, number), bundle, wire),
            Frame::Said(number, since, payload) => {
                self.said(now, sender, sender, (number, Some(since)), payload, wire);
            }
            Frame::Pushed(node, incarnation, number, payload) => {
                let run = (NodeId(node), Incarnation(incarnation));
                if run.0 != self.plan.node {
                    self.said(now, sender, run, (number, None), payload, wire);
                }
            }
            Frame::Pull(ranges) => self.pulled(now, sender, &ranges, wire),
            Frame::Leave => {
                if let Some(peer) = self.live(sender) {
                    peer.has_left = true;
                }
                self.members.bury(now, sender);
            }
            Frame::Doubt(incarnation) => self.members.doubted(now, sender, incarnation),
            Frame::Hello(_) | Frame::Swim(_) | Frame::Probe(_) | Frame::Echo(_) => {}
        }
    }

    fn acknowledged(&mut self, acknowledge: &Acknowledge, sender: Run) {
        if let Some(peer) = self.live(sender) {
            peer.link.acknowledged(acknowledge);
        }
    }

    fn reported(&mut self, now: Duration, sender: Run, report: &Report) {
        let tags_number = self.tags_number;
        let Some(peer) = self.live(sender) else { return };
        peer.stamp = Some((report.stamp, now));
        if let Some((stamp, held)) = report.echo
            && let Some(micros) = micros(now).checked_sub(stamp.saturating_add(held))
        {
            peer.link.measure(Duration::from_micros(micros));
        }
        if report.tags_heard < tags_number && peer.greeted_at.is_some_and(|at| at + GREETING_PAUSE <= now) {
            peer.greeted_at = None;
            peer.report_at = now;
            self.peers_due = now;
        }
        let own = Position { node: sender.0.0, incarnation: sender.1.0, low: report.low, next: report.next };
        self.streams.hear_position(now, sender.0, &own, Some(report.since));
        for position in &report.positions {
            self.streams.hear_position(now, sender.0, position, None);
        }
    }

    fn told(&mut self, now: Duration, sender: Run, at: (u32, u64), bundle: &[u8], wire: &mut impl Wire) {
        let Some(peer) = self.live(sender) else { return };
        let heard = peer.link.hear(now, at, bundle, |payload| wire.deliver(sender, payload));
        let due = peer.due();
        self.peers_due = self.peers_due.min(due);
        match heard {
            Bundle::Taken => {}
            Bundle::Duplicate | Bundle::Late => self.counts.bundles_duplicate += 1,
            Bundle::Refused => self.counts.deliveries_refused += 1,
            Bundle::Malformed => self.counts.frames_malformed += 1,
        }
    }

    fn said(
        &mut self,
        now: Duration,
        teller: Run,
        run: Run,
        at: (u64, Option<u64>),
        payload: &[u8],
        wire: &mut impl Wire,
    ) {
        match self.streams.hear(now, run, at, payload, |payload| wire.deliver(run, payload)) {
            Said::Taken => {
                self.counts.said_heard += 1;
                // Who gives what it was asked for says nothing of where the stream begins.
                self.counts.said_repaired += u64::from(at.1.is_none());
            }
            Said::Duplicate => self.counts.said_duplicate += 1,
            Said::Refused => self.counts.deliveries_refused += 1,
            Said::Unknown => self.counts.frames_from_strangers += u64::from(teller == run),
        }
        self.counts.remembered_evicted = self.streams.evicted();
    }

    fn pulled(&mut self, now: Duration, sender: Run, ranges: &[Range], wire: &mut impl Wire) {
        let bytes_max = self.plan.datagram_bytes();
        let Some(peer) = self.peers.get_mut(&sender.0) else { return };
        let mut out = Out { wire, counts: &mut self.counts, bytes_max };
        let mut frame = Vec::new();
        let (pushed, held_back) = self.streams.serve(now, ranges, |range, number, payload| {
            frame.clear();
            put_pushed(&mut frame, range.node, range.incarnation, number, payload);
            peer.post(&frame, now, &mut out);
        });
        self.ready.push(sender.0);
        self.counts.pushed += pushed;
        self.counts.ranges_held_back += held_back;
    }
}
