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

/// What the pages may do: load from here, talk to here, and nothing else. Log text that would
/// become markup by a mistake of ours could still run no script and load nothing.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("assets/", $name)))),*] };
}

const FILES: &[(&str, &str)] = files![
    "ansi.js",
    "api.js",
    "controls.js",
    "eventrow.js",
    "events.js",
    "format.js",
    "header.js",
    "icon.js",
    "keys.js",
    "links.js",
    "list.js",
    "livelist.js",
    "loader.js",
    "logpage.js",
    "rows.js",
    "run.css",
    "run.js",
    "runcontrols.js",
    "runfeed.js",
    "runjournal.js",
    "runlog.js",
    "runs.js",
    "runstate.js",
    "runstatus.js",
    "scroller.js",
    "search.js",
    "socket.js",
    "store.js",
    "style.css",
    "task.js",
];

/// The file served at `/assets/NAME`.
pub(crate) fn asset(name: &str) -> Option<Asset> {
    let (_, body) = FILES.iter().find(|(file, _)| *file == name)?;
    let content_type = if name.ends_with(".css") { CSS } else { JAVASCRIPT };
    Some(Asset { content_type, body })
}

/// The page of all tasks, `GET /`.
pub(crate) fn list_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("assets/list.html") }
}

/// The page of one task, `GET /tasks/{id}`: the same for every id, which it reads from its address.
pub(crate) fn task_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("assets/task.html") }
}

/// The page of all runs, `GET /runs`.
pub(crate) fn runs_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("assets/runs.html") }
}

/// The page of one run, `GET /runs/{id}`: the same for every id, as a task's is.
pub(crate) fn run_page() -> Asset {
    Asset { content_type: HTML, body: include_str!("assets/run.html") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between `before` and the next `"`, wherever `before` occurs.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_file_that_is_asked_for_is_there() {
        for page in [list_page(), task_page(), runs_page(), run_page()] {
            let names = quoted(page.body, "\"/assets/");
            assert!(names.len() >= 2, "a page loads a style and a script: {names:?}");
            for name in names {
                assert!(asset(name).is_some(), "{name} is named by a page");
            }
        }
        for (file, body) in FILES {
            for name in quoted(body, " from \"./") {
                assert!(asset(name).is_some(), "{name} is imported by {file}");
            }
        }
        assert!(asset("nothing.js").is_none());
    }

    #[test]
    fn the_pages_keep_their_own_policy() {
        for page in [list_page(), task_page(), runs_page(), run_page()] {
            for forbidden in ["style=\"", "<style", " onclick", " onload", "javascript:", "http://", "https://"] {
                assert!(!page.body.contains(forbidden), "{forbidden}");
            }
            // Every script is one that is loaded.
            assert_eq!(page.body.matches("<script").count(), page.body.matches("<script type=\"module\" src=").count());
        }
        for (file, body) in FILES.iter().filter(|(file, _)| file.ends_with(".js")) {
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!body.contains(forbidden), "{forbidden} in {file}");
            }
        }
    }
}
