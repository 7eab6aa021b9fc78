//! Scripts of journal commands and what each of them leaves in the store: `data/golden/journal`.
//!
//! A change of how entries are packed, trimmed or recorded shows here as a change of a text.
//! `UPDATE_GOLDEN=1` writes the texts anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tasktail::journal::{AppendAck, Durability, Journal, LineBatch, PageLimits, Stream, Trim};
use tasktail::model::{Channel, EntryId, LineText, Timestamp};
use tempfile::TempDir;

struct Runner {
    folder: TempDir,
    journal: Option<Journal>,
}

impl Runner {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Some(Journal::open(folder.path(), Durability::Commit).unwrap());
        Self { folder, journal }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn stream(&self, name: &str) -> Arc<Stream> {
        self.journal().stream_or_new(name.as_bytes()).unwrap()
    }

    /// Every command, its answer, and the store after it.
    async fn run(&mut self, script: &str) -> String {
        let mut said = String::new();
        let mut before = String::new();
        for command in script.lines().filter(|line| !line.trim().is_empty()) {
            if command.starts_with('#') {
                writeln!(said, "{command}").unwrap();
                continue;
            }
            let words: Vec<&str> = command.split_whitespace().collect();
            let answer = self.command(&words).await;
            writeln!(said, "\n> {command}\n{answer}").unwrap();
            // Behind whatever the command left in the queue, such as the removal of an expired stream.
            self.journal().put_task(b"none", None).await.unwrap();
            let now = self.journal().store().dump().unwrap().to_string();
            match now.as_str() {
                "" => writeln!(said, "  (the store is empty)").unwrap(),
                now if now == before => writeln!(said, "  (the store is as it was)").unwrap(),
                now => now.lines().for_each(|line| writeln!(said, "  {line}").unwrap()),
            }
            before = now;
        }
        said
    }

    async fn command(&mut self, words: &[&str]) -> String {
        match *words {
            ["append", name, count, size] => self.append(name, LineBatch::new(), number(count), number(size)).await,
            ["send", name, session, first, count] => {
                self.append(name, LineBatch::with_session(session, number(first)), number(count), 20).await
            }
            ["trickle", name, count, size] => {
                for _ in 1..number(count) {
                    self.append(name, LineBatch::new(), 1, number(size)).await;
                }
                self.append(name, LineBatch::new(), 1, number(size)).await
            }
            ["trim", name, kind, at] => {
                let gone = self.journal().trim(&self.stream(name), self.trim(name, kind, number(at))).await.unwrap();
                format!("{gone} entries went")
            }
            ["compact", name] => {
                format!("{} blocks went", self.journal().compact(&self.stream(name)).await.unwrap())
            }
            ["read", name, from, lines] => self.read(name, number(from), number(lines)),
            ["acked", name, session] => format!("up to {}", self.stream(name).acked_seq(session)),
            ["expire", name, when] => {
                let at = match when {
                    "past" => Some(Timestamp::from_millis(1)),
                    "later" => Some(Timestamp::from_millis(u64::MAX)),
                    _ => None,
                };
                self.journal().expire_at(&self.stream(name), at).await.unwrap();
                format!("expires {when}")
            }
            ["find", name] => self.find(name),
            ["remove", name] => {
                self.journal().remove(&self.stream(name)).await.unwrap();
                "removed".to_owned()
            }
            ["reopen"] => {
                self.journal.take().unwrap().close().await;
                self.journal = Some(Journal::open(self.folder.path(), Durability::Commit).unwrap());
                format!("opening {}", self.journal().store().open_count())
            }
            _ => panic!("no such command: {words:?}"),
        }
    }

    async fn append(&self, name: &str, mut batch: LineBatch, count: u64, size: u64) -> String {
        for _ in 0..count {
            let text = "x".repeat(usize::try_from(size).unwrap()).into();
            let timestamp = Timestamp::from_millis(1_778_336_581_000);
            batch.push(&LineText { timestamp, text, ..LineText::default() });
        }
        let done = self.journal().append(&self.stream(name), batch, None).await.unwrap().await.unwrap();
        let AppendAck { first_line, last_line, count, acked_seq, .. } = done;
        let acked = acked_seq.map_or(String::new(), |seq| format!(", acked {seq}"));
        format!("{count} entries, lines {first_line}..{last_line}{acked}")
    }

    fn trim(&self, name: &str, kind: &str, at: u64) -> Trim {
        match kind {
            "maxlen" => Trim::MaxLen(at),
            "about-maxlen" => Trim::AboutMaxLen(at, 0),
            "minid-of-line" => Trim::MinId(self.id_of(name, at)),
            "about-minid-of-line" => Trim::AboutMinId(self.id_of(name, at), 0),
            "through-line" => Trim::ThroughLine(at),
            _ => panic!("no such trim: {kind}"),
        }
    }

    fn id_of(&self, name: &str, line: u64) -> EntryId {
        let page = self.journal().read(&self.stream(name), line, PageLimits { lines: 1, bytes: 1 }).unwrap();
        page.lines[0].id
    }

    /// Lines of the same kind one after another are told together.
    fn read(&self, name: &str, from: u64, lines: u64) -> String {
        let limits = PageLimits { lines: usize::try_from(lines).unwrap(), bytes: usize::MAX };
        let page = self.journal().read(&self.stream(name), from, limits).unwrap();
        let mut runs: Vec<(u64, u64, String)> = Vec::new();
        for line in &page.lines {
            let what = match line.channel {
                Channel::Internal => line.line.to_string(),
                _ => format!("{} bytes", line.line.len()),
            };
            match runs.last_mut().filter(|(_, last, same)| *same == what && last + 1 == line.n) {
                Some((_, last, _)) => *last = line.n,
                None => runs.push((line.n, line.n, what)),
            }
        }
        let mut said = format!("of {}..{}", page.first_line, page.last_line);
        for (first, last, what) in runs {
            write!(said, "; {first}..{last}: {what}").unwrap();
        }
        said
    }

    fn find(&self, name: &str) -> String {
        match self.journal().stream(name.as_bytes()).unwrap() {
            Some(stream) => {
                let tip = stream.tip();
                format!("lines {}..{}, {} bytes of all", tip.first_line, tip.last_line, tip.total_bytes)
            }
            None => "not there".to_owned(),
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden/journal");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "script")).collect();
    scripts.sort();
    scripts
}

#[tokio::test]
async fn scripts_produce_their_recorded_results() {
    let scripts = scripts();
    assert!(scripts.len() >= 5, "the scripts are found");
    let mut wrong = Vec::new();
    for path in scripts {
        let said = Runner::new().run(&std::fs::read_to_string(&path).unwrap()).await;
        let golden = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if let Some((at, (said, expected))) =
            said.lines().chain([""]).zip(expected.lines().chain([""])).enumerate().find(|(_, (a, b))| a != b)
        {
            let name = golden.file_name().unwrap().display();
            wrong.push(format!("{name}:{}: expected {expected:?}, it says {said:?}", at + 1));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes what it says now", wrong.join("\n"));
}
