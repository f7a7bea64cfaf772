//! Fuzz targets. Each takes any bytes, and panics if a guarantee is broken.

use std::collections::BTreeMap;

use nuon_runner::kustomize::{self, Budget, BuildOptions, NoHost};
use nuon_runner::yaml::{self, Limits};

/// Files by path.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Checks that the parser does not panic on any text.
pub fn parser(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = yaml::parse(text, Limits::default());
    }
}

/// Checks that emitted YAML parses, and is then emitted with the same bytes.
pub fn emitter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(Some(node)) = yaml::parse(text, Limits::default()) else {
        return;
    };
    let Ok(value) = yaml::json::to_json(&node) else {
        return;
    };
    let mut once = String::new();
    if yaml::emit::emit_into(&mut once, &value).is_err() {
        return;
    }
    let again =
        yaml::parse(&once, Limits::default()).unwrap_or_else(|error| panic!("{error} in {once:?}"));
    let again = again.map_or(serde_json::Value::Null, |node| {
        yaml::json::to_json(&node).unwrap()
    });
    let mut twice = String::new();
    yaml::emit::emit_into(&mut twice, &again).unwrap();
    assert_eq!(once, twice);
}

/// Checks that any tree is built or refused, with the same result twice.
pub fn overlay(bytes: &[u8]) {
    let (tree, root, unrestricted) = read(bytes);
    let options = BuildOptions {
        unrestricted,
        budget: Budget {
            files: 500,
            bytes: 4 << 20,
            depth: 20,
        },
    };
    let build = || {
        kustomize::build(&tree, &root, &options, &NoHost)
            .map(|objects| kustomize::print(&objects).ok())
    };
    assert_eq!(build(), build(), "differs the second time");
}

/// Precedes the name of each file in an encoded tree. YAML does not allow this byte.
const MARK: u8 = 1;

/// Encodes a tree: the overlay (with `!` in front for the load restrictor `none`), then the files.
#[allow(dead_code, reason = "the guided targets only read")]
pub fn write(tree: &Tree, root: &str, unrestricted: bool) -> Vec<u8> {
    let mut bytes = format!("{}{root}\n", if unrestricted { "!" } else { "" }).into_bytes();
    for (name, content) in tree {
        bytes.push(MARK);
        bytes.extend(name.bytes());
        bytes.push(b'\n');
        bytes.extend(content);
    }
    bytes
}

/// Decodes the output of [`write`]. Any bytes decode to some tree.
fn read(bytes: &[u8]) -> (Tree, String, bool) {
    let mut parts = bytes.split(|byte| *byte == MARK).map(|part| {
        let (line, rest) = match part.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&part[..end], &part[end + 1..]),
            None => (part, &[][..]),
        };
        (String::from_utf8_lossy(line).into_owned(), rest.to_vec())
    });
    let (root, _) = parts.next().unwrap_or_default();
    let unrestricted = root.starts_with('!');
    (
        parts.collect(),
        root.trim_start_matches('!').to_owned(),
        unrestricted,
    )
}
