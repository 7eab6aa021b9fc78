//! The address of a store: `s3://BUCKET[/PREFIX]` or `file:///FOLDER`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Maximum length of a prefix in bytes. A key has at most 1,024, and the longest name needs about 260.
const PREFIX_BYTES_MAX: usize = 512;

/// The address of a store, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A bucket of an S3 service, with a prefix without slashes at its ends, which may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Prefix of all keys.
        prefix: String,
    },
    /// A folder, such as one on a shared mount.
    Folder(PathBuf),
}

/// The reason why a text is not the address of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStoreUrl {
    /// Another scheme.
    #[error("`{0}` is not the address of an object store: write s3://BUCKET/PREFIX or file:///FOLDER")]
    Scheme(String),
    /// Not the name of a bucket.
    #[error(
        "`{0}` is not the name of a bucket: it has 3 to 63 characters from a-z 0-9 . -; \
         the endpoint is a setting of its own (archive_endpoint)"
    )]
    Bucket(String),
    /// Credentials in the address would be visible to other users.
    #[error(
        "an address of an object store has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    )]
    Credentials,
    /// Not a usable prefix.
    #[error("`{0}` is not a usable prefix of keys: write parts from A-Z a-z 0-9 . _ ~ - joined by `/`")]
    Prefix(String),
    /// A relative folder.
    #[error("`file://{0}` is not absolute: write file:/// and an absolute path")]
    Relative(String),
}

impl FromStr for StoreUrl {
    type Err = BadStoreUrl;

    fn from_str(text: &str) -> Result<Self, BadStoreUrl> {
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(BadStoreUrl::Relative(path.to_owned()));
            }
            return Ok(StoreUrl::Folder(PathBuf::from(path)));
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            // An address may contain a password: only its scheme is repeated.
            return Err(BadStoreUrl::Scheme(text.split_once("://").map_or(text, |(scheme, _)| scheme).to_owned()));
        };
        if rest.contains('@') {
            return Err(BadStoreUrl::Credentials);
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
        if !is_bucket {
            return Err(BadStoreUrl::Bucket(bucket.to_owned()));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            !["", ".", ".."].contains(&part)
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
        };
        if prefix.len() > PREFIX_BYTES_MAX || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
            return Err(BadStoreUrl::Prefix(prefix.chars().take(PREFIX_BYTES_MAX).collect()));
        }
        Ok(StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            StoreUrl::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            StoreUrl::Folder(path) => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let s3 = |bucket: &str, prefix: &str| StoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!("s3://logs".parse(), Ok(s3("logs", "")));
        assert_eq!("s3://logs/".parse(), Ok(s3("logs", "")));
        assert_eq!("s3://logs/a/b/".parse(), Ok(s3("logs", "a/b")));
        assert_eq!("file:///srv/x".parse(), Ok(StoreUrl::Folder("/srv/x".into())));
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let error = "s3://AKIA:secret@logs".parse::<StoreUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = "https://AKIA:secret@logs".parse::<StoreUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn other_addresses_are_rejected() {
        for text in
            ["", "logs", "s3://", "s3://Logs", "s3://l", "s3://logs//a", "s3://logs/../a", "file://srv", "file:"]
        {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }
}
