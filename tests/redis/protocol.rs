//! Bytes that no client library would send: what each server answers, until it closes or goes on.

use crate::normal::normalise;
use crate::oracle::{Server, servers};
use crate::script::Compare;
use crate::wire::{Frame, Lost, escape};

/// The command that shows that the connection is still there.
const SENTINEL: &[u8] = b"*2\r\n$4\r\nECHO\r\n$8\r\nSENTINEL\r\n";

/// Whole requests, right and wrong.
const REQUESTS: &[&[u8]] = &[
    b"PING\r\n",
    b"PING\n",
    b"  ping   x  \r\n",
    b"\r\n\r\nPING\r\n",
    b"\n\nPING\n",
    b"*0\r\nPING\r\n",
    b"*-1\r\nPING\r\n",
    b"*-10\r\nPING\r\n",
    b"ECHO \"a\\x41\\n\\r\\t\\\"\\\\b\"\r\n",
    b"ECHO 'it\\'s \\x41'\r\n",
    b"ECHO \"\"\r\n",
    b"ECHO a\"b c\"\r\n",
    b"ECHO \"a\"b\r\n",
    b"ECHO \"a\r\n",
    b"ECHO 'a\r\n",
    b"ECHO \"\\xZZ\"\r\n",
    b"ECHO \xff\xfe\r\n",
    b"NOSUCH a\r\n",
    b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$3\r\nabcXX",
    b"*2\r\n$4\r\nECHO\r\n$-1\r\n",
    b"*2\r\n$4\r\nECHO\r\n$x\r\n",
    b"*2\r\n$4\r\nECHO\r\n$\r\n",
    b"*2\r\n$4\r\nECHO\r\n$+3\r\nabc\r\n",
    b"*2\r\n$4\r\nECHO\r\n$03\r\nabc\r\n",
    b"*2\r\n$4\r\nECHO\r\n$ 3\r\nabc\r\n",
    b"*2\r\n$4\r\nECHO\r\n$9223372036854775808\r\n",
    b"*2\r\n$4\r\nECHO\r\n:3\r\n",
    b"*2\r\n$4\r\nECHO\r\n\xff\r\n",
    b"*2\r\nPING\r\n",
    b"*x\r\n",
    b"*\r\n",
    b"*1.5\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"* 1\r\n",
    b"*9223372036854775807\r\n",
    b"*99999999999999999999\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"$4\r\nPING\r\n",
    b":1\r\n",
    b"+PING\r\n",
    b"-ERR\r\n",
    b"%1\r\n",
    b"GET / HTTP/1.1\r\n",
    b"ECHO a b\r\nECHO c\r\n",
    b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
    b"CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
    b"CLIENT REPLY OFF\r\nPING\r\nNOSUCH\r\nCLIENT REPLY ON\r\nPING\r\n",
    b"CLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\n",
    b"HELLO 3\r\nHELLO 2 BAD\r\nXREAD STREAMS none 0\r\n",
    b"MULTI\r\nPING\r\n*x\r\n",
    b"QUIT\r\nPING\r\n",
    b"PING\r\nQUIT\r\nPING\r\n",
];

/// Where the oracles differ; ours is as one of them.
const APART: &[(&[u8], &str)] = &[
    (b"ECHO \"a\"b\r\n", "the newer one takes text behind a closing quote"),
    (b"ECHO \xff\xfe\r\n", "the newer one drops bytes that are no ASCII from inline words"),
    (b"*2\r\n$4\r\nECHO\r\n$3\r\nabcXX", "only the newer one looks at what ends an argument"),
];

/// All replies to these bytes, up to the sentinel's or the end of the connection.
fn answer(server: &Server, request: &[u8]) -> String {
    let mut client = server.connect();
    client.send_raw(&[request, SENTINEL].concat());
    let mut told = String::new();
    loop {
        match client.reply() {
            Ok(Frame::Blob(b'$', Some(text))) if text == b"SENTINEL" => return told + "(goes on)",
            Ok(frame) => told += &normalise(Compare::Exact, frame).to_string(),
            Err(Lost::Closed) => return told + "(closed)",
            Err(Lost::Silent) => return told + "(silent)",
        }
    }
}

#[test]
fn odd_bytes_are_answered_as_the_oracles_do() {
    let servers = servers();
    let mut differ = Vec::new();
    for request in REQUESTS {
        let answers: Vec<String> = servers.iter().map(|server| answer(server, request)).collect();
        let apart = APART.iter().find(|(apart, _)| apart == request);
        let (newer, older) = (answers.len() - 1, answers.len() - 2);
        let agree = match apart {
            None => answers.iter().all(|answer| *answer == answers[newer]),
            Some(_) => answers[newer] != answers[older] && answers[older..].contains(&answers[0]),
        };
        if !agree {
            let each = servers.iter().zip(&answers).map(|(server, answer)| format!("\n  {:?}: {answer}", server.which));
            let reason = apart.map_or("", |(_, reason)| reason);
            differ.push(format!("{} {reason}{}", escape(request), each.collect::<String>()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
