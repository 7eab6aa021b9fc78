//! The race of every live reader: it looks, finds nothing, and goes to sleep, while the one thing it
//! waits for happens in between. Each round lets the two meet anew; a lost wake-up shows as a wait
//! that does not end, since nothing else comes before the reader has answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use tasktail::journal::{Batch, Durability, Journal, PageLimits, Tail, Woken};
use tasktail::model::{LineText, TaskId};
use tasktail::tasks::{FollowEvent, Follower, LineBatch, Start, Tasks, TasksOptions};
use tokio::sync::Barrier;

const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Busy for a while that differs from round to round, so that the two sides meet at every point of
/// each other's way.
fn dawdle(round: u64) {
    for _ in 0..(round * 7919) % 4_001 {
        std::hint::spin_loop();
    }
}

fn line() -> LineText<'static> {
    LineText { text: "x".into(), ..LineText::default() }
}

fn one_line() -> Batch {
    let mut batch = Batch::new();
    batch.push(&line());
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_wakeups_of_a_tail() {
    const ROUNDS: u64 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Durability::Interval).unwrap();
    let stream = journal.stream_or_new(b"s").unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let writer = tokio::spawn({
        let (journal, stream, barrier) = (journal.clone(), stream.clone(), barrier.clone());
        async move {
            for round in 0..ROUNDS {
                barrier.wait().await;
                dawdle(round);
                journal.append(&stream, one_line(), None).await.unwrap().await.unwrap();
            }
        }
    });
    for round in 1..=ROUNDS {
        barrier.wait().await;
        // Registers, looks, waits: each round from the start, as a reader that has just come.
        let mut tail = Tail::new(&journal, &stream, round);
        loop {
            let page = tail.read(PageLimits::default()).unwrap();
            if !page.lines.is_empty() {
                assert_eq!((page.lines.len(), tail.next()), (1, round + 1));
                break;
            }
            let woken = tokio::time::timeout(HANGS_AFTER, tail.wait()).await;
            assert_eq!(woken.unwrap_or_else(|_| panic!("a wake-up was lost in round {round}")), Woken::Grown);
        }
    }
    writer.await.unwrap();
    journal.close().await;
}

async fn next(follower: &mut Follower, round: u64) -> FollowEvent {
    let event = tokio::time::timeout(HANGS_AFTER, follower.next()).await;
    event.unwrap_or_else(|_| panic!("a wake-up was lost in round {round}")).unwrap().expect("it goes on")
}

/// Lines and changes of the facts by turns: they wake a follower in different ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_wakeups_of_a_follower() {
    const ROUNDS: u64 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let options = TasksOptions { durability: Durability::Interval, ..TasksOptions::default() };
    let tasks = Tasks::open(folder.path(), options).await.unwrap();
    let task = tasks.get_or_create(&"w".parse().unwrap()).await.unwrap();
    let mut follower = task.follow(Start::From(1));
    assert!(matches!(next(&mut follower, 0).await, FollowEvent::Open { .. }));
    let barrier = Arc::new(Barrier::new(2));
    let writer = tokio::spawn({
        let barrier = barrier.clone();
        async move {
            let mut worker = None;
            for round in 0..ROUNDS {
                barrier.wait().await;
                dawdle(round);
                match round % 3 {
                    0 => worker = Some(task.attach()),
                    1 => drop(worker.take()),
                    _ => {
                        let mut batch = LineBatch::new();
                        batch.push(&line());
                        task.append(batch).await.unwrap().await.unwrap();
                    }
                }
            }
            task
        }
    });
    for round in 0..ROUNDS {
        barrier.wait().await;
        match (round % 3, next(&mut follower, round).await) {
            (2, FollowEvent::Page(page)) => assert_eq!(page.lines.len(), 1),
            (turn, FollowEvent::Status(facts)) if turn < 2 => assert_eq!(facts.live, turn == 0),
            (turn, event) => panic!("turn {turn}: {event:?}"),
        }
    }
    drop(writer.await.unwrap());
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_wakeups_of_who_waits_for_a_task() {
    const ROUNDS: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let options = TasksOptions { durability: Durability::Interval, ..TasksOptions::default() };
    let tasks = Tasks::open(folder.path(), options).await.unwrap();
    let id = |round: u64| format!("t{round}").parse::<TaskId>().unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let maker = tokio::spawn({
        let (tasks, barrier) = (tasks.clone(), barrier.clone());
        async move {
            for round in 0..ROUNDS {
                barrier.wait().await;
                dawdle(round);
                tasks.get_or_create(&id(round)).await.unwrap();
            }
        }
    });
    for round in 0..ROUNDS {
        barrier.wait().await;
        let appeared = tokio::time::timeout(HANGS_AFTER, tasks.appeared(&id(round))).await;
        let task = appeared.unwrap_or_else(|_| panic!("a wake-up was lost in round {round}"));
        assert_eq!(*task.id(), id(round));
    }
    maker.await.unwrap();
    tasks.close().await;
}
