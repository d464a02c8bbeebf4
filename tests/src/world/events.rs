//! What happens next: events by the time of the world, those of one moment in the order in which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tailwater_engine::vocabulary::Nanos;

/// What happens to a node. Executors are numbers; cores are places in `Node::cores`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A sender sends what is due to this executor.
    Send(usize),
    /// A message of the first core gets to the second.
    Arrive(usize, usize),
    /// A core looks at the time.
    Tick(usize),
    /// The next hop answers this core's oldest request.
    Answer(usize),
    /// The disk is done with what this executor asked of one of its streams: data, or the opening of a file.
    Disk {
        /// The executor.
        core: usize,
        /// Place of the stream among those of its lane.
        place: usize,
        /// Whether a file was to be opened.
        is_opening: bool,
    },
    /// A core's journal is flushed.
    Flush(usize),
    /// A core reads again what waits in its log.
    Recall(usize),
    /// One segment of the former run is read.
    Replay,
    /// Rules change, or one more core takes the change over.
    Reload,
    /// The node stands still for a while, as processes do; its clock goes on.
    Pause,
    /// The node ends without a word and starts again.
    Crash,
    /// A datagram arrives, by its number.
    Hear(u64),
    /// The node's hub does what is due.
    Gossip,
    /// The node looks for others.
    Announce,
    /// A core takes what the hub has for it.
    Obey(usize),
    /// Cores of the node share what they have to do, and say it to other nodes.
    Share,
    /// The node comes.
    Come,
    /// The node goes.
    Go,
    /// The node, which has said farewell, ends.
    End,
}

/// Something that is going to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When, of the world.
    pub at: Nanos,
    order: u64,
    /// To which node.
    pub node: usize,
    /// In which run of its process: what a former run waited for does not happen.
    pub run: u32,
    /// What.
    pub what: What,
}

/// All that is going to happen.
#[derive(Debug, Default)]
pub struct Events {
    queue: BinaryHeap<Reverse<Event>>,
    planned: u64,
}

impl Events {
    /// Plans something.
    pub fn plan(&mut self, at: Nanos, node: usize, run: u32, what: What) {
        self.planned += 1;
        self.queue.push(Reverse(Event { at, order: self.planned, node, run, what }));
    }

    /// The next event.
    pub fn take(&mut self) -> Option<Event> {
        self.queue.pop().map(|Reverse(event)| event)
    }
}
