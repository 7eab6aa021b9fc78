//! Any text for the extractor: the same is found however it is cut, and every line comes out in order.
//!
//! ```text
//! cargo fuzz run extract fuzz/found fuzz/corpus/extract -- -dict=fuzz/extract.dict
//! ```
//! With a stable toolchain `RUSTC_BOOTSTRAP=1` goes before it. What it finds worth keeping is put
//! into the corpus by hand, which the tests run at every cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasktail::events::{Extractor, ExtractorOptions, ExtractedItem};
use tasktail::model::Event;

fn found<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut all = Vec::new();
    let mut last_line = 0;
    let mut each = |found: ExtractedItem<'_>| {
        let line = match &found {
            ExtractedItem::Event(event) | ExtractedItem::Echo { again: event, .. } => {
                assert_eq!(Event::parse(event.event.as_str()).as_ref(), Ok(&event.event));
                assert!(event.identified.view().event_id.is_some());
                event.line
            }
            ExtractedItem::Task(task) => task.line,
            ExtractedItem::Rejected(rejected) => rejected.line,
            ExtractedItem::Text { line, .. } => *line,
        };
        assert!(line >= last_line, "lines come in their order");
        last_line = line;
        all.push(format!("{found:?}"));
    };
    let mut extractor = Extractor::new(ExtractorOptions { host: Some("h".to_owned()), texts: true });
    for piece in pieces {
        extractor.feed(piece, &mut each);
    }
    extractor.finish(&mut each);
    assert!(!extractor.is_waiting());
    all
}

fuzz_target!(|bytes: &[u8]| {
    let whole = found(std::iter::once(bytes));
    for size in [1, 2, 7, 64] {
        assert_eq!(found(bytes.chunks(size)), whole);
    }
});
