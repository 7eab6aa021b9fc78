//! Any bytes at the Redis port: one outcome however they are cut, and never more held than allowed.
//!
//! ```text
//! cargo fuzz run resp_request fuzz/found fuzz/corpus/resp_request -- -dict=fuzz/resp_request.dict
//! ```
//! With a stable toolchain `RUSTC_BOOTSTRAP=1` goes before it. What it finds worth keeping is put
//! into the corpus by hand, which the tests run at every cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasktail::wire::resp::{Parser, ProtocolError, RequestLimits};

const LIMITS: RequestLimits =
    RequestLimits { args_max: 64, bulk_bytes_max: 1_000, request_bytes_max: 2_000, inline_bytes_max: 300 };

/// An argument of three digits costs `$999` and two line ends; before them the count, after them a line in the making.
const HELD_BYTES_MAX: usize = LIMITS.request_bytes_max + 9 * LIMITS.args_max + 5 + LIMITS.inline_bytes_max;

fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let mut parser = Parser::new(LIMITS);
    let mut requests = Vec::new();
    for piece in pieces {
        parser.buffer().extend_from_slice(piece);
        loop {
            match parser.next() {
                Ok(Some(request)) => {
                    assert!(!request.is_empty());
                    assert_eq!(request.detached(), request);
                    requests.push(request.args().map(<[u8]>::to_vec).collect());
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
        assert!(parser.buffered() <= HELD_BYTES_MAX);
    }
    (requests, None)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = outcome(bytes.chunks(1));
    for size in [2, 3, 7, 64] {
        assert_eq!(outcome(bytes.chunks(size)), whole);
    }
});
