//! A server below a path prefix, with a proxy that removes the prefix and with one that keeps it.

use hyper::Method;

use crate::common::{Answer, TestServer, serve_with};

const BROWSER: (&str, &str) = ("accept", "text/html");

async fn below(prefix: &str) -> TestServer {
    let url = format!("https://example.test{prefix}").parse().unwrap();
    serve_with(|options| {
        options.public_url = Some(url);
        options.insecure = true;
    })
    .await
}

async fn get(server: &TestServer, path: &str) -> Answer {
    server.ask(Method::GET, path, &[BROWSER, ("host", "example.test")], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_a_path_are_served_and_refer_to_the_same_files() {
    let server = below("/logs").await;
    server.append("t", "a\n").await;
    for (path, root) in [
        ("/", "./"),
        ("/logs/", "./"),
        ("/tasks/t", "../"),
        ("/logs/tasks/t", "../"),
        ("/logs/tasks/t/", "../../"),
        ("/logs/runs", "./"),
    ] {
        let page = get(&server, path).await;
        assert_eq!(page.status, 200, "{path}");
        let text = page.text();
        assert!(text.contains(&format!("href=\"{root}assets/shared/style.css\"")), "{path}");
        assert!(!text.contains("=\"/"), "{path} refers to the root of the host");
    }
    for path in ["/assets/shared/root.js", "/logs/assets/shared/root.js", "/logs/api/v1/tasks/t", "/logs/healthz"] {
        assert_eq!(get(&server, path).await.status, 200, "{path}");
    }
    assert_eq!(get(&server, "/logs/api/v1/tasks/t/lines?tail=1").await.json()["last_line"], 1);
    let folder = get(&server, "/logs").await;
    assert_eq!((folder.status.as_u16(), folder.headers["location"].to_str().unwrap()), (308, "logs/"));
    for path in ["/logsx/", "/x/logs/", "/logs/nowhere", "/logs/logs/"] {
        assert_eq!(get(&server, path).await.status, 404, "{path}");
    }
    let mut socket = server.socket("/logs/ws/v1/tasks/t").await;
    assert_eq!(socket.hear().await["type"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_may_be_the_name_of_a_route() {
    let server = below("/tasks").await;
    server.append("t", "a\n").await;
    for path in ["/tasks/", "/tasks/tasks/t", "/tasks/t", "/tasks/api/v1/tasks"] {
        assert_eq!(get(&server, path).await.status, 200, "{path}");
    }
}
