use std::io::Write;

use warp::http::HeaderValue;

use super::*;

const TEXT: &str = "one\ntwo ü\n";

fn headers(encoding: &str, content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    headers
}

/// Returns the decoded body, sent in chunks of this size.
async fn read(bytes: &[u8], chunk: usize, headers: &HeaderMap) -> Result<Vec<u8>, BodyError> {
    let chunks: Vec<_> = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let mut body: BodyStream<'static> = iter(chunks).boxed();
    let decoded = decoded(&mut body, headers, 500).unwrap();
    decoded
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

#[tokio::test]
async fn every_coding_is_removed_at_any_chunk_size() {
    let text = TEXT.as_bytes();
    let two = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
    let cases: [(&str, Vec<u8>, usize); 10] = [
        ("gzip", gzip(text), 1),
        ("X-GZip", gzip(text), 1),
        ("gzip", two(gzip(text)), 2),
        ("zstd", zstd(text), 1),
        ("zstd", two(zstd(text)), 2),
        ("deflate", zlib(text), 1),
        ("deflate", raw_deflate(text), 1),
        ("identity", text.to_vec(), 1),
        ("deflate, gzip", gzip(&zlib(text)), 1),
        ("", text.to_vec(), 1),
    ];
    for (coding, bytes, times) in cases {
        for chunk in [1, 7, 1000] {
            let decoded = read(&bytes, chunk, &headers(coding, "text/plain")).await.unwrap();
            assert_eq!(String::from_utf8(decoded).unwrap(), TEXT.repeat(times), "{coding} {chunk}");
        }
    }
    assert_eq!(read(b"", 1, &headers("gzip", "text/plain")).await, Ok(Vec::new()));
}

#[tokio::test]
async fn damaged_bodies_keep_the_lines_before_the_damage() {
    let many: String = (0..10_000).map(|n| format!("{n} {}\n", n * 7919 % 10_007)).collect();
    let whole = gzip(many.as_bytes());
    let mut body: BodyStream<'static> = iter([Ok(Bytes::copy_from_slice(&whole[..whole.len() / 2]))]).boxed();
    let sent = headers("gzip", "text/plain");
    let mut decoded = decoded(&mut body, &sent, 500).unwrap();
    let (mut bytes, mut error) = (0, None);
    while let Some(chunk) = decoded.next().await {
        match chunk {
            Ok(chunk) => bytes += chunk.len(),
            Err(failed) => error = Some(failed),
        }
    }
    assert!(bytes > 10_000, "{bytes}");
    assert_eq!(error, Some(BodyError::CutOff("gzip")));
    for coding in ["gzip", "zstd", "deflate"] {
        let error = read(b"this is not compressed at all", 5, &headers(coding, "text/plain")).await.unwrap_err();
        assert!(matches!(error, BodyError::Undecodable(name) | BodyError::CutOff(name) if name == coding), "{error}");
    }
}

#[tokio::test]
async fn bombs_are_rejected_early() {
    let zeros = vec![0; 64 << 20];
    for (coding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros)), ("gzip, gzip", gzip(&gzip(&zeros)))] {
        let error = read(&bomb, 1000, &headers(coding, "text/plain")).await.unwrap_err();
        assert_eq!(error, BodyError::Expands, "{coding}");
    }
    let repeated = "an ordinary line of a log, again and again\n".repeat(10_000);
    assert!(read(&gzip(repeated.as_bytes()), 1000, &headers("gzip", "text/plain")).await.is_ok());
}

#[tokio::test]
async fn charsets_and_byte_order_marks_are_honoured() {
    let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let utf16_be = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("text/plain", b"plain \xe9".to_vec(), "plain \u{fffd}"),
        ("text/plain; charset=utf-8", "ü".into(), "ü"),
        ("text/plain; charset=US-ASCII", "ü".into(), "ü"),
        ("text/plain; charset=ISO-8859-1", b"caf\xe9".to_vec(), "café"),
        ("text/plain; format=flowed; charset=\"windows-1252\"", b"\x80 5".to_vec(), "€ 5"),
        ("text/plain; charset=utf-16le", utf16("ü\n"), "ü\n"),
        ("text/plain; charset=utf-16be", utf16_be("ü\n"), "ü\n"),
        ("text/plain; charset=utf-16", utf16("\u{feff}ü\n"), "ü\n"),
        ("text/plain", utf16("\u{feff}two\nlines"), "two\nlines"),
        ("text/plain", utf16_be("\u{feff}two"), "two"),
        ("text/plain", "\u{feff}marked".into(), "marked"),
    ];
    for (content_type, bytes, wanted) in cases {
        for chunk in [1, 2, 3, 1000] {
            let decoded = read(&bytes, chunk, &headers("", content_type)).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&decoded), wanted, "{content_type} {chunk}");
        }
    }
}

#[test]
fn unknown_codings_and_charsets_are_named() {
    let mut body: BodyStream<'static> = iter([]).boxed();
    for (coding, content_type, header, part) in [
        ("br", "text/plain", "Content-Encoding", "gzip"),
        ("gzip, compress", "text/plain", "Content-Encoding", "\"compress\""),
        ("", "text/plain; charset=klingon", "Content-Type", "utf-16"),
        ("gzip,gzip,gzip,gzip,gzip", "text/plain", "Content-Encoding", "over 4"),
    ] {
        let error = decoded(&mut body, &headers(coding, content_type), 500).err().unwrap();
        assert!(error.detail().contains(header) && error.detail().contains(part), "{}", error.detail());
    }
}
