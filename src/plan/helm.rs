//! The resource name in a Helm diff: `namespace, name, kind (api)` (`docs/apply.md`, Helm diffs).

/// A resource of a Helm diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelmResource<'a> {
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// Kind of the object.
    pub kind: &'a str,
    /// API group, version, or both.
    pub api: &'a str,
}

impl<'a> HelmResource<'a> {
    /// Parses a key. Returns `None` if a part is missing or anything follows the last one.
    ///
    /// ```
    /// use nuon_runner::plan::helm::HelmResource;
    /// let web = HelmResource::parse_key("shop, web, Deployment (apps)").unwrap();
    /// assert_eq!((web.namespace, web.name, web.kind, web.api), ("shop", "web", "Deployment", "apps"));
    /// assert!(HelmResource::parse_key("shop, web, Deployment").is_none());
    /// ```
    pub fn parse_key(key: &'a str) -> Option<Self> {
        let (namespace, rest) = key.split_once(',')?;
        let (name, rest) = rest.split_once(',')?;
        let (kind, rest) = rest.split_once('(')?;
        let api = rest.strip_suffix(')').filter(|api| !api.contains(')'))?;
        if [namespace, name, kind, api].contains(&"") {
            return None;
        }
        Some(Self {
            namespace: namespace.trim(),
            name: name.trim(),
            kind: kind.trim(),
            api: api.trim(),
        })
    }
}
