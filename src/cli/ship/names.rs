//! Names of files in the prefixes of lines: the shortest part of each path that is unique.

use std::path::{Component, Path, PathBuf};

use crate::events::clean;

/// Returns for each path its shortest suffix that no other path ends with.
pub(super) fn shortest(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let name = |(n, own): (usize, &Vec<String>)| {
        let others = || parts.iter().enumerate().filter(move |(other, _)| *other != n);
        let unique = |count: &usize| others().all(|(_, other)| end(other, *count) != end(own, *count));
        let count = (1..own.len()).find(unique).unwrap_or(own.len());
        clean(&end(own, count).join("/"))
    };
    parts.iter().enumerate().map(name).collect()
}

fn parts(path: &Path) -> Vec<String> {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let named: Vec<String> = named.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if named.is_empty() { vec![path.to_string_lossy().into_owned()] } else { named }
}

fn end(parts: &[String], count: usize) -> &[String] {
    parts.get(parts.len().saturating_sub(count)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortest_unique_suffixes() {
        let names = |paths: &[&str]| shortest(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["/var/log/a.log", "b.log"]), ["a.log", "b.log"]);
        assert_eq!(names(&["/x/one/a.log", "/x/two/a.log", "b"]), ["one/a.log", "two/a.log", "b"]);
        assert_eq!(names(&["a.log", "sub/a.log"]), ["a.log", "sub/a.log"]);
        assert_eq!(names(&["./\x1b[2Jred\n.log"]), ["red⏎.log"]);
    }
}
