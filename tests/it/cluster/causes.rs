//! Broken manifests. The reason of each failed rollout must be reported within ten seconds after
//! the cluster knows it.
//!
//! Where only a kubelet writes statuses and events, the test writes them in the kubelet's form, and
//! cites the Kubernetes source. Everything else comes from the real API server, controllers and
//! scheduler.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::cluster::{ClusterFixture, deployment};

/// Maximum time from the cluster's knowledge to the report.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Number of concurrent cases.
const MAX_CONCURRENT: usize = 6;

/// What the test writes in place of the kubelet.
#[derive(Clone)]
enum Kubelet {
    /// Nothing: the real components report the reason.
    Nothing,
    /// Fields of the status of container `c`.
    Container(Value),
    /// The whole status of the pod.
    Pod(Value),
    /// An event of the pod (field, reason, message), while the container is being created.
    Event(&'static str, &'static str, &'static str),
    /// Fields of the status of container `c`, and an event of the container.
    Both(Value, &'static str, &'static str),
}

struct Case {
    cause: &'static str,
    /// Objects that exist before: path (absolute, or below the namespace) and object.
    before: Vec<(&'static str, Value)>,
    manifest: String,
    kubelet: Kubelet,
}

fn case(cause: &'static str, manifest: impl Into<String>, kubelet: Kubelet) -> Case {
    Case {
        cause,
        before: Vec::new(),
        manifest: manifest.into(),
        kubelet,
    }
}

/// Returns a Deployment of one pod whose spec has these fields. The case plays the kubelet.
fn web(pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  selector: \
         {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}, \
         annotations: {{testbed/stay: ContainerCreating}}}}\n    spec: {{{pod}}}\n"
    )
}

fn plain() -> String {
    web("containers: [{name: c, image: 'registry.invalid/web:1'}]")
}

fn waiting(reason: &str, message: &str) -> Kubelet {
    Kubelet::Container(json!({"state": {"waiting": {"reason": reason, "message": message}}}))
}

fn crash_loop_status(restarts: u32, terminated: Value) -> Value {
    json!({
        "restartCount": restarts, "lastState": {"terminated": terminated},
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container=c"}},
    })
}

/// pkg/kubelet/images/image_manager.go, `EnsureImageExists`, with messages of containerd.
fn images() -> Vec<Case> {
    let pull = |cause, words: &str| case(cause, plain(), waiting("ErrImagePull", words));
    vec![
        pull(
            "ImageNotFound",
            "rpc error: code = NotFound desc = failed to pull and unpack image \
             \"registry.invalid/web:1\": failed to resolve image: registry.invalid/web:1: not \
             found",
        ),
        pull(
            "ImageAuthFailed",
            "failed to pull and unpack image: pull access denied, repository does not exist or \
             may require authorization: server message: insufficient_scope: authorization failed",
        ),
        pull(
            "ImageWrongArchitecture",
            "rpc error: code = NotFound desc = failed to pull and unpack image: no match for \
             platform in manifest: not found",
        ),
        pull(
            "ImageRegistryThrottled",
            "rpc error: code = Unknown desc = 429 Too Many Requests: toomanyrequests: You have \
             reached your pull rate limit",
        ),
        pull(
            "ImageRegistryUnreachable",
            "failed to do request: Head \"https://registry.invalid/v2/\": dial tcp: lookup \
             registry.invalid on 10.0.0.2:53: no such host",
        ),
        case(
            "InvalidImageName",
            plain(),
            waiting(
                "InvalidImageName",
                "Failed to apply default image tag \"WEB:${TAG}\": couldn't parse image name: \
                 invalid reference format",
            ),
        ),
        case(
            "ImageNeverPulled",
            plain(),
            waiting(
                "ErrImageNeverPull",
                "Container image \"registry.invalid/web:1\" is not present with pull policy of \
                 Never",
            ),
        ),
    ]
}

/// pkg/kubelet/kuberuntime/kuberuntime_container.go, `startContainer`; pkg/kubelet/kubelet_pods.go,
/// `makeEnvironmentVariables`, `convertToAPIContainerStatuses`; pkg/kubelet/prober/prober.go.
fn containers() -> Vec<Case> {
    let config =
        |cause, words: &str| case(cause, plain(), waiting("CreateContainerConfigError", words));
    let crashed = |cause, restarts, terminated: Value| {
        case(
            cause,
            plain(),
            Kubelet::Container(crash_loop_status(restarts, terminated)),
        )
    };
    let running =
        json!({"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "started": true});
    vec![
        config("ConfigMapMissing", "configmap \"app-config\" not found"),
        config("SecretMissing", "secret \"db\" not found"),
        config(
            "ConfigMapKeyMissing",
            "couldn't find key URL in ConfigMap shop/app-config",
        ),
        config(
            "SecretKeyMissing",
            "couldn't find key password in Secret shop/db",
        ),
        config(
            "RunAsNonRoot",
            "container has runAsNonRoot and image will run as root (pod: \"web_shop(1)\", \
             container: c)",
        ),
        case(
            "CommandNotFound",
            plain(),
            waiting(
                "RunContainerError",
                "failed to create containerd task: OCI runtime create failed: exec: \"/srv/app\": \
                 stat /srv/app: no such file or directory",
            ),
        ),
        case(
            "PostStartHookFailed",
            plain(),
            waiting(
                "PostStartHookError",
                "Exec lifecycle hook ([/bin/false]) for Container \"c\" failed",
            ),
        ),
        crashed(
            "ContainerCrashes",
            3,
            json!({"exitCode": 1, "reason": "Error", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z"}),
        ),
        crashed(
            "OutOfMemory",
            2,
            json!({"exitCode": 137, "reason": "OOMKilled"}),
        ),
        crashed(
            "ContainerExits",
            2,
            json!({"exitCode": 0, "reason": "Completed"}),
        ),
        case(
            "ReadinessProbeFailed",
            plain(),
            Kubelet::Both(
                running,
                "Unhealthy",
                "Readiness probe failed: HTTP probe failed with statuscode: 503",
            ),
        ),
        case(
            "LivenessProbeFailed",
            plain(),
            Kubelet::Both(
                crash_loop_status(2, json!({"exitCode": 137, "reason": "Error"})),
                "Killing",
                "Container c failed liveness probe, will be restarted",
            ),
        ),
        case(
            "StartupProbeFailed",
            plain(),
            Kubelet::Both(
                crash_loop_status(2, json!({"exitCode": 137, "reason": "Error"})),
                "Killing",
                "Container c failed startup probe, will be restarted",
            ),
        ),
        // pkg/volume/util/operationexecutor/operation_generator.go, `GenerateMountVolumeFunc`
        case(
            "MountedConfigMissing",
            plain(),
            Kubelet::Event(
                "",
                "FailedMount",
                "MountVolume.SetUp failed for volume \"cfg\" : configmap \"app-config\" not found",
            ),
        ),
        // pkg/controller/volume/attachdetach/reconciler, `reportMultiAttachError`
        case(
            "VolumeInUse",
            plain(),
            Kubelet::Event(
                "",
                "FailedAttachVolume",
                "Waiting for detach for volume \"pvc-1\" Volume is already used by pod(s) web-old",
            ),
        ),
        // pkg/kubelet/kuberuntime/kuberuntime_manager.go, `SyncPod`
        case(
            "SandboxFailed",
            plain(),
            Kubelet::Event(
                "",
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup \
                 network for sandbox: plugin type=\"calico\" failed (add)",
            ),
        ),
        // pkg/kubelet/eviction/eviction_manager.go, `evictPod`
        case(
            "PodEvicted",
            web("restartPolicy: Always, containers: [{name: c, image: i}]"),
            Kubelet::Pod(
                json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
            ),
        ),
    ]
}

fn scheduling() -> Vec<Case> {
    let placed = |cause, pod: &str| {
        case(
            cause,
            web(&format!("{pod}, containers: [{{name: c, image: i}}]")),
            Kubelet::Nothing,
        )
    };
    let claimed = |claim: &str| {
        web(&format!(
            "volumes: [{{name: d, persistentVolumeClaim: {{claimName: data}}}}], containers: \
             [{{name: c, image: i, volumeMounts: [{{name: d, mountPath: /d}}]}}]{claim}"
        ))
    };
    let claim = |class: &str| {
        format!(
            "{}---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data, \
             annotations: {{nuon.co/wait: disabled}}}}\nspec: {{accessModes: [ReadWriteOnce], \
             resources: {{requests: {{storage: 1Gi}}}}{class}}}\n",
            claimed("")
        )
    };
    vec![
        case(
            "InsufficientResources",
            web("containers: [{name: c, image: i, resources: {requests: {cpu: '1000'}}}]"),
            Kubelet::Nothing,
        ),
        placed("NodeAffinityMismatch", "nodeSelector: {disk: fast}"),
        placed(
            "SchedulingGated",
            "schedulingGates: [{name: example.test/gate}]",
        ),
        placed(
            "PodAffinityUnsatisfiable",
            "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
             [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: \
             nobody}}}]}}",
        ),
        placed(
            "TopologySpreadUnsatisfiable",
            "topologySpreadConstraints: [{maxSkew: 1, topologyKey: example.test/zone, \
             whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]",
        ),
        case("ClaimMissing", claimed(""), Kubelet::Nothing),
        case("NoStorageClass", claim(""), Kubelet::Nothing),
        case(
            "StorageClassMissing",
            claim(", storageClassName: nobody-has-it"),
            Kubelet::Nothing,
        ),
    ]
}

fn refused() -> Vec<Case> {
    let with = |cause, path, object: Value, manifest: String| Case {
        before: vec![(path, object)],
        ..case(cause, manifest, Kubelet::Nothing)
    };
    let denial = json!({
        "metadata": {"name": "NAME"},
        "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "NAME"}}},
            "validations": [{"expression": "false", "message": "no pods on Thursdays"}]},
    });
    let binding = json!({"metadata": {"name": "NAME"}, "spec": {"policyName": "NAME", "validationActions": ["Deny"]}});
    let hook = json!({
        "metadata": {"name": "NAME"},
        "webhooks": [{"name": "hook.example.test", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "NAME"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "clientConfig": {"service": {"namespace": "NAME", "name": "nobody"}}}],
    });
    let policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let binding_path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let big =
        web("containers: [{name: c, image: i, resources: {limits: {memory: 2Gi, cpu: '1'}}}]");
    vec![
        with(
            "QuotaExceeded",
            "resourcequotas",
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}),
            plain(),
        ),
        with(
            "QuotaNeedsResources",
            "resourcequotas",
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"limits.cpu": "4"}}}),
            plain(),
        ),
        with(
            "LimitRangeViolation",
            "limitranges",
            json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}}),
            big,
        ),
        Case {
            before: vec![(
                "LABEL",
                json!({"pod-security.kubernetes.io/enforce": "restricted"}),
            )],
            ..case("PodSecurityViolation", plain(), Kubelet::Nothing)
        },
        Case {
            before: vec![(policy, denial), (binding_path, binding)],
            ..case("AdmissionDenied", plain(), Kubelet::Nothing)
        },
        with(
            "WebhookUnreachable",
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            hook,
            plain(),
        ),
        case(
            "ServiceAccountMissing",
            web("serviceAccountName: nobody, containers: [{name: c, image: i}]"),
            Kubelet::Nothing,
        ),
        case(
            "PriorityClassMissing",
            web("priorityClassName: nobody, containers: [{name: c, image: i}]"),
            Kubelet::Nothing,
        ),
        case(
            "RuntimeClassMissing",
            web("runtimeClassName: nobody, containers: [{name: c, image: i}]"),
            Kubelet::Nothing,
        ),
        case(
            "JobDeadlineExceeded",
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: web}\nspec: \
             {activeDeadlineSeconds: 1, template: {metadata: {labels: {app: web}, annotations: \
             {testbed/stay: ContainerCreating}}, spec: {restartPolicy: Never, nodeSelector: {no: \
             where}, containers: [{name: c, image: i}]}}}\n",
            Kubelet::Nothing,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_manifests_are_explained_within_seconds() {
    let cases: Vec<Case> = [images(), containers(), scheduling(), refused()]
        .into_iter()
        .flatten()
        .collect();
    assert!(cases.len() >= 30);
    let (count, turns) = (cases.len(), Arc::new(Semaphore::new(MAX_CONCURRENT)));
    let tasks: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let turns = turns.clone();
            tokio::spawn(async move {
                let _turn = turns.acquire_owned().await.unwrap();
                check(&case)
                    .await
                    .map_err(|why| format!("{}: {why}", case.cause))
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for task in tasks {
        wrong.extend(task.await.unwrap().err());
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The log is served by kwok.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_lines_of_a_crashed_container_are_reported_and_secrets_in_them_are_hidden() {
    let fixture = ClusterFixture::new().await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: \
                  marked-log-password}\n";
    let file = fixture.manifest(&format!("{}---\n{secret}", plain()));
    let mut command = fixture.command(&[
        "apply",
        "--yes",
        "-f",
        &file,
        "--deploy-wait-timeout",
        "14s",
        "-o",
        "json",
    ]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let exit = json!({"exitCode": 1, "reason": "Error"});
    simulate_kubelet(&fixture, &Kubelet::Container(crash_loop_status(3, exit))).await;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("last line of its log: panic: no database at db:5432"),
        "{text}"
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let log = document["failure"]["not_ready"][0]["cause"]["log"]
        .as_array()
        .unwrap();
    assert_eq!(log[0], "starting");
    assert!(!text.contains("marked-log-password"), "{text}");
}

async fn check(case: &Case) -> Result<(), String> {
    let fixture = ClusterFixture::new().await;
    for (path, object) in &case.before {
        prepare(&fixture, path, object).await;
    }
    let file = fixture.manifest(&case.manifest);
    let mut command = fixture.command(&[
        "apply",
        "--yes",
        "-f",
        &file,
        "--component",
        "web",
        "--deploy-wait-timeout",
        "14s",
        "-o",
        "json",
        "--deploy-author-may",
        "wait",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let reason = case.cause;
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        let mut at = None;
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if at.is_none() && line.contains(reason) {
                at = Some(Instant::now());
            }
            lines.push(line);
        }
        (at, lines)
    });
    let known = simulate_kubelet(&fixture, &case.kubelet).await;
    let (at, lines) = tokio::task::spawn_blocking(move || reader.join().unwrap())
        .await
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let Some(at) = at else {
        return Err(format!("no {reason} in {lines:?}"));
    };
    let took = at.saturating_duration_since(known);
    if took > MAX_DELAY {
        return Err(format!("reported after {took:?}"));
    }
    if output.status.code() != Some(4) {
        return Err(format!("exit code {:?}: {lines:?}", output.status.code()));
    }
    let document: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let cause = &document["failure"]["not_ready"][0]["cause"];
    let is_whole = cause["code"] == reason
        && cause["help"].as_str().is_some_and(|help| !help.is_empty())
        && cause["chain"][0]
            .as_str()
            .is_some_and(|owner| owner.ends_with("/web"));
    if is_whole {
        Ok(())
    } else {
        Err(format!("the document has {cause}"))
    }
}

async fn prepare(fixture: &ClusterFixture, path: &str, object: &Value) {
    let namespace = format!("/api/v1/namespaces/{}", fixture.namespace);
    let object: Value =
        serde_json::from_str(&object.to_string().replace("NAME", &fixture.namespace)).unwrap();
    match path {
        "LABEL" => drop(
            fixture
                .merge(&namespace, json!({"metadata": {"labels": object}}))
                .await,
        ),
        path if path.starts_with('/') => drop(fixture.create(path, object).await),
        path => drop(fixture.create(&format!("{namespace}/{path}"), object).await),
    }
    // Admission applies new policies and quotas a moment later.
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

/// Writes what the kubelet would write. Returns when the cluster knew the reason.
async fn simulate_kubelet(fixture: &ClusterFixture, kubelet: &Kubelet) -> Instant {
    let (status, event) = match kubelet.clone() {
        Kubelet::Nothing => {
            // The controllers take a moment.
            return Instant::now() + Duration::from_secs(1);
        }
        Kubelet::Container(status) => (Some(status), None),
        Kubelet::Both(status, reason, message) => {
            (Some(status), Some(("spec.containers{c}", reason, message)))
        }
        Kubelet::Event(field, reason, message) => (None, Some((field, reason, message))),
        Kubelet::Pod(status) => {
            let pod = pod(fixture).await;
            patch_status(fixture, &pod, status).await;
            return Instant::now();
        }
    };
    let pod = pod(fixture).await;
    if let Some((field, reason, message)) = event {
        let involved = json!({"apiVersion": "v1", "kind": "Pod", "namespace": fixture.namespace, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"], "fieldPath": field});
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let event = json!({"metadata": {"generateName": "e-"}, "involvedObject": involved, "reason": reason, "message": message, "type": "Warning", "firstTimestamp": now, "lastTimestamp": now, "count": 1});
        fixture
            .create(
                &format!("/api/v1/namespaces/{}/events", fixture.namespace),
                event,
            )
            .await;
    }
    if let Some(mut status) = status {
        for (member, value) in [
            ("name", json!("c")),
            ("image", json!("i")),
            ("imageID", json!("")),
            ("ready", json!(false)),
        ] {
            status[member] = value;
        }
        if status.get("restartCount").is_none() {
            status["restartCount"] = json!(0);
        }
        let phase = if status["state"].get("running").is_some() || status["restartCount"] != 0 {
            "Running"
        } else {
            "Pending"
        };
        patch_status(
            fixture,
            &pod,
            json!({"phase": phase, "containerStatuses": [status]}),
        )
        .await;
    }
    Instant::now()
}

/// Returns the pod, once it exists and kwok has set its status.
async fn pod(fixture: &ClusterFixture) -> Value {
    let path = format!(
        "/api/v1/namespaces/{}/pods?labelSelector=app%3Dweb",
        fixture.namespace
    );
    for _ in 0..200 {
        let pods = fixture.get(&path).await;
        if let Some(pod) = pods["items"].as_array().and_then(|items| {
            items
                .iter()
                .find(|pod| pod["status"].get("containerStatuses").is_some())
        }) {
            return pod.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no pod was created in {}", fixture.namespace)
}

async fn patch_status(fixture: &ClusterFixture, pod: &Value, status: Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    fixture
        .merge(
            &format!(
                "/api/v1/namespaces/{}/pods/{name}/status",
                fixture.namespace
            ),
            json!({"status": status}),
        )
        .await;
}

/// An object that cannot recover ends the wait, even behind many objects that are only slow.
#[tokio::test]
async fn an_unrecoverable_object_behind_many_slow_ones_ends_the_wait() {
    let fixture = ClusterFixture::new().await;
    let service = |at: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{at}}}\nspec: {{type: \
             LoadBalancer, ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let slow: String = (0..25).map(service).collect();
    let hopeless = deployment("web", 1).replace(
        "metadata: {labels",
        "metadata: {annotations: {testbed/stay: InvalidImageName}, labels",
    );
    let ran = fixture
        .apply(
            "web",
            &format!("{slow}{hopeless}"),
            &["--deploy-wait-timeout", "5m"],
        )
        .expect_code(4);
    assert!(
        ran.err.contains("InvalidImageName: Deployment/"),
        "{}",
        ran.err
    );
}
