//! A line without what changes from run to run: numbers, times, hashes, temporary paths.

/// Maximum bytes of a line that are compared.
const BYTES_MAX: usize = 4 * 1024;
/// Digits and letters from which a hexadecimal word is a hash.
const HASH_CHARS_MIN: usize = 7;
/// Folders of temporary files; the name below them changes.
const TEMPORARY: [&str; 5] = ["/tmp/", "/var/tmp/", "/var/folders/", "/dev/shm/", "/run/user/"];

/// Returns a displayed text with `#` in place of each number, time, hash and temporary name.
pub fn normalize(shown: &str) -> String {
    let mut text = shown.trim_end();
    if text.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text = &text[..end];
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(first) = rest.as_bytes().first() {
        match first {
            b'/' => {
                let temporary = skip_temporary(rest);
                out.push_str(if temporary.is_some() { "/tmp/#" } else { "/" });
                rest = temporary.unwrap_or(&rest[1..]);
            }
            // Columns are padded according to the width of their numbers.
            b' ' | b'\t' => {
                rest = rest.trim_start_matches([' ', '\t']);
                out.push(' ');
            }
            byte if byte.is_ascii_alphanumeric() => {
                let end = rest.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                push_word(&mut out, word);
                rest = after;
            }
            _ => {
                let is_kept = |byte: u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'/' | b' ' | b'\t');
                let end = rest.bytes().skip(1).position(|byte| !is_kept(byte)).map_or(rest.len(), |at| at + 1);
                // It ends at an ASCII character, so between two characters.
                let (kept, after) = rest.split_at(end);
                out.push_str(kept);
                rest = after;
            }
        }
    }
    join_numbers(out)
}

/// Returns the hash of a displayed text without what changes from run to run.
pub(super) fn line_hash(shown: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(normalize(shown).as_bytes())
}

/// Words of a date.
const DATE_WORDS: [&str; 22] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon", "Tue", "Wed", "Thu",
    "Fri", "Sat", "Sun", "AM", "PM", "UTC",
];

/// Returns the text after a path of a temporary file, if there is one.
fn skip_temporary(text: &str) -> Option<&str> {
    let folder = TEMPORARY.iter().find(|folder| text.starts_with(**folder))?;
    let name = text.get(folder.len()..)?;
    // The names below it belong to the path as well, but may be of a project: only the first one changes.
    let end = name.find(|c: char| c == '/' || c.is_whitespace() || matches!(c, '"' | '\'' | ':' | ',' | ')'));
    let end = end.unwrap_or(name.len());
    (end > 0).then(|| &name[end..])
}

/// Adds a word of letters and digits.
fn push_word(out: &mut String, word: &str) {
    if !word.bytes().any(|byte| byte.is_ascii_digit()) {
        out.push_str(if word.len() <= 3 && DATE_WORDS.contains(&word) { "#" } else { word });
        return;
    }
    let is_hash = word.len() >= HASH_CHARS_MIN && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A random name has letters and digits in turn; a name such as `utf8` or `x86` keeps its letters.
    let turns = word.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    if is_hash || word.starts_with("0x") || (turns > 3 && word.len() >= HASH_CHARS_MIN) {
        out.push('#');
        return;
    }
    let mut in_number = false;
    for c in word.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !in_number {
            out.push('#');
        }
        in_number = c.is_ascii_digit();
    }
}

/// Joins the numbers of a time, a version, a UUID or a fraction: `#-#-#T#:#:#.#Z` becomes `#`, and the unit of a
/// duration is dropped, since `59s` and `1m` differ in nothing else.
fn join_numbers(text: String) -> String {
    if !text.contains('#') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('#') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        while let Some(after) = joined(rest) {
            rest = after;
        }
        let unit = unit(rest);
        if UNITS.contains(&unit) {
            rest = &rest[unit.len()..];
        }
    }
    out.push_str(rest);
    out
}

/// Returns the text after the next number, if it belongs to the number before.
fn joined(text: &str) -> Option<&str> {
    let unit = unit(text);
    let after = text.get(unit.len()..).filter(|_| unit.is_empty() || UNITS.contains(&unit))?;
    let rest = after.strip_prefix(['.', ':', '-', ',', '+', '/', '_']).unwrap_or(after);
    // Two numbers next to each other come from different words.
    if rest.len() == text.len() { None } else { rest.strip_prefix('#') }
}

/// Returns the letters at the start, such as the unit of a number, or the `T` and `Z` of a time.
fn unit(text: &str) -> &str {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    &text[..end]
}

/// Units of durations and sizes, and the letters of a time.
const UNITS: [&str; 26] = [
    "ns", "us", "ms", "s", "sec", "secs", "m", "min", "h", "d", "T", "Z", "B", "b", "k", "K", "M", "G", "kB", "KB",
    "MB", "GB", "KiB", "MiB", "GiB", "x",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::displayed;

    #[test]
    fn volatile_parts_of_lines_are_equal() {
        for (one, other) in [
            ("took 12.3s", "took 950ms"),
            ("took 1m05s in all", "took 59s in all"),
            ("2026-05-09T14:23:01.000Z start", "2026-05-10T00:00:59.123Z start"),
            ("[14:23:01] start", "[09:01:59] start"),
            ("Mon May  9 14:23:01 2026 x", "Tue Jun 10 01:02:03 2026 x"),
            ("commit 3f2a91c built", "commit 0f1e2d3 built"),
            ("id 550e8400-e29b-41d4-a716-446655440000", "id 123e4567-e89b-12d3-a456-426614174000"),
            ("at 0x7ffd1234abcd", "at 0x55aa00112233"),
            ("in /tmp/pytest-of-me/x.py", "in /tmp/tmpab12cd/x.py"),
            ("\u{1b}[32mok\u{1b}[0m 3 passed", "ok 14 passed"),
            ("   7 rows", " 113 rows"),
            ("10%\r50%\r100% done", "100% done"),
            ("Downloaded 1.2 MB at 3.4MB/s", "Downloaded 11.0 MB at 12kB/s"),
        ] {
            assert_eq!(normalize(&displayed(one)), normalize(&displayed(other)), "{one:?} {other:?}");
        }
    }

    #[test]
    fn visible_differences_are_differences() {
        for (one, other) in [
            ("error: cannot open a.txt", "error: cannot open b.txt"),
            ("test a passed", "test b passed"),
            ("utf8", "utf"),
            ("x86_64", "arm64"),
            ("ok", "OK"),
            ("in /srv/app/x.py", "in /srv/app/y.py"),
            ("deadbeef is decoded", "cafe is decoded"),
            ("step 3 failed", "step 3 passed"),
        ] {
            assert_ne!(normalize(one), normalize(other), "{one:?} {other:?}");
        }
    }

    proptest! {
        #[test]
        fn normal_text_is_stable(line in "[ -~ä\\t0-9]{0,80}") {
            let once = normalize(&line);
            prop_assert!(once.len() <= line.len() + 16);
        }
    }
}
