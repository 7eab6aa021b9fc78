//! The lines with which Ansible's callbacks start, divide and end a result.
//!
//! ```text
//! ok: [h1] => (item=x) => {          default, debug, yaml (`=> changed=true`)
//! h1 | FAILED! => {                  minimal, oneline
//! h1 | FAILED | rc=1 | (stdout) ..   oneline, before the same result as JSON
//!   h1 failed | item: x: {           unixy
//! STDOUT:                            debug, below the result
//! "hosts": { "h1": {                 json, in one document
//! ```

/// Prefixes of a result's first line.
pub(super) const RESULTS: [&[u8]; 8] = [
    b"ok: [",
    b"changed: [",
    b"failed: [",
    b"fatal: [",
    b"skipping: [",
    b"unreachable: [",
    b"rescued: [",
    b"FAILED - RETRYING: [",
];
/// Prefix of a failure report's first line.
pub(super) const ERROR: &[u8] = b"[ERROR]: ";
/// Prefixes of lines that end a failure report.
pub(super) const BANNERS: [&[u8]; 4] = [b"TASK [", b"PLAY ", b"RUNNING HANDLER [", b"..."];
/// Outcomes in a line of the minimal and oneline callbacks.
const OUTCOMES: [&[u8]; 7] =
    [b"SUCCESS", b"CHANGED", b"FAILED", b"FAILED!", b"UNREACHABLE!", b"SKIPPED", b"NO PACKAGE"];
/// Outcomes in a line of the unixy callback.
const STATES: [&[u8]; 7] = [b"done", b"ok", b"changed", b"failed", b"skipped", b"unreachable", b"ignored"];
/// Titles of the texts below a result of the debug callback.
const SECTIONS: [&[u8]; 6] = [b"STDOUT:", b"STDERR:", b"MSG:", b"MODULE_STDOUT:", b"MODULE_STDERR:", b"EXCEPTION:"];

/// The text after the head of a result of the minimal or oneline callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdhocBody {
    /// A JSON object.
    Json,
    /// Both outputs on the same line.
    Outputs,
    /// The output on the next lines, as it is.
    Raw,
}

/// Returns the host in a head of the minimal and oneline callbacks, and what follows.
pub(super) fn adhoc(line: &[u8]) -> Option<(&[u8], AdhocBody)> {
    let bar = memchr::memmem::find(line, b" | ")?;
    let (host, rest) = (&line[..bar], &line[bar + 3..]);
    let end = memchr::memmem::find(rest, b" => {").or_else(|| memchr::memmem::find(rest, b" | rc="))?;
    if host.contains(&b' ') || !OUTCOMES.contains(&&rest[..end]) {
        return None;
    }
    let rest = &rest[end..];
    let body = match rest {
        _ if rest.starts_with(b" =>") => AdhocBody::Json,
        _ if memchr::memmem::find(rest, b" | (stdout) ").is_some() => AdhocBody::Outputs,
        _ if rest.trim_ascii_end().ends_with(b" >>") => AdhocBody::Raw,
        _ => return None,
    };
    Some((host, body))
}

/// A head of the unixy callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnixyHead<'l> {
    /// Of a result of this host in JSON, on the next lines.
    Json(&'l [u8]),
    /// Of the first of several attempts, in the same form.
    Attempt,
    /// Of a result as text.
    Text,
}

/// Returns the head of the unixy callback that a line is.
pub(super) fn unixy(line: &[u8]) -> Option<UnixyHead<'_>> {
    let text = line.strip_prefix(b"  ")?.trim_ascii_end();
    let (host, rest) = text.split_at(memchr::memchr(b' ', text)?);
    if host.is_empty() {
        return None;
    }
    if host == b"Retrying..." {
        return text.ends_with(b"Result was: {").then_some(UnixyHead::Attempt);
    }
    let (state, is_json) = match rest[1..].strip_suffix(b": {") {
        Some(state) => (state, true),
        None => (&rest[1..], false),
    };
    let bar = memchr::memmem::find(state, b" | ");
    let is_json = is_json && bar.is_none_or(|at| state[at..].starts_with(b" | item: "));
    if !STATES.contains(&bar.map_or(state, |at| &state[..at])) || !is_json && bar.is_none() {
        return None;
    }
    Some(if is_json { UnixyHead::Json(host) } else { UnixyHead::Text })
}

/// Reports whether a line is Ansible's account of its own work (`-vvv`), which may stand between results.
pub(super) fn is_verbose(line: &[u8]) -> bool {
    line.starts_with(b"<") && memchr::memmem::find(line, b"> ").is_some() || line.starts_with(b"Using module file ")
}

/// Returns the title of a section of the debug callback.
pub(super) fn section(line: &[u8]) -> Option<&'static [u8]> {
    SECTIONS.iter().find(|title| **title == line.trim_ascii_end()).copied()
}

/// Reports whether YAML follows a head: only pairs follow its arrow, like `changed=true`.
pub(super) fn precedes_yaml(line: &[u8]) -> bool {
    if line.ends_with(b"=>") {
        return true;
    }
    let Some(arrow) = memchr::memmem::rfind(line, b" => ") else { return false };
    let is_pair = |word: &[u8]| {
        let equals = memchr::memchr(b'=', word);
        equals.is_some_and(|at| at > 0) && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_=-".contains(byte))
    };
    line[arrow + 4..].split(|byte| *byte == b' ').all(is_pair)
}

/// Returns the first host of `h1 -> other] ..`.
pub(super) fn host_in(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b']', text).unwrap_or(0);
    let host = &text[..end];
    memchr::memmem::find(host, b" -> ").map_or(host, |end| &host[..end])
}

/// An event of ansible-runner on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunnerEvent {
    /// Offset of the results of a loop, each of which was an event before; the end of the line if there are none.
    pub(super) results: usize,
    /// The text is in the event's data.
    pub(super) in_data: bool,
}

/// Parses the outline of an event of ansible-runner that holds a result. Its own `stdout` shows the result again.
pub(super) fn runner_event(line: &[u8]) -> Option<RunnerEvent> {
    let has = |name: &[u8]| memchr::memmem::find(line, name);
    has(b"\"runner_ident\"").and(has(b"\"event_data\""))?;
    let result = has(b"\"res\": {").or_else(|| has(b"\"res\":{"))?;
    let fields = &line[result..];
    let fields = &fields[memchr::memchr(b'{', fields)? + 1..];
    let is_loop = fields.trim_ascii_start().starts_with(b"\"results\"");
    Some(RunnerEvent { results: if is_loop { line.len() - fields.len() } else { line.len() }, in_data: false })
}

/// The hosts of a document of the json callback: each holds a result.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DocumentHosts {
    /// Indentation of the key `hosts`, and of the hosts below it.
    hosts: Option<usize>,
    host: Option<usize>,
}

impl DocumentHosts {
    /// Processes a line of the document. Returns the host whose result starts.
    pub(super) fn track<'l>(&mut self, line: &'l [u8]) -> Option<&'l [u8]> {
        let indent = line.iter().take_while(|byte| **byte == b' ').count();
        let text = line[indent..].trim_ascii_end();
        if self.hosts.is_some_and(|hosts| indent <= hosts) {
            *self = Self::default();
        }
        if self.hosts.is_none() {
            if text == b"\"hosts\": {" {
                self.hosts = Some(indent);
            }
            return None;
        }
        let host = text.strip_suffix(b": {").and_then(|text| text.strip_prefix(b"\"")?.strip_suffix(b"\""))?;
        (*self.host.get_or_insert(indent) == indent).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_the_callbacks_are_recognized() {
        assert_eq!(adhoc(b"h1 | SUCCESS => {"), Some((b"h1".as_slice(), AdhocBody::Json)));
        assert_eq!(adhoc(b"h1 | FAILED! => {\"rc\": 1}"), Some((b"h1".as_slice(), AdhocBody::Json)));
        assert_eq!(adhoc(b"h1 | CHANGED | rc=0 | (stdout) x"), Some((b"h1".as_slice(), AdhocBody::Outputs)));
        assert_eq!(adhoc(b"h1 | FAILED | rc=3 >>"), Some((b"h1".as_slice(), AdhocBody::Raw)));
        for line in ["h1 | x => {", "a b | SUCCESS => {", "web-1  | SUCCESS", "h | SUCCESS | x"] {
            assert_eq!(adhoc(line.as_bytes()), None, "{line}");
        }
        assert_eq!(unixy(b"  h1 failed | item: 5: {"), Some(UnixyHead::Json(b"h1")));
        assert_eq!(unixy(b"  h1 done: {"), Some(UnixyHead::Json(b"h1")));
        assert_eq!(unixy(b"  h1 failed | msg: x | stdout: y"), Some(UnixyHead::Text));
        assert_eq!(unixy(b"  Retrying... (1 of 2)Result was: {"), Some(UnixyHead::Attempt));
        assert_eq!(unixy(b"  h1 done"), None);
        assert_eq!(unixy(b"    \"x\": {"), None);
        for (line, yaml) in [
            ("ok: [h] =>", true),
            ("ok: [h] => (item=1) => changed=true", true),
            ("fatal: [h]: FAILED! => changed=false rc=1", true),
            ("ok: [h] => {\"a\": 1}", false),
            ("ok: [h] => (item=a=b)", false),
            ("ok: [h]", false),
        ] {
            assert_eq!(precedes_yaml(line.as_bytes()), yaml, "{line}");
        }
    }

    #[test]
    fn hosts_of_a_document_are_recognized() {
        let mut hosts = DocumentHosts::default();
        let text =
            "{\n  \"hosts\": {\n    \"h1\": {\n      \"a\": {\n      }\n    },\n    \"h2\": {\n  },\n  \"x\": {\n}";
        let found: Vec<_> = text.lines().filter_map(|line| hosts.track(line.as_bytes())).collect();
        assert_eq!(found, [b"h1", b"h2"]);
    }
}
