//! The flags `--mask-env` and `--mask-file`, and the masking of optional secrets.

use std::borrow::Cow;
use std::path::PathBuf;

use clap::Args;

use crate::worker::{MaskError, Masker, Masks, MasksBuilder};

/// Flags for the secrets to mask.
#[derive(Debug, Args)]
pub(super) struct MaskArgs {
    /// Replace the value of this environment variable with `***`; repeatable
    #[arg(long, value_name = "NAME")]
    mask_env: Vec<String>,
    /// Replace each line of this file, and each PEM block as a whole, with `***`; repeatable
    #[arg(long, value_name = "FILE")]
    mask_file: Vec<PathBuf>,
}

impl MaskArgs {
    /// Returns the secrets.
    ///
    /// # Errors
    /// A secret is missing or too short; the error names its source, never its value.
    pub(super) fn masks(&self) -> Result<Masks, MaskError> {
        let mut masks = MasksBuilder::default();
        self.mask_env.iter().try_for_each(|name| masks.env(name))?;
        self.mask_file.iter().try_for_each(|path| masks.file(path))?;
        Ok(masks.build())
    }
}

/// A masker that passes bytes through if there are no secrets.
pub(super) struct MaskedBytes(Option<Masker>);

impl MaskedBytes {
    pub(super) fn new(masks: &Masks) -> Self {
        Self(masks.masker())
    }

    /// Appends bytes and returns those that can no longer become part of a secret, masked.
    pub(super) fn push<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(masker) = &mut self.0 else { return Cow::Borrowed(bytes) };
        let mut masked = Vec::with_capacity(bytes.len());
        masker.push(bytes, &mut masked);
        Cow::Owned(masked)
    }

    /// Returns the bytes held back at the end of the input.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut held = Vec::new();
        if let Some(masker) = &mut self.0 {
            masker.finish(&mut held);
        }
        held
    }
}
