//! The refusals of an API server: `Status` objects with the reasons and codes of kube-apiserver.

use std::fmt;

use serde_json::{Value, json};

use crate::registry::{GroupResource, ResourceKind};

/// Why a request was refused, as kube-apiserver says it (`metav1.Status`).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message} (reason {reason:?}, code {code})")]
pub struct ApiStatus {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, for example `Conflict`. Empty where the real server gives none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// Boxed: an error travels in every result.
    details: Box<Details>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Details {
    group: String,
    kind: String,
    name: String,
    causes: Vec<Cause>,
    retry_after_seconds: Option<u32>,
    /// Lets a client go on with an inconsistent list after its token expired.
    next_page: Option<String>,
}

/// One field that made an object invalid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, …
    pub reason: &'static str,
    /// Path of the field, for example `spec.leaseDurationSeconds`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Cause {
    /// A field that must be there is not.
    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self { reason: "FieldValueRequired", field: field.to_owned(), message }
    }

    /// A field has a value that cannot be.
    pub(crate) fn invalid(field: &str, value: impl fmt::Display, detail: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            field: field.to_owned(),
            message: format!("Invalid value: {value}: {detail}"),
        }
    }

    /// A field that may not be set here.
    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            field: field.to_owned(),
            message: format!("Forbidden: {detail}"),
        }
    }
}

const OPTIMISTIC_LOCK: &str = "the object has been modified; please apply your changes to the \
                               latest version and try again";

impl ApiStatus {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, details: Box::default() }
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.details.group = resource.group().to_owned();
        self.details.kind = resource.plural().to_owned();
        self.details.name = name.to_owned();
        self
    }

    /// 404: no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// 409: an object of that name is there already.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists"))
            .about(resource, name)
    }

    /// 409: a precondition did not hold.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 409: the resourceVersion sent is not the object's.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(resource, name, OPTIMISTIC_LOCK)
    }

    /// 409: server-side apply would take over fields of other managers.
    pub(crate) fn apply_conflict(causes: Vec<Cause>) -> Self {
        let (number, plural) = (causes.len(), if causes.len() == 1 { "" } else { "s" });
        let list: Vec<_> = causes.iter().map(|c| format!("{}: {}", c.message, c.field)).collect();
        let message = format!("Apply failed with {number} conflict{plural}: {}", list.join("; "));
        let mut status = Self::new(409, "Conflict", message);
        status.details.causes = causes;
        status
    }

    /// 422: the object, or what was asked, cannot be.
    pub(crate) fn invalid(kind: &ResourceKind, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_kind(kind.resource.group(), &kind.kind, name, causes)
    }

    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let mut list: Vec<_> =
            causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let text = match list.len() {
            1 => list.remove(0),
            _ => format!("[{}]", list.join(", ")),
        };
        let mut status =
            Self::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {text}"));
        status.details.group = group.to_owned();
        status.details.kind = kind.to_owned();
        status.details.name = name.to_owned();
        status.details.causes = causes;
        status
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    /// 403.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{resource} {name:?} is forbidden: {why}"))
            .about(resource, name)
    }

    /// 410: that resourceVersion is no longer in the history.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message.into())
    }

    pub(crate) fn expired_page(message: impl Into<String>, next_page: String) -> Self {
        let mut status = Self::expired(message);
        status.details.next_page = Some(next_page);
        status
    }

    /// 504: a resourceVersion was asked for that the server has not reached.
    pub(crate) fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut status = Self::new(504, "Timeout", message);
        status.details.retry_after_seconds = Some(1);
        status.details.causes = vec![Cause {
            reason: "ResourceVersionTooLarge",
            field: String::new(),
            message: "Too large resource version".to_owned(),
        }];
        status
    }

    /// 429, with a `Retry-After` header.
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        let message = "the server has received too many requests and has asked us to try again \
                       later";
        let mut status = Self::new(429, "TooManyRequests", message.to_owned());
        status.details.retry_after_seconds = Some(retry_after_seconds);
        status
    }

    /// 405: the resource has no such verb.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message.to_owned())
    }

    /// 406: this server speaks JSON only.
    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(406, "NotAcceptable", message.to_owned())
    }

    /// 415: the body is of a type that this request does not take.
    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 404 for a path that names no resource; the real server answers it in plain text.
    pub(crate) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource".to_owned())
    }

    /// 500 of the storage layer, which gives no reason.
    pub(crate) fn storage(message: &str) -> Self {
        Self::new(500, "", message.to_owned())
    }

    /// A server error (500 to 599), as an overloaded or broken server answers it.
    pub fn server_error(code: u16) -> Self {
        match code {
            503 => Self::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request".to_owned(),
            ),
            504 => {
                let message = "Timeout: request did not complete within the allotted timeout";
                Self::new(504, "Timeout", message.to_owned())
            }
            code => Self { code, ..Self::internal("injected by a test") },
        }
    }

    /// 500.
    pub(crate) fn internal(why: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {why}"))
    }

    /// Seconds that the `Retry-After` header tells the client to wait.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.retry_after_seconds
    }

    /// The `Status` object, as it goes over the wire.
    pub fn to_value(&self) -> Value {
        let details = &self.details;
        let mut metadata = json!({});
        if let Some(token) = &details.next_page {
            metadata["continue"] = json!(token);
        }
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        let mut map = serde_json::Map::new();
        for (key, text) in
            [("group", &details.group), ("kind", &details.kind), ("name", &details.name)]
        {
            if !text.is_empty() {
                map.insert(key.to_owned(), json!(text));
            }
        }
        if !details.causes.is_empty() {
            let causes = details.causes.iter().map(Cause::to_value).collect();
            map.insert("causes".to_owned(), Value::Array(causes));
        }
        if let Some(seconds) = details.retry_after_seconds {
            map.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        if !map.is_empty() {
            value["details"] = Value::Object(map);
        }
        value
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = json!({"reason": self.reason, "message": self.message});
        if !self.field.is_empty() {
            value["field"] = json!(self.field);
        }
        value
    }
}
