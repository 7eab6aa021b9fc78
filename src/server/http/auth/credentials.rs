//! What a request shows of who it is from.

use warp::http::{HeaderMap, header};

use crate::auth::AuthError;
use crate::server::http::query::Query;

/// The header that Debusine's workers send their token in.
const TOKEN_HEADER: &str = "token";
/// What people call a token in a query, in small letters.
const TOKEN_PARAMETERS: [&str; 3] = ["token", "access_token", "auth"];

/// The token in the headers, if there is one: `Authorization: Bearer TOKEN`, or `token: TOKEN`. Both may be
/// there if they say the same.
pub(in crate::server) fn token(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut shown = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        // Another scheme, or bytes that no token has, are a token that is not known.
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        show(&mut shown, bearer)?;
    }
    for value in headers.get_all(TOKEN_HEADER) {
        show(&mut shown, value.to_str().ok().map(str::trim))?;
    }
    Ok(shown)
}

fn show<'h>(shown: &mut Option<&'h str>, token: Option<&'h str>) -> Result<(), AuthError> {
    let token = token.ok_or(AuthError::Unknown)?;
    if shown.is_some_and(|before| before != token) {
        return Err(AuthError::Contradictory);
    }
    *shown = Some(token);
    Ok(())
}

/// The parameter of a query that holds a token, by its name alone. A query ends up in histories, in the
/// logs of proxies and in `Referer`: a token in one is known to others.
pub(in crate::server) fn token_parameter(query: Option<&str>) -> Option<&'static str> {
    // What cannot be decoded is refused by its route.
    let query = Query::parse(query?).ok()?;
    TOKEN_PARAMETERS.into_iter().find(|name| query.has(name))
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
    fn a_token_comes_in_one_of_two_headers() {
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
    fn a_token_in_a_query_is_seen() {
        assert_eq!(token_parameter(None), None);
        assert_eq!(token_parameter(Some("q=token&limit=1")), None);
        for query in ["token=x", "limit=1&token=", "access%5Ftoken=x", "TOKEN=x", "auth"] {
            assert!(token_parameter(Some(query)).is_some(), "{query}");
        }
    }
}
