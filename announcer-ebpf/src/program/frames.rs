//! Frames as each hook has them: octets between two pointers that the verifier knows.

use announcer_ebpf::{Frame, Overlay};
use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::bpf_redirect,
    programs::{TcContext, XdpContext},
};

/// A frame in the driver's buffer.
pub(super) struct XdpFrame<'a>(pub(super) &'a XdpContext);

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn overlay<T: Overlay>(&mut self) -> Option<&mut T> {
        // SAFETY: the context's own pointers; the program is the only one to use what is
        // between them while it runs.
        unsafe { overlay(self.0.data(), self.0.data_end()) }
    }

    /// Of the first buffer: what is in others cannot be seen.
    #[inline(always)]
    fn length(&self) -> usize {
        self.0.data_end() - self.0.data()
    }
}

/// A frame in a socket buffer.
pub(super) struct SkbFrame<'a>(pub(super) &'a TcContext);

impl SkbFrame<'_> {
    /// The EtherType, of what is within a tag beside the frame.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the kernel widens 16 bits to a word")]
    pub(super) fn protocol(&self) -> [u8; 2] {
        // The kernel widens the two octets, as they are in memory, to a native word.
        (self.skb().protocol as u16).to_ne_bytes()
    }

    /// Sends it out of the interface that it came in by, with the tag beside it if there is
    /// one, once the program has returned what this returns.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the helper returns TC_ACT_REDIRECT")]
    pub(super) fn send_back(&self) -> i32 {
        // SAFETY: no pointers.
        unsafe { bpf_redirect(self.skb().ifindex, 0) as i32 }
    }

    /// Makes the first `LEN` octets, or all there are, one piece. Pointers into the frame
    /// from before end here.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "headers of some dozen octets")]
    pub(super) fn pull<const LEN: usize>(&self) {
        if self.0.data() + LEN > self.0.data_end() {
            // Should there be no memory, it is taken for a truncated frame, and passes.
            let _ = self.0.pull_data(self.0.len().min(LEN as u32));
        }
    }

    #[inline(always)]
    fn skb(&self) -> &__sk_buff {
        // SAFETY: the context that the kernel gave the program.
        unsafe { &*self.0.as_ptr().cast::<__sk_buff>() }
    }
}

impl Frame for SkbFrame<'_> {
    #[inline(always)]
    fn overlay<T: Overlay>(&mut self) -> Option<&mut T> {
        // SAFETY: the context's own pointers; since the program writes, the kernel has made
        // sure that nobody else uses what is between them.
        unsafe { overlay(self.0.data(), self.0.data_end()) }
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.0.len() as usize
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the kernel widens 16 bits to a word")]
    fn tag_beside(&self) -> Option<u16> {
        (self.skb().vlan_present != 0).then(|| self.skb().vlan_tci as u16)
    }
}

/// # Safety
/// Nobody else uses the octets from `data` to `end` as long as the overlay lives.
#[inline(always)]
unsafe fn overlay<'a, T: Overlay>(data: usize, end: usize) -> Option<&'a mut T> {
    if data + size_of::<T>() > end {
        return None;
    }
    // SAFETY: as many octets lie between the two; `T: Overlay` has alignment 1 and no
    // invalid values.
    Some(unsafe { &mut *(data as *mut T) })
}
