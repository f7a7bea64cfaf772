//! Child processes: what they can see, their limits, and that they leave no processes behind.

use std::path::Path;
use std::time::{Duration, Instant};

use nuon_runner::base::stop::{Stop, StopCause};
use nuon_runner::workspace::child::{
    ChildCommand, ChildError, ChildOutput, OUTPUT_LIMIT, Overflow, ResourceLimits,
};

use crate::support::daemon::{WAIT_TIMEOUT, eventually};
use crate::support::parts::supervisor;

const LIMITS: ResourceLimits = ResourceLimits {
    memory: 1 << 30,
    cpu_seconds: 60,
    file_bytes: 1 << 20,
    processes: 20,
};

fn sh(script: &str) -> ChildCommand {
    ChildCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: "/".into(),
        max_output: OUTPUT_LIMIT,
        overflow: Overflow::Discard,
        limits: LIMITS,
        is_offline: false,
        files: Vec::new(),
        input: Vec::new(),
        supervisor: supervisor(),
    }
}

#[tokio::test]
async fn a_program_reads_its_input_to_the_end() {
    let input = vec![b'x'; 200_000];
    let ended = run(ChildCommand {
        input,
        ..sh("wc -c")
    })
    .await;
    assert_eq!(text(&ended.stdout).trim(), "200000");
    assert_eq!(text(&run(sh("wc -c")).await.stdout).trim(), "0");
}

async fn run(child: ChildCommand) -> ChildOutput {
    child.run(&Stop::default()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns a script that starts a process outside its parent, process group and session, and
/// records its PID.
fn runaway(pids: &Path) -> String {
    let pids = pids.display();
    format!(
        "setsid sh -c '(echo $$ >> {pids}; sleep 1000 & echo $! >> {pids}; sleep 1000) &' ; echo \
         $$ >> {pids}; "
    )
}

fn is_alive(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

async fn wait_until_started(pids: &Path) -> Vec<String> {
    eventually("all processes are started", || {
        let text = std::fs::read_to_string(pids).unwrap_or_default();
        let pids: Vec<String> = text.lines().map(str::to_owned).collect();
        (pids.len() == 3).then_some(pids)
    })
    .await
}

#[tokio::test]
async fn a_child_sees_only_the_environment_and_the_files_it_is_given() {
    let script = "env; cat /proc/self/fd/100; grep -E 'NoNewPrivs|CapEff|CapPrm' \
                  /proc/self/status; ulimit -c; exit 3";
    let ended = run(ChildCommand {
        files: vec![b"in memory\n".to_vec()],
        ..sh(script)
    })
    .await;
    assert_eq!(ended.status.code(), Some(3));
    let output = text(&ended.stdout);
    let variables = output.lines().take_while(|line| line.contains('='));
    assert!(
        variables
            .into_iter()
            .all(|line| ["PATH", "PWD", "SHLVL", "_"].contains(&line.split('=').next().unwrap()))
    );
    for line in [
        "in memory",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "0",
    ] {
        assert!(
            output.lines().any(|found| found == line),
            "{line}: {output}"
        );
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let child = ChildCommand {
        program: "no-such-program".into(),
        ..sh("")
    };
    let error = child.run(&Stop::default()).await.unwrap_err();
    assert!(
        matches!(&error, ChildError::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound),
        "{error:?}"
    );
}

#[tokio::test]
async fn stop_drop_and_exit_leave_no_processes_of_the_child() {
    for how in ["stop", "drop", "end"] {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let last = if how == "end" {
            "while [ $(wc -l < PIDS) -lt 3 ]; do sleep 0.01; done"
        } else {
            "sleep 1000"
        };
        let script = runaway(&pids) + &last.replace("PIDS", &pids.display().to_string());
        let stop = Stop::default();
        let running = tokio::spawn({
            let (child, stop) = (sh(&script), stop.clone());
            async move { child.run(&stop).await }
        });
        let started = wait_until_started(&pids).await;
        if how == "stop" {
            stop.stop(StopCause::Cancelled);
        } else if how == "drop" {
            running.abort();
        }
        // A descendant that lives on keeps the output open.
        let ended = tokio::time::timeout(WAIT_TIMEOUT, running).await;
        let ended = ended.expect("the child does not end");
        match how {
            "stop" => {
                assert!(matches!(ended.unwrap(), Err(ChildError::Stopped(_))));
                assert!(
                    !started.iter().any(|pid| is_alive(pid)),
                    "a process is alive after the stop"
                );
            }
            "drop" => assert!(ended.is_err_and(|error| error.is_cancelled())),
            _ => {
                assert!(ended.unwrap().unwrap().status.success());
                assert!(
                    !started.iter().any(|pid| is_alive(pid)),
                    "a process is alive after the child has ended"
                );
            }
        }
        eventually("all processes end", || {
            (!started.iter().any(|pid| is_alive(pid))).then_some(())
        })
        .await;
    }
}

/// Writes an overlay whose chart is rendered by `script`. Returns the command that renders it.
fn overlay(dir: &Path, script: &str) -> std::process::Command {
    let helm = dir.join("helm");
    std::fs::write(&helm, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&helm, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (name, content) in [
        (
            "kustomization.yaml",
            "helmCharts: [{name: c, releaseName: r}]\n",
        ),
        (
            "charts/c/Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 1.0.0\n",
        ),
        ("charts/c/values.yaml", "{}\n"),
    ] {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
    command.args([
        "render",
        "--enable-helm",
        "--helm-command",
        helm.to_str().unwrap(),
        dir.to_str().unwrap(),
    ]);
    command
}

#[tokio::test]
async fn a_child_cannot_read_the_environment_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let found = dir.path().join("found");
    let script = format!(
        "cat /proc/[0-9]*/environ > {0} 2>/dev/null; cat /proc/self/environ >> {0}",
        found.display()
    );
    let output = overlay(dir.path(), &script)
        .env("MARKED", "marked-variable-of-the-program")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let found = text(&std::fs::read(found).unwrap());
    assert!(
        found.contains("HELM_CACHE_HOME") && !found.contains("marked-variable"),
        "{found}"
    );
    assert!(!found.contains("PROXY=") || found.contains("PROXY=http://127.0.0.1:9"));
}

#[tokio::test]
async fn a_killed_program_takes_its_children_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let mut render = overlay(dir.path(), &format!("{}sleep 1000", runaway(&pids)))
        .spawn()
        .unwrap();
    let started = wait_until_started(&pids).await;
    render.kill().unwrap();
    render.wait().unwrap();
    eventually("all processes end", || {
        (!started.iter().any(|pid| is_alive(pid))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn memory_files_time_and_processes_are_limited() {
    // `tail` keeps the bytes in memory.
    let ended = run(sh(
        "head -c 3000000000 /dev/zero | tail -c 2900000000 > /dev/null",
    ))
    .await;
    assert!(!ended.status.success(), "{ended:?}");
    let ended = run(sh("exec head -c 2000000 /dev/zero > \
                        /tmp/nuon-runner-test-$$; rm -f \
                        /tmp/nuon-runner-test-$$"))
    .await;
    assert_eq!(ended.limit(), Some("file size"), "{ended:?}");
    let busy = ChildCommand {
        limits: ResourceLimits {
            cpu_seconds: 1,
            ..LIMITS
        },
        ..sh("while :; do :; done")
    };
    let ended = run(busy).await;
    assert!(
        ended.limit() == Some("processor time") || !ended.status.success(),
        "{ended:?}"
    );
    let begun = Instant::now();
    let error = sh("for i in $(seq 40); do sleep 1000 & done; wait")
        .run(&Stop::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ChildError::TooManyProcesses { limit: 20, .. }),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_child_that_prints_without_end_is_stopped() {
    let child = ChildCommand {
        max_output: 1000,
        overflow: Overflow::Stop,
        ..sh("yes")
    };
    let error = child.run(&Stop::default()).await.unwrap_err();
    assert!(
        matches!(error, ChildError::TooMuchOutput { limit: 1000, .. }),
        "{error}"
    );
    let ended = run(ChildCommand {
        max_output: 1000,
        ..sh("yes | head -c 100000")
    })
    .await;
    assert_eq!(ended.stdout.len(), 1000);
}

#[tokio::test]
async fn an_offline_child_cannot_connect() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("(: < /dev/tcp/127.0.0.1/{port}) && echo reached; id -u; true");
    let child = |is_offline| ChildCommand {
        program: "/bin/bash".into(),
        args: vec!["-c".into(), script.clone().into()],
        is_offline,
        ..sh("")
    };
    assert!(text(&run(child(false)).await.stdout).starts_with("reached"));
    let ended = run(child(true)).await;
    assert_eq!(
        text(&ended.stdout).trim(),
        rustix::process::getuid().as_raw().to_string(),
        "{ended:?}"
    );
}

/// The exec plugin of a kubeconfig is supervised like all children: its token is used, and it
/// leaves no processes behind.
#[tokio::test]
async fn an_exec_plugin_of_a_kubeconfig_leaves_no_processes() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let login = dir.path().join("login");
    let token = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}"#;
    let wait = format!(
        "while [ $(wc -l < {}) -lt 3 ]; do sleep 0.01; done",
        pids.display()
    );
    std::fs::write(
        &login,
        format!("#!/bin/sh\n{}{wait}\necho '{token}'\n", runaway(&pids)),
    )
    .unwrap();
    std::fs::set_permissions(&login, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let exec = format!(
        "{{apiVersion: client.authentication.k8s.io/v1, command: {}, interactiveMode: Never}}",
        login.display()
    );
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'https://{}'}}}}]\n\
         users: [{{name: u, user: {{exec: {exec}}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n",
        crate::support::parts::testbed().apiserver()
    );
    std::fs::write(&kubeconfig, config).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .args([
            "status",
            "--component",
            "web",
            "-n",
            "default",
            "--kubeconfig",
        ])
        .arg(&kubeconfig)
        .arg("--deploy-allow-exec")
        .arg(&login)
        .env(
            "SSL_CERT_FILE",
            crate::support::parts::testbed().authority(),
        )
        .output()
        .unwrap();
    // The API server rejects the token.
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    // The plugin runs again after its token is rejected.
    let started = std::fs::read_to_string(&pids).unwrap();
    assert!(started.lines().count() >= 3, "{started}");
    eventually("all processes end", || {
        (!started.lines().any(is_alive)).then_some(())
    })
    .await;
}
