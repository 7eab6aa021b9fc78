//! The pages and their scripts and styles, embedded in the binary. Nothing is read from disk at run
//! time or loaded from another host.

/// A file that a page loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asset {
    /// `Content-Type` of the file.
    pub(crate) content_type: &'static str,
    /// Contents of the file.
    pub(crate) body: &'static str,
}

macro_rules! policy {
    ($forms:literal) => {
        concat!(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
             base-uri 'none'; frame-ancestors 'none'; form-action ",
            $forms
        )
    };
}

/// The policy of the pages: they load from and connect to this server only. Even if log text became
/// markup by a bug, it could not run scripts or load anything.
pub(crate) const CONTENT_SECURITY_POLICY: &str = policy!("'none'");
/// The policy of the sign-in page, whose form posts to this server.
pub(crate) const LOGIN_SECURITY_POLICY: &str = policy!("'self'");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!($name))),*] };
}

const FILES: &[(&str, &str)] = files![
    "diff/diff.css",
    "diff/diff.js",
    "run/controls.js",
    "run/eventrow.js",
    "run/events.js",
    "run/feed.js",
    "run/journal.js",
    "run/list.js",
    "run/log.js",
    "run/run.css",
    "run/run.js",
    "run/sources.js",
    "run/state.js",
    "run/status.js",
    "run/tasks.js",
    "shared/access.js",
    "shared/announce.js",
    "shared/ansi.js",
    "shared/api.js",
    "shared/blocks.js",
    "shared/contrast.js",
    "shared/controls.js",
    "shared/dom.js",
    "shared/drawnrows.js",
    "shared/embed.css",
    "shared/escapes.js",
    "shared/eventstream.js",
    "shared/findkey.js",
    "shared/format.js",
    "shared/icon.js",
    "shared/keys.js",
    "shared/links.js",
    "shared/list.css",
    "shared/livelist.js",
    "shared/logcopy.js",
    "shared/login.css",
    "shared/login.js",
    "shared/logpage.js",
    "shared/ndjson.js",
    "shared/notices.js",
    "shared/root.js",
    "shared/rows.js",
    "shared/screen.js",
    "shared/scroller.js",
    "shared/search.js",
    "shared/segment.js",
    "shared/sgr.js",
    "shared/share.js",
    "shared/store.js",
    "shared/style.css",
    "shared/styled.js",
    "shared/tablerows.js",
    "shared/toast.js",
    "shared/transport.js",
    "shared/urls.js",
    "shared/viewstate.js",
    "shared/width.js",
    "shared/widths.js",
    "task/embedded.js",
    "task/header.js",
    "task/lastline.js",
    "task/list.js",
    "task/loader.js",
    "task/marks.js",
    "task/notify.js",
    "task/outline.js",
    "task/partial.js",
    "task/print.js",
    "task/problems.js",
    "task/replay.js",
    "task/search.js",
    "task/sectionrow.js",
    "task/sections.js",
    "task/sharedialog.js",
    "task/socket.js",
    "task/task.css",
    "task/task.js",
    "task/transports.js",
];

/// Returns the file served at `/assets/FOLDER/NAME`.
pub(crate) fn asset(name: &str) -> Option<Asset> {
    let (_, body) = FILES.iter().find(|(file, _)| *file == name)?;
    let content_type = if name.ends_with(".css") { CSS } else { JAVASCRIPT };
    Some(Asset { content_type, body })
}

/// Returns the list of tasks, `GET /`.
pub(crate) fn list_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("task/list.html") }
}

/// Returns the task page, `GET /tasks/{id}`. For browsers without JavaScript it has links to the log and `facts`; `id` is
/// percent-encoded. Everything else is the same for every task: a script reads the id from the URL.
pub(crate) fn task_page(root: &str, id: &str, facts: &str) -> String {
    // The untrusted text comes last, so that placeholders in it are not expanded.
    with_root(include_str!("task/task.html"), root)
        .replace("{{task}}", &escaped(id))
        .replace("{{facts}}", &escaped(facts))
}

/// Returns the search across tasks, `GET /search`.
pub(crate) fn search_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("task/search.html") }
}

/// Returns the task page for a frame of another site, `GET /embed/{id}`: the same elements, of which `embed.css` hides
/// those that need a session.
pub(crate) fn embed_page(root: &str, id: &str) -> String {
    let page = task_page(root, id, "");
    let style = format!("<link rel=\"stylesheet\" href=\"{root}assets/shared/embed.css\">\n</head>");
    page.replace("</head>", &style).replace("<body class=\"task\">", "<body class=\"task embed\">")
}

/// Returns the script `GET /assets/embed.js`.
pub(crate) fn embed_script() -> Asset {
    Asset { content_type: JAVASCRIPT, body: include_str!("embed.js") }
}

/// Returns the difference of two logs, `GET /tasks/{id}/diff`, the same for every id.
pub(crate) fn diff_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("diff/diff.html") }
}

/// Returns the list of runs, `GET /runs`.
pub(crate) fn runs_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("run/list.html") }
}

/// Returns the run page, `GET /runs/{id}`, the same for every id.
pub(crate) fn run_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("run/run.html") }
}

/// Returns the sign-in page, `/login`, with its placeholders filled in.
pub(crate) fn login_page(root: &str, next: &str, problem: &str, life: &str) -> String {
    let page = with_root(include_str!("shared/login.html"), root);
    // The untrusted text comes last, so that placeholders in it are not expanded.
    let page = page.replace("{{life}}", &escaped(life)).replace("{{problem}}", &escaped(problem));
    page.replace("{{next}}", &escaped(next))
}

/// Returns the page of a request that failed. `fix` are lines of settings that remedy it, by program.
pub(crate) fn error_page(root: &str, title: &str, code: &str, detail: &str, fix: &[(String, String)]) -> String {
    let line = |(program, line): &(String, String)| {
        format!("<dt>{}</dt><dd><code>{}</code></dd>", escaped(program), escaped(line))
    };
    let fix: String = fix.iter().map(line).collect();
    let fix = if fix.is_empty() { fix } else { format!("<dl>{fix}</dl>") };
    let page = with_root(include_str!("shared/error.html"), root);
    let page = page.replace("{{title}}", title).replace("{{code}}", code);
    // One pass: the untrusted texts may contain each other's placeholders.
    let (head, rest) = page.split_once("{{detail}}").unwrap_or((&page, ""));
    let (middle, tail) = rest.split_once("{{fix}}").unwrap_or((rest, ""));
    format!("{head}{}{middle}{fix}{tail}", escaped(detail))
}

/// Returns a page whose addresses are relative to `root`, the front page seen from the page's own address.
pub(crate) fn with_root(page: &str, root: &str) -> String {
    page.replace("=\"/", &format!("=\"{root}"))
}

/// Returns text escaped for HTML, between tags or inside double quotes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text between each `before` and the next `"`.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    /// Returns the text of every page.
    fn pages() -> Vec<String> {
        let fixed = [list_page(), search_page(), diff_page(), runs_page(), run_page()].map(|page| page.body.to_owned());
        let error = error_page("/", "Not Found", "not_found", "no such route", &[]);
        fixed.into_iter().chain([task_page("/", "t", ""), login_page("/", "/", "", "12h"), error]).collect()
    }

    #[test]
    fn login_page_escapes_its_values() {
        let page = login_page("../", "/a?b=\"><script>alert(1)</script>{{life}}", "Wrong & <b>", "12h");
        assert!(page.contains("signed in for 12h,") && page.contains("Wrong &amp; &lt;b&gt;"));
        assert!(page.contains("value=\"/a?b=&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{life}}\">"));
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("action=\"../login\"") && !page.contains("=\"/assets"));
    }

    #[test]
    fn error_page_escapes_its_values() {
        let fix = [("nginx".to_owned(), "Host $http_host; {{detail}}".to_owned())];
        let page = error_page("./", "Forbidden", "bad_host", "<img onerror=x> {{fix}}", &fix);
        assert!(page.contains("&lt;img onerror=x&gt; {{fix}}") && page.contains("bad_host"));
        assert!(page.contains("<dt>nginx</dt><dd><code>Host $http_host; {{detail}}</code></dd>"));
        assert!(page.contains("href=\"./assets/shared/style.css\""));
    }

    #[test]
    fn embed_page_is_the_task_page_with_another_style() {
        let page = embed_page("../", "t");
        assert!(page.contains("<body class=\"task embed\">") && page.contains("\"../assets/shared/embed.css\""));
        assert!(page.contains("\"../assets/task/task.js\"") && !page.contains("=\"/"));
    }

    #[test]
    fn task_page_escapes_its_values() {
        let page = task_page("/", "a%22\"<b>", "running, make '<i>' {{task}}");
        assert!(page.contains("/api/v1/tasks/a%22&quot;&lt;b&gt;/log\""));
        assert!(page.contains("running, make &#39;&lt;i&gt;&#39; {{task}}"));
        assert!(!page.contains("<i>") && !page.contains("{{facts}}"));
    }

    #[test]
    fn every_referenced_asset_exists() {
        for page in pages() {
            let names = quoted(&page, "\"/assets/");
            assert!(!names.is_empty(), "a page loads a style");
            for name in names {
                assert!(asset(name).is_some(), "{name} is referenced by a page");
            }
        }
        for (file, body) in FILES {
            let folder = file.split('/').next().unwrap();
            let beside = quoted(body, " from \"./").into_iter().map(|name| format!("{folder}/{name}"));
            for name in beside.chain(quoted(body, " from \"../").into_iter().map(str::to_owned)) {
                assert!(asset(&name).is_some(), "{name} is imported by {file}");
            }
        }
        assert!(asset("shared/nothing.js").is_none());
    }

    #[test]
    fn pages_comply_with_their_policy() {
        for page in pages() {
            for forbidden in ["style=\"", "<style", " onclick", " onload", "javascript:", "http://", "https://"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            // No script is inline.
            assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=").count());
        }
        for (file, body) in FILES.iter().filter(|(file, _)| file.ends_with(".js")) {
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!body.contains(forbidden), "{forbidden} in {file}");
            }
        }
    }
}
