//! The long form of `--version`: what this program was built from, and which data folders it reads.

use std::sync::LazyLock;

use crate::tasks::STORE_FORMAT;

/// The text, which clap requires to be static.
static LONG: LazyLock<String> = LazyLock::new(|| {
    let features: &[&str] = &[
        #[cfg(feature = "jemalloc")]
        "jemalloc",
        #[cfg(feature = "tls")]
        "tls",
    ];
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    let commit = option_env!("TASKTAIL_BUILD_COMMIT").unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{version}\ncommit: {commit}\nfeatures: {features}\nstore format: {STORE_FORMAT} (reads 1 to {STORE_FORMAT})"
    )
});

/// Returns the version, the commit, the features and the store format, one per line.
pub(super) fn long() -> &'static str {
    &LONG
}
