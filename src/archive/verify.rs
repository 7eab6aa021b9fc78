//! Whether an archive is as it was written: every frame, every line, every sum, the index.
//!
//! Reads only, and is not put off by anything it finds: a fault is noted, and what can be read is
//! read on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, FrameRef};
use super::{Archives, seal};
use crate::model::{EntryId, GapReason, Integrity, Line, LineChecksum, LogTotals, Origin, SessionTotals, TaskId};

/// Faults of one archive that are told one by one.
const FAULTS_MAX: usize = 20;
/// Bytes that are looked through at once.
const REST_BYTES: usize = 1024 * 1024;

/// What was found in an archive.
#[derive(Clone, Debug, Default)]
pub struct ArchiveCheck {
    /// What is wrong, each in words.
    pub faults: Vec<String>,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal; empty if it could not be read.
    pub sha256: String,
    /// Lines inside.
    pub lines: u64,
    /// The first line inside; 0 if there is none.
    pub first_line: u64,
    /// The last line inside; 0 if there is none.
    pub last_line: u64,
    /// What the lines add up to, counted anew.
    pub tally: LogTotals,
    /// What the seal says of the lines.
    pub verdict: Option<Integrity>,
}

impl Archives {
    /// The folder as it is: nothing is made, and nothing may be written through it.
    pub fn open_read_only(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), bytes: Arc::default() }
    }

    /// The files of a task, as far as they are there: the sealed one, the growing one.
    pub fn files(&self, id: &TaskId) -> [Option<PathBuf>; 2] {
        [self.sealed_path(id), self.open_path(id)].map(|path| path.is_file().then_some(path))
    }

    /// Reads a whole archive. `read` is told of bytes as they are read; `kept_from` is as for
    /// [`Archives::archive`].
    ///
    /// # Errors
    /// The file cannot be opened. Everything else is a fault in the answer.
    pub fn check(
        path: &Path,
        sealed: bool,
        kept_from: Option<u64>,
        read: &mut dyn FnMut(u64),
    ) -> io::Result<ArchiveCheck> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut checker = Checker::behind(0);
        checker.found.bytes = size;
        let (mut at, mut torn) = (0, false);
        while let Some(row) = frame::read_note(&file, at, size).unwrap_or_default() {
            if !row.follows(checker.rows.last()) {
                checker.fault(format!("the note at byte {at} does not follow the frame before it"));
                break;
            }
            let unsure = kept_from.is_some_and(|line| row.last_line() >= line);
            let is_torn = (unsure && !is_whole(&file, checker.rows.last(), row))
                || (row.end() == size && frame::unpack(&file, &row).is_err());
            if !sealed && is_torn {
                // The next opening cuts it off, with what is behind it: those lines are in the journal.
                torn = true;
                break;
            }
            checker.frame(&file, row);
            read(row.end() - at);
            at = row.end();
        }
        if sealed {
            checker.tail(&file, at, size);
            match seal::hash(path) {
                Ok(sha256) => checker.found.sha256 = sha256,
                Err(error) => checker.fault(format!("it cannot be read: {error}")),
            }
        } else if !torn {
            checker.open_end(&file, at, size);
        }
        read(size.saturating_sub(at));
        Ok(checker.finish())
    }
}

/// Whether a frame is there with every byte, as far as it can be told from itself.
pub(super) fn is_whole(file: &File, before: Option<&FrameRef>, row: FrameRef) -> bool {
    let mut checker = Checker::behind(before.map_or(0, FrameRef::last_line));
    checker.frame(file, row);
    checker.found.faults.is_empty()
}

struct Checker {
    found: ArchiveCheck,
    rows: Vec<FrameRef>,
    last_id: EntryId,
    summed: Vec<u8>,
    /// Faults that are not told one by one.
    more: u64,
}

impl Checker {
    fn behind(last_line: u64) -> Self {
        Self {
            found: ArchiveCheck { last_line, ..ArchiveCheck::default() },
            rows: Vec::new(),
            last_id: EntryId::MIN,
            summed: Vec::new(),
            more: 0,
        }
    }

    fn fault(&mut self, what: String) {
        if self.found.faults.len() < FAULTS_MAX {
            self.found.faults.push(what);
        } else {
            self.more += 1;
        }
    }

    fn frame(&mut self, file: &File, row: FrameRef) {
        let at = row.at;
        let mut note = vec![0; frame::NOTE_BYTES as usize];
        let as_written =
            frame::note(&row).is_ok_and(|wanted| file.read_exact_at(&mut note, at).is_ok() && note == wanted);
        if !as_written {
            self.fault(format!("the note at byte {at} is not as it was written"));
        }
        let proof = frame::read_proof(file, &row).unwrap_or_else(|error| {
            self.fault(format!("the frame at byte {at}: {error}"));
            None
        });
        let hole = (self.found.last_line > 0 && row.first_line > self.found.last_line + 1)
            .then(|| (self.found.last_line + 1, row.first_line - 1));
        let mut tally = LogTotals::default();
        match frame::unpack(file, &row) {
            Ok(raw) => {
                let origins = proof.as_ref().map(|proof| &proof.origins);
                if origins.is_some_and(|origins| origins.lines() != u64::from(row.lines)) {
                    self.fault(format!("the proof at byte {at} does not speak of {} lines", row.lines));
                }
                let mut origins = origins.into_iter().flat_map(|origins| origins.each());
                self.lines(&raw, &row, &mut tally, &mut origins);
            }
            Err(error) => self.fault(format!(
                "the frame at byte {at} (lines {} to {}) cannot be read: {error}",
                row.first_line,
                row.last_line()
            )),
        }
        if let Some((from, to)) = hole {
            let told = proof.as_ref().is_some_and(|proof| proof.tally.has_hole(from, to));
            if told {
                tally.add_hole(from, to, GapReason::Quota);
            } else {
                self.fault(format!("lines {from} to {to} are missing, and nothing says why"));
            }
        }
        if proof.as_ref().is_some_and(|proof| proof.tally != tally) {
            self.fault(format!(
                "lines {} to {} do not add up to what was written down",
                row.first_line,
                row.last_line()
            ));
        }
        self.found.tally.merge(&tally);
        if self.found.first_line == 0 {
            self.found.first_line = row.first_line;
        }
        self.found.last_line = row.last_line().max(self.found.last_line);
        self.rows.push(row);
    }

    /// The lines of one frame: as many as its note says, numbered on, in the order of their ids.
    fn lines<'a>(
        &mut self,
        raw: &[u8],
        row: &FrameRef,
        tally: &mut LogTotals,
        origins: &mut dyn Iterator<Item = Origin<'a>>,
    ) {
        let mut wanted = row.first_line;
        let mut last = None;
        for json in raw.split(|byte| *byte == b'\n').filter(|json| !json.is_empty()) {
            match serde_json::from_slice::<Line<'_>>(json) {
                Ok(line) => {
                    if line.n != wanted {
                        self.fault(format!("line {} stands where line {wanted} belongs", line.n));
                    }
                    if line.id <= self.last_id {
                        self.fault(format!("the id {} of line {} does not follow {}", line.id, line.n, self.last_id));
                    }
                    if wanted == row.first_line && line.id != row.first_id {
                        self.fault(format!("the note before line {} names another id", line.n));
                    }
                    self.last_id = line.id;
                    last = Some(line.id);
                    self.found.lines += 1;
                    tally.add(origins.next().unwrap_or(Origin::Unknown), &line, &mut self.summed);
                }
                Err(error) => self.fault(format!("line {wanted} is no line: {error}")),
            }
            wanted = wanted.saturating_add(1);
        }
        let count = wanted - row.first_line;
        if count != u64::from(row.lines) {
            self.fault(format!(
                "the frame of line {} holds {count} lines, its note says {}",
                row.first_line, row.lines
            ));
        }
        if last.is_some_and(|id| id != row.last_id) {
            self.fault(format!("the note before line {} names another last id", row.first_line));
        }
    }

    /// What comes with the seal: every byte of it follows from the frames.
    fn tail(&mut self, file: &File, at: u64, size: u64) {
        let verdict = seal::read_verdict(file, at);
        match seal::read_index(file) {
            Ok(rows) if rows != self.rows => {
                self.fault(format!(
                    "its index names {} frames, of which {} are there as it says",
                    rows.len(),
                    same(&rows, &self.rows)
                ));
            }
            Ok(_) => {}
            Err(error) => return self.fault(format!("it is not sealed as it should be: {error}")),
        }
        let verdict = verdict.unwrap_or_else(|error| {
            self.fault(format!("its verdict cannot be read: {error}"));
            None
        });
        let wanted = seal::encode_tail(&self.rows, verdict.as_ref()).unwrap_or_default();
        let mut tail = vec![0; usize::try_from(size.saturating_sub(at)).unwrap_or(0).min(wanted.len() + 1)];
        if file.read_exact_at(&mut tail, at).is_err() || tail != wanted {
            self.fault(format!("what stands behind byte {at} is not index and seek table of these frames"));
        }
        if let Some(verdict) = &verdict {
            self.verdict(verdict);
        }
        self.found.verdict = verdict;
    }

    /// The seal was right when it said what the lines add up to.
    fn verdict(&mut self, verdict: &Integrity) {
        let Some(hash) = &verdict.hash else { return };
        let none = verdict.lines == 0 && *hash == LineChecksum::default().to_string();
        let holds = |tally: &SessionTotals| tally.lines == verdict.lines && tally.sum.to_string() == *hash;
        let held = self.found.tally.sessions().any(holds);
        if !none && !held && !self.found.tally.has_holes() {
            self.fault(format!("no session's lines are {} and add up to {hash}, as the seal says", verdict.lines));
        }
    }

    /// A growing archive may end in what a kill or a power cut has left of a frame, but no whole frame
    /// may follow.
    fn open_end(&mut self, file: &File, at: u64, size: u64) {
        let (mut from, mut rest) = (at, vec![0; REST_BYTES]);
        while from < size {
            let len = usize::try_from(size - from).unwrap_or(REST_BYTES).min(REST_BYTES);
            let Some(bytes) = rest.get_mut(..len).filter(|_| len >= 4) else { break };
            if let Err(error) = file.read_exact_at(bytes, from) {
                return self.fault(format!("it cannot be read: {error}"));
            }
            for offset in memchr::memmem::find_iter(bytes, &frame::NOTE_MAGIC.to_le_bytes()) {
                let next = from + offset as u64;
                if next > at && frame::read_note(file, next, size).is_ok_and(|row| row.is_some()) {
                    return self.fault(format!("the frame at byte {at} is damaged, and whole frames follow it"));
                }
            }
            // What begins in one piece may end in the next.
            from += (len as u64).saturating_sub(3).max(1);
        }
    }

    fn finish(mut self) -> ArchiveCheck {
        if self.more > 0 {
            self.found.faults.push(format!("and {} more faults", self.more));
        }
        self.found
    }
}

/// How many rows of two lists are the same.
fn same(a: &[FrameRef], b: &[FrameRef]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}
