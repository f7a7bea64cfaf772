//! What a diff of Helm calls a resource: `namespace, name, kind (api)` (specification of applying, section 14).

/// A resource of a Helm diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelmResource<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Group, version, or both.
    pub api: &'a str,
}

impl<'a> HelmResource<'a> {
    /// Takes a key apart; none if any part is missing or anything follows.
    ///
    /// ```
    /// use nuon_runner::plan::helm::HelmResource;
    /// let web = HelmResource::of_key("shop, web, Deployment (apps)").unwrap();
    /// assert_eq!((web.namespace, web.name, web.kind, web.api), ("shop", "web", "Deployment", "apps"));
    /// assert!(HelmResource::of_key("shop, web, Deployment").is_none());
    /// ```
    pub fn of_key(key: &'a str) -> Option<Self> {
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
