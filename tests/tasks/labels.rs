//! Listing by label: the tasks with the labels, newest first, in pages, also after changes and a restart.

use std::path::Path;

use tasktail::tasks::{EndRequest, ListQuery, TaskDescription, Tasks, TasksOptions};

async fn open(folder: &Path) -> Tasks {
    Tasks::open(folder, TasksOptions::default()).await.unwrap()
}

async fn start(tasks: &Tasks, task: &str, labels: &[(&str, &str)]) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let id = task.parse().unwrap();
    let description =
        TaskDescription { id, session: "s".into(), command: Vec::new(), host: None, labels, started: None };
    tasks.start(description).await.unwrap();
}

/// Lists the tasks with these labels, in pages of three.
async fn listed(tasks: &Tasks, labels: &[(&str, &str)]) -> Vec<String> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut query = ListQuery { labels, limit: 3, ..ListQuery::default() };
    let mut found = Vec::new();
    loop {
        let page = tasks.list(&query).await.unwrap();
        assert!(page.tasks.len() <= 3);
        found.extend(page.tasks.iter().map(|task| task.id.to_string()));
        query.after = page.next;
        if query.after.is_none() {
            return found;
        }
    }
}

/// The tasks below `end` whose number leaves a remainder of 0, newest first.
fn multiples(of: usize, end: usize) -> Vec<String> {
    (0..end).rev().filter(|n| n % of == 0).map(|n| format!("t{n:02}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_by_their_labels_across_changes_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    for n in 0..30 {
        let (kind, third) = (if n % 2 == 0 { "even" } else { "odd" }, if n % 3 == 0 { "yes" } else { "no" });
        start(&tasks, &format!("t{n:02}"), &[("kind", kind), ("third", third)]).await;
    }
    assert_eq!(listed(&tasks, &[("kind", "even")]).await, multiples(2, 30));
    assert_eq!(listed(&tasks, &[("kind", "even"), ("third", "yes")]).await, multiples(6, 30));
    assert_eq!(listed(&tasks, &[("kind", "even"), ("third", "none")]).await, Vec::<String>::new());
    assert_eq!(listed(&tasks, &[("even", "kind")]).await, Vec::<String>::new());

    start(&tasks, "t00", &[("kind", "changed")]).await;
    tasks.remove(&"t28".parse().unwrap()).await.unwrap();
    let sealed = tasks.get(&"t26".parse().unwrap()).await.unwrap().unwrap();
    sealed.end(EndRequest::default()).await.unwrap();
    let expected = multiples(2, 27)[..13].to_vec();
    assert_eq!(expected.last().map(String::as_str), Some("t02"));
    assert_eq!(listed(&tasks, &[("kind", "even")]).await, expected);
    assert_eq!(listed(&tasks, &[("kind", "changed"), ("third", "yes")]).await, ["t00"]);
    drop(sealed);
    tasks.close().await;
    drop(tasks);

    let tasks = open(folder.path()).await;
    assert_eq!(listed(&tasks, &[("kind", "even")]).await, expected);
    assert_eq!(listed(&tasks, &[("kind", "changed"), ("third", "yes")]).await, ["t00"]);
    tasks.close().await;
}
