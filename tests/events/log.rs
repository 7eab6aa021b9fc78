//! `events.jsonl` as one process and as several use it.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tasktail::events::{EventLog, StreamItem, SyncMode};
use tasktail::model::Event;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);
/// Set for a process of this test that only appends: its log and its number.
const WRITER: &str = "EVENT_LOG_TEST_WRITER";
const WRITERS: usize = 4;
const EVENTS_EACH: usize = 500;

fn event(text: &str) -> Event {
    Event::parse(text).unwrap()
}

fn step(n: usize) -> Event {
    event(&format!(
        r#"{{"event_id":"e{n}","event_type":"step.started","run_id":"r","timestamp_utc":"2026-02-16T23:05:12.943301+00:00","actor":"runner","attempt":0,"step_id":"s{n}"}}"#
    ))
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    (folder, path)
}

fn put(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn the_file_and_its_folder_are_made_and_only_the_owner_reads_it() {
    let (folder, _) = folder();
    let log = EventLog::new(folder.path().join("runs/r1/events.jsonl"));
    assert!(log.read_all().unwrap_err().to_string().contains("events.jsonl"), "it is not there yet");
    log.append(&[step(1), step(2)], SyncMode::Flush).unwrap();
    log.append(&[step(3)], SyncMode::Disk).unwrap();
    log.append(&[], SyncMode::Disk).unwrap();
    assert_eq!(std::fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(log.path()).unwrap();
    let expected: String = (1..=3).map(|n| format!("{}\n", step(n))).collect();
    assert_eq!(text, expected, "as it came: compact, in order, nothing added");
}

#[test]
fn events_are_kept_without_null_with_an_id_and_a_time() {
    let (_folder, path) = folder();
    let log = EventLog::new(&path);
    let bare = [
        event(r#"{"event_type":"step.failed","reason":null,"x":{"y":null}}"#),
        event(r#"{"host":"h","workload":"w","repetition":1,"status":"done","error_type":null}"#),
        event(r#"{"host":"h","workload":"w","repetition":1,"status":"done","timestamp":0.0,"event_id":"mine"}"#),
    ];
    log.append(&bare, SyncMode::Flush).unwrap();
    let kept: Vec<Event> = log.read_all().unwrap().events.into_iter().map(|logged| logged.event).collect();
    assert!(kept[0].as_str().starts_with(r#"{"event_type":"step.failed","x":{"y":null},"event_id":""#), "{}", kept[0]);
    let (first, second) = (kept[0].view(), kept[1].view());
    assert!(first.timestamp_utc.is_some() && first.timestamp.is_none() && first.origin().is_some());
    assert!(second.timestamp.is_some() && second.timestamp_utc.is_none() && second.origin().is_some());
    assert!(!kept[1].as_str().contains("null"), "{}", kept[1]);
    let id = first.event_id.unwrap();
    assert!(id.len() == 26 && !id.contains(|c: char| c.is_ascii_uppercase()), "{id}");
    assert_ne!(Some(id), second.event_id);
    assert_eq!(kept[2], bare[2], "what has both is as it was");
}

#[test]
fn formats_2_1_a_half_last_line_is_a_fault_and_nothing_else_is_lost() {
    let (_folder, path) = folder();
    let log = EventLog::new(&path);
    log.append(&[step(1), step(2)], SyncMode::Flush).unwrap();
    let good = std::fs::metadata(&path).unwrap().len();
    put(&path, br#"{"event_type":"step.st"#);
    for found in [log.read_all().unwrap(), log.tail(10).unwrap()] {
        assert_eq!(found.events.len(), 2);
        let fault = &found.faults[0];
        assert_eq!((found.faults.len(), fault.offset, &fault.fault), (1, good, &None));
        assert_eq!(fault.excerpt, r#"{"event_type":"step.st"#);
    }
    assert_eq!(log.read_all().unwrap().faults[0].line, 3);
    assert_eq!(log.tail(1).unwrap().events[0].event, step(2));
    // The writer was killed; the next one begins a line of its own.
    EventLog::new(&path).append(&[step(3)], SyncMode::Flush).unwrap();
    let found = log.read_all().unwrap();
    assert_eq!(found.events.iter().map(|logged| logged.line).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(found.faults[0].fault.as_ref().unwrap().reason(), "not_json");
}

#[test]
fn formats_2_1_a_bad_line_costs_only_itself() {
    let (_folder, path) = folder();
    let mut bytes = format!("{}\r\n\n  \n", step(1)).into_bytes();
    bytes.extend_from_slice(b"{\"event_type\": nonsense\n\xff\xfe caf\xe9\n[1]\n{\"host\":\"h\"}\n");
    let offset = bytes.len() as u64;
    bytes.extend_from_slice(format!("{}\n\0\0\0 nonsense\n{}", step(2), step(3)).as_bytes());
    put(&path, &bytes);
    let log = EventLog::new(&path);
    let found = log.read_all().unwrap();
    let places: Vec<(u64, &Event)> = found.events.iter().map(|logged| (logged.line, &logged.event)).collect();
    // The last has no newline, but an object that is closed is whole.
    assert_eq!(places, [(1, &step(1)), (8, &step(2)), (10, &step(3))]);
    assert_eq!(found.events[1].offset, offset);
    let faults: Vec<_> = found.faults.iter().map(|f| (f.line, f.fault.as_ref().unwrap().reason())).collect();
    assert_eq!(faults, [(4, "not_json"), (5, "not_json"), (6, "not_an_object"), (7, "missing_field"), (9, "not_json")]);
    assert_eq!(found.faults[1].excerpt, "\u{fffd}\u{fffd} caf\u{fffd}");
    let tail = log.tail(2).unwrap();
    assert_eq!(tail.events.iter().map(|logged| &logged.event).collect::<Vec<_>>(), [&step(2), &step(3)]);
    assert_eq!((tail.faults.len(), tail.faults[0].line), (1, 0), "lines before are not counted");
}

#[test]
fn tail_does_not_read_earlier_events() {
    let (_folder, path) = folder();
    let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    // A hole of a size that nobody reads by accident.
    file.set_len(1 << 40).unwrap();
    put(&path, b"\n");
    let log = EventLog::new(&path);
    for n in 0..100 {
        log.append(&[step(n)], SyncMode::Flush).unwrap();
    }
    let found = log.tail(20).unwrap();
    let expected: Vec<Event> = (80..100).map(step).collect();
    assert_eq!(found.events.into_iter().map(|logged| logged.event).collect::<Vec<_>>(), expected);
}

#[test]
fn a_log_that_was_rotated_or_deleted_is_begun_again() {
    let (folder, path) = folder();
    let log = EventLog::new(&path);
    log.append(&[step(1)], SyncMode::Flush).unwrap();
    std::fs::rename(&path, folder.path().join("events.jsonl.1")).unwrap();
    log.append(&[step(2)], SyncMode::Flush).unwrap();
    assert_eq!(log.read_all().unwrap().events[0].event, step(2));
    std::fs::remove_file(&path).unwrap();
    log.append(&[step(3)], SyncMode::Disk).unwrap();
    let found = log.read_all().unwrap();
    assert_eq!((found.events.len(), &found.events[0].event), (1, &step(3)));
}

#[test]
fn an_event_that_is_appended_can_be_read_however_long_it_is() {
    let (_folder, path) = folder();
    let log = EventLog::new(&path);
    let long = |bytes: usize| {
        let text = r#"{"event_type":"x","pad":""}"#;
        event(&format!("{}{}\"}}", &text[..text.len() - 2], "p".repeat(bytes - text.len())))
    };
    let mut kept = 0;
    for bytes in [200, 1024 * 1024, 1024 * 1024 - 20, 1024 * 1024 - 200] {
        kept += usize::from(log.append(&[long(bytes)], SyncMode::Flush).is_ok());
        let found = log.read_all().unwrap();
        assert_eq!((found.events.len(), found.faults.len()), (kept, 0), "{bytes}");
    }
    assert_eq!(kept, 2);
}

/// formats 2.1: nothing there guards a short write or a full disk.
#[test]
fn an_event_that_is_not_kept_is_an_error_that_names_the_file() {
    let (folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    let error = EventLog::new(path.join("events.jsonl")).append(&[step(1)], SyncMode::Flush).unwrap_err();
    assert!(error.to_string().starts_with("cannot append to "), "{error}");
    let error = EventLog::new(folder.path()).append(&[step(1)], SyncMode::Flush).unwrap_err();
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    if Path::new("/dev/full").exists() {
        EventLog::new("/dev/full").append(&[step(1)], SyncMode::Flush).unwrap_err();
    }
}

#[test]
fn threads_that_wait_for_the_disk_share_a_log() {
    let (_folder, path) = folder();
    let log = EventLog::new(&path);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || (0..20).for_each(|n| log.append(&[step(thread * 100 + n)], SyncMode::Disk).unwrap()));
        }
    });
    let found = log.read_all().unwrap();
    let ids: HashSet<&str> = found.events.iter().map(|logged| logged.event.as_str()).collect();
    assert_eq!((found.events.len(), ids.len(), found.faults.len()), (160, 160, 0));
}

/// Not a test of its own: what the processes of the next one do.
#[test]
fn writer() {
    let Ok(writer) = std::env::var(WRITER) else { return };
    let (number, path) = writer.split_once(':').unwrap();
    let log = EventLog::new(path);
    let number: usize = number.parse().unwrap();
    for n in 0..EVENTS_EACH {
        let fill = "x".repeat((n * 37) % 5_000);
        let text = format!(r#"{{"event_id":"{number}-{n}","event_type":"step.started","fill":"{fill}"}}"#);
        log.append(&[event(&text)], SyncMode::Flush).unwrap();
        // One that dies in the middle of a line, now and then.
        if number == 0 && n % 50 == 0 {
            let file = OpenOptions::new().append(true).open(log.path()).unwrap();
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
            (&file).write_all(br#"{"event_id":"torn"#).unwrap();
        }
    }
}

#[test]
fn formats_1_8_lines_of_several_processes_are_never_glued() {
    let (_folder, path) = folder();
    let start = |number: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "log::writer", "--quiet"]).env(WRITER, format!("{number}:{}", path.display()));
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut writers: Vec<_> = (0..WRITERS).map(start).collect();
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let found = EventLog::new(&path).read_all().unwrap();
    for number in 0..WRITERS {
        let prefix = format!("{number}-");
        let mine = found.events.iter().map(|logged| logged.event.view().event_id.unwrap().to_string());
        let mine: Vec<String> = mine.filter(|id| id.starts_with(&prefix)).collect();
        let expected: Vec<String> = (0..EVENTS_EACH).map(|n| format!("{number}-{n}")).collect();
        assert_eq!(mine, expected, "each once, in its writer's order");
    }
    assert_eq!(found.events.len(), WRITERS * EVENTS_EACH);
    assert!(found.faults.iter().all(|fault| fault.excerpt.starts_with(r#"{"event_id":"torn"#)), "{:?}", found.faults);
    assert!(!found.faults.is_empty(), "the torn ones are told");
}

#[tokio::test]
async fn formats_2_1_a_stream_really_follows() {
    let (folder, path) = folder();
    let log = EventLog::new(&path);
    let next = async |stream: &mut tasktail::events::EventStream| timeout(LIMIT, stream.next()).await.unwrap().unwrap();
    let mut stream = log.stream(false).unwrap();
    assert!(matches!(next(&mut stream).await, StreamItem::Notice(_)), "it is waited for");
    assert_eq!(next(&mut stream).await, StreamItem::CaughtUp);
    log.append(&[step(1)], SyncMode::Flush).unwrap();
    assert!(matches!(next(&mut stream).await, StreamItem::Notice(_)), "it is there");
    let place = |item: StreamItem| match item {
        StreamItem::Event(logged) => (logged.line, logged.offset, logged.event.to_string()),
        StreamItem::Fault(fault) => (fault.line, fault.offset, fault.excerpt),
        other => panic!("{other:?}"),
    };
    let bytes = step(1).as_str().len() as u64 + 1;
    assert_eq!(place(next(&mut stream).await), (1, 0, step(1).to_string()));
    assert_eq!(next(&mut stream).await, StreamItem::CaughtUp);
    put(&path, b"\nnonsense\n{\"event_type\":");
    assert_eq!(place(next(&mut stream).await), (3, bytes + 1, "nonsense".to_owned()));
    assert_eq!(next(&mut stream).await, StreamItem::CaughtUp);
    // Both halves of a line that is written in two.
    put(&path, b"\"x\"}\n");
    assert_eq!(place(next(&mut stream).await), (4, bytes + 10, r#"{"event_type":"x"}"#.to_owned()));
    assert_eq!(next(&mut stream).await, StreamItem::CaughtUp);
    // One that begins now is told only what comes now.
    let mut late = log.stream(false).unwrap();
    log.append(&[step(2)], SyncMode::Flush).unwrap();
    let (line, offset, text) = place(next(&mut late).await);
    assert_eq!((line, text), (0, step(2).to_string()));
    assert_eq!(place(next(&mut stream).await), (5, offset, step(2).to_string()));
    std::fs::rename(&path, folder.path().join("events.jsonl.1")).unwrap();
    log.append(&[step(3)], SyncMode::Flush).unwrap();
    let mut items = Vec::new();
    while items.len() < 2 {
        match next(&mut late).await {
            StreamItem::CaughtUp => {}
            item => items.push(item),
        }
    }
    assert!(matches!(items[0], StreamItem::Notice(_)), "{items:?}");
    assert_eq!(place(items.remove(1)), (1, 0, step(3).to_string()));
}
