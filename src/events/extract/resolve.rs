//! Resolves the object after a token: its host, its identity, and whether it is an echo.

use super::block::{ResultBlock, Slot, item_in};
use super::scan::{IsJson, MatchBody, TokenKind, TokenMatch};
use super::{EXCERPT_CHARS_MAX, EventNotation, ExtractedEvent, ExtractedItem, Extractor, MalformedEvent, TaskMark};
use crate::events::Identities;
use crate::events::identity::{AllFields, fingerprint};
use crate::model::json::{JsonObject, lenient};
use crate::model::{Event, EventError};

/// The position of a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokenPosition {
    pub(super) line: u64,
    pub(super) offset: u64,
}

impl TokenMatch<'_> {
    pub(super) fn is_truncated(&self) -> bool {
        matches!(self.body, MatchBody::Broken { truncated: true, .. })
    }
}

/// A resolver for the matches in one text.
pub(super) struct MatchResolver<'a> {
    block: &'a mut ResultBlock,
    identities: &'a mut Identities,
    host: Option<&'a str>,
    texts: bool,
    positions: Vec<TokenPosition>,
    /// Slot of a multi-line scalar; otherwise the block knows it.
    slot: Option<Slot>,
    /// Offset after which everything was printed before.
    printed_from: u64,
}

impl<'a> MatchResolver<'a> {
    pub(super) fn of(extractor: &'a mut Extractor, positions: Vec<TokenPosition>, slot: Option<Slot>) -> Self {
        let Extractor { block, identities, options, .. } = extractor;
        Self {
            block,
            identities,
            host: options.host.as_deref(),
            texts: options.texts,
            positions,
            slot,
            printed_from: u64::MAX,
        }
    }

    pub(super) fn texts(&self) -> bool {
        self.texts
    }

    /// Advances past `gap`, a text at this level of quoting.
    pub(super) fn pass(&mut self, gap: &str, level: u8) {
        self.block.pass(gap, level);
    }

    /// Skips the part of the current line that was printed before; `offset` is the line's.
    pub(super) fn skip_after(&mut self, offset: u64) {
        self.printed_from = offset.saturating_add(self.block.printed_before() as u64);
    }

    /// Splits a line into an item printed by Python's `repr` and the rest.
    pub(super) fn split_repr<'t>(&self, line: &'t str) -> (&'t str, &'t str) {
        let item = if self.block.slot == Slot::Item { item_in(line.as_bytes()) } else { None };
        if !item.is_some_and(|item| line[item..].starts_with(['{', '['])) {
            return ("", line);
        }
        let end = ["}) => ", "]) => "].iter().filter_map(|end| line.find(end)).min();
        line.split_at(end.map_or(line.len(), |end| end + 1))
    }

    /// Resolves one match and passes the item to `each`.
    pub(super) fn resolve(
        &mut self,
        token_match: &TokenMatch<'_>,
        form: impl Fn(Slot, u8) -> EventNotation,
        each: &mut dyn FnMut(ExtractedItem<'_>),
    ) -> IsJson {
        let slot = self.slot.unwrap_or(self.block.slot);
        let position = self.position(token_match);
        if slot == Slot::Command || token_match.in_command || position.offset >= self.printed_from {
            return true;
        }
        let (text, object) = match &token_match.body {
            MatchBody::Object { text, read } => (*text, read.as_ref()),
            MatchBody::Broken { fault, text, .. } => {
                each(rejected(position, fault.clone(), text));
                return false;
            }
        };
        if token_match.token == TokenKind::Task {
            return self.task(position, slot, text, each);
        }
        if let Some(object) = object
            && let Some(event) = Event::of(object)
        {
            each(self.event(event, Some(object), position, slot, form(slot, token_match.level)));
            return true;
        }
        match self.read(text) {
            Ok(event) => {
                each(self.event(event, None, position, slot, form(slot, token_match.level)));
                true
            }
            // Repeated below, with its host.
            Err(EventError::MissingField("host")) if slot == Slot::Error => true,
            Err(fault) => {
                let is_json = !matches!(fault, EventError::NotJson(_));
                each(rejected(position, fault, text));
                is_json
            }
        }
    }

    /// Rejects an object that exceeds the size limit.
    pub(super) fn too_long(&self, token_match: &TokenMatch<'_>, each: &mut dyn FnMut(ExtractedItem<'_>)) -> IsJson {
        let MatchBody::Broken { text, .. } = &token_match.body else { return true };
        each(too_long(self.position(token_match), text.len(), text));
        true
    }

    fn position(&self, token_match: &TokenMatch<'_>) -> TokenPosition {
        self.positions.get(token_match.nth).or(self.positions.last()).copied().unwrap_or_default()
    }

    fn read(&self, text: &str) -> Result<Event, EventError> {
        match Event::parse(text) {
            Err(EventError::MissingField("host")) => {}
            other => return other,
        }
        let host = self.block.host().or(self.host).ok_or(EventError::MissingField("host"))?;
        let strict = lenient::read_first(text).map_or_else(|| text.to_owned(), |(strict, _)| strict);
        Event::parse(&with_host(&strict, host))
    }

    fn event(
        &mut self,
        event: Event,
        object: Option<&JsonObject<'_>>,
        position: TokenPosition,
        slot: Slot,
        form: EventNotation,
    ) -> ExtractedItem<'static> {
        let TokenPosition { line, offset } = position;
        let content = fingerprint(&event, object);
        if let Some(first) = self.block.seen(content, slot) {
            let again = ExtractedEvent { event, identified: first.identified, line, offset, form };
            return ExtractedItem::Echo { again, of: first.line };
        }
        let identified = self.identities.identify_known(&event, object, content);
        self.block.remember(content, line, &identified);
        ExtractedItem::Event(ExtractedEvent { event, identified, line, offset, form })
    }

    /// Resolves the details of a task; repetitions in one result are skipped.
    fn task(
        &mut self,
        position: TokenPosition,
        slot: Slot,
        text: &str,
        each: &mut dyn FnMut(ExtractedItem<'_>),
    ) -> IsJson {
        // Only the JSON and its size are checked here, so a required event field is added.
        match Event::parse(&with_field(text, "event_type", "task")) {
            Ok(event) => {
                let json = event.as_str().replacen("\"event_type\":\"task\",", "", 1);
                let content = fingerprint(&event, None);
                if self.block.seen(content, slot).is_none() {
                    self.block.remember(content, position.line, &event);
                    each(ExtractedItem::Task(TaskMark { line: position.line, json }));
                }
                true
            }
            Err(fault) => {
                each(rejected(position, fault, text));
                false
            }
        }
    }
}

/// Returns the object with a host in front, replacing a `null` host.
fn with_host(text: &str, host: &str) -> String {
    let Ok(AllFields(mut fields)) = serde_json::from_str(text) else { return with_field(text, "host", host) };
    if !fields.iter().any(|(name, _)| name == "host") {
        return with_field(text, "host", host);
    }
    fields.retain(|(name, _)| name != "host");
    let fields = fields.iter().map(|(name, value)| format!("{}:{}", serde_json::Value::from(&**name), value.get()));
    with_field(&format!("{{{}}}", fields.collect::<Vec<_>>().join(",")), "host", host)
}

/// Returns the object with another field in front.
fn with_field(text: &str, name: &str, value: &str) -> String {
    let fields = text.trim_start().strip_prefix('{').unwrap_or(text).trim_start();
    let joint = if fields.starts_with('}') { "" } else { "," };
    format!("{{\"{name}\":{}{joint}{fields}", serde_json::Value::from(value))
}

fn rejected(position: TokenPosition, fault: EventError, text: &str) -> ExtractedItem<'static> {
    let excerpt = text.chars().take(EXCERPT_CHARS_MAX).collect();
    ExtractedItem::Rejected(MalformedEvent { line: position.line, offset: position.offset, fault, excerpt })
}

pub(super) fn too_long(position: TokenPosition, length: usize, text: &str) -> ExtractedItem<'static> {
    rejected(position, EventError::TooLong(length), text)
}
