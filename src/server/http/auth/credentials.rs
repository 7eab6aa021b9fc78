//! The token in a request's headers, and the detection of one in its URL.

use warp::http::{HeaderMap, header};

use crate::auth::AuthError;
use crate::server::http::query::QueryParams;

/// The header in which Debusine's workers send their token.
const TOKEN_HEADER: &str = "token";
/// Common names of a token in a query string, in lower case.
const TOKEN_PARAMETERS: [&str; 3] = ["token", "access_token", "auth"];

/// Returns the token in the headers, if any: `Authorization: Bearer TOKEN`, or `token: TOKEN`. Both may be
/// present if they are equal.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        // Another scheme, or bytes outside of ASCII, count as an unknown token.
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        add_token(&mut found, bearer)?;
    }
    for value in headers.get_all(TOKEN_HEADER) {
        add_token(&mut found, value.to_str().ok().map(str::trim))?;
    }
    Ok(found)
}

fn add_token<'h>(found: &mut Option<&'h str>, token: Option<&'h str>) -> Result<(), AuthError> {
    let token = token.ok_or(AuthError::Unknown)?;
    if found.is_some_and(|before| before != token) {
        return Err(AuthError::Contradictory);
    }
    *found = Some(token);
    Ok(())
}

/// Returns the name of a query parameter that looks like a token. A query string ends up in histories, in
/// the logs of proxies and in `Referer`, so a token in it is no longer secret.
pub(crate) fn token_parameter(query: Option<&str>) -> Option<&'static str> {
    // The route rejects a query string that cannot be decoded.
    let query = QueryParams::parse(query?).ok()?;
    TOKEN_PARAMETERS.into_iter().find(|name| query.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn tokens_are_read_from_two_headers() {
        assert_eq!(token(&headers(&[])), Ok(None));
        assert_eq!(token(&headers(&[("authorization", "Bearer tt_x")])), Ok(Some("tt_x")));
        assert_eq!(token(&headers(&[("authorization", "bearer  tt_x ")])), Ok(Some("tt_x")));
        assert_eq!(token(&headers(&[("token", "tt_x")])), Ok(Some("tt_x")));
        assert_eq!(token(&headers(&[("token", "tt_x"), ("authorization", "Bearer tt_x")])), Ok(Some("tt_x")));
        for bad in ["Basic dDp4", "tt_x", "Bearer"] {
            assert_eq!(token(&headers(&[("authorization", bad)])), Err(AuthError::Unknown), "{bad}");
        }
        let two = headers(&[("token", "tt_x"), ("authorization", "Bearer tt_y")]);
        assert_eq!(token(&two), Err(AuthError::Contradictory));
        let mut twice = headers(&[("token", "tt_x")]);
        twice.append("token", HeaderValue::from_static("tt_y"));
        assert_eq!(token(&twice), Err(AuthError::Contradictory));
    }

    #[test]
    fn tokens_in_query_strings_are_detected() {
        assert_eq!(token_parameter(None), None);
        assert_eq!(token_parameter(Some("q=token&limit=1")), None);
        for query in ["token=x", "limit=1&token=", "access%5Ftoken=x", "TOKEN=x", "auth"] {
            assert!(token_parameter(Some(query)).is_some(), "{query}");
        }
    }
}
