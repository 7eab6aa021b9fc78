//! The rows of a response: hits, and the lines around them.

use serde::Serialize;

use crate::model::{Line, TaskId};
use crate::server::http::reply::push_row;
use crate::tasks::{PageLimits, TaskHandle, TasksError};

/// A row of the response.
#[derive(Serialize)]
struct Hit<'a> {
    task: &'a TaskId,
    n: u64,
    line: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    context: bool,
}

/// The lines around the hits of one task.
#[derive(Default)]
pub(super) struct HitContext {
    pub(super) before: u64,
    pub(super) behind: u64,
    /// The last line sent.
    pub(super) sent: u64,
    /// The last line of the context of the hits so far.
    pub(super) open_to: u64,
}

impl HitContext {
    /// Adds hits with their context, and with `flush` the lines after the last one.
    pub(super) async fn push_rows(
        &mut self,
        rows: &mut Vec<u8>,
        task: &TaskHandle,
        hits: Vec<Line<'static>>,
        flush: bool,
    ) -> Result<(), TasksError> {
        for hit in hits {
            let from = hit.n.saturating_sub(self.before);
            let open_to = self.open_to.min(hit.n - 1);
            self.push_lines(rows, task, self.sent + 1, open_to).await?;
            self.push_lines(rows, task, from.max(self.sent + 1), hit.n - 1).await?;
            push_line(rows, task.id(), &hit, false);
            (self.sent, self.open_to) = (hit.n, hit.n + self.behind);
        }
        if flush {
            self.push_lines(rows, task, self.sent + 1, self.open_to).await?;
        }
        Ok(())
    }

    /// Adds lines of context.
    async fn push_lines(
        &mut self,
        rows: &mut Vec<u8>,
        task: &TaskHandle,
        from: u64,
        to: u64,
    ) -> Result<(), TasksError> {
        if from > to {
            return Ok(());
        }
        let count = usize::try_from(to + 1 - from).unwrap_or(usize::MAX);
        let page = task.read(from, PageLimits { lines: count, bytes: usize::MAX }).await?;
        for line in page.lines.iter().filter(|line| line.n <= to) {
            push_line(rows, task.id(), line, true);
        }
        self.sent = self.sent.max(to);
        Ok(())
    }
}

fn push_line(rows: &mut Vec<u8>, task: &TaskId, line: &Line<'_>, context: bool) {
    push_row(rows, &Hit { task, n: line.n, line: &line.line, context });
}
