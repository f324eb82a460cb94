//! Server-side apply: what a manager applied is set, what it no longer applies is removed.
//!
//! Only what managers *apply* is tracked; fields written by update or patch belong to nobody, so
//! that applying over them is no conflict (on the real server it is one, unless forced).

use serde_json::{Map, Value};

use crate::{
    object::Managers,
    patch::{ListKind, child, list_kind, same_item},
    status::{ApiStatus, Cause},
};

/// One step of the way from an object's root to a leaf.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// The item of a keyed list that resembles this one in these fields.
    Item(&'static [&'static str], Value),
    /// The member of a set.
    Member(Value),
}

type Leaf = (Vec<Step>, Value);

/// Merges `config` into `live` on behalf of `manager`; the managers are updated with it.
pub(crate) fn apply(
    live: &mut Value,
    managers: &mut Managers,
    config: &Value,
    manager: &str,
    force: bool,
) -> Result<(), ApiStatus> {
    let config = only_owned(config);
    let leaves = leaves(&config);
    take_over(live, managers, &leaves, manager, force)?;
    let dropped: Vec<Leaf> = managers
        .get(manager)
        .map(self::leaves)
        .unwrap_or_default()
        .into_iter()
        .filter(|(path, _)| !leaves.iter().any(|(kept, _)| kept == path))
        .filter(|(path, _)| {
            let others = managers.iter().filter(|(name, _)| *name != manager);
            !others.into_iter().any(|(_, theirs)| find(theirs, path).is_some())
        })
        .collect();
    for (path, _) in dropped {
        remove_at(live, &path);
    }
    merge_at(live, &config, "");
    managers.insert(manager.to_owned(), config);
    Ok(())
}

/// Refuses leaves that others applied with another value, or takes them from those others.
fn take_over(
    live: &Value,
    managers: &mut Managers,
    leaves: &[Leaf],
    manager: &str,
    force: bool,
) -> Result<(), ApiStatus> {
    let mut causes = Vec::new();
    for (path, wanted) in leaves {
        let found = find(live, path);
        // A map that is applied empty says nothing about what is in it.
        let only_map = is_empty_map(wanted) && found.is_some_and(Value::is_object);
        if matches!(path.last(), Some(Step::Item(..))) || only_map || found == Some(wanted) {
            continue;
        }
        for (other, theirs) in managers.iter_mut().filter(|(name, _)| *name != manager) {
            if find(theirs, path).is_none() {
                continue;
            }
            if force {
                remove_at(theirs, path);
            } else {
                causes.push(Cause {
                    reason: "FieldManagerConflict",
                    field: show(path),
                    message: format!("conflict with {other:?}"),
                });
            }
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiStatus::apply_conflict(causes)) }
}

/// The part of a configuration that can be owned: no identity, no system fields.
fn only_owned(config: &Value) -> Value {
    let mut owned = config.clone();
    if let Some(map) = owned.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    if let Some(metadata) = owned.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| {
            matches!(key.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences")
        });
    }
    owned
}

fn leaves(config: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(config, &mut Vec::new(), "", &mut found);
    found
}

fn collect(value: &Value, steps: &mut Vec<Step>, path: &str, found: &mut Vec<Leaf>) {
    match (value, list_kind(path, false)) {
        (Value::Object(map), _) if !map.is_empty() => {
            for (key, below) in map {
                steps.push(Step::Field(key.clone()));
                collect(below, steps, &child(path, key), found);
                steps.pop();
            }
        }
        (Value::Array(items), ListKind::Keyed(keys)) => {
            for item in items {
                steps.push(Step::Item(keys, item.clone()));
                // An item is owned as such, besides its fields: dropped, it goes with its defaults.
                found.push((steps.clone(), item.clone()));
                collect(item, steps, &child(path, "*"), found);
                steps.pop();
            }
        }
        (Value::Array(items), ListKind::Set) => {
            for item in items {
                steps.push(Step::Member(item.clone()));
                found.push((steps.clone(), item.clone()));
                steps.pop();
            }
        }
        _ => found.push((steps.clone(), value.clone())),
    }
}

fn merge_at(live: &mut Value, config: &Value, path: &str) {
    match (config, list_kind(path, false)) {
        (Value::Object(map), _) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            for (key, below) in map {
                merge_at(&mut live[key.as_str()], below, &child(path, key));
            }
        }
        (Value::Array(items), kind @ (ListKind::Keyed(_) | ListKind::Set)) => {
            if !live.is_array() {
                *live = Value::Array(Vec::new());
            }
            let Some(list) = live.as_array_mut() else { return };
            for item in items {
                let found = list.iter().position(|old| match kind {
                    ListKind::Keyed(keys) => same_item(old, item, keys),
                    _ => old == item,
                });
                match found {
                    Some(at) => merge_at(&mut list[at], item, &child(path, "*")),
                    None => list.push(item.clone()),
                }
            }
        }
        _ => *live = config.clone(),
    }
}

fn find<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |at, step| match step {
        Step::Field(key) => at.get(key),
        Step::Item(keys, like) => at.as_array()?.iter().find(|item| same_item(item, like, keys)),
        Step::Member(like) => at.as_array()?.iter().find(|item| *item == like),
    })
}

/// Removes a leaf, and the maps and lists that it leaves empty.
fn remove_at(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Field(key), Value::Object(map)) => {
            let Some(below) = map.get_mut(key) else { return };
            remove_at(below, rest);
            if rest.is_empty() || is_empty(below) {
                map.remove(key);
            }
        }
        (step, Value::Array(list)) => {
            let found = list.iter().position(|item| match step {
                Step::Item(keys, like) => same_item(item, like, keys),
                Step::Member(like) => item == like,
                Step::Field(_) => false,
            });
            let Some(at) = found else { return };
            remove_at(&mut list[at], rest);
            if rest.is_empty() || is_empty(&list[at]) {
                list.remove(at);
            }
        }
        _ => {}
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn is_empty(value: &Value) -> bool {
    is_empty_map(value) || value.as_array().is_some_and(Vec::is_empty)
}

fn show(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Field(key) => format!(".{key}"),
        Step::Item(keys, item) => {
            let of: Vec<_> = keys.iter().map(|key| format!("{key}={}", item[*key])).collect();
            format!("[{}]", of.join(","))
        }
        Step::Member(item) => format!("[={item}]"),
    };
    path.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_longer_applied_goes() {
        let mut live = json!({"spec": {"kept": 1}});
        let mut managers = Managers::new();
        let first = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": 1}});
        apply(&mut live, &mut managers, &first, "me", false).unwrap();
        let second = json!({"metadata": {"labels": {"b": "2"}}});
        apply(&mut live, &mut managers, &second, "me", false).unwrap();
        assert_eq!(live, json!({"metadata": {"labels": {"b": "2"}}, "spec": {"kept": 1}}));
    }

    #[test]
    fn another_managers_field_needs_force() {
        let mut live = json!({});
        let mut managers = Managers::new();
        let mine = json!({"spec": {"holder": "a"}});
        apply(&mut live, &mut managers, &mine, "a", false).unwrap();
        let theirs = json!({"spec": {"holder": "b"}});
        let refused = apply(&mut live, &mut managers, &theirs, "b", false);
        assert_eq!(refused.map_err(|status| status.code), Err(409));
        apply(&mut live, &mut managers, &theirs, "b", true).unwrap();
        // The first manager lost the field: leaving it out removes nothing.
        apply(&mut live, &mut managers, &json!({}), "a", false).unwrap();
        assert_eq!(live, theirs);
    }

    #[test]
    fn keyed_lists_merge_by_key() {
        let mut live =
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "http"}]}});
        let mut managers = Managers::new();
        let config = json!({"spec": {"ports": [{"port": 443, "name": "https"}]}});
        apply(&mut live, &mut managers, &config, "me", false).unwrap();
        live["spec"]["ports"][1]["nodePort"] = json!(30000);
        assert_eq!(live.pointer("/spec/ports/1/port"), Some(&json!(443)));
        let nothing = json!({"spec": {}});
        apply(&mut live, &mut managers, &nothing, "me", false).unwrap();
        let left = json!([{"port": 80, "protocol": "TCP", "name": "http"}]);
        assert_eq!(live.pointer("/spec/ports"), Some(&left));
    }
}
