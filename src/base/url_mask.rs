//! Masks the credentials of URLs in a text.

use std::borrow::Cow;

/// Query parameters that hold no secrets: those of kustomize's repository URLs.
const PLAIN_PARAMETERS: [&str; 5] = ["ref", "version", "submodules", "timeout", "depth"];

/// Replaces user and password of each URL (`SCHEME://USER:PASSWORD@HOST`) by `***`, and so the
/// values of the parameters in its query and fragment, except for those that kustomize reads.
/// A password may hold a slash that should have been escaped.
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

/// Returns true if an address, a URL or `HOST/NAME` with tag and digest, has a user or a password.
pub fn has_credentials(address: &str) -> bool {
    let name = match address.rsplit_once("@sha256:") {
        Some((name, _)) => name,
        None => address,
    };
    name.contains('@')
}

/// Replaces user and password of an address, a URL or `HOST/NAME` with tag and digest, by `***`.
pub fn mask_address(address: &str) -> Cow<'_, str> {
    if !has_credentials(address) {
        return Cow::Borrowed(address);
    }
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let scheme = match scheme {
        "" => String::new(),
        scheme => format!("{scheme}://"),
    };
    let (name, digest) = match rest.rsplit_once("@sha256:") {
        Some((name, digest)) => (name, format!("@sha256:{digest}")),
        None => (rest, String::new()),
    };
    let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
    Cow::Owned(format!("{scheme}***@{host}{digest}"))
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`<>()[]{},;".contains(c)
}

/// Masks one URL, given without its scheme.
fn mask_url(url: &str, masked: &mut String) {
    let (authority, rest) = url.split_at(authority_end(url));
    match authority.rsplit_once('@') {
        // The user of ssh is no secret.
        Some(("git", host)) => masked.push_str(&format!("git@{host}")),
        Some((_, host)) => masked.push_str(&format!("***@{host}")),
        None => masked.push_str(authority),
    }
    let path = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, parameters) = rest.split_at(path);
    masked.push_str(path);
    for part in parameters.split_inclusive(['?', '#', '&']) {
        let (pair, delimiter) = match part.strip_suffix(['?', '#', '&']) {
            Some(pair) => (pair, &part[pair.len()..]),
            None => (part, ""),
        };
        match pair.split_once('=') {
            Some((name, _)) if !PLAIN_PARAMETERS.contains(&name) => {
                masked.push_str(&format!("{name}=***"));
            }
            _ => masked.push_str(pair),
        }
        masked.push_str(delimiter);
    }
}

/// Returns where the authority of a URL ends. What looks like a port and is none begins a password,
/// which ends at the last `@`.
fn authority_end(url: &str) -> usize {
    let end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let authority = &url[..end];
    let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    let has_user = !authority.contains('@')
        && !authority.starts_with('[')
        && authority
            .split_once(':')
            .is_some_and(|(_, port)| !is_port(port));
    match url.rfind('@').filter(|_| has_user) {
        Some(at) => url[at..]
            .find(['/', '?', '#'])
            .map_or(url.len(), |end| at + end),
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_credentials_and_keep_their_digest() {
        for (address, masked) in [
            (
                "h.example:5000/a/b:v1@sha256:00",
                "h.example:5000/a/b:v1@sha256:00",
            ),
            ("u:p@h/a@sha256:00", "***@h/a@sha256:00"),
            ("oci://u:p@ss/w@h/a:v1", "oci://***@h/a:v1"),
            ("token@h/a", "***@h/a"),
        ] {
            assert_eq!(mask_address(address), masked);
            assert_eq!(has_credentials(address), address != masked);
        }
    }

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
            (
                "https://me:pa/ss@h/o/r, https://h:8443/o/r@v1 http://[::1]:80/a@b",
                "https://***@h/o/r, https://h:8443/o/r@v1 http://[::1]:80/a@b",
            ),
            (
                "https://h/r?token=a#key=b&ref=c#plain",
                "https://h/r?token=***#key=***&ref=c#plain",
            ),
        ] {
            assert_eq!(mask_urls(text), masked);
        }
    }
}
