//! Overlays with the output of kustomize, and with the part of it that is packed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use nuon_runner::kustomize::{self, BuildOptions, NoHost};
use nuon_runner::manifest;
use serde_json::Value;

use crate::support::parts::testbed;

#[test]
fn overlays_give_the_bytes_that_kustomize_gives() {
    let mut wrong = Vec::new();
    for case in super::cases("overlays") {
        if let Err(why) = verdict(&case) {
            wrong.push((case.file_name().unwrap().to_owned(), why));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases are wrong: {wrong:#?}",
        wrong.len()
    );
}

/// Cases recorded from kustomize: the same bytes and the same warnings, or a refusal.
#[test]
fn learned_cases_are_built_as_kustomize_builds_them() {
    super::check_all("learned", |case| {
        let root = match case.join("input/overlay").is_dir() {
            true => "overlay",
            false => ".",
        };
        let run = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
            .current_dir(case.join("input"))
            .arg("render")
            .arg(root)
            .output()
            .unwrap();
        let read = |name: &str| std::fs::read_to_string(case.join(name)).ok();
        let Some(expected) = read("expected.yaml") else {
            if run.status.success() {
                return Err("is built, and kustomize refuses it".into());
            }
            let refusal = String::from_utf8(run.stderr).unwrap();
            return super::compare_with_reviewed(&case.join("refusal.txt"), &refusal);
        };
        let (printed, stderr) = (
            String::from_utf8(run.stdout).unwrap(),
            String::from_utf8(run.stderr).unwrap(),
        );
        // One of them begins with a time, from Go's log.
        let warnings: Vec<String> = read("warnings.txt")
            .unwrap_or_default()
            .lines()
            .map(without_time)
            .collect();
        // Ours are about what is probably a mistake.
        let printed_warnings = stderr.lines().filter(|line| !line.starts_with("warning: "));
        match printed_warnings.eq(warnings.iter()) {
            true if printed == expected => Ok(()),
            true => Err(format!("prints other bytes:\n{printed}")),
            false => Err(format!("prints other warnings:\n{stderr}")),
        }
    });
}

fn without_time(line: &str) -> String {
    let is_date = line.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if is_date {
        line.splitn(3, ' ').last().unwrap_or_default().to_owned()
    } else {
        line.to_owned()
    }
}

fn verdict(case: &Path) -> Result<(), String> {
    let meta: Value =
        serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
    let printed = if meta["enable_helm"] == true {
        build_with_binary(case, &meta)
    } else {
        build_in_memory(case, &meta)
    };
    let expected = std::fs::read_to_string(case.join("expected.yaml")).ok();
    match (printed, expected) {
        (Ok(got), Some(expected)) if got == expected => check_packed(case, &got),
        (Ok(got), Some(_)) => Err(format!("prints other bytes:\n{got}")),
        (Ok(_), None) => Err("is built, and kustomize refuses it".into()),
        (Err(why), Some(_)) => Err(why),
        (Err(refusal), None) => check_refusal(case, &meta, &refusal),
    }
}

/// Messages of kustomize and of this program for the same reason. Ours also name the place, and
/// what to do.
const SAME_REASON: [(&str, &str); 51] = [
    ("cannot be absolute", "is absolute"),
    ("file is not directory", "is no directory"),
    (
        "expected kind != 'Component'",
        "it is a Component, which can only be named in components",
    ),
    ("no such file or directory", "does not exist"),
    ("not a directory", "does not exist"),
    (
        "external plugins disabled",
        "only plugins with apiVersion: builtin are supported",
    ),
    ("cannot unmarshal object", "not a map"),
    ("cannot unmarshal bool", "not the boolean"),
    ("cannot unmarshal string", "not the text"),
    ("cannot unmarshal number", "not the number"),
    (
        "unable to parse requirement",
        "unable to parse the selector",
    ),
    ("found '=', expected", "unable to parse the selector"),
    ("new root cannot be empty", "an entry is empty"),
    ("missing Resource metadata", "where an object is expected"),
    ("node contents", "must be a map"),
    (
        "field specified in var",
        "field specified in var 'V' not found",
    ),
    ("invalid literal source", "the literal has no ="),
    (
        "unsupported type: map[interface {}]interface {}",
        "reads as a number, boolean, null or time, not as text",
    ),
    (
        "unable to parse SM or JSON patch",
        "the patch begins with [ and is not valid JSON",
    ),
    ("unable to parse SM or JSON patch", "not valid YAML"),
    (
        "fieldSpecs is not expected to be nil",
        "fieldSpecs is missing",
    ),
    (
        "list path element must contain fieldName=fieldValue",
        "list path element must contain",
    ),
    ("cannot be mapped to a field", "cannot be mapped to a field"),
    ("already registered id", " is also in "),
    (
        "unable to find one of",
        "has no kustomization.yaml, kustomization.yml or Kustomization",
    ),
    (
        "Found multiple kustomization files",
        "has kustomization.yaml and ",
    ),
    (
        "cycle detected",
        "is, or contains, a directory that is being built",
    ),
    ("security; file", " is not in or below "),
    ("unknown field", "the field is unknown"),
    ("missing kind", "the object has no kind"),
    ("missing metadata.name", " has no metadata.name"),
    (
        "does not exist; cannot merge or replace",
        "to merge with or to replace",
    ),
    ("does not exist", "to merge with or to replace"),
    ("must specify --enable-helm", "may not inflate charts"),
    (
        "kustomization.yaml is empty",
        "the kustomization sets no field",
    ),
    (
        "testing value /spec/replicas failed",
        "/spec/replicas does not have the tested value",
    ),
    (
        "no resource matches strategic merge patch",
        "which the build lacks",
    ),
    ("no matches for Id", "which the build lacks"),
    ("failed to find unique target", "which the build lacks"),
    ("unable to load builtin", "there is no transformer"),
    (
        "multiple matches for selector",
        "it selects several objects",
    ),
    ("unable to find field", "only 2 elements found"),
    ("unable to find field", "has no "),
    ("unable to find field", "expected a list but got a map"),
    ("already registered id", " is read twice"),
    ("nothing selected by", "it selects no object"),
    ("is missing for replacement source", "has no "),
    ("doc is missing path", "there is nothing at"),
    ("should be", "must be"),
    ("does not match a config", "no object of the kinds"),
    ("Service.v1.[noGrp]/web.[noNs]", "Service/web"),
];

/// Checks a refusal. Its text is reviewed, and the reason must be kustomize's.
fn check_refusal(case: &Path, meta: &Value, refusal: &str) -> Result<(), String> {
    super::compare_with_reviewed(&case.join("refusal.txt"), refusal)?;
    let gist = meta["error"].as_str().unwrap_or_default();
    let has_reason =
        |text: &str, reason: &str| text.to_lowercase().contains(&reason.to_lowercase());
    let is_same = has_reason(refusal, gist)
        || SAME_REASON
            .iter()
            .any(|(theirs, ours)| has_reason(gist, theirs) && has_reason(refusal, ours));
    if gist.is_empty() || !is_same {
        return Err(format!(
            "kustomize refuses it for another reason: {gist:?}; ours: {refusal}"
        ));
    }
    Ok(())
}

fn build_in_memory(case: &Path, meta: &Value) -> Result<String, String> {
    let mut files = BTreeMap::new();
    super::collect(&case.join("input"), "", &mut files);
    let root = meta["root"].as_str().unwrap().trim_matches(['.', '/']);
    let options = BuildOptions {
        unrestricted: meta["load_restrictor"] == "none",
        ..BuildOptions::default()
    };
    let built =
        kustomize::build(&files, root, &options, &NoHost).map_err(|error| error.to_string());
    built.and_then(|objects| kustomize::print(&objects).map_err(|error| error.to_string()))
}

/// Builds with the binary and the real Helm.
fn build_with_binary(case: &Path, meta: &Value) -> Result<String, String> {
    let run = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .current_dir(case.join("input"))
        .args([
            "render",
            "--enable-helm",
            "--load-restrictor",
            meta["load_restrictor"].as_str().unwrap(),
        ])
        .arg("--helm-command")
        .arg(testbed().program("helm"))
        .arg(meta["root"].as_str().unwrap())
        .output()
        .unwrap();
    match run.status.success() {
        true => Ok(String::from_utf8(run.stdout).unwrap()),
        false => Err(String::from_utf8(run.stderr).unwrap()),
    }
}

fn check_packed(case: &Path, printed: &str) -> Result<(), String> {
    let mut objects = manifest::read(printed.as_bytes())
        .map_err(|error| error.to_string())?
        .objects;
    manifest::sort(&mut objects);
    let got = manifest::write(&objects).map_err(|error| error.to_string())?;
    let expected = std::fs::read_to_string(case.join("expected.artifact.yaml")).unwrap();
    if got == expected {
        Ok(())
    } else {
        Err(format!("packs other bytes:\n{got}"))
    }
}
