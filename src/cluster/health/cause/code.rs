//! The closed list of causes. A word of it is what metrics, documents and logs have in common.

use std::time::Duration;

/// Whether something heals by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hope {
    /// Not until a manifest or the cluster is changed.
    None,
    /// Not by trying again: that was done often enough.
    Tried,
    /// If something appears that may be on its way: a Secret of another controller, a node, room in a quota.
    Waits,
    /// It is expected to.
    Heals,
}

impl Hope {
    /// Whether nothing but a person can help.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::None | Self::Tried)
    }

    /// Whether it may help that something else becomes ready.
    pub fn is_for_others(self) -> bool {
        matches!(self, Self::Tried | Self::Waits)
    }

    /// How long it is waited for; without end (but the deadline) if none.
    pub fn patience(self) -> Option<Duration> {
        match self {
            Self::None | Self::Tried => Some(Duration::ZERO),
            Self::Waits => Some(Duration::from_secs(45)),
            Self::Heals => None,
        }
    }
}

/// A cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Its word.
    pub word: &'static str,
    /// What can be expected.
    pub hope: Hope,
    /// What to do.
    pub advice: &'static str,
}

macro_rules! codes {
    ($($name:ident $word:literal $hope:ident $advice:literal)*) => {
        $(#[doc = $advice] pub const $name: Code = Code { word: $word, hope: Hope::$hope, advice: $advice };)*
        /// Every cause.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    NAMESPACE_TERMINATING "NamespaceTerminating" Waits "wait until the namespace is gone, remove what blocks its deletion, and deploy again"
    QUOTA_EXCEEDED "QuotaExceeded" Waits "raise the quota, ask for less, or let the update take pods away first (maxSurge 0)"
    QUOTA_NEEDS_RESOURCES "QuotaNeedsResources" None "set the requests and limits that the quota demands"
    LIMIT_RANGE "LimitRangeViolation" None "change the container's requests and limits, or the LimitRange"
    POD_SECURITY "PodSecurityViolation" None "set the securityContext that is named, or relax the namespace's pod-security label"
    ADMISSION_DENIED "AdmissionDenied" None "do what the policy says, or have it changed"
    WEBHOOK_UNREACHABLE "WebhookUnreachable" Waits "bring the webhook's own pods back, or remove its configuration"
    SERVICE_ACCOUNT_MISSING "ServiceAccountMissing" Waits "create the ServiceAccount, or correct serviceAccountName"
    PRIORITY_CLASS_MISSING "PriorityClassMissing" None "create the PriorityClass, or leave priorityClassName out"
    RUNTIME_CLASS_MISSING "RuntimeClassMissing" None "install the RuntimeClass, or leave runtimeClassName out"
    POD_INVALID "PodInvalid" None "correct the pod template"
    POD_REFUSED "PodRefused" None "see the words of the API server"
    INSUFFICIENT_RESOURCES "InsufficientResources" Waits "ask for less, or add or enlarge nodes"
    UNTOLERATED_TAINT "UntoleratedTaint" Waits "add the toleration, or nodes without the taint"
    NODE_CORDONED "NodeCordoned" Waits "uncordon a node"
    NODE_AFFINITY "NodeAffinityMismatch" Waits "correct nodeSelector or affinity, or label a node"
    POD_AFFINITY "PodAffinityUnsatisfiable" Waits "prefer the affinity instead of requiring it, or add nodes"
    TOPOLOGY_SPREAD "TopologySpreadUnsatisfiable" Waits "set whenUnsatisfiable to ScheduleAnyway, or add nodes in other zones"
    HOST_PORT_CONFLICT "HostPortConflict" Waits "leave hostPort out, or let the update take pods away first (maxSurge 0)"
    NO_NODES "NoNodes" Waits "add nodes"
    SCHEDULING_GATED "SchedulingGated" Waits "find who owns spec.schedulingGates"
    UNSCHEDULABLE "Unschedulable" Waits "see the words of the scheduler"
    CLAIM_MISSING "ClaimMissing" Waits "create the PersistentVolumeClaim"
    CLAIM_UNBOUND "ClaimUnbound" Waits "see why the PersistentVolumeClaim is not bound"
    STORAGE_CLASS_MISSING "StorageClassMissing" Waits "name a StorageClass that there is, and make the claim again: the field cannot be changed"
    NO_STORAGE_CLASS "NoStorageClass" Waits "name a StorageClass, or mark one as the default"
    PROVISIONING_FAILED "ProvisioningFailed" Waits "act on the words of the storage driver"
    PROVISIONER_SILENT "ProvisionerSilent" Waits "install or repair the storage driver"
    CLAIM_WITHOUT_CONSUMER "ClaimWithoutConsumer" Heals "its volume is made when a pod uses it"
    CLAIM_LOST "ClaimLost" None "restore the volume, or make the claim again"
    MOUNT_CONFIG_MISSING "MountedConfigMissing" Waits "create the ConfigMap or Secret, or mark the volume optional"
    MOUNT_FAILED "MountFailed" Waits "see the words of the kubelet"
    ATTACH_FAILED "AttachFailed" Waits "look at the VolumeAttachment and the storage driver"
    VOLUME_IN_USE "VolumeInUse" Waits "use the Recreate strategy, or a volume that many nodes can mount"
    SANDBOX_FAILED "SandboxFailed" Waits "repair the network plugin of the node"
    INVALID_IMAGE_NAME "InvalidImageName" None "correct the image; a variable that was not filled in is typical"
    IMAGE_WRONG_ARCHITECTURE "ImageWrongArchitecture" None "build the image for the nodes' architecture, or choose nodes by kubernetes.io/arch"
    IMAGE_AUTH_FAILED "ImageAuthFailed" None "create or repair the pull secret"
    IMAGE_PULL_SECRET_MISSING "ImagePullSecretMissing" Waits "create the Secret that imagePullSecrets names"
    IMAGE_NOT_FOUND "ImageNotFound" None "correct the tag or digest, or push the image"
    IMAGE_THROTTLED "ImageRegistryThrottled" Heals "authenticate pulls, or use a mirror"
    IMAGE_REGISTRY_UNREACHABLE "ImageRegistryUnreachable" Waits "repair the way from the nodes to the registry"
    IMAGE_NEVER_PULLED "ImageNeverPulled" None "load the image onto the nodes, or change imagePullPolicy"
    IMAGE_PULL_FAILED "ImagePullFailed" Waits "see the words of the container runtime"
    CONFIG_MAP_MISSING "ConfigMapMissing" Waits "create the ConfigMap, or mark the reference optional"
    CONFIG_MAP_KEY_MISSING "ConfigMapKeyMissing" Waits "add the key to the ConfigMap, or correct the reference"
    SECRET_MISSING "SecretMissing" Waits "create the Secret, or mark the reference optional"
    SECRET_KEY_MISSING "SecretKeyMissing" Waits "add the key to the Secret, or correct the reference"
    RUN_AS_NON_ROOT "RunAsNonRoot" None "give the image a numeric USER, or set runAsUser"
    CONTAINER_CONFIG "ContainerConfigError" Waits "see the words of the kubelet"
    CONTAINER_CREATE "ContainerCreateError" Waits "see the words of the container runtime"
    COMMAND_NOT_FOUND "CommandNotFound" None "correct command and args, or the image's entrypoint"
    CONTAINER_START "ContainerStartError" None "see the words of the container runtime"
    HOOK_FAILED "PostStartHookFailed" None "correct the postStart hook"
    OOM_KILLED "OutOfMemory" None "raise the memory limit, or use less"
    EXITS_AT_ONCE "ContainerExits" None "keep the process in the foreground, or use a Job"
    CRASHES "ContainerCrashes" Waits "read the last lines of its log"
    LIVENESS_FAILED "LivenessProbeFailed" Waits "correct the probe, give the container more time, or add a startupProbe"
    STARTUP_FAILED "StartupProbeFailed" Waits "raise the probe's failureThreshold, or make the start faster"
    READINESS_FAILED "ReadinessProbeFailed" Heals "correct the probe's path and port, or the application"
    POD_EVICTED "PodEvicted" Waits "set requests and limits to what the pod uses"
    POD_PREEMPTED "PodPreempted" Waits "give the workload a higher PriorityClass, or add nodes"
    NODE_LOST "NodeNotReady" Heals "recover or delete the node"
    POD_DEADLINE "PodDeadlineExceeded" None "raise activeDeadlineSeconds, or make the work shorter"
    PROGRESS_DEADLINE "ProgressDeadlineExceeded" None "see why the pods are not ready"
    JOB_BACKOFF "JobBackoffLimitExceeded" None "read the log of its pods; a failed Job must be deleted or renamed"
    JOB_DEADLINE "JobDeadlineExceeded" None "raise activeDeadlineSeconds, or make the work shorter"
    JOB_POLICY "JobPodFailurePolicy" None "see the exit code; a failed Job must be deleted or renamed"
    JOB_FAILED "JobFailed" None "read the log of its pods; a failed Job must be deleted or renamed"
    NAMES_CONFLICT "DefinitionNamesConflict" None "rename the definition, or remove the one that has the name"
    DEFINITION_REFUSED "DefinitionRefused" None "see the conditions of the definition"
    DELETED "Deleted" None "find out who deletes it, and deploy again"
    STALLED "Stalled" None "see the words of the object's controller"
    NOT_READY "NotReady" Heals "see the words of the object's controller"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique() {
        let mut words: Vec<&str> = ALL.iter().map(|code| code.word).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ALL.len());
    }
}
