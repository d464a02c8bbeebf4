//! What the cores say, on its way into the hub.

use super::State;
use crate::core::Message;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use tailwater_engine::vocabulary::Said;
use tailwater_runtime::executor::yield_now;

/// Messages that wait because the way to their node is full.
/// At the bound: the oldest is dropped: who misses what it says asks.
const WAITING_MAX: usize = 8_192;
/// Messages taken in one go before other tasks run.
const TAKE_IN_A_ROW_MAX: usize = 64;

/// Messages for which there was no room yet.
#[derive(Debug, Default)]
pub(super) struct ToldByCores {
    waiting: VecDeque<Said>,
}

impl State {
    /// Takes what the cores say, all pipelines' in turn.
    pub(super) async fn take_told(self: Rc<Self>) {
        loop {
            let message = poll_fn(|context| {
                let wire = self.wire.borrow();
                for port in wire.ports() {
                    if let Poll::Ready(message) = port.poll_receive(context) {
                        return Poll::Ready(message);
                    }
                }
                Poll::Pending
            })
            .await;
            self.tell(message);
            for _ in 1..TAKE_IN_A_ROW_MAX {
                let next = self.wire.borrow().take_told();
                match next {
                    Some(message) => self.tell(message),
                    None => break,
                }
            }
            yield_now().await;
        }
    }

    fn tell(&self, message: Message) {
        // Cores say nothing else to this thread.
        let Message::Told(said) = message else { return };
        if !self.pass_on(&said) {
            let mut told = self.told.borrow_mut();
            if told.waiting.len() >= WAITING_MAX {
                told.waiting.pop_front();
            }
            told.waiting.push_back(said);
        }
    }

    /// Tries once more what found no room.
    pub(super) fn tell_again(&self) {
        let waiting = std::mem::take(&mut self.told.borrow_mut().waiting);
        let left: VecDeque<Said> = waiting.into_iter().filter(|said| !self.pass_on(said)).collect();
        self.told.borrow_mut().waiting = left;
    }

    fn pass_on(&self, said: &Said) -> bool {
        if said.bytes.len() > self.payload_bytes_max {
            // No datagram takes it: its node asks, and judges alone if it must.
            self.wire.borrow_mut().note_strange();
            return true;
        }
        self.with_hub(|hub, now, wire| match said.to {
            Some(node) if hub.view().member(node).is_none() => true,
            Some(node) => hub.tell(now, node, &said.bytes, wire),
            None => {
                hub.say(now, &said.bytes, wire);
                true
            }
        })
    }
}
