//! From what was found to what is likely behind it, in words.

use super::{Clues, Explained};

/// The likely causes, the weightiest first.
pub(super) fn likely(told: &Explained, clues: &Clues) -> Vec<String> {
    let mut causes = Vec::new();
    if told.lines == 0 {
        causes.push("the text is empty: nothing was captured, so the fault is before this place".to_owned());
        return causes;
    }
    if told.events == 0 {
        causes.push(nothing_found(told, clues));
    }
    rejected(told, clues, &mut causes);
    if clues.hidden > 0 {
        causes
            .push(format!("Ansible hid {}: the task has `no_log: true`", count(clues.hidden, "an output", "outputs")));
    }
    if told.events > 0 && clues.statuses == 0 {
        causes.push(
            "all events are lines of a log, none tells a status: the run's journal will show nothing ended".to_owned(),
        );
    } else if told.events > 0 && clues.ended == 0 {
        causes.push(
            "nothing ever ended (no done, failed or succeeded): the text ends early, or the runner was killed"
                .to_owned(),
        );
    }
    if told.deduplicated > 0 {
        let times = count(told.deduplicated, "event was", "events were");
        causes.push(format!("{times} there a second time (Ansible prints each event of a loop twice) and count once"));
    }
    causes
}

fn nothing_found(told: &Explained, clues: &Clues) -> String {
    if clues.bare > 0 {
        return format!(
            "{} without LB_EVENT before it: this is a file of events; read it with `tasktail events status FILE`",
            count(clues.bare, "line is an event", "lines are events")
        );
    }
    if told.rejected > 0 {
        return "what looks like an event cannot be read: see below".to_owned();
    }
    match told.named {
        0 if told.tasks > 0 => {
            "there are LB_TASK lines but none names LB_EVENT: the callback works, the runner printed no event \
             (LB_ENABLE_EVENT_LOGGING=0, or its output went elsewhere)"
                .to_owned()
        }
        0 => "no line names LB_EVENT: the runner printed none (LB_ENABLE_EVENT_LOGGING=0?), its stdout was not \
              captured, or something between dropped it"
            .to_owned(),
        named if named == clues.headings => format!(
            "the text names LB_EVENT {}, no event: the task was printed (TASK [...]) but not its output; its loop had \
             no items, or its results were not shown (stdout callback, verbosity, display_ok_hosts)",
            times(named)
        ),
        named => format!(
            "the text names LB_EVENT {}, no event: only names of tasks and source code stand there, not what they \
             print",
            times(named)
        ),
    }
}

fn rejected(told: &Explained, clues: &Clues, causes: &mut Vec<String>) {
    for (field, number) in &clues.missing {
        let all = if told.events == 0 && *number == told.rejected { "all events lack" } else { "lacking" };
        let who = if all == "lacking" { count(*number, "event lacks", "events lack") } else { all.to_owned() };
        let advice = match *field {
            "host" => "older polling scripts leave it out; `tasktail events extract --host NAME` fills it in",
            "event_type" => "it is neither a pipeline's event nor a benchmark's",
            _ => "the writer leaves it out",
        };
        causes.push(format!("{who} `{field}`: {advice}"));
    }
    if clues.python > 0 {
        causes.push(format!(
            "{} printed by Python as it is ({{'host': ...}}): it must be written with json.dumps",
            count(clues.python, "event is a dictionary", "events are dictionaries")
        ));
    }
    if clues.cut > 0 {
        let last = clues.open_end && clues.cut_line == told.lines;
        causes.push(if last && clues.cut == 1 {
            "the last line is cut off: the text ends inside an event; it may still be written".to_owned()
        } else {
            format!(
                "{} in the middle: something on the way cuts lines (a limit of its length, or two writers at once)",
                count(clues.cut, "event ends", "events end")
            )
        });
    }
    for (reason, advice) in [
        ("wrong_type", "a field holds something else than it should; the writer must be put right"),
        ("too_long", "an event is larger than what is taken; shorten its message or its context"),
        ("not_an_object", "what follows LB_EVENT is JSON but no object"),
    ] {
        if let Some(number) = told.reasons.get(reason) {
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
