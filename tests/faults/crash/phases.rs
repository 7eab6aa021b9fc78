//! Kills in every phase.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::crash::model::{Client, World};
use crate::crash::{Dice, rounds};
use crate::disk::machine::shim;
use crate::disk::server::{Server, command};

const ROUNDS_DEFAULT: u64 = 165;
/// Small segments, so that they are often begun, checkpointed, copied and removed.
const FLAGS: [&str; 4] = ["--live-window-lines", "300", "--journal-segment-bytes", "64KiB"];
/// What the server does by itself has this long, until it is killed anyway.
const WORK_TIME: Duration = Duration::from_millis(1_500);

/// Where a kill is made: the operation, its file, the highest number of it, and what makes it happen.
struct Phase {
    name: &'static str,
    operation: &'static str,
    file: &'static str,
    count: u64,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    /// Lines, entries, transactions, ends, removals.
    All,
    /// Lines enough for a step of archiving.
    Many,
    Ends,
    Removals,
    /// Keys that end by themselves while the server is away, and small blocks.
    Trickle,
    /// Nothing: what is done at the opening.
    None,
}

const PHASES: [Phase; 16] = [
    Phase { name: "append: frame", operation: "write", file: "journal/segment", count: 30, work: Work::All },
    Phase { name: "append: sync", operation: "sync", file: "journal/segment", count: 30, work: Work::All },
    Phase { name: "sled: write", operation: "write", file: "journal/db", count: 3, work: Work::Many },
    Phase { name: "segment: begin", operation: "create", file: "journal/segment", count: 4, work: Work::Many },
    Phase { name: "segment: remove", operation: "unlink", file: "journal/segment", count: 3, work: Work::Many },
    Phase { name: "archive: begin", operation: "create", file: "archive/", count: 1, work: Work::Many },
    Phase { name: "archive: write", operation: "write", file: ".zst.open", count: 2, work: Work::Many },
    // Once the archive has the lines the journal lets them go.
    Phase { name: "trim", operation: "sync", file: ".zst.open", count: 2, work: Work::Many },
    Phase { name: "seal: tail", operation: "write", file: ".zst.open", count: 2, work: Work::Ends },
    Phase { name: "seal: sync", operation: "sync", file: ".zst.open", count: 3, work: Work::Ends },
    Phase { name: "seal: name", operation: "rename", file: ".zst", count: 1, work: Work::Ends },
    Phase { name: "delete", operation: "unlink", file: "archive/", count: 1, work: Work::Removals },
    Phase { name: "expiry and packing", operation: "write", file: "journal/segment", count: 3, work: Work::Trickle },
    Phase { name: "open: snapshot", operation: "rename", file: "journal/snap", count: 1, work: Work::None },
    Phase { name: "open: store", operation: "write", file: "journal/", count: 4, work: Work::None },
    Phase { name: "open: sync", operation: "sync", file: "journal", count: 8, work: Work::None },
];

/// A server on its way up: it may be killed before it serves.
fn start(data: &Path, kill: Option<&str>) -> Option<Server> {
    let mut serve = command(data, &FLAGS);
    if let Some(kill) = kill {
        serve.env("LD_PRELOAD", shim()).env("SHIM_FOLDER", data).env("SHIM_KILL", kill);
    }
    Server::try_spawn(serve.stderr(Stdio::inherit()))
}

fn is_dead(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_some()
}

#[expect(clippy::disallowed_methods, reason = "another process's progress cannot be waited for otherwise")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn work(world: &mut World, client: &mut Client, work: Work, dice: &mut Dice) {
    match work {
        Work::All => {
            for _ in 0..12 {
                world.append(client, dice, 60);
                world.add(client, dice);
                world.transact(client);
                if dice.roll(6) == 0 {
                    world.end(client, dice);
                }
                if dice.roll(8) == 0 {
                    world.remove(client, dice);
                }
            }
        }
        Work::Many => (0..4).for_each(|_| world.append(client, dice, 2_500)),
        Work::Ends => {
            world.append(client, dice, 300);
            (0..2).for_each(|_| world.end(client, dice));
        }
        Work::Removals => (0..2).for_each(|_| world.remove_sealed(client, dice)),
        Work::Trickle | Work::None => {}
    }
}

#[test]
fn acknowledged_writes_and_deletions_survive_interrupted_phases() {
    let seed = std::env::var("TASKTAIL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(u64::from(std::process::id()));
    println!("TASKTAIL_SEED={seed}");
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut world = World::default();
    let (mut hit, mut missed, mut kills) = (BTreeMap::<&str, u64>::new(), 0, 0);
    let rounds = rounds(ROUNDS_DEFAULT);
    let mut round = 0;
    while kills < rounds {
        let phase = &PHASES[round % PHASES.len()];
        let random = dice.roll(6) == 0;
        round += 1;
        if phase.work == Work::Trickle {
            // What is to be done by itself at the next start is prepared.
            let mut server = start(&data, None).unwrap();
            let mut client = Client::new(&server);
            world.check(&mut client);
            world.trickle(&mut client, &mut dice);
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            kills += 1;
        }
        let when = ["before", "half", "after"][usize::try_from(dice.roll(3)).unwrap()];
        let kill = format!("{}:{}:{}:{when}", phase.operation, phase.file, 1 + dice.roll(phase.count));
        let Some(mut server) = start(&data, (!random).then_some(&kill)) else {
            *hit.entry(phase.name).or_default() += 1;
            kills += 1;
            continue;
        };
        let mut client = Client::new(&server);
        // A kill may come while it is looked at; then the next round looks.
        world.check(&mut client);
        work(&mut world, &mut client, phase.work, &mut dice);
        let begun = Instant::now();
        let patience = if random { Duration::from_millis(dice.roll(300)) } else { WORK_TIME };
        while !is_dead(&mut server.child) && begun.elapsed() < patience {
            pause();
        }
        if is_dead(&mut server.child) {
            *hit.entry(phase.name).or_default() += 1;
        } else {
            let name = if random { "at random" } else { "(not reached in time)" };
            *hit.entry(name).or_default() += 1;
            missed += u64::from(!random);
        }
        drop(server);
        kills += 1;
    }
    let server = start(&data, None).unwrap();
    let mut client = Client::new(&server);
    world.check(&mut client);
    assert!(client.is_up(), "the last look was whole");
    println!("{kills} kills in {round} rounds: {hit:#?}\n{world}");
    for phase in &PHASES {
        assert!(hit.contains_key(phase.name), "never interrupted: {}", phase.name);
    }
    assert!(missed * 2 < kills, "most kills are where they should be");
}
