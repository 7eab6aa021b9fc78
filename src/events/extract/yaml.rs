//! Finds the scalars of a result that Ansible prints as YAML, line by line. It is not a parser: it
//! knows the layout of a dump of plain data, one key or item per line.

use super::unescape::{Quoting, string_end};

/// The style of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarStyle {
    /// Quoted or plain: folded over lines.
    Flow(Quoting),
    /// `>`: folded without quotes.
    Folded,
    /// `|`: line breaks are preserved.
    Literal,
}

/// The part of a line that belongs to a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScalarPart {
    pub(super) style: ScalarStyle,
    pub(super) start: usize,
    /// Offset of the closing quote, if it is on this line.
    pub(super) end: Option<usize>,
    /// The scalar started on an earlier line.
    pub(super) continues: bool,
}

/// A tracker of the open scalar and the indentation of its parent.
#[derive(Debug, Default)]
pub(super) struct YamlTracker {
    open: Option<(ScalarStyle, usize)>,
}

/// A key and the offset of its value, or only the offset for an item of a list.
pub(super) struct YamlEntry<'a> {
    pub(super) key: Option<&'a [u8]>,
    key_is_quoted: bool,
    parent: usize,
    value: usize,
}

impl YamlTracker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Returns the part of the next line that is in a scalar; `key` receives a key on the line.
    pub(super) fn line(&mut self, line: &[u8], key: &mut dyn FnMut(&[u8])) -> Option<ScalarPart> {
        let indent = indent(line);
        let blank = indent == line.len();
        if let Some((style, parent)) = self.open {
            let continues = match style {
                ScalarStyle::Flow(Quoting::Plain) => !blank && indent > parent,
                ScalarStyle::Flow(_) => blank || indent > 0,
                ScalarStyle::Folded | ScalarStyle::Literal => blank || indent > parent,
            };
            if continues {
                let end = match style {
                    ScalarStyle::Flow(quoting) => string_end(&line[indent..], quoting).map(|end| indent + end),
                    ScalarStyle::Folded | ScalarStyle::Literal => None,
                };
                if end.is_some() {
                    self.open = None;
                }
                return Some(ScalarPart { style, start: indent, end, continues: true });
            }
            self.open = None;
        }
        if blank {
            return None;
        }
        let entry = entry(line, indent);
        if let Some(name) = entry.key {
            key(name);
        }
        self.begin(line, entry.value, entry.parent)
    }

    /// Same as [`YamlTracker::line`] without context: the line must be unambiguous YAML.
    pub(super) fn guess(&mut self, line: &[u8]) -> Option<ScalarPart> {
        let indent = indent(line);
        if indent == 0 || indent == line.len() {
            return None;
        }
        let entry = entry(line, indent);
        let is_word = |key: &[u8]| key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
        let is_yaml = match entry.key {
            Some(key) => !entry.key_is_quoted && is_word(key),
            None => entry.value > indent,
        };
        let quoted = matches!(line.get(entry.value), Some(b'\'' | b'"'));
        let part =
            (is_yaml && (quoted || entry.value < line.len())).then(|| self.begin(line, entry.value, entry.parent));
        part.flatten()
    }

    fn begin(&mut self, line: &[u8], value: usize, parent: usize) -> Option<ScalarPart> {
        let quoting = match line.get(value)? {
            b'|' => {
                self.open = Some((ScalarStyle::Literal, parent));
                return None;
            }
            b'>' => {
                self.open = Some((ScalarStyle::Folded, parent));
                return None;
            }
            b'\'' => Quoting::Single,
            b'"' => Quoting::Double,
            _ => Quoting::Plain,
        };
        let style = ScalarStyle::Flow(quoting);
        let start = value + usize::from(quoting != Quoting::Plain);
        let end = string_end(&line[start..], quoting).map(|end| start + end);
        self.open = end.is_none().then_some((style, parent));
        Some(ScalarPart { style, start, end, continues: false })
    }
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == b' ').count()
}

fn entry(line: &[u8], indent: usize) -> YamlEntry<'_> {
    let (mut at, mut parent) = (indent, indent);
    while line[at..].starts_with(b"- ") {
        parent = at;
        at += 2;
        while line.get(at) == Some(&b' ') {
            at += 1;
        }
    }
    let rest = &line[at..];
    let quoting = match rest.first() {
        Some(b'\'') => Quoting::Single,
        Some(b'"') => Quoting::Double,
        _ => Quoting::Plain,
    };
    let (from, key_is_quoted) = match string_end(rest.get(1..).unwrap_or_default(), quoting) {
        Some(end) if rest.get(end + 2) == Some(&b':') => (end + 2, true),
        _ if quoting != Quoting::Plain => return YamlEntry { key: None, key_is_quoted: false, parent, value: at },
        _ => (0, false),
    };
    let colon = rest[from..]
        .iter()
        .enumerate()
        .position(|(offset, byte)| *byte == b':' && matches!(rest.get(from + offset + 1), None | Some(b' ')));
    let Some(colon) = colon else { return YamlEntry { key: None, key_is_quoted: false, parent, value: at } };
    let key = if key_is_quoted { &rest[1..from - 1] } else { &rest[..colon] };
    let after = at + from + colon + 1;
    let value = after + line[after..].iter().take_while(|byte| **byte == b' ').count();
    YamlEntry { key: Some(key), key_is_quoted, parent: at, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the scalar part of each line.
    fn parts(lines: &[&str]) -> Vec<String> {
        let mut yaml = YamlTracker::default();
        let text = |line: &&str| {
            let part = yaml.line(line.as_bytes(), &mut |_| {})?;
            Some(line[part.start..part.end.unwrap_or(line.len())].to_owned())
        };
        lines.iter().map(text).map(Option::unwrap_or_default).collect()
    }

    #[test]
    fn scalars_are_found_where_they_begin_and_where_they_go_on() {
        assert_eq!(parts(&["    msg: 'it''s", "        folded'", "    rc: 0"]), ["it''s", "folded", "0"]);
        assert_eq!(parts(&["    msg: \"a \\\" b", "", "     \\ c\"", "    x:"]), ["a \\\" b", "", "\\ c", ""]);
        assert_eq!(parts(&["    k:", "    - plain", "        on", "    - 'q'"]), ["", "plain", "on", "q"]);
        assert_eq!(parts(&["    - |-", "        a: 'b", "", "        c", "    d: e"]), ["", "a: 'b", "", "c", "e"]);
        assert_eq!(parts(&["    - a: b", "      c: 'd'", "    - 'x: y': z"]), ["b", "d", "z"]);
    }

    #[test]
    fn a_guess_is_made_only_of_yaml() {
        let guess = |line: &str| YamlTracker::default().guess(line.as_bytes()).map(|part| part.start);
        assert_eq!(guess("    msg: 'LB_EVENT"), Some(10));
        assert_eq!(guess("    - \"LB_EVENT"), Some(7));
        for line in ["    \"msg\": \"LB_EVENT {\\\"", "msg: 'LB_EVENT", "    LB_EVENT {\"a\": 1", "    at 12:30 it: x"]
        {
            assert_eq!(guess(line), None, "{line}");
        }
    }
}
