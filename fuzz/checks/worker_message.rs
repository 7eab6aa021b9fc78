//! Any text of a worker: it is a message, or an error that names what is wrong; what was taken can
//! be stored, and what our own worker would send of it is read as the same.

use tasktail::model::Timestamp;
use tasktail::model::limits::SESSION_BYTES_MAX;
use tasktail::wire::worker::{OutgoingLine, OutgoingMessage, WorkerMessage};

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = Timestamp::from_millis(1_778_336_581_000);
    match WorkerMessage::parse(text, now) {
        Err(error) => assert!(!error.code.is_empty() && !error.message.is_empty()),
        Ok(WorkerMessage::TaskStart(start)) => {
            assert!((1..=SESSION_BYTES_MAX).contains(&start.session.len()), "{}", start.session.len());
        }
        Ok(WorkerMessage::Lines { task, first_seq, lines }) => {
            let taken = lines.iter().flatten();
            let again = taken.map(|line| OutgoingLine {
                line: &line.line.text,
                timestamp: line.line.timestamp,
                channel: line.line.channel,
                partial: line.line.partial,
                lossy: line.line.lossy,
            });
            let lines_again = again.collect::<Vec<_>>();
            let first_seq = first_seq.unwrap_or(1).max(1);
            let message =
                OutgoingMessage::LogLines { work_request_id: task.id.as_str(), first_seq, lines: lines_again };
            let json = serde_json::to_string(&message).unwrap();
            let Ok(WorkerMessage::Lines { task: task_again, lines: read, .. }) = WorkerMessage::parse(&json, now)
            else {
                panic!("{json}")
            };
            assert_eq!(task_again.id, task.id);
            let texts =
                |line: &tasktail::wire::worker::ReceivedLine<'_>| (line.line.text.to_string(), line.line.channel);
            let before: Vec<_> = lines.iter().flatten().map(texts).collect();
            let after: Vec<_> = read.iter().map(|line| texts(line.as_ref().unwrap())).collect();
            assert_eq!(before, after);
            assert!(before.iter().all(|(text, _)| !text.contains('\0')));
        }
        Ok(_) => {}
    }
}
