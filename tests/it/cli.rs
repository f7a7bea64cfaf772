//! The binary as a person or a script calls it: exit codes, what goes to which stream, one line for
//! what is wrong.

use std::process::{Command, Output};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

const REQUIRED: [(&str, &str); 3] =
    [("RUNNER_API_URL", "http://127.0.0.1:9"), ("RUNNER_API_TOKEN", "marked-token"), ("RUNNER_ID", "runner")];

/// Exit code 64, one line on stderr that holds each of `parts`.
#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
}

#[test]
fn a_wrong_setting_is_told_with_its_origin_and_the_nearest_known_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "[worker]\nconcurency = 3\n").unwrap();
    let path = file.to_str().unwrap();
    for command in ["run", "check-config"] {
        let refused = run(&[command, "--config", path], &REQUIRED);
        assert_refused(&refused, &["worker.concurency", path, "worker.concurrency"]);
        let refused = run(&[command], &[REQUIRED.as_slice(), &[("NUON_RUNNER_DRAIN_TIMEUT", "5s")]].concat());
        assert_refused(&refused, &["NUON_RUNNER_DRAIN_TIMEUT", "environment", "NUON_RUNNER_DRAIN_TIMEOUT"]);
        let refused = run(&[command, "--drain-timeout", "soon"], &REQUIRED);
        assert_refused(&refused, &["drain_timeout", "--drain-timeout", "soon", "10m"]);
        assert_refused(&run(&[command], &REQUIRED[..1]), &["api.token", "RUNNER_API_TOKEN"]);
    }
}

#[test]
fn check_config_tells_each_value_and_origin_but_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "drain_timeout = \"1m\"\n[log]\nlevel = \"warn\"\n").unwrap();
    let path = file.to_str().unwrap();
    let environment = [REQUIRED.as_slice(), &[("NUON_RUNNER_DRAIN_TIMEOUT", "2m"), ("LOG_LEVEL", "debug")]].concat();
    let output = run(&["check-config", "--config", path, "--drain-timeout", "3m"], &environment);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text.contains("drain_timeout = \"3m\"  # from the flag --drain-timeout\n"),
        "a flag beats the rest: {text}"
    );
    assert!(text.contains("log.level = \"debug\"  # from the environment (LOG_LEVEL)\n"), "it beats the file: {text}");
    assert!(text.contains("api.token = \"***\""), "{text}");
    assert!(!text.contains("marked-token"));
}

#[test]
fn usage_errors_end_with_64_and_what_is_not_there_says_so() {
    for arguments in [["frobnicate"], ["--frobnicate"]] {
        assert_eq!(run(&arguments, &[]).status.code(), Some(64));
    }
    for name in ["mng", "management"] {
        let output = run(&[name], &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("not supported yet"));
    }
}

#[test]
fn an_overlay_is_rendered_to_stdout_and_its_faults_to_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let overlay = directory.path().to_str().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("kustomization.yaml", "namePrefix: a-\nresources: [map.yaml]\n");
    write("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n");
    let output = run(&["render", overlay], &[]);
    assert_eq!(output.status.code(), Some(0));
    let rendered = String::from_utf8(output.stdout).unwrap();
    assert_eq!(rendered, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a-b\n");
    assert!(output.stderr.is_empty());

    write("kustomization.yaml", "namePrefx: a-\n");
    let output = run(&["render", overlay], &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(told.contains("namePrefx") && told.contains("kustomization.yaml"), "{told}");
}
