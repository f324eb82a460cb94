//! What is known of a request, and matching requests for faults and for the audit.

use std::fmt;

use crate::registry::GroupResource;

/// What a request asks for, as RBAC rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "these are the verbs of the Kubernetes API, named as there")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// All verbs that change something.
    pub const WRITES: [Self; 5] =
        [Self::Create, Self::Update, Self::Patch, Self::Delete, Self::DeleteCollection];

    /// All verbs.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::DeleteCollection,
    ];

    /// The verb of this name; `None` for what is no verb of resources.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }

    /// The name in RBAC rules, for example `deletecollection`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The bearer token; without one the product name of the User-Agent, else `anonymous`.
    pub client: String,
    /// What is asked for; `get` for paths that are no resources.
    pub verb: Verb,
    /// `None` for paths that are no resources (`/version`, discovery, …).
    pub resource: Option<GroupResource>,
    /// `status`, or `None`.
    pub subresource: Option<String>,
    /// Empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    /// Of the path; for create of the body; for list and watch of a `metadata.name` selector.
    /// Empty where there is none.
    pub name: String,
    /// Path and query as sent.
    pub uri: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NameMatch {
    Exact(String),
    Prefix(String),
}

/// Which requests are meant: each condition that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    client: Option<String>,
    verbs: Option<Vec<Verb>>,
    resource: Option<GroupResource>,
    subresource: Option<Option<String>>,
    namespace: Option<String>,
    name: Option<NameMatch>,
}

impl Match {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of one client.
    #[must_use]
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// Requests of one verb.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        self.verbs([verb])
    }

    /// Requests of any of these verbs.
    #[must_use]
    pub fn verbs(mut self, verbs: impl IntoIterator<Item = Verb>) -> Self {
        self.verbs = Some(verbs.into_iter().collect());
        self
    }

    /// Requests that would change something.
    #[must_use]
    pub fn writes(self) -> Self {
        self.verbs(Verb::WRITES)
    }

    /// Requests about one resource.
    #[must_use]
    pub fn resource(mut self, resource: GroupResource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Requests about a subresource (`Some("status")`), or about none (`None`).
    #[must_use]
    pub fn subresource(mut self, subresource: Option<&str>) -> Self {
        self.subresource = Some(subresource.map(str::to_owned));
        self
    }

    /// Requests in one namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Requests about the object of this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(NameMatch::Exact(name.into()));
        self
    }

    /// Requests about objects whose names start so.
    #[must_use]
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name = Some(NameMatch::Prefix(prefix.into()));
        self
    }

    /// Whether the request is meant.
    pub fn matches(&self, request: &RequestInfo) -> bool {
        self.matches_group(&request.client, request.verb, request.resource.as_ref())
            && self.subresource.as_ref().is_none_or(|wanted| *wanted == request.subresource)
            && self.namespace.as_ref().is_none_or(|wanted| *wanted == request.namespace)
            && match &self.name {
                None => true,
                Some(NameMatch::Exact(name)) => *name == request.name,
                Some(NameMatch::Prefix(prefix)) => request.name.starts_with(prefix.as_str()),
            }
    }

    /// Whether client, verb and resource are meant.
    pub(crate) fn matches_group(
        &self,
        client: &str,
        verb: Verb,
        resource: Option<&GroupResource>,
    ) -> bool {
        self.client.as_deref().is_none_or(|wanted| wanted == client)
            && self.verbs.as_ref().is_none_or(|wanted| wanted.contains(&verb))
            && self.resource.as_ref().is_none_or(|wanted| resource == Some(wanted))
    }

    /// Whether client, verb and resource are all that is asked about.
    pub(crate) fn is_group(&self) -> bool {
        self.subresource.is_none() && self.namespace.is_none() && self.name.is_none()
    }
}
