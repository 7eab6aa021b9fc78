//! A proxy that breaks one hop: it looks at each request and cuts, holds back or changes what one of
//! them gets.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
pub(crate) enum Deal {
    /// It passes.
    Pass,
    /// It is answered 502.
    Cut,
    /// The answer's head passes, its body never does.
    Hold,
    /// In its answer, one text becomes another (of the same length, so that lengths stay true).
    Change(&'static str, &'static str),
    /// In its body, one text becomes another of the same length.
    ChangeBody(&'static str, &'static str),
}

type Dealer = dyn Fn(&str) -> Deal + Send + Sync;

/// Starts a proxy before the server at `target`; `deal` is given `METHOD PATH?QUERY`.
pub(crate) async fn start(target: SocketAddr, deal: impl Fn(&str) -> Deal + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let deal: Arc<Dealer> = Arc::new(deal);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let deal = deal.clone();
            tokio::spawn(async move { serve(near, target, &*deal).await });
        }
    });
    url
}

/// One request a connection: the server is told to close after it.
async fn serve(mut near: TcpStream, target: SocketAddr, deal: &Dealer) -> Option<()> {
    let mut request = Vec::new();
    let head_end = read_until_blank(&mut near, &mut request).await?;
    let head = String::from_utf8_lossy(&request[..head_end]).into_owned();
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let deal = deal(&line);
    if matches!(deal, Deal::Cut) {
        near.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.ok()?;
        return Some(());
    }
    let mut body = request.split_off(head_end);
    let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0usize);
    while body.len() < length {
        if near.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    if let Deal::ChangeBody(from, to) = deal {
        body = replace(&body, from, to);
    }
    let mut far = TcpStream::connect(target).await.ok()?;
    let upgrade = head.to_ascii_lowercase().contains("upgrade: websocket");
    let head = if upgrade { head } else { head.replacen("\r\n", "\r\nconnection: close\r\n", 1) };
    far.write_all(head.as_bytes()).await.ok()?;
    far.write_all(&body).await.ok()?;
    match deal {
        Deal::Hold => {
            let mut answer = Vec::new();
            let end = read_until_blank(&mut far, &mut answer).await?;
            near.write_all(&answer[..end]).await.ok()?;
            // Until the client gives up.
            near.read_u8().await.ok();
        }
        Deal::Change(from, to) => {
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).await.ok()?;
            near.write_all(&replace(&answer, from, to)).await.ok()?;
        }
        _ => {
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        }
    }
    Some(())
}

async fn read_until_blank(stream: &mut TcpStream, into: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(end) = into.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some(end + 4);
        }
        if stream.read_buf(into).await.ok()? == 0 {
            return None;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths stay true");
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to).into_bytes()
}
