//! A growing file and all that is done to it while somebody follows.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::poll;
use tasktail::events::{FileFollower, FollowFileOptions, FollowItem, FollowNotice, LINE_HELD_BYTES_MAX};
use tokio::time::timeout;

/// Nothing here takes longer, whatever hangs.
const LIMIT: Duration = Duration::from_secs(30);
/// A poll that never comes: what arrives was told by the system.
const NEVER: Duration = Duration::from_secs(3_600);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("a.log")
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }
}

fn put(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn follow(path: &Path, from_start: bool) -> FileFollower {
    FileFollower::new(path, FollowFileOptions { from_start, poll: NEVER }).unwrap()
}

async fn next(follower: &mut FileFollower) -> FollowItem {
    timeout(LIMIT, follower.next()).await.expect("something comes").unwrap()
}

/// What comes up to the present: texts, and the notices as words in `<>`.
async fn drain(follower: &mut FileFollower) -> String {
    let mut seen = String::new();
    loop {
        let Poll::Ready(found) = poll!(pin!(follower.next())) else { return seen };
        match found.unwrap() {
            FollowItem::Lines { bytes, .. } => seen.push_str(std::str::from_utf8(&bytes).unwrap()),
            FollowItem::Notice(notice) => seen.push_str(&word(&notice)),
            FollowItem::CaughtUp => {}
        }
    }
}

fn word(notice: &FollowNotice) -> String {
    let debug = format!("{notice:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len());
    format!("<{}>", &debug[..end])
}

/// Waits until so much text came, by the system's word alone.
async fn until(follower: &mut FileFollower, expected: &str) {
    let mut seen = String::new();
    while !seen.ends_with(expected) {
        match next(follower).await {
            FollowItem::Lines { bytes, .. } => seen.push_str(std::str::from_utf8(&bytes).unwrap()),
            FollowItem::Notice(notice) => seen.push_str(&word(&notice)),
            FollowItem::CaughtUp => {}
        }
        assert!(seen.len() <= expected.len() + 200, "{seen} instead of {expected}");
    }
}

#[tokio::test]
async fn lines_have_positions_and_silence_is_reported_once() {
    let folder = Folder::new();
    put(&folder.log(), "one\ntwo\n");
    let mut follower = follow(&folder.log(), true);
    let both = FollowItem::Lines { bytes: "one\ntwo\n".into(), offset: 0 };
    assert_eq!(next(&mut follower).await, both);
    assert_eq!(next(&mut follower).await, FollowItem::CaughtUp);
    assert!(poll!(pin!(follower.next())).is_pending(), "told once");
    put(&folder.log(), "three\n");
    assert_eq!(next(&mut follower).await, FollowItem::Lines { bytes: "three\n".into(), offset: 8 });
    assert_eq!((next(&mut follower).await, follower.offset()), (FollowItem::CaughtUp, 14));
}

#[tokio::test]
async fn formats_1_8_a_half_line_is_waited_for() {
    let folder = Folder::new();
    put(&folder.log(), "{\"a\":1}\n{\"b\":");
    let mut follower = follow(&folder.log(), true);
    assert_eq!(drain(&mut follower).await, "{\"a\":1}\n");
    put(&folder.log(), "2");
    assert_eq!(drain(&mut follower).await, "");
    put(&folder.log(), "}\n{\"c\":3}\n");
    assert_eq!(drain(&mut follower).await, "{\"b\":2}\n{\"c\":3}\n");
}

#[tokio::test]
async fn formats_1_8_events_between_creation_and_start_are_read() {
    let folder = Folder::new();
    put(&folder.log(), "old\nha");
    let mut follower = follow(&folder.log(), false);
    put(&folder.log(), "lf\nnew\n");
    assert_eq!(drain(&mut follower).await, "half\nnew\n", "a line is whole or not there");
}

#[tokio::test]
async fn formats_1_8_a_rewrite_with_larger_content_is_seen() {
    let folder = Folder::new();
    put(&folder.log(), "old 1\nold 2\nha");
    for from_start in [true, false] {
        std::fs::write(folder.log(), "old 1\nold 2\nha").unwrap();
        let mut follower = follow(&folder.log(), from_start);
        drain(&mut follower).await;
        std::fs::write(folder.log(), "new 1\nnew 2\nnew 3\nnew 4\n").unwrap();
        assert_eq!(drain(&mut follower).await, "ha\n<Torn><Rewritten>new 1\nnew 2\nnew 3\nnew 4\n");
        std::fs::write(folder.log(), "net 1\nnet 2\nnet 3\nnet 4\n").unwrap();
        assert_eq!(drain(&mut follower).await, "<Rewritten>net 1\nnet 2\nnet 3\nnet 4\n", "of the same size too");
    }
}

#[tokio::test]
async fn truncation_is_reported_and_the_rest_is_read() {
    let folder = Folder::new();
    put(&folder.log(), "one\ntwo\n");
    let mut follower = follow(&folder.log(), false);
    std::fs::write(folder.log(), "3\n").unwrap();
    let told = FollowItem::Notice(FollowNotice::Truncated { read: 8 });
    assert_eq!(next(&mut follower).await, told);
    assert_eq!(next(&mut follower).await, FollowItem::Lines { bytes: "3\n".into(), offset: 0 });
    // A copy is made, then the file emptied, as logrotate's copytruncate does; then a real rotation.
    std::fs::copy(folder.log(), folder.path("a.log.1")).unwrap();
    std::fs::write(folder.log(), "").unwrap();
    assert_eq!(drain(&mut follower).await, "<Truncated>");
    put(&folder.log(), "4\n");
    assert_eq!(drain(&mut follower).await, "4\n");
    put(&folder.log(), "more\n");
    std::fs::copy(folder.log(), folder.path("a.log.2")).unwrap();
    std::fs::write(folder.log(), "").unwrap();
    assert_eq!(drain(&mut follower).await, "more\n<Truncated>", "what was not read yet is in the copy");
    put(&folder.log(), "4\n");
    folder.rename("a.log.2", "a.log.3");
    folder.rename("a.log.1", "a.log.2");
    folder.rename("a.log", "a.log.1");
    put(&folder.log(), "5\n");
    assert_eq!(drain(&mut follower).await, "4\n<Rotated>5\n", "the copy is not read again");
}

#[tokio::test]
async fn a_replaced_file_is_read_to_its_end() {
    let folder = Folder::new();
    put(&folder.log(), "one\n");
    let mut follower = follow(&folder.log(), true);
    assert_eq!(drain(&mut follower).await, "one\n");
    put(&folder.log(), "two\n");
    folder.rename("a.log", "a.log.1");
    put(&folder.log(), "");
    // The writer has the old one open still.
    put(&folder.path("a.log.1"), "three\nhalf a l");
    assert_eq!(drain(&mut follower).await, "two\nthree\n");
    put(&folder.path("a.log.1"), "ine\nhalf");
    put(&folder.log(), "four\n");
    assert_eq!(drain(&mut follower).await, "half a line\nhalf\n<Torn><Rotated>four\n");
    // A copy of what was read, made by hand, is no file that had the name.
    std::fs::copy(folder.log(), folder.path("a.log.2026-02-16")).unwrap();
    folder.rename("a.log", "a.log.0");
    put(&folder.log(), "five\n");
    assert_eq!(drain(&mut follower).await, "<Rotated>five\n");
}

#[tokio::test]
async fn a_writer_that_appends_to_the_rotated_file_loses_nothing() {
    let folder = Folder::new();
    put(&folder.log(), "one\n");
    let mut follower = follow(&folder.log(), true);
    folder.rename("a.log", "a.log.1");
    put(&folder.log(), "two\n");
    assert_eq!(drain(&mut follower).await, "one\n<Rotated>two\n");
    put(&folder.path("a.log.1"), "late\n");
    put(&folder.log(), "three\n");
    assert_eq!(drain(&mut follower).await, "three\n<Late>late\n");
    put(&folder.log(), "four\n");
    assert_eq!(drain(&mut follower).await, "four\n");
}

#[tokio::test]
async fn several_rotations_between_two_polls_lose_nothing() {
    let folder = Folder::new();
    put(&folder.path("a.log.1"), "from before\n");
    put(&folder.path("a.log.lock"), "no log\n");
    put(&folder.log(), "one\n");
    let mut follower = follow(&folder.log(), true);
    assert_eq!(drain(&mut follower).await, "one\n");
    for text in ["two\n", "three\n", "four\n", "five"] {
        for n in (1..6).rev().filter(|n| folder.path(&format!("a.log.{n}")).exists()) {
            folder.rename(&format!("a.log.{n}"), &format!("a.log.{}", n + 1));
        }
        folder.rename("a.log", "a.log.1");
        put(&folder.log(), text);
    }
    assert_eq!(drain(&mut follower).await, "<Rotated>two\n<Rotated>three\n<Rotated>four\n<Rotated>");
    put(&folder.path("a.log.3.gz"), "not ours to read");
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    OpenOptions::new().append(true).open(folder.path("a.log.3.gz")).unwrap().set_modified(later).unwrap();
    folder.rename("a.log", "a.log.0");
    put(&folder.log(), "six\n");
    assert_eq!(drain(&mut follower).await, "five\n<Torn><Missed><Rotated>six\n", "what cannot be read is told");
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end_and_a_new_one_waited_for() {
    let folder = Folder::new();
    put(&folder.log(), "one\n");
    let options = FollowFileOptions { from_start: true, poll: Duration::from_millis(20) };
    let mut follower = FileFollower::new(folder.log(), options).unwrap();
    let mut writer = OpenOptions::new().append(true).open(folder.log()).unwrap();
    until(&mut follower, "one\n").await;
    std::fs::remove_file(folder.log()).unwrap();
    until(&mut follower, "<Waiting>").await;
    writer.write_all(b"two\n").unwrap();
    until(&mut follower, "two\n").await;
    put(&folder.log(), "three\n");
    until(&mut follower, "<Rotated>three\n").await;
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_read_from_its_first_byte() {
    let folder = Folder::new();
    let path = folder.path("runs/r1/a.log");
    let mut follower =
        FileFollower::new(&path, FollowFileOptions { from_start: false, poll: Duration::from_millis(20) }).unwrap();
    assert_eq!(next(&mut follower).await, FollowItem::Notice(FollowNotice::Waiting));
    assert_eq!(next(&mut follower).await, FollowItem::CaughtUp);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    put(&path, "one\n");
    assert_eq!(next(&mut follower).await, FollowItem::Notice(FollowNotice::Appeared));
    assert_eq!(next(&mut follower).await, FollowItem::Lines { bytes: "one\n".into(), offset: 0 });
}

#[tokio::test]
async fn formats_1_4_a_line_arrives_when_written_not_at_the_next_poll() {
    let folder = Folder::new();
    let mut follower = follow(&folder.log(), false);
    assert_eq!(next(&mut follower).await, FollowItem::Notice(FollowNotice::Waiting));
    let path = folder.log();
    let (sender, mut lines) = tokio::sync::mpsc::channel(1);
    let reader = tokio::spawn(async move {
        loop {
            if let FollowItem::Lines { bytes, .. } = next(&mut follower).await {
                sender.send(bytes).await.unwrap();
                if follower.path().with_extension("end").exists() {
                    return;
                }
            }
        }
    });
    let open = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
    // Kept open: closing would be told as well.
    let mut writer = open();
    for n in 0..50 {
        if n == 30 {
            folder.rename("a.log", "a.log.1");
            writer = open();
        }
        if n == 49 {
            put(&folder.path("a.end"), "");
        }
        writer.write_all(format!("{n}\n").as_bytes()).unwrap();
        let line = timeout(LIMIT, lines.recv()).await.expect("at once").unwrap();
        assert_eq!(line, format!("{n}\n"));
    }
    reader.await.unwrap();
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_a_rotation() {
    let folder = Folder::new();
    for pod in ["pod-1", "pod-2"] {
        std::fs::create_dir(folder.path(pod)).unwrap();
    }
    put(&folder.path("pod-1/0.log"), "one\n");
    std::os::unix::fs::symlink("pod-1/0.log", folder.log()).unwrap();
    let mut follower = follow(&folder.log(), true);
    until(&mut follower, "one\n").await;
    assert_eq!(next(&mut follower).await, FollowItem::CaughtUp);
    put(&folder.path("pod-1/0.log"), "two\n");
    until(&mut follower, "two\n").await;
    put(&folder.path("pod-2/0.log"), "three\n");
    std::os::unix::fs::symlink("pod-2/0.log", folder.path("next")).unwrap();
    folder.rename("next", "a.log");
    until(&mut follower, "<Rotated>three\n").await;
    assert_eq!(next(&mut follower).await, FollowItem::CaughtUp);
    put(&folder.path("pod-2/0.log"), "four\n");
    until(&mut follower, "four\n").await;
}

#[tokio::test]
async fn a_line_above_the_limit_is_split() {
    let folder = Folder::new();
    let long = "x".repeat(LINE_HELD_BYTES_MAX + 3_000_000);
    put(&folder.log(), &format!("one\n{long}"));
    let mut follower = follow(&folder.log(), true);
    let seen = drain(&mut follower).await;
    assert!(seen.starts_with("one\n<TooLong>xxx"), "{}", &seen[..20]);
    put(&folder.log(), "y\ntwo\n");
    let rest = drain(&mut follower).await;
    assert!(rest.ends_with("y\ntwo\n"));
    assert_eq!(format!("{seen}{rest}").replace("<TooLong>", ""), format!("one\n{long}y\ntwo\n"));
}

#[test]
fn a_folder_cannot_be_followed() {
    let folder = Folder::new();
    let error = FileFollower::new(folder.0.path(), FollowFileOptions::default()).unwrap_err();
    assert!(error.to_string().contains("regular file"), "{error}");
}

/// A small generator: its seed is all that is needed to see a failure again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A writer that does to its file what writers and their keepers do.
struct Writer {
    folder: Folder,
    random: Random,
    lines: u64,
    /// What a follower has to give.
    expected: String,
    /// What stands behind the file's last newline.
    half: String,
    /// Rotations since the follower looked.
    rotations: u64,
}

impl Writer {
    fn line(&mut self) -> String {
        self.lines += 1;
        let fill = match self.random.below(50) {
            0 => 200_000,
            _ => self.random.below(60),
        };
        format!("{} {}", self.lines, "x".repeat(usize::try_from(fill).unwrap()))
    }

    fn append(&mut self) {
        let mut text = String::new();
        for _ in 0..=self.random.below(4) {
            let line = self.line();
            text.push_str(&format!("{line}\n"));
            self.expected.push_str(&format!("{}{line}\n", std::mem::take(&mut self.half)));
        }
        if self.random.below(2) == 0 {
            self.half = self.line();
            text.push_str(&self.half);
        }
        put(&self.folder.log(), &text);
    }

    /// The file's content comes to its end.
    fn end(&mut self) {
        if !self.half.is_empty() {
            self.expected.push_str(&format!("{}\n", std::mem::take(&mut self.half)));
        }
    }

    fn shift(&self) {
        for n in (1..40).rev().filter(|n| self.folder.path(&format!("a.log.{n}")).exists()) {
            self.folder.rename(&format!("a.log.{n}"), &format!("a.log.{}", n + 1));
        }
        std::fs::remove_file(self.folder.path("a.log.40")).ok();
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        self.shift();
        self.folder.rename("a.log", "a.log.1");
        self.end();
        if self.random.below(2) == 0 {
            put(&self.folder.log(), "");
        } else {
            self.append();
        }
    }
}

async fn storm(seed: u64) {
    let mut writer = Writer {
        folder: Folder::new(),
        random: Random(seed),
        lines: 0,
        expected: String::new(),
        half: String::new(),
        rotations: 0,
    };
    let path = writer.folder.log();
    let mut follower = follow(&path, true);
    let mut seen = String::new();
    for step in 0..400 {
        match writer.random.below(12) {
            0..=5 => writer.append(),
            6 if path.exists() => writer.rotate(),
            // What follows destroys bytes: the follower must have had them.
            what => {
                seen.push_str(&drain(&mut follower).await);
                writer.rotations = 0;
                match what {
                    7 if path.exists() => {
                        std::fs::write(&path, "").unwrap();
                        writer.end();
                        // Seen as shorter, or as other where it has grown beyond what was read.
                        writer.append();
                    }
                    // (A copy of a file that nobody has begun to read cannot be told from a successor.)
                    8 if std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) => {
                        // What is copied is not lost, whether or not it was read.
                        writer.append();
                        writer.shift();
                        std::fs::copy(&path, writer.folder.path("a.log.1")).unwrap();
                        OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
                        writer.end();
                        writer.append();
                    }
                    9 if path.exists() => {
                        std::fs::remove_file(&path).unwrap();
                        writer.end();
                        writer.append();
                    }
                    10 if path.exists() => {
                        // Written beside it and put in its place.
                        writer.end();
                        let line = writer.line();
                        put(&writer.folder.path("new"), &format!("{line}\n"));
                        writer.folder.rename("new", "a.log");
                        writer.expected.push_str(&format!("{line}\n"));
                    }
                    _ => {}
                }
            }
        }
        if writer.rotations > 5 || step % 17 == 0 {
            seen.push_str(&drain(&mut follower).await);
            writer.rotations = 0;
        }
    }
    writer.append();
    seen.push_str(&drain(&mut follower).await);
    for notice in ["Waiting", "Appeared", "Truncated", "Rotated", "Rewritten", "Torn"] {
        seen = seen.replace(&format!("<{notice}>"), "");
    }
    let differs = seen.lines().zip(writer.expected.lines()).position(|(one, other)| one != other);
    let line =
        |text: &str| text.lines().nth(differs.unwrap_or(0)).map(|line| line.chars().take(80).collect::<String>());
    assert!(
        seen == writer.expected,
        "seed {seed}: {} of {} bytes; line {differs:?} is {:?} instead of {:?}",
        seen.len(),
        writer.expected.len(),
        line(&seen),
        line(&writer.expected),
    );
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_doubled_whatever_the_writer_does() {
    let seeds = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).map_or(1..=12, |seed| seed..=seed);
    for seed in seeds {
        storm(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)).await;
    }
}
