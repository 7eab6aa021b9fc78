//! The note at the end of `run` about texts in the output that look like events and are not.

use std::time::Duration;

use tokio::time::timeout;

use super::output::Output;
use crate::client::{Endpoint, HttpClient};
use crate::events::clean;
use crate::model::{TaskEventCounts, TaskId};

/// Maximum time that the end of a command waits for the counts.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Prints how many texts were rejected, and the first one, unless there are none or the server does not answer.
/// `task` is the id of the log.
pub(super) async fn report(endpoint: &Endpoint, task: &TaskId, output: Output) {
    let client = HttpClient::new(endpoint.clone());
    let Ok(Some((id, events))) = timeout(TIMEOUT, counts(&client, task)).await else { return };
    if let Some(text) = summary(&events, &id) {
        output.note(text);
    }
}

/// Returns the counts of one log, and the id that opens it: the name of several logs opens the newest, and `NAME.1`
/// the first.
async fn counts(client: &HttpClient, task: &TaskId) -> Option<(TaskId, TaskEventCounts)> {
    for id in [Some(task.clone()), format!("{task}.1").parse().ok()].into_iter().flatten() {
        let events: TaskEventCounts = client.get(&format!("/api/v1/tasks/{id}/events"), &[]).await.ok()?;
        if events.task.as_ref().is_none_or(|answered| answered == task) {
            return Some((id, events));
        }
    }
    None
}

fn summary(events: &TaskEventCounts, task: &TaskId) -> Option<String> {
    let count = events.rejected_all();
    let first = events.examples.first()?;
    let reasons: Vec<String> = events.rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let texts = if count == 1 { "1 text looks like an event and is not" } else { "texts look like events and are not" };
    let texts = if count == 1 { texts.to_owned() } else { format!("{count} {texts}") };
    Some(format!(
        "{texts} ({}); the first on line {}: {}: {}; `tasktail follow {task} | tasktail doctor --explain -` lists them",
        reasons.join(", "),
        first.line,
        clean(&first.message),
        clean(&first.excerpt),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RejectedText;

    #[test]
    fn rejected_texts_are_summarized_in_one_line() {
        let task = "t".parse().unwrap();
        let mut events = TaskEventCounts::default();
        assert_eq!(summary(&events, &task), None);
        events.rejected.extend([("not_json".to_owned(), 100), ("missing_field".to_owned(), 1)]);
        let text = |text: &str| text.to_owned();
        let (message, excerpt) = (text("it is not JSON: x"), text("{$x}"));
        events.examples.push(RejectedText { line: 7, reason: text("not_json"), message, excerpt });
        let text = summary(&events, &task).unwrap();
        assert!(text.starts_with("101 texts look like events and are not (missing_field 1, not_json 100); the first on line 7: it is not JSON: x: {$x};"), "{text}");
    }
}
