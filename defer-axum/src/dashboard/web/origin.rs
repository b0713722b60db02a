//! Tells whether a request came from the page itself, rather than from another site in the user's browser.

use http::{HeaderMap, Uri, header};

/// Returns whether the browser reports that the request comes from the same site.
///
/// `Sec-Fetch-Site` (W3C Fetch Metadata) reports it on trusted connections: over TLS, and to the machine itself. Elsewhere
/// this compares `Origin` (RFC 6454) with the host. A request with neither is refused, because it may come from an old
/// browser.
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
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Any header value that HTTP allows.
    fn values(near: &'static str) -> impl Strategy<Value = HeaderValue> {
        let bytes = prop_oneof![
            vec(prop_oneof![0x20..=0x7e_u8, 0x80..=0xff_u8], 0..30),
            near.prop_map(String::into_bytes)
        ];
        bytes.prop_map(|bytes| HeaderValue::from_bytes(&bytes).expect("it is allowed"))
    }

    fn headers(all: [(&'static str, Option<HeaderValue>); 3]) -> HeaderMap {
        let some = all.into_iter().filter_map(|(name, value)| Some((name.parse().expect("a name"), value?)));
        some.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_request_says_it_may_act_only_if_its_browser_says_so_or_its_origin_is_its_host(
            site in proptest::option::of(values("same-(origin|site)|cross-site|none")),
            origin in proptest::option::of(values("https?://[ab](:[0-9])?|null|[ab]")),
            host in proptest::option::of(values("[abAB](:[0-9])?|null")),
        ) {
            let all = [("sec-fetch-site", site.clone()), ("origin", origin.clone()), ("host", host.clone())];
            let may_act = is_same(&headers(all), &Uri::from_static("/jobs/retry/1"));
            let said = site.as_ref().map(|site| site == "same-origin");
            let host = host.as_ref().map(|host| host.as_bytes().to_ascii_lowercase());
            let from = origin.as_ref().map(|origin| origin.as_bytes().to_ascii_lowercase());
            let is_own = from.zip(host).is_some_and(|(from, host)| from.ends_with(&[b"://", &*host].concat()));
            if may_act {
                prop_assert!(said.unwrap_or(is_own), "{:?} {:?}", site, origin);
            } else {
                prop_assert!(said != Some(true));
            }
        }

        #[test]
        fn no_other_site_may_act_where_the_browser_says_nothing_but_the_origin(
            other in "[a-z]{1,9}(\\.[a-z]{1,9})?(:[0-9]{1,4})?",
            scheme in "[a-z]{1,5}",
        ) {
            prop_assume!(other != "own.example:3000");
            let origin = HeaderValue::from_str(&format!("{scheme}://{other}")).expect("a value");
            let host = HeaderValue::from_static("own.example:3000");
            let all = [("sec-fetch-site", None), ("origin", Some(origin)), ("host", Some(host))];
            prop_assert!(!is_same(&headers(all), &Uri::from_static("/jobs")));
        }
    }

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
            // A question comes first.
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
