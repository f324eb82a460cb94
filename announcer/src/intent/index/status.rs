//! The status that a policy should have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};

use super::super::rules::RuleError;

/// The one condition that announcers write.
pub const ACCEPTED: &str = "Accepted";

/// What a policy's status should say, and what must hold for writing it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyStatus {
    /// The policy.
    pub name: String,
    /// Its version that this is about: the write is a compare-and-swap on it.
    pub resource_version: String,
    /// `metadata.generation` of that version.
    pub generation: Option<i64>,
    /// Whether the policy is accepted.
    pub accepted: bool,
    /// The condition's reason.
    pub reason: &'static str,
    /// The condition's message.
    pub message: String,
    /// Since when the condition has been what it is to be, if it is already.
    pub since: Option<Time>,
    /// Conditions of others, to be left as they are.
    pub others: Vec<Condition>,
    /// Whether the policy's status says something else.
    pub differs: bool,
}

pub(super) fn desired(
    metadata: &ObjectMeta,
    errors: Option<&Vec<RuleError>>,
    conditions: &[Condition],
) -> PolicyStatus {
    let (reason, message) = match errors.map(Vec::as_slice) {
        None | Some([]) => ("Accepted", "in effect".to_owned()),
        Some(errors @ [first, ..]) => {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            (first.reason(), format!("no effect: {}", all.join("; ")))
        }
    };
    let accepted = errors.is_none_or(Vec::is_empty);
    let stands = |c: &Condition| (c.status == "True") == accepted;
    let says = |c: &Condition| {
        stands(c)
            && c.reason == reason
            && c.message == message
            && c.observed_generation == metadata.generation
    };
    let current = conditions.iter().find(|c| c.type_ == ACCEPTED);
    // Of an object that cannot be read the status cannot be compared, and a write
    // without comparing would follow every write.
    let comparable = !matches!(errors.map(Vec::as_slice), Some([RuleError::Unreadable(_), ..]));
    let differs = comparable && !current.is_some_and(says);
    PolicyStatus {
        name: metadata.name.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation,
        accepted,
        reason,
        message,
        since: current.filter(|c| stands(c)).map(|c| c.last_transition_time.clone()),
        others: conditions.iter().filter(|c| c.type_ != ACCEPTED).cloned().collect(),
        differs,
    }
}
