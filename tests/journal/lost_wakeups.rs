//! The race of every live reader: it looks, finds nothing, and goes to sleep, while the one thing it
//! waits for happens in between. Each round lets the two meet anew; a lost wake-up shows as a wait
//! that does not end, since nothing else comes before the reader has answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tasktail::journal::{Durability, Journal, LineBatch, PageLimits, TailEvent, TailReader};
use tasktail::model::{LineText, TaskId};
use tasktail::tasks::{FollowEvent, FollowStart, TaskFollower, Tasks, TasksOptions};

const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Where the two sides of a round meet: without a sleep, so that they start within some nanoseconds,
/// and with a delay on either side that differs from round to round, so that each meets the other at
/// every point of its way.
#[derive(Default)]
struct Meeting {
    reader: AtomicU64,
    writer: AtomicU64,
}

impl Meeting {
    async fn read(&self, round: u64, delay_max: u64) {
        self.reader.store(round, Ordering::Release);
        Self::wait(&self.writer, round).await;
        dawdle(round.wrapping_mul(7_919) % delay_max);
    }

    async fn write(&self, round: u64, delay_max: u64) {
        self.writer.store(round, Ordering::Release);
        Self::wait(&self.reader, round).await;
        dawdle(round.wrapping_mul(104_729) % delay_max);
    }

    async fn wait(other: &AtomicU64, round: u64) {
        let mut spins = 0u64;
        while other.load(Ordering::Acquire) < round {
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(2_000) {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn dawdle(spins: u64) {
    for _ in 0..spins {
        std::hint::spin_loop();
    }
}

fn line() -> LineText<'static> {
    LineText { text: "x".into(), ..LineText::default() }
}

fn one_line() -> LineBatch {
    let mut batch = LineBatch::new();
    batch.push(&line());
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_wakeups_of_a_tail() {
    const ROUNDS: u64 = 1_500;
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Durability::Interval).unwrap();
    let stream = journal.stream_or_new(b"s").unwrap();
    let meeting = Arc::new(Meeting::default());
    let writer = tokio::spawn({
        let (journal, stream, meeting) = (journal.clone(), stream.clone(), meeting.clone());
        async move {
            for round in 1..=ROUNDS {
                meeting.write(round, 10).await;
                journal.append(&stream, one_line(), None).await.unwrap().await.unwrap();
            }
        }
    });
    for round in 1..=ROUNDS {
        // An append takes longer than a look.
        meeting.read(round, 4_001).await;
        // Registers, looks, waits: each round from the start, as a reader that has just come.
        let mut tail = TailReader::new(&journal, &stream, round);
        loop {
            let page = tail.read(PageLimits::default()).unwrap();
            if !page.lines.is_empty() {
                assert_eq!((page.lines.len(), tail.next()), (1, round + 1));
                break;
            }
            let woken = tokio::time::timeout(HANGS_AFTER, tail.wait()).await;
            assert_eq!(woken.unwrap_or_else(|_| panic!("a wake-up was lost in round {round}")), TailEvent::Grown);
        }
    }
    writer.await.unwrap();
    journal.close().await;
}

async fn next(follower: &mut TaskFollower, round: u64) -> FollowEvent {
    let event = tokio::time::timeout(HANGS_AFTER, follower.next()).await;
    event.unwrap_or_else(|_| panic!("a wake-up was lost in round {round}")).unwrap().expect("it goes on")
}

/// Lines and changes of the facts by turns: they wake a follower in different ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_wakeups_of_a_follower() {
    const ROUNDS: u64 = 40_000;
    // Twenty changes, which are cheap, for each line.
    let kind = |round: u64| if round.is_multiple_of(21) { 2 } else { (round % 21 + 1) % 2 };
    let folder = tempfile::tempdir().unwrap();
    let options = TasksOptions { durability: Durability::Interval, ..TasksOptions::default() };
    let tasks = Tasks::open(folder.path(), options).await.unwrap();
    let task = tasks.get_or_create(&"w".parse().unwrap()).await.unwrap();
    let mut follower = task.follow(FollowStart::From(1));
    assert!(matches!(next(&mut follower, 0).await, FollowEvent::Open { .. }));
    let meeting = Arc::new(Meeting::default());
    let writer = tokio::spawn({
        let meeting = meeting.clone();
        async move {
            let mut worker = None;
            for round in 1..=ROUNDS {
                meeting.write(round, 401).await;
                match kind(round) {
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
    for round in 1..=ROUNDS {
        meeting.read(round, 101).await;
        match (kind(round), next(&mut follower, round).await) {
            (2, FollowEvent::Page(page)) => assert_eq!(page.lines.len(), 1),
            (turn, FollowEvent::Status(facts)) if turn < 2 => assert_eq!(facts.live, turn == 0),
            (turn, event) => panic!("turn {turn}: {event:?}"),
        }
    }
    drop(writer.await.unwrap());
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_waiter_for_a_task_misses_no_wakeup() {
    const ROUNDS: u64 = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let options = TasksOptions { durability: Durability::Interval, ..TasksOptions::default() };
    let tasks = Tasks::open(folder.path(), options).await.unwrap();
    let id = |round: u64| format!("t{round}").parse::<TaskId>().unwrap();
    let meeting = Arc::new(Meeting::default());
    let maker = tokio::spawn({
        let (tasks, meeting) = (tasks.clone(), meeting.clone());
        async move {
            for round in 1..=ROUNDS {
                meeting.write(round, 10).await;
                tasks.get_or_create(&id(round)).await.unwrap();
            }
        }
    });
    for round in 1..=ROUNDS {
        meeting.read(round, 1_001).await;
        let appeared = tokio::time::timeout(HANGS_AFTER, tasks.wait_for(&id(round))).await;
        let task = appeared.unwrap_or_else(|_| panic!("a wake-up was lost in round {round}"));
        assert_eq!(*task.id(), id(round));
    }
    maker.await.unwrap();
    tasks.close().await;
}
