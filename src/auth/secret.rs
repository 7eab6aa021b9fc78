//! A token itself, which is shown once, and what is kept of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

/// What every token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "tt_";
/// Random bytes in a token: 256 bits.
const RANDOM_BYTES: usize = 32;
/// Crockford's base 32 in small letters: none of them is taken for another, none needs escaping.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A token in the clear. It has no `Display`, and its `Debug` keeps it to itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// A new one, out of the system's randomness.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn generate() -> std::io::Result<Self> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let mut text = PREFIX.to_owned();
        let (mut bits, mut held) = (0u32, 0u32);
        for byte in random {
            bits = bits << 8 | u32::from(byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                text.push(letter(bits >> held));
            }
        }
        text.push(letter(bits << (5 - held)));
        Ok(Self(text.into()))
    }

    /// The text. Only for the one who asked for it, and for a header that is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

fn letter(bits: u32) -> char {
    char::from(ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'0'))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.digest().fingerprint())
    }
}

/// The SHA-256 of a token. With 256 random bits in it a token needs no slow hash: it cannot be guessed.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of what someone says is a token.
    pub fn of(token: &[u8]) -> Self {
        Self(sha2::Sha256::digest(token).into())
    }

    /// Six hexadecimal digits: enough to tell tokens apart in a trace, of no use to anyone else.
    pub fn fingerprint(&self) -> String {
        self.0.iter().take(3).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its first bytes, to look it up by: they say nothing of the token.
    pub(super) fn prefix(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl PartialEq for Digest {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.fingerprint())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bad = "a SHA-256 has 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_256_bits_and_no_two_are_the_same() {
        let all: Vec<Secret> = (0..200).map(|_| Secret::generate().unwrap()).collect();
        for secret in &all {
            let text = secret.reveal();
            assert_eq!(text.len(), PREFIX.len() + 52, "52 letters of 5 bits hold 256");
            assert!(text[3..].bytes().all(|byte| ALPHABET.contains(&byte)), "{text}");
            assert!(!format!("{secret:?}").contains(&text[3..]), "Debug keeps it");
        }
        let distinct: std::collections::HashSet<&str> = all.iter().map(Secret::reveal).collect();
        assert_eq!(distinct.len(), all.len());
        // Every letter of every place moves, but for the last, which holds one bit.
        for place in 3..54 {
            let letters: std::collections::HashSet<u8> = all.iter().map(|s| s.reveal().as_bytes()[place]).collect();
            assert!(letters.len() > 20, "place {place} has only {} letters", letters.len());
        }
    }

    #[test]
    fn a_digest_is_written_and_read() {
        let digest = Digest::of(b"tt_x");
        let text = String::from(digest);
        assert_eq!(Digest::try_from(text.clone()).unwrap(), digest);
        assert!(text.starts_with(&digest.fingerprint()));
        assert!(Digest::try_from("00".repeat(31)).is_err() && Digest::try_from("zz".repeat(32)).is_err());
    }
}
