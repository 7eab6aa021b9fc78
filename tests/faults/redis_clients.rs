//! Redis clients that say nothing, or are too many.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::common::{TestServer, serve_with, within};
use crate::tools::{reached, rest, say};

const SHORT: Duration = Duration::from_secs(1);

async fn dial(server: &TestServer) -> TcpStream {
    let url = server.server.redis_url().unwrap();
    within("a connection", TcpStream::connect(url.strip_prefix("redis://").unwrap())).await.unwrap()
}

async fn hear(stream: &mut TcpStream, wanted: &str) {
    use tokio::io::AsyncReadExt as _;
    let mut heard = vec![0; wanted.len()];
    within(wanted, stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_spoke_is_closed_and_one_that_did_is_not() {
    let server = serve_with(|options| {
        options.resp = Some("127.0.0.1:0".to_owned());
        options.limits.header_timeout = SHORT;
    })
    .await;
    let mut spoke = dial(&server).await;
    say(&mut spoke, "PING\r\n").await;
    hear(&mut spoke, "+PONG\r\n").await;
    let mut silent = dial(&server).await;
    let mut began = dial(&server).await;
    say(&mut began, "*2\r\n$4\r\nECH").await;
    assert_eq!((rest(&mut silent).await, rest(&mut began).await), (String::new(), String::new()));
    assert_eq!(reached(&server, "header_timeout").await, 2.0);
    say(&mut spoke, "PING\r\n").await;
    hear(&mut spoke, "+PONG\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_is_closed_if_that_is_set_and_one_that_waits_is_not() {
    let server = serve_with(|options| {
        options.resp = Some("127.0.0.1:0".to_owned());
        options.limits.resp_idle_timeout = Some(SHORT);
    })
    .await;
    let mut waits = dial(&server).await;
    say(&mut waits, "XREAD BLOCK 0 STREAMS k $\r\n").await;
    let mut idle = dial(&server).await;
    say(&mut idle, "PING\r\n").await;
    assert_eq!(rest(&mut idle).await, "+PONG\r\n");
    assert_eq!(reached(&server, "resp_idle_timeout").await, 1.0);
    let mut other = dial(&server).await;
    say(&mut other, "XADD k 1-1 f v\r\n").await;
    hear(&mut waits, "*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_clients() {
    let server = serve_with(|options| {
        options.resp = Some("127.0.0.1:0".to_owned());
        options.limits.connections_per_address_max = 1;
    })
    .await;
    let mut first = dial(&server).await;
    say(&mut first, "PING\r\n").await;
    hear(&mut first, "+PONG\r\n").await;
    assert_eq!(rest(&mut dial(&server).await).await, "-ERR max number of clients reached\r\n");
    // Each port counts for itself.
    assert_eq!(reached(&server, "connections_per_address_max").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_too_large_for_memory_is_rejected_and_readable_in_parts() {
    let server = serve_with(|options| {
        options.resp = Some("127.0.0.1:0".to_owned());
        options.limits.resp_reply_bytes_max = 10_000;
    })
    .await;
    let mut client = dial(&server).await;
    let value = "x".repeat(1_000);
    for n in 1..=20 {
        say(&mut client, &format!("XADD k {n}-1 f {value}\r\n")).await;
        hear(&mut client, &if n < 10 { format!("$3\r\n{n}-1\r\n") } else { format!("$4\r\n{n}-1\r\n") }).await;
    }
    let refused = "-ERR reply would exceed 10000 bytes; use COUNT\r\n";
    for command in ["XRANGE k - +", "XREVRANGE k + -", "XREAD STREAMS k 0", "XREAD BLOCK 0 STREAMS k 0"] {
        say(&mut client, &format!("{command}\r\n")).await;
        hear(&mut client, refused).await;
    }
    assert_eq!(reached(&server, "resp_reply_bytes_max").await, 4.0);
    say(&mut client, "XRANGE k 20 + COUNT 5\r\nPING\r\n").await;
    hear(&mut client, &format!("*1\r\n*2\r\n$4\r\n20-1\r\n*2\r\n$1\r\nf\r\n$1000\r\n{value}\r\n+PONG\r\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_stay_within_their_memory() {
    let server = serve_with(|options| {
        options.resp = Some("127.0.0.1:0".to_owned());
        options.redis_values = true;
        options.limits.resp_values_bytes_max = 10_000;
    })
    .await;
    let mut client = dial(&server).await;
    let refused = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let value = "x".repeat(9_000);
    say(&mut client, &format!("SET k {value}{value}\r\nSETRANGE k 1000000 x\r\nEXISTS k\r\n")).await;
    hear(&mut client, &format!("{refused}{refused}:0\r\n")).await;
    say(&mut client, &format!("SET k {value}\r\nRPUSH l {value}\r\nCOPY k copy\r\nAPPEND k {value}\r\n")).await;
    hear(&mut client, &format!("+OK\r\n{refused}{refused}{refused}")).await;
    // Streams are stored elsewhere, and reading and deleting needs no memory.
    say(&mut client, "XADD s 1-1 f v\r\nSTRLEN k\r\nDEL k\r\nRPUSH l a b\r\n").await;
    hear(&mut client, "$3\r\n1-1\r\n:9000\r\n:1\r\n:2\r\n").await;
    assert_eq!(reached(&server, "resp_values_bytes_max").await, 5.0);
}
