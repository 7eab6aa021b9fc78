//! What a viewer asks for: the part of a URL behind `?`, ids in paths, and the messages of a
//! connection that follows many tasks.

use tasktail::wire::viewer::FollowRequest;

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        tasktail::server::fuzzing::query(text);
    }
    let Ok(request) = serde_json::from_slice::<FollowRequest>(bytes) else { return };
    let json = serde_json::to_vec(&request).unwrap();
    assert_eq!(serde_json::from_slice::<FollowRequest>(&json).unwrap(), request);
}
