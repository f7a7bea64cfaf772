//! Random sequences of operations on a component: objects of others are never deleted, and ours are
//! never forgotten.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, config_map};
use crate::support::parts::apiserver::ApiProxy;

/// Number of object names.
const NAMES: usize = 6;

/// Steps per sequence.
const STEPS: usize = 7;

struct Sequence<'a> {
    fixture: &'a ClusterFixture,
    proxy: &'a ApiProxy,
    dice: StdRng,
    /// UIDs of objects that other clients created.
    foreign: BTreeSet<String>,
    history: Vec<String>,
}

impl Sequence<'_> {
    fn set(&mut self) -> String {
        let mut text = String::new();
        for at in 0..NAMES {
            if self.dice.random_bool(0.6) {
                let value = self.dice.random_range(0..3);
                text.push_str(&config_map(&format!("c{at}"), &format!("{value}")));
            }
        }
        if text.is_empty() {
            config_map("c0", "0")
        } else {
            text
        }
    }

    async fn step(&mut self) {
        let name = format!("c{}", self.dice.random_range(0..NAMES));
        let path = self.fixture.config_map(&name);
        let is_there = self.fixture.get(&path).await != Value::Null;
        match self.dice.random_range(0..10) {
            // An apply that should succeed.
            0..=3 => {
                let set = self.set();
                let ran = self.fixture.apply(
                    "web",
                    &set,
                    &[
                        "--deploy-prune-limit",
                        "100",
                        "--deploy-prune-percent",
                        "100",
                    ],
                );
                self.history.push(format!("apply {}", ran.code));
            }
            // An apply that fails.
            4 => {
                let set = format!(
                    "{}{}",
                    self.set(),
                    config_map("bad", "1").replace("{a: ", "{'no key': ")
                );
                let ran = self.fixture.apply("web", &set, &[]);
                self.history.push(format!("failing apply {}", ran.code));
            }
            // An apply that is killed.
            5 | 6 => {
                let file = self.set();
                let file = self.fixture.manifest(&file);
                self.proxy.take();
                let after = self.dice.random_range(3..16);
                self.proxy.silence_after(after);
                let mut command = self.fixture.command(&[
                    "apply",
                    "--yes",
                    "-f",
                    &file,
                    "--component",
                    "web",
                    "--deploy-prune-percent",
                    "100",
                ]);
                let mut child = command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                while self.proxy.count() <= after && child.try_wait().unwrap().is_none() {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                let _ = child.kill();
                child.wait().unwrap();
                self.proxy.silence_after(usize::MAX);
                self.proxy.take();
                self.history.push(format!("killed after {after} requests"));
            }
            // Another client creates or recreates an object.
            7 => {
                if is_there {
                    self.delete(&path).await;
                }
                let made = self
                    .fixture
                    .create(
                        path.trim_end_matches(&format!("/{name}")),
                        json!({"metadata": {"name": name}, "data": {"a": "foreign"}}),
                    )
                    .await;
                self.foreign
                    .insert(made["metadata"]["uid"].as_str().unwrap().to_owned());
                self.history
                    .push(format!("{name} is created by another client"));
            }
            // Another client deletes an object.
            8 if is_there => {
                self.delete(&path).await;
                self.history
                    .push(format!("{name} is deleted by another client"));
            }
            // The deletion of an object is denied from now on.
            _ if is_there => {
                self.fixture
                    .merge(&path, json!({"metadata": {"labels": {"deny": "yes"}}}))
                    .await;
                self.history.push(format!("{name} may not be deleted"));
            }
            _ => {}
        }
    }

    /// Deletes an object, as another client.
    async fn delete(&mut self, path: &str) {
        let object = self
            .fixture
            .merge(path, json!({"metadata": {"labels": {"deny": null}}}))
            .await;
        self.foreign
            .remove(object["metadata"]["uid"].as_str().unwrap());
        self.fixture.delete(path).await;
    }

    /// Checks the invariants after a step.
    async fn check(&mut self) -> Result<(), String> {
        let objects = self
            .fixture
            .get(&format!(
                "/api/v1/namespaces/{}/configmaps",
                self.fixture.namespace
            ))
            .await;
        let objects = objects["items"].as_array().unwrap().clone();
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
        // An object that others created stays theirs, even after we have applied it. An object that
        // we created is ours.
        let is_ours = |object: &Value| {
            object["metadata"]["managedFields"]
                .as_array()
                .unwrap()
                .iter()
                .any(|entry| entry["manager"] == "nuon-runner")
        };
        let there: BTreeSet<String> = objects.iter().map(uid).collect();
        if let Some(lost) = self.foreign.iter().find(|uid| !there.contains(*uid)) {
            return Err(format!("an object of another client was deleted ({lost})"));
        }
        let status = self
            .fixture
            .run(&["status", "--component", "web", "-o", "json"]);
        let known: BTreeSet<String> = match status.code {
            0 | 4 => status.json()["objects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    one["object"]
                        .as_str()
                        .unwrap()
                        .rsplit('/')
                        .next()
                        .unwrap()
                        .to_owned()
                })
                .collect(),
            _ => BTreeSet::new(),
        };
        let ours = objects
            .iter()
            .filter(|object| is_ours(object) && !self.foreign.contains(&uid(object)));
        let ours = ours.map(|object| object["metadata"]["name"].as_str().unwrap());
        let orphans: Vec<&str> = ours
            .filter(|name| !name.starts_with("nuon-inventory") && !known.contains(*name))
            .collect();
        if orphans.is_empty() {
            Ok(())
        } else {
            Err(format!("missing in the inventory: {orphans:?}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_delete_nothing_of_others_and_forget_nothing_of_ours() {
    let count: u64 = std::env::var("NUON_SEQUENCES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(12);
    let proxy = ApiProxy::start().await;
    let guard = ClusterFixture::empty().await;
    let policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let selector = json!({"matchLabels": {"sequences": guard.namespace}});
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"]}]);
    let validations = json!([{"expression": "!has(oldObject.metadata.labels) || !('deny' in oldObject.metadata.labels)", "message": "it may not be deleted"}]);
    guard.create(policy, json!({"metadata": {"name": guard.namespace}, "spec": {"matchConstraints": {"resourceRules": rules, "namespaceSelector": selector}, "validations": validations}})).await;
    guard.create(&policy.replace("policies", "policybindings"), json!({"metadata": {"name": guard.namespace}, "spec": {"policyName": guard.namespace, "validationActions": ["Deny"]}})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut wrong = Vec::new();
    for seed in 0..count {
        let fixture = ClusterFixture::new().await;
        fixture
            .merge(
                &format!("/api/v1/namespaces/{}", fixture.namespace),
                json!({"metadata": {"labels": {"sequences": guard.namespace}}}),
            )
            .await;
        std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        let mut sequence = Sequence {
            fixture: &fixture,
            proxy: &proxy,
            dice: StdRng::seed_from_u64(seed),
            foreign: BTreeSet::new(),
            history: Vec::new(),
        };
        for _ in 0..STEPS {
            sequence.step().await;
            if let Err(why) = sequence.check().await {
                wrong.push(format!("seed {seed}: {why}, after {:?}", sequence.history));
                break;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
