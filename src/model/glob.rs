//! Glob patterns as in Redis: `*`, `?`, `[a-z]`, `[^a]` and a backslash before any byte.
//!
//! On a mismatch only the last star is retried. That suffices: any bytes an earlier star could match,
//! the later one can match as well. The cost is at most the product of the two lengths.

/// Reports whether a name matches a pattern.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // The position after the last star, and the end of the bytes it has matched.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, n));
            continue;
        }
        let next = match name.get(n) {
            None if p == pattern.len() => return true,
            // No star could match fewer bytes.
            None => return false,
            Some(byte) => match_one(pattern, p, *byte),
        };
        match (next, retry) {
            (Some(next), _) => (p, n) = (next, n + 1),
            (None, Some((after, matched))) => {
                (p, n) = (after, matched + 1);
                retry = Some((after, matched + 1));
            }
            (None, None) => return false,
        }
    }
}

/// Returns the position after the pattern element at `p` if it matches this byte.
fn match_one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte),
        b'\\' => match pattern.get(p + 1) {
            Some(escaped) => (*escaped == byte).then_some(p + 2),
            None => (byte == b'\\').then_some(p + 1),
        },
        other => (*other == byte).then_some(p + 1),
    }
}

/// Does the same as [`match_one`] inside brackets. An unclosed class ends with the pattern.
fn match_class(pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match &pattern[p.min(pattern.len())..] {
            [] => break,
            [b']', ..] => {
                p += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                p += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                p += 3;
            }
            [other, ..] => {
                found |= *other == byte;
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from valkey-server 9.1.2, `KEYS`.
    #[test]
    fn patterns_match_as_in_redis() {
        let cases: [(&str, &str, bool); 34] = [
            ("*", "", true),
            ("*", "abc", true),
            ("**", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("task:logs:?", "task:logs:1", true),
            ("task:logs:?", "task:logs:22", false),
            ("task:*:*", "task:logs:1", true),
            ("task:*:*", "task:other", false),
            ("*:1", "task:logs:1", true),
            ("*s*:*s:*", "task:logs:1", true),
            ("t[ae]sk", "task", true),
            ("t[^e]sk", "task", true),
            ("t[^a]sk", "task", false),
            ("t[a-c]sk", "task", true),
            ("t[c-a]sk", "task", true),
            ("t[!a]sk", "task", true),
            (r"a\[b", "a[b", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a[*]b", "a*b", true),
            (r"a[\\]b", r"a\b", true),
            (r"a\\b", r"a\b", true),
            (r"a\?b", "axb", false),
            ("a[", "a[b", false),
            ("a[b", "a[b", false),
            ("a[b", "ab", true),
            ("a[[]b", "a[b", true),
            ("a[^", "a[b", false),
            (r"a\", r"a\b", false),
            ("TASK*", "task", false),
            ("t[]ask", "task", false),
            ("t[a-]sk", "task", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} on {name}");
        }
    }

    /// Backtracking over every star would need exponential time.
    #[test]
    fn hostile_pattern_matches_in_linear_time() {
        let pattern = [b"*a".repeat(500), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(2_000)));
    }
}
