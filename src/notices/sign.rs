//! Signatures of webhooks, in the format of Standard Webhooks: receivers exist in many languages.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Minimum bytes of a secret.
const SECRET_BYTES_MIN: usize = 16;
/// Prefix of a secret in base64.
const PREFIX: &str = "whsec_";

/// Reads the secret of a webhook: base64 after `whsec_`, or the text itself.
///
/// # Errors
/// The file cannot be read, or its secret is too short.
pub(super) fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let text = std::fs::read_to_string(path)?;
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let secret = match text.trim().strip_prefix(PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| invalid("the text after `whsec_` is not base64"))?,
        None => text.trim().as_bytes().to_vec(),
    };
    if secret.len() < SECRET_BYTES_MIN {
        return Err(invalid("the secret has fewer than 16 bytes; use one of 32"));
    }
    Ok(secret)
}

/// Returns the signature of a message.
pub(super) fn signature(secret: &[u8], id: &str, seconds: u64, body: &[u8]) -> String {
    // HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification of Standard Webhooks.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body), wanted);
    }

    #[test]
    fn secrets_are_text_or_base64() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_secret(&file)
        };
        assert_eq!(read("0123456789abcdef\n").unwrap(), b"0123456789abcdef");
        assert_eq!(read("whsec_MDEyMzQ1Njc4OWFiY2RlZg==").unwrap(), b"0123456789abcdef");
        assert!(read("short").is_err() && read("whsec_!").is_err());
    }
}
