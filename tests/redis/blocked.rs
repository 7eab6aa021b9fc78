//! Blocked readers where time or the order on one connection matters; `cases/blocked.txt` has the rest.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use crate::oracle::{Server, pause, servers};
use crate::wire::{Client, Frame, PATIENCE};

/// Does the same on each server and wants the same from each.
fn on_each(test: impl Fn(&Server)) {
    for server in servers() {
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| test(&server)));
        assert!(done.is_ok(), "above: {:?}", server.which);
    }
}

fn ask(client: &mut Client, line: &str) -> String {
    client.ask(&line.split(' ').collect::<Vec<_>>()).map_or_else(|lost| lost.to_string(), |frame| frame.to_string())
}

fn send(client: &mut Client, line: &str) {
    client.send(&line.split(' ').collect::<Vec<_>>());
}

fn until_blocked(client: &mut Client, count: usize) {
    let begun = Instant::now();
    let wanted = format!("blocked_clients:{count}");
    loop {
        let info = client.ask(&["INFO", "clients"]).unwrap();
        let text = String::from_utf8_lossy(info.text().unwrap()).into_owned();
        if text.lines().any(|line| line == wanted) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never {wanted}: {text}");
        pause();
    }
}

#[test]
fn a_timeout_is_neither_early_nor_forgotten() {
    on_each(|server| {
        let mut reader = server.connect();
        for ms in [1, 40, 250] {
            let begun = Instant::now();
            assert_eq!(ask(&mut reader, &format!("XREAD BLOCK {ms} STREAMS k $")), r"*-1\r\n");
            // The oracles look at their clock in whole milliseconds.
            assert!(begun.elapsed() + Duration::from_millis(2) >= Duration::from_millis(ms), "{ms} ms came early");
            assert!(begun.elapsed() < PATIENCE, "{ms} ms came late");
        }
    });
}

#[test]
fn requests_after_a_blocking_read_wait_for_it() {
    on_each(|server| {
        let (mut reader, mut writer) = (server.connect(), server.connect());
        send(&mut reader, "XREAD BLOCK 0 STREAMS k $");
        send(&mut reader, "XLEN k");
        send(&mut reader, "XREAD BLOCK 0 STREAMS k $");
        send(&mut reader, "ECHO last");
        until_blocked(&mut writer, 1);
        assert_eq!(ask(&mut writer, "XADD k 1-1 f v"), r"$3\r\n1-1\r\n");
        assert!(reader.reply().unwrap().to_string().contains("1-1"));
        assert_eq!(reader.reply(), Ok(Frame::Line(b':', b"1".to_vec())));
        until_blocked(&mut writer, 1);
        assert_eq!(ask(&mut writer, "XADD k 1-2 f v"), r"$3\r\n1-2\r\n");
        let woken = reader.reply().unwrap().to_string();
        assert!(woken.contains("1-2") && !woken.contains("1-1"), "{woken}");
        assert_eq!(reader.reply().unwrap().text(), Some(b"last".as_slice()));
    });
}

#[test]
fn a_closed_blocked_connection_is_not_counted_and_consumes_nothing() {
    on_each(|server| {
        let mut writer = server.connect();
        assert_eq!(ask(&mut writer, "XGROUP CREATE k g $ MKSTREAM"), r"+OK\r\n");
        let (mut first, mut second) = (server.connect(), server.connect());
        send(&mut first, "XREADGROUP GROUP g gone BLOCK 0 STREAMS k >");
        until_blocked(&mut writer, 1);
        send(&mut second, "XREADGROUP GROUP g stays BLOCK 0 STREAMS k >");
        until_blocked(&mut writer, 2);
        drop(first);
        until_blocked(&mut writer, 1);
        assert_eq!(ask(&mut writer, "XADD k 1-1 f v"), r"$3\r\n1-1\r\n");
        assert!(second.reply().unwrap().to_string().contains("1-1"));
        let pending = ask(&mut writer, "XPENDING k g");
        assert!(pending.contains("stays") && !pending.contains("gone"), "{pending}");
    });
}

#[test]
fn a_group_serves_blocked_consumers_in_order_of_arrival() {
    const WAITERS: usize = 24;
    on_each(|server| {
        let mut writer = server.connect();
        assert_eq!(ask(&mut writer, "XGROUP CREATE k g $ MKSTREAM"), r"+OK\r\n");
        let mut waiters: Vec<Client> = (0..WAITERS).map(|_| server.connect()).collect();
        for (number, waiter) in waiters.iter_mut().enumerate() {
            send(waiter, &format!("XREADGROUP GROUP g c{number} COUNT 1 BLOCK 0 STREAMS k >"));
            until_blocked(&mut writer, number + 1);
        }
        for number in 0..WAITERS {
            send(&mut writer, &format!("XADD k 1-{} f v", number + 1));
        }
        for number in 0..WAITERS {
            assert!(writer.reply().is_ok(), "entry {number}");
        }
        for (number, waiter) in waiters.iter_mut().enumerate() {
            let woken = waiter.reply().unwrap().to_string();
            assert!(woken.contains(&format!(r"\r\n1-{}\r\n", number + 1)), "waiter {number} got {woken}");
        }
    });
}

#[test]
fn a_reader_that_reconnects_at_once_misses_nothing() {
    const ENTRIES: usize = 500;
    on_each(|server| {
        let (mut reader, mut writer) = (server.connect(), server.connect());
        let writing = std::thread::spawn(move || {
            for number in 1..=ENTRIES {
                assert!(ask(&mut writer, &format!("XADD k {number}-1 f v")).starts_with('$'));
            }
        });
        let (mut seen, mut after) = (0, "0".to_owned());
        while seen < ENTRIES {
            let frame = reader.ask(&["XREAD", "COUNT", "7", "BLOCK", "0", "STREAMS", "k", &after]).unwrap();
            let Frame::Many(_, Some(streams)) = frame else { panic!("{frame}") };
            let Frame::Many(_, Some(stream)) = &streams[0] else { panic!("{}", streams[0]) };
            let Frame::Many(_, Some(entries)) = &stream[1] else { panic!("{}", stream[1]) };
            for entry in entries {
                let Frame::Many(_, Some(entry)) = entry else { panic!("{entry}") };
                seen += 1;
                after = format!("{seen}-1");
                assert_eq!(entry[0].text(), Some(after.as_bytes()));
            }
        }
        writing.join().unwrap();
    });
}
