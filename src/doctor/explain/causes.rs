//! Likely causes of what was found, as text.

use super::{Evidence, Explanation};

/// Returns the likely causes, the most important first.
pub(super) fn likely(report: &Explanation, evidence: &Evidence) -> Vec<String> {
    let mut causes = Vec::new();
    if report.lines == 0 {
        causes.push("the text is empty: nothing was captured, so the fault is upstream".to_owned());
        return causes;
    }
    if report.events == 0 {
        causes.push(nothing_found(report, evidence));
    }
    rejected(report, evidence, &mut causes);
    if evidence.hidden > 0 {
        causes.push(format!(
            "Ansible hid {}: the task has `no_log: true`",
            count(evidence.hidden, "an output", "outputs")
        ));
    }
    if report.events > 0 && evidence.statuses == 0 {
        causes.push(
            "all events are log events without a status: the run's journal will show nothing as ended".to_owned(),
        );
    } else if report.events > 0 && evidence.ended == 0 {
        causes.push(
            "nothing ended (no done, failed or succeeded): the text is truncated, or the runner was killed".to_owned(),
        );
    }
    if report.deduplicated > 0 {
        let times = count(report.deduplicated, "event was", "events were");
        causes.push(format!("{times} repeated (Ansible prints each event of a loop twice) and counted once"));
    }
    causes
}

fn nothing_found(report: &Explanation, evidence: &Evidence) -> String {
    if evidence.bare > 0 {
        return format!(
            "{} without LB_EVENT before it: this is a file of events; read it with `tasktail events status FILE`",
            count(evidence.bare, "line is an event", "lines are events")
        );
    }
    if report.rejected > 0 {
        return "no event could be parsed: see below".to_owned();
    }
    match report.named {
        0 if report.tasks > 0 => {
            "there are LB_TASK lines but no LB_EVENT: the callback works, but the runner printed no event \
             (LB_ENABLE_EVENT_LOGGING=0, or its output was redirected)"
                .to_owned()
        }
        0 => "no line contains LB_EVENT: the runner printed none (LB_ENABLE_EVENT_LOGGING=0?), its stdout was not \
              captured, or a program in between dropped it"
            .to_owned(),
        named if named == evidence.headings => format!(
            "the text contains LB_EVENT {} but no event: the task was printed (TASK [...]) but not its output; its loop had \
             no items, or its results were not shown (stdout callback, verbosity, display_ok_hosts)",
            times(named)
        ),
        named => format!(
            "the text contains LB_EVENT {} but no event: only task names and source code, not their output",
            times(named)
        ),
    }
}

fn rejected(report: &Explanation, evidence: &Evidence, causes: &mut Vec<String>) {
    for (field, number) in &evidence.missing {
        let all = if report.events == 0 && *number == report.rejected { "all events lack" } else { "lacking" };
        let who = if all == "lacking" { count(*number, "event lacks", "events lack") } else { all.to_owned() };
        let advice = match *field {
            "host" => "older polling scripts omit it; `tasktail events extract --host NAME` adds it",
            "event_type" => "it is neither a pipeline event nor a benchmark event",
            _ => "the writer omits it",
        };
        causes.push(format!("{who} `{field}`: {advice}"));
    }
    if evidence.python > 0 {
        causes.push(format!(
            "{} printed by Python ({{'host': ...}}): use json.dumps",
            count(evidence.python, "event is a dictionary", "events are dictionaries")
        ));
    }
    if evidence.cut > 0 {
        let last = evidence.open_end && evidence.cut_line == report.lines;
        causes.push(if last && evidence.cut == 1 {
            "the last line is truncated: the text ends inside an event; it may still be written".to_owned()
        } else {
            format!(
                "{} early: something truncates lines (a length limit, or two concurrent writers)",
                count(evidence.cut, "event ends", "events end")
            )
        });
    }
    for (reason, advice) in [
        ("wrong_type", "a field has the wrong type; fix the writer"),
        ("too_long", "an event exceeds the size limit; shorten its message or context"),
        ("not_an_object", "LB_EVENT is followed by JSON that is not an object"),
    ] {
        if let Some(number) = report.reasons.get(reason) {
            causes.push(format!("{} rejected as {reason}: {advice}", count(*number, "event was", "events were")));
        }
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    match (number, one.strip_prefix("an ")) {
        (1, Some(_)) => one.to_owned(),
        (1, None) => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}
