//! curl and redis-cli, as people use them.

use std::process::{Command, Stdio};

use crate::tls::certs::Folder;
use crate::tls::secure;

/// What a program printed on stdout, its exit code and its stderr.
async fn said(program: &'static str, args: Vec<String>, stdin: String) -> (String, Option<i32>, String) {
    let run = move || {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} is needed: {error}"));
        let mut pipe = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, stdin.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().ok();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), output.status.code(), text(output.stderr))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_appends_and_reads() {
    let folder = Folder::usual();
    let server = secure(&folder, |_| {}).await;
    let (url, ca) = (server.server.url(), folder.path("ca.pem").display().to_string());
    for version in ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"] {
        let (out, code, err) =
            said("curl", words(&format!("-sS -v --max-time 20 {version} --cacert {ca} {url}/healthz")), String::new())
                .await;
        assert_eq!(code, Some(0), "{version}: {err}");
        assert!(out.contains("tasktail") && err.contains("ALPN: server accepted http/1.1"), "{version}: {out} {err}");
    }
    let old = format!("-sS --max-time 20 --tls-max 1.1 --cacert {ca} {url}/healthz");
    assert_ne!(said("curl", words(&old), String::new()).await.1, Some(0), "TLS 1.1");
    let unknown = said("curl", words(&format!("-sS --max-time 20 {url}/healthz")), String::new()).await;
    assert_eq!(unknown.1, Some(60), "{}", unknown.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_reads_and_appends() {
    let folder = Folder::usual();
    let server = secure(&folder, |_| {}).await;
    let url = server.server.redis_url().unwrap();
    let port = url.rsplit_once(':').unwrap().1;
    let cli = format!("-h 127.0.0.1 -p {port} --tls --cacert {}", folder.path("ca.pem").display());
    let ask = async |args: &str, stdin: String| {
        let (out, code, err) = said("redis-cli", words(format!("{cli} {args}").trim_end()), stdin).await;
        assert_eq!(code, Some(0), "{args}: {out} {err}");
        out
    };
    assert_eq!(ask("PING", String::new()).await, "PONG\n");
    // A pipeline in, and a reply back that is far larger than any buffer.
    let long = "x".repeat(1_000);
    let adds: String = (0..1_000).map(|n| format!("XADD task:logs:7 * line {n}-{long}\n")).collect();
    assert_eq!(ask("", adds).await.lines().count(), 1_000);
    let all = ask("--json XRANGE task:logs:7 - +", String::new()).await;
    assert_eq!((all.matches(&long).count(), all.contains("999-x")), (1_000, true));
    let blocked = ask("XREAD BLOCK 50 STREAMS task:logs:7 $", String::new()).await;
    assert_eq!(blocked.trim(), "");
    assert!(ask("CLIENT LIST", String::new()).await.contains("cmd=client|list"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_set_over_tls_is_host_only_and_secure() {
    use tasktail::auth::{IdPatterns, NewToken, Scope, Tokens};
    let folder = Folder::usual();
    let mut token = String::new();
    let server = secure(&folder, |options| {
        let (tasks, runs) = (IdPatterns::all(), IdPatterns::all());
        let new = NewToken { name: "ci".parse().unwrap(), scope: Scope::Read, tasks, runs, expires: None };
        token = Tokens::at(&options.data).create(new).unwrap().0.reveal().to_owned();
    })
    .await;
    let (url, ca) = (server.server.url(), folder.path("ca.pem").display().to_string());
    let port = url.rsplit_once(':').unwrap().1;
    let curl = format!("-sS -i --max-time 20 --cacert {ca}");
    let form = format!("token={token}&next=%2Fruns");
    let signed_in = said("curl", words(&format!("{curl} -H origin:{url} -d {form} {url}/login")), String::new()).await;
    let head = signed_in.0.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 303") && head.contains("location: /runs"), "{head} {}", signed_in.2);
    let cookie = signed_in.0.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.starts_with(&format!("__Host-tasktail_session_{port}=")), "{cookie}");
    for flag in ["Path=/;", "HttpOnly", "SameSite=Strict", "Secure", "Max-Age=43200"] {
        assert!(cookie.contains(flag), "{flag}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let shown = cookie.split(';').next().unwrap();
    let seen = said("curl", words(&format!("{curl} -b {shown} {url}/api/v1/tasks")), String::new()).await;
    assert!(seen.0.starts_with("HTTP/1.1 200"), "{}", seen.0);
    // The name of a cookie without TLS is another: what a network gave is not taken.
    let planted = shown.strip_prefix("__Host-").unwrap();
    let refused = said("curl", words(&format!("{curl} -b {planted} {url}/api/v1/tasks")), String::new()).await;
    assert!(refused.0.starts_with("HTTP/1.1 401"), "{}", refused.0);
}
