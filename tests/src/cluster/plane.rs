//! The API server of a cluster: the embedded one, or a real control plane. Both are
//! read and written by the same calls.

use std::time::Duration;

use announcer_apiserver::{
    ApiServer, Audit, CustomResource, GroupResource, LabelSelector, NAMESPACES,
};
use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::NAMESPACE;
use crate::{
    controlplane::{ControlPlane, Pooled},
    lab::Lab,
};

/// Which API server a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plane {
    /// The embedded one, which can be told to misbehave.
    Embedded,
    /// etcd and kube-apiserver, with the shipped manifests.
    Real,
}

/// The API server of one cluster.
#[derive(Debug)]
pub(super) enum Server {
    Embedded(ApiServer),
    Real(Box<Pooled>),
}

impl Server {
    /// A lab with its API server.
    pub(super) fn start(plane: Plane, nodes: u8) -> Result<(Lab, Self)> {
        match plane {
            Plane::Embedded => {
                let lab = Lab::new(nodes)?;
                let server = ApiServer::start(lab.control().listen()?);
                let server = server.context("starting an API server")?;
                let namespace = json!({ "metadata": { "name": NAMESPACE } });
                server.objects().create(&NAMESPACES, "", namespace)?;
                Ok((lab, Self::Embedded(server)))
            }
            Plane::Real => {
                let control = Pooled::take()?;
                let lab = Lab::with_control(nodes, control.ns().clone())?;
                Ok((lab, Self::Real(Box::new(control))))
            }
        }
    }

    pub(super) fn audit(&self) -> &Audit {
        match self {
            Self::Embedded(server) => server.audit(),
            Self::Real(control) => control.audit(),
        }
    }

    pub(super) fn objects(&self) -> Objects<'_> {
        Objects(match self {
            Self::Embedded(server) => Store::Embedded(server.objects()),
            Self::Real(control) => Store::Real(control),
        })
    }
}

/// The objects of a cluster, as an administrator reads and writes them. Namespaces of
/// cluster-scoped kinds are the empty string.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a>(Store<'a>);

#[derive(Clone, Copy, Debug)]
enum Store<'a> {
    Embedded(&'a announcer_apiserver::Objects),
    Real(&'a ControlPlane),
}

impl Objects<'_> {
    /// The object, or `None`.
    ///
    /// # Panics
    /// The API server does not answer: who asks it during an outage is itself wrong.
    #[expect(clippy::panic, reason = "a test that asks a server that is away is itself wrong")]
    pub fn get(&self, of: &GroupResource, namespace: &str, name: &str) -> Option<Value> {
        match self.0 {
            Store::Embedded(objects) => objects.get(of, namespace, name),
            Store::Real(control) => match control.admin().get(of, namespace, name) {
                Ok(found) => found,
                Err(error) => panic!("reading {of} {name}: {error:#}"),
            },
        }
    }

    /// All objects of a kind in a namespace.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn list(&self, of: &GroupResource, namespace: &str) -> Result<Vec<Value>> {
        match self.0 {
            Store::Embedded(objects) => {
                Ok(objects.list(of, Some(namespace), &LabelSelector::default()))
            }
            Store::Real(control) => control.admin().list(of, namespace),
        }
    }

    /// POST. `apiVersion` and `kind` may be left out of the body.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn create(&self, of: &GroupResource, namespace: &str, body: Value) -> Result<Value> {
        match self.0 {
            Store::Embedded(objects) => Ok(objects.create(of, namespace, body)?),
            Store::Real(control) => control.admin().create(of, namespace, body),
        }
    }

    /// Merge patch (RFC 7386).
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn patch(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value> {
        match self.0 {
            Store::Embedded(objects) => Ok(objects.patch(of, namespace, name, patch)?),
            Store::Real(control) => control.admin().patch(of, namespace, name, patch),
        }
    }

    /// Merge patch of `/status`.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn patch_status(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value> {
        match self.0 {
            Store::Embedded(objects) => Ok(objects.patch_status(of, namespace, name, patch)?),
            Store::Real(control) => control.admin().patch_status(of, namespace, name, patch),
        }
    }

    /// Creates the object, or merges the body into the one that is there, its status
    /// included.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn apply(&self, of: &GroupResource, namespace: &str, body: Value) -> Result<Value> {
        match self.0 {
            Store::Embedded(objects) => Ok(objects.apply(of, namespace, body)?),
            Store::Real(control) => control.admin().apply(of, namespace, body),
        }
    }

    /// DELETE.
    ///
    /// # Errors
    /// There is no such object.
    pub fn delete(&self, of: &GroupResource, namespace: &str, name: &str) -> Result<()> {
        match self.0 {
            Store::Embedded(objects) => objects.delete(of, namespace, name).map(drop)?,
            Store::Real(control) => control.admin().delete(of, namespace, name)?,
        }
        Ok(())
    }

    /// Waits until the object (or its absence) satisfies the predicate, which is asked
    /// anew when any object of its kind has changed.
    ///
    /// # Errors
    /// It did not within `within`; the error tells how it was last.
    pub fn wait_for(
        &self,
        of: &GroupResource,
        namespace: &str,
        name: &str,
        predicate: impl FnMut(Option<&Value>) -> bool,
        within: Duration,
    ) -> Result<Option<Value>> {
        match self.0 {
            Store::Embedded(objects) => objects
                .wait_for(of, namespace, name, predicate, within)
                .map_err(|unmet| anyhow!(unmet)),
            Store::Real(control) => {
                control.admin().wait_for(of, namespace, name, predicate, within)
            }
        }
    }

    /// Serves a custom resource from now on.
    ///
    /// # Errors
    /// The API server refuses its definition.
    pub(super) fn register(&self, custom: CustomResource) -> Result<()> {
        match self.0 {
            Store::Embedded(objects) => {
                objects.register(custom);
                Ok(())
            }
            Store::Real(control) => control.define(&custom),
        }
    }
}
