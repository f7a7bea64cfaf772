//! Reads the events of an object, newest last.

use crate::cluster::client::api::Select;
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::manifest::Object;

/// An event of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterEvent {
    pub reason: String,
    pub message: String,
    /// `spec.containers{name}`, for events of containers.
    pub field_path: String,
    pub time: String,
}

impl ClusterEvent {
    /// Parses an event of core/v1. Events of the scheduler keep their times in other fields
    /// (client-go/tools/events).
    pub fn read(object: &Object) -> Self {
        let text = |pointer: &[&str]| {
            let (first, rest) = pointer.split_first()?;
            rest.iter()
                .try_fold(object.0.get(*first)?, |value, member| value.get(*member))?
                .as_str()
                .map(str::to_owned)
        };
        let times: [&[&str]; 4] = [
            &["series", "lastObservedTime"],
            &["lastTimestamp"],
            &["eventTime"],
            &["metadata", "creationTimestamp"],
        ];
        Self {
            reason: text(&["reason"]).unwrap_or_default(),
            message: text(&["message"]).unwrap_or_default(),
            field_path: text(&["involvedObject", "fieldPath"]).unwrap_or_default(),
            time: times.into_iter().find_map(text).unwrap_or_default(),
        }
    }

    /// Returns true if the event is about this container.
    pub fn is_about_container(&self, container: &str) -> bool {
        self.field_path.ends_with(&format!("{{{container}}}"))
    }
}

/// Returns the events of an object, newest last. Includes all types: many failures are reported as
/// `Normal`.
pub async fn of(
    api: &Api,
    served: &ServedKinds,
    object: &Object,
) -> Result<Vec<ClusterEvent>, ClusterError> {
    let Some(uid) = object.uid() else {
        return Ok(Vec::new());
    };
    let resource = &served.kind("v1", "Event")?.api;
    let namespace = if object.namespace().is_empty() {
        "default"
    } else {
        object.namespace()
    };
    let fields = format!("involvedObject.uid={uid}");
    let objects = match api
        .page(resource, namespace, &Select::fields(&fields), None)
        .await
    {
        Ok(page) => page.objects,
        // The status alone may be enough for a diagnosis.
        Err(error) if error.is_forbidden() => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut events: Vec<ClusterEvent> = objects.iter().map(ClusterEvent::read).collect();
    events.sort_by(|a, b| a.time.cmp(&b.time));
    Ok(events)
}
