//! A stored object: one version of it, immutable, encoded at most once.

use std::{collections::BTreeMap, sync::OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What each server-side apply manager last applied.
pub(crate) type Managers = BTreeMap<String, Value>;

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    /// The resourceVersion, also found in the metadata.
    pub(crate) version: u64,
    pub(crate) managers: Managers,
    json: OnceLock<Bytes>,
    item: OnceLock<Bytes>,
}

impl Object {
    pub(crate) fn new(value: Value, version: u64, managers: Managers) -> Self {
        Self { value, version, managers, json: OnceLock::new(), item: OnceLock::new() }
    }

    /// JSON of the object as stored.
    pub(crate) fn json(&self) -> Bytes {
        self.json.get_or_init(|| encode(&self.value)).clone()
    }

    /// JSON of the object as an item of a typed list, which names kind and version only once.
    pub(crate) fn item_json(&self) -> Bytes {
        let make = || {
            let mut value = self.value.clone();
            remove(&mut value, "apiVersion");
            remove(&mut value, "kind");
            encode(&value)
        };
        self.item.get_or_init(make).clone()
    }

    pub(crate) fn uid(&self) -> &str {
        meta(&self.value, "uid")
    }
}

/// JSON of a value.
pub(crate) fn encode(value: &Value) -> Bytes {
    // `Value` has string keys only, so that writing it cannot fail.
    Bytes::from(value.to_string())
}

/// A text field of the metadata; empty where there is none.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// Sets a field of the metadata, or removes it with `Value::Null`.
pub(crate) fn set_meta(object: &mut Value, field: &str, to: Value) {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    let metadata = &mut object["metadata"];
    if to.is_null() {
        remove(metadata, field);
    } else {
        metadata[field] = to;
    }
}

/// Removes a key of a JSON object, if it is one.
pub(crate) fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

/// `metav1.Time`: RFC 3339 in UTC, cut to whole seconds.
pub(crate) fn time(now: Timestamp) -> Value {
    json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}
