//! From an object behind a token to what is told of it: its host, its identity, whether it is an echo.

use super::block::{Block, Slot, item_in};
use super::scan::{Body, Finding, IsJson, Token};
use super::{EXCERPT_CHARS_MAX, Extracted, Extractor, Form, Found, Rejected, TaskMark};
use crate::events::Identities;
use crate::events::identity::{Pairs, fingerprint};
use crate::model::json::JsonObject;
use crate::model::{Event, EventError};

/// Where a token stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) offset: u64,
}

impl Finding<'_> {
    pub(super) fn is_half(&self) -> bool {
        matches!(self.body, Body::Broken { half: true, .. })
    }
}

/// Settles the findings of one text.
pub(super) struct Settle<'a> {
    block: &'a mut Block,
    identities: &'a mut Identities,
    host: Option<&'a str>,
    texts: bool,
    places: Vec<Place>,
    /// Of a scalar that was held; else the block knows it.
    slot: Option<Slot>,
}

impl<'a> Settle<'a> {
    pub(super) fn of(extractor: &'a mut Extractor, places: Vec<Place>, slot: Option<Slot>) -> Self {
        let Extractor { block, identities, options, .. } = extractor;
        Self { block, identities, host: options.host.as_deref(), texts: options.texts, places, slot }
    }

    pub(super) fn texts(&self) -> bool {
        self.texts
    }

    /// Goes on to what stands behind `gap`.
    pub(super) fn pass(&mut self, gap: &str) {
        self.block.pass(gap);
    }

    /// The words of an item that Python printed, and what stands behind them.
    pub(super) fn split_repr<'t>(&self, line: &'t str) -> (&'t str, &'t str) {
        let item = if self.block.slot == Slot::Item { item_in(line.as_bytes()) } else { None };
        if !item.is_some_and(|item| line[item..].starts_with(['{', '['])) {
            return ("", line);
        }
        let end = ["}) => ", "]) => "].iter().filter_map(|end| line.find(end)).min();
        line.split_at(end.map_or(line.len(), |end| end + 1))
    }

    /// Tells what one finding is.
    pub(super) fn take(
        &mut self,
        finding: &Finding<'_>,
        form: impl Fn(Slot, u8) -> Form,
        each: &mut dyn FnMut(Found<'_>),
    ) -> IsJson {
        let slot = self.slot.unwrap_or(self.block.slot);
        if slot == Slot::Command {
            return true;
        }
        let place = self.place(finding);
        let (text, object) = match &finding.body {
            Body::Object { text, read } => (*text, read.as_ref()),
            Body::Broken { fault, text, .. } => {
                each(rejected(place, fault.clone(), text));
                return false;
            }
        };
        if finding.token == Token::Task {
            return self.task(place, slot, text, each);
        }
        if let Some(object) = object
            && let Some(event) = Event::of(object)
        {
            each(self.event(event, Some(object), place, slot, form(slot, finding.level)));
            return true;
        }
        match self.read(text) {
            Ok(event) => {
                each(self.event(event, None, place, slot, form(slot, finding.level)));
                true
            }
            // It comes again, below, with the host it is of.
            Err(EventError::MissingField("host")) if slot == Slot::Error => true,
            Err(fault) => {
                let is_json = !matches!(fault, EventError::NotJson(_));
                each(rejected(place, fault, text));
                is_json
            }
        }
    }

    /// Tells that an object is longer than what is read.
    pub(super) fn too_long(&self, finding: &Finding<'_>, each: &mut dyn FnMut(Found<'_>)) -> IsJson {
        let Body::Broken { text, .. } = &finding.body else { return true };
        each(too_long(self.place(finding), text.len(), text));
        true
    }

    fn place(&self, finding: &Finding<'_>) -> Place {
        self.places.get(finding.nth).or(self.places.last()).copied().unwrap_or_default()
    }

    fn read(&self, text: &str) -> Result<Event, EventError> {
        match Event::parse(text) {
            Err(EventError::MissingField("host")) => {}
            other => return other,
        }
        let host = self.block.host().or(self.host).ok_or(EventError::MissingField("host"))?;
        Event::parse(&with_host(text, host))
    }

    fn event(
        &mut self,
        event: Event,
        object: Option<&JsonObject<'_>>,
        place: Place,
        slot: Slot,
        form: Form,
    ) -> Found<'static> {
        let Place { line, offset } = place;
        let content = fingerprint(&event, object);
        if let Some(first) = self.block.seen(content, slot) {
            let again = Extracted { event, identified: first.identified, line, offset, form };
            return Found::Echo { again, of: first.line };
        }
        let identified = self.identities.identify_known(&event, object, content);
        self.block.remember(content, line, &identified);
        Found::Event(Extracted { event, identified, line, offset, form })
    }

    /// The facts of a task; those that a result repeats are passed over.
    fn task(&mut self, place: Place, slot: Slot, text: &str, each: &mut dyn FnMut(Found<'_>)) -> IsJson {
        // What makes an object an event is of no matter here; what makes it compact is.
        match Event::parse(&with_field(text, "event_type", "task")) {
            Ok(event) => {
                let json = event.as_str().replacen("\"event_type\":\"task\",", "", 1);
                let content = fingerprint(&event, None);
                if self.block.seen(content, slot).is_none() {
                    self.block.remember(content, place.line, &event);
                    each(Found::Task(TaskMark { line: place.line, json }));
                }
                true
            }
            Err(fault) => {
                each(rejected(place, fault, text));
                false
            }
        }
    }
}

/// The object with a host in front; a `null` that stood for one goes.
fn with_host(text: &str, host: &str) -> String {
    let Ok(Pairs(mut fields)) = serde_json::from_str(text) else { return with_field(text, "host", host) };
    if !fields.iter().any(|(name, _)| name == "host") {
        return with_field(text, "host", host);
    }
    fields.retain(|(name, _)| name != "host");
    let fields = fields.iter().map(|(name, value)| format!("{}:{}", serde_json::Value::from(&**name), value.get()));
    with_field(&format!("{{{}}}", fields.collect::<Vec<_>>().join(",")), "host", host)
}

/// The object with one field more, in front.
fn with_field(text: &str, name: &str, value: &str) -> String {
    let fields = text.trim_start().strip_prefix('{').unwrap_or(text).trim_start();
    let joint = if fields.starts_with('}') { "" } else { "," };
    format!("{{\"{name}\":{}{joint}{fields}", serde_json::Value::from(value))
}

fn rejected(place: Place, fault: EventError, text: &str) -> Found<'static> {
    let excerpt = text.chars().take(EXCERPT_CHARS_MAX).collect();
    Found::Rejected(Rejected { line: place.line, offset: place.offset, fault, excerpt })
}

pub(super) fn too_long(place: Place, length: usize, text: &str) -> Found<'static> {
    rejected(place, EventError::TooLong(length), text)
}
