//! The cores of a pipeline as one of them sees them. The first ports of their mesh are the cores, in the order of their
//! numbers; behind further ports is whoever takes part and is no core: it has no shard, no log and no part of a limit, and
//! what is said to all cores is not said to it.

use super::Message;
use crate::numbers::CoreNumber;
use std::future::Future;
use tailwater_runtime::mesh::{Mesh, MeshPort, PortNumber};

/// One core's way to the others.
pub struct Peers {
    own: CoreNumber,
    cores: u16,
    port: MeshPort<Message>,
}

impl Peers {
    /// Joins `cores` cores with one another and with `others` who are no cores, whose ports come after.
    pub fn join(cores: u16, others: u16, queue_length: usize) -> (Vec<Self>, Vec<MeshPort<Message>>) {
        let mut ports = Mesh::new(usize::from(cores) + usize::from(others), queue_length);
        let guests = ports.split_off(usize::from(cores));
        let ends = CoreNumber::all(cores).zip(ports).map(|(own, port)| Self { own, cores, port });
        (ends.collect(), guests)
    }

    /// The core that this is the end of.
    pub fn own(&self) -> CoreNumber {
        self.own
    }

    /// How many cores there are, this one among them.
    pub fn cores(&self) -> u16 {
        self.cores
    }

    /// The other cores.
    pub fn others(&self) -> impl Iterator<Item = CoreNumber> + use<> {
        let own = self.own;
        CoreNumber::all(self.cores).filter(move |other| *other != own)
    }

    /// Gives a message to a core, or back if that core's queue is full.
    #[expect(clippy::result_large_err, reason = "the message itself: it is moved on the way there, too")]
    pub fn try_send(&self, to: CoreNumber, message: Message) -> Result<(), Message> {
        self.port.try_send(port(to), message)
    }

    /// Gives a message to the first who is no core, or back if there is none or its queue is full.
    #[expect(clippy::result_large_err, reason = "the message itself: it is moved on the way there, too")]
    pub fn try_tell(&self, message: Message) -> Result<(), Message> {
        let guest = PortNumber(usize::from(self.cores));
        if self.port.ports().len() <= guest.0 { Err(message) } else { self.port.try_send(guest, message) }
    }

    /// Gives a message to a core once there is room for it.
    pub fn send(&self, to: CoreNumber, message: Message) -> impl Future<Output = ()> + '_ {
        self.port.send(port(to), message)
    }

    /// The next message, if there is one.
    pub fn try_receive(&self) -> Option<Message> {
        self.port.try_receive()
    }

    /// The next message.
    pub async fn receive(&self) -> Message {
        self.port.receive().await
    }
}

/// The only place where a core's number becomes that of a port.
pub fn port(core: CoreNumber) -> PortNumber {
    PortNumber(core.position())
}

/// A list with a place for each core, as far as it was needed.
#[derive(Debug)]
pub(super) struct ByCore<T>(Vec<T>);

impl<T> Default for ByCore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> ByCore<T> {
    /// The place of a core.
    pub(super) fn of(&mut self, core: CoreNumber) -> &mut T {
        let position = core.position();
        if self.0.len() <= position {
            self.0.resize_with(position + 1, T::default);
        }
        &mut self.0[position]
    }

    /// The places that were needed.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (CoreNumber, &mut T)> {
        CoreNumber::all(u16::MAX).zip(&mut self.0)
    }

    /// What is in them.
    pub(super) fn values(&self) -> &[T] {
        &self.0
    }

    /// What is in a core's, if it was needed.
    pub(super) fn get(&self, core: CoreNumber) -> Option<&T> {
        self.0.get(core.position())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails where `others` goes over the ports of the mesh, as it did when a core was a port.
    #[test]
    fn what_is_said_to_all_cores_is_not_said_to_other_ports() {
        let (cores, guests) = Peers::join(2, 1, 4);
        for core in &cores {
            assert_eq!((core.cores(), core.others().count()), (2, 1));
            for other in core.others() {
                assert!(core.try_send(other, Message::LogFull).is_ok());
            }
        }
        assert!(cores.iter().all(|core| core.try_receive().is_some() && core.try_receive().is_none()));
        assert!(guests[0].try_receive().is_none());
        // A guest is heard like anybody.
        assert!(guests[0].try_send(port(CoreNumber::FIRST), Message::LogFull).is_ok());
        assert!(cores[0].try_receive().is_some());
    }
}
