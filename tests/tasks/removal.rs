//! A task is removed while its end is still being carried through: nothing of it comes back.

use tasktail::model::{LineText, TaskId};
use tasktail::tasks::{Durability, EndRequest, LineBatch, Tasks, TasksOptions};

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_during_the_seal_is_whole() {
    const ROUNDS: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let options = TasksOptions { durability: Durability::Interval, ..TasksOptions::default() };
    let tasks = Tasks::open(folder.path(), options.clone()).await.unwrap();
    for round in 0..ROUNDS {
        let id: TaskId = format!("t{round}").parse().unwrap();
        let task = tasks.get_or_create(&id).await.unwrap();
        let mut batch = LineBatch::new();
        for _ in 0..50 {
            batch.push(&LineText { text: "x".into(), ..LineText::default() });
        }
        task.append(batch).await.unwrap().await.unwrap();
        task.end(EndRequest::default()).await.unwrap();
        // The seal has begun by now; each round it has come a little further.
        for _ in 0..round * 40 {
            std::hint::spin_loop();
        }
        assert!(tasks.remove(&id).await.unwrap());
        assert!(tasks.get(&id).await.unwrap().is_none(), "it is back in round {round}");
    }
    tasks.close().await;
    drop(tasks);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("archive")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "archives of removed tasks: {left:?}");
    let tasks = Tasks::open(folder.path(), options).await.unwrap();
    assert_eq!(tasks.stats().tasks, 0, "nothing is back after an opening");
    tasks.close().await;
}
