//! The page that a browser is redirected to after sign-in: always a path of this server.

/// Maximum length of a path.
const CHARS_MAX: usize = 2000;

/// Returns the path if no browser could interpret it as another host, otherwise the front page.
///
/// Browsers treat `\` as `/` and ignore tabs and newlines (URL Standard, "basic URL parser"), so
/// `/\evil.example` and `/<tab>/evil.example` are other hosts.
pub(crate) fn local_path(path: &str) -> &str {
    if is_local(path) { path } else { "/" }
}

fn is_local(path: &str) -> bool {
    let mut bytes = path.bytes();
    let begins = bytes.next() == Some(b'/') && bytes.next() != Some(b'/');
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>`^{|}".contains(&byte);
    // Redirecting to the sign-in page again would loop.
    let loops = ["/login", "/logout"].iter().any(|page| path.split(['?', '#']).next() == Some(page));
    begins && path.len() <= CHARS_MAX && path.bytes().all(plain) && !loops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_paths_are_followed() {
        for good in [
            "/",
            "/tasks/build-7",
            "/tasks/a?wait=1",
            "/tasks/a#L120-L140",
            "/runs",
            "/a:b@c",
            "/./a",
            "/a//b",
            "/?u=http://x",
            "/.//evil.example",
            "/login2",
            "/tasks/login",
        ] {
            assert_eq!(local_path(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "http://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "tasks/a",
            " /",
            "/ a",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            "/\u{0}",
            "/ü",
            "/a\\b",
            "/<script>",
            "/\"",
            "/login",
            "/login?next=/login",
            "/logout",
            "/login#L1",
            &format!("/{}", "x".repeat(CHARS_MAX)),
        ] {
            assert_eq!(local_path(bad), "/", "{bad:?}");
        }
    }
}
