//! Label selectors, as people type them on a command line and as objects have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::core::{Expression, Selector, SelectorExt};

/// A label selector that is well-formed. Parsed from kubectl's syntax
/// (`a=b,c!=d,e in (f,g),h notin (i),j,!k`) or taken from an object; the default
/// selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector(Selector);

/// Why a label selector of an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requirement for {key:?}: {why}")]
pub struct RequirementError {
    key: String,
    why: &'static str,
}

impl TryFrom<&meta::LabelSelector> for LabelSelector {
    type Error = RequirementError;

    fn try_from(selector: &meta::LabelSelector) -> Result<Self, RequirementError> {
        let labels = selector.match_labels.iter().flatten().map(|(key, value)| {
            let bad = |why| RequirementError { key: key.clone(), why };
            Ok(Expression::Equal(self::key(key, bad)?, self::value(value, bad)?))
        });
        let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
            let bad = |why| RequirementError { key: requirement.key.clone(), why };
            let key = self::key(&requirement.key, bad)?;
            let given = requirement.values.as_deref().unwrap_or_default();
            let values: BTreeSet<String> =
                given.iter().map(|v| self::value(v, bad)).collect::<Result<_, _>>()?;
            match (requirement.operator.as_str(), values.is_empty()) {
                ("In", false) => Ok(Expression::In(key, values)),
                ("NotIn", false) => Ok(Expression::NotIn(key, values)),
                ("In" | "NotIn", true) => Err(bad("In and NotIn need values")),
                ("Exists", true) => Ok(Expression::Exists(key)),
                ("DoesNotExist", true) => Ok(Expression::DoesNotExist(key)),
                ("Exists" | "DoesNotExist", false) => {
                    Err(bad("Exists and DoesNotExist have no values"))
                }
                _ => Err(bad("the operator must be In, NotIn, Exists or DoesNotExist")),
            }
        });
        labels.chain(expressions).collect::<Result<Selector, _>>().map(Self)
    }
}

/// Why a label selector cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{term:?} is not a label requirement: {why}; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
)]
pub struct SelectorError {
    term: String,
    why: &'static str,
}

impl LabelSelector {
    /// Whether the labels satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }

    /// The requirements that the labels do not satisfy; none if they [match](Self::matches).
    pub fn unmet(&self, labels: &BTreeMap<String, String>) -> Vec<Unmet> {
        let expressions = self.0.clone().into_iter();
        let failed = expressions.filter(|expression| !expression.matches(labels));
        failed.map(|expression| Unmet::new(expression, labels)).collect()
    }
}

/// A requirement of a selector that labels do not satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The requirement, in kubectl's syntax.
    pub requirement: String,
    /// The label that it is about.
    pub key: String,
    /// What the label is; `None`: there is no such label.
    pub has: Option<String>,
    /// A value that would satisfy the requirement; `None`: the label must go.
    pub wants: Option<String>,
}

impl Unmet {
    fn new(expression: Expression, labels: &BTreeMap<String, String>) -> Self {
        let requirement = expression.to_string();
        let (key, wants) = match expression {
            Expression::Equal(key, value) => (key, Some(value)),
            Expression::In(key, values) => (key, values.into_iter().next()),
            Expression::Exists(key) => (key, Some("true".to_owned())),
            Expression::NotEqual(key, _)
            | Expression::NotIn(key, _)
            | Expression::DoesNotExist(key) => (key, None),
        };
        Self { requirement, has: labels.get(&key).cloned(), key, wants }
    }

    /// What `kubectl label` has to be told.
    pub fn edit(&self) -> String {
        match &self.wants {
            Some(value) => format!("{}={value}", self.key),
            None => format!("{}-", self.key),
        }
    }
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.has {
            Some(value) => {
                write!(f, "{} is required, and it has {}={value}", self.requirement, self.key)
            }
            None => write!(f, "{} is required, and it has no label {}", self.requirement, self.key),
        }
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(s: &str) -> Result<Self, SelectorError> {
        terms(s).into_iter().map(requirement).collect::<Result<Selector, _>>().map(Self)
    }
}

/// Splits at commas outside parentheses; an empty text selects everything.
fn terms(s: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0_u32, 0, Vec::new());
    for (at, c) in s.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&s[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !s.trim().is_empty() {
        out.push(&s[start..]);
    }
    out
}

fn requirement(term: &str) -> Result<Expression, SelectorError> {
    let bad = |why| SelectorError { term: term.to_owned(), why };
    let text = term.trim();
    if let Some((key, values)) = text.split_once(" notin ") {
        return Ok(Expression::NotIn(self::key(key, bad)?, set(values, bad)?));
    }
    if let Some((key, values)) = text.split_once(" in ") {
        return Ok(Expression::In(self::key(key, bad)?, set(values, bad)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(self::key(key, bad)?, self::value(value, bad)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(self::key(key, bad)?, self::value(value, bad)?));
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Expression::DoesNotExist(self::key(key, bad)?)),
        None => Ok(Expression::Exists(self::key(text, bad)?)),
    }
}

/// A label key: an optional DNS prefix, `/`, and up to 63 letters, digits, `-_.`.
fn key<E>(text: &str, bad: impl Fn(&'static str) -> E) -> Result<String, E> {
    let text = text.trim();
    let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return Err(bad("the key is empty"));
    }
    if name.len() > 63 || !text.chars().all(|c| word(c) || c == '/') {
        return Err(bad("the key is not a label key"));
    }
    Ok(text.to_owned())
}

fn value<E>(text: &str, bad: impl Fn(&'static str) -> E) -> Result<String, E> {
    let text = text.trim();
    if text.len() > 63 || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(bad("the value is not a label value"));
    }
    Ok(text.to_owned())
}

fn set(
    text: &str,
    bad: impl Fn(&'static str) -> SelectorError + Copy,
) -> Result<BTreeSet<String>, SelectorError> {
    let inner = text.trim().strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let inner = inner.ok_or_else(|| bad("the values must stand in parentheses"))?;
    inner.split(',').map(|v| value(v, bad)).collect()
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_match_as_in_kubectl() {
        let labels = [("app", "web"), ("tier", "front")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect();
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app in (web,db)", true),
            ("app notin (web, db)", false),
            ("app", true),
            ("!app", false),
            ("!gone,app=web,tier in (front)", true),
            ("app=web,tier=back", false),
        ] {
            let selector: LabelSelector = text.parse().expect(text);
            assert_eq!(selector.matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn what_is_unmet_is_named_with_what_would_meet_it() {
        let labels: BTreeMap<_, _> = [("app", "web"), ("tier", "front")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect();
        for (text, edits) in [
            ("app=web,tier in (front,back)", &[][..]),
            ("app=db", &["app=db"]),
            ("zone in (b,a),app", &["zone=a"]),
            ("zone", &["zone=true"]),
            ("app!=web,tier notin (front),!app", &["app-", "tier-", "app-"]),
        ] {
            let selector: LabelSelector = text.parse().expect(text);
            let unmet = selector.unmet(&labels);
            assert_eq!(unmet.is_empty(), selector.matches(&labels), "{text}");
            let told: Vec<_> = unmet.iter().map(Unmet::edit).collect();
            assert_eq!(told, edits, "{text}");
            let mut mended = labels.clone();
            for Unmet { key, wants, .. } in unmet {
                match wants {
                    Some(value) => drop(mended.insert(key, value)),
                    None => drop(mended.remove(&key)),
                }
            }
            assert!(selector.matches(&mended), "{text}");
        }
        let selector: LabelSelector = "app=db,zone".parse().expect("a selector");
        let said: Vec<_> = selector.unmet(&labels).iter().map(ToString::to_string).collect();
        assert!(said[0].contains("app=db") && said[0].contains("app=web"), "{said:?}");
        assert!(said[1].contains("no label zone"), "{said:?}");
    }

    #[test]
    fn selectors_of_objects_are_checked() {
        for (json, expected) in [
            (json!({}), Ok("")),
            (json!({"matchLabels": {"a": "b"}}), Ok("a=b")),
            (expression("In", json!(["x", "y"])), Ok("a in (x,y)")),
            (expression("NotIn", json!(["x"])), Ok("a notin (x)")),
            (expression("Exists", json!(null)), Ok("a")),
            (expression("DoesNotExist", json!([])), Ok("!a")),
            (expression("In", json!([])), Err("need values")),
            (expression("Exists", json!(["x"])), Err("have no values")),
            (expression("Like", json!(["x"])), Err("must be In, NotIn")),
            (expression("In", json!(["x y"])), Err("not a label value")),
            (json!({"matchLabels": {"": "b"}}), Err("key is empty")),
            (json!({"matchLabels": {"a b": "b"}}), Err("not a label key")),
        ] {
            let selector: meta::LabelSelector =
                serde_json::from_value(json.clone()).expect("a selector");
            match (LabelSelector::try_from(&selector), expected) {
                (Ok(selector), Ok(text)) => assert_eq!(selector.to_string(), text, "{json}"),
                (Err(error), Err(why)) => {
                    assert!(error.to_string().contains(why), "{json}: {error}");
                }
                (got, _) => unreachable!("{json}: {got:?}"),
            }
        }
    }

    fn expression(operator: &str, values: serde_json::Value) -> serde_json::Value {
        json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]})
    }

    #[test]
    fn what_is_no_requirement_is_named() {
        for bad in ["=x", "a=b,", "a in b", "a b", "a=b c", "!", "a in (b"] {
            let error = bad.parse::<LabelSelector>().expect_err(bad);
            assert!(error.to_string().contains("is not a label requirement"), "{error}");
        }
    }
}
