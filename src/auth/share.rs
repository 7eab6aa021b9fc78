//! Share links: signed, expiring read access to one task, and the signing key.
//!
//! ```text
//! /tasks/ID#share=SHARE     SHARE = base64url(expires: u64 | born: u64 | mac: 32 bytes)
//! mac = HMAC-SHA256(key, "tasktail share 1\0" | ID | "\0" | expires | born)
//! ```
//! `expires` is in seconds since 1970. `born` is the creation time of the task in milliseconds, so that a
//! later task with the same name is not shared; 0 means any, as with JWTs of other systems (see
//! [`super::jwt`]). The key is 256 random bits in a file of the data folder, created on first use. Replacing or
//! deleting the file invalidates all links signed before.
//!
//! Not here: the permission to create a link, and the cookie it is exchanged for.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use parking_lot::{Mutex, MutexGuard};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use crate::model::{TaskId, Timestamp};

/// The file that stores the key, in the data folder.
pub const SHARE_KEY_FILE: &str = "share.key";

/// Prefix of every signed message, so that the key can never sign anything else.
const PURPOSE: &[u8] = b"tasktail share 1\0";
const NUMBERS_BYTES: usize = 16;
const SHARE_BYTES: usize = NUMBERS_BYTES + 32;
/// Length of a share as text.
const SHARE_CHARS: usize = SHARE_BYTES * 4 / 3;

/// Read access to one task until some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The task.
    pub task: TaskId,
    /// The creation time of the task, or `None` for any task of the name.
    pub born: Option<Timestamp>,
    /// The time of expiry, in whole seconds.
    pub expires: Timestamp,
}

/// The reason why a share is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareFault {
    /// Truncated, altered, for another task, or signed with a former key.
    #[error("this link is not valid: it is incomplete, altered or withdrawn")]
    Invalid,
    /// The share has expired.
    #[error("this link has expired; ask for a new one")]
    Expired,
}

/// A signing key of 256 random bits.
#[derive(Clone)]
pub struct ShareKey([u8; 32]);

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareKey(..)")
    }
}

impl ShareKey {
    /// Returns a new random key.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the signed share as text, for a link or a cookie.
    pub fn sign(&self, share: &Share) -> String {
        let mut bytes = numbers(share).to_vec();
        bytes.extend(self.mac(&share.task, &bytes).finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Verifies a text from [`ShareKey::sign`] for this task and time.
    ///
    /// # Errors
    /// The reason, without details that would help an attacker.
    pub fn verify(&self, task: &TaskId, text: &str, now: Timestamp) -> Result<Share, ShareFault> {
        if text.len() != SHARE_CHARS {
            return Err(ShareFault::Invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ShareFault::Invalid)?;
        let (numbers, mac) = bytes.split_at_checked(NUMBERS_BYTES).ok_or(ShareFault::Invalid)?;
        self.mac(task, numbers).verify_slice(mac).map_err(|_| ShareFault::Invalid)?;
        let word = |half: &[u8]| half.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let (expires_s, born) = numbers.split_at(NUMBERS_BYTES / 2);
        let expires = Timestamp::from_millis(word(expires_s).saturating_mul(1000));
        if expires <= now {
            return Err(ShareFault::Expired);
        }
        let born = Some(word(born)).filter(|born| *born != 0).map(Timestamp::from_millis);
        Ok(Share { task: task.clone(), born, expires })
    }

    /// Returns the MAC over a task and the numbers of a share.
    fn mac(&self, task: &TaskId, numbers: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&self.block());
        for part in [PURPOSE, task.as_str().as_bytes(), b"\0", numbers] {
            mac.update(part);
        }
        mac
    }

    /// Returns the key padded to a block, as in RFC 2104.
    fn block(&self) -> hmac::digest::Key<Hmac<Sha256>> {
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(self.0) {
            *to = from;
        }
        block
    }
}

/// Returns `expires` and `born` in big-endian order.
fn numbers(share: &Share) -> [u8; NUMBERS_BYTES] {
    let born = share.born.map_or(0, Timestamp::as_millis);
    (u128::from(share.expires.as_millis() / 1000) << 64 | u128::from(born)).to_be_bytes()
}

/// The file with the key. Replacing or deleting it ends all links, including those in use.
#[derive(Debug)]
pub struct ShareKeyFile {
    path: PathBuf,
    /// Locked briefly.
    cached: Mutex<CachedKey>,
}

/// The key as last read.
#[derive(Debug)]
struct CachedKey {
    stamp: Option<KeyFileStamp>,
    key: Option<ShareKey>,
    /// Cancelled when the file changes.
    end: CancellationToken,
}

/// Metadata that identifies one version of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyFileStamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl ShareKeyFile {
    /// Returns the key file of a data folder, without creating it.
    pub fn new(data: &Path) -> Self {
        let path = data.join(SHARE_KEY_FILE);
        let cached = CachedKey { stamp: stamp(&path), key: None, end: CancellationToken::new() };
        Self { path, cached: Mutex::new(cached) }
    }

    /// Returns the key, if there is one, and a token that is cancelled when the key changes.
    ///
    /// # Errors
    /// The file exists and cannot be read or parsed.
    pub fn key(&self) -> io::Result<Option<(ShareKey, CancellationToken)>> {
        let mut cached = self.refreshed();
        if cached.stamp.is_none() {
            return Ok(None);
        }
        let key = match &cached.key {
            Some(key) => key.clone(),
            None => cached.key.insert(read(&self.path)?).clone(),
        };
        Ok(Some((key, cached.end.clone())))
    }

    /// Returns the key, and creates it if there is none.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn key_or_new(&self) -> io::Result<ShareKey> {
        if let Some((key, _)) = self.key()? {
            return Ok(key);
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Created with mode 0600.
        let mut file = tempfile::Builder::new().prefix(".share.").tempfile_in(folder)?;
        writeln!(file, "{}", URL_SAFE_NO_PAD.encode(ShareKey::random()?.0))?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&self.path) {
            Ok(_) => {}
            // Another request was faster; its key is used.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
        let created = self.key()?;
        created.map(|(key, _)| key).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Checks whether the file has changed. Called periodically.
    pub fn refresh(&self) {
        drop(self.refreshed());
    }

    /// Returns the locked cache, invalidated if the file has changed.
    fn refreshed(&self) -> MutexGuard<'_, CachedKey> {
        let now = stamp(&self.path);
        let mut cached = self.cached.lock();
        if cached.stamp != now {
            cached.end.cancel();
            *cached = CachedKey { stamp: now, key: None, end: CancellationToken::new() };
        }
        cached
    }
}

/// Reads a key file.
fn read(path: &Path) -> io::Result<ShareKey> {
    let text = std::fs::read_to_string(path)?;
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let why = format!("{} is not a share key; delete it to create a new one", path.display());
    bytes.map(ShareKey).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Returns the metadata of the file, if it exists.
fn stamp(path: &Path) -> Option<KeyFileStamp> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    Some(KeyFileStamp { inode: meta.ino(), bytes: meta.len(), modified: meta.modified().ok() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn share(task: &str, born: u64, expires_s: u64) -> Share {
        let born = Some(born).filter(|born| *born != 0).map(Timestamp::from_millis);
        Share { task: task.parse().unwrap(), born, expires: Timestamp::from_millis(expires_s * 1000) }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    proptest! {
        #[test]
        fn a_signed_share_verifies(
            key in any::<[u8; 32]>(), task in "[A-Za-z0-9_~:-]{1,128}", born in any::<u64>(), life in 1u64..1 << 40,
        ) {
            let key = ShareKey(key);
            let share = share(&task, born, 1000 + life);
            prop_assert_eq!(key.verify(&share.task, &key.sign(&share), NOW), Ok(share));
        }

        #[test]
        fn any_flipped_bit_is_rejected(key in any::<[u8; 32]>(), born in any::<u64>(), life in 1u64..1 << 40) {
            let key = ShareKey(key);
            let share = share("build-42", born, 1000 + life);
            let good = key.sign(&share);
            let mut bytes = good.clone().into_bytes();
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    prop_assert_eq!(key.verify(&share.task, text, NOW), Err(ShareFault::Invalid), "bit {}", bit);
                }
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for end in 0..good.len() {
                prop_assert_eq!(key.verify(&share.task, &good[..end], NOW), Err(ShareFault::Invalid));
            }
            prop_assert_eq!(key.verify(&share.task, &format!("{good}A"), NOW), Err(ShareFault::Invalid));
        }

        #[test]
        fn arbitrary_text_is_rejected(text in ".{0,200}") {
            let key = ShareKey([7; 32]);
            prop_assert_eq!(key.verify(&"t".parse().unwrap(), &text, NOW), Err(ShareFault::Invalid));
        }
    }

    #[test]
    fn a_share_is_bound_to_task_key_and_expiry() {
        let key = ShareKey([1; 32]);
        let share = share("build-42", 5, 1001);
        let text = key.sign(&share);
        assert!(key.verify(&share.task, &text, NOW).is_ok());
        for other in ["build-4", "build-420", "build-43", "BUILD-42"] {
            assert_eq!(key.verify(&other.parse().unwrap(), &text, NOW), Err(ShareFault::Invalid), "{other}");
        }
        assert_eq!(ShareKey([2; 32]).verify(&share.task, &text, NOW), Err(ShareFault::Invalid));
        assert_eq!(key.verify(&share.task, &text, Timestamp::from_millis(1_001_000)), Err(ShareFault::Expired));
        assert!(key.verify(&share.task, &text, Timestamp::from_millis(1_000_999)).is_ok());
    }

    #[test]
    fn the_signature_is_hmac_sha256_of_the_documented_text() {
        let share = share("t", 2, 1);
        let bytes = URL_SAFE_NO_PAD.decode(ShareKey([0x0b; 32]).sign(&share)).unwrap();
        assert_eq!(bytes[..16], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&[0x0b; 32]).unwrap();
        mac.update(b"tasktail share 1\0t\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        assert_eq!(bytes[16..], mac.finalize().into_bytes()[..]);
    }

    #[test]
    fn the_key_is_created_once_and_private_and_a_new_file_means_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = ShareKeyFile::new(folder.path());
        assert!(file.key().unwrap().is_none());
        let first = file.key_or_new().unwrap();
        assert_eq!(file.key_or_new().unwrap().0, first.0);
        let (again, end) = file.key().unwrap().unwrap();
        let other = ShareKeyFile::new(folder.path()).key().unwrap().unwrap().0;
        assert!(again.0 == first.0 && other.0 == first.0, "survives a restart");
        let path = folder.path().join(SHARE_KEY_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{file:?} {first:?}").contains(&URL_SAFE_NO_PAD.encode(first.0)[..8]), "Debug hides the key");
        std::fs::remove_file(&path).unwrap();
        assert!(file.key().unwrap().is_none());
        assert!(end.is_cancelled());
        assert_ne!(file.key_or_new().unwrap().0, first.0);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(ShareKeyFile::new(folder.path()).key().unwrap_err().to_string().contains("delete it"));
    }
}
