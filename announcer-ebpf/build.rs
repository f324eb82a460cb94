//! Arguments for bpf-linker, which generates the code.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("bpf") {
        // Packets are read with 16-, 32- and 64-bit accesses at any address
        // instead of octet by octet. The verifier allows it where the CPU does
        // (x86-64, arm64).
        println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
