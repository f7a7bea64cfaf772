//! The closed list of causes. Their reasons are the same in metrics, documents and logs.

use std::time::Duration;

/// Whether an object can recover from a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recoverability {
    /// Only after a change to a manifest or the cluster.
    NeedsChange,
    /// Not by another retry: the container has restarted often enough.
    RetriesExhausted,
    /// If something appears that may be on its way: a Secret of another controller, a node, quota.
    NeedsOthers,
    /// Expected to recover without intervention.
    Recovers,
}

impl Recoverability {
    /// Returns true if the object cannot recover without intervention.
    pub fn is_unrecoverable(self) -> bool {
        matches!(self, Self::NeedsChange | Self::RetriesExhausted)
    }

    /// Returns true if the cause may disappear when other objects become ready.
    pub fn may_be_resolved_by_others(self) -> bool {
        matches!(self, Self::RetriesExhausted | Self::NeedsOthers)
    }

    /// Returns how long to tolerate the cause; `None` for as long as the wait lasts.
    pub fn grace(self) -> Option<Duration> {
        match self {
            Self::NeedsChange | Self::RetriesExhausted => Some(Duration::ZERO),
            Self::NeedsOthers => Some(Duration::from_secs(45)),
            Self::Recovers => None,
        }
    }
}

/// One entry of the list of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CauseCode {
    /// CamelCase reason, unique in the list.
    pub reason: &'static str,
    /// Whether the object can recover.
    pub recoverability: Recoverability,
    /// Advice for the user.
    pub advice: &'static str,
}

macro_rules! codes {
    ($($name:ident $reason:literal $recoverability:ident $advice:literal)*) => {
        $(
            #[doc = $advice]
            pub const $name: CauseCode = CauseCode {
                reason: $reason,
                recoverability: Recoverability::$recoverability,
                advice: $advice,
            };
        )*
        /// Every cause.
        pub const ALL: &[CauseCode] = &[$($name),*];
    };
}

codes! {
    NAMESPACE_TERMINATING "NamespaceTerminating" NeedsOthers "wait until the namespace is gone, remove what blocks its deletion, and deploy again"
    QUOTA_EXCEEDED "QuotaExceeded" NeedsOthers "raise the quota, request less, or let the update remove pods first (maxSurge 0)"
    QUOTA_NEEDS_RESOURCES "QuotaNeedsResources" NeedsChange "set the requests and limits that the quota demands"
    LIMIT_RANGE "LimitRangeViolation" NeedsChange "change the container's requests and limits, or the LimitRange"
    POD_SECURITY "PodSecurityViolation" NeedsChange "set the securityContext that is named, or relax the namespace's pod-security label"
    ADMISSION_DENIED "AdmissionDenied" NeedsChange "do what the policy demands, or have it changed"
    WEBHOOK_UNREACHABLE "WebhookUnreachable" NeedsOthers "bring the webhook's own pods back, or remove its configuration"
    SERVICE_ACCOUNT_MISSING "ServiceAccountMissing" NeedsOthers "create the ServiceAccount, or correct serviceAccountName"
    PRIORITY_CLASS_MISSING "PriorityClassMissing" NeedsChange "create the PriorityClass, or remove priorityClassName"
    RUNTIME_CLASS_MISSING "RuntimeClassMissing" NeedsChange "install the RuntimeClass, or remove runtimeClassName"
    POD_INVALID "PodInvalid" NeedsChange "correct the pod template"
    API_SERVER_FAILING "ApiServerFailing" Recovers "wait; if it goes on, look at the API server and its storage"
    POD_REFUSED "PodRefused" NeedsChange "see the API server's message"
    INSUFFICIENT_RESOURCES "InsufficientResources" NeedsOthers "request less, or add or enlarge nodes"
    UNTOLERATED_TAINT "UntoleratedTaint" NeedsOthers "add the toleration, or nodes without the taint"
    NODE_CORDONED "NodeCordoned" NeedsOthers "uncordon a node"
    NODE_AFFINITY "NodeAffinityMismatch" NeedsOthers "correct nodeSelector or affinity, or label a node"
    POD_AFFINITY "PodAffinityUnsatisfiable" NeedsOthers "prefer the affinity instead of requiring it, or add nodes"
    TOPOLOGY_SPREAD "TopologySpreadUnsatisfiable" NeedsOthers "set whenUnsatisfiable to ScheduleAnyway, or add nodes in other zones"
    HOST_PORT_CONFLICT "HostPortConflict" NeedsOthers "remove hostPort, or let the update remove pods first (maxSurge 0)"
    VOLUME_NODE_CONFLICT "VolumeNodeConflict" NeedsOthers "add nodes in the zone of the volume, or recreate the claim in another one"
    NO_NODES "NoNodes" NeedsOthers "add nodes"
    SCHEDULING_GATED "SchedulingGated" NeedsOthers "find who owns spec.schedulingGates"
    UNSCHEDULABLE "Unschedulable" NeedsOthers "see the scheduler's message"
    CLAIM_MISSING "ClaimMissing" NeedsOthers "create the PersistentVolumeClaim"
    CLAIM_UNBOUND "ClaimUnbound" NeedsOthers "see why the PersistentVolumeClaim is not bound"
    STORAGE_CLASS_MISSING "StorageClassMissing" NeedsOthers "name an existing StorageClass and recreate the claim, because the field is immutable"
    NO_STORAGE_CLASS "NoStorageClass" NeedsOthers "name a StorageClass, or mark one as the default"
    PROVISIONING_FAILED "ProvisioningFailed" NeedsOthers "see the storage driver's message"
    PROVISIONER_SILENT "ProvisionerSilent" NeedsOthers "install or repair the storage driver"
    CLAIM_WITHOUT_CONSUMER "ClaimWithoutConsumer" Recovers "its volume is provisioned when a pod uses it"
    CLAIM_LOST "ClaimLost" NeedsChange "restore the volume, or recreate the claim"
    MOUNT_CONFIG_MISSING "MountedConfigMissing" NeedsOthers "create the ConfigMap or Secret, or mark the volume optional"
    MOUNT_FAILED "MountFailed" NeedsOthers "see the kubelet's message"
    ATTACH_FAILED "AttachFailed" NeedsOthers "look at the VolumeAttachment and the storage driver"
    VOLUME_IN_USE "VolumeInUse" NeedsOthers "use the Recreate strategy, or a volume that several nodes can mount"
    SANDBOX_FAILED "SandboxFailed" NeedsOthers "repair the network plugin of the node"
    INVALID_IMAGE_NAME "InvalidImageName" NeedsChange "correct the image name; often a variable was not substituted"
    IMAGE_WRONG_ARCHITECTURE "ImageWrongArchitecture" NeedsChange "build the image for the nodes' architecture, or choose nodes by kubernetes.io/arch"
    IMAGE_AUTH_FAILED "ImageAuthFailed" NeedsChange "create or repair the pull secret"
    IMAGE_PULL_SECRET_MISSING "ImagePullSecretMissing" NeedsOthers "create the Secret that imagePullSecrets names"
    IMAGE_NOT_FOUND "ImageNotFound" NeedsChange "correct the tag or digest, or push the image"
    IMAGE_THROTTLED "ImageRegistryThrottled" Recovers "authenticate pulls, or use a mirror"
    IMAGE_REGISTRY_UNREACHABLE "ImageRegistryUnreachable" NeedsOthers "repair the network path from the nodes to the registry"
    IMAGE_REGISTRY_FAILING "ImageRegistryFailing" Recovers "wait; if it goes on, look at the registry and its token service"
    IMAGE_NEVER_PULLED "ImageNeverPulled" NeedsChange "load the image onto the nodes, or change imagePullPolicy"
    IMAGE_PULL_FAILED "ImagePullFailed" NeedsOthers "see the container runtime's message"
    CONFIG_MAP_MISSING "ConfigMapMissing" NeedsOthers "create the ConfigMap, or mark the reference optional"
    CONFIG_MAP_KEY_MISSING "ConfigMapKeyMissing" NeedsOthers "add the key to the ConfigMap, or correct the reference"
    SECRET_MISSING "SecretMissing" NeedsOthers "create the Secret, or mark the reference optional"
    SECRET_KEY_MISSING "SecretKeyMissing" NeedsOthers "add the key to the Secret, or correct the reference"
    RUN_AS_NON_ROOT "RunAsNonRoot" NeedsChange "give the image a numeric USER, or set runAsUser"
    CONTAINER_CONFIG "ContainerConfigError" NeedsOthers "see the kubelet's message"
    CONTAINER_CREATE "ContainerCreateError" NeedsOthers "see the container runtime's message"
    COMMAND_NOT_FOUND "CommandNotFound" NeedsChange "correct command and args, or the image's entrypoint"
    CONTAINER_START "ContainerStartError" NeedsOthers "see the container runtime's message"
    HOOK_FAILED "PostStartHookFailed" NeedsOthers "correct the postStart hook"
    OOM_KILLED "OutOfMemory" NeedsChange "raise the memory limit, or use less"
    EXITS_AT_ONCE "ContainerExits" NeedsChange "keep the process in the foreground, or use a Job"
    CRASHES "ContainerCrashes" NeedsOthers "read the last lines of its log"
    LIVENESS_FAILED "LivenessProbeFailed" NeedsOthers "correct the probe, give the container more time, or add a startupProbe"
    STARTUP_FAILED "StartupProbeFailed" NeedsOthers "raise the probe's failureThreshold, or make the start faster"
    READINESS_FAILED "ReadinessProbeFailed" Recovers "correct the probe's path and port, or the application"
    POD_EVICTED "PodEvicted" NeedsOthers "set requests and limits to what the pod uses"
    POD_REJECTED "PodRejected" NeedsOthers "see the kubelet's message"
    READINESS_GATE "ReadinessGateClosed" Recovers "see the controller that opens the pod's readiness gate"
    OLD_POD_REMAINS "OldPodRemains" NeedsOthers "see why the old pod does not end: its finalizers, or its node"
    PAUSED "Paused" NeedsOthers "resume the Deployment (spec.paused)"
    SUSPENDED "Suspended" NeedsOthers "resume the Job (spec.suspend)"
    POD_PREEMPTED "PodPreempted" NeedsOthers "give the workload a higher PriorityClass, or add nodes"
    NODE_LOST "NodeNotReady" Recovers "recover or delete the node"
    POD_DEADLINE "PodDeadlineExceeded" NeedsChange "raise activeDeadlineSeconds, or make the work shorter"
    PROGRESS_DEADLINE "ProgressDeadlineExceeded" NeedsChange "see why the pods are not ready"
    JOB_BACKOFF "JobBackoffLimitExceeded" NeedsChange "read the log of its pods; a failed Job must be deleted or renamed"
    JOB_DEADLINE "JobDeadlineExceeded" NeedsChange "raise activeDeadlineSeconds, or make the work shorter"
    JOB_POLICY "JobPodFailurePolicy" NeedsChange "see the exit code; a failed Job must be deleted or renamed"
    JOB_FAILED "JobFailed" NeedsChange "read the log of its pods; a failed Job must be deleted or renamed"
    NAMES_CONFLICT "DefinitionNamesConflict" NeedsChange "rename the CRD, or remove the one that uses its names"
    DEFINITION_REFUSED "DefinitionRefused" NeedsChange "see the conditions of the CRD"
    RULE_INVALID "ReadinessRuleInvalid" NeedsChange "correct the expression: deploy.ready_when, or the annotation nuon.co/ready-when"
    RULE_NOT_MET "ReadinessRuleNotMet" Recovers "look at the fields that the rule reads, and at the object's controller"
    DELETED "Deleted" NeedsChange "find out who deletes it, and deploy again"
    STALLED "Stalled" NeedsChange "see the message of the object's controller"
    NOT_READY "NotReady" Recovers "see the message of the object's controller"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique() {
        let mut words: Vec<&str> = ALL.iter().map(|code| code.reason).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ALL.len());
    }
}
