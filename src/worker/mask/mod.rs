//! Masking of secrets before they leave the worker.
//!
//! ```text
//! forms    a secret as it is printed: plain, percent-encoded, JSON-escaped, base64
//! stream   one channel's bytes, cut anywhere: each occurrence becomes `***`
//! ```
//! A multi-line secret is replaced by as many lines of `***`, so that lines keep their numbers.
//! Overlapping secrets are one occurrence.
//!
//! Not found: a secret that is printed in pieces with something else between them (colours, a
//! progress bar, one piece to each channel), in another case, or in another encoding (hexadecimal,
//! or encoded twice).

mod forms;
mod stream;

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::stream::MaskPatterns;

pub use self::stream::Masker;

/// Minimum bytes of a secret. A shorter one would match ordinary text and hide nothing.
pub const SECRET_BYTES_MIN: usize = 4;
/// Maximum bytes of all secrets together; each is matched in about twenty forms at most.
pub const SECRETS_BYTES_MAX: usize = 256 * 1024;

const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_END: &[u8] = b"-----END ";

/// An error that prevents masking. It never contains the secret.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The variable is not set.
    #[error("environment variable {name} to mask is not set")]
    Unset {
        /// Variable name.
        name: String,
    },
    /// The secret is too short and would match everywhere.
    #[error("{what}: the secret has only {bytes} bytes; fewer than {SECRET_BYTES_MIN} bytes would mask ordinary text")]
    TooShort {
        /// Source of the secret.
        what: String,
        /// Length of the secret.
        bytes: usize,
    },
    /// The secrets exceed the total limit.
    #[error("{what}: all secrets together exceed {SECRETS_BYTES_MAX} bytes")]
    TooMany {
        /// Source of the last secret.
        what: String,
    },
    /// The secrets file cannot be read.
    #[error("cannot read the secrets in {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Underlying error.
        source: std::io::Error,
    },
}

/// Secrets to mask. Cheap to clone; empty by default, which costs nothing.
///
/// ```
/// use tasktail::worker::{MaskError, MasksBuilder};
///
/// # fn main() -> Result<(), MaskError> {
/// let mut builder = MasksBuilder::default();
/// builder.secret("the database's password", b"correct horse")?;
/// let masks = builder.build();
/// assert_eq!(masks.text("url: db://app:correct%20horse@db"), "url: db://app:***@db");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Masks(Option<Arc<MaskPatterns>>);

impl Masks {
    /// Reports whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns a masker for a stream of bytes; `None` if there is nothing to mask.
    pub fn masker(&self) -> Option<Masker> {
        self.0.as_ref().map(|patterns| Masker::new(Arc::clone(patterns)))
    }

    /// Returns `text` with all secrets masked.
    pub fn text(&self, text: &str) -> String {
        let Some(mut masker) = self.masker() else { return text.to_owned() };
        let mut masked = Vec::with_capacity(text.len());
        masker.push(text.as_bytes(), &mut masked);
        masker.finish(&mut masked);
        String::from_utf8(masked).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

impl fmt::Debug for Masks {
    /// Formats without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Masks(none)" } else { "Masks(..)" })
    }
}

/// A builder that collects secrets.
#[derive(Default)]
pub struct MasksBuilder {
    forms: BTreeSet<Vec<u8>>,
    bytes: usize,
}

impl MasksBuilder {
    /// Adds the value of the environment variable `name`, as one secret that may have several lines.
    ///
    /// # Errors
    /// The variable is not set, or its value is too short.
    pub fn env(&mut self, name: &str) -> Result<(), MaskError> {
        let value = std::env::var_os(name).ok_or_else(|| MaskError::Unset { name: name.to_owned() })?;
        self.secret(&format!("the environment variable {name}"), &value.into_vec())
    }

    /// Adds each non-empty line of the file. A PEM block is one secret, from its `BEGIN` to its `END`.
    ///
    /// # Errors
    /// The file cannot be read, or a secret in it is too short.
    pub fn file(&mut self, path: &Path) -> Result<(), MaskError> {
        let unreadable = |source| MaskError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read(path).map_err(unreadable)?;
        let mut block: Option<Vec<u8>> = None;
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let what = format!("{}, line {}", path.display(), index + 1);
            match &mut block {
                Some(lines) => {
                    lines.push(b'\n');
                    lines.extend_from_slice(line);
                    if line.starts_with(PEM_END) {
                        self.secret(&what, &block.take().unwrap_or_default())?;
                    }
                }
                None if line.starts_with(PEM_BEGIN) => block = Some(line.to_vec()),
                None if line.is_empty() => {}
                None => self.secret(&what, line)?,
            }
        }
        match block {
            Some(lines) => self.secret(&path.display().to_string(), &lines),
            None => Ok(()),
        }
    }

    /// Adds a secret; `what` names it in errors. Line ends around it are ignored.
    ///
    /// # Errors
    /// The secret is too short, or the secrets exceed the total limit.
    pub fn secret(&mut self, what: &str, value: &[u8]) -> Result<(), MaskError> {
        let value = forms::without_line_ends(value);
        if value.len() < SECRET_BYTES_MIN {
            return Err(MaskError::TooShort { what: what.to_owned(), bytes: value.len() });
        }
        self.bytes += value.len();
        if self.bytes > SECRETS_BYTES_MAX {
            return Err(MaskError::TooMany { what: what.to_owned() });
        }
        self.forms.append(&mut forms::variants(value));
        Ok(())
    }

    /// Builds the masks from all secrets.
    pub fn build(self) -> Masks {
        // The automaton's limits are far beyond SECRETS_BYTES_MAX in every form.
        Masks(MaskPatterns::new(self.forms).map(Arc::new))
    }
}

impl fmt::Debug for MasksBuilder {
    /// Formats without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasksBuilder").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
