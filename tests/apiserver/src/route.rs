//! From path and query to what is asked for.

use std::{collections::HashMap, sync::Arc};

use percent_encoding::percent_decode_str;

use crate::registry::{Registry, ResourceKind};

/// What a path means.
#[derive(Debug)]
pub(crate) enum Route {
    Resource(Place),
    /// `/version`, health, discovery: answered as they are.
    Other,
}

/// A resource, or one object of it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Arc<ResourceKind>,
    /// Empty for cluster-scoped kinds; `None` for all namespaces.
    pub(crate) namespace: Option<String>,
    /// Empty for the collection.
    pub(crate) name: String,
    pub(crate) subresource: Option<String>,
}

/// Finds what a path means; `None` where it means nothing here.
pub(crate) fn route(registry: &Registry, path: &str) -> Option<Route> {
    let decoded: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Some(Route::Other),
    };
    let find = |plural: &str| registry.find(group, version, plural).cloned();
    let (kind, namespace, rest) = match rest {
        // The namespace's own paths look like those of objects in it.
        ["namespaces", _, "status" | "finalize"] => (find("namespaces")?, None, &rest[1..]),
        ["namespaces", namespace, plural, rest @ ..] => {
            (find(plural)?, Some((*namespace).to_owned()), rest)
        }
        [plural, rest @ ..] => (find(plural)?, None, rest),
        [] => return None,
    };
    let (name, subresource) = match rest {
        [] => ("", None),
        [name] => (*name, None),
        [name, subresource] => (*name, Some(*subresource)),
        _ => return None,
    };
    let fits = match &namespace {
        Some(_) => kind.namespaced,
        None => !kind.namespaced || name.is_empty(),
    };
    let known = subresource.is_none_or(|subresource| subresource == "status" && kind.status);
    if !fits || !known {
        return None;
    }
    let namespace = if kind.namespaced { namespace } else { Some(String::new()) };
    Some(Route::Resource(Place {
        kind,
        namespace,
        name: name.to_owned(),
        subresource: subresource.map(str::to_owned),
    }))
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decode(key), decode(value)))
                .collect(),
        )
    }

    /// The parameter; empty where there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn is_true(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1")
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Option<(String, Option<String>, String, Option<String>)> {
        match route(&Registry::builtin(), path)? {
            Route::Resource(place) => {
                Some((place.kind.kind.clone(), place.namespace, place.name, place.subresource))
            }
            Route::Other => None,
        }
    }

    #[test]
    fn paths_name_places() {
        let some = |text: &str| Some(text.to_owned());
        let all = |kind: &str, ns: Option<String>, name: &str, sub: Option<String>| {
            Some((kind.to_owned(), ns, name.to_owned(), sub))
        };
        assert_eq!(place("/api/v1/services"), all("Service", None, "", None));
        assert_eq!(place("/api/v1/nodes/a/status"), all("Node", some(""), "a", some("status")));
        assert_eq!(place("/api/v1/namespaces"), all("Namespace", some(""), "", None));
        assert_eq!(place("/api/v1/namespaces/x"), all("Namespace", some(""), "x", None));
        assert_eq!(
            place("/api/v1/namespaces/x/status"),
            all("Namespace", some(""), "x", some("status"))
        );
        assert_eq!(
            place("/apis/coordination.k8s.io/v1/namespaces/x/leases/y"),
            all("Lease", some("x"), "y", None)
        );
        for nothing in [
            "/api/v1/pods",
            "/api/v1/services/y",
            "/api/v1/namespaces/x/nodes/y",
            "/apis/coordination.k8s.io/v1/namespaces/x/leases/y/status",
            "/apis/coordination.k8s.io/v2/leases",
        ] {
            assert_eq!(place(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%20in%20%28b%2Cc%29&watch=1&x=a+b");
        assert_eq!(query.get("labelSelector"), "a in (b,c)");
        assert!(query.is_true("watch"));
        assert_eq!(query.get("x"), "a b");
        assert!(!query.has("y"));
    }
}
