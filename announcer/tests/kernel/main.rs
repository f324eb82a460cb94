//! Tests that need a kernel and root: the program under BPF_PROG_TEST_RUN, and the
//! data plane on interfaces in network namespaces of their own.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod datapath;
mod detached;
mod inspect;
mod program;
mod responder;
mod segment;
