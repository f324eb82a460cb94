//! Why something is, or is not, announced, and what all nodes do: from any machine with a
//! kubeconfig, by what the API server has. Only read.
//!
//! [`gather`] asks and watches; [`chain`] and [`mod@overview`] judge, purely, with the index
//! that daemons decide by.

pub mod chain;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod overview;
mod remedy;
mod table;

use std::time::Duration;

use self::{
    chain::Case,
    facts::{Given, effective},
    finding::Explanation,
    gather::{GatherError, Gathered},
    overview::Overview,
};
use crate::{
    cli::{ApiArgs, ExplainArgs, SelectionArgs},
    client::{self, ClientError, Server},
    intent::index::Selection,
};

/// A person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The kubeconfig cannot be used.
    #[error("{0}; give --kubeconfig a file that has them")]
    Credentials(#[from] ClientError),
    /// The API server does not answer.
    #[error("{0}; {1}")]
    Gather(GatherError, Box<Server>),
}

/// Explains one Service or address.
///
/// # Errors
/// There is nobody to ask. Rights that are missing are findings.
pub async fn explain(args: &ExplainArgs) -> Result<Explanation, ExplainError> {
    let flags = args.selection.clone().into();
    let Gathered { objects, mut leases } = ask(&args.api, &flags).await?;
    let effective = effective(leases.watched().records.as_ref(), &flags);
    let mut case = Case::new(&objects, &effective, given(&args.api));
    loop {
        let explanation = case.explain(&args.target, leases.watched());
        let Some(limit) = explanation.undecided else { return Ok(explanation) };
        if !leases.watch_until(limit).await {
            return Ok(case.explain(&args.target, leases.watched()));
        }
    }
}

/// What all nodes do, and what becomes of all VIPs.
///
/// # Errors
/// As [`explain`].
pub async fn overview(api: &ApiArgs, flags: &SelectionArgs) -> Result<Overview, ExplainError> {
    let flags = flags.clone().into();
    let Gathered { objects, mut leases } = ask(api, &flags).await?;
    let effective = effective(leases.watched().records.as_ref(), &flags);
    let mut case = Case::new(&objects, &effective, given(api));
    while let Some(limit) = overview::undecided(leases.watched()) {
        if !leases.watch_until(limit).await {
            break;
        }
    }
    Ok(Overview::new(&mut case, leases.watched()))
}

async fn ask(api: &ApiArgs, flags: &Selection) -> Result<Gathered, ExplainError> {
    let (client, server) = client::connect(api.kubeconfig.as_deref(), PATIENCE).await?;
    let gathered = gather::gather(&client, &api.namespace, flags).await;
    gathered.map_err(|error| ExplainError::Gather(error, server.into()))
}

fn given(api: &ApiArgs) -> Given<'_> {
    Given { namespace: &api.namespace, kubeconfig: api.kubeconfig.as_deref() }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
