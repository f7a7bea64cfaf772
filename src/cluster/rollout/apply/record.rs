//! What an apply records in the inventory: the intent before the first write, the results after it.

use super::Run;
use crate::cluster::client::ClusterError;
use crate::cluster::fields::ignore::keep_live_values;
use crate::cluster::fields::managed_values::{managed_values, object_hash};
use crate::cluster::health::job;
use crate::cluster::health::job::JobEnd;
use crate::cluster::rollout::inventory::Record;
use crate::cluster::rollout::item::Action;
use crate::cluster::rollout::prune::is_recorded;
use crate::manifest::Object;

impl Run<'_, '_> {
    /// Returns false if the inventory's namespace is part of the set and does not exist yet.
    pub(super) fn may_record_intent(&self) -> bool {
        let Some(inventory) = &self.applied.inventory else {
            return true;
        };
        !self
            .snapshot
            .is_new_namespace(&inventory.component.namespace)
    }

    /// Adds the intended objects to the inventory and writes it, which fails if another deploy of the
    /// component has begun since it was read. An object that will be created
    /// has no UID yet, even if another object has its name.
    pub(super) async fn record_intent(&mut self) -> Result<(), ClusterError> {
        let Some(inventory) = &mut self.applied.inventory else {
            return Ok(());
        };
        for item in &self.applied.items {
            let id = item.object.id();
            let known = inventory.objects.get(&id);
            // A record of an object that is gone says nothing about another one of its name.
            let is_same = |record: &Record| {
                let is_it = |live: &Object| is_recorded(live, record, self.options);
                item.live.is_none_or(is_it)
            };
            let is_known = known.is_some_and(is_same);
            let is_kept = match item.action {
                Action::LeaveUnread => continue,
                _ if self.snapshot.unreadable.contains_key(&id) => true,
                Action::LeaveFinished => true,
                Action::Leave => item.live.is_some(),
                Action::Write { recreate, .. } => item.live.is_some() && !recreate,
            };
            if is_known && is_kept {
                continue;
            }
            // An object that somebody else has created is adopted: the component may release it,
            // but not delete it.
            let adopted = !is_known
                && item
                    .live
                    .is_some_and(|live| !self.options.fields.has_applied(live));
            let record = Record {
                version: item.object.version().to_owned(),
                adopted,
                ..Record::default()
            };
            inventory.objects.insert(id, record);
        }
        let mut actions = self.applied.items.iter().map(|item| &item.action);
        let (served, writer) = (&self.applied.served, self.options.writer());
        if actions.any(|action| matches!(action, Action::Write { .. })) {
            // Written although its objects may be the same: of two deploys at a time, one ends here.
            inventory.begin_deploy();
            return inventory.write(self.api, served, &writer).await;
        }
        inventory.write_if_changed(self.api, served, &writer).await
    }

    /// Records in the inventory the desired and the live state of the objects that we have
    /// applied. For the others, the inventory keeps only the intent.
    pub(super) fn record_results(&mut self) {
        let Some(inventory) = &mut self.applied.inventory else {
            return;
        };
        let fields = &self.options.fields;
        let key = fields.key.as_deref();
        for item in &self.applied.items {
            let outcome = item.outcome.as_ref();
            let outcome = outcome.filter(|outcome| outcome.problem.is_none());
            let Some(now) = outcome.and_then(|outcome| outcome.now.as_ref()) else {
                continue;
            };
            let mut desired = item.object.clone();
            keep_live_values(&mut desired, now, fields);
            let is_secret = desired.is_secret();
            let id = item.object.id();
            let known = inventory.objects.get(&id);
            let uid = now.uid().unwrap_or_default().to_owned();
            let wanted = object_hash(&desired, is_secret, key);
            let was_finished =
                |known: &Record| known.finished && known.uid == uid && known.wanted == wanted;
            let is_recreated = matches!(item.action, Action::Write { recreate: true, .. });
            // Another client has replaced the object while we applied it.
            let was_replaced =
                !is_recreated && item.live.is_some_and(|live| live.uid() != now.uid());
            let record = Record {
                version: now.version().to_owned(),
                adopted: was_replaced || known.is_some_and(|known| known.adopted),
                finished: known.is_some_and(was_finished)
                    || job::end(now) == Some(JobEnd::Complete),
                uid,
                wanted,
                seen: object_hash(&managed_values(item.object, now, fields), is_secret, key),
                superseded: None,
            };
            inventory.objects.insert(id, record);
        }
    }
}
