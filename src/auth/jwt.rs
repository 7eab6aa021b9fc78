//! Tickets of other systems: a JSON Web Token (RFC 7519), signed with a key that this server was
//! given, says that its bearer may read one task. The other system's own permission check decides;
//! here only its word is checked.
//!
//! | claim | meaning |
//! |---|---|
//! | `task` | the task's id; an integer stands for its decimal string. Without it `sub` is the id |
//! | `exp` | the end, required; at most `share_life_max` away |
//! | `nbf` | not before, if given; clocks may differ by [`LEEWAY_S`] |
//! | `aud` | must name the configured audience if there is one, and must be absent if there is none |
//!
//! The key decides the one algorithm that is taken: a secret means HS256, a JSON Web Key (RFC 7517)
//! means HS256 (`oct`), RS256 (`RSA`) or EdDSA (`OKP`, Ed25519). What the token's header says is
//! compared with that, never followed: `none` and a public key used as a secret get nowhere.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{self, ErrorKind, new_error};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::signature;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::share::Share;
use crate::model::{TaskId, Timestamp};

/// How far another system's clock may be off, in seconds.
pub const LEEWAY_S: u64 = 10;
/// A secret for HS256 has at least as many bytes as the hash gives (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Bytes of a key file at most.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What checks the tickets of one other system.
#[derive(Clone)]
pub struct JwtKey {
    key: DecodingKey,
    validation: Validation,
    life_max: Duration,
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtKey").field("algorithms", &self.validation.algorithms).finish_non_exhaustive()
    }
}

/// Why a ticket is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtFault {
    /// It is no JWT, its signature is wrong, or its algorithm is not the key's.
    #[error("this link is not valid: its signature is not one that this server accepts")]
    Invalid,
    /// `exp` is past.
    #[error("this link has expired: ask for a new one")]
    Expired,
    /// `nbf` is to come.
    #[error("this link is not valid yet")]
    TooEarly,
    /// A claim is missing or is not what it should be.
    #[error("the link's claims are not as they should be: {0}")]
    Claims(&'static str),
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    task: Option<Name>,
    #[serde(default)]
    sub: Option<Name>,
    exp: u64,
}

/// A task's id as JSON has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(u64),
}

impl JwtKey {
    /// The key in a file: a JSON Web Key, or a secret of at least 32 bytes (one newline at its end
    /// does not count).
    ///
    /// # Errors
    /// The file cannot be read, or its content is no such key; the text says what would be right.
    pub fn read(path: &Path, audience: Option<&str>, life_max: Duration) -> io::Result<Self> {
        if std::fs::metadata(path)?.len() > KEY_FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than any key"));
        }
        Self::parse(&std::fs::read(path)?, audience, life_max)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn parse(content: &[u8], audience: Option<&str>, life_max: Duration) -> Result<Self, String> {
        install();
        let text = content.trim_ascii();
        // Taken as a secret, a public key would let everyone sign.
        if text.starts_with(b"-----BEGIN") || text.starts_with(b"ssh-") {
            return Err("a key in PEM or SSH form is not read: write it as a JSON Web Key, such as \
                 {\"kty\":\"RSA\",\"n\":\"..\",\"e\":\"AQAB\"}"
                .to_owned());
        }
        let (algorithm, key) = if text.starts_with(b"{") {
            jwk(text)?
        } else {
            let secret = content.strip_suffix(b"\n").unwrap_or(content);
            let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
            (Algorithm::HS256, secret_key(secret)?)
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        match audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.set_required_spec_claims(&["exp", "aud"]);
            }
            None => validation.set_required_spec_claims(&["exp"]),
        }
        Ok(Self { key, validation, life_max })
    }

    /// What a ticket gives.
    ///
    /// # Errors
    /// It is not good, and why as far as a stranger may know.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Share, JwtFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwtFault::Invalid);
        }
        // A header that cannot be read, such as one with `alg: none`, is no matter of the claims.
        decode_header(token).map_err(|_| JwtFault::Invalid)?;
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| fault(&error))?.claims;
        let task = match claims.task.or(claims.sub) {
            Some(Name::Text(text)) => text.parse::<TaskId>().ok(),
            Some(Name::Number(number)) => number.to_string().parse().ok(),
            None => return Err(JwtFault::Claims("`task` (or `sub`) must be the id of a task")),
        };
        let task = task.ok_or(JwtFault::Claims("`task` (or `sub`) is not the id of a task"))?;
        let expires = Timestamp::from_millis(claims.exp.saturating_mul(1000));
        if expires <= now {
            return Err(JwtFault::Expired);
        }
        let life_ms = u128::from(expires.as_millis() - now.as_millis());
        if life_ms > self.life_max.as_millis() {
            return Err(JwtFault::Claims("`exp` is further away than this server allows"));
        }
        Ok(Share { task, born: None, expires })
    }
}

fn fault(error: &errors::Error) -> JwtFault {
    match error.kind() {
        ErrorKind::ExpiredSignature => JwtFault::Expired,
        ErrorKind::ImmatureSignature => JwtFault::TooEarly,
        ErrorKind::InvalidAudience => JwtFault::Claims("`aud` is not this server's"),
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => JwtFault::Claims("`aud` is missing"),
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
            JwtFault::Claims("`exp` must be a time in seconds, `task` (or `sub`) the id of a task")
        }
        _ => JwtFault::Invalid,
    }
}

fn secret_key(secret: &[u8]) -> Result<DecodingKey, String> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "the secret has {} bytes; HS256 needs {SECRET_BYTES_MIN} or more, such as `openssl rand -hex 32` gives",
            secret.len()
        ));
    }
    Ok(DecodingKey::from_secret(secret))
}

/// A JSON Web Key and the one algorithm it is for.
fn jwk(text: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    // The parser's words could quote a secret.
    let jwk: Jwk = serde_json::from_slice(text)
        .map_err(|error| format!("it is no JSON Web Key (line {}, column {})", error.line(), error.column()))?;
    let key = || DecodingKey::from_jwk(&jwk).map_err(|_| "a part of the JSON Web Key is not base64url".to_owned());
    match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => {
            let key = key()?;
            let secret = key.try_get_as_bytes().map_err(|error| error.to_string())?;
            Ok((Algorithm::HS256, secret_key(secret)?))
        }
        AlgorithmParameters::RSA(_) if ASYMMETRIC => Ok((Algorithm::RS256, key()?)),
        AlgorithmParameters::OctetKeyPair(pair) if ASYMMETRIC && pair.curve == EllipticCurve::Ed25519 => {
            Ok((Algorithm::EdDSA, key()?))
        }
        _ if !ASYMMETRIC => Err("this program was built without `tls`: only keys of kty oct are read".to_owned()),
        _ => Err("it is no JSON Web Key of kty oct, RSA, or OKP with crv Ed25519".to_owned()),
    }
}

/// Public keys need ring, which comes with TLS.
const ASYMMETRIC: bool = cfg!(feature = "tls");

/// Tells the library what to verify with: the HMAC that is here anyway, and ring.
fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    if PROVIDER.install_default().is_err() {
        tracing::debug!("the verifiers of JWTs are there already");
    }
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> errors::Result<Box<dyn JwtSigner>> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> errors::Result<Box<dyn JwtVerifier>> {
    match algorithm {
        Algorithm::HS256 => Ok(Box::new(Hs256(key.try_get_as_bytes()?.to_vec()))),
        #[cfg(feature = "tls")]
        Algorithm::RS256 | Algorithm::EdDSA => Ok(Box::new(public::PublicKey::new(*algorithm, key)?)),
        _ => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

/// HMAC with SHA-256.
struct Hs256(Vec<u8>);

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        use hmac::Mac as _;
        let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&self.0).map_err(|_| signature::Error::new())?;
        mac.chain_update(message).verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(feature = "tls")]
mod public {
    //! RS256 and EdDSA by ring.

    use jsonwebtoken::crypto::JwtVerifier;
    use jsonwebtoken::errors::{self, ErrorKind, new_error};
    use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, signature};
    use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};

    pub(super) struct PublicKey {
        algorithm: Algorithm,
        kind: DecodingKeyKind,
    }

    impl PublicKey {
        pub(super) fn new(algorithm: Algorithm, key: &DecodingKey) -> errors::Result<Self> {
            if algorithm.family() != key.family() {
                return Err(new_error(ErrorKind::InvalidKeyFormat));
            }
            Ok(Self { algorithm, kind: key.kind().clone() })
        }
    }

    impl signature::Verifier<Vec<u8>> for PublicKey {
        fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
            let verified = match (&self.algorithm, &self.kind) {
                (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                    RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                }
                (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(x)) => {
                    UnparsedPublicKey::new(&ED25519, x).verify(message, signature)
                }
                _ => return Err(signature::Error::new()),
            };
            verified.map_err(|_| signature::Error::new())
        }
    }

    impl JwtVerifier for PublicKey {
        fn algorithm(&self) -> Algorithm {
            self.algorithm
        }
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
