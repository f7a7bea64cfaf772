//! Failures in the words of kubelets, container runtimes, schedulers and storage drivers: each is told
//! by its cause, and only what nothing but a change can mend ends a wait at once.

use serde_json::{Value, json};

use super::event::ClusterEvent;
use super::{pod, refusal, scheduling};
use crate::manifest::Object;

/// Returns the reason of a pod's cause, with `!` if no waiting can help.
fn reason(status: &Value, events: &[ClusterEvent]) -> String {
    let pod = json!({"kind": "Pod", "status": status});
    let fault = pod::fault(&Object(pod.as_object().unwrap().clone()), events);
    fault.map_or_else(String::new, |fault| marked(fault.code))
}

fn marked(code: super::code::CauseCode) -> String {
    let mark = if code.recoverability.is_unrecoverable() {
        "!"
    } else {
        ""
    };
    format!("{}{mark}", code.reason)
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [
        {"name": "app", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn ended(restarts: u32, exit: i32, why: &str, message: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [
        {"name": "app", "ready": false, "restartCount": restarts,
         "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
         "lastState": {"terminated": {"exitCode": exit, "reason": why, "message": message}}}]})
}

/// An event of the container `app`.
fn event(reason: &str, message: &str) -> ClusterEvent {
    ClusterEvent {
        reason: reason.into(),
        message: message.into(),
        field_path: "spec.containers{app}".into(),
        ..ClusterEvent::default()
    }
}

#[test]
fn images_that_cannot_be_pulled() {
    for (message, expected) in [
        // CRI-O
        (
            "initializing source docker://quay.io/o/web:9: reading manifest 9 in quay.io/o/web: manifest unknown",
            "ImageNotFound!",
        ),
        (
            "initializing source docker://quay.io/o/web:9: reading manifest 9 in quay.io/o/web: unauthorized: access to the requested resource is not authorized",
            "ImageAuthFailed!",
        ),
        // containerd
        (
            "failed to pull and unpack image \"1.dkr.ecr.eu-west-1.amazonaws.com/web:9\": failed to copy: httpReadSeeker: failed open: unexpected status code https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/web/manifests/9: 403 Forbidden",
            "ImageAuthFailed!",
        ),
        (
            "failed to resolve reference \"ghcr.io/o/web:9\": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token?scope=repository: 401 Unauthorized",
            "ImageAuthFailed!",
        ),
        (
            "failed to pull and unpack image \"r.test/web:9\": failed to get reader from content store: content digest sha256:0a: not found",
            "ImagePullFailed",
        ),
        (
            "failed to extract layer sha256:0a: write /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/x: no space left on device: unknown",
            "ImagePullFailed",
        ),
        (
            "failed commit on ref \"layer-sha256:0a\": unexpected commit digest sha256:0b, expected sha256:0a: failed precondition",
            "ImagePullFailed",
        ),
        (
            "failed to copy: httpReadSeeker: failed open: failed to do request: Get \"https://r.test/v2/x\": x509: certificate signed by unknown authority",
            "ImageRegistryUnreachable",
        ),
        (
            "failed to do request: Head \"https://r.test:5000/v2/web/manifests/9\": http: server gave HTTP response to HTTPS client",
            "ImageRegistryUnreachable",
        ),
        (
            "failed to do request: Head \"https://r.test/v2/\": proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused",
            "ImageRegistryUnreachable",
        ),
        (
            "media type \"application/vnd.docker.distribution.manifest.v1+prettyjws\" is no longer supported since containerd v2.1",
            "ImagePullFailed",
        ),
        (
            "failed to copy: read tcp 10.0.0.3:5->10.0.0.4:443: read: connection reset by peer",
            "ImageRegistryFailing",
        ),
        ("failed to pull image: unexpected EOF", "ImagePullFailed"),
        // dockerd
        (
            "Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list entries",
            "ImageWrongArchitecture!",
        ),
        (
            "Error response from daemon: Get \"https://r.test/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
            "ImageRegistryFailing",
        ),
    ] {
        let found = reason(&waiting("ErrImagePull", message), &[]);
        assert_eq!(found, expected, "{message}");
    }
}

#[test]
fn an_older_event_that_holds_the_reason() {
    let back_off = waiting(
        "ImagePullBackOff",
        "Back-off pulling image \"r.test/web:9\"",
    );
    let failed = "Failed to pull image \"r.test/web:9\": rpc error: code = NotFound desc = r.test/web:9: not found";
    let events = [
        event("Failed", failed),
        event("Failed", "Error: ErrImagePull"),
        event("BackOff", "Back-off pulling image \"r.test/web:9\""),
    ];
    assert_eq!(reason(&back_off, &events), "ImageNotFound!");

    let creating = waiting("ContainerCreating", "");
    let summary = "Unable to attach or mount volumes: unmounted volumes=[conf], unattached volumes=[conf]: timed out waiting for the condition";
    for (message, expected) in [
        (
            "MountVolume.SetUp failed for volume \"conf\" : configmap \"conf\" not found",
            "MountedConfigMissing",
        ),
        (
            "MountVolume.SetUp failed for volume \"conf\" : references non-existent secret key: tls.crt",
            "MountedConfigMissing",
        ),
    ] {
        let events = [event("FailedMount", message), event("FailedMount", summary)];
        assert_eq!(reason(&creating, &events), expected, "{message}");
    }
    let attach = "Multi-Attach error for volume \"pvc-1\" Volume is already used by pod(s) web-0";
    let events = [
        event("FailedAttachVolume", attach),
        event("FailedMount", summary),
    ];
    assert_eq!(reason(&creating, &events), "VolumeInUse");
    assert_eq!(
        reason(&creating, &[event("FailedMount", summary)]),
        "MountFailed"
    );
}

#[test]
fn volumes_and_the_network_before_the_start() {
    let creating = waiting("ContainerCreating", "");
    for (word, message, expected) in [
        (
            "FailedMount",
            "MountVolume.SetUp failed for volume \"secrets-store\" : rpc error: code = Unknown desc = failed to mount secrets store objects for pod shop/web, err: provider not found: provider \"vault\"",
            "MountFailed",
        ),
        (
            "FailedMount",
            "MountVolume.MountDevice failed for volume \"pvc-1\" : driver name ebs.csi.aws.com not found in the list of registered CSI drivers",
            "MountFailed",
        ),
        (
            "FailedAttachVolume",
            "AttachVolume.Attach failed for volume \"pvc-1\" : rpc error: code = Internal desc = could not attach volume: context deadline exceeded",
            "AttachFailed",
        ),
        (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: rpc error: code = Unknown desc = plugin type=\"aws-cni\" failed (add): add cmd: failed to assign an IP address to container",
            "SandboxFailed",
        ),
    ] {
        assert_eq!(
            reason(&creating, &[event(word, message)]),
            expected,
            "{message}"
        );
    }
}

#[test]
fn containers_that_cannot_be_created_or_started() {
    for (word, message, expected) in [
        (
            "CreateContainerConfigError",
            "failed to sync configmap cache: timed out waiting for the condition",
            "ContainerConfigError",
        ),
        (
            "CreateContainerConfigError",
            "secret \"db\" not found",
            "SecretMissing",
        ),
        (
            "CreateContainerConfigError",
            "failed to prepare subPath for volumeMount \"conf\" of container \"app\"",
            "ContainerConfigError",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (node), cannot verify user is non-root",
            "RunAsNonRoot!",
        ),
        (
            "CreateContainerError",
            "context deadline exceeded",
            "ContainerCreateError",
        ),
        (
            "CreateContainerError",
            "failed to reserve container name \"app_web_shop_0\": name is reserved for \"0a\"",
            "ContainerCreateError",
        ),
        (
            "RunContainerError",
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/app/run.sh\": permission denied: unknown",
            "CommandNotFound!",
        ),
        (
            "RunContainerError",
            "runc create failed: unable to start container process: error during container init: error mounting \"/var/lib/kubelet/pods/0/volumes\" to rootfs at \"/etc/x.conf\": not a directory: unknown",
            "MountFailed",
        ),
        (
            "RunContainerError",
            "failed to create shim task: context deadline exceeded: unknown",
            "ContainerStartError",
        ),
        (
            "RunContainerError",
            "failed to start shim: start failed: fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily unavailable",
            "ContainerStartError",
        ),
        (
            "RunContainerError",
            "runc create failed: unable to start container process: error during container init: error running hook #0: error running prestart hook: nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or directory",
            "ContainerStartError",
        ),
        (
            "PostStartHookError",
            "Exec lifecycle hook ([/bin/sh -c register]) for Container \"app\" failed - error: command exited with 7",
            "PostStartHookFailed",
        ),
    ] {
        let found = reason(&waiting(word, message), &[]);
        assert_eq!(found, expected, "{message}");
    }
}

#[test]
fn containers_that_end() {
    for (status, expected) in [
        (ended(1, 137, "OOMKilled", ""), "OutOfMemory"),
        (ended(6, 137, "OOMKilled", ""), "OutOfMemory!"),
        (ended(2, 137, "Error", ""), "ContainerCrashes"),
        (
            ended(6, 1, "Error", "cannot connect to db:5432"),
            "ContainerCrashes!",
        ),
        (ended(1, 0, "Completed", ""), "ContainerExits"),
        (
            ended(
                1,
                128,
                "StartError",
                "exec: \"server\": executable file not found in $PATH",
            ),
            "CommandNotFound!",
        ),
        (
            ended(
                1,
                128,
                "StartError",
                "failed to create task for container: failed to create shim task: context canceled",
            ),
            "ContainerStartError",
        ),
    ] {
        assert_eq!(reason(&status, &[]), expected, "{status}");
    }
    let mut init = ended(5, 1, "Error", "migration failed");
    init["initContainerStatuses"] = init["containerStatuses"].take();
    assert_eq!(reason(&init, &[]), "ContainerCrashes!");
}

#[test]
fn pods_that_a_node_turns_away() {
    for (word, message, expected) in [
        (
            "Evicted",
            "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 500Mi.",
            "PodEvicted",
        ),
        (
            "UnexpectedAdmissionError",
            "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. Requested: 1, Available: 0",
            "PodRejected",
        ),
        (
            "TopologyAffinityError",
            "Resources cannot be allocated with Topology locality",
            "PodRejected",
        ),
        (
            "SysctlForbidden",
            "forbidden sysctl: \"kernel.msgmax\" not allowlisted",
            "PodRejected",
        ),
        (
            "NodeShutdown",
            "Pod was rejected as the node is shutting down.",
            "NodeNotReady",
        ),
        (
            "OutOfephemeral-storage",
            "Node didn't have enough resource: ephemeral-storage",
            "InsufficientResources",
        ),
    ] {
        let status = json!({"phase": "Failed", "reason": word, "message": message});
        assert_eq!(reason(&status, &[]), expected, "{word}");
    }
}

#[test]
fn pods_that_no_node_can_take() {
    for (message, expected) in [
        (
            "0/3 nodes are available: 3 node(s) had volume node affinity conflict. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            "VolumeNodeConflict",
        ),
        (
            "0/3 nodes are available: 3 node(s) exceed max volume count.",
            "InsufficientResources",
        ),
        (
            "0/3 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim \"web-scratch\".",
            "ClaimUnbound",
        ),
        (
            "0/3 nodes are available: persistentvolumeclaim \"data\" bound to non-existent persistentvolume \"pv-1\".",
            "ClaimLost!",
        ),
        (
            "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded",
            "ClaimUnbound",
        ),
        (
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {dedicated: db}.",
            "InsufficientResources",
        ),
        (
            "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.",
            "PodAffinityUnsatisfiable",
        ),
    ] {
        assert_eq!(
            marked(scheduling::cause(message, &[])),
            expected,
            "{message}"
        );
    }
}

#[test]
fn pods_that_the_api_server_refuses() {
    for (message, expected) in [
        (
            "pods \"web-\" is forbidden: unable to validate against any security context constraint: [provider \"anyuid\": Forbidden: not usable by user or serviceaccount]",
            "PodSecurityViolation!",
        ),
        (
            "admission webhook \"validate.kyverno.svc-fail\" denied the request: resource Pod/shop/web- was blocked due to the following policies",
            "AdmissionDenied!",
        ),
        (
            "Internal error occurred: failed calling webhook \"mpod.elbv2.k8s.aws\": failed to call webhook: Post \"https://x.svc:443/\": context deadline exceeded",
            "WebhookUnreachable",
        ),
        (
            "Internal error occurred: resource quota evaluation timed out",
            "ApiServerFailing",
        ),
        ("etcdserver: request timed out", "ApiServerFailing"),
        (
            "the server is currently unable to handle the request",
            "ApiServerFailing",
        ),
        ("pods \"web-0\" already exists", "OldPodRemains"),
        (
            "pods \"web-\" is forbidden: minimum cpu usage per Container is 100m, but request is 50m",
            "LimitRangeViolation!",
        ),
        (
            "pods \"web-\" is forbidden: node selector conflict",
            "PodRefused!",
        ),
    ] {
        assert_eq!(marked(refusal::of(message)), expected, "{message}");
    }
}
