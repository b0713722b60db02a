//! The links from the page to the paths below it.

use http::Uri;

/// Returns the path from the page to those below it. It is relative, because a proxy may have changed the prefix.
pub(super) fn root(page: &Uri) -> String {
    match page.path().rsplit_once('/') {
        Some((_, last)) if !last.is_empty() => format!("./{last}/"),
        _ => "./".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn what_is_below_the_page_is_below_it_whatever_its_path(path in "/[a-z/._%0-9-]{0,20}") {
            let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
            let root = root(&uri);
            // It names neither another host nor another scheme.
            prop_assert!(root.starts_with("./") && root.ends_with('/') && !root[2..].starts_with('/'), "{}", root);
        }
    }
}
