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

use kube::Client;

use self::{
    chain::Case,
    facts::effective,
    finding::Explanation,
    gather::{GatherError, Gathered},
    overview::Overview,
};
use crate::{
    cli::{ApiArgs, ExplainArgs, SelectionArgs},
    client::{self, ClientError},
};

/// A person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The kubeconfig cannot be used.
    #[error(transparent)]
    Credentials(#[from] ClientError),
    /// The API server does not answer.
    #[error(transparent)]
    Gather(#[from] GatherError),
}

/// Explains one Service or address.
///
/// # Errors
/// There is nobody to ask. Rights that are missing are findings.
pub async fn explain(args: &ExplainArgs) -> Result<Explanation, ExplainError> {
    let client = connect(&args.api).await?;
    let Gathered { objects, mut leases } =
        gather::gather(&client, &args.api.namespace, &args.selection.clone().into()).await?;
    let records = leases.watched().records.clone();
    let effective = effective(records.as_ref(), &args.selection.clone().into());
    let mut case = Case::new(&objects, &effective, &args.api.namespace);
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
    let client = connect(api).await?;
    let flags = flags.clone().into();
    let Gathered { objects, mut leases } = gather::gather(&client, &api.namespace, &flags).await?;
    let records = leases.watched().records.clone();
    let effective = effective(records.as_ref(), &flags);
    let mut case = Case::new(&objects, &effective, &api.namespace);
    while let Some(limit) = overview::undecided(leases.watched()) {
        if !leases.watch_until(limit).await {
            break;
        }
    }
    Ok(Overview::new(&mut case, leases.watched()))
}

async fn connect(api: &ApiArgs) -> Result<Client, ExplainError> {
    Ok(client::connect(api.kubeconfig.as_deref(), PATIENCE).await?)
}
