use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_778_336_581_000);

fn small(lines_max: usize) -> Buffer {
    Buffer::new(Bounds { lines_max, bytes_max: 1 << 20, tail_bytes_max: 64, tail_lines_max: 1 })
}

fn texts(batch: Option<Batch<'_>>) -> Vec<String> {
    batch.map_or_else(Vec::new, |batch| batch.items.map(|item| item.line.text.clone()).collect())
}

fn take(buffer: &mut Buffer) -> Vec<String> {
    texts(buffer.take(100, usize::MAX, |_| 1))
}

fn push(buffer: &mut Buffer, text: &str) {
    buffer.push_bytes(Channel::Stdout, text.as_bytes(), NOW);
}

#[test]
fn numbers_are_dense_and_unacked_lines_are_sent_again() {
    let mut buffer = small(100);
    push(&mut buffer, "a\nb\nc\n");
    let batch = buffer.take(2, usize::MAX, |_| 1).unwrap();
    assert_eq!((batch.first_seq, texts(Some(batch))), (1, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(buffer.take(2, usize::MAX, |_| 1).unwrap().first_seq, 3);
    assert!(buffer.take(2, usize::MAX, |_| 1).is_none());
    buffer.ack(1);
    buffer.resume(2);
    let batch = buffer.take(9, usize::MAX, |_| 1).unwrap();
    assert_eq!((batch.first_seq, texts(Some(batch))), (3, vec!["c".to_owned()]));
    buffer.resume(1);
    assert_eq!(buffer.take(9, usize::MAX, |_| 1).unwrap().first_seq, 3, "an older ack brings nothing back");
}

#[test]
fn a_batch_keeps_to_its_cost_unless_one_line_is_more() {
    let mut buffer = small(100);
    push(&mut buffer, "aaaa\nbb\ncc\n");
    let cost = |item: &Item| item.line.text.len();
    assert_eq!(texts(buffer.take(9, 3, cost)), ["aaaa"]);
    assert_eq!(texts(buffer.take(9, 3, cost)), ["bb"]);
    assert_eq!(texts(buffer.take(9, 4, cost)), ["cc"]);
}

#[test]
fn overflow_leaves_one_mark_in_order_and_the_newest_line() {
    let mut buffer = small(4);
    push(&mut buffer, "a\nb\n");
    assert_eq!(take(&mut buffer), ["a", "b"]);
    push(&mut buffer, "c\nd\ne\nf\n");
    buffer.push_own("signal".into(), NOW);
    push(&mut buffer, "g\nh\nunfinished");
    assert!(take(&mut buffer).is_empty(), "half of the buffer is in flight");
    assert_eq!(buffer.skipped_lines(), 5);
    buffer.ack(2);
    assert_eq!(take(&mut buffer), ["signal"]);
    push(&mut buffer, " line\n");
    buffer.ack(3);
    assert_eq!(take(&mut buffer), ["[6 messages skipped]", "unfinished line"]);
    push(&mut buffer, "i\n");
    buffer.ack(5);
    assert_eq!(take(&mut buffer), ["i"]);
    assert_eq!(buffer.skipped_lines(), 6);
}

#[test]
fn the_end_follows_everything_and_is_repeated_until_acked() {
    let mut buffer = small(4);
    push(&mut buffer, "a\nrest");
    buffer.finish(Exit::code(3), Some("ended".into()), NOW);
    push(&mut buffer, "too late\n");
    assert!(buffer.take_end().is_none(), "not before the lines");
    assert_eq!(take(&mut buffer), ["a", "rest"]);
    buffer.ack(2);
    assert_eq!(take(&mut buffer), ["ended"]);
    assert_eq!(buffer.take_end(), Some((4, Exit::code(3), NOW)));
    assert!(buffer.take_end().is_none(), "once a connection");
    buffer.ack(3);
    assert!(!buffer.is_complete());
    buffer.resume(3);
    assert_eq!(buffer.take_end().map(|end| end.0), Some(4));
    buffer.ack(4);
    assert!(buffer.is_complete() && buffer.unconfirmed_lines() == 0);
}

#[test]
fn a_flood_without_a_server_costs_bounded_memory_and_ends_with_its_last_lines() {
    let mut buffer = Buffer::default();
    let chunk: String = (0..30_000).map(|n| format!("{n}\n")).collect();
    for _ in 0..200 {
        push(&mut buffer, &chunk);
        assert!(buffer.bytes <= WORKER_BUFFER_BYTES && buffer.queue.len() <= WORKER_BUFFER_LINES);
    }
    buffer.finish(Exit::code(1), None, NOW);
    assert_eq!(buffer.unconfirmed_lines(), 200 * 30_000);
    let lines = take(&mut buffer);
    let mark = GapMarker::parse(&lines[0]).unwrap();
    assert_eq!(mark.count + WORKER_BUFFER_LINES as u64 / 8, 200 * 30_000);
    let last = buffer.queue.back().unwrap();
    assert_eq!(last.line.text, "29999");
}

#[test]
fn a_headless_giant_is_counted_and_its_end_kept() {
    let mut buffer = small(2);
    push(&mut buffer, "a\nb\nc\n");
    push(&mut buffer, &"é".repeat(300));
    push(&mut buffer, "END");
    buffer.finish(Exit::code(0), None, NOW);
    assert_eq!(take(&mut buffer), ["[4 messages skipped]"]);
    buffer.ack(1);
    let rest = take(&mut buffer).concat();
    assert!(rest.ends_with("éEND") && !rest.contains('\u{fffd}'), "{rest}");
}

#[derive(Clone, Debug)]
enum Step {
    Lines(bool, usize),
    Piece(String),
    Own,
    Take(usize),
    Ack(usize),
    Reconnect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<bool>(), 1usize..12).prop_map(|(err, n)| Step::Lines(err, n)),
        "[ab\n]{1,9}".prop_map(Step::Piece),
        Just(Step::Own),
        (1usize..9).prop_map(Step::Take),
        (0usize..9).prop_map(Step::Ack),
        (0usize..9).prop_map(Step::Reconnect),
    ]
}

/// A server that keeps what it has seen by number, and insists that a number's line never changes.
#[derive(Default)]
struct Server {
    lines: Vec<Item>,
    acked: usize,
}

impl Server {
    fn receive(&mut self, batch: Batch<'_>) {
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
        let mut server = Server::default();
        let (mut received, mut own) = ([String::new(), String::new()], 0);
        for step in steps {
            match step {
                Step::Lines(err, count) => {
                    let channel = usize::from(err);
                    let text: String = (0..count).map(|n| format!("{}\n", received[channel].len() + n)).collect();
                    received[channel].push_str(&text);
                    buffer.push_bytes(Channel::ALL[channel], text.as_bytes(), NOW);
                }
                Step::Piece(text) => {
                    received[0].push_str(&text);
                    buffer.push_bytes(Channel::Stdout, text.as_bytes(), NOW);
                }
                Step::Own => {
                    own += 1;
                    buffer.push_own(format!("own {own}"), NOW);
                }
                Step::Take(lines) => buffer.take(lines, usize::MAX, |_| 1).into_iter().for_each(|b| server.receive(b)),
                Step::Ack(lines) => { buffer.ack(server.ack(lines)); }
                Step::Reconnect(lost) => {
                    // What was not acked may or may not have arrived.
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
        while let Some(batch) = buffer.take(7, usize::MAX, |_| 1) {
            server.receive(batch);
            buffer.ack(server.ack(1000));
        }
        prop_assert_eq!(server.lines.len() as u64, expected);
        prop_assert_eq!(buffer.take_end().map(|end| end.0), Some(expected + 1));
        check(&server, &received, own)?;
    }
}

fn check(server: &Server, received: &[String; 2], own: usize) -> Result<(), TestCaseError> {
    let (mut delivered, mut skipped) = (0, 0);
    let mut owns = Vec::new();
    for item in &server.lines {
        match item.kind {
            Kind::Line => delivered += 1,
            Kind::Own => owns.push(item.line.text.clone()),
            Kind::Mark(count) => {
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
            .filter(|i| i.channel == channel && i.kind == Kind::Line)
            .map(|i| &i.line.text)
            .collect();
        let mut all = text.lines();
        prop_assert!(seen.iter().all(|line| all.any(|sent| sent == line.as_str())), "in order");
        prop_assert_eq!(seen.last().map(|l| l.as_str()), text.lines().last(), "the newest line survives");
    }
    Ok(())
}
