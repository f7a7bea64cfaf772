//! Marked secrets are passed in through every input, and must not appear in any output.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::{Generation, NewJob};
use serde_json::{Value, json};

use crate::support::daemon::{Setup, TOKEN, WAIT_TIMEOUT, control_plane, eventually};
use crate::support::parts::git::GitServer;
use crate::support::parts::{testbed, unique};

const GIT_PASSWORD: &str = "marked-git-pass/word+1";
const WRONG_PASSWORD: &str = "marked-wrong-password-2";
const KUBE_TOKEN: &str = "marked-kube-token-3";
const KUBE_PASSWORD: &str = "marked-kube-password-4";
const DATA: &str = "marked-secret-data-5";
const STRING_DATA: &str = "marked-secret-string-6";
const BAD_SECRET: &str = "marked-bad-secret-7";
const SRC_PASSWORD: &str = "marked-source-password-8";
const LABEL_URL: &str = "marked-url-password-9";

/// Returns every mark. The registry's password and the cluster's token are the testbed's own.
fn marks() -> Vec<String> {
    let token = testbed()
        .kubeconfig()
        .lines()
        .find_map(|line| line.split("token: ").nth(1).map(str::to_owned))
        .unwrap();
    let token = token.trim_end_matches('}').trim().to_owned();
    let mut marks: Vec<String> = [
        TOKEN,
        GIT_PASSWORD,
        WRONG_PASSWORD,
        KUBE_TOKEN,
        KUBE_PASSWORD,
        DATA,
        STRING_DATA,
        BAD_SECRET,
        SRC_PASSWORD,
        LABEL_URL,
    ]
    .map(str::to_owned)
    .to_vec();
    marks.extend([token, testbed().password().to_owned()]);
    marks
}

/// Returns a mark in every encoding that could appear.
fn encodings(mark: &str) -> BTreeSet<String> {
    let escaped: String = url::form_urlencoded::byte_serialize(mark.as_bytes()).collect();
    let mut forms = BTreeSet::from([
        mark.to_owned(),
        STANDARD.encode(mark),
        URL_SAFE.encode(mark),
        escaped,
    ]);
    // Base64 of a longer text that contains the mark, at each of the three offsets.
    for offset in 0..3 {
        let encoded = STANDARD.encode(format!("{}{mark}", "x".repeat(offset)));
        forms.insert(encoded[4..encoded.len() - 4].to_owned());
    }
    forms
}

fn assert_clean(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for mark in marks() {
        for form in encodings(&mark) {
            assert!(!text.contains(&form), "{mark} is in {place} as {form}");
        }
    }
}

fn assert_clean_tree(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            assert_clean_tree(&entry.path());
        } else {
            assert_clean(
                &entry.path().display().to_string(),
                &std::fs::read(entry.path()).unwrap_or_default(),
            );
        }
    }
}

/// Records arguments and environment of every child of a process, until ended.
struct ChildWatcher {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ChildWatcher {
    fn watch(parent: i32) -> Self {
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                loop {
                    for pid in descendants(parent) {
                        // Between fork and exec, a child is still an image of the daemon.
                        let exe =
                            std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                        if exe == Path::new(env!("CARGO_BIN_EXE_nuon-runner")) {
                            continue;
                        }
                        for file in ["cmdline", "environ"] {
                            let bytes =
                                std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                            let mut seen = seen.lock().unwrap();
                            if !bytes.is_empty() && !seen.contains(&bytes) {
                                seen.push(bytes);
                            }
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        Self { seen, task }
    }

    fn end(self) -> Vec<Vec<u8>> {
        self.task.abort();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn descendants(parent: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

fn secret_manifest() -> String {
    let data = STANDARD.encode(DATA);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {}, namespace: default}}\ndata: {{a: \
         {data}}}\nstringData: {{b: {STRING_DATA}}}\n",
        unique("marked")
    )
}

fn deploy_plan(manifest: &str, kubeconfig: &str) -> Value {
    crate::support::plans::deploy("default", manifest, kubeconfig)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_marked_secret_appears_in_any_output() {
    crate::support::parts::tls::install_provider();
    let files = [
        ("app/kustomization.yaml", "resources: [s.yaml]\n"),
        (
            "app/s.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {x: \
             marked-secret-string-6}\n",
        ),
    ];
    let git = GitServer::start(&files, Some("robot:marked-git-pass/word+1")).await;
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::new(state.path(), &control).env("LOG_LEVEL", "trace");
    let mut daemon = setup.start();
    let admin = daemon.admin().await;
    let children = ChildWatcher::watch(daemon.pid());

    let url = format!(
        "http://robot:{}@{}/app.git",
        "marked-git-pass%2Fword%2B1", git.host
    );
    let overlay = json!({"source_type": "kustomize", "kustomize_path": "app"});
    let inline = |text: &str| json!({"source_type": "inline", "inline_manifest": text});
    let mut wrong = testbed().repository("never");
    wrong["OCIAuth"]["Password"] = WRONG_PASSWORD.into();
    let mut source = testbed().repository("none");
    source["OCIAuth"]["Password"] = SRC_PASSWORD.into();
    let ready = json!({"source_type": "oci_artifact", "oci_artifact_source": {"url": format!("{}/none", testbed().registry()), "tag": "t", "registry": source}});
    let fake = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\nusers: [{{name: u, user: {{token: {KUBE_TOKEN}, username: x, password: {KUBE_PASSWORD}}}}}]\n"
    );
    let bad = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bad, namespace: default}}\ndata: {{a: \
         '{BAD_SECRET}!'}}\n"
    );
    let builds = [
        (
            build_plan(
                testbed().repository("marked"),
                "t1",
                overlay.clone(),
                json!({"url": url, "ref": "main", "path": ""}),
            ),
            "finished",
        ),
        (
            build_plan(
                testbed().repository("marked"),
                "t2",
                inline(&secret_manifest()),
                Value::Null,
            ),
            "finished",
        ),
        (
            build_plan(wrong, "t3", inline(&secret_manifest()), Value::Null),
            "failed",
        ),
        (
            build_plan(testbed().repository("marked"), "t4", ready, Value::Null),
            "failed",
        ),
        (
            build_plan(
                testbed().repository("marked"),
                "t5",
                overlay.clone(),
                json!({"url": url, "ref": "missing", "path": ""}),
            ),
            "failed",
        ),
        (
            build_plan(
                testbed().repository("marked"),
                "t6",
                overlay,
                json!({"url": format!("https://u:{LABEL_URL}@127.0.0.1:1/x"), "ref": "main"}),
            ),
            "failed",
        ),
    ];
    for (plan, expected) in builds {
        let id = control.offer(NewJob::build(plan));
        let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
        assert_eq!(job.status, expected, "{}", job.description);
    }
    let plan = deploy_plan(&secret_manifest(), &testbed().kubeconfig());
    let planned = control
        .wait(
            &control.offer(NewJob::deploy("create-apply-plan", plan)),
            WAIT_TIMEOUT,
        )
        .await
        .unwrap();
    assert_eq!(planned.status, "finished", "{}", planned.description);
    let applied = control
        .wait(&control.offer_apply(&planned.id).unwrap(), WAIT_TIMEOUT)
        .await
        .unwrap();
    assert_eq!(applied.status, "finished", "{}", applied.description);
    for plan in [
        deploy_plan(&bad, &testbed().kubeconfig()),
        deploy_plan(&secret_manifest(), &fake),
    ] {
        let job = control
            .wait(
                &control.offer(NewJob::deploy("create-apply-plan", plan)),
                WAIT_TIMEOUT,
            )
            .await
            .unwrap();
        assert_eq!(job.status, "failed");
    }
    let metrics = crate::support::daemon::get(&admin, "/metrics").await.1;
    assert!(metrics.contains("nuon_runner_jobs_total"), "{metrics}");
    assert_clean("the metrics", metrics.as_bytes());

    // The daemon is killed during a fetch.
    let id = control.offer(NewJob::build(build_plan(
        testbed().repository("marked"),
        "t7",
        json!({"source_type": "kustomize", "kustomize_path": "app"}),
        json!({"url": url, "ref": "main", "path": ""}),
    )));
    eventually("the job is running", || {
        control.store().jobs[&id].executions.first().map(drop)
    })
    .await;
    let work = state.path().join("work");
    let has_private_directories = std::fs::read_dir(&work)
        .into_iter()
        .flatten()
        .flatten()
        .all(|entry| {
            use std::os::unix::fs::PermissionsExt as _;
            entry
                .metadata()
                .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 == 0)
        });
    assert!(has_private_directories);
    daemon.kill().await;
    let first_log = daemon.log();
    let mut next = setup.start();
    control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", next.pid())).unwrap();
    assert_clean("the runner's own environment", &environment);
    assert_eq!(next.terminate().await, 0, "{}", next.log());

    let seen = children.end();
    assert!(
        seen.iter()
            .any(|bytes| String::from_utf8_lossy(bytes).contains("fetch")),
        "a git process was observed"
    );
    for bytes in seen {
        assert_clean("a child's arguments or environment", &bytes);
    }
    assert_clean("the log", first_log.as_bytes());
    assert_clean("the log", next.log().as_bytes());
    assert_clean_tree(state.path());
    assert_eq!(
        std::fs::read_dir(&work).map_or(0, |entries| entries.count()),
        0,
        "the jobs leave no directories"
    );
    let store = control.store();
    for call in &store.calls {
        let mut body = call.body.clone();
        for member in ["contents_compressed", "contents_display_compressed"] {
            if let Some(packed) = body[member].as_str() {
                body[member] = nuon_runner::plan::contents::unpack(packed).unwrap().into();
            }
        }
        assert_clean(
            &format!("{} {}", call.method, call.path),
            format!("{} {body}", call.query).as_bytes(),
        );
    }
    for line in store.logs.values().flatten() {
        assert_clean("the log stream", format!("{line:?}").as_bytes());
    }
}
