//! Random sequences on all servers; a failure is shrunk and shown as a sequence for `cases/*.txt`.

mod commands;
mod nodes;
mod values;

use std::cell::RefCell;
use std::fmt;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::play::Play;
use crate::script::{Step, step};
use crate::wire::Protocol;

/// Sequences of a normal run; TASKTAIL_DIFFERENTIAL_RUNS asks for another number.
const RUNS: u32 = 3_000;

/// A random sequence, shown as it would be written.
#[derive(Clone)]
struct Lines(Vec<Op>);

/// A part that shrinking takes out as a whole.
#[derive(Clone, Debug)]
enum Op {
    One(String),
    /// A reader on the third connection, and what happens while it waits.
    Reader(String, Vec<String>),
}

impl Lines {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for op in &self.0 {
            match op {
                Op::One(line) => lines.push(line.clone()),
                Op::Reader(read, meanwhile) => {
                    lines.push(format!("3>? {read}"));
                    lines.extend(meanwhile.iter().cloned());
                    // From a connection that is never inside MULTI.
                    lines.extend(["@settled 3", "4> CLIENT UNBLOCK {3}", "3<"].map(str::to_owned));
                }
            }
        }
        lines
    }

    fn steps(&self) -> Vec<Step> {
        self.lines().iter().map(|line| step(line)).collect()
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n== found by chance\n{}\n", self.lines().join("\n"))
    }
}

fn sequence(line: BoxedStrategy<String>, read: BoxedStrategy<String>) -> impl Strategy<Value = Lines> {
    let reader =
        (read, prop::collection::vec(line.clone(), 1..6)).prop_map(|(read, meanwhile)| Op::Reader(read, meanwhile));
    let op = prop_oneof![20 => line.prop_map(Op::One), 1 => reader];
    prop::collection::vec(op, 1..30).prop_map(Lines)
}

#[test]
fn random_sequences_are_answered_as_the_oracles_do() {
    compare(runs(RUNS), sequence(commands::line(), commands::read()));
}

#[test]
fn random_values_are_answered_as_the_oracles_do() {
    let line = prop_oneof![8 => values::line(), 2 => values::stream()].boxed();
    compare(runs(RUNS), sequence(line, values::read()));
}

#[test]
fn nodes_hold_what_the_oracles_nodes_hold() {
    let lines = nodes::sequence().prop_map(|lines| Lines(lines.into_iter().map(Op::One).collect()));
    compare(runs(RUNS) / 20, lines);
}

/// The number of runs, if another is not asked for.
fn runs(usual: u32) -> u32 {
    std::env::var("TASKTAIL_DIFFERENTIAL_RUNS").ok().map_or(usual, |runs| runs.parse().unwrap())
}

/// Plays random sequences in both protocols until one differs; the panic shows the shortest that does.
fn compare(cases: u32, lines: impl Strategy<Value = Lines>) {
    let play = RefCell::new(Play::new());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    let done = TestRunner::new(config).run(&(any::<bool>(), lines), |(third, lines)| {
        let protocol = if third { Protocol::Resp3 } else { Protocol::Resp2 };
        play.borrow_mut().run(protocol, &lines.steps()).map_err(TestCaseError::fail)
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}
