//! Cases as data: an input, and the output of the reference program.

pub mod artifact;
mod changeset;
mod manifest_yaml;
mod overlays;
mod readiness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Returns the cases of a directory below `tests/conformance`.
pub fn cases(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conformance")
        .join(folder);
    let mut cases: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(!cases.is_empty(), "{} has no cases", root.display());
    cases
}

/// Runs `check` on every case, and fails with all errors.
fn check_all(folder: &str, check: impl Fn(&Path) -> Result<(), String>) {
    let cases = cases(folder);
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            check(case)
                .err()
                .map(|why| format!("{}: {why}", case.file_name().unwrap().display()))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

/// Collects every file below a directory.
pub fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// Compares an error with the reviewed text beside its case. With `NUON_ACCEPT=1` the text is
/// rewritten, to be reviewed as a diff.
fn compare_with_reviewed(file: &Path, refusal: &str) -> Result<(), String> {
    let refusal = format!("{}\n", refusal.trim_end());
    if std::env::var("NUON_ACCEPT").is_ok_and(|accept| accept == "1") {
        std::fs::write(file, &refusal).unwrap();
    }
    let reviewed = std::fs::read_to_string(file).unwrap_or_default();
    if reviewed == refusal {
        Ok(())
    } else {
        Err(format!(
            "the refusal differs: {refusal}; reviewed: {reviewed}"
        ))
    }
}
