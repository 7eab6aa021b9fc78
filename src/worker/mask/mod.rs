//! Secrets that must not leave the worker: what they are, and in which forms they are looked for.
//!
//! ```text
//! forms    a secret as it is printed: plain, percent-encoded, JSON-escaped, base64
//! stream   one channel's bytes, cut anywhere: each occurrence becomes `***`
//! ```
//! A secret of several lines leaves as many lines of `***`, so that lines keep their numbers.
//! Secrets that overlap are one occurrence.
//!
//! Not found: a secret that is printed in pieces with something else between them (colours, a
//! progress bar, one piece to each channel), in another case, or in any other encoding, such as
//! hexadecimal, or encoded twice.

mod forms;
mod stream;

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::stream::Patterns;

pub use self::stream::Masker;

/// Bytes of a secret at least: a shorter one is in every other line, and hides nothing.
pub const SECRET_BYTES_MIN: usize = 4;
/// Bytes of all secrets together; each is looked for in some twenty forms at most.
pub const SECRETS_BYTES_MAX: usize = 256 * 1024;

const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_END: &[u8] = b"-----END ";

/// Why a secret cannot be masked. Never says what it is.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// There is no such variable.
    #[error("the environment variable {name}, which is to be masked, is not set")]
    Unset {
        /// Its name.
        name: String,
    },
    /// It would be found everywhere.
    #[error(
        "{what}: a secret has at least {SECRET_BYTES_MIN} bytes, this one has {bytes}: it would mask ordinary text"
    )]
    TooShort {
        /// Where it stands.
        what: String,
        /// Its length.
        bytes: usize,
    },
    /// More than can be looked for.
    #[error("{what}: the secrets have over {SECRETS_BYTES_MAX} bytes together")]
    TooMany {
        /// The last one, where it stands.
        what: String,
    },
    /// The file of secrets cannot be read.
    #[error("cannot read the secrets in {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Secrets to mask. Cheap to clone; none by default, which costs nothing.
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
pub struct Masks(Option<Arc<Patterns>>);

impl Masks {
    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Masks a stream of bytes; none where there is nothing to mask.
    pub fn masker(&self) -> Option<Masker> {
        self.0.as_ref().map(|patterns| Masker::new(Arc::clone(patterns)))
    }

    /// Masks a whole text.
    pub fn text(&self, text: &str) -> String {
        let Some(mut masker) = self.masker() else { return text.to_owned() };
        let mut masked = Vec::with_capacity(text.len());
        masker.push(text.as_bytes(), &mut masked);
        masker.finish(&mut masked);
        String::from_utf8(masked).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

impl fmt::Debug for Masks {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Masks(none)" } else { "Masks(..)" })
    }
}

/// Collects secrets.
#[derive(Default)]
pub struct MasksBuilder {
    forms: BTreeSet<Vec<u8>>,
    bytes: usize,
}

impl MasksBuilder {
    /// The value of the environment variable `name`: one secret, of several lines perhaps.
    ///
    /// # Errors
    /// It is not set, or too short.
    pub fn env(&mut self, name: &str) -> Result<(), MaskError> {
        let value = std::env::var_os(name).ok_or_else(|| MaskError::Unset { name: name.to_owned() })?;
        self.secret(&format!("the environment variable {name}"), &value.into_vec())
    }

    /// Each line of the file that is not empty; a PEM block is one secret, from its `BEGIN` to its `END`.
    ///
    /// # Errors
    /// It cannot be read, or a secret in it is too short.
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

    /// One secret; `what` names it in an error. Line ends around it do not count.
    ///
    /// # Errors
    /// It is too short, or there are too many.
    pub fn secret(&mut self, what: &str, value: &[u8]) -> Result<(), MaskError> {
        let value = forms::without_line_ends(value);
        if value.len() < SECRET_BYTES_MIN {
            return Err(MaskError::TooShort { what: what.to_owned(), bytes: value.len() });
        }
        self.bytes += value.len();
        if self.bytes > SECRETS_BYTES_MAX {
            return Err(MaskError::TooMany { what: what.to_owned() });
        }
        self.forms.append(&mut forms::of(value));
        Ok(())
    }

    /// All of them.
    pub fn build(self) -> Masks {
        // Its limits are far beyond SECRETS_BYTES_MAX in every form.
        Masks(Patterns::new(self.forms).map(Arc::new))
    }
}

impl fmt::Debug for MasksBuilder {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasksBuilder").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
