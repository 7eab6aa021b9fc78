use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_778_336_581_000);

fn small(lines_max: usize) -> Buffer {
    Buffer::new(BufferBounds { lines_max, bytes_max: 1 << 20, tail_bytes_max: 64, tail_lines_max: 1 })
}

fn texts(batch: Option<NumberedLines<'_>>) -> Vec<String> {
    batch.map_or_else(Vec::new, |batch| batch.items.map(|item| item.line.text.clone()).collect())
}

fn next_texts(buffer: &mut Buffer) -> Vec<String> {
    texts(buffer.next_batch(100, usize::MAX, |_| 1))
}

fn push(buffer: &mut Buffer, text: &str) {
    buffer.push_bytes(Channel::Stdout, text.as_bytes(), NOW);
}

#[test]
fn unacked_lines_are_resent_without_holes() {
    let mut buffer = small(100);
    push(&mut buffer, "a\nb\nc\n");
    let batch = buffer.next_batch(2, usize::MAX, |_| 1).unwrap();
    assert_eq!((batch.first_seq, texts(Some(batch))), (1, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(buffer.next_batch(2, usize::MAX, |_| 1).unwrap().first_seq, 3);
    assert!(buffer.next_batch(2, usize::MAX, |_| 1).is_none());
    buffer.ack(1);
    buffer.resume(2);
    let batch = buffer.next_batch(9, usize::MAX, |_| 1).unwrap();
    assert_eq!((batch.first_seq, texts(Some(batch))), (3, vec!["c".to_owned()]));
    buffer.resume(1);
    assert_eq!(buffer.next_batch(9, usize::MAX, |_| 1).unwrap().first_seq, 3, "an older ack brings nothing back");
}

#[test]
fn a_batch_respects_its_cost_limit() {
    let mut buffer = small(100);
    push(&mut buffer, "aaaa\nbb\ncc\n");
    let cost = |item: &BufferedLine| item.line.text.len();
    assert_eq!(texts(buffer.next_batch(9, 3, cost)), ["aaaa"]);
    assert_eq!(texts(buffer.next_batch(9, 3, cost)), ["bb"]);
    assert_eq!(texts(buffer.next_batch(9, 4, cost)), ["cc"]);
}

#[test]
fn overflow_leaves_one_gap_marker_and_the_newest_line() {
    let mut buffer = small(4);
    push(&mut buffer, "a\nb\n");
    assert_eq!(next_texts(&mut buffer), ["a", "b"]);
    push(&mut buffer, "c\nd\ne\nf\n");
    buffer.push_internal("signal".into(), NOW);
    push(&mut buffer, "g\nh\nunfinished");
    assert!(next_texts(&mut buffer).is_empty(), "half of the buffer is in flight");
    assert_eq!(buffer.skipped_lines(), 5);
    buffer.ack(2);
    assert_eq!(next_texts(&mut buffer), ["signal"]);
    push(&mut buffer, " line\n");
    buffer.ack(3);
    assert_eq!(next_texts(&mut buffer), ["[6 messages skipped]", "unfinished line"]);
    push(&mut buffer, "i\n");
    buffer.ack(5);
    assert_eq!(next_texts(&mut buffer), ["i"]);
    assert_eq!(buffer.skipped_lines(), 6);
}

#[test]
fn the_end_is_last_and_resent_until_acked() {
    let mut buffer = small(4);
    push(&mut buffer, "a\nrest");
    buffer.finish(Exit::code(3), Some("ended".into()), NOW);
    push(&mut buffer, "too late\n");
    assert!(buffer.next_end().is_none(), "not before the lines");
    assert_eq!(next_texts(&mut buffer), ["a", "rest"]);
    buffer.ack(2);
    assert_eq!(next_texts(&mut buffer), ["ended"]);
    assert_eq!(buffer.next_end(), Some((4, Exit::code(3), NOW)));
    assert!(buffer.next_end().is_none(), "once a connection");
    buffer.ack(3);
    assert!(!buffer.is_complete());
    buffer.resume(3);
    assert_eq!(buffer.next_end().map(|end| end.0), Some(4));
    buffer.ack(4);
    assert!(buffer.is_complete() && buffer.unconfirmed_lines() == 0);
}

#[test]
fn memory_is_bounded_without_a_server() {
    let mut buffer = Buffer::default();
    let chunk: String = (0..30_000).map(|n| format!("{n}\n")).collect();
    for _ in 0..200 {
        push(&mut buffer, &chunk);
        assert!(buffer.bytes <= WORKER_BUFFER_BYTES && buffer.queue.len() <= WORKER_BUFFER_LINES);
    }
    buffer.finish(Exit::code(1), None, NOW);
    assert_eq!(buffer.unconfirmed_lines(), 200 * 30_000);
    let lines = next_texts(&mut buffer);
    let mark = GapMarker::parse(&lines[0]).unwrap();
    assert_eq!(mark.count + WORKER_BUFFER_LINES as u64 / 8, 200 * 30_000);
    let last = buffer.queue.back().unwrap();
    assert_eq!(last.line.text, "29999");
}

#[test]
fn the_end_of_a_giant_line_survives() {
    let mut buffer = small(2);
    push(&mut buffer, "a\nb\nc\n");
    push(&mut buffer, &"é".repeat(300));
    push(&mut buffer, "END");
    buffer.finish(Exit::code(0), None, NOW);
    assert_eq!(next_texts(&mut buffer), ["[4 messages skipped]"]);
    buffer.ack(1);
    let rest = next_texts(&mut buffer).concat();
    assert!(rest.ends_with("éEND") && !rest.contains('\u{fffd}'), "{rest}");
}

#[derive(Clone, Debug)]
enum BufferStep {
    Lines(bool, usize),
    Piece(String),
    Internal,
    Take(usize),
    Ack(usize),
    Reconnect(usize),
}

fn step() -> impl Strategy<Value = BufferStep> {
    prop_oneof![
        (any::<bool>(), 1usize..12).prop_map(|(err, n)| BufferStep::Lines(err, n)),
        "[ab\n]{1,9}".prop_map(BufferStep::Piece),
        Just(BufferStep::Internal),
        (1usize..9).prop_map(BufferStep::Take),
        (0usize..9).prop_map(BufferStep::Ack),
        (0usize..9).prop_map(BufferStep::Reconnect),
    ]
}

/// A server that stores lines by number and asserts that a number's line never changes.
#[derive(Default)]
struct BufferModelServer {
    lines: Vec<BufferedLine>,
    acked: usize,
}

impl BufferModelServer {
    fn receive(&mut self, batch: NumberedLines<'_>) {
        let first = usize::try_from(batch.first_seq).unwrap() - 1;
        assert!(first <= self.lines.len(), "a hole in the numbers");
        for (index, item) in batch.items.enumerate() {
            match self.lines.get(first + index) {
                Some(known) => assert_eq!(known, item, "a number was given twice"),
                None => self.lines.push(item.clone()),
            }
        }
    }

    fn ack(&mut self, lines: usize) -> u64 {
        self.acked = (self.acked + lines).min(self.lines.len());
        self.acked as u64
    }
}

proptest! {
    #[test]
    fn every_line_is_delivered_or_counted(steps in prop::collection::vec(step(), 0..120)) {
        let mut buffer = small(10);
        let mut server = BufferModelServer::default();
        let (mut received, mut own) = ([String::new(), String::new()], 0);
        for step in steps {
            match step {
                BufferStep::Lines(err, count) => {
                    let channel = usize::from(err);
                    let text: String = (0..count).map(|n| format!("{}\n", received[channel].len() + n)).collect();
                    received[channel].push_str(&text);
                    buffer.push_bytes(Channel::ALL[channel], text.as_bytes(), NOW);
                }
                BufferStep::Piece(text) => {
                    received[0].push_str(&text);
                    buffer.push_bytes(Channel::Stdout, text.as_bytes(), NOW);
                }
                BufferStep::Internal => {
                    own += 1;
                    buffer.push_internal(format!("own {own}"), NOW);
                }
                BufferStep::Take(lines) => buffer.next_batch(lines, usize::MAX, |_| 1).into_iter().for_each(|b| server.receive(b)),
                BufferStep::Ack(lines) => { buffer.ack(server.ack(lines)); }
                BufferStep::Reconnect(lost) => {
                    // Lines that were not acked may or may not have arrived.
                    let arrived = server.lines.len().saturating_sub(lost).max(server.acked);
                    server.lines.truncate(arrived);
                    server.acked = arrived;
                    buffer.resume(arrived as u64);
                }
            }
            prop_assert!(buffer.queue.len() <= 10 + 3 + own, "bounded");
        }
        buffer.finish(Exit::code(0), None, NOW);
        let expected = server.acked as u64 + buffer.queue.len() as u64;
        buffer.ack(server.ack(1000));
        while let Some(batch) = buffer.next_batch(7, usize::MAX, |_| 1) {
            server.receive(batch);
            buffer.ack(server.ack(1000));
        }
        prop_assert_eq!(server.lines.len() as u64, expected);
        prop_assert_eq!(buffer.next_end().map(|end| end.0), Some(expected + 1));
        check(&server, &received, own)?;
    }
}

fn check(server: &BufferModelServer, received: &[String; 2], own: usize) -> Result<(), TestCaseError> {
    let (mut delivered, mut skipped) = (0, 0);
    let mut owns = Vec::new();
    for item in &server.lines {
        match item.kind {
            LineKind::Line => delivered += 1,
            LineKind::Internal => owns.push(item.line.text.clone()),
            LineKind::Gap(count) => {
                skipped += count;
                prop_assert_eq!(GapMarker::parse(&item.line.text).map(|mark| mark.count), Some(count));
            }
        }
    }
    let sent: usize = received.iter().map(|text| text.lines().count()).sum();
    prop_assert_eq!(delivered + skipped, sent as u64);
    prop_assert_eq!(owns, (1..=own).map(|n| format!("own {n}")).collect::<Vec<_>>());
    for (channel, text) in Channel::ALL.into_iter().zip(received) {
        let seen: Vec<_> = server
            .lines
            .iter()
            .filter(|i| i.channel == channel && i.kind == LineKind::Line)
            .map(|i| &i.line.text)
            .collect();
        let mut all = text.lines();
        prop_assert!(seen.iter().all(|line| all.any(|sent| sent == line.as_str())), "in order");
        prop_assert_eq!(seen.last().map(|l| l.as_str()), text.lines().last(), "the newest line survives");
    }
    Ok(())
}
