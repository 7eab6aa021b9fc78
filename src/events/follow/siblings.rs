//! Files that had a followed name between two checks: `a.log` was rotated to `a.log.1`, and then
//! its successor as well.
//!
//! A sibling is a file in the same folder whose name is the followed name plus a number or a date.
//! A new sibling that is no copy of the content already read had the followed name.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file::{FileIdentity, FileReader, NamedFile};
use super::mark::FileMark;

/// Maximum number of siblings examined in one folder.
const SIBLINGS_MAX: usize = 4096;
/// Bytes compared at each end to recognize a copy.
const COPY_BYTES: u64 = 1024;
/// Suffixes of compressed files.
const COMPRESSED: [&str; 6] = [".gz", ".xz", ".zst", ".bz2", ".lz4", ".Z"];

/// The siblings of one name, and the identities of those that need not be read.
#[derive(Debug)]
pub(super) struct Siblings {
    folder: PathBuf,
    name: String,
    known: HashSet<FileIdentity>,
}

struct Sibling {
    path: PathBuf,
    suffix: String,
    identity: FileIdentity,
    metadata: Metadata,
}

impl Siblings {
    /// Creates the list; files that exist now are treated as already read.
    pub(super) fn new(path: &Path) -> Self {
        let folder = super::watch::folder_of(path);
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let mut siblings = Self { folder, name, known: HashSet::new() };
        siblings.known = siblings.list().into_iter().map(|sibling| sibling.identity).collect();
        siblings
    }

    /// Opens the rotated file that contains what preceded a mark. Files that had the name later count as unread
    /// from now on.
    pub(super) fn containing(&mut self, mark: &FileMark) -> Option<FileReader> {
        let mut siblings = self.list();
        siblings.sort_by(Sibling::by_age);
        let found = siblings.iter().position(|sibling| {
            let file = (!sibling.is_compressed()).then(|| FileReader::open(&sibling.path).ok()).flatten();
            file.is_some_and(|file| mark.is_in(&file))
        })?;
        for later in siblings.get(found + 1..).unwrap_or_default() {
            self.known.remove(&later.identity);
        }
        siblings.get(found).and_then(|sibling| FileReader::open(&sibling.path).ok())
    }

    /// Makes the files that were created and written after a mark count as unread. Returns whether there are any,
    /// and the paths of compressed ones.
    pub(super) fn forget_since(&mut self, mark: &FileMark) -> (bool, Vec<PathBuf>) {
        let mut later = self.list();
        later.retain(|sibling| sibling.metadata.mtime() >= mark.modified);
        let (compressed, mut later): (Vec<_>, Vec<_>) = later.into_iter().partition(Sibling::is_compressed);
        later.retain(|sibling| sibling.identity.born_ns > mark.identity.born_ns);
        for sibling in &later {
            self.known.remove(&sibling.identity);
        }
        (!later.is_empty(), compressed.into_iter().map(|sibling| sibling.path).collect())
    }

    /// Returns the copy of a file that was truncated or rewritten, positioned where reading
    /// stopped, if the copy has more content than was read. Older copies have nothing new.
    pub(super) fn copy_of(&mut self, lost: &FileReader) -> Option<FileReader> {
        let mut best: Option<(u64, FileReader)> = None;
        for sibling in self.list() {
            if sibling.is_compressed() || self.known.contains(&sibling.identity) || lost.position() == 0 {
                continue;
            }
            let Ok(candidate) = FileReader::open(&sibling.path) else { continue };
            let bytes = sibling.metadata.len();
            if !lost.was_copied_to(&candidate, bytes) {
                continue;
            }
            self.known.insert(sibling.identity);
            if bytes > lost.position() && best.as_ref().is_none_or(|(most, _)| bytes > *most) {
                best = Some((bytes, candidate));
            }
        }
        best.map(|(_, copy)| lost.resume_in(copy))
    }

    /// Opens the oldest file that had the name after `old` and before `named`.
    pub(super) fn next_after(&mut self, old: Option<&FileReader>, named: Option<&NamedFile>) -> Option<FileReader> {
        let mut found = self.list();
        self.known.retain(|identity| found.iter().any(|sibling| sibling.identity == *identity));
        let excluded = [old.map(FileReader::identity), named.map(|named| named.identity)];
        found.retain(|sibling| {
            !sibling.is_compressed()
                && !self.known.contains(&sibling.identity)
                && !excluded.contains(&Some(sibling.identity))
        });
        found.sort_by(Sibling::by_age);
        self.known.extend(old.map(FileReader::identity));
        for sibling in found {
            self.known.insert(sibling.identity);
            let Ok(source) = FileReader::open(&sibling.path) else { continue };
            let bytes = sibling.metadata.len();
            // The file may have been renamed between the listing and the open.
            if bytes > 0
                && source.identity() == sibling.identity
                && !old.is_some_and(|old| is_copy(&source, bytes, old))
            {
                return Some(source);
            }
        }
        None
    }

    /// Returns the compressed siblings whose content is newer than `old`, and so was not read.
    /// (Compression tools preserve the modification time of the original.)
    pub(super) fn compressed_since(&mut self, old: &FileReader) -> Vec<PathBuf> {
        let Ok(last) = old.metadata().map(|metadata| metadata.mtime()) else { return Vec::new() };
        let mut missed = self.list();
        missed.retain(|sibling| {
            sibling.is_compressed() && sibling.metadata.mtime() > last && self.known.insert(sibling.identity)
        });
        missed.into_iter().map(|sibling| sibling.path).collect()
    }

    fn list(&self) -> Vec<Sibling> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let named = entries.filter_map(Result::ok).filter_map(|entry| {
            let suffix = entry.file_name().to_str()?.strip_prefix(&self.name)?.to_owned();
            is_rotation(&suffix).then_some((entry, suffix))
        });
        let files = named.filter_map(|(entry, suffix)| {
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some(Sibling { path: entry.path(), suffix, identity: FileIdentity::of(&metadata), metadata })
        });
        files.take(SIBLINGS_MAX).collect()
    }
}

impl Sibling {
    fn is_compressed(&self) -> bool {
        COMPRESSED.iter().any(|end| self.suffix.ends_with(end))
    }

    /// Compares from old to new. File system clocks are coarse: within one tick the higher number is the older file.
    fn by_age(a: &Self, b: &Self) -> std::cmp::Ordering {
        a.identity.born_ns.cmp(&b.identity.born_ns).then_with(|| a.order().cmp(&b.order()))
    }

    /// Returns a sort key from old to new: numbers fall (`.2` is older than `.1`), dates rise.
    fn order(&self) -> (i64, &str) {
        let number = self.suffix.get(1..).and_then(|number| number.parse::<i32>().ok());
        (number.map_or(0, |number| -i64::from(number)), &self.suffix)
    }
}

/// Reports whether the suffix is one of a rotation: `.1`, `-20260216`, `.2026-02-16T23:05:12Z`,
/// optionally compressed.
fn is_rotation(suffix: &str) -> bool {
    let plain = COMPRESSED.iter().find_map(|end| suffix.strip_suffix(end)).unwrap_or(suffix);
    plain.starts_with(['.', '-', '_'])
        && plain.contains(|c: char| c.is_ascii_digit())
        && plain.chars().all(|c| c.is_ascii_digit() || ".-_:+TZ".contains(c))
}

/// Reports whether `old` still starts with the content of `candidate`, which has `bytes` bytes.
fn is_copy(candidate: &FileReader, bytes: u64, old: &FileReader) -> bool {
    let same = |lower: u64, upper: u64| match (candidate.bytes_at(lower, upper), old.bytes_at(lower, upper)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    bytes <= old.position() && same(0, bytes.min(COPY_BYTES)) && same(bytes.saturating_sub(COPY_BYTES), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_suffixes_are_recognized() {
        for suffix in [".1", "-20260216", ".2026-02-16", ".2026-02-16T23:05:12Z", ".3.gz", "-20260216.zst", "_7"] {
            assert!(is_rotation(suffix), "{suffix}");
        }
        for suffix in ["", ".lock", ".offset", ".1.tmp", "1", ".gz", ".old", ".part1", "."] {
            assert!(!is_rotation(suffix), "{suffix}");
        }
    }
}
