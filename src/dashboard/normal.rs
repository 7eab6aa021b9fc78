//! Normal forms of lines, which are equal for repetitions, and the detection of failures. Both
//! depend on a line's form, never on the name of a task.

use std::net::Ipv4Addr;

/// Placeholder for a number, a time, a duration or an id.
const HOLE: char = '#';
/// Minimum digits in a row that make a part of a name an id; fewer distinguish `h1` from `h2`.
const ID_DIGITS_MIN: usize = 5;
/// Minimum length of a hexadecimal id, in characters.
const HEX_CHARS_MIN: usize = 7;
/// Units that may follow a number.
const UNITS: [&str; 37] = [
    "s", "sec", "secs", "ms", "us", "µs", "ns", "m", "min", "mins", "h", "d", "B", "b", "k", "K", "M", "G", "kB", "KB",
    "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "x", "T", "Z", "th", "st", "nd", "rd", "Hz", "bps", "e",
];
/// Words that indicate a failure, in lower case.
const FAILURES: [&str; 11] = [
    "failed",
    "fatal",
    "unreachable",
    "error",
    "errors",
    "failure",
    "failures",
    "critical",
    "panicked",
    "traceback",
    "exception",
];

/// Returns the line with its variable parts replaced. Numbers in names (`h1`, `cfg-01`) and
/// addresses are preserved, because they distinguish hosts.
pub fn normalise(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let is_word = in_word(first);
        let end = rest.find(|c| in_word(c) != is_word).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        if is_word {
            word(part, &mut out);
        } else {
            // Padding and bars vary in length with their content.
            let mut last = '\0';
            for c in part.chars().filter(|c| std::mem::replace(&mut last, *c) != *c) {
                out.push(c);
            }
        }
        rest = behind;
    }
    out
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | ',')
}

fn word(part: &str, out: &mut String) {
    let core = part.trim_matches(|c: char| !c.is_alphanumeric());
    if core.is_empty() || !core.bytes().any(|byte| byte.is_ascii_digit()) || core.parse::<Ipv4Addr>().is_ok() {
        out.push_str(part);
        return;
    }
    let from = part.find(core).unwrap_or(0);
    let (before, after) = (&part[..from], &part[from + core.len()..]);
    out.push_str(before.trim_end_matches('-'));
    if is_measure(core) || is_hex(core) {
        out.push(HOLE)
    } else {
        name(core, out)
    }
    out.push_str(after);
}

/// Reports whether the text is numbers with units and separators: `2.5s`, `0m05.0s`, `10:15:05`,
/// `2026-01-03T11:55:41Z`.
fn is_measure(core: &str) -> bool {
    if !core.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    core.split(|c: char| !c.is_alphabetic()).all(|letters| letters.is_empty() || UNITS.contains(&letters))
}

fn is_hex(core: &str) -> bool {
    let digits = core.strip_prefix("0x").unwrap_or(core);
    let count = digits.bytes().filter(u8::is_ascii_hexdigit).count();
    count >= HEX_CHARS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        || core.starts_with("0x") && count == digits.len()
}

fn name(core: &str, out: &mut String) {
    let mut rest = core;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits >= ID_DIGITS_MIN {
            out.push(HOLE);
        } else {
            out.push_str(&rest[..digits]);
        }
        rest = &rest[digits..];
        let others = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        out.push_str(&rest[..others]);
        rest = &rest[others..];
    }
}

/// Reports whether a line of text indicates a failure. A count of zero (`failed=0`) does not, nor
/// does the name of a task (`TASK [Stop on a failed poll]`).
pub fn is_failure_text(line: &str) -> bool {
    let line = line.trim();
    if header(line).is_some() || is_recap(line) || line.ends_with(" skipped") || done_in(line).is_some() {
        return false;
    }
    let line = without_item(line);
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let end = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        if end == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let word = &rest[..end];
        if FAILURES.iter().any(|known| word.eq_ignore_ascii_case(known)) && !is_none(&line[..at], &rest[end..]) {
            return true;
        }
        at += end;
    }
    false
}

/// Returns a successful result without the loop's item, which is input and may contain any word.
fn without_item(line: &str) -> &str {
    if !is_good(line) || !line.contains(" => (item=") {
        return line;
    }
    line.rsplit_once(") => ").map_or("", |(_, previous)| previous)
}

/// Reports whether the line starts a successful result.
fn is_good(line: &str) -> bool {
    ["ok: [", "changed: [", "skipping: [", "included: "].iter().any(|begin| line.starts_with(begin))
}

/// Reports whether the text around a word denies it: `failed=0`, `"failed": false`, `0 errors`.
fn is_none(before: &str, after: &str) -> bool {
    let quiet = |c: char| matches!(c, '"' | '\'' | ' ');
    let value = after.trim_start_matches(quiet).strip_prefix(['=', ':']).map(|value| value.trim_start_matches(quiet));
    let value = value.map(|value| value.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(""));
    if matches!(value, Some("0" | "false" | "False" | "null" | "None" | "none")) {
        return true;
    }
    // Only the words before it, not the value of another count: `unreachable=0 failed=1`.
    let previous =
        before.trim_end_matches(quiet).rsplit(|c: char| !c.is_alphanumeric() && !matches!(c, '=' | ':')).next();
    matches!(previous, Some("0" | "no" | "No" | "without"))
}

/// Returns the name in `TASK [name] ***`, `PLAY [name] ***` or `RUNNING HANDLER [name] ***`.
pub(super) fn header(line: &str) -> Option<&str> {
    let rest = ["TASK [", "PLAY [", "RUNNING HANDLER ["].iter().find_map(|begin| line.strip_prefix(begin))?;
    rest.rsplit_once(']').map(|(name, _)| name)
}

fn is_recap(line: &str) -> bool {
    line.starts_with("PLAY RECAP")
}

/// Returns the text before `done in 2.5s` at the end of a line, and the duration.
pub(super) fn done_in(line: &str) -> Option<(&str, &str)> {
    let (before, duration) = line.trim_end().rsplit_once(" done in ")?;
    let number = duration.strip_suffix('s')?;
    number.parse::<f64>().is_ok().then_some((before, duration))
}

/// Splits `• [phase] (host) message` into the phase with the host, and the message.
pub(super) fn phase_and_host(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let body = line.strip_prefix("• ").unwrap_or(line);
    let (phase, rest) = body.strip_prefix('[')?.split_once("] (")?;
    let (host, what) = rest.split_once(')')?;
    let end = 1 + phase.len() + 3 + host.len() + 1;
    Some((&body[..end], what.trim_start()))
}

/// A tracker for the lines of one Ansible result, of which a summary shows only the first.
#[derive(Debug, Default)]
pub(super) struct ResultTracker {
    inside: bool,
}

impl ResultTracker {
    /// Records that an event was in the first line of a result.
    pub(super) fn begin(&mut self) {
        self.inside = true;
    }

    /// Reports whether the line is blank or a further line of a successful result.
    pub(super) fn is_detail(&mut self, line: &str) -> bool {
        let bare = line.trim();
        if bare.chars().all(|c| matches!(c, '{' | '}' | '[' | ']' | ',' | '"' | '\'' | ')')) {
            self.inside &= bare != "}" || line.starts_with(' ');
            return true;
        }
        if line.starts_with([' ', '\t']) {
            return self.inside && !is_failure_text(line);
        }
        self.inside = is_good(line) && (bare.ends_with("=> {") || bare.ends_with("=>"));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalise_replaces_numbers_times_and_ids_but_not_names() {
        for (line, expected) in [
            ("k6[c] stdout: running (0m05.0s), 10/10 VUs", "k6[c] stdout: running (#), #/# VUs"),
            ("ok: [h1]", "ok: [h1]"),
            ("ok: [10.0.0.12]", "ok: [10.0.0.12]"),
            ("Delay done in 10.0s", "Delay done in #s".replace("#s", "#").as_str()),
            ("2026-01-03T11:55:41Z took 12%", "# took #%"),
            ("job j742818273645.1234 of cfg-01", "job j#.1234 of cfg-01"),
            ("id a4f691b9-fdd3-401c-8608-2f6dadaf5b93", "id #"),
            ("commit 1a2b3c4d, at 0xff", "commit #, at #"),
            ("a   b", "a b"),
            ("temp -5 of 1,204", "temp # of #"),
        ] {
            assert_eq!(normalise(line), expected, "{line}");
        }
    }

    #[test]
    fn failure_words_in_zero_counts_and_names_are_ignored() {
        for line in [
            "fatal: [h1]: UNREACHABLE! => {",
            "failed: [h1] (item=2) => {",
            "h1 : ok=5 changed=1 unreachable=0 failed=1 skipped=0",
            "ERROR! the role was not found",
            "    \"failed\": true",
            "• [run-fio] (h1) Poll failed",
            "2 errors",
            "ok: [h1] => (item=3) => {\"msg\": \"ERROR: disk full\"}",
            "error",
        ] {
            assert!(is_failure_text(line), "{line}");
        }
        for line in [
            "h1 : ok=5 changed=1 unreachable=0 failed=0 skipped=0",
            "TASK [Stop on a failed poll] ****",
            "• [run-fio] (h1) Stop on a failed poll skipped",
            "0 errors, no failures",
            "    \"failed\": false,",
            "ok: [h1]",
            "ok: [h1] => (item={'level': 'ERROR', 'status': 'failed'}) => {",
            "errors: 0",
        ] {
            assert!(!is_failure_text(line), "{line}");
        }
    }

    #[test]
    fn details_are_hidden_only_for_successful_results() {
        let mut results = ResultTracker::default();
        let mut detail = |line: &str| results.is_detail(line);
        assert!(!detail("ok: [h1] => {") && detail("    \"msg\": \"hello\"") && detail("}"));
        assert!(!detail("fatal: [h1]: FAILED! => {") && !detail("    \"msg\": \"no such file\"") && detail("}"));
        assert!(detail("") && !detail("    indented text of a program"));
        assert!(!detail("ok: [h1] =>") && detail("    msg: hello") && !detail("TASK [x] ***"));
    }
}
