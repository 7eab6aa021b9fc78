//! The index of all tasks in memory: by creation time, and by label.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{StatusFilter, TaskId, TaskStatus, Timestamp};

/// Maximum rows that one scan visits. The index is locked meanwhile.
const SCAN_ROWS_MAX: usize = 4_096;

/// A query for a page of tasks.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only tasks with this status or outcome.
    pub status: Option<StatusFilter>,
    /// Only tasks with all of these labels and values.
    pub labels: Vec<(String, String)>,
    /// Only tasks whose id begins with this text.
    pub prefix: Option<String>,
    /// Maximum number of tasks.
    pub limit: usize,
    /// Position to continue after: the `next` of an earlier page.
    pub after: Option<String>,
}

/// The position of a task in the index.
pub(super) type IndexKey = (Timestamp, TaskId);

/// The tasks with one label and value, in order.
type LabelRows = BTreeSet<Arc<IndexKey>>;

/// The index of all tasks.
#[derive(Debug, Default)]
pub(super) struct TaskIndex {
    rows: BTreeMap<Arc<IndexKey>, TaskStatus>,
    /// Tasks by the name and the value of a label.
    labels: HashMap<String, HashMap<String, LabelRows>>,
}

/// The result of one scan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IndexScan {
    /// Matching tasks, newest first.
    pub(super) keys: Vec<Arc<IndexKey>>,
    /// Position to continue after; `None` at the end.
    pub(super) next: Option<Arc<IndexKey>>,
}

impl TaskIndex {
    /// Adds a task, or sets the status and adds the labels of a known one.
    pub(super) fn insert(&mut self, key: IndexKey, status: TaskStatus, labels: &BTreeMap<String, String>) {
        let key = Arc::new(key);
        self.rows.insert(key.clone(), status);
        for (name, value) in labels {
            self.insert_label(&key, name, value);
        }
    }

    /// Sets the status of a task.
    pub(super) fn set_status(&mut self, key: &IndexKey, status: TaskStatus) {
        if let Some(row) = self.rows.get_mut(key) {
            *row = status;
        }
    }

    /// Replaces the labels of a task.
    pub(super) fn set_labels(
        &mut self,
        key: &IndexKey,
        before: &BTreeMap<String, String>,
        now: &BTreeMap<String, String>,
    ) {
        let Some((key, _)) = self.rows.get_key_value(key) else { return };
        let key = key.clone();
        for (name, value) in before.iter().filter(|(name, value)| now.get(*name) != Some(*value)) {
            self.remove_label(&key, name, value);
        }
        for (name, value) in now {
            self.insert_label(&key, name, value);
        }
    }

    /// Removes a task with these labels.
    pub(super) fn remove(&mut self, key: &IndexKey, labels: &BTreeMap<String, String>) {
        self.rows.remove(key);
        for (name, value) in labels {
            self.remove_label(key, name, value);
        }
    }

    fn insert_label(&mut self, key: &Arc<IndexKey>, name: &str, value: &str) {
        if !self.labels.contains_key(name) {
            self.labels.insert(name.to_owned(), HashMap::new());
        }
        let Some(values) = self.labels.get_mut(name) else { return };
        if !values.contains_key(value) {
            values.insert(value.to_owned(), LabelRows::new());
        }
        if let Some(rows) = values.get_mut(value) {
            rows.insert(key.clone());
        }
    }

    fn remove_label(&mut self, key: &IndexKey, name: &str, value: &str) {
        let Some(values) = self.labels.get_mut(name) else { return };
        let Some(rows) = values.get_mut(value) else { return };
        rows.remove(key);
        if rows.is_empty() {
            values.remove(value);
            if values.is_empty() {
                self.labels.remove(name);
            }
        }
    }

    /// Returns the number of tasks.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the ids of all tasks, the oldest first.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = &TaskId> {
        self.rows.keys().map(|key| &key.1)
    }

    /// Returns up to `count` tasks before this position, newest first, that match the labels and the prefix and may
    /// match the status of a query. Visits a limited number of rows.
    pub(super) fn scan(&self, before: Option<&IndexKey>, query: &ListQuery, count: usize) -> IndexScan {
        let range = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
        if query.labels.is_empty() {
            let rows = self.rows.range::<IndexKey, _>(range).rev();
            return take(rows.map(|(key, status)| (key, Some(*status))), query, count);
        }
        let Some(mut lists) = self.label_rows(query) else { return IndexScan::default() };
        lists.sort_by_key(|rows| rows.len());
        let Some((shortest, others)) = lists.split_first() else { return IndexScan::default() };
        let rows = shortest.range::<IndexKey, _>(range).rev().map(|key| {
            let has_all = others.iter().all(|rows| rows.contains(key));
            (key, if has_all { self.rows.get(key).copied() } else { None })
        });
        take(rows, query, count)
    }

    /// Returns the tasks of each label of a query; `None` if a label has no tasks.
    fn label_rows(&self, query: &ListQuery) -> Option<Vec<&LabelRows>> {
        query.labels.iter().map(|(name, value)| self.labels.get(name)?.get(value)).collect()
    }
}

/// Returns the rows that have a status and match a query.
fn take<'a>(
    mut rows: impl Iterator<Item = (&'a Arc<IndexKey>, Option<TaskStatus>)>,
    query: &ListQuery,
    count: usize,
) -> IndexScan {
    let mut scan = IndexScan::default();
    let mut last = None;
    for (key, status) in rows.by_ref().take(SCAN_ROWS_MAX) {
        last = Some(key);
        let has_prefix = query.prefix.as_ref().is_none_or(|prefix| key.1.as_str().starts_with(prefix));
        let has_status = status.is_some_and(|status| query.status.is_none_or(|wanted| wanted.may_match(status)));
        if has_prefix && has_status {
            scan.keys.push(key.clone());
            if scan.keys.len() == count {
                break;
            }
        }
    }
    scan.next = last.filter(|_| rows.next().is_some()).cloned();
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> IndexKey {
        (Timestamp::from_millis(n), format!("t{n}").parse().unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn query(pairs: &[(&str, &str)]) -> ListQuery {
        ListQuery { labels: labels(pairs).into_iter().collect(), limit: 10, ..ListQuery::default() }
    }

    /// Returns the times of the tasks that a scan finds, and of the position to continue after.
    fn scan(index: &TaskIndex, before: Option<&IndexKey>, query: &ListQuery) -> (Vec<u64>, Option<u64>) {
        let found = index.scan(before, query, query.limit);
        (found.keys.iter().map(|key| key.0.as_millis()).collect(), found.next.map(|key| key.0.as_millis()))
    }

    /// An index of 10,000 tasks: every tenth is lost and labelled.
    fn index() -> TaskIndex {
        let mut index = TaskIndex::default();
        for n in 0..10_000 {
            let status = if n % 10 == 0 { TaskStatus::Lost } else { TaskStatus::Completed };
            let tenth = if n % 10 == 0 { "yes" } else { "no" };
            index.insert(key(n), status, &labels(&[("tenth", tenth), ("all", "1"), ("own", &n.to_string())]));
        }
        index
    }

    #[test]
    fn label_visits_only_its_tasks() {
        let index = index();
        assert_eq!(scan(&index, None, &query(&[("own", "5")])), (vec![5], None), "one visit, not 10,000");
        assert_eq!(scan(&index, None, &query(&[("own", "none")])), (vec![], None));
        assert_eq!(scan(&index, None, &query(&[("none", "1")])), (vec![], None));
        let both = query(&[("all", "1"), ("tenth", "yes")]);
        let (found, next) = scan(&index, Some(&key(100)), &both);
        assert_eq!((found, next), ((0..10).rev().map(|n| n * 10).collect(), None));
        assert_eq!(scan(&index, Some(&key(105)), &both).1, Some(10), "one more");
        assert_eq!(scan(&index, None, &query(&[("own", "7"), ("tenth", "yes")])), (vec![], None));
    }

    #[test]
    fn scan_is_bounded_and_continues() {
        let index = index();
        let lost = ListQuery { status: Some(StatusFilter::Is(TaskStatus::Running)), limit: 10, ..ListQuery::default() };
        let (mut at, mut scans) = (None, 0);
        loop {
            let found = index.scan(at.as_deref(), &lost, 10);
            assert_eq!(found.keys, []);
            scans += 1;
            at = found.next;
            if at.is_none() {
                break;
            }
        }
        assert_eq!(scans, 3, "10,000 rows in steps of 4,096");
    }

    #[test]
    fn labels_follow_changes_and_removals() {
        let mut index = TaskIndex::default();
        let before = labels(&[("a", "1"), ("b", "1")]);
        index.insert(key(1), TaskStatus::Running, &before);
        index.insert(key(1), TaskStatus::Running, &before);
        let now = labels(&[("a", "2"), ("b", "1")]);
        index.set_labels(&key(1), &before, &now);
        let found = |index: &TaskIndex, name, value| scan(index, None, &query(&[(name, value)])).0;
        assert_eq!(
            (found(&index, "a", "1"), found(&index, "a", "2"), found(&index, "b", "1")),
            (vec![], vec![1], vec![1])
        );
        index.remove(&key(1), &now);
        index.set_labels(&key(1), &now, &before);
        assert!(index.labels.is_empty() && index.len() == 0, "nothing is left of a removed task");
    }
}
