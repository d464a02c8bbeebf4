//! Sealing: frames become a datagram that only members of the cluster can read, or could have written.

use ring::aead::{Aad, LessSafeKey};
use tailwater_proto::cluster::Incarnation;

use super::{Header, Keyring, PLAINTEXT, Run};

/// Seals what one run of a node sends. There is one a process: two would use the same counters with the same key, which opens
/// everything to whoever hears both.
#[derive(Debug)]
pub struct Sealer {
    own: Run,
    next: u64,
    keyring: Keyring,
    /// The key of this run; none in plain text.
    key: Option<(u8, LessSafeKey)>,
}

/// Frames that were not sealed. Nothing of them was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Every counter has been used. At a million datagrams a second that is after half a million years.
    #[error("all counters of this run are used up")]
    Exhausted,
    /// The library refused: more than 64 GiB.
    #[error("the frames are too long to be sealed")]
    TooLong,
}

impl Sealer {
    /// A sealer for a run that has sent nothing yet. Its incarnation must be on the disk before, where it is kept at all: a
    /// second run with the same one would use its counters again.
    #[must_use]
    pub fn new(own: Run, keyring: Keyring) -> Self {
        let key = Self::derive(own, &keyring);
        Self { own, next: 1, keyring, key }
    }

    fn derive(own: Run, keyring: &Keyring) -> Option<(u8, LessSafeKey)> {
        let key = keyring.first()?;
        key.of_run(own).map(|derived| (key.number, derived))
    }

    /// Other keys from now on. Counters go on, so that a key that comes back meets none of them again.
    pub fn replace(&mut self, keyring: Keyring) {
        self.key = Self::derive(self.own, &keyring);
        self.keyring = keyring;
    }

    /// A later incarnation of the same process. As with [`new`](Self::new), it is on the disk before.
    pub fn renew(&mut self, incarnation: Incarnation) {
        self.own.1 = incarnation;
        self.key = Self::derive(self.own, &self.keyring);
    }

    /// Writes a datagram with these frames into `out`, in place of what is there. `to` is the run that it is for: no other one
    /// opens it. `None` is for a receiver that is not known yet.
    ///
    /// # Errors
    /// See [`SealError`]; then `out` is empty.
    pub fn seal(&mut self, to: Option<Run>, frames: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        out.clear();
        let counter = self.next;
        self.next = counter.checked_add(1).ok_or(SealError::Exhausted)?;
        let key_number = self.key.as_ref().map_or(PLAINTEXT, |(number, _)| *number);
        let (sender, incarnation) = self.own;
        let header = Header { is_bound: to.is_some(), key_number, sender, incarnation, counter };
        out.extend_from_slice(&header.encode());
        let start = out.len();
        out.extend_from_slice(frames);
        let Some((_, key)) = &self.key else { return Ok(()) };
        let covered = header.covered(to.unwrap_or_default());
        match key.seal_in_place_separate_tag(header.nonce(), Aad::from(covered), &mut out[start..]) {
            Ok(tag) => {
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
            Err(_) => {
                out.clear();
                Err(SealError::TooLong)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, counter: u64) {
        self.next = counter;
    }
}
