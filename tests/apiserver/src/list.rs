//! Lists: consistent, at an exact resourceVersion, and in pages.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::{
    object::{Object, encode},
    objects::{view, view_json},
    registry::{ResourceKind, Rules},
    route::Query,
    selector::Selection,
    status::{ApiStatus, Cause},
    store::{Store, select_in},
    table,
};

/// What of the query says which state is listed, and how much of it.
#[derive(Debug)]
struct ListOptions {
    limit: usize,
    /// Exactly this revision.
    exact: Option<u64>,
    /// Keys up to this one were in earlier pages.
    after: Option<String>,
}

/// The objects of one page.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) version: u64,
    next: Option<String>,
    remaining: Option<usize>,
}

/// A resourceVersion parameter: empty and `0` are no particular one.
pub(crate) fn version(query: &Query) -> Result<Option<u64>, ApiStatus> {
    match query.get("resourceVersion") {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let detail = "strconv.ParseUint: parsing: invalid syntax";
            invalid(Cause::invalid("resourceVersion", json!(text), detail))
        }),
    }
}

pub(crate) fn invalid(cause: Cause) -> ApiStatus {
    ApiStatus::invalid_kind("meta.k8s.io", "ListOptions", "", vec![cause])
}

fn options(store: &Store, query: &Query) -> Result<ListOptions, ApiStatus> {
    let limit = query.get("limit").parse().unwrap_or(0);
    let asked = version(query)?;
    let matching = query.get("resourceVersionMatch");
    let field = "resourceVersionMatch";
    match matching {
        "" | "NotOlderThan" | "Exact" => {}
        other => {
            let message = format!(
                "Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            );
            let reason = "FieldValueNotSupported";
            return Err(invalid(Cause { reason, field: field.to_owned(), message }));
        }
    }
    if !matching.is_empty() && query.get("resourceVersion").is_empty() {
        let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(invalid(Cause::forbidden(field, detail)));
    }
    if matching == "Exact" && asked.is_none() {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        return Err(invalid(Cause::forbidden(field, detail)));
    }
    if let Some(asked) = asked
        && asked > store.version()
    {
        return Err(ApiStatus::too_large_resource_version(asked, store.version()));
    }
    let token = query.get("continue");
    if !token.is_empty() {
        let bad = || ApiStatus::bad_request("continue key is not valid");
        let (at, after) = token.split_once('/').ok_or_else(bad)?;
        let exact = if at == "-1" { None } else { Some(at.parse().map_err(|_| bad())?) };
        return Ok(ListOptions { limit, exact, after: Some(after.to_owned()) });
    }
    // A limit with a resourceVersion has always meant exactly that version.
    let exact = asked.filter(|_| matching == "Exact" || (matching.is_empty() && limit > 0));
    // Lists of "any" version are served whole.
    let any = query.get("resourceVersion") == "0";
    Ok(ListOptions { limit: if any { 0 } else { limit }, exact, after: None })
}

/// Selects the objects of a list.
pub(crate) fn page(
    store: &Store,
    kind: &ResourceKind,
    selection: &Selection,
    query: &Query,
) -> Result<Page, ApiStatus> {
    let options = options(store, query)?;
    let after = options.after.as_deref();
    let Some(version) = options.exact else {
        let objects = store.select(kind.table, selection, after);
        return Ok(cut(objects, store.version(), options.limit, selection));
    };
    let objects: BTreeMap<_, _> = store.snapshot(kind.table, version).map_err(|expired| {
        let Some(after) = after else { return expired };
        let message = "The provided continue parameter is too old to display a consistent list \
                       result. You can start a new list without the continue parameter, or use \
                       the continue token in this response to retrieve the remainder of the \
                       results.";
        ApiStatus::expired_page(message, format!("-1/{after}"))
    })?;
    Ok(cut(select_in(&objects, selection, after), version, options.limit, selection))
}

fn cut<'a>(
    objects: impl Iterator<Item = (&'a str, &'a Arc<Object>)>,
    version: u64,
    limit: usize,
    selection: &Selection,
) -> Page {
    let mut page = Page { objects: Vec::new(), version, next: None, remaining: None };
    let mut objects = objects.peekable();
    let mut last = "";
    while let Some((key, object)) = objects.next_if(|_| limit == 0 || page.objects.len() < limit) {
        last = key;
        page.objects.push(Arc::clone(object));
    }
    if objects.peek().is_some() {
        page.next = Some(format!("{version}/{last}"));
        page.remaining = selection.is_everything().then(|| objects.count());
    }
    page
}

impl Page {
    /// The list as JSON: a Table where that was asked for.
    pub(crate) fn json(&self, kind: &ResourceKind, as_table: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = json!(next);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        if as_table {
            let views: Vec<Value> = self.objects.iter().map(|object| view(kind, object)).collect();
            let mut table = table::table(kind, &views, "", true);
            table["metadata"] = metadata;
            return encode(&table);
        }
        let mut json = BytesMut::new();
        let (list, version) = (&kind.kind, kind.api_version());
        let head = format!(
            "{{\"kind\":\"{list}List\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\
             \"items\":["
        );
        json.extend_from_slice(head.as_bytes());
        for (at, object) in self.objects.iter().enumerate() {
            if at > 0 {
                json.extend_from_slice(b",");
            }
            json.extend_from_slice(&item(kind, object));
        }
        json.extend_from_slice(b"]}\n");
        json.freeze()
    }
}

fn item(kind: &ResourceKind, object: &Object) -> Bytes {
    match kind.rules {
        // Unstructured objects always name their kind.
        Rules::Custom | Rules::EventsV1 => view_json(kind, object),
        _ => object.item_json(),
    }
}
