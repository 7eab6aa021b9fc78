//! Any bytes for a block of the journal: it is damaged, or its entries come in order; what is read
//! can be packed again and is then the same.

use tasktail::model::EntryId;
use tasktail::store::block::{self, BlockBuilder};

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    let first = EntryId::new(1_778_336_581_000, 3);
    let Ok(header) = block::decode_header(bytes) else { return };
    let mut builder = BlockBuilder::new(first, header.first_line);
    let mut count = 0u64;
    let mut origins = header.origins();
    let read = block::decode(first, bytes, |entry| {
        assert_eq!(Some(entry.n), header.first_line.checked_add(count));
        count += 1;
        let mut body = Vec::new();
        block::encode_body(&mut body, &entry.body).unwrap();
        assert_eq!(block::decode_body(&body).unwrap(), entry.body);
        builder.push_with_origin(entry.id, &body, origins.next().unwrap()).unwrap();
        true
    });
    if read.is_err() {
        return;
    }
    assert_eq!(count, u64::from(header.count));
    let (_, packed) = builder.finish(header.total_bytes, header.total_skipped).unwrap();
    let mut all = Vec::new();
    block::decode(first, bytes, |entry| {
        all.push(format!("{entry:?}"));
        true
    })
    .unwrap();
    let mut again = Vec::new();
    block::decode(first, &packed, |entry| {
        again.push(format!("{entry:?}"));
        true
    })
    .unwrap();
    assert_eq!(again, all);
}
