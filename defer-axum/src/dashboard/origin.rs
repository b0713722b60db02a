//! Whether a request was made by the page itself, and not by another site in the user's browser.

use http::{HeaderMap, Uri, header};

/// Returns whether a browser says that the request is of the site that it goes to.
///
/// `Sec-Fetch-Site` (W3C Fetch Metadata) says it where the connection is trusted: over TLS, and to the machine itself.
/// Elsewhere `Origin` (RFC 6454) is compared with the host. A request with neither is refused, because an old browser sends
/// neither.
pub(super) fn is_same(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    // Over HTTP/2 the host is in the URI.
    let host = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(header::HOST).map(|host| host.as_bytes()));
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes());
    matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn is_same_with(headers: &[(&'static str, &'static str)], uri: &'static str) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
        is_same(&headers.collect(), &Uri::from_static(uri))
    }

    #[test]
    fn only_the_same_origin_may_act() {
        for (headers, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            // It is asked first.
            (
                &[("sec-fetch-site", "cross-site"), ("origin", "http://a.example"), ("host", "a.example")],
                false,
            ),
            (&[("origin", "http://a.example:3000"), ("host", "A.example:3000")], true),
            (&[("origin", "http://a.example:3001"), ("host", "a.example:3000")], false),
            (&[("origin", "https://b.example"), ("host", "a.example")], false),
            (&[("origin", "null"), ("host", "null")], false),
            (&[("host", "a.example")], false),
            (&[("origin", "http://a.example")], false),
            (&[], false),
        ] {
            assert_eq!(is_same_with(headers, "/jobs/retry/1"), expected, "{headers:?}");
        }
        let from = [("origin", "https://a.example")];
        assert!(is_same_with(&from, "https://a.example/jobs/retry/1"));
        assert!(!is_same_with(&from, "https://b.example/jobs/retry/1"));
    }
}
