//! The binary as called by users and scripts: exit codes, output streams, and errors in one line.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

const REQUIRED: [(&str, &str); 3] = [
    ("RUNNER_API_URL", "http://127.0.0.1:9"),
    ("RUNNER_API_TOKEN", "marked-token"),
    ("RUNNER_ID", "runner"),
];

/// Expects exit code 64 and one line on stderr that contains each of `parts`.
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
fn an_invalid_setting_is_reported_with_its_origin_and_the_nearest_known_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "[worker]\nconcurency = 3\n").unwrap();
    let path = file.to_str().unwrap();
    for command in ["run", "check-config"] {
        let refused = run(&[command, "--config", path], &REQUIRED);
        assert_refused(&refused, &["worker.concurency", path, "worker.concurrency"]);
        let refused = run(
            &[command],
            &[REQUIRED.as_slice(), &[("NUON_RUNNER_DRAIN_TIMEUT", "5s")]].concat(),
        );
        assert_refused(
            &refused,
            &[
                "NUON_RUNNER_DRAIN_TIMEUT",
                "environment",
                "NUON_RUNNER_DRAIN_TIMEOUT",
            ],
        );
        let refused = run(&[command, "--drain-timeout", "soon"], &REQUIRED);
        assert_refused(
            &refused,
            &["drain_timeout", "--drain-timeout", "soon", "10m"],
        );
        assert_refused(
            &run(&[command], &[REQUIRED[0], REQUIRED[2]]),
            &["api.token", "RUNNER_API_TOKEN"],
        );
    }
}

#[test]
fn check_config_prints_each_value_and_origin_but_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "drain_timeout = \"1m\"\n[log]\nlevel = \"warn\"\n").unwrap();
    let path = file.to_str().unwrap();
    let environment = [
        REQUIRED.as_slice(),
        &[("NUON_RUNNER_DRAIN_TIMEOUT", "2m"), ("LOG_LEVEL", "debug")],
    ]
    .concat();
    let output = run(
        &["check-config", "--config", path, "--drain-timeout", "3m"],
        &environment,
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text.contains("drain_timeout = \"3m\"  # from the flag --drain-timeout\n"),
        "a flag beats the rest: {text}"
    );
    assert!(
        text.contains("log.level = \"debug\"  # from the environment (LOG_LEVEL)\n"),
        "it beats the file: {text}"
    );
    assert!(text.contains("# api.token = \"***\""), "{text}");
    assert!(!text.contains("marked-token"));
    assert!(text.ends_with("# the configuration is usable\n"), "{text}");
    // What is printed is a configuration file.
    let file = directory.path().join("printed.toml");
    std::fs::write(&file, &text).unwrap();
    let again = run(
        &["check-config", "--config", file.to_str().unwrap()],
        &REQUIRED,
    );
    assert_eq!(again.status.code(), Some(0), "{again:?}");
}

/// `check-config` prints everything that keeps `run` from starting, and creates nothing.
#[test]
fn check_config_refuses_what_run_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, " \n").unwrap();
    let no_database = format!("sqlite:{}", empty.display());
    let faults = [
        (
            "NUON_RUNNER_TLS_CA_FILE",
            "/nonexistent/ca",
            "/nonexistent/ca",
        ),
        (
            "NUON_RUNNER_JOURNAL_URL",
            "postgres://u:marked-password@h/d",
            "is not supported: use sqlite:PATH",
        ),
        (
            "NUON_RUNNER_STATE_DIR",
            "/proc/x",
            "cannot use the state directory /proc/x",
        ),
        (
            "NUON_RUNNER_GIT_SSH_KEY_FILE",
            "/nonexistent/key",
            "git.ssh_key_file: /nonexistent/key cannot be read: No such file or directory",
        ),
        (
            "RUNNER_API_TOKEN_FILE",
            empty.to_str().unwrap(),
            "it is empty",
        ),
        (
            "RUNNER_API_URL",
            "https://u:marked-password@h/?t=marked-password",
            "without user and password, not \"https://***@h/?t=***\"",
        ),
        (
            "RUNNER_API_TOKEN",
            "marked-password b",
            "must be one word of printable ASCII characters",
        ),
        (
            "NUON_RUNNER_JOURNAL_URL",
            "sqlite:/nonexistent/journal.db",
            "cannot use the journal /nonexistent/journal.db: No such file or directory",
        ),
        (
            "NUON_RUNNER_JOURNAL_URL",
            "sqlite::memory:",
            "is not supported: use sqlite:PATH",
        ),
        ("NUON_RUNNER_JOURNAL_URL", &no_database, "journal set-aside"),
        (
            "NUON_RUNNER_STATE_DIR",
            empty.to_str().unwrap(),
            "cannot use the state directory",
        ),
    ];
    for (at, (variable, value, message)) in faults.into_iter().enumerate() {
        let state = directory.path().join(at.to_string());
        let mut variables: HashMap<&str, &str> = REQUIRED.into_iter().collect();
        if variable == "RUNNER_API_TOKEN_FILE" {
            variables.remove("RUNNER_API_TOKEN");
        }
        variables.insert("NUON_RUNNER_STATE_DIR", state.to_str().unwrap());
        variables.insert(variable, value);
        let variables: Vec<_> = variables.into_iter().collect();
        for command in ["check-config", "run"] {
            let refused = run(&[command], &variables);
            let stderr = String::from_utf8(refused.stderr).unwrap();
            assert!(stderr.contains(message), "{command}: {stderr}");
            assert!(!stderr.contains("marked-password"), "{stderr}");
            let stdout = String::from_utf8(refused.stdout).unwrap();
            assert!(!stdout.contains("marked-password"), "{stdout}");
            let is_damaged = message == "journal set-aside";
            let expected = if is_damaged && command == "run" {
                1
            } else {
                64
            };
            assert_eq!(refused.status.code(), Some(expected), "{command} {value}");
            assert!(command == "run" || !state.exists(), "nothing is made");
        }
    }
    // The others are about settings that these, or the rest, need.
    let faults = &faults[..5];
    let mut all: Vec<_> = faults
        .iter()
        .map(|(name, value, _)| (*name, *value))
        .collect();
    all.extend([REQUIRED[0], REQUIRED[2]]);
    let refused = run(&["check-config"], &all);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert_eq!(stderr.lines().count(), faults.len(), "{stderr}");
    assert!(
        !String::from_utf8(refused.stdout)
            .unwrap()
            .contains("usable")
    );

    std::fs::write(&empty, "token").unwrap();
    let file = empty.to_str().unwrap();
    let state = directory.path().join("both").display().to_string();
    let both = [
        ("RUNNER_API_TOKEN", "t"),
        ("RUNNER_API_TOKEN_FILE", file),
        ("NUON_RUNNER_STATE_DIR", &state),
    ];
    let variables = [both.as_slice(), &[REQUIRED[0], REQUIRED[2]]].concat();
    for command in ["check-config", "run"] {
        assert_refused(
            &run(&[command], &variables),
            &["are both set; remove one of them"],
        );
    }
}

#[test]
fn usage_errors_exit_with_64_and_missing_features_are_named() {
    let wrong: [(&[&str], &[&str]); 7] = [
        (&["frobnicate"], &["frobnicate", "--help"]),
        (&["rnder"], &["rnder", "did you mean render?"]),
        (&["--frobnicate"], &["--frobnicate", "--help"]),
        (
            &["run", "--drain-timeut", "5s"],
            &["--drain-timeut", "did you mean --drain-timeout?"],
        ),
        (&["run", "--drain-timeout"], &["--drain-timeout"]),
        (&["render"], &["<PATH>"]),
        (
            &["render", ".", "--output", "artifct"],
            &["--output", "did you mean artifact?"],
        ),
    ];
    for (arguments, parts) in wrong {
        assert_refused(&run(arguments, &[]), parts);
    }
    assert_eq!(
        run(&[], &[]).status.code(),
        Some(64),
        "without arguments, help is printed and nothing else is done"
    );
    for name in ["mng", "management"] {
        let output = run(&[name], &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("not supported yet")
        );
    }
}

/// Arguments are checked before the cluster is contacted. A missing cluster has another exit code.
#[test]
fn cluster_commands_check_arguments_before_the_cluster() {
    let wrong: [(&[&str], &str); 7] = [
        (&["plan"], "no objects are given"),
        (&["plan", "file.yaml"], "not an oci:// reference"),
        (&["apply", "web.plan", "-f", "file.yaml"], "only one of"),
        (&["delete", "-f", "a", "-k", "b"], "only one of"),
        (&["rollback"], "no component is given"),
        (
            &["apply", "-f", "a", "--deploy-prune-percent", "101"],
            "from 0 to 100",
        ),
        (
            &[
                "apply",
                "-f",
                "a",
                "--deploy-ready-when",
                "ConfigMap: self.(",
            ],
            "deploy.ready_when",
        ),
    ];
    for (arguments, words) in wrong {
        assert_refused(&run(arguments, &[]), &[words]);
    }
    let variables = [
        ("NUON_RUNNER_NAMESPACE", "shop"),
        ("NUON_RUNNER_COMPONENT", "web"),
        ("NUON_RUNNER_YES", "0"),
    ];
    let output = run(&["delete"], &variables);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("there is no kubeconfig")
    );
    let help =
        String::from_utf8(run(&["apply", "--help"], &[("NUON_RUNNER_CONTEXT", "marked")]).stdout)
            .unwrap();
    assert!(
        help.contains("the approved plan no longer fits") && !help.contains("marked"),
        "{help}"
    );
}

/// A result that cannot be written is an error; a closed pipe is not.
#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_not() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .arg("version")
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .arg("version")
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_interrupted_demo_exits_with_130_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .args(["dev", "--to", directory.path().join("to").to_str().unwrap()])
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(demo.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the demo printed nothing");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&demo),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{line}{rest}");
    assert!(rest.ends_with("error: interrupted\n"), "{rest}");
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["to"]);
}

/// Whenever the signal comes, no process and no file of the demo is left.
#[test]
fn a_demo_that_is_interrupted_at_once_leaves_no_child() {
    for delay in [0, 10, 30, 60, 80, 100, 150] {
        let directory = tempfile::tempdir().unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
            .args(["dev", "--to", directory.path().join("to").to_str().unwrap()])
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let pid = rustix::process::Pid::from_child(&demo);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        demo.wait().unwrap();
        let mark = directory.path().to_str().unwrap();
        let left: Vec<String> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(mark))
            .collect();
        assert!(left.is_empty(), "after {delay} ms: {left:?}");
    }
}

#[test]
fn an_explanation_names_files_and_lines_in_the_order_of_the_build() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("base/kustomization.yaml", "resources: [web.yaml]\n");
    write(
        "base/web.yaml",
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Pod\napiVersion: \
         v1\nmetadata:\n  name: web\nspec:\n  containers:\n  - {name: c, image: 'i:1'}\n",
    );
    write(
        "top/kustomization.yaml",
        "resources: [../base]\nnameSuffix: -x\nimages:\n- name: i\n  newTag: '2'\npatches:\n- \
         path: p.yaml\n- target: {kind: ConfigMap}\n  patch: |-\n    - op: add\n      path: \
         /data\n      value:\n        k: v\n",
    );
    write(
        "top/p.yaml",
        "kind: Pod\napiVersion: v1\nmetadata: {name: web}\nspec:\n  containers:\n  - name: c\n    \
         image: i:p\n",
    );
    let top = directory.path().join("top").display().to_string();
    let root = directory
        .path()
        .canonicalize()
        .unwrap()
        .display()
        .to_string();
    let explain = |arguments: &[&str]| {
        let output = run(&[&["explain", &top], arguments].concat(), &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout)
                .unwrap()
                .replace(&format!("{root}/"), ""),
            stderr,
        )
    };
    let (code, stdout, _) = explain(&[
        "--object",
        "pod/web",
        "--field",
        "spec.containers[name=c].image",
    ]);
    assert_eq!(code, Some(0));
    assert_eq!(
        stdout,
        "Pod/web-x (v1)\n  spec.containers.[name=c].image\n    \"i:1\"  base/web.yaml:11          \
         resources[0] of base/kustomization.yaml\n    \"i:p\"  top/p.yaml:7              \
         patches[0] of top/kustomization.yaml\n    \"i:2\"  top/kustomization.yaml:4  images[0]\n"
    );
    let (_, stdout, _) = explain(&[
        "--object",
        "ConfigMap/a-x",
        "--field",
        "data.k",
        "-o",
        "json",
    ]);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["schema_version"], 1);
    let change = &document["objects"][0]["fields"][0]["changes"][0];
    assert_eq!(
        (&change["value"], &change["origin"]["line"]),
        (&"v".into(), &13.into())
    );
    let (code, _, stderr) = explain(&["--object", "Pod/wob-x"]);
    assert_eq!(
        (code, stderr.as_str()),
        (
            Some(1),
            "error: the build has no object Pod/wob-x; help: did you mean Pod/web-x?\n"
        )
    );
}

#[test]
fn an_overlay_is_rendered_to_stdout_and_its_errors_to_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let overlay = directory.path().to_str().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "kustomization.yaml",
        "namePrefix: a-\nresources: [map.yaml]\n",
    );
    write(
        "map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
    );
    let output = run(&["render", overlay], &[]);
    assert_eq!(output.status.code(), Some(0));
    let rendered = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        rendered,
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a-b\n"
    );
    assert!(output.stderr.is_empty());

    write("kustomization.yaml", "namePrefx: a-\n");
    let output = run(&["render", overlay], &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(
        stderr.contains("namePrefx") && stderr.contains("kustomization.yaml"),
        "{stderr}"
    );
}

/// No core dump, and no other process of the user, shows what is in memory.
#[test]
fn every_command_protects_its_memory() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("strace")
        .args(["-qq", "-e", "trace=prlimit64,setrlimit,prctl", "-o"])
        .arg(trace.path())
        .args([env!("CARGO_BIN_EXE_nuon-runner"), "version"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let calls = std::fs::read_to_string(trace.path()).unwrap();
    for call in [
        "RLIMIT_CORE, {rlim_cur=0, rlim_max=0}",
        "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)",
    ] {
        assert!(calls.contains(call), "{call}: {calls}");
    }
}
