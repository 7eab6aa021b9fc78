//! Random frames pass through the filter, split at random positions.

use super::*;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

const LIMIT: usize = 1000;
const MASK: [u8; 4] = [7, 0, 9, 200];

/// Returns a client's message in frames with these payloads.
fn message(opcode: u8, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, payload) in payloads.iter().enumerate() {
        let fin = if index + 1 == payloads.len() { FINAL } else { 0 };
        bytes.push(fin | if index == 0 { opcode } else { CONTINUATION });
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            long @ 126..0x10000 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
            huge => {
                bytes.push(0x80 | 127);
                bytes.extend(u64::try_from(huge).unwrap().to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    }
    bytes
}

/// Parses the output into messages: opcode and payload.
fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
    while let Some(header) = WsFrameHeader::parse(bytes) {
        let mask = &bytes[header.len - 4..header.len];
        let end = header.len + usize::try_from(header.payload).unwrap();
        let payload = bytes[header.len..end].iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]);
        if header.opcode == CONTINUATION {
            all.last_mut().unwrap().1.extend(payload);
        } else {
            all.push((header.opcode, payload.collect()));
        }
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty(), "incomplete frame in the output");
    all
}

/// Reads everything through the filter, `buffer_bytes` bytes at a time, from chunks of these sizes.
fn filtered(bytes: &[u8], cuts: &[usize], buffer_bytes: usize) -> Vec<u8> {
    let mut builder = in_chunks(bytes, cuts);
    let mut out = Vec::new();
    let mut filter = MessageSizeFilter::new(&mut builder, LIMIT, Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut buffer = vec![0; buffer_bytes];
        loop {
            let count = filter.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            out.extend_from_slice(&buffer[..count]);
        }
    });
    out
}

/// A reader that returns bytes in chunks.
struct ChunkedReader(std::collections::VecDeque<Vec<u8>>);

impl AsyncRead for ChunkedReader {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut chunk) = self.0.pop_front() {
            let count = chunk.len().min(out.remaining());
            out.put_slice(&chunk[..count]);
            if count < chunk.len() {
                self.0.push_front(chunk.split_off(count));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn in_chunks(mut bytes: &[u8], cuts: &[usize]) -> ChunkedReader {
    let mut chunks = std::collections::VecDeque::new();
    for cut in cuts.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (chunk, rest) = bytes.split_at((*cut).min(bytes.len()));
        chunks.push_back(chunk.to_vec());
        bytes = rest;
    }
    ChunkedReader(chunks)
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![4 => 0..200_usize, 1 => 200..LIMIT * 3];
    let payload = (any::<u8>(), size).prop_map(|(byte, size)| vec![byte; size]);
    prop::collection::vec(payload, 1..4)
}

proptest! {
    #[test]
    fn small_messages_pass_and_oversized_ones_are_replaced(
        sent in prop::collection::vec((prop_oneof![Just(TEXT), Just(BINARY), Just(9)], payloads()), 0..12),
        cuts in prop::collection::vec(1..700_usize, 1..20),
        buffer_bytes in prop_oneof![1..40_usize, 200..5000_usize],
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (opcode, payloads) in &sent {
            // A control frame has a single short payload.
            let payloads = if *opcode == 9 { &vec![vec![1; 20]][..] } else { payloads };
            bytes.extend(message(*opcode, payloads));
            let whole = payloads.concat();
            let opcode = if payloads.len() > 1 { BINARY } else { *opcode };
            expected.push((opcode, whole));
        }
        let got = messages(&filtered(&bytes, &cuts, buffer_bytes));
        prop_assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(&expected) {
            if expected.1.len() > LIMIT {
                prop_assert!(is_marker(&got.1));
                prop_assert!(got.1.len() <= LIMIT + MARKER.len());
            } else {
                prop_assert_eq!(got, expected);
            }
        }
    }
}

#[test]
fn small_messages_are_unchanged() {
    let bytes = [message(TEXT, &[b"hello".to_vec()]), message(TEXT, &[vec![b'x'; 900]])].concat();
    assert_eq!(filtered(&bytes, &[3], 8), bytes);
    assert_eq!(filtered(&bytes, &[5000], 5000), bytes);
}
