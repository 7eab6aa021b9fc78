//! Files that had a followed name between two looks: `a.log` was rotated to `a.log.1`, and its
//! successor to `a.log.1` as well, before anybody looked.
//!
//! A sibling is a file in the same folder that is called as the followed one and a number or a date
//! behind it. One that nobody has seen before, and that is no copy of what was read, had the name.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::source::{FileIdentity, Named, Source};

/// Siblings that are looked at, at most; a folder with more is not searched further.
const SIBLINGS_MAX: usize = 4096;
/// Bytes of each end that are compared to know a copy.
const COPY_BYTES: u64 = 1024;
/// How compressed files end.
const COMPRESSED: [&str; 6] = [".gz", ".xz", ".zst", ".bz2", ".lz4", ".Z"];

/// The siblings of one name, and which of them need not be read.
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
    /// Those that are there now are no successors of anything.
    pub(super) fn new(path: &Path) -> Self {
        let folder = super::watch::folder_of(path);
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let mut siblings = Self { folder, name, known: HashSet::new() };
        siblings.known = siblings.list().into_iter().map(|sibling| sibling.identity).collect();
        siblings
    }

    /// The copy of a file that was truncated or rewritten since, if it holds more than what was
    /// read; at the place of reading. Older copies hold nothing new.
    pub(super) fn copy_of(&mut self, lost: &Source) -> Option<Source> {
        let mut best: Option<(u64, Source)> = None;
        for sibling in self.list() {
            if sibling.is_compressed() || self.known.contains(&sibling.identity) || lost.position() == 0 {
                continue;
            }
            let Ok(candidate) = Source::open(&sibling.path) else { continue };
            let bytes = sibling.metadata.len();
            if !lost.was_copied_to(&candidate, bytes) {
                continue;
            }
            self.known.insert(sibling.identity);
            if bytes > lost.position() && best.as_ref().is_none_or(|(most, _)| bytes > *most) {
                best = Some((bytes, candidate));
            }
        }
        best.map(|(_, copy)| lost.resumed_in(copy))
    }

    /// The oldest file that had the name after `old` and before `named`, opened.
    pub(super) fn next_after(&mut self, old: Option<&Source>, named: Option<&Named>) -> Option<Source> {
        let mut found = self.list();
        self.known.retain(|identity| found.iter().any(|sibling| sibling.identity == *identity));
        let beside = [old.map(Source::identity), named.map(|named| named.identity)];
        found.retain(|sibling| {
            !sibling.is_compressed()
                && !self.known.contains(&sibling.identity)
                && !beside.contains(&Some(sibling.identity))
        });
        // The clock of file systems is coarse: in one tick the higher number is the older file.
        found.sort_by(|a, b| a.identity.born_ns.cmp(&b.identity.born_ns).then_with(|| a.order().cmp(&b.order())));
        self.known.extend(old.map(Source::identity));
        for sibling in found {
            self.known.insert(sibling.identity);
            let Ok(source) = Source::open(&sibling.path) else { continue };
            let bytes = sibling.metadata.len();
            // A name may have gone on between the listing and the opening.
            if bytes > 0
                && source.identity() == sibling.identity
                && !old.is_some_and(|old| is_copy(&source, bytes, old))
            {
                return Some(source);
            }
        }
        None
    }

    /// Compressed siblings whose content is younger than `old`: they were not read. (A compressed
    /// file keeps the time of the last change of what it was made from.)
    pub(super) fn compressed_since(&mut self, old: &Source) -> Vec<PathBuf> {
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

    /// Grows from old to young: numbers go down (`.2` is older than `.1`), dates go up.
    fn order(&self) -> (i64, &str) {
        let number = self.suffix.get(1..).and_then(|number| number.parse::<i32>().ok());
        (number.map_or(0, |number| -i64::from(number)), &self.suffix)
    }
}

/// Whether it is `.1`, `-20260216`, `.2026-02-16T23:05:12Z`, perhaps compressed.
fn is_rotation(suffix: &str) -> bool {
    let plain = COMPRESSED.iter().find_map(|end| suffix.strip_suffix(end)).unwrap_or(suffix);
    plain.starts_with(['.', '-', '_'])
        && plain.contains(|c: char| c.is_ascii_digit())
        && plain.chars().all(|c| c.is_ascii_digit() || ".-_:+TZ".contains(c))
}

/// Whether a file of so many bytes stands at the begin of `old` as it is.
fn is_copy(candidate: &Source, bytes: u64, old: &Source) -> bool {
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
    fn rotated_names_are_known() {
        for suffix in [".1", "-20260216", ".2026-02-16", ".2026-02-16T23:05:12Z", ".3.gz", "-20260216.zst", "_7"] {
            assert!(is_rotation(suffix), "{suffix}");
        }
        for suffix in ["", ".lock", ".offset", ".1.tmp", "1", ".gz", ".old", ".part1", "."] {
            assert!(!is_rotation(suffix), "{suffix}");
        }
    }
}
