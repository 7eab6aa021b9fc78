//! Repetition is one row, failures never are, and nothing is lost from the counts.

use proptest::prelude::*;
use tasktail::dashboard::{Action, DashboardItem, ROWS_MAX};

use crate::support::{Scene, log, status};

fn messages(scene: &Scene) -> Vec<String> {
    scene.state.log().rows().map(|row| row.message()).collect()
}

fn all_messages(scene: &Scene) -> Vec<String> {
    scene.state.all().rows().map(|row| row.message()).collect()
}

/// Lines and events that the shown log stands for, what went and what is hidden included.
fn counted(scene: &Scene) -> (u64, u64) {
    let log = scene.state.log();
    let sum = log.rows().fold((0, 0), |(lines, events), row| (lines + row.lines, events + row.events));
    (sum.0 + log.dropped().lines + scene.state.hidden(), sum.1 + log.dropped().events)
}

#[test]
fn formats_1_10_renamed_polling_tasks_are_one_row() {
    let mut scene = Scene::pipe();
    for round in 1..=3 {
        for (task, seconds) in
            [("Wait before next poll", 30.0), ("Emit captured events", 0.5), ("Continue polling (recursive)", 0.1)]
        {
            scene.text(&format!("• [run-dfaas] (h1) {task} done in {:.1}s", seconds + f64::from(round)));
        }
    }
    assert_eq!(
        messages(&scene),
        [
            "↻ ×3 [run-dfaas] (h1) Wait before next poll · Emit captured events · Continue polling (recursive) (last 3.1s)"
        ]
    );
    assert_eq!(all_messages(&scene).len(), 9);
}

#[test]
fn loops_of_any_item_name_in_ansible_output_are_one_row() {
    let mut scene = Scene::pipe();
    scene.text("TASK [Begin] ****\nok: [h1]");
    for round in 0..4 {
        scene.text(&format!(
            "\nTASK [Schlummern] ****\nok: [h1]\nok: [h2]\n\nTASK [Zaehle bis {round}] ****\nskipping: [h1]\nchanged: [h2]"
        ));
        scene.events(&log("h1", "w", 1, "INFO", ["a", "b", "c", "d"][round]));
    }
    let shown = messages(&scene);
    assert_eq!(
        shown,
        ["TASK [Begin] ****", "ok: [h1]", "↻ ×4 Schlummern · Zaehle bis 3", "a", "b", "c", "d"],
        "{shown:?}"
    );
    scene.text("TASK [End] ****");
    assert_eq!(messages(&scene).last().unwrap(), "TASK [End] ****");
}

#[test]
fn two_hosts_that_poll_out_of_step_have_a_row_each() {
    let mut scene = Scene::pipe();
    for line in
        ["(h1) Delay", "(h2) Delay", "(h1) Poll", "(h1) Delay", "(h2) Poll", "(h2) Delay", "(h1) Poll", "(h2) Poll"]
    {
        scene.text(&format!("• [run-x] {line} done in 1.0s"));
    }
    let shown = messages(&scene);
    assert_eq!(shown, ["↻ ×2 [run-x] (h1) Delay · Poll (last 1.0s)", "↻ ×2 [run-x] (h2) Delay · Poll (last 1.0s)"]);
}

#[test]
fn formats_1_10_lines_of_k6_are_not_swallowed() {
    let mut scene = Scene::pipe();
    let said = [
        "default ✓ [ 100% ]",
        "running (0m01.0s), 10/10 VUs",
        "running (0m02.0s), 10/10 VUs",
        "level=warning Request Failed",
    ];
    for line in said {
        scene.text(&format!("• [run-dfaas] (host1) 1/3 running (k6[cfg1] stdout: {line})"));
    }
    let shown = messages(&scene);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown[1].contains("×2") && shown[1].contains("0m02.0s"), "{shown:?}");
    for (line, kept) in said.iter().zip(all_messages(&scene)) {
        assert!(kept.contains(line) && !kept.contains('↻'), "{kept}");
    }
}

#[test]
fn progress_of_two_generators_collapses_each_on_its_own_and_its_warnings_do_not() {
    let mut scene = Scene::pipe();
    for second in 1..=4 {
        for host in ["h1", "h2"] {
            scene.events(&log(host, "dfaas", 1, "INFO", &format!("k6[c] stdout: running (0m0{second}.0s), 10/10 VUs")));
            scene.events(&log(host, "dfaas", 1, "INFO", &format!("k6[c] stdout: default [ {second}0% ] 10 VUs")));
        }
    }
    let shown = messages(&scene);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(
        shown.iter().all(|text| text.starts_with("↻ ×4") && text.contains("0m04.0s") && text.contains("40%")),
        "{shown:?}"
    );
    for _ in 0..2 {
        scene.events(&log("h1", "dfaas", 1, "WARNING", "slow"));
    }
    assert_eq!(messages(&scene).len(), 4);
    assert_eq!(counted(&scene), (0, 18));
}

#[test]
fn formats_1_7_equal_messages_are_counted_and_errors_stay_apart() {
    let mut scene = Scene::pipe();
    for level in ["INFO", "INFO", "ERROR", "ERROR", "INFO"] {
        scene.events(&log("h1", "fio", 1, level, "same"));
    }
    assert_eq!(messages(&scene), ["↻ ×2 same", "same", "same", "same"]);
    assert_eq!(counted(&scene), (0, 5));
    assert_eq!(scene.state.counts().screen, 5);
}

#[test]
fn formats_1_7_a_late_duplicate_is_shown_once() {
    let mut scene = Scene::pipe();
    let event = |n: u64| {
        let text = status("h1", "fio", 1, "running", &format!("{n}"));
        tasktail::model::Event::parse(&text).unwrap().with(&[("event_id", format!("id-{n}").into())])
    };
    for n in (0..1000).chain(0..1000) {
        scene.item(DashboardItem::Event { event: event(n), in_result: false });
    }
    let counts = scene.state.counts();
    assert_eq!((counts.found, counts.repeated, counts.run, counts.screen), (2000, 1000, 1000, 1000));
}

#[test]
fn failures_never_collapse() {
    let mut scene = Scene::pipe();
    for _ in 0..5 {
        scene.text("TASK [Poll] ****\nfatal: [h1]: UNREACHABLE! => {\"changed\": false}\nfailed: [h2] (item=1)");
        scene.events(&status("h1", "fio", 1, "failed", "error=x"));
    }
    let shown = messages(&scene);
    let count = |text: &str| shown.iter().filter(|row| row.starts_with(text)).count();
    assert_eq!((count("fatal"), count("failed: [h2]"), count("failed error=x")), (5, 5, 5), "{shown:?}");
}

#[test]
fn old_rows_are_removed_and_counted() {
    let mut scene = Scene::pipe();
    let extra = 7;
    for n in 0..ROWS_MAX + extra {
        scene.item(DashboardItem::Text(format!("line {}", words(n))));
    }
    scene.act(Action::Mode);
    assert_eq!(scene.state.log().rows().count(), ROWS_MAX);
    scene.screen(80, 24);
    scene.act(Action::Home);
    let screen = scene.screen(80, 24);
    assert!(screen.contains("7 older rows dropped (7 lines, 0 events)"), "{screen}");
}

/// A number in letters, so that no two are the same line.
fn words(mut n: usize) -> String {
    let mut out = String::new();
    loop {
        out.push(char::from(b'a' + u8::try_from(n % 26).unwrap()));
        n /= 26;
        if n == 0 {
            return out;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_from_the_counts(steps in prop::collection::vec((0u8..9, 0u8..3), 0..120), pause in 0usize..120) {
        let mut scene = Scene::pipe();
        let (mut lines, mut events, mut failures) = (0, 0, 0);
        for (at, (what, which)) in steps.iter().enumerate() {
            if at == pause {
                scene.act(Action::Pause);
            }
            match what {
                0..=3 => scene.text(&format!("TASK [{which}x] ****")),
                4 => scene.text(&format!("ok: [h{which}]")),
                5 => scene.text("fatal: [h1]: FAILED!"),
                6 => scene.events(&status("h1", "w", 1, "running", "")),
                _ => scene.events(&log("h1", "w", 1, if *what == 7 { "INFO" } else { "ERROR" }, &format!("m {which}"))),
            };
            if *what < 6 { lines += 1 } else { events += 1 }
            failures += usize::from(*what == 5 || *what == 8);
        }
        prop_assert_eq!(counted(&scene), (lines, events));
        prop_assert_eq!(scene.state.log().failures(), failures);
        scene.act(Action::Mode);
        let all = scene.state.all().rows().count() as u64;
        prop_assert_eq!(all, lines + events);
        let ids: Vec<u64> = scene.state.log().rows().map(|row| row.id).collect();
        prop_assert!(ids.is_sorted());
    }
}
