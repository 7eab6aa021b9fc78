//! `--mask-env` and `--mask-file`: which secrets stay here.

use std::borrow::Cow;
use std::path::PathBuf;

use clap::Args;

use crate::worker::{MaskError, Masker, Masks, MasksBuilder};

/// The flags of every command that sends lines.
#[derive(Debug, Args)]
pub(super) struct MaskArgs {
    /// Show `***` wherever the value of this environment variable would be; may be repeated
    #[arg(long, value_name = "NAME")]
    mask_env: Vec<String>,
    /// The same for each line of this file, and each PEM block in it as a whole; may be repeated
    #[arg(long, value_name = "FILE")]
    mask_file: Vec<PathBuf>,
}

impl MaskArgs {
    /// The secrets.
    ///
    /// # Errors
    /// One is not there, or too short; the error says which, never what it is.
    pub(super) fn masks(&self) -> Result<Masks, MaskError> {
        let mut masks = MasksBuilder::default();
        self.mask_env.iter().try_for_each(|name| masks.env(name))?;
        self.mask_file.iter().try_for_each(|path| masks.file(path))?;
        Ok(masks.build())
    }
}

/// Bytes on their way to lines, secrets replaced.
pub(super) struct MaskedBytes(Option<Masker>);

impl MaskedBytes {
    pub(super) fn new(masks: &Masks) -> Self {
        Self(masks.masker())
    }

    /// Takes bytes, gives those that are decided.
    pub(super) fn push<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(masker) = &mut self.0 else { return Cow::Borrowed(bytes) };
        let mut masked = Vec::with_capacity(bytes.len());
        masker.push(bytes, &mut masked);
        Cow::Owned(masked)
    }

    /// No bytes follow: gives those that were held back.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut held = Vec::new();
        self.0.iter_mut().for_each(|masker| masker.finish(&mut held));
        held
    }
}
