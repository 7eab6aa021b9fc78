//! What an extractor finds, as values that can be compared.

use tasktail::events::{EventNotation, ExtractedEvent, ExtractedItem, Extractor, ExtractorOptions, MalformedEvent};

/// One thing that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Event(ExtractedEvent),
    Echo(ExtractedEvent, u64),
    Task(u64, String),
    Rejected(MalformedEvent),
    Text(u64, String),
}

pub(crate) fn item(found: ExtractedItem<'_>) -> Item {
    match found {
        ExtractedItem::Event(event) => Item::Event(event),
        ExtractedItem::Echo { again, of } => Item::Echo(again, of),
        ExtractedItem::Task(task) => Item::Task(task.line, task.json),
        ExtractedItem::Rejected(rejected) => Item::Rejected(rejected),
        ExtractedItem::Text { line, text } => Item::Text(line, text.to_owned()),
    }
}

fn line(item: &Item) -> u64 {
    match item {
        Item::Event(event) | Item::Echo(event, _) => event.line,
        Item::Rejected(rejected) => rejected.line,
        Item::Task(line, _) | Item::Text(line, _) => *line,
    }
}

/// All of a text that comes in the pieces given.
pub(crate) fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, host: Option<&str>) -> Vec<Item> {
    extracted(pieces, host, true)
}

/// The same of an extractor that is not asked for lines that hold nothing.
pub(crate) fn without_texts<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, host: Option<&str>) -> Vec<Item> {
    extracted(pieces, host, false)
}

fn extracted<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, host: Option<&str>, texts: bool) -> Vec<Item> {
    let mut extractor = Extractor::new(ExtractorOptions { host: host.map(str::to_owned), texts });
    let mut items = Vec::new();
    for piece in pieces {
        extractor.feed(piece, &mut |found| items.push(item(found)));
    }
    extractor.finish(&mut |found| items.push(item(found)));
    assert!(!extractor.is_waiting());
    assert!(items.is_sorted_by_key(line), "in the order of their lines: {items:?}");
    items
}

/// All of a text.
pub(crate) fn all(text: &str) -> Vec<Item> {
    in_pieces([text.as_bytes()], None)
}

/// The events of a text without their echoes; nothing may be rejected.
pub(crate) fn events(text: &str) -> Vec<ExtractedEvent> {
    let event = |item| match item {
        Item::Event(event) => Some(event),
        Item::Rejected(rejected) => panic!("{rejected:?} in {text}"),
        _ => None,
    };
    all(text).into_iter().filter_map(event).collect()
}

/// Its reasons of rejection.
pub(crate) fn reasons(items: &[Item]) -> Vec<&'static str> {
    let reason = |item: &Item| match item {
        Item::Rejected(rejected) => Some(rejected.fault.reason()),
        _ => None,
    };
    items.iter().filter_map(reason).collect()
}

/// The numbers of the lines that were given as text.
pub(crate) fn texts(items: &[Item]) -> Vec<u64> {
    items.iter().filter_map(|item| if let Item::Text(line, _) = item { Some(*line) } else { None }).collect()
}

/// The messages of its events, and the forms they came in.
pub(crate) fn messages(text: &str) -> Vec<(String, EventNotation)> {
    let message = |event: ExtractedEvent| (event.event.view().message.unwrap_or_default().to_string(), event.form);
    events(text).into_iter().map(message).collect()
}

/// An event of a benchmark.
pub(crate) fn event(message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!(r#"{{"host": "h1", "workload": "fio", "repetition": 1, "status": "running", "message": {message}}}"#)
}

/// The text as it stands in a JSON string of so many levels, without the quotes.
pub(crate) fn escaped(text: &str, levels: usize) -> String {
    (0..levels).fold(text.to_owned(), |text, _| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    })
}
