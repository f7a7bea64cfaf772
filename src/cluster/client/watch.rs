//! Watches objects by name. A watch starts at the version at which our objects were written, so
//! nothing is listed first. Events of other objects in the namespace are dropped on arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use kube::core::Request;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::base::backoff::Backoff;
use crate::cluster::client::Api;
use crate::cluster::client::api::Select;
use crate::cluster::client::discovery::{RestResource, ServedKinds};
use crate::manifest::{Object, ObjectId};

/// Up to this many objects of a kind and namespace get one watch each.
const MAX_SINGLE_WATCHES: usize = 3;

/// Server-side timeout of a watch, in seconds; it is reopened afterwards.
const WATCH_TIMEOUT_SECONDS: u32 = 240;

/// Client-side timeout of a stream that the server has not ended.
const STREAM_TIMEOUT: Duration = Duration::from_secs(WATCH_TIMEOUT_SECONDS as u64 + 10);

/// Timeout for opening a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Poll interval for objects that may be neither watched nor listed.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// A stream that ends sooner counts as failed, and is reopened with backoff.
const MIN_STREAM_DURATION: Duration = Duration::from_secs(1);

/// Capacity of the channel of updates.
const CHANNEL_CAPACITY: usize = 256;

/// An update from a watch.
pub enum WatchUpdate {
    /// The current state of an object.
    Object(Object),
    /// The object was deleted.
    Deleted(ObjectId),
    /// The objects cannot be watched, with the reason; they are polled instead.
    Unwatched(String),
}

/// A set of watches. Dropping it ends them.
pub struct Watches {
    changes: mpsc::Receiver<WatchUpdate>,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Starts watching objects from the versions just read or written.
    pub fn start<'a>(
        api: &Api,
        served: &ServedKinds,
        objects: impl Iterator<Item = &'a Object>,
    ) -> Self {
        let (sender, changes) = mpsc::channel(CHANNEL_CAPACITY);
        let mut groups: BTreeMap<(String, String, String), Vec<&Object>> = BTreeMap::new();
        for object in objects {
            let key = (
                object.api_version().to_owned(),
                object.kind().to_owned(),
                object.namespace().to_owned(),
            );
            groups.entry(key).or_default().push(object);
        }
        let mut tasks = JoinSet::new();
        for ((_, _, namespace), objects) in groups {
            let Some(resource) = objects
                .first()
                .and_then(|object| served.resource(object).ok())
            else {
                continue;
            };
            let size = if objects.len() <= MAX_SINGLE_WATCHES {
                1
            } else {
                objects.len()
            };
            for objects in objects.chunks(size) {
                let watch = Watch {
                    api: api.clone(),
                    resource: resource.clone(),
                    namespace: namespace.clone(),
                    known: objects
                        .iter()
                        .map(|object| (object.name().to_owned(), version(object)))
                        .collect(),
                    resource_version: lowest_version(objects),
                    sender: sender.clone(),
                };
                tasks.spawn(watch.run().in_current_span());
            }
        }
        Self {
            changes,
            _tasks: tasks,
        }
    }

    /// Waits for the next update; forever if nothing is watched.
    pub async fn next(&mut self) -> WatchUpdate {
        match self.changes.recv().await {
            Some(seen) => seen,
            None => std::future::pending().await,
        }
    }
}

/// Returns the lowest version of these objects, from which a watch misses no change; none if a
/// version is not a number.
fn lowest_version(objects: &[&Object]) -> Option<String> {
    let versions = objects.iter().map(|object| version(object));
    versions
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .min()
        .map(|version| version.to_string())
}

/// Returns the `resourceVersion` as a number. Versions of one kind are comparable (KEP-5504).
fn version(object: &Object) -> Option<u64> {
    object.metadata("resourceVersion")?.as_str()?.parse().ok()
}

struct Watch {
    api: Api,
    resource: RestResource,
    namespace: String,
    /// Names of the objects, with the newest version seen of each.
    known: BTreeMap<String, Option<u64>>,
    /// The version to continue from; none if the objects must be listed first.
    resource_version: Option<String>,
    sender: mpsc::Sender<WatchUpdate>,
}

/// Why a watch stream ended.
enum StreamEnd {
    /// The server ended it normally; it is reopened.
    Closed,
    /// The version is too old; the objects must be listed again.
    Expired,
    /// It could not be opened, or broke; the objects must be listed again. Holds the server's
    /// message if it refused.
    Failed(Option<String>),
    /// The receiver was dropped.
    ReceiverDropped,
}

impl Watch {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut is_reported = false;
        loop {
            if self.resource_version.is_none() && !self.relist().await {
                return;
            }
            if self.resource_version.is_none() {
                continue;
            }
            let started = self.api.clock.elapsed();
            match self.follow_stream().await {
                StreamEnd::Closed if self.api.clock.elapsed() >= started + MIN_STREAM_DURATION => {
                    backoff = Backoff::default()
                }
                StreamEnd::Closed => self.api.clock.sleep(backoff.next(None)).await,
                StreamEnd::Expired => self.resource_version = None,
                StreamEnd::Failed(words) => {
                    if let Some(words) = words.filter(|_| !is_reported) {
                        is_reported = true;
                        let what = format!(
                            "{} cannot be watched and are polled instead: {words}",
                            self.description()
                        );
                        if self
                            .sender
                            .send(WatchUpdate::Unwatched(what))
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                    self.resource_version = None;
                    self.api.clock.sleep(backoff.next(None)).await;
                }
                StreamEnd::ReceiverDropped => return,
            }
        }
    }

    fn description(&self) -> String {
        let plural = &self.resource.api.plural;
        if self.namespace.is_empty() {
            plural.clone()
        } else {
            format!("{plural} in {}", self.namespace)
        }
    }

    fn selector(&self) -> String {
        match self.known.keys().next() {
            Some(name) if self.known.len() == 1 => format!("metadata.name={name}"),
            _ => String::new(),
        }
    }

    /// Returns true if this is one of the watched objects, in a newer version than seen so far, and
    /// records the version.
    fn is_newer(&mut self, object: &Object) -> bool {
        let Some(known) = self.known.get_mut(object.name()) else {
            return false;
        };
        let version = version(object);
        let is_newer = known.is_none() || version.is_none() || version > *known;
        if is_newer {
            *known = version;
        }
        is_newer
    }

    /// Reads the watched objects one by one, because they may not be listed. Returns false if the
    /// receiver was dropped.
    async fn read_one_by_one(&mut self) -> bool {
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            let seen = match self
                .api
                .get(&self.resource.api, &self.namespace, &name)
                .await
            {
                Ok(Some(object)) if self.is_newer(&object) => WatchUpdate::Object(object),
                Ok(None) => WatchUpdate::Deleted(self.id(name)),
                Ok(Some(_)) | Err(_) => continue,
            };
            if self.sender.send(seen).await.is_err() {
                return false;
            }
        }
        !self.sender.is_closed()
    }

    /// Lists the watched objects page by page. Returns false if the receiver was dropped.
    async fn relist(&mut self) -> bool {
        let fields = self.selector();
        let mut missing: BTreeSet<String> = self.known.keys().cloned().collect();
        let mut backoff = Backoff::default();
        let mut next = None;
        loop {
            let select = Select::fields(&fields);
            let page = match self
                .api
                .page(&self.resource.api, &self.namespace, &select, next.take())
                .await
            {
                Ok(page) => page,
                Err(error) if error.is_forbidden() => {
                    let is_received = self.read_one_by_one().await;
                    self.api.clock.sleep(POLL_INTERVAL).await;
                    return is_received;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot list the watched objects");
                    self.api.clock.sleep(backoff.next(None)).await;
                    if self.sender.is_closed() {
                        return false;
                    }
                    continue;
                }
            };
            for object in page.objects {
                let is_ours = missing.remove(object.name());
                if is_ours
                    && self.is_newer(&object)
                    && self.sender.send(WatchUpdate::Object(object)).await.is_err()
                {
                    return false;
                }
            }
            self.resource_version = Some(page.resource_version);
            next = page.continue_token;
            if next.is_none() {
                break;
            }
        }
        for name in missing {
            if self
                .sender
                .send(WatchUpdate::Deleted(self.id(name)))
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }

    fn id(&self, name: String) -> ObjectId {
        let (group, kind) = (
            self.resource.api.group.clone(),
            self.resource.api.kind.clone(),
        );
        ObjectId {
            group,
            kind,
            namespace: self.namespace.clone(),
            name,
        }
    }

    /// Follows one stream of events until it ends.
    // Long: one arm per event of the stream.
    async fn follow_stream(&mut self) -> StreamEnd {
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        use kube::Resource as _;
        let path = DynamicObject::url_path(&self.resource.api, namespace);
        let params = WatchParams {
            field_selector: Some(self.selector()).filter(|selector| !selector.is_empty()),
            timeout: Some(WATCH_TIMEOUT_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let version = self.resource_version.clone().unwrap_or_default();
        let Ok(request) = Request::new(path).watch(&params, &version) else {
            return StreamEnd::Failed(None);
        };
        let clock = self.api.clock.clone();
        let events = match clock
            .timeout(
                OPEN_TIMEOUT,
                self.api.client.request_events::<Value>(request),
            )
            .await
        {
            Ok(Ok(events)) => events,
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return StreamEnd::Expired,
            Ok(Err(kube::Error::Api(status))) => {
                return StreamEnd::Failed(Some(status.message.clone()));
            }
            Ok(Err(_)) | Err(_) => return StreamEnd::Failed(None),
        };
        let mut events = Box::pin(events);
        let end = clock.elapsed() + STREAM_TIMEOUT;
        loop {
            let event = match clock
                .timeout(end.saturating_sub(clock.elapsed()), events.next())
                .await
            {
                Ok(Some(event)) => event,
                Ok(None) => return StreamEnd::Closed,
                Err(_) => return StreamEnd::Failed(None),
            };
            let (value, is_gone) = match event {
                Ok(WatchEvent::Added(value) | WatchEvent::Modified(value)) => (value, false),
                Ok(WatchEvent::Deleted(value)) => (value, true),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    self.resource_version = Some(bookmark.metadata.resource_version);
                    continue;
                }
                Ok(WatchEvent::Error(status)) if status.code == 410 => return StreamEnd::Expired,
                Ok(WatchEvent::Error(_)) | Err(_) => return StreamEnd::Failed(None),
            };
            let Value::Object(map) = value else { continue };
            let object = Object(map);
            if let Some(version) = object.metadata("resourceVersion").and_then(Value::as_str) {
                self.resource_version = Some(version.to_owned());
            }
            if !self.is_newer(&object) {
                continue;
            }
            // The event of a deletion carries the last state, which may not have been sent.
            let gone = is_gone.then(|| WatchUpdate::Deleted(object.id()));
            for update in std::iter::once(WatchUpdate::Object(object)).chain(gone) {
                if self.sender.send(update).await.is_err() {
                    return StreamEnd::ReceiverDropped;
                }
            }
        }
    }
}
