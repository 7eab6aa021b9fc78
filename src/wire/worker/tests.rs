use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_778_336_581_000);

#[test]
fn blueprint_messages_are_parsed() {
    let text = r#"{"type":"log_line","work_request_id":42,"line":"Building...","timestamp":"2026-05-09T14:23:01+00:00","stream":"stderr"}"#;
    let WorkerMessage::Lines { task, first_seq: None, lines } = WorkerMessage::parse(text, NOW).unwrap() else {
        panic!()
    };
    assert_eq!((task.id.as_str(), task.numeric), ("42", true));
    let line = lines[0].as_ref().unwrap();
    assert_eq!((line.line.text.as_ref(), line.line.channel, line.own_time), ("Building...", Channel::Stderr, false));
    let text = r#"{"type":"log_line_end","work_request_id":42,"exit_code":0,"timestamp":"2026-05-09T14:25:00+00:00"}"#;
    let WorkerMessage::End(end) = WorkerMessage::parse(text, NOW).unwrap() else { panic!() };
    assert_eq!((end.exit_code, end.seq, end.aborted), (Some(0), None, false));
    assert_eq!(end.reported, ReportedTotals::default());
}

#[test]
fn end_may_report_totals() {
    let said = |fields: &str| {
        let text = format!(r#"{{"type":"log_line_end","work_request_id":42,"exit_code":0,{fields}}}"#);
        let WorkerMessage::End(end) = WorkerMessage::parse(&text, NOW).unwrap() else { panic!() };
        end.reported
    };
    let hash = format!("xxh3-128-sum:{}", "0af".repeat(11).split_off(1));
    let sum = hash.parse().unwrap();
    assert_eq!(
        said(&format!(r#""count":12034,"hash":"{hash}""#)),
        ReportedTotals { lines: Some(12_034), sum: Some(sum) }
    );
    assert_eq!(
        said(r#""count":7,"hash":"sha256:00""#),
        ReportedTotals { lines: Some(7), sum: None },
        "another algorithm"
    );
    let own = OutgoingMessage::LogLineEnd {
        work_request_id: "42",
        seq: 8,
        exit_code: Some(0),
        signal: None,
        status: None,
        timestamp: NOW,
        count: Some(7),
        hash: Some(sum),
    };
    let text = serde_json::to_string(&own).unwrap();
    let WorkerMessage::End(end) = WorkerMessage::parse(&text, NOW).unwrap() else { panic!() };
    assert_eq!((end.seq, end.reported), (Some(8), ReportedTotals { lines: Some(7), sum: Some(sum) }));
}

#[test]
fn every_error_names_its_field() {
    let cases = [
        (r#"{"type":"log_line","#, "bad_json", "JSON"),
        (r#"[1]"#, "bad_message", "object"),
        (r#"{"work_request_id":1}"#, "bad_message", "`type`"),
        (r#"{"type":"shout","work_request_id":1}"#, "unknown_type", "`type`"),
        (r#"{"type":"log_line","line":"x"}"#, "bad_message", "`work_request_id`"),
        (r#"{"type":"log_line","work_request_id":"","line":"x"}"#, "bad_message", "`work_request_id`"),
        (r#"{"type":"log_line","work_request_id":"a/b","line":"x"}"#, "bad_message", "`work_request_id`"),
        (r#"{"type":"log_line","work_request_id":{},"line":"x"}"#, "bad_message", "`work_request_id`"),
        (r#"{"type":"log_line_end","work_request_id":1,"exit_code":"zero"}"#, "bad_message", "`exit_code`"),
        (r#"{"type":"log_line_end","work_request_id":1,"signal":"SIGWHAT"}"#, "bad_message", "`signal`"),
        (r#"{"type":"log_line_end","work_request_id":1,"count":"7"}"#, "bad_message", "`count`"),
        (r#"{"type":"log_line_end","work_request_id":1,"hash":7}"#, "bad_message", "`hash`"),
        (r#"{"type":"task_start","work_request_id":1}"#, "bad_message", "`session`"),
        (r#"{"type":"task_start","work_request_id":1,"session":"s","labels":{"a":1}}"#, "bad_message", "`labels`"),
        (r#"{"type":"log_lines","lines":[1]}"#, "bad_message", "`work_request_id`"),
        (r#"{"type":"partial","work_request_id":1}"#, "bad_line", "`line`"),
        (r#"{"type":"hello","protocol":9}"#, "bad_message", "`protocol`"),
    ];
    for (text, code, field) in cases {
        let error = WorkerMessage::parse(text, NOW).expect_err(text);
        assert_eq!(error.code, code, "{text}: {error}");
        assert!(error.message.contains(field), "{text}: {error}");
    }
}

#[test]
fn bad_line_does_not_affect_its_neighbors() {
    let text = r#"{"type":"log_lines","work_request_id":"a","first_seq":1,"lines":[{"line":"x"},{"stream":"stdout"},{"line":"y","stream":"loud"},{"line":"z"}]}"#;
    let WorkerMessage::Lines { lines, .. } = WorkerMessage::parse(text, NOW).unwrap() else { panic!() };
    let field = |error: &BadMessage| error.message.split('`').nth(1).unwrap().to_owned();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| match line {
            Ok(ReceivedLine { fault: Some(fault), line, .. }) => format!("{} {}", line.text, field(fault)),
            Ok(line) => line.line.text.to_string(),
            Err(error) => field(error),
        })
        .collect();
    assert_eq!(shown, ["x", "lines[1].line", "y lines[2].stream", "z"]);
}

#[test]
fn partial_line_is_read_as_it_is_sent() {
    let sent =
        OutgoingMessage::Partial { work_request_id: "42", stream: Channel::Stderr, line: "50 %\r60 %", timestamp: NOW };
    let text = serde_json::to_string(&sent).unwrap();
    assert_eq!(
        text,
        r#"{"type":"partial","work_request_id":"42","stream":"stderr","line":"50 %\r60 %","timestamp":"2026-05-09T14:23:01.000Z"}"#
    );
    let WorkerMessage::Partial { task, line } = WorkerMessage::parse(&text, NOW).unwrap() else { panic!() };
    assert_eq!((task.id.as_str(), line.line.channel, line.line.text.as_ref()), ("42", Channel::Stderr, "50 %\r60 %"));
}

#[test]
fn line_without_time_gets_server_time() {
    for time in ["", r#","timestamp":"noon""#, r#","timestamp":null"#] {
        let text = format!(r#"{{"line":"x"{time}}}"#);
        let line = LineFields::parse(&text, NOW).unwrap();
        assert_eq!((line.line.timestamp, line.own_time), (NOW, true), "{text}");
    }
    let line = LineFields::parse("{\"line\":\"a\\u0000b\"}", NOW).unwrap();
    assert_eq!((line.line.text.as_ref(), line.line.lossy), ("a\u{fffd}b", true));
}

#[test]
fn ids_are_echoed_in_their_original_form() {
    for id in ["42", "\"42\"", "\"build-7\""] {
        let task: TaskRef = serde_json::from_str(id).unwrap();
        assert_eq!(serde_json::to_string(&task).unwrap(), id);
    }
}

#[test]
fn a_server_may_ask_to_retain_lines_and_report_a_seal() {
    let parse = |text: &str| serde_json::from_str::<ServerReply>(text).unwrap();
    let welcome = r#"{"type":"welcome","protocol":1,"heartbeat_s":15,"line_bytes_max":65536,"features":[],"retain":{"lines":10000,"bytes":8388608}}"#;
    let limits = Some(RetainLimits { lines: 10_000, bytes: 8_388_608 });
    assert!(matches!(parse(welcome), ServerReply::Welcome { retain, .. } if retain == limits));
    assert_eq!(serde_json::to_string(&parse(welcome)).unwrap(), welcome);
    let resume = r#"{"type":"resume","work_request_id":"44","session":"01J","acked_seq":7,"retain":{"lines":10000,"bytes":8388608}}"#;
    assert!(matches!(parse(resume), ServerReply::Resume { retain, acked_seq: 7, .. } if retain == limits));
    assert_eq!(serde_json::to_string(&parse(resume)).unwrap(), resume);
    for (text, is_sealed) in [
        (r#"{"type":"ack","work_request_id":44,"seq":3}"#, false),
        (r#"{"type":"ack","work_request_id":44,"seq":3,"sealed":true}"#, true),
    ] {
        assert!(matches!(parse(text), ServerReply::Ack { seq: 3, sealed, .. } if sealed == is_sealed));
        assert_eq!(serde_json::to_string(&parse(text)).unwrap(), text, "absent fields stay absent");
    }
}
