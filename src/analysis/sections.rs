//! The sections of a log, in the notations of GitHub, Azure, GitLab, Buildkite and Ansible.

use std::sync::LazyLock;

use regex::Regex;

use super::rows::NdjsonRow;
use super::view::{SECTIONS_MAX, Section, cut};

/// Maximum number of sections inside each other; deeper ones are ignored.
const DEPTH_MAX: usize = 32;

/// GitLab: `section_start:1560896352:name[collapsed=true]\r\x1b[0KTitle`.
static GITLAB: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"section_(start|end):\d{1,12}:([A-Za-z0-9_.:-]{1,200})(?:\[[^\]\r]*\])?\r?(?:\x1b\[0?K)?([^\r]*)").ok()
});

/// The notation of a section, which decides what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends with `::endgroup::` or `##[endgroup]`.
    Group,
    /// Ends with `section_end` of this name.
    Named(String),
    /// Ends with the next heading of its rank, or of a lower one.
    Heading(u8),
}

/// The open sections of a log and the ended ones.
#[derive(Debug, Default)]
pub(super) struct SectionTracker {
    sections: Vec<Section>,
    /// Open sections, from the outside in: their index, and what ends them.
    open: Vec<(usize, Kind)>,
    /// A heading that may be the first line of a diff: the line, and the number of sections before it.
    heading: Option<Heading>,
    truncated: bool,
}

#[derive(Debug)]
struct Heading {
    n: u64,
    sections_before: usize,
    /// The headings that it ended.
    ended: Vec<(usize, Kind)>,
}

impl SectionTracker {
    /// Returns all sections so far.
    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Reports whether there were more sections than are kept.
    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Counts an error in the sections around it.
    pub(super) fn count_error(&mut self) {
        for (at, _) in &self.open {
            if let Some(section) = self.sections.get_mut(*at) {
                section.errors += 1;
            }
        }
    }

    /// Takes back the last error, if its sections are still open.
    pub(super) fn forget_error(&mut self) {
        for (at, _) in &self.open {
            if let Some(section) = self.sections.get_mut(*at) {
                section.errors = section.errors.saturating_sub(1);
            }
        }
    }

    /// Examines the stored text of a line for GitLab's markers, which are not displayed.
    pub(super) fn push_raw(&mut self, line: &NdjsonRow<'_>) {
        // A marker ends with a carriage return and an erased row.
        if !line.line.contains('\r') || !line.line.contains("section_") {
            return;
        }
        let Some(regex) = GITLAB.as_ref() else { return };
        for found in regex.captures_iter(&line.line) {
            let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
            let kind = Kind::Named(part(2).to_owned());
            if part(1) == "end" {
                self.end(line, &kind);
                continue;
            }
            let title = super::text::displayed(part(3)).into_owned();
            self.start(line, if title.trim().is_empty() { part(2) } else { &title }, kind);
        }
    }

    /// Examines the displayed text of a row.
    pub(super) fn push(&mut self, line: &NdjsonRow<'_>, text: &str) {
        match text.as_bytes().first() {
            Some(b':' | b'#') => self.push_command(line, text),
            Some(b'-' | b'+' | b'~') => self.push_heading(line, text),
            Some(b'@') if text.starts_with("@@ -") => self.take_back_diff(line.n),
            Some(b'P' | b'T' | b'R') => self.push_ansible(line, text),
            _ => {}
        }
    }

    fn push_command(&mut self, line: &NdjsonRow<'_>, text: &str) {
        if let Some(title) = text.strip_prefix("::group::").or_else(|| text.strip_prefix("##[group]")) {
            self.start(line, title, Kind::Group);
        } else if text.starts_with("::endgroup::") || text.starts_with("##[endgroup]") {
            self.end(line, &Kind::Group);
        }
    }

    /// Examines a heading of Buildkite. Go's results of tests begin like one, and so do the first lines of a diff.
    fn push_heading(&mut self, line: &NdjsonRow<'_>, text: &str) {
        let title =
            text.strip_prefix("--- ").or_else(|| text.strip_prefix("+++ ")).or_else(|| text.strip_prefix("~~~ "));
        let Some(title) = title.filter(|title| title.contains(char::is_alphanumeric)) else { return };
        let is_result = ["FAIL: ", "PASS: ", "SKIP: ", "BENCH: "].iter().any(|word| title.starts_with(word));
        if is_result || title.starts_with([' ', '-']) {
            return;
        }
        let before = self.heading.take().filter(|before| before.n + 1 == line.n);
        let ended = self.end_headings(line, 2);
        // The second line of a diff: it is the same heading, as far as taking it back is concerned.
        let second = before.filter(|_| text.starts_with("+++ "));
        let sections_before = second.as_ref().map_or(self.sections.len(), |first| first.sections_before);
        let ended = second.map_or(ended, |first| first.ended);
        self.heading = Some(Heading { n: line.n, sections_before, ended });
        self.start(line, title, Kind::Heading(2));
    }

    /// Takes back the two headings before `@@ -1,2 +1,2 @@`.
    fn take_back_diff(&mut self, n: u64) {
        let Some(heading) = self.heading.take().filter(|heading| heading.n + 1 == n) else { return };
        if heading.sections_before + 2 != self.sections.len() {
            return;
        }
        self.sections.truncate(heading.sections_before);
        self.open.retain(|(at, _)| *at < heading.sections_before);
        for (at, kind) in heading.ended {
            if let Some(section) = self.sections.get_mut(at) {
                (section.open, section.to, section.ended) = (true, None, None);
                self.open.push((at, kind));
            }
        }
    }

    /// Examines a heading of Ansible: `PLAY [all] ****`, `TASK [Install] ****`, `PLAY RECAP ****`.
    fn push_ansible(&mut self, line: &NdjsonRow<'_>, text: &str) {
        let Some(title) = text.trim_end().strip_suffix("***").map(|title| title.trim_end_matches('*').trim_end())
        else {
            return;
        };
        let is_play = title.starts_with("PLAY [") || title == "PLAY RECAP" || title.starts_with("PLAY RECAP");
        let is_task = title.starts_with("TASK [") || title.starts_with("RUNNING HANDLER [");
        if is_play || is_task {
            let rank = if is_play { 0 } else { 1 };
            self.end_headings(line, rank);
            self.start(line, title, Kind::Heading(rank));
        }
    }

    fn start(&mut self, line: &NdjsonRow<'_>, title: &str, kind: Kind) {
        if self.sections.len() >= SECTIONS_MAX || self.open.len() >= DEPTH_MAX {
            self.truncated = true;
            return;
        }
        let level = self.open.len();
        self.open.push((self.sections.len(), kind));
        self.sections.push(Section {
            title: cut(title),
            from: line.n,
            to: None,
            started: line.timestamp,
            ended: None,
            open: true,
            level,
            errors: 0,
        });
    }

    /// Ends the innermost section of this kind with its last line, and the sections inside it.
    fn end(&mut self, line: &NdjsonRow<'_>, kind: &Kind) {
        let Some(at) = self.open.iter().rposition(|(_, open)| open == kind) else { return };
        for (section, _) in self.open.split_off(at) {
            self.close(section, line.n, line);
        }
    }

    /// Ends the innermost headings of this rank or a higher one, before the line of the next heading.
    fn end_headings(&mut self, line: &NdjsonRow<'_>, rank: u8) -> Vec<(usize, Kind)> {
        let is_ended = |(_, kind): &(usize, Kind)| matches!(kind, Kind::Heading(of) if *of >= rank);
        let at = self.open.iter().rposition(|open| !is_ended(open)).map_or(0, |at| at + 1);
        let ended = self.open.split_off(at);
        for (section, _) in &ended {
            self.close(*section, line.n.saturating_sub(1), line);
        }
        ended
    }

    fn close(&mut self, section: usize, to: u64, line: &NdjsonRow<'_>) {
        if let Some(section) = self.sections.get_mut(section) {
            section.open = false;
            section.to = Some(to.max(section.from));
            section.ended = Some(line.timestamp);
        }
    }
}
