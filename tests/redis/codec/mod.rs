//! The codec of the Redis port, from outside: recorded answers, properties and the fuzzer's corpus.

mod pieces;
mod recorded;
mod replies;

use tasktail::wire::resp::{Parser, ProtocolError, RequestLimits};

type Args = Vec<Vec<u8>>;

/// What comes out of bytes: each request's arguments, then the error, if any.
type Outcome = (Vec<Args>, Option<ProtocolError>);

/// The outcome of bytes that come in these pieces.
fn parse_pieces<'a>(limits: RequestLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limits);
    let mut requests = Vec::new();
    for piece in pieces {
        parser.buffer().extend_from_slice(piece);
        loop {
            match parser.next() {
                Ok(Some(request)) => requests.push(request.args().map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

/// The outcome of bytes that come at once.
fn parse(bytes: &[u8]) -> Outcome {
    parse_pieces(RequestLimits::default(), [bytes])
}
