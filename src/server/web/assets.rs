//! The pages and what they load, inside the binary: nothing is read from disk at run time, and
//! nothing comes from another host.

/// A file that a page loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asset {
    /// Its `Content-Type`.
    pub(crate) content_type: &'static str,
    /// Its text.
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

/// What the pages may do: load from here, talk to here, and nothing else. Log text that would
/// become markup by a mistake of ours could still run no script and load nothing.
pub(crate) const CONTENT_SECURITY_POLICY: &str = policy!("'none'");
/// The same for the sign-in page, whose form goes to this server.
pub(crate) const LOGIN_SECURITY_POLICY: &str = policy!("'self'");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!($name))),*] };
}

const FILES: &[(&str, &str)] = files![
    "run/controls.js",
    "run/eventrow.js",
    "run/events.js",
    "run/feed.js",
    "run/journal.js",
    "run/list.js",
    "run/log.js",
    "run/run.css",
    "run/run.js",
    "run/state.js",
    "run/status.js",
    "shared/access.js",
    "shared/ansi.js",
    "shared/api.js",
    "shared/controls.js",
    "shared/dom.js",
    "shared/format.js",
    "shared/icon.js",
    "shared/keys.js",
    "shared/links.js",
    "shared/livelist.js",
    "shared/login.css",
    "shared/login.js",
    "shared/logpage.js",
    "shared/notices.js",
    "shared/rows.js",
    "shared/scroller.js",
    "shared/search.js",
    "shared/share.js",
    "shared/store.js",
    "shared/style.css",
    "task/header.js",
    "task/list.js",
    "task/loader.js",
    "task/sharedialog.js",
    "task/socket.js",
    "task/task.js",
];

/// Returns the file served at `/assets/FOLDER/NAME`.
pub(crate) fn asset(name: &str) -> Option<Asset> {
    let (_, body) = FILES.iter().find(|(file, _)| *file == name)?;
    let content_type = if name.ends_with(".css") { CSS } else { JAVASCRIPT };
    Some(Asset { content_type, body })
}

/// The page of all tasks, `GET /`.
pub(crate) fn list_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("task/list.html") }
}

/// The page of one task, `GET /tasks/{id}`: the same for every id, which it reads from its address.
pub(crate) fn task_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("task/task.html") }
}

/// The page of all runs, `GET /runs`.
pub(crate) fn runs_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("run/list.html") }
}

/// The page of one run, `GET /runs/{id}`: the same for every id, as a task's is.
pub(crate) fn run_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("run/run.html") }
}

/// The sign-in page, `/login`, with its words filled in.
pub(crate) fn login_page(next: &str, problem: &str, life: &str) -> String {
    let page = include_str!("shared/login.html");
    // The one text of a stranger's comes last: what it says is not filled in again.
    let page = page.replace("{{life}}", &escaped(life)).replace("{{problem}}", &escaped(problem));
    page.replace("{{next}}", &escaped(next))
}

/// Text as it may stand in HTML, between tags and between double quotes.
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

    /// What stands between `before` and the next `"`, wherever `before` occurs.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    /// The text of every page.
    fn pages() -> Vec<String> {
        let fixed = [list_page(), task_page(), runs_page(), run_page()].map(|page| page.body.to_owned());
        fixed.into_iter().chain([login_page("/", "", "12h")]).collect()
    }

    #[test]
    fn the_sign_in_page_is_filled_in_and_nothing_breaks_out() {
        let page = login_page("/a?b=\"><script>alert(1)</script>{{life}}", "Wrong & <b>", "12h");
        assert!(page.contains("signed in for 12h,") && page.contains("Wrong &amp; &lt;b&gt;"));
        assert!(page.contains("value=\"/a?b=&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{life}}\">"));
        assert_eq!(page.matches("<script").count(), 1);
    }

    #[test]
    fn every_file_that_is_asked_for_is_there() {
        for page in pages() {
            let names = quoted(&page, "\"/assets/");
            assert!(names.len() >= 2, "a page loads a style and a script: {names:?}");
            for name in names {
                assert!(asset(name).is_some(), "{name} is named by a page");
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
    fn the_pages_keep_their_own_policy() {
        for page in pages() {
            for forbidden in ["style=\"", "<style", " onclick", " onload", "javascript:", "http://", "https://"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            // Every script is one that is loaded.
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
