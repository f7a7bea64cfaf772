//! Masks the credentials of URLs in a text.

use std::borrow::Cow;

/// Query parameters that hold no secrets: those of kustomize's repository URLs.
const PLAIN_PARAMETERS: [&str; 5] = ["ref", "version", "submodules", "timeout", "depth"];

/// Replaces user and password of each URL (`SCHEME://USER:PASSWORD@HOST`) by `***`, and so the
/// values of its query parameters, except for those that kustomize reads.
pub fn mask_urls(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        masked.push_str(before);
        let end = url.find(is_end).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        mask_url(url, &mut masked);
        rest = after;
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`<>()[]{},;".contains(c)
}

/// Masks one URL, given without its scheme.
fn mask_url(url: &str, masked: &mut String) {
    let end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (authority, rest) = url.split_at(end);
    match authority.rsplit_once('@') {
        // The user of ssh is no secret.
        Some(("git", host)) => masked.push_str(&format!("git@{host}")),
        Some((_, host)) => masked.push_str(&format!("***@{host}")),
        None => masked.push_str(authority),
    }
    let Some((path, query)) = rest.split_once('?') else {
        masked.push_str(rest);
        return;
    };
    let parameters = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if !PLAIN_PARAMETERS.contains(&name) => Cow::Owned(format!("{name}=***")),
        _ => Cow::Borrowed(pair),
    });
    masked.push_str(path);
    masked.push('?');
    masked.push_str(&parameters.collect::<Vec<_>>().join("&"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_wherever_a_url_is() {
        for (text, masked) in [
            ("no url: a@b", "no url: a@b"),
            ("https://h/o/r?ref=v1", "https://h/o/r?ref=v1"),
            (
                "\"https://me:p@ss@h:8443/o/r//p?ref=v1&token=x\" and git::ssh://git@h/o",
                "\"https://***@h:8443/o/r//p?ref=v1&token=***\" and git::ssh://git@h/o",
            ),
            (
                "(https://tok@h), http://u:p@i:",
                "(https://***@h), http://***@i:",
            ),
        ] {
            assert_eq!(mask_urls(text), masked);
        }
    }
}
