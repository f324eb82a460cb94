//! Patches: JSON merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch.

use serde_json::{Map, Value};

/// A patch as the client sent it.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    Merge(Value),
    Json(Value),
    Strategic(Value),
    /// Server-side apply.
    Apply {
        config: Value,
        manager: String,
        force: bool,
    },
}

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    let map = as_map(target);
    for (key, change) in changes {
        if change.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Makes the value a JSON object, dropping what else it was.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// How a list at a path is merged; lists not named here are replaced as a whole.
pub(crate) enum ListKind {
    /// Items are maps, told apart by these fields.
    Keyed(&'static [&'static str]),
    /// Items are texts, united.
    Set,
    Atomic,
}

/// The merge keys of the lists of the kinds that are served, by path from the object's root.
pub(crate) fn list_kind(path: &str, strategic: bool) -> ListKind {
    match path {
        "spec.ports" if strategic => ListKind::Keyed(&["port"]),
        "spec.ports" => ListKind::Keyed(&["port", "protocol"]),
        "status.conditions" | "status.addresses" => ListKind::Keyed(&["type"]),
        "metadata.ownerReferences" => ListKind::Keyed(&["uid"]),
        "metadata.finalizers" => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// Strategic merge patch, for the lists of `list_kind` and the directives that kubectl sends.
pub(crate) fn strategic_merge(target: &mut Value, patch: &Value) {
    strategic_at(target, patch, "");
}

fn strategic_at(target: &mut Value, patch: &Value, path: &str) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if changes.get("$patch").is_some_and(|directive| directive == "replace") {
        let mut replacement = changes.clone();
        replacement.retain(|key, _| !key.starts_with('$'));
        *target = Value::Object(replacement);
        return;
    }
    let map = as_map(target);
    for (key, change) in changes {
        let below = child(path, key);
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
            // $setElementOrder and $retainKeys order or prune; neither changes what is merged.
        } else if change.is_null() {
            map.remove(key);
        } else if let Value::Array(items) = change {
            let slot = map.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
            strategic_list(slot, items, &below);
        } else {
            strategic_at(map.entry(key.clone()).or_insert(Value::Null), change, &below);
        }
    }
}

fn strategic_list(slot: &mut Value, items: &[Value], path: &str) {
    let kind = list_kind(path, true);
    let replace = items.iter().any(|item| item.get("$patch").is_some_and(|d| d == "replace"));
    let (Value::Array(list), false) = (&mut *slot, replace) else {
        *slot = items.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
        return;
    };
    match kind {
        ListKind::Atomic => *list = items.to_vec(),
        ListKind::Set => {
            for item in items {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        }
        ListKind::Keyed(keys) => {
            for item in items {
                let found = list.iter().position(|old| same_item(old, item, keys));
                let delete = item.get("$patch").is_some_and(|directive| directive == "delete");
                match found {
                    Some(at) if delete => drop(list.remove(at)),
                    Some(at) => strategic_at(&mut list[at], item, path),
                    None if delete => {}
                    None => list.push(item.clone()),
                }
            }
        }
    }
}

/// Whether two items of a keyed list are the same one. A port's protocol defaults to TCP.
pub(crate) fn same_item(one: &Value, other: &Value, keys: &[&str]) -> bool {
    let field = |item: &Value, key: &str| match item.get(key) {
        None if key == "protocol" => Value::from("TCP"),
        found => found.cloned().unwrap_or_default(),
    };
    keys.iter().all(|key| field(one, key) == field(other, key))
}

pub(crate) fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// RFC 6902; the error says which operation failed.
pub(crate) fn json_patch(target: &mut Value, operations: &Value) -> Result<(), String> {
    let list = operations.as_array().ok_or("a JSON patch is a list of operations")?;
    for operation in list {
        apply_operation(target, operation)
            .ok_or_else(|| format!("the operation {operation} cannot be applied"))?;
    }
    Ok(())
}

fn apply_operation(target: &mut Value, operation: &Value) -> Option<()> {
    let path = operation.get("path")?.as_str()?;
    let from = || operation.get("from").and_then(Value::as_str);
    match operation.get("op")?.as_str()? {
        "add" => add(target, path, operation.get("value")?.clone()),
        "remove" => take(target, path).map(drop),
        "replace" => {
            *target.pointer_mut(path)? = operation.get("value")?.clone();
            Some(())
        }
        "test" => (target.pointer(path)? == operation.get("value")?).then_some(()),
        "copy" => {
            let value = target.pointer(from()?)?.clone();
            add(target, path, value)
        }
        "move" => {
            let value = take(target, from()?)?;
            add(target, path, value)
        }
        _ => None,
    }
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((target.pointer_mut(parent)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *target = value;
        return Some(());
    }
    match parent(target, path)? {
        (Value::Object(map), key) => drop(map.insert(key, value)),
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => {
            let at: usize = key.parse().ok()?;
            if at > list.len() {
                return None;
            }
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(target: &mut Value, path: &str) -> Option<Value> {
    match parent(target, path)? {
        (Value::Object(map), key) => map.remove(&key),
        (Value::Array(list), key) => {
            let at: usize = key.parse().ok()?;
            (at < list.len()).then(|| list.remove(at))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patch_follows_rfc_7386() {
        // The table of appendix A.
        for (mut target, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            merge(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }

    #[test]
    fn strategic_merge_knows_its_lists() {
        let mut node = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "False"},
        ]}});
        let patch = json!({"status": {"$setElementOrder/conditions": [{"type": "Ready"}],
            "conditions": [{"type": "Ready", "status": "False"}]}});
        strategic_merge(&mut node, &patch);
        assert_eq!(
            node,
            json!({"status": {"conditions": [
                {"type": "Ready", "status": "False"},
                {"type": "NetworkUnavailable", "status": "False"},
            ]}})
        );
        let gone = json!({"status": {"conditions": [{"type": "Ready", "$patch": "delete"}]}});
        strategic_merge(&mut node, &gone);
        assert_eq!(node.pointer("/status/conditions/0/type"), Some(&json!("NetworkUnavailable")));
        strategic_merge(&mut node, &json!({"spec": {"taints": [{"key": "a"}]}}));
        strategic_merge(&mut node, &json!({"spec": {"taints": [{"key": "b"}]}}));
        assert_eq!(node.pointer("/spec/taints"), Some(&json!([{"key": "b"}])));
    }

    #[test]
    fn json_patch_operations() {
        let mut object = json!({"metadata": {"labels": {"a/b": "1"}}, "list": [1, 3]});
        let patch = json!([
            {"op": "test", "path": "/metadata/labels/a~1b", "value": "1"},
            {"op": "remove", "path": "/metadata/labels/a~1b"},
            {"op": "add", "path": "/list/1", "value": 2},
            {"op": "add", "path": "/list/-", "value": 4},
            {"op": "replace", "path": "/list/0", "value": 0},
            {"op": "move", "from": "/list/0", "path": "/first"},
        ]);
        json_patch(&mut object, &patch).unwrap();
        assert_eq!(object, json!({"metadata": {"labels": {}}, "list": [2, 3, 4], "first": 0}));
        let failed =
            json_patch(&mut object, &json!([{"op": "test", "path": "/first", "value": 1}]));
        assert!(failed.is_err());
    }
}
