//! What a disk may hold after a power cut, from the record of everything that was done to it.
//!
//! Sure is only what was synced: the bytes and the length of a file by a sync of the file, a name by a sync of
//! its folder. Of the rest anything may be there: of each write any sectors, of each folder's changes
//! of names the first so many, in their order. Bytes that were sent to the disk without its cache being
//! emptied (`sync_file_range`) are sure with the next sync of any file, as far as the file's length is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::power::Dice;

/// One change, as `shim.c` records it.
#[derive(Debug)]
pub(crate) enum Op {
    Create { ino: u64, name: String },
    Mkdir { ino: u64, name: String },
    Rename { from: String, to: String },
    Unlink { name: String },
    Write { ino: u64, at: usize, bytes: Vec<u8> },
    Truncate { ino: u64, len: usize },
    Sync { ino: u64 },
    Range { ino: u64, at: usize, len: usize },
}

/// Returns all changes, each with the offset at which its record ends.
///
/// The last record may be incomplete, since the recorded process is killed while it writes. That change is left
/// out: the process received no answer to it and so acknowledged nothing that depends on it.
pub(crate) fn read_log(path: &Path) -> Vec<(u64, Op)> {
    let log = fs::read(path).unwrap();
    let mut ops = Vec::new();
    let mut at = 0;
    let word = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
    while at + 48 <= log.len() {
        let [op, ino, offset, len, a, b] = std::array::from_fn(|n| word(at + 8 * n));
        let [offset, len, a, b] = [offset, len, a, b].map(|n| usize::try_from(n).unwrap());
        at += 48;
        let data = if op == 5 { len } else { 0 };
        if log.len() - at < a + b + data {
            break;
        }
        let text = |from: usize, len: usize| String::from_utf8(log[from..from + len].to_vec()).unwrap();
        let (name, to) = (text(at, a), text(at + a, b));
        at += a + b;
        let op = match op {
            1 => Op::Create { ino, name },
            2 => Op::Mkdir { ino, name },
            3 => Op::Rename { from: name, to },
            4 => Op::Unlink { name },
            5 => {
                at += data;
                Op::Write { ino, at: offset, bytes: log[at - data..at].to_vec() }
            }
            6 => Op::Truncate { ino, len },
            7 => Op::Sync { ino },
            8 => Op::Range { ino, at: offset, len },
            other => panic!("record {other} at {at}"),
        };
        ops.push((at as u64, op));
    }
    ops
}

/// A file or folder, whatever names it has.
#[derive(Clone, Debug, Default)]
struct Node {
    /// What is sure.
    bytes: Vec<u8>,
    /// What is not, in its order.
    open: Vec<Change>,
    is_folder: bool,
    /// Of a folder: names that are sure, and changes that are not.
    names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
}

#[derive(Clone, Debug)]
enum Change {
    /// The flag: it was sent to the disk.
    Write(usize, Vec<u8>, bool),
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, usize),
    Take(String),
    /// Within one folder both happen or neither.
    Move(String, String, usize),
}

/// A disk while things are done to it.
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// The node of an inode, which is used again once its file is gone.
    inodes: HashMap<u64, usize>,
    /// As a running system sees it: the node of every name.
    names: HashMap<String, usize>,
}

const ROOT: usize = 0;

impl Disk {
    /// An empty folder.
    pub(crate) fn new(root_ino: u64) -> Self {
        let root = Node { is_folder: true, ..Node::default() };
        let (inodes, names) = (HashMap::from([(root_ino, ROOT)]), HashMap::from([(String::new(), ROOT)]));
        Self { nodes: vec![root], inodes, names }
    }

    fn folder_of(&self, name: &str) -> (usize, String) {
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        (*self.names.get(folder).unwrap_or_else(|| panic!("no folder of {name}")), last.to_owned())
    }

    fn add(&mut self, ino: u64, name: &str, is_folder: bool) {
        let node = self.nodes.len();
        self.nodes.push(Node { is_folder, ..Node::default() });
        self.inodes.insert(ino, node);
        self.names.insert(name.to_owned(), node);
        let (folder, last) = self.folder_of(name);
        self.nodes[folder].name_changes.push(NameChange::Add(last, node));
    }

    fn node(&mut self, ino: u64) -> &mut Node {
        let node = *self.inodes.get(&ino).unwrap_or_else(|| panic!("inode {ino} was never made"));
        &mut self.nodes[node]
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { ino, name } => self.add(*ino, name, false),
            Op::Mkdir { ino, name } => self.add(*ino, name, true),
            Op::Rename { from, to } => {
                let node = self.names.remove(from).unwrap_or_else(|| panic!("{from} is not there"));
                self.names.insert(to.clone(), node);
                let ((a, old), (b, new)) = (self.folder_of(from), self.folder_of(to));
                if a == b {
                    self.nodes[a].name_changes.push(NameChange::Move(old, new, node));
                } else {
                    self.nodes[b].name_changes.push(NameChange::Add(new, node));
                    self.nodes[a].name_changes.push(NameChange::Take(old));
                }
            }
            Op::Unlink { name } => {
                let (folder, last) = self.folder_of(name);
                self.names.remove(name);
                self.nodes[folder].name_changes.push(NameChange::Take(last));
            }
            Op::Write { ino, at, bytes } => self.node(*ino).open.push(Change::Write(*at, bytes.clone(), false)),
            Op::Truncate { ino, len } => self.node(*ino).open.push(Change::Truncate(*len)),
            Op::Range { ino, at, len } => {
                for change in &mut self.node(*ino).open {
                    if let Change::Write(begin, bytes, sent) = change {
                        *sent |= *begin >= *at && *begin + bytes.len() <= at + len;
                    }
                }
            }
            Op::Sync { ino } => self.sync(*ino),
        }
    }

    fn sync(&mut self, ino: u64) {
        for node in &mut self.nodes {
            node.empty_cache();
        }
        let node = self.node(ino);
        for change in std::mem::take(&mut node.open) {
            change.make(&mut node.bytes);
        }
        for change in std::mem::take(&mut node.name_changes) {
            change.make(&mut node.names);
        }
    }

    /// Writes into `target` what may be there if the power went now.
    pub(crate) fn rebuild(&self, dice: &mut Dice, target: &Path) {
        self.rebuild_folder(ROOT, dice, target, &mut HashSet::new());
    }

    fn rebuild_folder(&self, node: usize, dice: &mut Dice, target: &Path, seen: &mut HashSet<usize>) {
        fs::create_dir_all(target).unwrap();
        let mut names = self.nodes[node].names.clone();
        let changes = &self.nodes[node].name_changes;
        let kept = usize::try_from(dice.roll(changes.len() as u64 + 1)).unwrap();
        changes[..kept].iter().for_each(|change| change.clone().make(&mut names));
        for (name, node) in names {
            let path: PathBuf = target.join(name);
            if self.nodes[node].is_folder {
                if seen.insert(node) {
                    self.rebuild_folder(node, dice, &path, seen);
                }
            } else {
                fs::write(path, self.nodes[node].survives(dice)).unwrap();
            }
        }
    }
}

impl Node {
    /// What was sent to the disk is sure now, as far as the file's sure length goes.
    fn empty_cache(&mut self) {
        let (bytes, sure) = (&mut self.bytes, self.open.iter().all(|change| !matches!(change, Change::Truncate(_))));
        if sure {
            self.open.retain(|change| match change {
                Change::Write(at, new, true) if at + new.len() <= bytes.len() => {
                    bytes[*at..at + new.len()].copy_from_slice(new);
                    false
                }
                _ => true,
            });
        }
    }

    /// Its bytes after a cut.
    fn survives(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        // All, none, or some of it.
        let mood = dice.roll(4);
        let sector = if dice.roll(2) == 0 { 512 } else { 4096 };
        for change in &self.open {
            match change {
                Change::Truncate(_) if mood != 0 && (mood == 1 || dice.roll(2) == 0) => change.clone().make(&mut bytes),
                Change::Truncate(_) => {}
                Change::Write(at, new, _) => {
                    let mut from = 0;
                    while from < new.len() {
                        let to = ((at + from) / sector * sector + sector - at).min(new.len());
                        if mood == 1 || (mood > 1 && dice.roll(2) == 0) {
                            Change::Write(at + from, new[from..to].to_vec(), false).make(&mut bytes);
                        }
                        from = to;
                    }
                }
            }
        }
        bytes
    }
}

impl Change {
    fn make(self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, new, _) => {
                if bytes.len() < at + new.len() {
                    bytes.resize(at + new.len(), 0);
                }
                bytes[at..at + new.len()].copy_from_slice(&new);
            }
            Change::Truncate(len) => bytes.resize(len, 0),
        }
    }
}

impl NameChange {
    fn make(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Add(name, node) => drop(names.insert(name, node)),
            NameChange::Take(name) => drop(names.remove(&name)),
            NameChange::Move(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
        }
    }
}

#[test]
fn only_unsynced_writes_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(1);
    let write = |text: &str, at: usize| Op::Write { ino: 2, at, bytes: text.into() };
    for op in [
        Op::Create { ino: 2, name: "named".into() },
        write("sure", 0),
        Op::Sync { ino: 2 },
        Op::Sync { ino: 1 },
        write(" or not", 4),
        Op::Create { ino: 3, name: "unnamed".into() },
        Op::Sync { ino: 3 },
    ] {
        disk.apply(&op);
    }
    let mut dice = Dice(7);
    let mut found = HashSet::new();
    for round in 0..60 {
        let target = folder.path().join(round.to_string());
        disk.rebuild(&mut dice, &target);
        found.insert((fs::read_to_string(target.join("named")).unwrap(), target.join("unnamed").exists()));
    }
    let all: HashSet<(String, bool)> = ["sure", "sure or not"]
        .iter()
        .flat_map(|text| [false, true].map(|there| ((*text).to_owned(), there)))
        .collect();
    assert_eq!(found, all);
}
