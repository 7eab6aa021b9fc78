//! Reading a block.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    BODY_BYTES_MAX, LOSSY, MAGIC, META_BYTES_MAX, PARTIAL, TIME_MS_MAX, flags_of, push_varint, take_varint, unzigzag,
};
use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{Channel, LineText, Timestamp};
use crate::wire::worker::{BadMessage, TaskRef};

/// Characters that the text of a line never contains.
const REPLACED: [char; 2] = ['\n', '\0'];

/// The header of a received block.
#[derive(Deserialize)]
struct BlockHeaderFields {
    work_request_id: TaskRef,
    first_seq: u64,
    count: u64,
    encoding: Option<String>,
    text_bytes: usize,
}

/// A received block, checked: its lines can be stored as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct LogBlock<'a> {
    /// Task that the lines belong to.
    pub task: TaskRef,
    /// Number of the first line, at least 1.
    pub first_seq: u64,
    count: u64,
    meta: Cow<'a, [u8]>,
    text: Cow<'a, str>,
    /// Lines in which bytes were replaced, because their text was not UTF-8 or contained NUL or a newline.
    repaired: u64,
}

impl<'a> LogBlock<'a> {
    /// Parses a message.
    ///
    /// # Errors
    /// The message is not a block, or its parts do not fit together.
    pub fn decode(message: &'a [u8]) -> Result<Self, BadMessage> {
        let Some(mut rest) = message.strip_prefix(&MAGIC) else {
            return Err(bad(format!("the block does not begin with the bytes {MAGIC:02x?}"), None));
        };
        let length = take_varint(&mut rest).and_then(|length| usize::try_from(length).ok());
        let split = length.and_then(|length| rest.split_at_checked(length));
        let (header, body) = split.ok_or_else(|| bad("the header of the block is cut off".to_owned(), None))?;
        let header: BlockHeaderFields = serde_json::from_slice(header)
            .map_err(|error| bad(format!("the header of the block: {error}"), task_of(header)))?;
        let task = header.work_request_id.clone();
        decode_body(header, body).map_err(|message| bad(message, Some(task)))
    }

    /// Returns the number of lines, at least 1.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Reports whether there are no lines, which [`LogBlock::decode`] rejects.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the bytes of all texts.
    pub fn text_bytes(&self) -> u64 {
        self.text.len() as u64
    }

    /// Returns the number of lines in which bytes were replaced.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Returns the lines in order, borrowed from the block.
    pub fn lines(&self) -> BlockLines<'_> {
        BlockLines { meta: &self.meta, text: &self.text, ms: 0 }
    }
}

/// The lines of a block.
#[derive(Clone, Debug)]
pub struct BlockLines<'b> {
    meta: &'b [u8],
    text: &'b str,
    ms: u64,
}

impl<'b> Iterator for BlockLines<'b> {
    type Item = LineText<'b>;

    fn next(&mut self) -> Option<LineText<'b>> {
        let LineMeta { bytes, flags, delta } = LineMeta::take(&mut self.meta)?;
        let (text, rest) = self.text.split_at_checked(bytes)?;
        self.text = rest;
        self.ms = self.ms.wrapping_add(delta.cast_unsigned());
        Some(LineText {
            timestamp: Timestamp::from_millis(self.ms),
            channel: channel_of(flags)?,
            partial: flags & PARTIAL != 0,
            lossy: flags & LOSSY != 0,
            text: Cow::Borrowed(text),
        })
    }
}

/// The columns of one line.
struct LineMeta {
    bytes: usize,
    flags: u8,
    /// Milliseconds since the previous line.
    delta: i64,
}

impl LineMeta {
    fn take(meta: &mut &[u8]) -> Option<Self> {
        let bytes = usize::try_from(take_varint(meta)?).ok()?;
        let (flags, rest) = meta.split_first()?;
        *meta = rest;
        let delta = unzigzag(take_varint(meta)?);
        Some(Self { bytes, flags: *flags, delta })
    }
}

/// Returns the channel in a line's flags, or `None` if a bit is set that has no meaning.
fn channel_of(flags: u8) -> Option<Channel> {
    let channel = Channel::ALL.into_iter().find(|channel| *channel as u8 == flags & 3)?;
    (flags & !(3 | PARTIAL | LOSSY) == 0).then_some(channel)
}

/// Returns the task of a header that cannot be parsed as a whole.
fn task_of(header: &[u8]) -> Option<TaskRef> {
    #[derive(Deserialize)]
    struct TaskField {
        work_request_id: TaskRef,
    }
    serde_json::from_slice::<TaskField>(header).ok().map(|field| field.work_request_id)
}

fn bad(message: String, task: Option<TaskRef>) -> BadMessage {
    BadMessage { code: "bad_block", message, task }
}

/// Decompresses and checks a body.
fn decode_body<'a>(header: BlockHeaderFields, body: &'a [u8]) -> Result<LogBlock<'a>, String> {
    let BlockHeaderFields { work_request_id: task, first_seq, count, encoding, text_bytes } = header;
    if first_seq == 0 || count == 0 {
        return Err("fields `first_seq` and `count` must be at least 1".to_owned());
    }
    if first_seq.checked_add(count).is_none() {
        return Err("field `first_seq` is too large".to_owned());
    }
    let meta_bytes_max = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(META_BYTES_MAX);
    let body: Cow<'a, [u8]> = match encoding.as_deref() {
        None | Some("raw") => Cow::Borrowed(body),
        Some("zstd") => {
            let bytes_max = text_bytes.saturating_add(meta_bytes_max).min(BODY_BYTES_MAX);
            zstd::bulk::decompress(body, bytes_max)
                .map_err(|error| format!("the body is not a zstd frame of at most {bytes_max} bytes: {error}"))?
                .into()
        }
        Some(_) => return Err("field `encoding` must be raw or zstd".to_owned()),
    };
    let meta_bytes = body.len().checked_sub(text_bytes);
    let meta_bytes = meta_bytes.ok_or_else(|| format!("the body is shorter than its {text_bytes} bytes of text"))?;
    let (meta, text) = split(body, meta_bytes);
    check_meta(&meta, count, text_bytes)?;
    let block = match into_text(text) {
        Ok(text) if is_plain(&meta, &text) => LogBlock { task, first_seq, count, meta, text, repaired: 0 },
        Ok(text) => repair(task, first_seq, &meta, text.as_bytes()),
        Err(bytes) => repair(task, first_seq, &meta, &bytes),
    };
    Ok(block)
}

/// Splits bytes, borrowed or owned, in two.
fn split(bytes: Cow<'_, [u8]>, at: usize) -> (Cow<'_, [u8]>, Cow<'_, [u8]>) {
    match bytes {
        Cow::Borrowed(bytes) => {
            let (first, second) = bytes.split_at(at);
            (first.into(), second.into())
        }
        Cow::Owned(mut bytes) => {
            let second = bytes.split_off(at);
            (bytes.into(), second.into())
        }
    }
}

/// Checks the columns of the lines against the header.
fn check_meta(mut meta: &[u8], count: u64, text_bytes: usize) -> Result<(), String> {
    let (mut lines, mut bytes, mut ms) = (0u64, 0usize, 0u64);
    while !meta.is_empty() {
        let line = LineMeta::take(&mut meta).ok_or_else(|| format!("line {lines} of the block is cut off"))?;
        if line.bytes > LINE_BYTES_MAX {
            return Err(format!("line {lines} of the block has over {LINE_BYTES_MAX} bytes: split it"));
        }
        if channel_of(line.flags).is_none() {
            return Err(format!("line {lines} of the block has the unknown flags {:#04x}", line.flags));
        }
        ms = ms.wrapping_add(line.delta.cast_unsigned());
        if ms > TIME_MS_MAX {
            return Err(format!("line {lines} of the block has a time before 1970 or after 9999"));
        }
        bytes += line.bytes;
        lines += 1;
    }
    if (lines, bytes) != (count, text_bytes) {
        return Err(format!(
            "the block has {lines} lines of {bytes} bytes, and its header reports {count} of {text_bytes}"
        ));
    }
    Ok(())
}

/// Returns bytes as text, or unchanged if they are not UTF-8.
fn into_text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Cow::Borrowed(bytes)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| Cow::Owned(error.into_bytes())),
    }
}

/// Reports whether no line contains NUL or a newline, or begins within a character.
fn is_plain(mut meta: &[u8], text: &str) -> bool {
    if memchr::memchr2(b'\n', 0, text.as_bytes()).is_some() {
        return false;
    }
    // In ASCII every byte is a character.
    if text.is_ascii() {
        return true;
    }
    let mut end = 0;
    while let Some(line) = LineMeta::take(&mut meta) {
        end += line.bytes;
        if !text.is_char_boundary(end) {
            return false;
        }
    }
    true
}

/// Returns a block whose lines can be stored: what cannot be is replaced by U+FFFD, and its line is `lossy`.
fn repair(task: TaskRef, first_seq: u64, meta: &[u8], bytes: &[u8]) -> LogBlock<'static> {
    let (mut columns, mut rest) = (meta, bytes);
    let (mut meta, mut text) = (Vec::with_capacity(columns.len()), String::with_capacity(rest.len()));
    let (mut count, mut repaired) = (0, 0);
    while let Some(line) = LineMeta::take(&mut columns) {
        let Some((bytes, more)) = rest.split_at_checked(line.bytes) else { break };
        rest = more;
        let mut good = String::from_utf8_lossy(bytes);
        if good.contains(REPLACED) {
            good = good.replace(REPLACED, "\u{fffd}").into();
        }
        let lossy = matches!(good, Cow::Owned(_));
        repaired += u64::from(lossy);
        count += 1;
        let flags = line.flags | if lossy { flags_of(Channel::Stdout, false, true) } else { 0 };
        push_varint(&mut meta, good.len() as u64);
        meta.push(flags);
        push_varint(&mut meta, super::zigzag(line.delta));
        text.push_str(&good);
    }
    LogBlock { task, first_seq, count, meta: meta.into(), text: text.into(), repaired }
}
