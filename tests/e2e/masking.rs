//! Secrets: nowhere outside the command itself, not even in the bytes on disk.

use std::path::Path;

use crate::support::Home;
use crate::tools::data;

const SECRET: &str = "correct-horse-battery";
const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nMIGEAgEAMBAGByqGSM49AgEGBSuBBAAK\nAwIBAQQgShortLine\n-----END PRIVATE KEY-----\n";
/// What nobody may see: a secret in the forms that the script prints, and parts of the key.
const TRACES: [&str; 6] = [
    SECRET,
    "orse-battery",
    "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5",
    "correct%2Dhorse",
    "MIGEAgEAMBAGByqGSM49",
    "AwIBAQQgShortLine",
];

/// Writes in pieces, on both channels, in encodings, as an argument, and at the end without a newline.
const SCRIPT: &str = r#"printf 'a correct-'; sleep 0.2; printf 'horse-'; sleep 0.2; printf 'battery z\n'
echo "err $SECRET" >&2; cat keys; sed 's/^/  /' keys; printf '%s' "$SECRET" | base64
echo "$SECRET" | sed 's/-/%2D/g'; echo "arg $0"; echo ordinary; printf 'last %s' "$SECRET""#;

/// Every byte under a folder, archives decompressed too.
fn everything(folder: &Path, found: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything(&path, found);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let magic = [0x28, 0xb5, 0x2f, 0xfd];
        if bytes.starts_with(&magic) {
            found.extend(zstd::decode_all(bytes.as_slice()).unwrap());
        }
        found.extend(bytes);
    }
}

fn no_trace(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for trace in TRACES {
        assert!(!text.contains(trace), "{what} holds {trace}");
    }
}

#[test]
fn a_secret_stays_in_the_command() {
    for pty in [false, true] {
        let home = Home::new();
        std::fs::write(home.path("keys"), KEY).unwrap();
        let label = format!("k={SECRET}");
        let mut args = vec!["run", "--task", "t", "--label", &label, "--mask-env", "SECRET", "--mask-file", "keys"];
        args.extend(["--tee", "tee.log"]);
        args.extend(pty.then_some("--pty"));
        args.extend(["--", "sh", "-c", SCRIPT, SECRET]);
        let mut command = home.command(&args);
        let done = crate::support::finish(command.env("SECRET", SECRET).spawn().unwrap());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        no_trace("stdout", done.stdout.as_bytes());
        no_trace("stderr", done.stderr.as_bytes());
        no_trace("the tee", &std::fs::read(home.path("tee.log")).unwrap());
        let mut stored = Vec::new();
        everything(&data(&home), &mut stored);
        assert!(stored.windows(8).any(|bytes| bytes == b"ordinary"), "the log is among what was looked at");
        no_trace("the data folder", &stored);
        let log = home.ok(&["follow", "t", "--stream", "stdout"]);
        let wanted = "a *** z\n***\n***\n***\n***\n  -----BEGIN PRIVATE KEY-----\n  ***\n  ***\n  -----END PRIVATE KEY-----\n***\n***\narg ***\nordinary\nlast ***\n";
        // A terminal is one stream.
        let log = log.replace("err ***\n", "");
        assert_eq!(log, wanted);
        assert!(done.stdout.ends_with("ordinary\nlast ***"), "{}", done.stdout);
        let task: serde_json::Value = serde_json::from_str(&home.ok(&["show", "t", "--json"])).unwrap();
        assert_eq!(task["labels"]["k"], "***");
        assert!(task["command"].to_string().contains("***"), "{}", task["command"]);
    }
}

#[test]
fn append_and_ship_mask_too() {
    let home = Home::new();
    let _serve = home.serve();
    std::fs::write(home.path("keys"), format!("{SECRET}\n{KEY}")).unwrap();
    std::fs::write(home.path("app.log"), format!("one\n{KEY}two {SECRET}\nhalf {SECRET}")).unwrap();
    home.ok(&["ship", "app.log", "--task", "t", "--no-follow", "--mask-file", "keys"]);
    home.ok(&["ship", "app.log", "--task", "t", "--no-follow", "--mask-file", "keys"]);
    home.ok(&["append", "--task", "t", "--mask-file", "keys", &format!("text {SECRET}")]);
    let done =
        home.run_with(&["append", "--task", "t", "--mask-file", "keys"], format!("in {SECRET}\n{KEY}").as_bytes());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut stored = Vec::new();
    everything(&data(&home), &mut stored);
    no_trace("the data folder", &stored);
    let log = home.ok(&["follow", "t", "--no-follow"]);
    let key = "***\n".repeat(4);
    assert_eq!(log, format!("one\n{key}two ***\nhalf ***\ntext ***\nin ***\n{key}"), "and nothing twice");
}

#[test]
fn a_secret_that_is_not_there_stops_before_the_command() {
    let home = Home::new();
    let run = |args: &[&str], pin: Option<&str>| {
        let args = [&["run"], args, &["--", "touch", "started"]].concat();
        let mut command = home.command(&args);
        command.env_remove("PIN").envs(pin.map(|pin| ("PIN", pin)));
        crate::support::finish(command.spawn().unwrap())
    };
    for (args, pin, words) in [
        (["--mask-env", "PIN"], None, "PIN to mask is not set"),
        (["--mask-env", "PIN"], Some("739"), "PIN: the secret has only 3 bytes"),
        (["--mask-file", "nowhere"], None, "cannot read the secrets in nowhere"),
    ] {
        let done = run(&args, pin);
        assert_eq!(done.code, Some(125), "{}", done.stderr);
        assert!(done.stderr.contains(words) && !done.stderr.contains("739"), "{}", done.stderr);
        assert!(!home.path("started").exists());
    }
}

#[test]
fn the_metadata_of_a_worker_is_masked() {
    let home = Home::new();
    // Nobody listens there.
    let args = ["run", "--url", "http://127.0.0.1:1", "--task", "t", "--spool", SECRET, "--mask-env", "SECRET"];
    let mut command = home.command(&[&args[..], &["--", "sh", "-c", "echo x"]].concat());
    let done = crate::support::finish(command.env("SECRET", SECRET).spawn().unwrap());
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "x\n"), "{}", done.stderr);
    assert!(done.stderr.contains("are stored in ***"), "{}", done.stderr);
    no_trace("stderr", done.stderr.as_bytes());
}
