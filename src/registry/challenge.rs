//! Parses the `WWW-Authenticate` header of a registry.

use std::collections::HashMap;

/// An authentication scheme that a registry requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token that the service at `realm` issues for `service`.
    Bearer {
        realm: String,
        service: String,
    },
}

/// Parses a challenge; `None` if its scheme is not supported.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parameters(rest);
    let realm = parameters.remove("realm")?;
    Some(Challenge::Bearer {
        realm,
        service: parameters.remove("service").unwrap_or_default(),
    })
}

fn parameters(mut rest: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.insert(name, value.to_owned());
        rest = left;
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_commas_inside_quotes() {
        let header = r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:x:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://a.example/token".into(),
            service: "r.example".into(),
        };
        assert_eq!(parse(header), Some(expected));
        assert_eq!(parse("Basic realm=x"), Some(Challenge::Basic));
        assert_eq!(parse("Negotiate"), None);
    }
}
