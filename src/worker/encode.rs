//! Messages with many lines: `log_lines`, which every server accepts, and `log_block`.

use tokio_tungstenite::tungstenite::Message;

use super::local_log::LineSink;
use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{LineText, TaskId, Timestamp};
use crate::wire::worker::block::{BlockEncoder, BlockEncoding};

/// Maximum lines per `log_lines`.
const JSON_LINES_MAX: usize = 1_000;
/// Bytes at which a `log_lines` is sent. One more line is at most six times [`LINE_BYTES_MAX`], so that the message
/// stays within the server's limit.
const JSON_BYTES: usize = 256 * 1024;
/// Bytes at which a `log_block` is sent.
const BLOCK_BYTES: usize = 512 * 1024;

/// The form of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchForm {
    /// `log_lines`.
    Lines,
    /// `log_block`, not compressed.
    Block,
    /// `log_block`, compressed.
    CompressedBlock,
}

/// An encoder of lines with consecutive numbers.
#[derive(Debug)]
pub(super) enum BatchEncoder {
    /// `log_lines`.
    Lines(JsonLines),
    /// `log_block`.
    Block(BlockEncoder),
}

impl BatchEncoder {
    /// Creates an encoder without lines.
    pub(super) fn new(form: BatchForm) -> Self {
        match form {
            BatchForm::Lines => BatchEncoder::Lines(JsonLines::default()),
            BatchForm::Block => BatchEncoder::Block(BlockEncoder::new(BlockEncoding::Raw)),
            BatchForm::CompressedBlock => BatchEncoder::Block(BlockEncoder::new(BlockEncoding::Zstd)),
        }
    }

    /// Returns the message with all lines, the first of which has the number `first_seq`, and clears the encoder.
    ///
    /// # Errors
    /// None in practice: a line always serializes.
    pub(super) fn finish(&mut self, task: &TaskId, first_seq: u64) -> Result<Message, serde_json::Error> {
        match self {
            BatchEncoder::Lines(lines) => lines.finish(task, first_seq).map(Message::text),
            BatchEncoder::Block(block) => Ok(Message::binary(block.finish(task, first_seq))),
        }
    }
}

impl LineSink for BatchEncoder {
    fn line(&mut self, _: u64, line: &LineText<'_>) {
        match self {
            BatchEncoder::Lines(lines) => lines.push(line),
            BatchEncoder::Block(block) => {
                block.push(line.channel, line.timestamp, &line.text, line.partial, line.lossy);
            }
        }
    }

    fn is_full(&self) -> bool {
        match self {
            BatchEncoder::Lines(lines) => lines.is_full(),
            BatchEncoder::Block(block) => block.bytes() >= BLOCK_BYTES || !block.has_room(LINE_BYTES_MAX),
        }
    }
}

/// A `log_lines` message under construction.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    /// The members of `lines`.
    members: Vec<u8>,
    lines: usize,
    /// The last time and its text: lines of one read have the same.
    time: Option<(Timestamp, String)>,
    error: Option<serde_json::Error>,
}

impl JsonLines {
    fn push(&mut self, line: &LineText<'_>) {
        if self.lines > 0 {
            self.members.push(b',');
        }
        self.lines += 1;
        let LineText { timestamp, channel, partial, lossy, text } = line;
        if self.time.as_ref().is_none_or(|(time, _)| time != timestamp) {
            self.time = Some((*timestamp, timestamp.to_string()));
        }
        self.members.extend_from_slice(b"{\"line\":");
        if let Err(error) = serde_json::to_writer(&mut self.members, text) {
            self.error = Some(error);
        }
        let time = self.time.as_ref().map_or("", |(_, text)| text);
        for part in [",\"timestamp\":\"", time, "\",\"stream\":\"", channel.as_str(), "\""] {
            self.members.extend_from_slice(part.as_bytes());
        }
        self.members.extend_from_slice(if *partial { b",\"partial\":true" } else { b"" });
        self.members.extend_from_slice(if *lossy { b",\"lossy\":true" } else { b"" });
        self.members.push(b'}');
    }

    fn is_full(&self) -> bool {
        self.lines >= JSON_LINES_MAX || self.members.len() >= JSON_BYTES
    }

    fn finish(&mut self, task: &TaskId, first_seq: u64) -> Result<String, serde_json::Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let task = serde_json::to_string(task.as_str())?;
        let mut message =
            format!(r#"{{"type":"log_lines","work_request_id":{task},"first_seq":{first_seq},"lines":["#).into_bytes();
        message.append(&mut self.members);
        message.extend_from_slice(b"]}");
        self.lines = 0;
        String::from_utf8(message).map_err(serde::ser::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Channel;
    use crate::model::limits::MESSAGE_BYTES_MAX;
    use crate::wire::worker::{OutgoingLine, OutgoingMessage};

    #[test]
    fn lines_are_encoded_as_the_message_type_does() {
        let task: TaskId = "a~1".parse().unwrap();
        let mut encoder = BatchEncoder::new(BatchForm::Lines);
        let texts = ["plain", "", "q\"uote\\ \u{1} é\u{2028}", "cut"];
        let line = |index: usize| LineText {
            timestamp: Timestamp::from_millis(1_778_336_581_000 + index as u64 / 2),
            channel: Channel::ALL[index % 3],
            partial: index == 3,
            lossy: index == 2,
            text: texts[index].into(),
        };
        (0..4).for_each(|index| encoder.line(0, &line(index)));
        let lines: Vec<_> = (0..4).map(line).collect();
        let lines = lines.iter().map(|line| OutgoingLine {
            line: &line.text,
            timestamp: line.timestamp,
            channel: line.channel,
            partial: line.partial,
            lossy: line.lossy,
        });
        let wanted = OutgoingMessage::LogLines { work_request_id: "a~1", first_seq: 7, lines: lines.collect() };
        let sent = encoder.finish(&task, 7).unwrap();
        assert_eq!(sent, Message::text(serde_json::to_string(&wanted).unwrap()));
        encoder.line(0, &line(0));
        assert!(encoder.finish(&task, 11).unwrap().into_text().unwrap().contains(r#""lines":[{"line":"plain""#));
    }

    #[test]
    fn worst_case_output_fits_a_message() {
        let task: TaskId = "t".repeat(128).parse().unwrap();
        for form in [BatchForm::Lines, BatchForm::Block, BatchForm::CompressedBlock] {
            let mut encoder = BatchEncoder::new(form);
            let long = LINE_BYTES_MAX;
            for text in ["\u{1}".repeat(long), "\"\\".repeat(long / 2), "x".repeat(long), String::new()] {
                let line = LineText { text: text.into(), ..LineText::default() };
                while !encoder.is_full() {
                    encoder.line(0, &line);
                }
                let message = encoder.finish(&task, 1 << 52).unwrap();
                assert!(message.len() < MESSAGE_BYTES_MAX, "{form:?}: {}", message.len());
                assert!(!encoder.is_full());
            }
        }
    }
}
