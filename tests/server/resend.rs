//! Lines that a worker sends again around the end of its task.

use serde_json::json;

use crate::common::{numbered, serve};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_the_end_is_acknowledged_before_the_rest_is_rejected() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":[]})).await;
    worker.say(numbered("t", 1, &["one", "two"])).await;
    worker.acked(2).await;
    assert_eq!(server.end("t").await.status, 200);
    worker.say(numbered("t", 1, &["one", "two"])).await;
    let repeated = worker.hear().await;
    assert_eq!((&repeated["type"], &repeated["seq"]), (&json!("ack"), &json!(2)));
    worker.say(numbered("t", 2, &["two", "late"])).await;
    let stored = worker.hear().await;
    assert_eq!((&stored["type"], &stored["seq"]), (&json!("ack"), &json!(2)));
    assert_eq!(worker.hear().await["code"], "task_ended");
    assert_eq!(server.texts("t").await, ["one", "two"]);
}
