//! Symbolic links under the load restrictor: what counts is what they lead to.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

/// A source with a kustomization in `app`, and files beside it in `common`.
fn source(kustomization: &str) -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    let at = |path: &str| source.path().join(path);
    for directory in ["app/inner", "common/base"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    for (path, text) in [
        ("app/kustomization.yaml", kustomization),
        ("app/own.yaml", CONFIG_MAP),
        ("common/cm.yaml", CONFIG_MAP),
        (
            "common/patch.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n",
        ),
        ("common/vars.env", "K=v\n"),
        (
            "common/base/kustomization.yaml",
            "resources: [../base/cm.yaml]\n",
        ),
        ("common/base/cm.yaml", CONFIG_MAP),
    ] {
        std::fs::write(at(path), text).unwrap();
    }
    for (link, to) in [
        ("app/resource.yaml", "../common/cm.yaml"),
        ("app/patch.yaml", "../common/patch.yaml"),
        ("app/vars.env", "../common/vars.env"),
        ("app/directory", "../common"),
        ("app/inner/up.yaml", "../own.yaml"),
        ("app/base", "../common/base"),
    ] {
        symlink(to, at(link)).unwrap();
    }
    source
}

fn render(source: &Path, restrictor: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .env_clear()
        .arg("render")
        .arg(source.join("app"))
        .arg("--source-root")
        .arg(source)
        .args(["--load-restrictor", restrictor])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_link_to_a_file_outside_of_the_root_is_refused_unless_nothing_is_restricted() {
    for kustomization in [
        "resources: [resource.yaml]\n",
        "resources: [own.yaml]\npatches: [{path: patch.yaml}]\n",
        "resources: [own.yaml]\npatchesStrategicMerge: [patch.yaml]\n",
        "configMapGenerator: [{name: g, envs: [vars.env]}]\n",
        "configMapGenerator: [{name: g, files: [vars.env]}]\n",
        "resources: [directory/cm.yaml]\n",
    ] {
        let source = source(kustomization);
        let (is_rendered, text) = render(source.path(), "rootOnly");
        assert!(!is_rendered, "{kustomization}{text}");
        assert!(text.contains(", which is not in or below "), "{text}");
        let (is_rendered, text) = render(source.path(), "none");
        assert!(is_rendered, "{kustomization}{text}");
    }
}

#[test]
fn a_link_that_stays_inside_and_a_linked_base_are_followed() {
    for kustomization in ["resources: [inner/up.yaml]\n", "resources: [base]\n"] {
        let source = source(kustomization);
        let (is_rendered, text) = render(source.path(), "rootOnly");
        assert!(is_rendered, "{text}");
    }
}

#[test]
fn a_kustomization_that_is_a_link_to_a_file_outside_is_refused() {
    let source = source("resources: [own.yaml]\n");
    let file = source.path().join("app/kustomization.yaml");
    std::fs::rename(&file, source.path().join("common/k.yaml")).unwrap();
    symlink("../common/k.yaml", &file).unwrap();
    let (is_rendered, text) = render(source.path(), "rootOnly");
    assert!(
        !is_rendered && text.contains("is a link to") && text.contains("app;"),
        "{text}"
    );
}
