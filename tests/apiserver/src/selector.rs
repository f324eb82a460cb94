//! Label and field selectors: which objects a list or a watch is about.

use serde_json::Value;

use crate::{object, registry::ResourceKind, status::ApiStatus};

/// A parsed label selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    GreaterThan(String, i64),
    LessThan(String, i64),
}

/// A label selector that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unable to parse requirement {0:?}: expected key, !key, key=value, key!=value, key in (…), key notin (…), key>n or key<n"
)]
pub struct SelectorError(String);

impl LabelSelector {
    /// Parses the syntax of `kubectl -l`, set-based requirements included.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let requirements = split_requirements(text)
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| parse_requirement(part).ok_or_else(|| SelectorError(part.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether the object's labels satisfy every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(object))
    }

    fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn holds(&self, object: &Value) -> bool {
        let label = |key: &str| object.pointer("/metadata/labels")?.get(key)?.as_str();
        match self {
            Self::In(key, values) => label(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(key, values) => !label(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
            Self::GreaterThan(key, bound) => number(label(key)).is_some_and(|n| n > *bound),
            Self::LessThan(key, bound) => number(label(key)).is_some_and(|n| n < *bound),
        }
    }
}

fn number(label: Option<&str>) -> Option<i64> {
    label?.parse().ok()
}

/// Splits at commas that are not inside parentheses.
fn split_requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_requirement(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Absent(label_key(key)?));
    }
    if let Some(inner) = part.strip_suffix(')') {
        let (head, set) = inner.split_once('(')?;
        let mut words = head.split_whitespace();
        let (key, operator) = (label_key(words.next()?)?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let values = set.split(',').map(label_value).collect::<Option<_>>()?;
        return match operator {
            "in" => Some(Requirement::In(key, values)),
            "notin" => Some(Requirement::NotIn(key, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(label_key(key)?, vec![label_value(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(label_key(key)?, vec![label_value(value)?]));
    }
    if let Some((key, value)) = part.split_once('>') {
        return Some(Requirement::GreaterThan(label_key(key)?, value.trim().parse().ok()?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return Some(Requirement::LessThan(label_key(key)?, value.trim().parse().ok()?));
    }
    Some(Requirement::Exists(label_key(part)?))
}

fn label_key(text: &str) -> Option<String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!text.is_empty() && text.chars().all(legal)).then(|| text.to_owned())
}

fn label_value(text: &str) -> Option<String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().all(legal).then(|| text.to_owned())
}

/// A parsed field selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FieldSelector {
    /// Field path, value, and whether it must be equal (else unequal).
    terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Parses `path=value,path!=value`; refuses fields that the kind cannot be selected by.
    pub(crate) fn parse(kind: &ResourceKind, text: &str) -> Result<Self, ApiStatus> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                (path, value, true)
            } else {
                return Err(ApiStatus::bad_request(format!(
                    "invalid selector: '{part}'; can't understand '{part}'"
                )));
            };
            let known = path == "metadata.name"
                || (path == "metadata.namespace" && kind.namespaced)
                || kind.selectable.contains(&path);
            if !known {
                return Err(ApiStatus::bad_request(format!("field label not supported: {path}")));
            }
            terms.push((path.to_owned(), value.to_owned(), equal));
        }
        Ok(Self { terms })
    }

    fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|(path, wanted, equal)| {
            let found = path.split('.').try_fold(object, |at, key| at.get(key));
            let same = match found {
                Some(Value::String(text)) => text == wanted,
                Some(Value::Bool(flag)) => wanted.parse() == Ok(*flag),
                Some(_) => false,
                // An absent flag counts as false, an absent text as empty.
                None => wanted.is_empty() || (path == "spec.unschedulable" && wanted == "false"),
            };
            same == *equal
        })
    }

    fn required(&self, path: &str) -> Option<&str> {
        let term = self.terms.iter().find(|(field, _, equal)| field == path && *equal)?;
        Some(&term.1)
    }
}

/// What a list or a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    /// Only this namespace; all where `None`.
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selection {
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|ns| object::meta(object, "namespace") == ns)
            && self.labels.matches(object)
            && self.fields.matches(object)
    }

    /// The one name that can match, where the selection names one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// Whether every object of the namespace matches.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.terms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &str, labels: Value) -> bool {
        let parsed = LabelSelector::parse(selector).unwrap();
        parsed.matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn equality_and_sets() {
        let web = || json!({"app": "web", "tier": "front"});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier=front", true),
            ("app!=web", false),
            ("zone!=a", true),
            ("app in (web, db)", true),
            ("app in (db)", false),
            ("app notin (db,cache)", true),
            ("app notin (web)", false),
            ("zone notin (a)", true),
            ("app", true),
            ("zone", false),
            ("!zone", true),
            ("!app", false),
            ("app in (web),!zone,tier", true),
            ("app=", false),
        ] {
            assert_eq!(matches(selector, web()), expected, "{selector}");
        }
    }

    #[test]
    fn order_comparisons() {
        assert!(matches("rank>3", json!({"rank": "4"})));
        assert!(!matches("rank>3", json!({"rank": "3"})));
        assert!(matches("rank<3", json!({"rank": "2"})));
        assert!(!matches("rank<3", json!({"rank": "high"})));
    }

    #[test]
    fn nonsense_is_refused() {
        for selector in ["a in b", "a in (b", "a of (b)", "=x", "a b", "a=b c", "!", "a>b"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }
}
