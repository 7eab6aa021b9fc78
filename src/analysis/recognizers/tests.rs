//! Each format with its real output, and texts that only look like one.

use super::*;
use crate::analysis::view::OutlineView;
use crate::analysis::{NdjsonRow, Outline};
use crate::model::{Channel, Timestamp};

/// Returns the outline of a finished log.
pub(in crate::analysis) fn outline_of(text: &str) -> OutlineView {
    let mut outline = Outline::default();
    for (n, line) in (1..).zip(text.split('\n')) {
        let timestamp = Timestamp::from_millis(1_000 * n);
        outline.push(&NdjsonRow { n, timestamp, channel: Channel::Stdout, line: line.into(), partial: false });
    }
    outline.view(true)
}

/// Returns the annotations as `n source level message file:line:column`.
fn found(text: &str) -> Vec<String> {
    let row = |annotation: Annotation| {
        let Annotation { n, level, source, message, file, file_line, column } = annotation;
        let number = |number: Option<u64>| number.map_or(String::new(), |number| format!(":{number}"));
        let place = file.map_or(String::new(), |file| format!(" @{file}{}{}", number(file_line), number(column)));
        format!("{n} {source} {level:?} {message}{place}")
    };
    outline_of(text).annotations.into_iter().map(row).collect()
}

#[test]
fn patterns_are_valid() {
    let all = [
        commands::all_patterns(),
        compilers::all_patterns(),
        suites::all_patterns(),
        traces::all_patterns(),
        tools::all_patterns(),
    ];
    for (name, is_valid) in all.concat() {
        assert!(is_valid, "{name}");
    }
}

#[test]
fn workflow_commands() {
    assert_eq!(
        found(
            "::error file=app.js,line=1,col=5,title=Lint::Missing semicolon%0Asecond\n::warning::plain\n\
             ::notice file=a.c::x\n##[error]Process completed with exit code 1.\n\
             ##vso[task.logissue type=warning;sourcepath=a/b.cs;linenumber=3;columnnumber=4;code=100;]Unused\n\
             2024-05-09T14:23:01.0000000Z ##[warning]stamped\n::debug::nothing"
        ),
        [
            "1 github Error Lint: Missing semicolon second @app.js:1:5",
            "2 github Warning plain",
            "3 github Notice x @a.c",
            "4 azure Error Process completed with exit code 1.",
            "5 azure Warning Unused @a/b.cs:3:4",
            "6 azure Warning stamped",
        ]
    );
}

#[test]
fn compilers_and_linters() {
    assert_eq!(
        found(
            "src/a.c:3:5: error: expected ';' before '}' token\nsrc/a.c:9:1: warning: unused variable 'x' [-Wunused]\n\
             src/a.c:1:10: fatal error: missing.h: No such file or directory\nC:\\src\\a.c:3:5: error: drive\n\
             Main.java:5: error: ';' expected\nsrc/a.ts(3,5): error TS2322: Type 'x' is not assignable.\n\
             src/a.ts:4:6 - error TS2304: Cannot find name 'y'.\n./main.go:7:2: undefined: fmt.Printn\n\
             app/models.py:10: error: Incompatible types  [assignment]\n    1>a.cpp(10): error C2065: 'z': undeclared"
        ),
        [
            "1 compiler Error expected ';' before '}' token @src/a.c:3:5",
            "2 compiler Warning unused variable 'x' [-Wunused] @src/a.c:9:1",
            "3 compiler Error missing.h: No such file or directory @src/a.c:1:10",
            "4 compiler Error drive @C:\\src\\a.c:3:5",
            "5 compiler Error ';' expected @Main.java:5",
            "6 compiler Error TS2322: Type 'x' is not assignable. @src/a.ts:3:5",
            "7 compiler Error TS2304: Cannot find name 'y'. @src/a.ts:4:6",
            "8 go Error undefined: fmt.Printn @./main.go:7:2",
            "9 compiler Error Incompatible types  [assignment] @app/models.py:10",
            "10 compiler Error C2065: 'z': undeclared @a.cpp:10",
        ]
    );
    let rust = "\u{1b}[1m\u{1b}[33mwarning\u{1b}[0m\u{1b}[1m: unused variable: `unused`\u{1b}[0m\r\n \u{1b}[1m--> \
        \u{1b}[0msrc/main.rs:1:17\r\nerror[E0425]: cannot find value `x` in this scope\n --> src/main.rs:2:5\n  |\n\
        error: aborting due to 1 previous error; 1 warning emitted\nerror: could not compile `c` (bin \"c\")";
    assert_eq!(
        found(rust),
        [
            "1 compiler Warning unused variable: `unused` @src/main.rs:1:17",
            "3 compiler Error cannot find value `x` in this scope [E0425] @src/main.rs:2:5"
        ]
    );
    let eslint =
        "/app/src/index.js\n  10:5  error    'x' is not defined  no-undef\n  12:1  warning  Unexpected console\n\n";
    assert_eq!(
        found(eslint),
        [
            "2 eslint Error 'x' is not defined [no-undef] @/app/src/index.js:10:5",
            "3 eslint Warning Unexpected console @/app/src/index.js:12:1",
        ]
    );
    assert_eq!(
        found("CMake Error at CMakeLists.txt:5 (find_package):\n  By not providing \"FindX.cmake\"\n"),
        ["1 cmake Error By not providing \"FindX.cmake\" @CMakeLists.txt:5"]
    );
}

#[test]
fn test_suites() {
    assert_eq!(
        found(
            "tests/test_a.py::test_x FAILED  [ 50%]\n=== short test summary info ===\n\
             FAILED tests/test_a.py::test_x - AssertionError: assert 1 == 2\nERROR tests/test_b.py - ImportError: no\n\
             ==================== 1 failed, 1 error in 0.12s ===================="
        ),
        [
            "3 pytest Error tests/test_a.py::test_x: AssertionError: assert 1 == 2",
            "4 pytest Error error in tests/test_b.py: ImportError: no"
        ]
    );
    assert_eq!(found("==== 2 failed, 3 passed in 1.20s ===="), ["1 pytest Error 2 failed, 3 passed"]);
    assert_eq!(
        found(
            "test tests::good ... ok\ntest tests::bad ... FAILED\n\nthread 'tests::bad' panicked at src/lib.rs:7:9:\n\
             assertion `left == right` failed\n  left: 1\ntest result: FAILED. 1 passed; 1 failed\n\
             error: test failed, to rerun pass `--lib`"
        ),
        ["2 cargo Error test tests::bad failed", "4 panic Error assertion `left == right` failed @src/lib.rs:7:9"]
    );
    assert_eq!(
        found(
            "--- FAIL: TestAdd (0.00s)\n    add_test.go:10: got 3\nFAIL\nFAIL\texample.com/add\t0.002s\nok  \tx\t0.1s"
        ),
        ["1 go Error TestAdd failed @add_test.go:10"]
    );
    assert_eq!(found("FAIL\texample.com/x [build failed]"), ["1 go Error example.com/x: build failed"]);
    assert_eq!(found("not ok 2 - adds\nnot ok 3 - later # TODO\nok 4 - x"), ["1 tap Error not ok: adds"]);
}

#[test]
fn stack_traces() {
    assert_eq!(
        found(
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    main()\n  \
             File \"/srv/b.py\", line 7, in main\n    raise ValueError(\"bad\")\nValueError: bad\nnext"
        ),
        ["6 python Error ValueError: bad @/srv/b.py:7"]
    );
    assert_eq!(
        found("thread 'main' panicked at 'old style', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1`"),
        ["1 panic Error old style @src/main.rs:2:5"]
    );
    assert_eq!(
        found(
            "/tmp/x.js:3\n    throw new TypeError('no')\n    ^\n\nTypeError: no\n    at f (/tmp/x.js:3:11)\n    at \
             node:internal/main:1:1\n\nNode.js v20"
        ),
        ["5 node Error TypeError: no @/tmp/x.js:3:11"]
    );
    assert_eq!(
        found("Exception in thread \"main\" java.lang.IllegalStateException: bad\n\tat a.B.c(B.java:10)\nCaused by: x"),
        ["1 java Error Exception in thread \"main\" java.lang.IllegalStateException: bad @B.java:10"]
    );
    assert_eq!(
        found(
            "panic: runtime error: index out of range [1]\n\ngoroutine 1 [running]:\nmain.main()\n\t/a/main.go:4 +0x1d"
        ),
        ["1 panic Error panic: runtime error: index out of range [1] @/a/main.go:4"]
    );
}

#[test]
fn other_tools() {
    assert_eq!(
        found(
            "make: *** [Makefile:2: all] Error 1\nnpm error Missing script: \"x\"\n\
             fatal: [web1]: FAILED! => {\"changed\": false, \"msg\": \"no space left\"}\nE: Unable to locate package x\n\
             fatal: not a git repository\nsh: 1: foo: not found\nbash: line 3: bar: command not found\n\
             ==12==ERROR: AddressSanitizer: heap-use-after-free\nSegmentation fault (core dumped)\n\
             a.out: a.c:3: main: Assertion `x == 1' failed."
        ),
        [
            "1 make Error make: *** [Makefile:2: all] Error 1",
            "2 npm Error npm error Missing script: \"x\"",
            "3 ansible Error web1: FAILED! no space left",
            "4 apt Error Unable to locate package x",
            "5 log Error fatal: not a git repository",
            "6 shell Error foo: not found",
            "7 shell Error bar: command not found",
            "8 sanitizer Error AddressSanitizer: heap-use-after-free",
            "9 signal Error Segmentation fault",
            "10 assert Error Assertion `x == 1' failed.",
        ]
    );
}

#[test]
fn results_of_ansible() {
    assert_eq!(
        found(
            "TASK [a] ***\nfatal: [web1]: FAILED! => {\n    \"changed\": true,\n    \"msg\": \"non-zero\"\n}\n\nTASK [b] ***\n\
             fatal: [web2]: FAILED! =>\n  changed: true\n  msg: no such file\n...ignoring\nTASK [c] ***\n\
             failed: [web3] (item=7) => {\"msg\": \"bad\"}\nfatal: [web4]: UNREACHABLE! => {\"msg\": \"no route\"}"
        ),
        [
            "2 ansible Error web1: FAILED! non-zero",
            "8 ansible Notice web2: FAILED! no such file",
            "13 ansible Error web3 (7): FAILED! bad",
            "14 ansible Error web4: UNREACHABLE! no route",
        ]
    );
}

#[test]
fn a_log_that_mentions_errors_has_none() {
    let text = "0 errors, 0 warnings\nno error: all good\nthe previous error was fixed\n\
        [INFO] error handling: enabled\ntest a::error_is_reported ... ok\ntest result: ok. 3 passed; 0 failed\n\
        tests/test_a.py::test_error PASSED [ 50%]\n===== 3 passed, 1 warning in 0.05s =====\n\
        compiling error.rs\nchecking src/error.rs:3:5\nTypeError: as a title\nand no frame\nPASSED tests/a.py::x\n\
        Tests run: 3, Failures: 0, Errors: 0, Skipped: 0\n\"error: quoted\"\n  error: indented text\n\
        https://ci.example/a.go:3:4: x is a URL\n12:30:01 error: rate = 0\n-- FAIL: no\nE   assert 1 == 2\n\
        warning signs were ignored\n#include \"error.h\"\nError\nfailed: 0    ok: 3\n--- PASS: TestError (0.00s)\n\
        20 files changed, 3 insertions(+) fatal: not at the start\nThe word Traceback (most recent call last): inside";
    assert_eq!(found(text), Vec::<String>::new());
}

#[test]
fn hostile_rows_are_bounded() {
    let long = format!("error: {}", "x".repeat(5_000));
    let deep: String = (0..100).map(|n| format!("::group::{n}\n")).collect();
    let many = "src/a.c:1:1: warning: w\n".repeat(3_000) + "src/a.c:1:1: error: the one\n";
    let view = outline_of(&format!("{long}\n{deep}{many}"));
    assert!(view.annotations.iter().all(|annotation| annotation.message.chars().count() <= 401));
    assert_eq!((view.errors, view.warnings, view.truncated), (2, 3_000, true));
    assert_eq!(view.annotations.len(), crate::analysis::view::ANNOTATIONS_MAX);
    assert!(view.annotations.iter().any(|annotation| annotation.message == "the one"), "errors are kept first");
    assert!(view.sections.iter().all(|section| section.level < 32));
    let trace = "Traceback (most recent call last):\n".to_owned() + &"  File \"a\", line 1\n".repeat(10_000);
    assert_eq!(found(&trace), Vec::<String>::new());
}

#[test]
fn sections_of_every_notation() {
    let titles = |text: &str| {
        let sections = outline_of(text).sections;
        let row = |s: super::super::view::Section| {
            format!("{}{} {}-{} e{}", "  ".repeat(s.level), s.title, s.from, s.to.unwrap(), s.errors)
        };
        sections.into_iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(
        titles(
            "::group::Install\na\nerror: x\n::endgroup::\n##[group]Test\n::group::inner\n::endgroup::\n##[endgroup]\nz"
        ),
        ["Install 1-4 e1", "Test 5-8 e0", "  inner 6-7 e0"]
    );
    assert_eq!(
        titles(
            "\u{1b}[0Ksection_start:1560896352:build[collapsed=true]\r\u{1b}[0K\u{1b}[36mBuild it\u{1b}[0m\nx\n\
             section_start:1560896353:inner\r\u{1b}[0KInner\ny\nsection_end:1560896354:build\r\u{1b}[0K\nz"
        ),
        ["Build it 1-5 e0", "  Inner 3-5 e0"]
    );
    assert_eq!(
        titles("--- :docker: Setup\na\n+++ Tests\nerror: b\n~~~ Clean up\nc"),
        [":docker: Setup 1-2 e0", "Tests 3-4 e1", "Clean up 5-6 e0"]
    );
    let diff = "--- Build\nx\n--- a/src/x.rs\t2024\n+++ b/src/x.rs\n@@ -1,2 +1,2 @@\n-a\n+b\nend";
    assert_eq!(titles(diff), ["Build 1-8 e0"], "a diff is no section");
    assert_eq!(titles("--- FAIL: TestX (0.1s)\n--- \n---\n--- ---\n+++\n----- title -----"), Vec::<String>::new());
    assert_eq!(
        titles(
            "PLAY [all] ***\n\nTASK [Gather] ****\nok\nTASK [Install] ***\nfatal: [h]: FAILED! => {}\nPLAY RECAP ***\nh : ok=1"
        ),
        ["PLAY [all] 1-6 e1", "  TASK [Gather] 3-4 e0", "  TASK [Install] 5-6 e1", "PLAY RECAP 7-8 e0"]
    );
}
