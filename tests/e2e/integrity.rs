//! Whether a log is what its worker sent, from the worker's end to the words for a person.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::net::{Viewer, facts};
use crate::support::{Home, until};
use crate::tools::{Background, wait_for};

#[test]
fn a_whole_log_is_complete_and_its_folder_has_no_faults() {
    let home = Home::new();
    let serve = home.serve();
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done; printf 'a\\0b\\xff'; printf rest";
    home.run(&["run", "--url", &serve.url, "--task", "t", "--", "bash", "-c", script]);
    let told = facts(&serve.url, "t");
    // Its own first and last words count, too.
    assert_eq!((&told["integrity"]["state"], &told["integrity"]["lines"]), (&"complete".into(), &603.into()), "{told}");
    assert_eq!(told["integrity"]["hash"], told["integrity"]["said_hash"]);
    let shown = home.ok(&["show", "t", "--url", &serve.url]);
    assert!(shown.contains("integrity:     complete: 601 lines\n"), "{shown}");
    assert!(shown.contains(told["integrity"]["hash"].as_str().unwrap()), "{shown}");
    until("it is sealed", || !facts(&serve.url, "t")["artifact"].is_null());
    drop(serve);
    let checked = home.ok(&["verify"]);
    assert!(
        checked.starts_with("checked 1 task, 1 archive (603 lines)") && checked.ends_with(": no faults\n"),
        "{checked}"
    );
}

/// Passes everything but frames of the worker that hold these words. Answers its URL.
fn swallower(url: &str, words: &'static str) -> (String, Arc<AtomicUsize>) {
    let target = url.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let swallowed = Arc::new(AtomicUsize::new(0));
    let count = swallowed.clone();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&target).unwrap();
            let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                std::io::copy(&mut from, &mut to).ok();
                to.shutdown(Shutdown::Both).ok();
            });
            let count = count.clone();
            std::thread::spawn(move || pass_frames(near, far, words, &count));
        }
    });
    (own, swallowed)
}

/// The head of the request, then frame after frame (RFC 6455, 5.2: those of a client are masked).
fn pass_frames(mut from: TcpStream, mut to: TcpStream, words: &str, swallowed: &AtomicUsize) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        from.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    to.write_all(&head).ok()?;
    loop {
        let mut frame = vec![0; 2];
        from.read_exact(&mut frame).ok()?;
        let more = match frame[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        frame.resize(2 + more + 4, 0);
        from.read_exact(&mut frame[2..]).ok()?;
        let long = frame[2..2 + more].iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
        let len = if more == 0 { usize::from(frame[1] & 0x7f) } else { long };
        let mask: [u8; 4] = frame[2 + more..].try_into().unwrap();
        let mut payload = vec![0; len];
        from.read_exact(&mut payload).ok()?;
        let plain: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let text = String::from_utf8_lossy(&plain);
        let has_lines = text.contains(r#""type":"log_lines""#) || plain.first() == Some(&0xb1);
        if has_lines && text.contains(words) {
            swallowed.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        frame.extend(payload);
        to.write_all(&frame).ok()?;
    }
}

#[test]
fn a_frame_that_is_swallowed_on_the_way_is_named() {
    let home = Home::new();
    let serve = home.serve();
    let (url, swallowed) = swallower(&serve.url, "swallowed 42");
    let viewer = Viewer::start(&serve.url, "t");
    // The worker itself says the command, with the sum in it.
    let script = format!(
        "echo one; {}; echo swallowed $((40 + 2)); {}; echo last",
        wait_for(&home.path("go")),
        wait_for(&home.path("end"))
    );
    let mut run = Background::start(&home, "run", &["run", "--url", &url, "--task", "t", "--", "sh", "-c", &script]);
    until("the first line", || viewer.has("one"));
    std::fs::write(home.path("go"), "").unwrap();
    until("a frame was swallowed", || swallowed.load(Ordering::SeqCst) > 0);
    std::fs::write(home.path("end"), "").unwrap();
    assert_eq!(run.code(), Some(0), "{}", run.err());
    let seen = viewer.finish();
    assert_eq!(seen.texts("stdout"), ["one", "last"]);
    let integrity = &seen.end.unwrap()["integrity"];
    assert_eq!((&integrity["state"], &integrity["missing_lines"]), (&"incomplete".into(), &1.into()), "{integrity}");
    let shown = home.ok(&["show", "t", "--url", &serve.url]);
    assert!(shown.contains("incomplete: 1 line missing: 1 line lost in transit at line 3"), "{shown}");
}
