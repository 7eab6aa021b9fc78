//! The power goes while short logs are sealed, several at a time: their lines are synced once, and their folder is
//! synced for all of them. Whatever the disk has kept, each line that was acked is there, and each end.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::power::{Dice, Fact, Recorder, Wanted, cut};
use crate::disk::rebuild::Op;
use crate::disk::server::Server;

/// Tasks that end at the same time, and how often that happens.
const AT_ONCE: usize = 8;
const ROUNDS: usize = 4;
const SEAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the record is when an archive has its final name, and some changes before and after that: between the
/// sync of its lines and the record of the seal.
fn around_renames(ops: &[(u64, Op)]) -> Vec<u64> {
    let is_seal = |op: &Op| matches!(op, Op::Rename { to, .. } if to.ends_with(".ndjson.zst"));
    let renames = ops.iter().enumerate().filter(|(_, (_, op))| is_seal(op));
    let moments = renames.flat_map(|(at, _)| at.saturating_sub(3)..(at + 6).min(ops.len()));
    moments.map(|at| ops[at].0).collect()
}

/// Ends eight tasks at a time, most of them with a few lines, some with several frames.
fn work(server: &Server, recorder: &mut Recorder, dice: &mut Dice) {
    for round in 0..ROUNDS {
        let tasks: Vec<String> = (0..AT_ONCE).map(|n| format!("s{round}-{n}")).collect();
        for task in &tasks {
            let many = if dice.roll(8) == 0 { 4_000 } else { 20 };
            let count = 1 + dice.roll(many);
            let text: String = (1..=count).map(|n| format!("{n}\n")).collect();
            assert_eq!(server.append(task, &text).status, 200);
            recorder.knows(Fact::Lines(task.clone(), count));
        }
        std::thread::scope(|scope| {
            let ends: Vec<_> = tasks.iter().map(|task| scope.spawn(|| server.end(task).status)).collect();
            for end in ends {
                assert_eq!(end.join().unwrap(), 200);
            }
        });
        for task in tasks {
            recorder.knows(Fact::Ended(task));
        }
    }
    wait_until_sealed(server, (0..ROUNDS).flat_map(|round| (0..AT_ONCE).map(move |n| format!("s{round}-{n}"))));
}

/// Waits until each of these tasks that has ended is sealed.
#[expect(clippy::disallowed_methods, reason = "another process's progress cannot be waited for otherwise")]
fn wait_until_sealed(server: &Server, tasks: impl Iterator<Item = String>) {
    let deadline = Instant::now() + SEAL_TIMEOUT;
    for task in tasks {
        loop {
            let details = server.get(&format!("/api/v1/tasks/{task}")).json();
            if details["status"] != "completed" || !details["artifact"].is_null() {
                break;
            }
            assert!(Instant::now() < deadline, "{task} is never sealed: {details}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn logs_that_are_being_sealed_survive_a_power_cut() {
    cut(&[], around_renames, work, |data: &Path, wanted: &Wanted| {
        let server = Server::start(data, &[]);
        wait_until_sealed(&server, wanted.lines.keys().cloned());
        for (task, acked) in &wanted.lines {
            let numbers: Vec<u64> = server.log(task).iter().map(|text| text.parse().unwrap()).collect();
            assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{task}: each once, in order: {numbers:?}");
            assert!(numbers.len() as u64 >= *acked, "{task}: {acked} lines were acked, {} are there", numbers.len());
        }
        for task in &wanted.ended {
            let details = server.get(&format!("/api/v1/tasks/{task}")).json();
            assert_eq!(details["status"], "completed", "{task}: {details}");
        }
        let kept = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!kept.into_iter().any(|name| name.contains("damaged")), "the store was not opened as it was");
    });
}
