//! What a test needs of the machine: a small file system, the library between server and system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A file system of its own, gone with the test.
pub(crate) struct Mount(tempfile::TempDir);

impl Mount {
    /// A tmpfs of so many MiB; `None`, loudly, where none can be mounted.
    pub(crate) fn tmpfs(test: &str, mib: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tasktail-test"]).arg(folder.path()).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(folder)),
            Ok(done) => {
                skip(test, &format!("a tmpfs cannot be mounted: {}", String::from_utf8_lossy(&done.stderr).trim()))
            }
            Err(error) => skip(test, &format!("mount cannot be run: {error}")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Mounts it again with other options.
    pub(crate) fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.path()).status().unwrap();
        assert!(done.success(), "remount,{options}");
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Takes room until only so many bytes are free.
    pub(crate) fn fill(&self, leave: u64) -> PathBuf {
        let path = self.path().join("filler");
        let there = fs::metadata(&path).map_or(0, |file| file.len());
        let more = self.free().saturating_sub(leave);
        let file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let size = there + more;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.max(1)).unwrap();
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server of a failed test may still be in it.
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

/// Says why a test did not run, to whoever reads the output and to `scripts/test`.
#[expect(clippy::print_stderr, reason = "a test that did not run is told to whoever looks on")]
fn skip<T>(test: &str, why: &str) -> Option<T> {
    eprintln!("SKIPPED {test}: {why}");
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{test}")), format!("{why}\n")).unwrap();
    None
}

/// The library between a server and the system, built once a run.
pub(crate) fn shim() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/disk/shim.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(&library).arg(source).args(["-ldl", "-pthread"]);
        assert!(cc.stdin(Stdio::null()).status().unwrap().success(), "the shim does not build");
        library
    })
}
