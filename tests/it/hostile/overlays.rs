//! Overlays that try to read files outside, to start programs, or to use up time and memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Content of the files outside the source root.
const OUTSIDE: &str = "marked-text-from-outside";

/// Limits of a build: seconds, and bytes of memory (`RLIMIT_DATA`).
const MAX_SECONDS: &str = "10";
const MAX_BYTES: &str = "268435456";

/// A source root, with files beside it that must not be read.
struct HostileOverlay {
    top: tempfile::TempDir,
}

impl HostileOverlay {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("root/overlay")).unwrap();
        fs::create_dir_all(top.path().join("outside/base")).unwrap();
        fs::create_dir_all(top.path().join("programs")).unwrap();
        let overlay = Self { top };
        let object = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: {OUTSIDE}\n"
        );
        fs::write(overlay.outside().join("file.yaml"), &object).unwrap();
        fs::write(overlay.outside().join("base/all.yaml"), &object).unwrap();
        fs::write(
            overlay.outside().join("base/kustomization.yaml"),
            "resources: [all.yaml]\n",
        )
        .unwrap();
        for program in ["git", "helm", "sh", "ssh", "curl"] {
            let path = overlay.top.path().join("programs").join(program);
            fs::write(
                &path,
                format!("#!/bin/sh\n: > {}\n", overlay.started().display()),
            )
            .unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, mode).unwrap();
        }
        overlay.write(
            "good.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\ndata: {k: v}\n",
        );
        overlay
    }

    fn outside(&self) -> PathBuf {
        self.top.path().join("outside")
    }

    /// Path of a file that exists once a program was started.
    fn started(&self) -> PathBuf {
        self.top.path().join("started")
    }

    /// Writes a file of the overlay.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.top.path().join("root/overlay").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, name: &str, target: impl AsRef<Path>) {
        let path = self.top.path().join("root/overlay").join(name);
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    /// Builds the overlay with all permissions that a job can have, except access to other
    /// machines.
    fn build(&self) -> Output {
        let root = self.top.path().join("root");
        let output = Command::new("timeout")
            .args([MAX_SECONDS, "prlimit", &format!("--data={MAX_BYTES}")])
            .args([
                env!("CARGO_BIN_EXE_nuon-runner"),
                "render",
                "--load-restrictor",
                "none",
                "--source-root",
            ])
            .arg(&root)
            .arg(root.join("overlay"))
            .env(
                "PATH",
                format!(
                    "{}:/usr/bin:/bin",
                    self.top.path().join("programs").display()
                ),
            )
            .env("MARKED_VARIABLE", OUTSIDE)
            .output()
            .unwrap();
        assert!(!self.started().exists(), "a program was started");
        output
    }

    /// Returns the error of a build that must fail without revealing content from outside.
    fn build_error(&self, what: &str) -> String {
        let output = self.build();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {error}");
        assert!(output.stdout.is_empty(), "{what} prints something");
        assert!(!error.contains(OUTSIDE), "{what}: {error}");
        assert!(
            error.lines().count() < 20 && error.len() < 10_000,
            "{what}: the error is too long: {error}"
        );
        error
    }
}

/// Fields that name files or directories. `HERE` stands for the name.
const FILE_FIELDS: [(&str, &str); 18] = [
    ("resources", "resources: [HERE]"),
    ("bases", "bases: [HERE]"),
    ("components", "components: [HERE]\nresources: [good.yaml]"),
    ("crds", "crds: [HERE]\nresources: [good.yaml]"),
    (
        "configurations",
        "configurations: [HERE]\nresources: [good.yaml]",
    ),
    ("openapi", "openapi: {path: HERE}\nresources: [good.yaml]"),
    ("patches", "patches: [{path: HERE}]\nresources: [good.yaml]"),
    (
        "patchesStrategicMerge",
        "patchesStrategicMerge: [HERE]\nresources: [good.yaml]",
    ),
    (
        "patchesJson6902",
        "patchesJson6902: [{path: HERE, target: {name: good}}]\nresources: [good.yaml]",
    ),
    (
        "replacements",
        "replacements: [{path: HERE}]\nresources: [good.yaml]",
    ),
    (
        "configMapGenerator.files",
        "configMapGenerator: [{name: c, files: [HERE]}]",
    ),
    (
        "configMapGenerator.files with a key",
        "configMapGenerator: [{name: c, files: [k=HERE]}]",
    ),
    (
        "configMapGenerator.envs",
        "configMapGenerator: [{name: c, envs: [HERE]}]",
    ),
    (
        "configMapGenerator.env",
        "configMapGenerator: [{name: c, env: HERE}]",
    ),
    (
        "secretGenerator.files",
        "secretGenerator: [{name: c, files: [HERE]}]",
    ),
    ("generators", "generators: [HERE]"),
    (
        "transformers",
        "transformers: [HERE]\nresources: [good.yaml]",
    ),
    ("validators", "validators: [HERE]\nresources: [good.yaml]"),
];

#[test]
fn no_field_reads_files_outside_and_forbidden_files_look_missing() {
    for (field, text) in FILE_FIELDS {
        let overlay = HostileOverlay::new();
        let kustomization =
            |name: &str| overlay.write("kustomization.yaml", text.replace("HERE", name) + "\n");
        // The error must be the same whether or not the target exists.
        for (what, there, not_there) in [
            (
                "a link to a file",
                "../../outside/file.yaml",
                "../../outside/nothing.yaml",
            ),
            (
                "a link to a directory",
                "../../outside/base",
                "../../outside/nothing",
            ),
            (
                "an absolute link",
                "/etc/passwd",
                "/etc/nothing-of-this-name",
            ),
        ] {
            kustomization("x");
            overlay.link("x", there);
            let forbidden = overlay.build_error(&format!("{field}: {what}"));
            overlay.link("x", not_there);
            let missing = overlay.build_error(&format!("{field}: {what} to nothing"));
            // Both name what the link itself says, and nothing else.
            assert_eq!(
                forbidden.replace(there, "X"),
                missing.replace(not_there, "X"),
                "{field}: {what}"
            );
        }
        for (what, there, not_there) in [
            (
                "a path upwards",
                "../../outside/file.yaml",
                "../../outside/other.yaml",
            ),
            ("an absolute path", "/etc/passwd", "/etc/passwx"),
        ] {
            kustomization(there);
            let forbidden = overlay.build_error(&format!("{field}: {what}"));
            kustomization(not_there);
            let missing = overlay.build_error(&format!("{field}: {what} to nothing"));
            assert_eq!(
                forbidden.replace(there, "X"),
                missing.replace(not_there, "X"),
                "{field}: {what}"
            );
        }
    }
}

/// Checks that an overlay with these files is refused.
fn assert_refused(what: &str, files: &[(&str, String)]) {
    let overlay = HostileOverlay::new();
    for (name, content) in files {
        overlay.write(name, content);
    }
    overlay.build_error(what);
}

fn bomb(levels: usize) -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..levels {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    text
}

#[test]
fn overlays_that_would_use_up_time_or_memory_are_refused() {
    let kustomization = |text: &str| ("kustomization.yaml", text.to_owned());
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    assert_refused(
        "an alias bomb",
        &[
            kustomization("resources: [a.yaml]"),
            (
                "a.yaml",
                format!("{object}data:\n{}", bomb(10).replace('\n', "\n  ")),
            ),
        ],
    );
    assert_refused(
        "an alias bomb as the kustomization",
        &[kustomization(&bomb(10))],
    );
    assert_refused(
        "an alias to itself",
        &[
            kustomization("resources: [a.yaml]"),
            ("a.yaml", format!("{object}data: &a {{x: *a}}\n")),
        ],
    );
    assert_refused(
        "deep flow lists",
        &[
            kustomization("resources: [a.yaml]"),
            (
                "a.yaml",
                format!("{object}data: {}\n", "[".repeat(1_000_000)),
            ),
        ],
    );
    assert_refused(
        "deep flow maps",
        &[
            kustomization("resources: [a.yaml]"),
            (
                "a.yaml",
                format!("{object}data: {}\n", "{a: ".repeat(1_000_000)),
            ),
        ],
    );
    assert_refused(
        "deep block lists",
        &[
            kustomization("resources: [a.yaml]"),
            (
                "a.yaml",
                format!("{object}data: {}x\n", "- ".repeat(1_000_000)),
            ),
        ],
    );
    assert_refused(
        "a deep kustomization",
        &[kustomization(&"[".repeat(1_000_000))],
    );
    assert_refused(
        "a deep JSON patch",
        &[
            kustomization(
                "resources: [good.yaml]\npatches: [{path: p.json, target: {name: good}}]",
            ),
            (
                "p.json",
                format!(
                    "[{{\"op\": \"add\", \"path\": \"/data/x\", \"value\": {}",
                    "[".repeat(1_000_000)
                ),
            ),
        ],
    );
    assert_refused("itself as a base", &[kustomization("resources: [.]")]);
    assert_refused(
        "a circle of bases",
        &[
            kustomization("resources: [b]"),
            ("b/kustomization.yaml", "resources: [../b2]\n".into()),
            ("b2/kustomization.yaml", "resources: [../b]\n".into()),
        ],
    );
    assert_refused(
        "its parent as a base",
        &[
            kustomization("resources: [b]"),
            ("b/kustomization.yaml", "resources: [..]\n".into()),
        ],
    );
    assert_refused(
        "a component in a circle",
        &[
            kustomization("components: [c]"),
            (
                "c/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncomponents: \
                 [../c]\n"
                    .into(),
            ),
        ],
    );
    assert_refused(
        "a pattern too large to compile",
        &[kustomization(
            "resources: [good.yaml]\npatches: [{patch: '[{\"op\": \"add\", \"path\": \"/x\", \
             \"value\": 1}]', target: {name: '((a{1000}){1000}){1000}'}}]",
        )],
    );
    assert_refused(
        "a pattern of an image too large to compile",
        &[kustomization(&format!(
            "resources: [good.yaml]\nimages: [{{name: '{}', newTag: a}}]",
            ".{1000}".repeat(30)
        ))],
    );
    assert_refused(
        "a definition that holds itself",
        &[
            kustomization("resources: [good.yaml]\ncrds: [c.yaml]"),
            (
                "c.yaml",
                "x.Y: {Schema: {properties: {kind: {}, apiVersion: {}, metadata: {}, spec: {$ref: \
                 x.Y}}}}\n"
                    .into(),
            ),
        ],
    );
    assert_refused(
        "an index beyond reason",
        &[kustomization(
            "resources: [good.yaml]\nreplacements: [{sourceValue: x, targets: [{select: {name: \
             good}, fieldPaths: ['data.k.99999999999999999999']}]}]",
        )],
    );
    assert_refused(
        "bytes that are no text",
        &[
            kustomization("resources: [a.yaml]"),
            ("a.yaml", "a: \u{0}\n".into()),
        ],
    );
    assert_refused(
        "a program as a plugin",
        &[
            kustomization("resources: [good.yaml]\ntransformers: [t.yaml]"),
            (
                "t.yaml",
                "apiVersion: example.org/v1\nkind: Run\nmetadata: {name: t, annotations: \
                 {config.kubernetes.io/function: \"exec: {path: /bin/sh}\"}}\n"
                    .into(),
            ),
        ],
    );
    assert_refused(
        "a container as a generator",
        &[
            kustomization("generators: [t.yaml]"),
            (
                "t.yaml",
                "apiVersion: v1\nkind: Run\nmetadata: {name: t, annotations: \
                 {config.kubernetes.io/function: \"container: {image: x}\"}}\n"
                    .into(),
            ),
        ],
    );
    assert_refused(
        "a chart without leave",
        &[kustomization(
            "helmCharts: [{name: x, releaseName: r, repo: 'https://example.org'}]",
        )],
    );
    assert_refused(
        "a chart whose release is a flag",
        &[kustomization(
            "helmCharts: [{name: x, releaseName: --post-renderer=/bin/sh}]",
        )],
    );
}

#[test]
fn a_slow_pattern_is_not_slow() {
    let overlay = HostileOverlay::new();
    overlay.write(
        "long.yaml",
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}b}}\n",
            "a".repeat(50_000)
        ),
    );
    overlay.write(
        "kustomization.yaml",
        "resources: [long.yaml]\npatches: [{patch: '[{\"op\": \"add\", \"path\": \"/x\", \
         \"value\": 1}]', target: {name: '(a+)+c'}}]\n",
    );
    assert!(overlay.build().status.success());
}

#[test]
fn special_files_are_never_opened() {
    for target in [
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        "/proc/self/mem",
        "x",
        "/",
    ] {
        for (field, text) in FILE_FIELDS {
            let overlay = HostileOverlay::new();
            overlay.write("kustomization.yaml", text.replace("HERE", "x") + "\n");
            overlay.link("x", target);
            overlay.build_error(&format!("{field}: a link to {target}"));
        }
    }
    let overlay = HostileOverlay::new();
    overlay.write("kustomization.yaml", "resources: [x]\n");
    let fifo = overlay.top.path().join("root/overlay/x");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    overlay.build_error("a fifo");
}

#[test]
fn remote_addresses_are_refused_without_a_connection() {
    for address in [
        "https://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/x.yaml",
        "https://localhost/o/r//p?ref=x",
        "git@localhost:o/r.git",
        "ssh://root@127.0.0.1/o/r",
        "file:///etc",
        "git::https://10.0.0.1/o/r",
        "github.com/o/r?ref=main",
        "https://[::1]/o/r.git",
        "--upload-pack=touch",
    ] {
        for (field, text) in FILE_FIELDS {
            let overlay = HostileOverlay::new();
            overlay.write(
                "kustomization.yaml",
                text.replace("HERE", &format!("'{address}'"))
                    .replace("[k='", "['k=")
                    + "\n",
            );
            overlay.build_error(&format!("{field}: {address}"));
        }
    }
}

#[test]
fn variables_are_never_expanded_from_the_environment() {
    let overlay = HostileOverlay::new();
    overlay.write(
        "kustomization.yaml",
        "configMapGenerator: [{name: c, envs: [e]}]\n",
    );
    overlay.write("e", "OTHER=$MARKED_VARIABLE\nNOT_SET\n");
    let output = overlay.build();
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains(OUTSIDE));
}
