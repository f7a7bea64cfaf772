//! Recorded calls of the Go runner, replayed against this program: the same plans give the same
//! calls in the same order, except for the differences in one table.
//!
//! Both sides are normalized. IDs become their kind. Polls, heartbeats, settings, logs, and reads
//! of the job once the execution exists are left out, because their timing varies. A status equal
//! to the one before it is merged with it. A changeset becomes its operation and each object with
//! its kind of change.

use std::collections::BTreeSet;
use std::time::Duration;

use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use serde_json::{Value, json};

use crate::support::daemon::{Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::git::GitServer;
use crate::support::parts::{testbed, unique};

/// An allowed difference: the recorded line or none, our line or none, both by prefix, and the
/// reason.
struct Permitted {
    recorded: Option<&'static str>,
    ours: Option<&'static str>,
    why: &'static str,
}

const fn permitted(
    recorded: Option<&'static str>,
    ours: Option<&'static str>,
    why: &'static str,
) -> Permitted {
    Permitted {
        recorded,
        ours,
        why,
    }
}

impl Permitted {
    fn matches(&self, recorded: Option<&str>, ours: Option<&str>) -> bool {
        let begins = |row: Option<&str>, line: Option<&str>| match (row, line) {
            (Some(row), Some(line)) => line.starts_with(row),
            (row, line) => row.is_none() && line.is_none(),
        };
        begins(self.recorded, recorded) && begins(self.ours, ours)
    }
}

const PERMITTED: [Permitted; 7] = [
    permitted(
        None,
        Some("GET job"),
        "the job is read before it is claimed, so that a cancelled one is not claimed",
    ),
    permitted(
        Some("POST executions null"),
        Some("POST executions {}"),
        "the server does not read the body; the contract has an empty object",
    ),
    permitted(
        None,
        Some("GET composite-plan"),
        "the composite plan is requested first; this server has none",
    ),
    permitted(
        Some("GET app-config"),
        None,
        "the Go runner fetches the app config and never uses it",
    ),
    permitted(
        Some("POST result {\"success\":true}"),
        Some("POST result success true artifact contents"),
        "a build reports what it pushed, with contents so that every server stores it",
    ),
    permitted(
        Some("POST outputs {\"files\""),
        Some("POST outputs image digest"),
        "the artifact descriptor is reported, not discarded",
    ),
    permitted(
        Some("POST outputs null"),
        Some("POST outputs {}"),
        "the Go runner sends a nil map; the contract has an object",
    ),
];

/// Returns the recorded calls of a trace.
fn recorded(name: &str) -> Vec<Value> {
    let path = format!(
        "{}/tests/conformance/traces/{name}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn recorded_plan(name: &str) -> Value {
    recorded(name)
        .into_iter()
        .find_map(|call| call.get("plan").cloned())
        .unwrap()
}

/// Formats a call as a line; `None` if it is left out.
fn line(method: &str, path: &str, body: &Value) -> Option<String> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let what = match segments.as_slice() {
        ["v1", "runner-jobs", _] => "job".to_owned(),
        ["v1", "runner-jobs", _, "executions", _] => {
            format!("status {}", body["status"].as_str().unwrap_or_default())
        }
        ["v1", "runner-jobs", _, "executions", _, "result"] => format!("result {}", result(body)),
        ["v1", "runner-jobs", _, "executions", _, "outputs"] => {
            format!("outputs {}", outputs(&body["outputs"]))
        }
        ["v1", "runner-jobs", _, rest] => (*rest).to_owned(),
        ["v1", "apps", _, "config", _] => "app-config".to_owned(),
        _ => return None,
    };
    Some(if what == "executions" {
        format!("{method} executions {body}")
    } else {
        format!("{method} {what}")
    })
}

fn result(body: &Value) -> String {
    let Some(packed) = body["contents_compressed"].as_str() else {
        return body.to_string();
    };
    let text = nuon_runner::plan::contents::unpack(packed).unwrap();
    let contents: Value = serde_json::from_str(&text).unwrap();
    match contents["op"].as_str() {
        Some(op) => format!(
            "success {} {op} {}",
            body["success"],
            changes(&contents["k8s_content_diff"])
        ),
        None => format!(
            "success {} {} contents",
            body["success"],
            if body["oci_artifact"].is_object() {
                "artifact"
            } else {
                "no"
            }
        ),
    }
}

fn outputs(outputs: &Value) -> String {
    if outputs["diff"].is_array() {
        return format!("diff {}", changes(&outputs["diff"]));
    }
    if outputs["image"]["digest"].is_string() {
        "image digest".into()
    } else {
        outputs.to_string()
    }
}

fn changes(diffs: &Value) -> String {
    let changes = diffs.as_array().into_iter().flatten();
    let changes: Vec<_> = changes
        .map(|diff| {
            format!(
                "{}/{}={}",
                diff["kind"].as_str().unwrap(),
                diff["name"].as_str().unwrap(),
                diff["type"]
            )
        })
        .collect();
    changes.join(" ")
}

fn normalise(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut status = String::new();
    for line in lines {
        let claimed = kept.iter().any(|line| line.starts_with("POST executions"));
        if line == "GET job" && claimed {
            continue;
        }
        if line.starts_with("PATCH status") {
            if line == status {
                continue;
            }
            status.clone_from(&line);
        }
        kept.push(line);
    }
    kept
}

/// Pairs two lists by their longest common subsequence. The lines left between two equal lines are
/// paired in order if a row has both, and otherwise stand alone.
fn differences(recorded: &[String], ours: &[String]) -> Vec<(Option<String>, Option<String>)> {
    if recorded.is_empty() || ours.is_empty() {
        let alone = recorded.iter().map(|line| (Some(line.clone()), None));
        return alone
            .chain(ours.iter().map(|line| (None, Some(line.clone()))))
            .collect();
    }
    let (first, second) = (recorded[0].as_str(), ours[0].as_str());
    if first == second {
        return differences(&recorded[1..], &ours[1..]);
    }
    let step = |a: usize, b: usize| {
        let mut rest = differences(&recorded[a..], &ours[b..]);
        rest.insert(
            0,
            (
                (a == 1).then(|| first.to_owned()),
                (b == 1).then(|| second.to_owned()),
            ),
        );
        rest
    };
    let permitted = |recorded, ours| PERMITTED.iter().any(|row| row.matches(recorded, ours));
    if permitted(Some(first), Some(second)) {
        step(1, 1)
    } else if permitted(None, Some(second)) {
        step(0, 1)
    } else {
        step(1, usize::from(!permitted(Some(first), None)))
    }
}

/// Returns the rows that explain the differences. Fails if none explains one.
fn explain(name: &str, ours: &[String]) -> BTreeSet<usize> {
    let recorded = normalise(recorded(name).iter().filter_map(|call| {
        line(
            call["method"].as_str().unwrap(),
            call["path"].as_str().unwrap(),
            &call["body"],
        )
    }));
    let mut used = BTreeSet::new();
    for (theirs, mine) in differences(&recorded, ours) {
        let row = PERMITTED
            .iter()
            .position(|row| row.matches(theirs.as_deref(), mine.as_deref()));
        match row {
            Some(row) => drop(used.insert(row)),
            None => panic!(
                "{name}: {theirs:?} became {mine:?}, which no row permits\nrecorded: \
                 {recorded:#?}\nours: {ours:#?}"
            ),
        }
    }
    used
}

/// Runs a job. Returns its calls.
async fn run_job(control: &ControlPlane, job: NewJob) -> Vec<String> {
    let id = control.offer(job);
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(
        job.status,
        "finished",
        "{}",
        job.executions
            .last()
            .and_then(|e| e.description.clone())
            .unwrap_or_default()
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    let store = control.store();
    let calls = store
        .calls
        .iter()
        .filter(|call| call.path.contains(&id) || call.path.contains("/apps/"));
    normalise(calls.filter_map(|call| line(&call.method, &call.path, &call.body)))
}

#[tokio::test]
async fn recorded_jobs_make_the_same_calls_except_permitted_differences() {
    let control = control_plane(Generation::First).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let name = unique("trace");
    let mut used = BTreeSet::new();

    let files = [
        (
            "app/overlays/prod/kustomization.yaml",
            "resources: [cm.yaml]\n",
        ),
        (
            "app/overlays/prod/cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
        ),
    ];
    let git = GitServer::start(&files, None).await;
    for trace in ["k8s-build-inline", "k8s-build-kustomize"] {
        let mut plan = recorded_plan(trace);
        plan["dst_registry"] = testbed().repository(&name);
        if plan["git_source"].is_object() {
            plan["git_source"]["url"] = git.url().into();
        }
        used.extend(explain(
            trace,
            &run_job(&control, NewJob::build(plan)).await,
        ));
    }

    let mut plan = recorded_plan("oci-sync");
    plan["src_tag"] = recorded_plan("k8s-build-inline")["dst_tag"].clone();
    plan["src_registry"] = testbed().repository(&name);
    plan["dst_registry"] = testbed().repository(&unique("trace"));
    used.extend(explain(
        "oci-sync",
        &run_job(&control, NewJob::sync(plan)).await,
    ));

    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    let mut plan = crate::support::plans::deploy("default", &namespace, &testbed().kubeconfig());
    plan["apply_plan_contents"] =
        nuon_runner::plan::contents::pack(&json!({"plan": "{}", "op": "apply"}).to_string()).into();
    run_job(&control, NewJob::deploy("apply-plan", plan)).await;

    for (trace, operation) in [
        ("k8s-deploy-1-create-apply-plan", "create-apply-plan"),
        ("k8s-deploy-2-apply-plan", "apply-plan"),
        ("k8s-deploy-6-create-teardown-plan", "create-teardown-plan"),
        ("k8s-deploy-7-apply-plan-teardown", "apply-plan"),
    ] {
        let mut plan = recorded_plan(trace);
        let deploy = &mut plan["kubernetes_manifest"];
        deploy["cluster_info"]["kube_config"] = testbed().kubeconfig().into();
        deploy["namespace"] = name.clone().into();
        let manifest = deploy["manifest"]
            .as_str()
            .unwrap()
            .replace("traces", &name);
        deploy["manifest"] = manifest.into();
        used.extend(explain(
            trace,
            &run_job(&control, NewJob::deploy(operation, plan)).await,
        ));
    }
    let unused: Vec<_> = PERMITTED
        .iter()
        .enumerate()
        .filter(|(at, _)| !used.contains(at))
        .map(|(_, row)| row.why)
        .collect();
    assert!(unused.is_empty(), "rows without a difference: {unused:#?}");
    daemon.shut_down(&control).await;
}
