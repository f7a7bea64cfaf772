//! Cases as data: an input beside the output of the real program.

pub mod artifact;
mod manifest_yaml;
mod overlays;

use std::path::{Path, PathBuf};

/// A folder below `tests/conformance`.
fn cases(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(folder);
    let mut cases: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(!cases.is_empty(), "{} holds no case", root.display());
    cases
}

/// Runs `check` on every case and fails with all that went wrong.
fn each(folder: &str, check: impl Fn(&Path) -> Result<(), String>) {
    let cases = cases(folder);
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|case| check(case).err().map(|why| format!("{}: {why}", case.file_name().unwrap().display())))
        .collect();
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
