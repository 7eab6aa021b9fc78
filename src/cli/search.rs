//! Requests of the search across tasks, whose rows are handled as they arrive.

use anyhow::Context as _;
use bytes::BytesMut;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::client::HttpClient;
use crate::model::{ChannelSet, TaskId, Timestamp};

/// A row of the search route: a line, or the end of a response.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SearchRow {
    Line(FoundLine),
    End { next: Option<String> },
}

/// A line that was found, or one around it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FoundLine {
    /// Exact id of its task.
    pub(super) task: String,
    /// Its number.
    pub(super) n: u64,
    /// Its stored text.
    pub(super) line: String,
    /// Whether it is near a match and no match itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) context: bool,
}

/// A receiver of found lines.
pub(super) trait FoundLines {
    /// Handles the next line.
    ///
    /// # Errors
    /// The search cannot continue.
    fn line(&mut self, line: FoundLine) -> anyhow::Result<()>;

    /// Is called when no further line has arrived yet.
    ///
    /// # Errors
    /// The search cannot continue.
    fn pause(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A search: its pattern and its scope.
#[derive(Debug, Default)]
pub(super) struct LogSearchQuery<'a> {
    /// Regular expression.
    pub(super) pattern: &'a str,
    /// Whether stored text is matched instead of displayed text.
    pub(super) raw: bool,
    /// Exact ids of the tasks; all tasks if there are none.
    pub(super) tasks: &'a [TaskId],
    /// Label that a task must have.
    pub(super) label: Option<(&'a str, &'a str)>,
    /// Time of the oldest line.
    pub(super) since: Option<Timestamp>,
    /// Streams that are searched.
    pub(super) streams: Option<ChannelSet>,
    /// Lines of context before a match, and after it.
    pub(super) around: [u64; 2],
}

impl LogSearchQuery<'_> {
    /// Sends one request for at most `limit` matches. Returns the cursor to continue with, or `None` after the last
    /// task.
    ///
    /// # Errors
    /// There is no response, or it is cut off.
    pub(super) async fn request(
        &self,
        client: &HttpClient,
        limit: u64,
        after: Option<String>,
        found: &mut impl FoundLines,
    ) -> anyhow::Result<Option<String>> {
        let around = self.around.map(|lines| Some(lines).filter(|lines| *lines > 0).map(|lines| lines.to_string()));
        let [before, behind] = around;
        let mut query = vec![
            ("q", Some(self.pattern.to_owned())),
            ("raw", self.raw.then(|| "1".to_owned())),
            ("label", self.label.map(|(key, value)| format!("{key}:{value}"))),
            ("since", self.since.map(|since| since.to_string())),
            ("stream", self.streams.map(|streams| streams.to_string())),
            ("before", before),
            ("behind", behind),
            ("limit", Some(limit.to_string())),
            ("after", after),
        ];
        query.extend(self.tasks.iter().map(|task| ("task", Some(task.to_string()))));
        let (_, chunks) = client.download("/api/v1/search", &query).await?;
        let mut chunks = std::pin::pin!(chunks);
        let mut rest = BytesMut::new();
        let mut end = None;
        while let Some(chunk) = chunks.next().await {
            rest.extend_from_slice(&chunk?);
            while let Some(at) = memchr::memchr(b'\n', &rest) {
                let row = rest.split_to(at + 1);
                match serde_json::from_slice(&row).context("the server's answer is not that of a search")? {
                    SearchRow::Line(line) => found.line(line)?,
                    SearchRow::End { next } => end = Some(next),
                }
            }
            found.pause()?;
        }
        end.context("the server ended the search early; some lines were not searched")
    }
}
