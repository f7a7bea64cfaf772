//! Diagnoses why a pod was not scheduled, from the message of the condition `PodScheduled`
//! (pkg/scheduler/framework/types.go, `FitError.Error`), which lists the reasons of the scheduler's
//! plugins.

use crate::cluster::health::cause::code;
use crate::cluster::health::cause::code::{CauseCode, Recoverability};
use crate::cluster::health::cause::event::ClusterEvent;

/// Event reasons of the cluster autoscaler and of Karpenter that announce a new node.
const SCALE_UP_REASONS: [&str; 2] = ["TriggeredScaleUp", "Nominated"];

/// Returns the cause for a scheduler message. The cause is recoverable if an autoscaler has
/// announced a node.
pub fn cause(message: &str, events: &[ClusterEvent]) -> CauseCode {
    let code = of(message);
    let is_coming = events
        .iter()
        .any(|event| SCALE_UP_REASONS.contains(&event.reason.as_str()));
    if is_coming && code.recoverability == Recoverability::NeedsOthers {
        CauseCode {
            recoverability: Recoverability::Recovers,
            ..code
        }
    } else {
        code
    }
}

/// Returns the first entry of the table that occurs in the message.
fn of(message: &str) -> CauseCode {
    let table = [
        ("no nodes available to schedule pods", code::NO_NODES),
        ("volume node affinity conflict", code::VOLUME_NODE_CONFLICT),
        ("bound to non-existent persistentvolume", code::CLAIM_LOST),
        (
            "waiting for ephemeral volume controller",
            code::CLAIM_UNBOUND,
        ),
        ("binding volumes", code::CLAIM_UNBOUND),
        ("exceed max volume count", code::INSUFFICIENT_RESOURCES),
        (
            "unbound immediate PersistentVolumeClaims",
            code::CLAIM_UNBOUND,
        ),
        ("scheduling gates", code::SCHEDULING_GATED),
        (
            "didn't match Pod's node affinity/selector",
            code::NODE_AFFINITY,
        ),
        ("plugin(s) [NodeAffinity]", code::NODE_AFFINITY),
        ("didn't match the requested node name", code::NODE_AFFINITY),
        ("Insufficient ", code::INSUFFICIENT_RESOURCES),
        ("Too many pods", code::INSUFFICIENT_RESOURCES),
        ("untolerated taint", code::UNTOLERATED_TAINT),
        ("were unschedulable", code::NODE_CORDONED),
        ("pod topology spread constraints", code::TOPOLOGY_SPREAD),
        ("affinity rules", code::POD_AFFINITY),
        (
            "free ports for the requested pod ports",
            code::HOST_PORT_CONFLICT,
        ),
        ("available persistent volumes to bind", code::CLAIM_UNBOUND),
    ];
    if message.contains("persistentvolumeclaim \"") && message.contains("not found") {
        return code::CLAIM_MISSING;
    }
    let found = table.into_iter().find(|(word, _)| message.contains(word));
    found.map_or(code::UNSCHEDULABLE, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_scheduler_are_told_apart() {
        for (message, code) in [
            ("no nodes available to schedule pods", code::NO_NODES),
            (
                "0/3 nodes are available: 2 Insufficient cpu, 1 Insufficient memory. preemption: \
                 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
                code::INSUFFICIENT_RESOURCES,
            ),
            (
                "0/3 nodes are available: 3 node(s) had untolerated taint(s). preemption: x",
                code::UNTOLERATED_TAINT,
            ),
            (
                "0/3 nodes are available: 3 node(s) had untolerated taint {a: b}.",
                code::UNTOLERATED_TAINT,
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
                code::NODE_AFFINITY,
            ),
            (
                "0/1 nodes are available: 1 node(s) were unschedulable.",
                code::NODE_CORDONED,
            ),
            (
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. \
                 preemption: x",
                code::CLAIM_UNBOUND,
            ),
            (
                "0/1 nodes are available: persistentvolumeclaim \"data\" not found. preemption: x",
                code::CLAIM_MISSING,
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.",
                code::POD_AFFINITY,
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints.",
                code::TOPOLOGY_SPREAD,
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod \
                 ports.",
                code::HOST_PORT_CONFLICT,
            ),
        ] {
            assert_eq!(of(message), code, "{message}");
        }
    }

    #[test]
    fn a_node_that_is_on_its_way_is_waited_for() {
        let message = "0/1 nodes are available: 1 Insufficient cpu.";
        let event = |reason: &str| {
            [ClusterEvent {
                reason: reason.into(),
                ..ClusterEvent::default()
            }]
        };
        assert_eq!(
            cause(message, &event("FailedScheduling")).recoverability,
            Recoverability::NeedsOthers
        );
        assert_eq!(
            cause(message, &event("NotTriggerScaleUp")).recoverability,
            Recoverability::NeedsOthers
        );
        assert_eq!(
            cause(message, &event("TriggeredScaleUp")).recoverability,
            Recoverability::Recovers
        );
        assert_eq!(
            cause(message, &event("Nominated")).recoverability,
            Recoverability::Recovers
        );
    }
}
