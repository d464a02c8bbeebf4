//! Opening: what comes from the network becomes frames of a known sender, or is counted by why it did not.
//!
//! Checks go from cheap to dear. What a stranger sends costs at most the derivation of one key and one check of a tag, and
//! leaves nothing behind but a count. Nothing that fails here may be answered.

use std::collections::HashMap;

use ring::aead::{Aad, LessSafeKey};
use tailwater_proto::cluster::{Incarnation, NodeId};

use super::replay::{GoneRuns, Window};
use super::{HEADER_BYTES, Header, Keyring, PLAINTEXT, Run, TAG_BYTES};

/// Nodes of which something is remembered, about a kilobyte each. Only what holds a key of the cluster becomes one.
/// At the bound: what others send is refused until [`Opener::retain`] forgets one; counted as `too_many_senders`.
const SENDERS_MAX: usize = 1024;

/// A datagram that is what it says.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Who sent it.
    pub sender: NodeId,
    /// In which of its runs.
    pub incarnation: Incarnation,
    /// Whether it was sent to this very run. Else any node may have got it before, at any time: it is good for saying
    /// hello, and for nothing that a repetition could harm.
    pub is_bound: bool,
    /// What was sent.
    pub frames: &'a [u8],
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $says:literal,)*) => {
        /// Why a datagram was not opened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub enum Refusal {
            $($(#[$doc])* #[error($says)] $variant,)*
        }

        impl Refusal {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

refusals! {
    /// No room for a header and a tag.
    TooShort = "too_short" "too short for a datagram of a cluster",
    /// Of a format that is not known here, or of another program.
    Version = "version" "of an unknown version",
    /// Not sealed, and this node has a key.
    Plaintext = "plaintext" "plain text, which this node does not take",
    /// Sealed, and this node has no key.
    Sealed = "sealed" "sealed, and this node has no key",
    /// Sealed with a key that is not in the ring.
    UnknownKey = "unknown_key" "sealed with a key that this node does not have",
    /// What this node itself has sent.
    Own = "own" "sent by this node itself",
    /// Of a run of its sender before the one that is known.
    OldRun = "old_run" "of an earlier run of its sender",
    /// It has come already, or is so late that nobody can tell.
    Replayed = "replayed" "heard before, or too late to tell",
    /// Changed, for another node, for an earlier run of this one, or from who has no key.
    WrongSeal = "wrong_seal" "its seal is not of this cluster, or not for this run of this node",
    /// From a node too many.
    TooManySenders = "too_many_senders" "from one node more than can be told apart",
}

/// What is known of a node that something was opened of.
struct Sender {
    incarnation: Incarnation,
    window: Window,
    /// Keys of that run by number, as many as the ring has at most.
    keys: Vec<(u8, LessSafeKey)>,
}

/// Opens what comes to one run of a node.
pub struct Opener {
    own: Run,
    keyring: Keyring,
    senders: HashMap<NodeId, Sender>,
    gone: GoneRuns,
    opened: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let senders = self.senders.len();
        formatter.debug_struct("Opener").field("own", &self.own).field("senders", &senders).finish_non_exhaustive()
    }
}

impl Opener {
    /// An opener that has heard nobody yet.
    #[must_use]
    pub fn new(own: Run, keyring: Keyring) -> Self {
        let (senders, gone) = (HashMap::new(), GoneRuns::default());
        Self { own, keyring, senders, gone, opened: 0, refused: [0; Refusal::ALL.len()] }
    }

    /// Other keys from now on. What was heard stays heard.
    pub fn replace(&mut self, keyring: Keyring) {
        // Another key may have the number of a former one.
        self.senders.values_mut().for_each(|sender| sender.keys.clear());
        self.keyring = keyring;
    }

    /// A later incarnation of the same process: what was sent to the former one opens no more.
    pub fn renew(&mut self, incarnation: Incarnation) {
        self.own.1 = incarnation;
    }

    /// Forgets nodes that are no members any more, but for how far they had come: what they once sent does not open again.
    pub fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        let gone = &mut self.gone;
        self.senders.retain(|node, sender| {
            let stays = is_member(*node);
            if !stays {
                gone.remember(*node, sender.incarnation, sender.window.highest());
            }
            stays
        });
    }

    /// Opens a datagram in its place.
    ///
    /// # Errors
    /// Why it is none that this node takes; counted. What is in its place then is of no use.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<Opened<'a>, Refusal> {
        match self.examine(datagram) {
            Ok(opened) => {
                self.opened += 1;
                Ok(opened)
            }
            Err(refusal) => {
                self.refused[refusal as usize] += 1;
                Err(refusal)
            }
        }
    }

    /// Datagrams that were opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Datagrams that were not, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.iter().copied().zip(self.refused)
    }

    fn examine<'a>(&mut self, datagram: &'a mut [u8]) -> Result<Opened<'a>, Refusal> {
        let header = Header::decode(datagram)?;
        let run = (header.sender, header.incarnation);
        let opened = |frames| Opened { sender: run.0, incarnation: run.1, is_bound: header.is_bound, frames };
        match (self.keyring.is_plaintext(), header.key_number == PLAINTEXT) {
            (true, false) => return Err(Refusal::Sealed),
            (false, true) => return Err(Refusal::Plaintext),
            // Of what anyone can write nothing is remembered.
            (true, true) if run == self.own => return Err(Refusal::Own),
            (true, true) => return Ok(opened(&datagram[HEADER_BYTES..])),
            (false, false) => {}
        }
        if datagram.len() < HEADER_BYTES + TAG_BYTES {
            return Err(Refusal::TooShort);
        }
        if self.keyring.numbered(header.key_number).is_none() {
            return Err(Refusal::UnknownKey);
        }
        if run == self.own {
            return Err(Refusal::Own);
        }
        let frames = self.unseal(&header, datagram)?;
        Ok(opened(frames))
    }

    /// Checks the seal, and that this is the first time.
    fn unseal<'a>(&mut self, header: &Header, datagram: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        let covered = header.covered(self.own);
        let derive = || {
            let key = self.keyring.numbered(header.key_number).ok_or(Refusal::UnknownKey)?;
            key.of_run((header.sender, header.incarnation)).ok_or(Refusal::WrongSeal)
        };
        let open = |key: &LessSafeKey, datagram: &'a mut [u8]| -> Result<&'a [u8], Refusal> {
            let sealed = &mut datagram[HEADER_BYTES..];
            let frames = key.open_in_place(header.nonce(), Aad::from(covered), sealed);
            frames.map(|frames| &*frames).map_err(|_| Refusal::WrongSeal)
        };
        match self.senders.get_mut(&header.sender) {
            Some(sender) if header.incarnation < sender.incarnation => Err(Refusal::OldRun),
            Some(sender) if header.incarnation == sender.incarnation => {
                if !sender.window.is_new(header.counter) {
                    return Err(Refusal::Replayed);
                }
                let known = sender.keys.iter().position(|(number, _)| *number == header.key_number);
                let frames = match known {
                    Some(place) => open(&sender.keys[place].1, datagram)?,
                    None => {
                        let key = derive()?;
                        let frames = open(&key, datagram)?;
                        sender.keys.push((header.key_number, key));
                        frames
                    }
                };
                sender.window.hear(header.counter);
                Ok(frames)
            }
            later => {
                let is_known = later.is_some();
                let key = derive()?;
                let frames = open(&key, datagram)?;
                self.admit(header, key, is_known)?;
                Ok(frames)
            }
        }
    }

    /// Takes note of a run whose first datagram has opened.
    fn admit(&mut self, header: &Header, key: LessSafeKey, is_known: bool) -> Result<(), Refusal> {
        let (incarnation, mut window) = (header.incarnation, Window::first(header.counter));
        if !is_known {
            match self.gone.of(header.sender) {
                Some((last, _)) if incarnation < last => return Err(Refusal::OldRun),
                Some((last, highest)) if incarnation == last => {
                    if header.counter <= highest {
                        return Err(Refusal::Replayed);
                    }
                    window = Window::after(highest);
                    window.hear(header.counter);
                }
                _ => {}
            }
            if self.senders.len() >= SENDERS_MAX {
                return Err(Refusal::TooManySenders);
            }
        }
        self.senders.insert(header.sender, Sender { incarnation, window, keys: vec![(header.key_number, key)] });
        Ok(())
    }
}
