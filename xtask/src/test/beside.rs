//! What is computed beside tests that wait, at idle priority.

use std::process::Command;

use anyhow::{Result, bail};

use super::{Counts, tally};
use crate::{aside::Aside, fuzz, workspace::Workspace};

/// Tests that compute and never wait, the longest: of the model (`tests/model/explored.rs`).
const COMPUTING: [&str; 2] = ["--test", "model"];
/// All of their names begin so, and no others do.
pub(super) const COMPUTING_TESTS: &str = "explored::";

/// Tests of the image that is shipped (`tests/image/shipped.rs`), which takes minutes to build.
const IMAGE: [&str; 2] = ["--test", "image"];
/// All of their names begin so, and no others do.
pub(super) const IMAGE_TESTS: &str = "shipped::";

/// All of it.
pub(super) struct Beside {
    model: Aside,
    mutations: Aside,
    image: Aside,
    /// What fuzzing starts from, without fuzzing: each input once.
    corpus: Aside,
}

impl Beside {
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        let mut model = workspace.cargo(["test", "--workspace"]);
        model.args(COMPUTING).arg("--").arg(COMPUTING_TESTS);
        let corpus = fuzz::crate_command(workspace, &["test"]);
        Ok(Self {
            model: Aside::start("exploring the model", model)?,
            mutations: Aside::xtask("mutate")?,
            image: Aside::xtask("image")?,
            corpus: Aside::start("the corpus of the fuzz targets", corpus)?,
        })
    }

    /// Waits for all of it, and then runs the tests of the image; `command` makes a command
    /// for the tests of one file. Errors are all told, the first is returned.
    pub(super) fn finish(
        self,
        command: impl Fn(&[&str]) -> Command,
        counts: &mut Counts,
    ) -> Result<()> {
        let shipped = |image: Aside, counts: &mut Counts| -> Result<()> {
            image.finish()?;
            let (result, shipped) = tally(command(&IMAGE).arg(IMAGE_TESTS))?;
            *counts += shipped;
            Ok(result?)
        };
        let image = shipped(self.image, counts);
        let corpus = self.corpus.finish().map(drop);
        let model = explored(self.model, counts);
        let mutations = self.mutations.finish().map(drop);
        image.and(corpus).and(model).and(mutations)
    }
}

/// An error also when there was nothing to explore: elsewhere these tests are skipped.
fn explored(model: Aside, counts: &mut Counts) -> Result<()> {
    let before = counts.ran();
    model.finish()?.lines().for_each(|line| counts.add(line));
    if counts.ran() == before {
        bail!("no test of {COMPUTING:?} is called {COMPUTING_TESTS}…");
    }
    Ok(())
}
