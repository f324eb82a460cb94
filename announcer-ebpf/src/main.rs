//! The programs. On any other target than BPF this is an empty binary.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// BPF has an atomic addition and no compare-and-swap, without which core offers no atomics.
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics),
    expect(
        internal_features,
        reason = "the toolchain is pinned, and nothing else adds atomically"
    )
)]

#[cfg(target_arch = "bpf")]
mod program;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
