//! The pytest fixture of the README, in a test suite as an application has one.

use std::path::Path;
use std::process::Command;

use crate::clients::scripts::{path, python_program};

#[test]
fn a_pytest_fixture() {
    if std::env::var_os("TASKTAIL_ORACLES_ONLY").is_some() {
        return;
    }
    let suite = tempfile::tempdir().unwrap();
    std::fs::copy(path("conftest_example.py"), suite.path().join("conftest.py")).unwrap();
    std::fs::copy(path("test_example.py"), suite.path().join("test_example.py")).unwrap();
    let temporary = suite.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();

    let programs = Path::new(env!("CARGO_BIN_EXE_tasktail")).parent().unwrap().as_os_str().to_owned();
    let caller = std::env::var_os("PATH").unwrap_or_default();
    let search = std::env::join_paths(std::iter::once(programs.into()).chain(std::env::split_paths(&caller))).unwrap();
    let output = Command::new(python_program())
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--color=no"])
        .current_dir(suite.path())
        .env("PATH", search)
        .env("HOME", suite.path())
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("2 passed"), "{said}");
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "the servers left {left:?} behind");
}
