//! Watches objects by name. Of strangers in the same namespace nothing is kept: the watch begins at the version
//! at which our objects were written, so that nothing is listed, and events of others are dropped as they come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use kube::core::Request;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::base::backoff::Backoff;
use crate::cluster::client::Api;
use crate::cluster::client::api::Select;
use crate::cluster::client::discovery::{Resource, Served};
use crate::manifest::{Object, ObjectId};

/// Up to so many objects of a kind in a namespace are watched one by one.
const ONE_BY_ONE: usize = 3;

/// Seconds after which a watch is begun anew.
const RENEWED: u32 = 240;

/// How long after that a stream is given up that the server has not ended.
const OVERDUE: Duration = Duration::from_secs(RENEWED as u64 + 10);

/// The longest that the opening of a stream may take.
const OPENING: Duration = Duration::from_secs(30);

/// How often what may be neither watched nor listed is read.
const EACH: Duration = Duration::from_secs(2);

/// A stream that ends sooner has failed.
const SHORTEST: Duration = Duration::from_secs(1);

/// Changes that wait to be looked at.
const QUEUED: usize = 256;

/// What was seen of an object.
pub enum Seen {
    /// It is this now.
    Object(Object),
    /// It is gone.
    Gone(ObjectId),
    /// It cannot be watched, in these words; it is read again and again instead.
    Unwatched(String),
}

/// Watches that end when this is dropped.
pub struct Watches {
    changes: mpsc::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Watches objects, as they were just read or written.
    pub fn begin<'a>(
        api: &Api,
        served: &Served,
        objects: impl Iterator<Item = &'a Object>,
    ) -> Self {
        let (sender, changes) = mpsc::channel(QUEUED);
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
            let size = if objects.len() <= ONE_BY_ONE {
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
                    version: earliest(objects),
                    sender: sender.clone(),
                };
                tasks.spawn(watch.run());
            }
        }
        Self {
            changes,
            _tasks: tasks,
        }
    }

    /// The next change; never, if nothing is watched.
    pub async fn next(&mut self) -> Seen {
        match self.changes.recv().await {
            Some(seen) => seen,
            None => std::future::pending().await,
        }
    }
}

/// The version from which on nothing of these objects is missed.
fn earliest(objects: &[&Object]) -> Option<String> {
    let versions = objects.iter().map(|object| version(object));
    versions
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .min()
        .map(|version| version.to_string())
}

/// Versions of one kind are comparable numbers (KEP-5504).
fn version(object: &Object) -> Option<u64> {
    object.metadata("resourceVersion")?.as_str()?.parse().ok()
}

struct Watch {
    api: Api,
    resource: Resource,
    namespace: String,
    /// The names of the objects, each with the newest version of it that was seen.
    known: BTreeMap<String, Option<u64>>,
    /// Where the watch goes on; none if it has to be found out.
    version: Option<String>,
    sender: mpsc::Sender<Seen>,
}

/// Why a stream of events ended.
enum End {
    /// The server ended it; it is asked for anew.
    Closed,
    /// The version is too old: what is there must be read.
    Expired,
    /// It could not be opened, or broke; what is there must be read.
    Failed(Option<String>),
    /// Nobody listens.
    Unwanted,
}

impl Watch {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut is_told = false;
        loop {
            if self.version.is_none() && !self.read().await {
                return;
            }
            if self.version.is_none() {
                continue;
            }
            let begun = self.api.clock.elapsed();
            match self.follow().await {
                End::Closed if self.api.clock.elapsed() >= begun + SHORTEST => {
                    backoff = Backoff::default()
                }
                End::Closed => self.api.clock.sleep(backoff.next(None)).await,
                End::Expired => self.version = None,
                End::Failed(words) => {
                    if let Some(words) = words.filter(|_| !is_told) {
                        is_told = true;
                        let what = format!(
                            "{} cannot be watched, and are read again and again: {words}",
                            self.place()
                        );
                        if self.sender.send(Seen::Unwatched(what)).await.is_err() {
                            return;
                        }
                    }
                    self.version = None;
                    self.api.clock.sleep(backoff.next(None)).await;
                }
                End::Unwanted => return,
            }
        }
    }

    fn place(&self) -> String {
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

    /// Whether this is newer than what was seen of one of the objects.
    fn is_news(&mut self, object: &Object) -> bool {
        let Some(known) = self.known.get_mut(object.name()) else {
            return false;
        };
        let version = version(object);
        let is_news = known.is_none() || version.is_none() || version > *known;
        if is_news {
            *known = version;
        }
        is_news
    }

    /// Reads all that is watched one by one, where it may not be listed; false if nobody listens.
    async fn read_each(&mut self) -> bool {
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            let seen = match self
                .api
                .get(&self.resource.api, &self.namespace, &name)
                .await
            {
                Ok(Some(object)) if self.is_news(&object) => Seen::Object(object),
                Ok(None) => Seen::Gone(self.id(name)),
                Ok(Some(_)) | Err(_) => continue,
            };
            if self.sender.send(seen).await.is_err() {
                return false;
            }
        }
        !self.sender.is_closed()
    }

    /// Reads all that is watched, page by page; false if nobody listens.
    async fn read(&mut self) -> bool {
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
                    let listens = self.read_each().await;
                    self.api.clock.sleep(EACH).await;
                    return listens;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot read what is watched");
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
                    && self.is_news(&object)
                    && self.sender.send(Seen::Object(object)).await.is_err()
                {
                    return false;
                }
            }
            self.version = Some(page.version);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        for name in missing {
            if self.sender.send(Seen::Gone(self.id(name))).await.is_err() {
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

    /// Follows one stream of events to its end.
    async fn follow(&mut self) -> End {
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        use kube::Resource as _;
        let path = DynamicObject::url_path(&self.resource.api, namespace);
        let params = WatchParams {
            field_selector: Some(self.selector()).filter(|selector| !selector.is_empty()),
            timeout: Some(RENEWED),
            bookmarks: true,
            ..WatchParams::default()
        };
        let version = self.version.clone().unwrap_or_default();
        let Ok(request) = Request::new(path).watch(&params, &version) else {
            return End::Failed(None);
        };
        let clock = self.api.clock.clone();
        let events = match clock
            .timeout(OPENING, self.api.client.request_events::<Value>(request))
            .await
        {
            Ok(Ok(events)) => events,
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return End::Expired,
            Ok(Err(kube::Error::Api(status))) => return End::Failed(Some(status.message.clone())),
            Ok(Err(_)) | Err(_) => return End::Failed(None),
        };
        let mut events = Box::pin(events);
        let end = clock.elapsed() + OVERDUE;
        loop {
            let event = match clock
                .timeout(end.saturating_sub(clock.elapsed()), events.next())
                .await
            {
                Ok(Some(event)) => event,
                Ok(None) => return End::Closed,
                Err(_) => return End::Failed(None),
            };
            let (value, is_gone) = match event {
                Ok(WatchEvent::Added(value) | WatchEvent::Modified(value)) => (value, false),
                Ok(WatchEvent::Deleted(value)) => (value, true),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    self.version = Some(bookmark.metadata.resource_version);
                    continue;
                }
                Ok(WatchEvent::Error(status)) if status.code == 410 => return End::Expired,
                Ok(WatchEvent::Error(_)) | Err(_) => return End::Failed(None),
            };
            let Value::Object(map) = value else { continue };
            let object = Object(map);
            if let Some(version) = object.metadata("resourceVersion").and_then(Value::as_str) {
                self.version = Some(version.to_owned());
            }
            if !self.is_news(&object) {
                continue;
            }
            let seen = if is_gone {
                Seen::Gone(object.id())
            } else {
                Seen::Object(object)
            };
            if self.sender.send(seen).await.is_err() {
                return End::Unwanted;
            }
        }
    }
}
