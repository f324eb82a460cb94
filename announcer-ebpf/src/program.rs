//! The programs: one decision, at each hook.

mod frames;
mod kernel;

use announcer_ebpf::{
    ARP_HEADERS, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN,
    TAGGED_ARP_HEADERS, Verdict, verdict,
};
use aya_ebpf::{
    bindings::{
        tcx_action_base::{TCX_DROP, TCX_NEXT},
        xdp_action,
    },
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

use self::{
    frames::{SkbFrame, XdpFrame},
    kernel::Kernel,
};

/// bpf(2) offers its helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Answers ARP requests for the VIPs that this node holds, in the driver.
///
/// Of a frame in several buffers it sees the first, which has all headers of an ARP
/// frame; being ready for more is what drivers ask of a program before they attach it
/// to an interface with jumbo frames.
#[xdp(frags)]
fn announcer_xdp(ctx: XdpContext) -> u32 {
    on_xdp(&ctx)
}

/// The same for generic XDP, and for Linux before 5.18, which loads no program that is
/// ready for frames in several buffers.
#[xdp]
fn announcer_1buf(ctx: XdpContext) -> u32 {
    on_xdp(&ctx)
}

#[inline(always)]
fn on_xdp(ctx: &XdpContext) -> u32 {
    verdict(&mut XdpFrame(ctx), &Kernel(ctx)) as u32
}

/// The same at tcx ingress.
///
/// What is not ours goes on to the next program there, if there is one. A frame that is
/// neither ARP nor IPv4 nor tagged within is never looked into.
#[classifier]
fn announcer_tcx(ctx: TcContext) -> i32 {
    let frame = SkbFrame(&ctx);
    // The kernel has the headers of most frames in one piece, but need not.
    match frame.protocol() {
        // Those of an echo request are as long.
        ETHERTYPE_ARP | ETHERTYPE_IPV4 => frame.pull::<ARP_HEADERS>(),
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => frame.pull::<TAGGED_ARP_HEADERS>(),
        _ => return TCX_NEXT,
    }
    match verdict(&mut SkbFrame(&ctx), &Kernel(&ctx)) {
        Verdict::Drop => TCX_DROP,
        Verdict::Pass => TCX_NEXT,
        Verdict::Transmit => frame.send_back(),
    }
}

/// Passes every frame.
#[xdp]
fn announcer_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The same at tcx ingress.
#[classifier]
fn announcer_next(_ctx: TcContext) -> i32 {
    TCX_NEXT
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked: the verifier would refuse the loop.
    loop {}
}
