//! Tokens are built by hand from the RFCs, since the code under test cannot sign.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes, yes";
const LIFE_MAX: Duration = Duration::from_secs(3600);

fn now_s() -> u64 {
    Timestamp::now().as_millis() / 1000
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs256(secret: &[u8], message: &str) -> Vec<u8> {
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// Returns a token with this header and these claims, signed by `sign`.
fn token(header: &Value, claims: &Value, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(&message));
    format!("{message}.{signature}")
}

fn secret_token(claims: &Value) -> String {
    token(&json!({"alg":"HS256","typ":"JWT"}), claims, |message| hs256(SECRET, message))
}

fn key(content: &[u8], audience: Option<&str>) -> JwtKey {
    JwtKey::parse(content, audience, LIFE_MAX).unwrap()
}

fn verify(claims: &Value) -> Result<Share, JwtFault> {
    key(SECRET, None).verify(&secret_token(claims), Timestamp::now())
}

#[test]
fn the_task_is_in_task_or_sub() {
    let exp = now_s() + 60;
    for (claims, task) in [
        (json!({"task":"build-42","exp":exp}), "build-42"),
        (json!({"sub":"build-42","exp":exp}), "build-42"),
        (json!({"sub":"alice","task":"build-42","exp":exp}), "build-42"),
        (json!({"task":42,"exp":exp}), "42"),
    ] {
        let share = verify(&claims).unwrap_or_else(|fault| panic!("{claims}: {fault}"));
        assert_eq!((share.task.as_str(), share.expires.as_millis(), share.born), (task, exp * 1000, None));
    }
    for claims in [
        json!({"exp":exp}),
        json!({"task":"*","exp":exp}),
        json!({"task":"a/b","exp":exp}),
        json!({"task":["a"],"exp":exp}),
        json!({"task":"","sub":"a","exp":exp}),
    ] {
        assert!(matches!(verify(&claims), Err(JwtFault::Claims(_))), "{claims}");
    }
}

#[test]
fn exp_and_nbf_are_enforced() {
    let now = now_s();
    let verify_times = |exp: Value, nbf: Value| {
        let mut claims = json!({"task":"t","exp":exp});
        if !nbf.is_null() {
            claims["nbf"] = nbf;
        }
        verify(&claims)
    };
    assert!(verify_times(json!(now + 60), json!(now)).is_ok());
    assert_eq!(verify_times(json!(now - 1), Value::Null), Err(JwtFault::Expired), "no leeway for `exp`");
    assert_eq!(verify_times(json!(now - 60), Value::Null), Err(JwtFault::Expired));
    assert_eq!(verify_times(json!(now + 60), json!(now + 30)), Err(JwtFault::TooEarly));
    for exp in [json!(now + 3700), json!(u64::MAX), json!("later"), json!(-1), Value::Null] {
        assert!(matches!(verify_times(exp.clone(), Value::Null), Err(JwtFault::Claims(_))), "{exp}");
    }
    assert!(matches!(verify(&json!({"task":"t"})), Err(JwtFault::Claims(_))), "`exp` is required");
    assert!(matches!(verify_times(json!(now + 60), json!("soon")), Err(JwtFault::Claims(_))));
}

#[test]
fn the_audience_must_equal_the_setting() {
    let claims = |aud: Value| secret_token(&json!({"task":"t","exp":now_s() + 60,"aud":aud}));
    let ours = key(SECRET, Some("tasktail"));
    assert!(ours.verify(&claims(json!("tasktail")), Timestamp::now()).is_ok());
    assert!(ours.verify(&claims(json!(["other", "tasktail"])), Timestamp::now()).is_ok());
    for other in [json!("other"), json!([]), Value::Null] {
        let fault = ours.verify(&claims(other.clone()), Timestamp::now());
        assert!(matches!(fault, Err(JwtFault::Claims(_))), "{other}: {fault:?}");
    }
    let none = key(SECRET, None).verify(&claims(json!("tasktail")), Timestamp::now());
    assert!(matches!(none, Err(JwtFault::Claims(_))), "a token for another audience is rejected");
}

#[test]
fn only_the_algorithm_of_the_key_is_accepted() {
    let claims = json!({"task":"t","exp":now_s() + 60});
    let check = |token: &str| key(SECRET, None).verify(token, Timestamp::now());
    for alg in ["none", "None", "NONE", "HS384", "HS512", "RS256", "ES256", "EdDSA", ""] {
        let header = json!({"alg":alg,"typ":"JWT"});
        assert_eq!(check(&token(&header, &claims, |message| hs256(SECRET, message))), Err(JwtFault::Invalid), "{alg}");
        assert_eq!(check(&token(&header, &claims, |_| Vec::new())), Err(JwtFault::Invalid), "{alg}, unsigned");
    }
    let good = secret_token(&claims);
    assert!(check(&good).is_ok());
    let unsigned = &good[..=good.rfind('.').unwrap()];
    for bad in [unsigned, unsigned.trim_end_matches('.'), "", "..", "a.b.c", &format!("{good}.x")] {
        assert_eq!(check(bad), Err(JwtFault::Invalid), "{bad}");
    }
    let other = token(&json!({"alg":"HS256"}), &claims, |message| hs256(b"another secret of thirty-two byt", message));
    assert_eq!(check(&other), Err(JwtFault::Invalid));
}

#[test]
fn any_changed_character_is_rejected() {
    let good = secret_token(&json!({"task":"t","exp":now_s() + 60}));
    let key = key(SECRET, None);
    let mut bytes = good.clone().into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..7 {
            bytes[at] ^= 1 << bit;
            let text = std::str::from_utf8(&bytes).unwrap();
            assert!(key.verify(text, Timestamp::now()).is_err(), "bit {bit} of character {at}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn errors_for_unusable_keys_contain_the_remedy() {
    for (content, expected) in [
        ("short", "32 or more"),
        ("thirty-one bytes are not enough\n", "32 or more"),
        ("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n", "JSON Web Key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl", "JSON Web Key"),
        (r#"{"kty":"oct","k":"c2hvcnQ"}"#, "32 or more"),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, "kty"),
        (r#"{"secret":"hush"}"#, "kty"),
    ] {
        let error = JwtKey::parse(content.as_bytes(), None, LIFE_MAX).unwrap_err();
        assert!(error.contains(expected) && !error.contains("hush"), "{content}: {error}");
    }
    let debug = format!("{:?}", key(SECRET, None));
    assert!(!debug.contains("secret") && debug.contains("HS256"), "{debug}");
}

#[test]
fn a_secret_may_be_a_json_web_key() {
    let jwk = json!({"kty":"oct","k":URL_SAFE_NO_PAD.encode(SECRET)}).to_string();
    let good = secret_token(&json!({"task":"t","exp":now_s() + 60}));
    assert!(key(jwk.as_bytes(), None).verify(&good, Timestamp::now()).is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn a_public_ed25519_key_verifies_and_cannot_be_used_as_a_secret() {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwk = json!({"kty":"OKP","crv":"Ed25519","x":x}).to_string();
    let key = key(jwk.as_bytes(), None);
    let claims = json!({"task":"t","exp":now_s() + 60});
    let sign = |message: &str| pair.sign(message.as_bytes()).as_ref().to_vec();
    assert!(key.verify(&token(&json!({"alg":"EdDSA"}), &claims, sign), Timestamp::now()).is_ok());
    // Algorithm confusion: signed with the public key as the secret.
    for secret in [jwk.as_bytes(), x.as_bytes(), pair.public_key().as_ref()] {
        let forged = token(&json!({"alg":"HS256"}), &claims, |message| hs256(secret, message));
        assert_eq!(key.verify(&forged, Timestamp::now()), Err(JwtFault::Invalid));
    }
}

/// A key of 2048 bits in PKCS #8 (RFC 5958), used only in this test.
#[cfg(feature = "tls")]
const RSA_KEY: &str = include_str!("../../data/keys/rsa2048.pkcs8.b64");

#[cfg(feature = "tls")]
#[test]
fn a_public_rsa_key_verifies_rs256_and_nothing_else() {
    use base64::engine::general_purpose::STANDARD;
    use ring::rand::SystemRandom;
    use ring::rsa::{KeyPair, PublicKeyComponents};
    use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
    let pair = KeyPair::from_pkcs8(&STANDARD.decode(RSA_KEY.replace('\n', "")).unwrap()).unwrap();
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let [n, e] = [&n, &e].map(|number| URL_SAFE_NO_PAD.encode(number));
    let jwk = json!({"kty":"RSA","n":n,"e":e}).to_string();
    let key = key(jwk.as_bytes(), None);
    let claims = json!({"task":"build-42","exp":now_s() + 60});
    let sign = |padding: &'static dyn RsaEncoding, message: &str| {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        signature
    };
    let check = |token: &str| key.verify(token, Timestamp::now());
    let good = token(&json!({"alg":"RS256"}), &claims, |message| sign(&RSA_PKCS1_SHA256, message));
    assert_eq!(check(&good).map(|share| share.task.to_string()), Ok("build-42".to_owned()));
    let mut forged = good.clone().into_bytes();
    forged[good.find('.').unwrap() + 3] ^= 1;
    assert_eq!(check(std::str::from_utf8(&forged).unwrap()), Err(JwtFault::Invalid), "other claims");
    // Signed by the right key with another algorithm, or with a wrong `alg`.
    for (alg, padding) in [
        ("RS512", &RSA_PKCS1_SHA512 as &'static dyn RsaEncoding),
        ("RS256", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("RS256", &RSA_PSS_SHA256),
        ("none", &RSA_PKCS1_SHA256),
    ] {
        let other = token(&json!({"alg":alg}), &claims, |message| sign(padding, message));
        assert_eq!(check(&other), Err(JwtFault::Invalid), "{alg}");
    }
    // Algorithm confusion: signed with the public key as the secret.
    for secret in [jwk.as_bytes(), n.as_bytes()] {
        let forged = token(&json!({"alg":"HS256"}), &claims, |message| hs256(secret, message));
        assert_eq!(check(&forged), Err(JwtFault::Invalid));
    }
}
