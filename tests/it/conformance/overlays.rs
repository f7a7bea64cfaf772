//! Overlays, with what the real kustomize prints for each, and what of it is packed.

use std::collections::BTreeMap;
use std::path::Path;

use nuon_runner::kustomize::{self, Alone, Options};
use nuon_runner::manifest;

/// Cases that this engine refuses because of a field that it does not know yet. The number may only fall.
const NOT_YET: usize = 21;

#[test]
fn overlays_give_the_bytes_that_kustomize_gives() {
    let mut not_yet = 0;
    let mut wrong = Vec::new();
    for case in super::cases("overlays") {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        match verdict(&case) {
            Ok(()) => {}
            Err(why) if why.contains("not supported yet") => not_yet += 1,
            Err(why) => wrong.push((name, why)),
        }
    }
    assert!(wrong.is_empty(), "{} cases are wrong: {wrong:#?}", wrong.len());
    assert_eq!(not_yet, NOT_YET, "cases that are refused as not supported yet");
}

fn verdict(case: &Path) -> Result<(), String> {
    let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
    if meta["enable_helm"] == true {
        return Err("Helm is not supported yet".into());
    }
    let mut files = BTreeMap::new();
    collect(&case.join("input"), "", &mut files);
    let root = meta["root"].as_str().unwrap().trim_matches(['.', '/']);
    let options = Options { unrestricted: meta["load_restrictor"] == "none", ..Options::default() };
    let built = kustomize::build(&files, root, &options, &Alone).map_err(|error| error.to_string());
    let printed = built.and_then(|objects| kustomize::print(&objects).map_err(|error| error.to_string()));
    let expected = std::fs::read_to_string(case.join("expected.yaml")).ok();
    match (printed, expected) {
        (Ok(got), Some(expected)) if got == expected => packed(case, &got),
        (Ok(got), Some(_)) => Err(format!("prints other bytes:\n{got}")),
        (Ok(_), None) => Err("is built, and kustomize refuses it".into()),
        (Err(why), Some(_)) => Err(why),
        (Err(_), None) => Ok(()),
    }
}

fn packed(case: &Path, printed: &str) -> Result<(), String> {
    let mut objects = manifest::read(printed.as_bytes()).map_err(|error| error.to_string())?.objects;
    manifest::sort(&mut objects);
    let got = manifest::write(&objects).map_err(|error| error.to_string())?;
    let expected = std::fs::read_to_string(case.join("expected.artifact.yaml")).unwrap();
    if got == expected { Ok(()) } else { Err(format!("packs other bytes:\n{got}")) }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}
