//! The memory that one core lends to requests.
//!
//! It is divided by what it is for, so that what waits for one part never holds what another needs to go on:
//!
//! ```text
//! open      a request's own state, and the first bytes of its body while it waits for the next part
//!   |       no room: refused at once
//! bodies    a body as it comes, its whole length before its window is opened any further
//!   |       no room: waits, its stream shut
//! inflated  what a service makes of it: decompressed, parsed; until the last reference to it is gone
//!           no room: waits
//! ```
//!
//! A charge of a later part never waits for one of an earlier part, so what is admitted can always finish: the holders of
//! `inflated` are waiting for the disk or another core, those of `bodies` for their sender or `inflated`. A body that is
//! too large for a part, or one of unknown length that outgrows it, waits for the node's one [`LargeLane`] instead.
//!
//! A connection that holds something of a part leaves a quarter of it to those that hold nothing, and comes after them in
//! the line: one connection cannot have it all.

mod pool;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};

use pool::{Charge, Pass, Pool, Share};

pub use pool::LargeLane;

/// Charged for an open request besides its body: the states of its task and of its stream, and its head once what nobody
/// asks for is taken out. Measured by opening streams and sending no bodies.
const REQUEST_BYTES: usize = 8 << 10;

/// Streams that can wait with all they may send before there is room for them.
const WAITING_STREAMS_MIN: usize = 128;

/// The window that HTTP/2 gives a stream by itself; less would cost small requests a round trip.
const STREAM_WINDOW_BYTES_MIN: u32 = 65_535;

/// How a core's memory for requests is divided, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Open requests, and what they hold of bodies that wait.
    pub open_bytes_max: usize,
    /// Bodies as received.
    pub body_bytes_max: usize,
    /// What is made of bodies.
    pub inflated_bytes_max: usize,
    /// Flow-control windows of connections, beyond the least that HTTP/2 knows.
    pub window_bytes_max: usize,
}

impl MemoryBounds {
    /// Divides `bytes`: an eighth for open requests, a quarter each for bodies and windows, the rest for what is made of
    /// bodies, which is larger than they are.
    #[must_use]
    pub const fn divide(bytes: usize) -> Self {
        let (open, quarter) = (bytes / 8, bytes / 4);
        Self {
            open_bytes_max: open,
            body_bytes_max: quarter,
            inflated_bytes_max: bytes - open - 2 * quarter,
            window_bytes_max: quarter,
        }
    }
}

/// What one core lends to the requests of all its receivers.
#[derive(Debug)]
pub struct ReceiveMemory {
    open: Pool,
    bodies: Pool,
    inflated: Pool,
    lane: LargeLane,
    pub(crate) windows: Rc<WindowBudget>,
}

impl ReceiveMemory {
    /// The memory of one core, and the lane that it shares with the node's other cores.
    #[must_use]
    pub fn new(bounds: MemoryBounds, lane: LargeLane) -> Rc<Self> {
        Rc::new(Self {
            open: Pool::new(bounds.open_bytes_max),
            bodies: Pool::new(bounds.body_bytes_max),
            inflated: Pool::new(bounds.inflated_bytes_max),
            lane,
            windows: WindowBudget::new(bounds.window_bytes_max),
        })
    }

    /// What a stream may send before there is room for its body, so that a good number of them can wait.
    pub(crate) fn stream_window_bytes(&self) -> u32 {
        let part = self.open.bytes_max() / WAITING_STREAMS_MIN;
        u32::try_from(part).unwrap_or(u32::MAX).max(STREAM_WINDOW_BYTES_MIN)
    }

    /// Bytes lent now, of all parts but the lane.
    #[must_use]
    pub fn used(&self) -> usize {
        self.open.used() + self.bodies.used() + self.inflated.used()
    }

    /// Takes bytes of what is made of bodies for something that came in no request, such as the log of a former run.
    pub async fn borrow(&self, bytes: usize) -> Room {
        if self.inflated.is_large(bytes) {
            return Room { charge: None, more: Vec::new(), pass: Some(Arc::new(self.lane.take().await)) };
        }
        Room { charge: Some(self.inflated.take(&Share::default(), bytes).await), more: Vec::new(), pass: None }
    }
}

/// What one connection holds of each part.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    open: Share,
    bodies: Share,
    inflated: Share,
}

/// Memory lent, given back when it is dropped, on whatever thread.
#[derive(Debug)]
pub struct Room {
    charge: Option<Charge>,
    /// Of other parts, or what came later.
    more: Vec<Charge>,
    pass: Option<Arc<Pass>>,
}

impl Room {
    /// Keeps the room for as long as `bytes` or any part of it is referred to.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        struct Held(Bytes, #[expect(dead_code, reason = "dropped with the bytes")] Room);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Held(bytes, self))
    }

    /// Adds other room, to be given back with this.
    pub fn join(&mut self, other: Self) {
        self.more.extend(other.charge);
        self.more.extend(other.more);
        self.pass = self.pass.take().or(other.pass);
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(charge) = &mut self.charge {
            charge.shrink(bytes);
        }
    }
}

/// The memory of one request.
#[derive(Debug)]
pub struct RequestMemory {
    core: Rc<ReceiveMemory>,
    holdings: Rc<Holdings>,
    open: RefCell<Charge>,
    body: RefCell<Option<Charge>>,
    /// Set while the request, too large for its part, has the node's lane.
    pass: RefCell<Option<Arc<Pass>>>,
    has_waited: Cell<bool>,
}

impl RequestMemory {
    /// Room for the request itself; `None` where there is none.
    pub(crate) fn open(core: &Rc<ReceiveMemory>, holdings: &Rc<Holdings>) -> Option<Self> {
        let open = core.open.try_take(&holdings.open, REQUEST_BYTES)?;
        Some(Self {
            core: Rc::clone(core),
            holdings: Rc::clone(holdings),
            open: RefCell::new(open),
            body: RefCell::default(),
            pass: RefCell::default(),
            has_waited: Cell::new(false),
        })
    }

    /// Charges first bytes of a body that waits. False where there is no room: the request is to be refused.
    pub(crate) fn hold(&self, bytes: usize) -> bool {
        let Some(more) = self.core.open.try_take(&self.holdings.open, bytes) else { return false };
        self.open.borrow_mut().absorb(more);
        true
    }

    /// The first bytes count as a part of the body now.
    pub(crate) fn unhold(&self) {
        self.open.borrow_mut().shrink(REQUEST_BYTES);
    }

    /// Waits for room for a body of that length.
    pub(crate) async fn admit(&self, bytes: usize) {
        let bodies = &self.core.bodies;
        if bodies.is_large(bytes) {
            self.has_waited.set(!self.core.lane.is_free());
            let pass = self.core.lane.take().await;
            self.pass.replace(Some(Arc::new(pass)));
            return;
        }
        if let Some(charge) = bodies.try_take(&self.holdings.bodies, bytes) {
            self.body.replace(Some(charge));
            return;
        }
        self.has_waited.set(true);
        let charge = bodies.take(&self.holdings.bodies, bytes).await;
        self.body.replace(Some(charge));
    }

    /// Waits for room for more of a body whose length nobody has told. Bodies that grow could wait for one another for
    /// ever: so whoever waits here takes the lane if that is free first.
    pub(crate) async fn grow(&self, bytes: usize) {
        if self.pass.borrow().is_some() {
            return;
        }
        let bodies = &self.core.bodies;
        if let Some(more) = bodies.try_take(&self.holdings.bodies, bytes) {
            self.absorb(more);
            return;
        }
        self.has_waited.set(true);
        let more = std::pin::pin!(bodies.take(&self.holdings.bodies, bytes));
        let lane = std::pin::pin!(self.core.lane.take());
        match select(more, lane).await {
            Either::Left((more, _)) => self.absorb(more),
            Either::Right((pass, _)) => _ = self.pass.replace(Some(Arc::new(pass))),
        }
    }

    fn absorb(&self, more: Charge) {
        let mut body = self.body.borrow_mut();
        match &mut *body {
            Some(charge) => charge.absorb(more),
            None => *body = Some(more),
        }
    }

    /// The body has come and is only so long.
    pub(crate) fn arrived(&self, bytes: usize) {
        if let Some(charge) = &mut *self.body.borrow_mut() {
            charge.shrink(bytes);
        }
    }

    /// Whether the body had to wait for room.
    pub(crate) fn has_waited(&self) -> bool {
        self.has_waited.get()
    }

    /// Whether others wait for what this request has.
    pub(crate) fn is_wanted(&self) -> bool {
        self.pass.borrow().is_some() || self.core.bodies.is_awaited()
    }

    /// Waits for room for something made of the body. What is admitted never waits for ever: those who have such room give
    /// it back without the help of others that wait.
    pub async fn room(&self, bytes: usize) -> Room {
        if let Some(pass) = &*self.pass.borrow() {
            return Room { charge: None, more: Vec::new(), pass: Some(Arc::clone(pass)) };
        }
        let inflated = &self.core.inflated;
        if inflated.is_large(bytes) {
            let pass = Arc::new(self.core.lane.take().await);
            self.pass.replace(Some(Arc::clone(&pass)));
            return Room { charge: None, more: Vec::new(), pass: Some(pass) };
        }
        Room { charge: Some(inflated.take(&self.holdings.inflated, bytes).await), more: Vec::new(), pass: None }
    }

    /// Charges for something small that exists already, beyond the bound where need be.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> Room {
        if let Some(pass) = &*self.pass.borrow() {
            return Room { charge: None, more: Vec::new(), pass: Some(Arc::clone(pass)) };
        }
        Room { charge: Some(self.core.inflated.force(&self.holdings.inflated, bytes)), more: Vec::new(), pass: None }
    }

    /// The room of the body as it came, for whoever refers to it longer than the request lasts.
    #[must_use]
    pub fn take_body(&self) -> Room {
        Room { charge: self.body.take(), more: Vec::new(), pass: self.pass.borrow().clone() }
    }
}

/// The flow-control window that a core's connections may be given beyond the least that HTTP/2 knows.
#[derive(Debug)]
pub(crate) struct WindowBudget {
    left: Cell<usize>,
}

impl WindowBudget {
    fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(bytes_max) })
    }

    /// A large window if there is enough left for it, until the loan is dropped.
    pub(crate) fn take(self: &Rc<Self>, bytes: u32) -> Option<WindowLoan> {
        let bytes = usize::try_from(bytes).ok()?;
        let left = self.left.get().checked_sub(bytes)?;
        self.left.set(left);
        Some(WindowLoan { budget: Rc::clone(self), bytes })
    }
}

/// A connection's window.
#[derive(Debug)]
pub(crate) struct WindowLoan {
    budget: Rc<WindowBudget>,
    bytes: usize,
}

impl Drop for WindowLoan {
    fn drop(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.bytes);
    }
}

#[cfg(test)]
mod tests;
