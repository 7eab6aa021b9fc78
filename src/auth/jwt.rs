//! Share links issued by another system: a JSON Web Token (RFC 7519), signed with a configured key, grants
//! its bearer read access to one task. The other system decides on permissions; here only the signature and the
//! claims are verified.
//!
//! | claim | meaning |
//! |---|---|
//! | `task` | the id of the task; an integer means its decimal string. If absent, `sub` is the id |
//! | `exp` | expiry, required; at most `share_life_max` in the future |
//! | `nbf` | not before, optional; clocks may differ by [`LEEWAY_S`] |
//! | `aud` | must contain the configured audience if there is one, and must be absent otherwise |
//!
//! The key determines the only accepted algorithm: HS256 for a plain secret, and for a JSON Web Key (RFC 7517)
//! HS256 (`oct`), RS256 (`RSA`) or EdDSA (`OKP`, Ed25519). The `alg` of the token's header must equal it and
//! never selects it, so that `none`, or a public key used as a secret, is rejected.

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

/// Tolerated clock difference to the other system, in seconds.
pub const LEEWAY_S: u64 = 10;
/// Minimum length of a secret for HS256: the hash's output size (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Maximum size of a key file.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Maximum length of a token.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The verifier for tokens of one other system.
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

/// The reason why a token is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtFault {
    /// Not a JWT, a wrong signature, or an algorithm other than the key's.
    #[error("this link is not valid: bad signature")]
    Invalid,
    /// `exp` has passed.
    #[error("this link has expired; ask for a new one")]
    Expired,
    /// `nbf` is in the future.
    #[error("this link is not valid yet")]
    TooEarly,
    /// A claim is missing or invalid.
    #[error("this link has invalid claims: {0}")]
    Claims(&'static str),
}

/// The claims this server reads.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    task: Option<TaskClaim>,
    #[serde(default)]
    sub: Option<TaskClaim>,
    exp: u64,
}

/// A task's id in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum TaskClaim {
    Text(String),
    Number(u64),
}

impl JwtKey {
    /// Reads a key file: a JSON Web Key, or a secret of at least 32 bytes. A trailing newline is ignored.
    ///
    /// # Errors
    /// The file cannot be read, or its content is not a usable key. The message contains the remedy.
    pub fn read(path: &Path, audience: Option<&str>, life_max: Duration) -> io::Result<Self> {
        if std::fs::metadata(path)?.len() > KEY_FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too large for a key"));
        }
        Self::parse(&std::fs::read(path)?, audience, life_max)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Parses the content of a key file.
    fn parse(content: &[u8], audience: Option<&str>, life_max: Duration) -> Result<Self, String> {
        install();
        let text = content.trim_ascii();
        // If a public key were used as a secret, everyone could sign.
        if text.starts_with(b"-----BEGIN") || text.starts_with(b"ssh-") {
            return Err("PEM and SSH keys are not supported; convert it to a JSON Web Key, such as \
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

    /// Verifies a token and returns the share it grants.
    ///
    /// # Errors
    /// The reason, without details that would help an attacker.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Share, JwtFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwtFault::Invalid);
        }
        // An unreadable header, such as one with `alg: none`, must not be reported as a bad claim.
        decode_header(token).map_err(|_| JwtFault::Invalid)?;
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| fault(&error))?.claims;
        let task = match claims.task.or(claims.sub) {
            Some(TaskClaim::Text(text)) => text.parse::<TaskId>().ok(),
            Some(TaskClaim::Number(number)) => number.to_string().parse().ok(),
            None => return Err(JwtFault::Claims("`task` (or `sub`) must be the id of a task")),
        };
        let task = task.ok_or(JwtFault::Claims("`task` (or `sub`) is not the id of a task"))?;
        let expires = Timestamp::from_millis(claims.exp.saturating_mul(1000));
        if expires <= now {
            return Err(JwtFault::Expired);
        }
        let life_ms = u128::from(expires.as_millis() - now.as_millis());
        if life_ms > self.life_max.as_millis() {
            return Err(JwtFault::Claims("`exp` is further in the future than this server allows"));
        }
        Ok(Share { task, born: None, expires })
    }
}

/// Converts an error of the JWT library.
fn fault(error: &errors::Error) -> JwtFault {
    match error.kind() {
        ErrorKind::ExpiredSignature => JwtFault::Expired,
        ErrorKind::ImmatureSignature => JwtFault::TooEarly,
        ErrorKind::InvalidAudience => JwtFault::Claims("`aud` does not name this server"),
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => JwtFault::Claims("`aud` is missing"),
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
            JwtFault::Claims("`exp` must be a time in seconds, and `task` (or `sub`) the id of a task")
        }
        _ => JwtFault::Invalid,
    }
}

/// Returns the key for an HS256 secret.
fn secret_key(secret: &[u8]) -> Result<DecodingKey, String> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "the secret has {} bytes; HS256 needs {SECRET_BYTES_MIN} or more, for example from `openssl rand -hex 32`",
            secret.len()
        ));
    }
    Ok(DecodingKey::from_secret(secret))
}

/// Parses a JSON Web Key. Returns the key and the only algorithm it may be used with.
fn jwk(text: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    // The parser's message might quote the secret.
    let jwk: Jwk = serde_json::from_slice(text)
        .map_err(|error| format!("not a JSON Web Key (line {}, column {})", error.line(), error.column()))?;
    let key = || DecodingKey::from_jwk(&jwk).map_err(|_| "a field of the JSON Web Key is not base64url".to_owned());
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
        _ if !ASYMMETRIC => Err("unsupported key: built without `tls`, only kty oct is supported".to_owned()),
        _ => Err("unsupported key: the JSON Web Key must have kty oct, RSA, or OKP with crv Ed25519".to_owned()),
    }
}

/// Whether public keys are supported. They need ring, a dependency of TLS.
const ASYMMETRIC: bool = cfg!(feature = "tls");

/// Registers the signature verifiers with the JWT library: the existing HMAC dependency, and ring.
fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    if PROVIDER.install_default().is_err() {
        tracing::debug!("JWT verifiers are already installed");
    }
}

/// Rejects signing, which is never needed.
fn no_signer(_: &Algorithm, _: &EncodingKey) -> errors::Result<Box<dyn JwtSigner>> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

/// Returns the verifier for an algorithm and key.
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> errors::Result<Box<dyn JwtVerifier>> {
    match algorithm {
        Algorithm::HS256 => Ok(Box::new(Hs256(key.try_get_as_bytes()?.to_vec()))),
        #[cfg(feature = "tls")]
        Algorithm::RS256 | Algorithm::EdDSA => Ok(Box::new(public::PublicKey::new(*algorithm, key)?)),
        _ => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

/// A verifier for HMAC with SHA-256.
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
    //! RS256 and EdDSA with ring.

    use jsonwebtoken::crypto::JwtVerifier;
    use jsonwebtoken::errors::{self, ErrorKind, new_error};
    use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, signature};
    use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};

    /// A verifier for public-key signatures.
    pub(super) struct PublicKey {
        algorithm: Algorithm,
        kind: DecodingKeyKind,
    }

    impl PublicKey {
        /// Returns a verifier, if the key is of the algorithm's family.
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
