//! What a reply says apart from the clock and the name of the server that gives it.

use std::time::SystemTime;

use crate::script::Compare;
use crate::wire::Frame;

/// Four days: what is this close to now comes from the clock. Random sequences expire keys that far ahead.
const CLOCK_MS: u64 = 4 * 86_400_000;

/// Idle times under this are "just now", however slow the machine.
const IDLE_SOON_MS: i64 = 15_000;

/// The reply with the clock taken out, and as much of it as is to be compared.
pub(crate) fn normalise(compare: Compare, frame: Frame) -> Frame {
    match compare {
        Compare::Exact => masked(frame),
        Compare::Near => near(frame),
        Compare::Sorted => sorted(masked(frame)),
        Compare::Shape => shape(frame),
        Compare::Kind => match frame {
            Frame::Line(kind, _) => Frame::Line(kind, Vec::new()),
            Frame::Blob(kind, text) => Frame::Blob(kind, text.map(|_| Vec::new())),
            Frame::Many(kind, inner) => Frame::Many(kind, inner.map(|_| Vec::new())),
            Frame::Attributed(inner, follows) => Frame::Attributed(inner, follows),
        },
    }
}

/// Replaces, wherever they stand: ids and times of now, idle times, what HELLO says of the server.
fn masked(frame: Frame) -> Frame {
    match frame {
        Frame::Line(b':', digits) if from_clock(&digits) => Frame::Line(b':', b"<now>".to_vec()),
        Frame::Blob(kind, Some(text)) if id_from_clock(&text) => Frame::Blob(kind, Some(b"<now>".to_vec())),
        Frame::Many(kind, Some(inner)) => {
            let mut inner: Vec<_> = inner.into_iter().map(masked).collect();
            mask_pending(&mut inner);
            let is_hello = has(&inner, b"server") && has(&inner, b"proto") && has(&inner, b"modules");
            let is_consumer = has(&inner, b"name") && (has(&inner, b"idle") || has(&inner, b"inactive"));
            // The tree is that of the ids' bytes.
            let has_clock_ids = inner
                .chunks_exact(2)
                .any(|pair| pair[0].text() == Some(b"last-generated-id") && pair[1].text() == Some(b"<now>"));
            for pair in inner.chunks_exact_mut(2) {
                let key = pair[0].text().unwrap_or_default().to_vec();
                if has_clock_ids && key == b"radix-tree-nodes" {
                    pair[1] = Frame::Line(b':', b"<now>".to_vec());
                }
                let hidden: &[&[u8]] = if is_hello { &[b"server", b"version", b"id", b"modules"] } else { &[] };
                if hidden.contains(&key.as_slice()) {
                    pair[1] = Frame::Line(b'+', b"<server>".to_vec());
                } else if is_consumer && (key == b"idle" || key == b"inactive") {
                    mask_idle(&mut pair[1]);
                }
            }
            Frame::Many(kind, Some(inner))
        }
        other => other,
    }
}

fn has(inner: &[Frame], key: &[u8]) -> bool {
    inner.chunks_exact(2).any(|pair| matches!(pair[0], Frame::Blob(b'$', _)) && pair[0].text() == Some(key))
}

/// An entry of XPENDING is id, consumer, idle time, count.
fn mask_pending(inner: &mut [Frame]) {
    if let [Frame::Blob(..), Frame::Blob(..), idle @ Frame::Line(b':', _), Frame::Line(b':', _)] = inner {
        mask_idle(idle);
    }
}

fn mask_idle(frame: &mut Frame) {
    let Some(idle) = number(frame) else { return };
    if (0..IDLE_SOON_MS).contains(&idle) {
        *frame = Frame::Line(b':', b"<soon>".to_vec());
    } else if idle > 0 {
        *frame = Frame::Line(b':', format!("<{}00 s>", idle / 100_000).into_bytes());
    }
}

fn number(frame: &Frame) -> Option<i64> {
    match frame {
        Frame::Line(b':', digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

fn from_clock(digits: &[u8]) -> bool {
    let Some(ms) = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok()) else { return false };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    u64::try_from(now).unwrap().abs_diff(ms) < CLOCK_MS
}

fn id_from_clock(text: &[u8]) -> bool {
    let dash = text.iter().position(|&byte| byte == b'-');
    dash.is_some_and(|dash| from_clock(&text[..dash]) && text[dash + 1..].iter().all(u8::is_ascii_digit))
}

/// An integer to the nearest ten, a large one to the nearest ten thousand.
fn near(frame: Frame) -> Frame {
    let Some(value) = number(&frame) else { return frame };
    let step = if value > 20_000 { 10_000 } else { 10 };
    Frame::Line(b':', ((value + step / 2) / step * step).to_string().into_bytes())
}

/// Sorts an array; of SCAN's answer the second element.
fn sorted(frame: Frame) -> Frame {
    let Frame::Many(kind, Some(mut inner)) = frame else { return frame };
    match inner.as_mut_slice() {
        [Frame::Blob(..), Frame::Many(_, Some(keys))] => keys.sort_by_key(Frame::bytes),
        all => all.sort_by_key(Frame::bytes),
    }
    Frame::Many(kind, Some(inner))
}

fn shape(frame: Frame) -> Frame {
    match frame {
        Frame::Line(kind, _) => Frame::Line(kind, Vec::new()),
        Frame::Blob(kind, text) => Frame::Blob(kind, text.map(|_| Vec::new())),
        Frame::Many(kind, inner) => Frame::Many(kind, inner.map(|inner| inner.into_iter().map(shape).collect())),
        Frame::Attributed(inner, follows) => Frame::Attributed(inner, Box::new(shape(*follows))),
    }
}

#[test]
fn only_the_clock_is_removed_from_a_line() {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let text = format!("*3\r\n$15\r\n{now}-7\r\n:{now}\r\n$3\r\n1-1\r\n");
    let (frame, _) = Frame::parse(text.as_bytes()).unwrap();
    let plain = normalise(Compare::Exact, frame);
    assert_eq!(plain.to_string(), r"*3\r\n$5\r\n<now>\r\n:<now>\r\n$3\r\n1-1\r\n");
    let pending = b"*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:12\r\n:3\r\n";
    let (frame, _) = Frame::parse(pending).unwrap();
    assert_eq!(normalise(Compare::Exact, frame).to_string(), r"*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:<soon>\r\n:3\r\n");
}
