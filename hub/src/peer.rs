//! What a hub knows of another node, and what waits to be sent to it in one datagram.

use crate::counts::HubCounts;
use crate::frame::put_acknowledge;
use crate::link::{Link, Waits};
use crate::streams::Run;
use crate::wire::Wire;
use std::net::SocketAddr;
use std::time::Duration;

/// Where datagrams go, and their books.
pub struct Out<'a, W> {
    /// The world.
    pub wire: &'a mut W,
    /// The books.
    pub counts: &'a mut HubCounts,
    /// Bytes of frames in a datagram.
    pub bytes_max: usize,
}

impl<W: Wire> Out<'_, W> {
    /// Sends a datagram.
    pub fn send(&mut self, address: SocketAddr, to: Option<Run>, frames: &[u8]) {
        self.counts.datagrams_sent += 1;
        self.counts.bytes_sent += u64::try_from(frames.len()).unwrap_or(u64::MAX);
        self.wire.send(address, to, frames);
    }
}

/// A node that is, or was, a member.
pub struct Peer {
    /// Which node in which run.
    pub run: Run,
    /// Where it is.
    pub address: SocketAddr,
    /// Since when it is taken for dead.
    pub gone_at: Option<Duration>,
    /// Whether what was told to it was given up since.
    pub is_given_up: bool,
    /// What the two tell each other.
    pub link: Link,
    /// The first number of this node's stream that is meant for it.
    pub since: u64,
    /// Whether it has said that it is about to leave.
    pub is_leaving: bool,
    /// Whether it went by itself.
    pub has_left: bool,
    /// Its tags, and their number.
    pub tags: (u32, Vec<u8>),
    /// When it was greeted.
    pub greeted_at: Option<Duration>,
    /// Its stamp that was heard last, and when.
    pub stamp: Option<(u64, Duration)>,
    /// When it is to be told what was heard of streams.
    pub report_at: Duration,
    /// When that was done.
    pub reported_at: Duration,
    /// So many reports still follow what was said last, for it or one of them may be lost.
    pub reports_after_said: u32,
    /// When streams of others were a part of it.
    pub positions_at: Option<Duration>,
    /// When a datagram of it came.
    pub heard_at: Duration,
    /// When it was doubted since.
    pub doubted_at: Option<Duration>,
    outbox: Vec<u8>,
    outbox_due: Option<Duration>,
}

impl Peer {
    /// A new member.
    pub fn new(run: Run, address: SocketAddr, since: u64, waits: Waits, epoch: u32, now: Duration) -> Self {
        Self {
            run,
            address,
            gone_at: None,
            is_given_up: false,
            link: Link::new(waits, epoch),
            since,
            is_leaving: false,
            has_left: false,
            tags: (0, Vec::new()),
            greeted_at: None,
            stamp: None,
            report_at: now,
            reported_at: now,
            reports_after_said: 0,
            positions_at: None,
            heard_at: now,
            doubted_at: None,
            outbox: Vec::new(),
            outbox_due: None,
        }
    }

    /// Whether it is a live member.
    pub const fn is_live(&self) -> bool {
        self.gone_at.is_none()
    }

    /// Puts a frame into the next datagram, which goes at `at` or when it is full.
    pub fn post<W: Wire>(&mut self, frame: &[u8], at: Duration, out: &mut Out<'_, W>) {
        if self.outbox.len() + frame.len() > out.bytes_max {
            self.flush(out);
        }
        self.outbox.extend_from_slice(frame);
        self.outbox_due = Some(self.outbox_due.map_or(at, |due| due.min(at)));
    }

    /// Puts bundles that are due into datagrams that go now.
    pub fn post_bundles<W: Wire>(&mut self, now: Duration, out: &mut Out<'_, W>) {
        if self.link.send_due().is_none_or(|at| at > now) {
            return;
        }
        let mut frames = Vec::new();
        let mut ends = Vec::new();
        out.counts.bundles_sent_again += self.link.send(now, |frame| {
            frames.extend_from_slice(frame);
            ends.push(frames.len());
        });
        let mut start = 0;
        for end in ends {
            self.post(frames.get(start..end).unwrap_or_default(), now, out);
            start = end;
        }
    }

    /// Sends what waits, with an acknowledgement if one is owed.
    pub fn flush<W: Wire>(&mut self, out: &mut Out<'_, W>) {
        if let Some(acknowledge) = self.link.take_acknowledge() {
            let end = self.outbox.len();
            put_acknowledge(&mut self.outbox, &acknowledge);
            if self.outbox.len() > out.bytes_max {
                out.send(self.address, Some(self.run), self.outbox.get(..end).unwrap_or_default());
                self.outbox.drain(..end);
            }
        }
        if !self.outbox.is_empty() {
            out.send(self.address, Some(self.run), &self.outbox);
            self.outbox.clear();
        }
        self.outbox_due = None;
    }

    /// Does what is due, but for reports.
    pub fn tick<W: Wire>(&mut self, now: Duration, out: &mut Out<'_, W>) {
        self.post_bundles(now, out);
        if [self.outbox_due, self.link.acknowledge_due()].into_iter().flatten().any(|at| at <= now) {
            self.flush(out);
        }
    }

    /// It is taken for dead: nothing is sent to it.
    pub fn go(&mut self, now: Duration) {
        self.gone_at = Some(now);
        self.outbox.clear();
        self.outbox_due = None;
    }

    /// When something is due.
    pub fn due(&self) -> Duration {
        let others = [self.outbox_due, self.link.send_due(), self.link.acknowledge_due()];
        others.into_iter().flatten().min().map_or(self.report_at, |at| at.min(self.report_at))
    }
}
