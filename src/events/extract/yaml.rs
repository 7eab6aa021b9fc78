//! Where the scalars stand in a result that Ansible prints as YAML, line by line. It is no parser:
//! it knows what a dump of plain data looks like, one key or item a line.

use super::unescape::{Quoting, string_end};

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// In quotes, or plain: over lines it is folded.
    Flow(Quoting),
    /// `>`: folded without quotes.
    Folded,
    /// `|`: each line is one.
    Literal,
}

/// What of a line is in a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) style: Style,
    pub(super) start: usize,
    /// Where its closing quote stands, if it does on this line.
    pub(super) end: Option<usize>,
    /// It began on an earlier line.
    pub(super) goes_on: bool,
}

/// The scalar that may go on in the next line, and how far its parent is indented.
#[derive(Debug, Default)]
pub(super) struct Yaml {
    open: Option<(Style, usize)>,
}

/// A key and the place of its value, or only that of an item of a list.
pub(super) struct Entry<'a> {
    pub(super) key: Option<&'a [u8]>,
    key_is_quoted: bool,
    parent: usize,
    value: usize,
}

impl Yaml {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// The scalar of the next line; `key` is given the key that begins on it.
    pub(super) fn line(&mut self, line: &[u8], key: &mut dyn FnMut(&[u8])) -> Option<Part> {
        let indent = indent(line);
        let blank = indent == line.len();
        if let Some((style, parent)) = self.open {
            let goes_on = match style {
                Style::Flow(Quoting::Plain) => !blank && indent > parent,
                Style::Flow(_) => blank || indent > 0,
                Style::Folded | Style::Literal => blank || indent > parent,
            };
            if goes_on {
                let end = match style {
                    Style::Flow(quoting) => string_end(&line[indent..], quoting).map(|end| indent + end),
                    Style::Folded | Style::Literal => None,
                };
                if end.is_some() {
                    self.open = None;
                }
                return Some(Part { style, start: indent, end, goes_on: true });
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

    /// The same for a line of which nothing is known: it must look like YAML, and like nothing else.
    pub(super) fn guess(&mut self, line: &[u8]) -> Option<Part> {
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
        let part = (is_yaml && (quoted || entry.value < line.len())).then(|| self.begin(line, entry.value, entry.parent));
        part.flatten()
    }

    fn begin(&mut self, line: &[u8], value: usize, parent: usize) -> Option<Part> {
        let quoting = match line.get(value)? {
            b'|' => {
                self.open = Some((Style::Literal, parent));
                return None;
            }
            b'>' => {
                self.open = Some((Style::Folded, parent));
                return None;
            }
            b'\'' => Quoting::Single,
            b'"' => Quoting::Double,
            _ => Quoting::Plain,
        };
        let style = Style::Flow(quoting);
        let start = value + usize::from(quoting != Quoting::Plain);
        let end = string_end(&line[start..], quoting).map(|end| start + end);
        self.open = end.is_none().then_some((style, parent));
        Some(Part { style, start, end, goes_on: false })
    }
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == b' ').count()
}

fn entry(line: &[u8], indent: usize) -> Entry<'_> {
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
        _ if quoting != Quoting::Plain => return Entry { key: None, key_is_quoted: false, parent, value: at },
        _ => (0, false),
    };
    let colon = rest[from..].iter().enumerate().position(|(offset, byte)| {
        *byte == b':' && matches!(rest.get(from + offset + 1), None | Some(b' '))
    });
    let Some(colon) = colon else { return Entry { key: None, key_is_quoted: false, parent, value: at } };
    let key = if key_is_quoted { &rest[1..from - 1] } else { &rest[..colon] };
    let behind = at + from + colon + 1;
    let value = behind + line[behind..].iter().take_while(|byte| **byte == b' ').count();
    Entry { key: Some(key), key_is_quoted, parent: at, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of each line is in a scalar.
    fn parts(lines: &[&str]) -> Vec<String> {
        let mut yaml = Yaml::default();
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
        let guess = |line: &str| Yaml::default().guess(line.as_bytes()).map(|part| part.start);
        assert_eq!(guess("    msg: 'LB_EVENT"), Some(10));
        assert_eq!(guess("    - \"LB_EVENT"), Some(7));
        for line in ["    \"msg\": \"LB_EVENT {\\\"", "msg: 'LB_EVENT", "    LB_EVENT {\"a\": 1", "    at 12:30 it: x"] {
            assert_eq!(guess(line), None, "{line}");
        }
    }
}
