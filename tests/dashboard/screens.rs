//! The screens, at three sizes. `INSTA_UPDATE=always cargo test --test dashboard` writes them anew.

use std::time::Duration;

use tasktail::dashboard::{Action, Item};
use tasktail::model::{Pipeline, Stage, StageError, Timestamp};

use crate::support::{BEGIN_MS, Scene, log, status};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn check(name: &str, scene: &mut Scene) {
    for (columns, lines) in SIZES {
        let screen = scene.screen(columns, lines);
        insta::assert_snapshot!(format!("{name}_{columns}x{lines}"), screen);
    }
}

/// Two hosts, one in its second repetition.
fn benchmark() -> Scene {
    let mut scene = Scene::pipe();
    scene.text("PLAY [bench] *******************************************************************");
    scene.events(&status("dfaas-target", "dfaas", 1, "running", ""));
    scene.events(&log("dfaas-target", "dfaas", 1, "INFO", "k6[cfg-01] log stream started"));
    scene.events(&status("dfaas-target", "dfaas", 1, "done", "duration=12.3s"));
    scene.events(&status("dfaas-target", "dfaas", 2, "running", ""));
    for second in 1..6 {
        let message = format!("k6[cfg-01] stdout: running (0m0{second}.0s), 10/10 VUs, {} complete", second * 12);
        scene.events(&log("dfaas-target", "dfaas", 2, "INFO", &message));
    }
    scene.events(&log("dfaas-target", "dfaas", 2, "WARNING", "Request Failed: Get http://10.0.0.7: EOF"));
    scene.events(&status("host-2", "fio", 1, "running", ""));
    scene.events(&log("host-2", "fio", 1, "INFO", "randread 4k: läuft · 日本語"));
    scene.item(Item::Echo);
    scene.item(Item::Rejected {
        reason: "not_json",
        message: "it is not JSON: EOF while parsing an object at line 1 column 9".to_owned(),
        excerpt: "{\"host\": ".to_owned(),
    });
    scene.wait(Duration::from_millis(11_340));
    scene
}

#[test]
fn waiting() {
    check("waiting", &mut Scene::server("run-1"));
    let mut named = Scene::pipe();
    named.text("TASK [Poll LB_EVENT stream] ****\nok: [h1]");
    assert!(named.screen(80, 24).contains("1 line of text names LB_EVENT, but none of them holds an event"));
}

#[test]
fn a_live_benchmark() {
    check("live", &mut benchmark());
}

#[test]
fn a_failed_run() {
    let mut scene = benchmark();
    scene.events(&log(
        "host-2",
        "fio",
        1,
        "ERROR",
        "fio: pid=0, err=28/file:filesetup.c:240, func=write, error=No space left on device",
    ));
    scene.events(&status("host-2", "fio", 1, "failed", "error=fio ended with 1 duration=4.0s"));
    for number in 2..=3 {
        scene.events(&status("host-2", "fio", number, "skipped", ""));
        scene.events(&status("dfaas-target", "dfaas", number, "done", "duration=12.1s"));
    }
    scene.events(&status("host-3", "fio", 5, "unreachable", ""));
    scene.text("h1  : ok=5 changed=1 unreachable=0 failed=1 skipped=0 rescued=0 ignored=0");
    scene.item(Item::End);
    check("failed", &mut scene);
}

#[test]
fn a_pipeline_that_fails_at_a_gate() {
    let mut scene = Scene::server("run_abc");
    scene.events(
        r#"{"event_type":"run.created","run_id":"run_abc","actor":"runner","attempt":0,"reason":"Manual trigger","new_state":"created"}
        {"event_type":"run.state_changed","run_id":"run_abc","previous_state":"created","new_state":"executing"}
        {"event_type":"step.started","run_id":"run_abc","step_id":"preflight_contract_check","new_state":"running"}
        {"event_type":"step.succeeded","run_id":"run_abc","step_id":"preflight_contract_check","new_state":"succeeded"}
        {"event_type":"step.started","run_id":"run_abc","step_id":"phase_benchmark","attempt":0,"new_state":"running"}
        {"event_type":"step.failed","run_id":"run_abc","step_id":"phase_benchmark","attempt":0,"error_class":"transient_io","reason":"read timed out","new_state":"failed"}
        {"event_type":"step.retried","run_id":"run_abc","step_id":"phase_benchmark","attempt":1}
        {"event_type":"step.started","run_id":"run_abc","step_id":"phase_benchmark","attempt":1,"new_state":"running"}
        {"event_type":"step.failed","run_id":"run_abc","step_id":"phase_benchmark","attempt":1,"error_class":"hard_gate_failed","reason":"Accuracy 95.2% below threshold 97%","new_state":"failed"}
        {"event_type":"gate.failed","run_id":"run_abc","step_id":"phase_benchmark","attempt":0,"error_class":"hard_gate_failed","reason":"Accuracy 95.2% below threshold 97%"}
        {"event_type":"run.state_changed","run_id":"run_abc","previous_state":"executing","new_state":"failed"}
        {"event_type":"run.completed","run_id":"run_abc","reason":"Hard gate failed: phase_benchmark","new_state":"failed"}"#,
    );
    check("gate", &mut scene);
}

#[test]
fn polling_is_one_row() {
    let mut scene = Scene::pipe();
    scene.events(&status("h1", "dfaas", 1, "running", ""));
    for round in 1..=12 {
        scene.text(&format!(
            "TASK [Wait before next poll] ****\nok: [h1]\nTASK [Emit captured events] ****\nok: [h1]\n\
             TASK [Continue polling (recursive)] ****\nincluded: /srv/poll.yml for h1\nskipping: [h1]\n{}",
            ""
        ));
        if round % 4 == 0 {
            scene.events(&log(
                "h1",
                "dfaas",
                1,
                "INFO",
                &format!("iteration of phase {}", ["a", "b", "c"][round / 4 - 1]),
            ));
        }
    }
    scene.text("TASK [Fetch results] ****\nfatal: [h1]: FAILED! => {\n    \"msg\": \"no such file\"\n}");
    check("polling", &mut scene);
}

#[test]
fn disconnected() {
    let mut scene = Scene::server("run-1");
    scene.item(Item::Connected);
    let hop = |name: &str, received: u64| Stage { name: name.to_owned(), received, ..Stage::default() };
    let mut extraction = Stage { parsed: 86, ..hop("extraction", 1204) };
    extraction.rejected.insert("missing_field".to_owned(), 2);
    let fault = StageError { at: Timestamp::from_millis(BEGIN_MS), message: "field `host` is missing".to_owned() };
    extraction.last_error = Some(fault);
    let dedupe = Stage { deduplicated: 43, ..hop("dedupe", 86) };
    let hops = vec![
        hop("worker_socket", 1204),
        hop("journal", 1204),
        extraction,
        dedupe,
        hop("run_state", 43),
        hop("sse", 43),
    ];
    scene.item(Item::Pipeline(Pipeline { stages: hops, runs_folder: None }));
    scene.events(&status("h1", "fio", 1, "running", ""));
    scene.item(Item::Disconnected {
        why: "the connection to http://127.0.0.1:7117 broke: connection reset".to_owned(),
        retry: Duration::from_millis(3200),
    });
    scene.wait(Duration::from_millis(500));
    check("disconnected", &mut scene);
}

#[test]
fn no_size_breaks_it() {
    let mut scene = benchmark();
    for help in [false, true] {
        for columns in (1..50).chain([64, 80, 300]) {
            for lines in (1..30).chain([50]) {
                scene.screen(columns, lines);
            }
        }
        if !help {
            scene.act(Action::Help);
        }
    }
    scene.act(Action::Help);
    let small = scene.screen(40, 10);
    assert!(small.contains("live (stdout") && small.contains("randread") && !small.contains("Run Journal"), "{small}");
}

#[test]
fn hostile_text_moves_no_cursor() {
    let mut scene = Scene::pipe();
    scene.events(&log("h\\u001b[2J1", "fio\\u0007", 1, "INFO", "a\\u001b[31mred\\u202e b\\r\\nc"));
    scene.text("plain \u{1b}[2J\u{1b}]0;title\u{7}text\rover");
    let screen = scene.screen(120, 40);
    assert!(!screen.chars().any(|c| c.is_control() && c != '\n'), "{screen:?}");
    assert!(screen.contains("plain text") && screen.contains("ared"), "{screen}");
}

#[test]
fn filter_scroll_pause_and_errors() {
    let mut scene = benchmark();
    for nth in 0..60 {
        scene.events(&status("h1", "fio", 1, "running", &format!("step {nth}")));
    }
    scene.events(&log("h1", "fio", 1, "ERROR", "boom"));
    for nth in 60..90 {
        scene.events(&status("h1", "fio", 1, "running", &format!("step {nth}")));
    }
    let screen = |scene: &mut Scene| scene.screen(80, 24);
    assert!(screen(&mut scene).contains("step 89"));
    scene.act(Action::Scroll(-1));
    let back = screen(&mut scene);
    assert!(
        !log_part(&back).contains("step 89") && back.contains("step 88") && back.contains("scrolled back"),
        "{back}"
    );
    scene.events(&status("h1", "fio", 1, "running", "step 90"));
    assert_eq!(log_part(&screen(&mut scene)), log_part(&back), "what comes does not move what is read");
    scene.act(Action::Scroll(5));
    assert!(log_part(&screen(&mut scene)).contains("step 90"), "at the end it follows again");

    scene.act(Action::NextError);
    let error = screen(&mut scene);
    assert!(log_part(&error).contains("ERROR   fio@h1 1/3 boom [K6ExecutionError]"), "{error}");
    scene.act(Action::End).act(Action::Home);
    assert!(log_part(&screen(&mut scene)).contains("PLAY [bench]"));
    scene.act(Action::End).act(Action::Pause);
    let paused = screen(&mut scene);
    scene.events(&[status("h1", "fio", 1, "running", "new 1"), status("h1", "fio", 1, "running", "new 2")].join("\n"));
    let still = screen(&mut scene);
    assert!(still.contains("paused, 2 new"), "{still}");
    assert_eq!(log_part(&paused), log_part(&still));
    scene.act(Action::Pause);
    assert!(log_part(&screen(&mut scene)).contains("new 2"));

    scene.act(Action::Filter);
    for c in "BooM".chars() {
        scene.act(Action::Type(c));
    }
    let filtered = screen(&mut scene);
    assert!(log_part(&filtered).contains("boom") && !log_part(&filtered).contains("step"), "{filtered}");
    assert!(filtered.contains("/BooM▏"), "{filtered}");
    scene.act(Action::Keep);
    assert!(screen(&mut scene).contains("only “BooM”"));
    scene.act(Action::Clear);
    assert!(log_part(&screen(&mut scene)).contains("new 2"));
    scene.act(Action::Help);
    assert!(screen(&mut scene).contains("leave"));
}

/// The rows of the log, without its title and the footer.
fn log_part(screen: &str) -> String {
    let lines: Vec<&str> = screen.lines().collect();
    let from = lines.iter().position(|line| line.contains("Log Stream")).unwrap() + 1;
    lines[from..lines.len() - 1].join("\n")
}
