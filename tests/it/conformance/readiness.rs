//! Status of one object, compared with kstatus.

use std::path::Path;

use nuon_runner::cluster::health::readiness::compute_status;
use nuon_runner::manifest;
use serde_json::Value;

#[test]
fn status_is_computed_as_by_kstatus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/kstatus");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let cases: Vec<_> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let failures: Vec<_> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

fn check(case: &Path) -> Result<(), String> {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(case.with_extension("json")).unwrap()).unwrap();
    let objects = manifest::read(&std::fs::read(case).unwrap())
        .unwrap()
        .objects;
    let [object] = objects.as_slice() else {
        panic!("{} has one object", case.display())
    };
    match (
        compute_status(object, jiff::Timestamp::now()),
        expected.get("error"),
    ) {
        (Err(error), Some(_)) => {
            super::compare_with_reviewed(&case.with_extension("refusal.txt"), &error.to_string())
        }
        (Ok(readiness), None) if readiness.document() == expected => Ok(()),
        (got, _) => Err(format!("{}: {got:?}, expected {expected}", case.display())),
    }
}
