//! The keys of a cluster: who has one may join. The first seals, all open, so that a key is replaced in two steps: first every
//! node gets the new one behind the old one, then every node gets it in front. The old one goes at leisure, once nobody seals
//! with it.
//!
//! A key is never used itself. From it, the name of the cluster and a run of a node follows the key of that run.

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf;

use super::{PLAINTEXT, Run};

/// Bytes of a key at least. Keys are random texts, not words that somebody can remember: a datagram can be tried with
/// guesses at leisure.
const KEY_BYTES_MIN: usize = 32;

/// Keys of a cluster: the one in use, the one to come, and room for mistakes.
/// At the bound: the keys are refused.
const KEYS_MAX: usize = 4;

/// What the key of a run is derived for; a change of the format changes it.
const OF_RUN: &[u8] = b"tailwater datagram 1 run";
/// What a key's number is derived for.
const OF_NUMBER: &[u8] = b"tailwater datagram 1 number";

/// The join keys, or plain text.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Empty for plain text.
    keys: Vec<JoinKey>,
}

/// One key, mixed with the cluster's name.
#[derive(Debug, Clone)]
pub(super) struct JoinKey {
    /// Tells keys apart on the wire.
    pub(super) number: u8,
    root: hkdf::Prk,
}

/// Keys that can't be used. They are told by their places, never by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Nothing there.
    #[error("there is no key; write one a line, such as `openssl rand -base64 32` prints")]
    Empty,
    /// More than anyone needs.
    #[error("there are {0} keys; keep the one in use and the one to come, at most {KEYS_MAX}")]
    TooMany(usize),
    /// Can be guessed.
    #[error("key {0} has {1} bytes; write {KEY_BYTES_MIN} at least, such as `openssl rand -base64 32` prints")]
    TooShort(usize, usize),
    /// The number of a key follows from it, and there are 255.
    #[error(
        "keys {0} and {1} are the same, or alike by chance; draw another, such as `openssl rand -base64 32` prints"
    )]
    Alike(usize, usize),
    /// The library refused.
    #[error("key {0} can't be used; draw another, such as `openssl rand -base64 32` prints")]
    Unusable(usize),
}

/// Bytes of a number before it is made small.
struct NumberBytes;

impl hkdf::KeyType for NumberBytes {
    fn len(&self) -> usize {
        8
    }
}

impl Keyring {
    /// No key: whoever reaches the port may join, and whoever is on the way may read and write.
    #[must_use]
    pub fn plaintext() -> Self {
        Self { keys: Vec::new() }
    }

    /// The keys of a cluster, by its name: clusters with the same key and other names are strangers.
    ///
    /// # Errors
    /// See [`KeyringError`]. Keys are counted from 1.
    pub fn new(cluster: &str, keys: &[impl AsRef<[u8]>]) -> Result<Self, KeyringError> {
        if keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyringError::TooMany(keys.len()));
        }
        let mut made: Vec<JoinKey> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let (place, key) = (index + 1, key.as_ref());
            if key.len() < KEY_BYTES_MIN {
                return Err(KeyringError::TooShort(place, key.len()));
            }
            let key = JoinKey::new(cluster, key).ok_or(KeyringError::Unusable(place))?;
            if let Some(same) = made.iter().position(|other| other.number == key.number) {
                return Err(KeyringError::Alike(same + 1, place));
            }
            made.push(key);
        }
        Ok(Self { keys: made })
    }

    /// As [`new`](Self::new), from a file's text with one key a line. Empty lines and those that begin with `#` are passed
    /// over.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn read(cluster: &str, text: &str) -> Result<Self, KeyringError> {
        let lines = text.lines().map(str::trim);
        let keys: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        Self::new(cluster, &keys)
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that seals; none in plain text.
    pub(super) fn first(&self) -> Option<&JoinKey> {
        self.keys.first()
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> &[JoinKey] {
        &self.keys
    }

    /// The key of that number.
    pub(super) fn numbered(&self, number: u8) -> Option<&JoinKey> {
        self.keys.iter().find(|key| key.number == number)
    }
}

impl JoinKey {
    fn new(cluster: &str, key: &[u8]) -> Option<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, cluster.as_bytes()).extract(key);
        let mut bytes = [0; 8];
        root.expand(&[OF_NUMBER], NumberBytes).ok()?.fill(&mut bytes).ok()?;
        // Never the one that stands for plain text.
        let number = u8::try_from(u64::from_le_bytes(bytes) % u64::from(u8::MAX)).ok()? + PLAINTEXT + 1;
        Some(Self { number, root })
    }

    /// The key of what one run of a node seals. `None` does not happen: it would be a length that does not fit.
    pub(super) fn of_run(&self, (node, incarnation): Run) -> Option<LessSafeKey> {
        let (node, incarnation) = (node.0.to_le_bytes(), incarnation.0.to_le_bytes());
        let info = [OF_RUN, &node, &incarnation, &[self.number]];
        let derived = self.root.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}
