//! Which objects other components have.

use std::collections::BTreeMap;

use crate::manifest::{Object, ObjectId};

/// An entry of another component's inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// Name of the component, with its namespace if that is another one than ours.
    component: String,
    /// UID of the object; empty if the inventory does not record it.
    uid: String,
}

/// The objects that other components have, and their inventories.
#[derive(Debug, Clone, Default)]
pub struct Claims(BTreeMap<ObjectId, Vec<Claim>>);

impl Claims {
    /// Adds an object of a component. `uid` is empty if it is not known.
    pub(super) fn add(&mut self, id: ObjectId, component: &str, uid: String) {
        self.0.entry(id).or_default().push(Claim {
            component: component.to_owned(),
            uid,
        });
    }

    /// Returns the component that has the object with this UID. An entry for an object of the same
    /// name with another UID counts for nothing: that object is gone.
    pub fn holder(&self, id: &ObjectId, uid: Option<&str>) -> Option<&str> {
        let claims = self.0.get(id)?;
        let is_of = |claim: &&Claim| claim.uid.is_empty() || Some(&*claim.uid) == uid;
        claims.iter().find(is_of).map(|claim| &*claim.component)
    }
}

/// An object that is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// The object.
    pub id: ObjectId,
    /// Its UID.
    pub uid: String,
}

impl Takeover {
    /// The takeover of a live object.
    pub(in crate::cluster::rollout) fn of(live: &Object) -> Option<Self> {
        Some(Self {
            id: live.id(),
            uid: live.uid()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_for_an_object_that_is_gone_claims_nothing() {
        let id = |name: &str| ObjectId {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        let mut claims = Claims::default();
        claims.add(id("a"), "old", "gone".into());
        claims.add(id("a"), "web", "now".into());
        claims.add(id("b"), "web", String::new());
        assert_eq!(claims.holder(&id("a"), Some("now")), Some("web"));
        assert_eq!(claims.holder(&id("a"), Some("newer")), None);
        assert_eq!(claims.holder(&id("a"), None), None);
        assert_eq!(claims.holder(&id("b"), Some("any")), Some("web"));
        assert_eq!(claims.holder(&id("c"), Some("now")), None);
    }
}
