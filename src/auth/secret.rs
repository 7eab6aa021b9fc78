//! The secret of a token, which is shown once, and the digest that is stored.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

/// The prefix of every token, by which people and secret scanners recognize one.
const PREFIX: &str = "tt_";
/// Random bytes in a token: 256 bits.
const RANDOM_BYTES: usize = 32;
/// Crockford's base 32 in lowercase: no look-alike characters, none that needs escaping.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A token in plain text. It has no `Display`, and its `Debug` prints only a fingerprint.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Returns a new random token.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn generate() -> std::io::Result<Self> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let mut text = PREFIX.to_owned();
        let (mut bits, mut count) = (0u32, 0u32);
        for byte in random {
            bits = bits << 8 | u32::from(byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                text.push(letter(bits >> count));
            }
        }
        text.push(letter(bits << (5 - count)));
        Ok(Self(text.into()))
    }

    /// Returns the plain text. Use it only for the creator of the token, and for a header to be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the digest that is stored.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.0.as_bytes())
    }
}

/// Returns the letter for the lowest five bits.
fn letter(bits: u32) -> char {
    char::from(ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'0'))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.digest().fingerprint())
    }
}

/// The SHA-256 of a token. A slow hash is unnecessary, since 256 random bits cannot be guessed.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Returns the digest of a presented token.
    pub fn of(token: &[u8]) -> Self {
        Self(sha2::Sha256::digest(token).into())
    }

    /// Returns six hexadecimal digits: enough to distinguish tokens in a trace, useless for an attacker.
    pub fn fingerprint(&self) -> String {
        self.0.iter().take(3).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the first bytes as a lookup key. They reveal nothing about the token.
    pub(super) fn prefix(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl PartialEq for TokenDigest {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.fingerprint())
    }
}

impl From<TokenDigest> for String {
    fn from(digest: TokenDigest) -> Self {
        digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for TokenDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bad = "a SHA-256 consists of 64 hexadecimal digits";
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
    fn tokens_have_256_bits_and_are_unique() {
        let all: Vec<Secret> = (0..200).map(|_| Secret::generate().unwrap()).collect();
        for secret in &all {
            let text = secret.reveal();
            assert_eq!(text.len(), PREFIX.len() + 52, "52 letters of 5 bits hold 256");
            assert!(text[3..].bytes().all(|byte| ALPHABET.contains(&byte)), "{text}");
            assert!(!format!("{secret:?}").contains(&text[3..]), "Debug hides the secret");
        }
        let distinct: std::collections::HashSet<&str> = all.iter().map(Secret::reveal).collect();
        assert_eq!(distinct.len(), all.len());
        // Every position varies, except for the last, which encodes one bit.
        for position in 3..54 {
            let letters: std::collections::HashSet<u8> = all.iter().map(|s| s.reveal().as_bytes()[position]).collect();
            assert!(letters.len() > 20, "position {position} has only {} letters", letters.len());
        }
    }

    #[test]
    fn a_digest_round_trips_through_text() {
        let digest = TokenDigest::of(b"tt_x");
        let text = String::from(digest);
        assert_eq!(TokenDigest::try_from(text.clone()).unwrap(), digest);
        assert!(text.starts_with(&digest.fingerprint()));
        assert!(TokenDigest::try_from("00".repeat(31)).is_err() && TokenDigest::try_from("zz".repeat(32)).is_err());
    }
}
