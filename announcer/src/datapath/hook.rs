//! Where in the network stack the program is attached, and why there.

use std::{fmt, str::FromStr};

use announcer_ebpf::abi;
use clap::{ValueEnum, builder::PossibleValue};

use super::netlink::InterfaceFacts;

/// Which hook the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// Native XDP where the driver has it for real (not on veth, which gives up
    /// segmentation offload for it), else tcx, else generic XDP.
    #[default]
    Auto,
    /// This one, or an error.
    Only(EffectiveHook),
}

/// Not a hook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hook; choose auto, xdp-native, tcx or xdp-generic")]
pub struct HookError(String);

impl FromStr for Hook {
    type Err = HookError;

    fn from_str(s: &str) -> Result<Self, HookError> {
        <Self as ValueEnum>::from_str(s, false).map_err(|_| HookError(s.to_owned()))
    }
}

impl ValueEnum for Hook {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Hook; 4] = [
            Hook::Auto,
            Hook::Only(EffectiveHook::XdpNative),
            Hook::Only(EffectiveHook::Tcx),
            Hook::Only(EffectiveHook::XdpGeneric),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Auto => (
                "auto",
                "Native XDP where the driver really has it (not on veth), else tcx, else generic XDP",
            ),
            Self::Only(hook) => (
                hook.name(),
                match hook {
                    EffectiveHook::XdpNative => "XDP in the driver",
                    EffectiveHook::Tcx => "tcx ingress, in the network stack (Linux 6.6)",
                    EffectiveHook::XdpGeneric => "XDP in the network stack, with any driver",
                },
            ),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(hook) => hook.fmt(f),
        }
    }
}

impl Hook {
    /// The hooks to try, best first.
    pub(crate) fn candidates(self, facts: &InterfaceFacts) -> Vec<EffectiveHook> {
        match self {
            Self::Only(hook) => vec![hook],
            Self::Auto if facts.is_veth() => vec![EffectiveHook::Tcx, EffectiveHook::XdpGeneric],
            Self::Auto => EffectiveHook::ALL.into(),
        }
    }

    /// Whether an attachment that exists, made for `reason`, is what is asked for. With
    /// `auto` one that `auto` has chosen is kept though there may be a better one by now:
    /// each try of native XDP can reset the link.
    pub(crate) fn is_served_by(
        self,
        attached: EffectiveHook,
        reason: Reason,
        facts: &InterfaceFacts,
    ) -> bool {
        let candidates = self.candidates(facts);
        candidates.first() == Some(&attached)
            || reason.has(Reason::CHOSEN) && candidates.contains(&attached)
    }
}

/// The hook that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectiveHook {
    /// XDP in the driver.
    XdpNative,
    /// tcx ingress (Linux 6.6): in the network stack, after packet sockets and before
    /// everything else.
    Tcx,
    /// XDP in the network stack, before anything else sees the frame. Any driver.
    XdpGeneric,
}

impl EffectiveHook {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::XdpNative, Self::Tcx, Self::XdpGeneric];

    /// What the hook costs each received frame that is nobody's business here, program
    /// included: CPU time of 60-octet TCP frames on veth beyond those without any program,
    /// as `cargo xtask bench datapath` measured it on one machine. Other drivers differ.
    pub const fn known_cost(self) -> &'static str {
        match self {
            Self::XdpNative => "depends on the driver; measured on veth 180 ns a frame",
            Self::Tcx => "measured on veth 33 ns a frame",
            Self::XdpGeneric => "measured on veth 60 ns a small frame, up to 250 ns a large one",
        }
    }

    pub(crate) const fn is_xdp(self) -> bool {
        matches!(self, Self::XdpNative | Self::XdpGeneric)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::Tcx => "tcx",
            Self::XdpGeneric => "xdp-generic",
        }
    }
}

impl fmt::Display for EffectiveHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a hook is in use: it was asked for, or was chosen, and what stood in the way of
/// better ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reason(u32);

impl Reason {
    /// The operator named it.
    pub const ASKED_FOR: Self = Self(abi::ASKED_FOR);
    /// It is the best that could be had.
    pub const CHOSEN: Self = Self(abi::CHOSEN);
    /// Native XDP would have done more harm than good.
    pub const NATIVE_UNWISE: Self = Self(abi::NATIVE_UNWISE);
    /// The driver refused native XDP.
    pub const NATIVE_REFUSED: Self = Self(abi::NATIVE_REFUSED);
    /// The kernel has no tcx.
    pub const NO_TCX: Self = Self(abi::NO_TCX);
    /// Somebody else's XDP program was there.
    pub const XDP_OCCUPIED: Self = Self(abi::XDP_OCCUPIED);

    /// What is known before any hook has been tried.
    pub(crate) fn of(hook: Hook, facts: &InterfaceFacts) -> Self {
        match hook {
            Hook::Only(_) => Self::ASKED_FOR,
            Hook::Auto if facts.is_veth() => Self::CHOSEN.and(Self::NATIVE_UNWISE),
            Hook::Auto => Self::CHOSEN,
        }
    }

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `other` is a part of it.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As it is kept in [`abi::InterfaceConfig::flags`].
    pub(crate) const fn flags(self) -> u32 {
        self.0
    }

    /// The inverse of [`Self::flags`].
    pub(crate) const fn from_flags(flags: u32) -> Self {
        Self(flags & abi::REASONS)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has(Self::ASKED_FOR) {
            return f.write_str("asked for with --hook");
        }
        if !self.has(Self::CHOSEN) {
            return f.write_str("not known why");
        }
        f.write_str("the best there is")?;
        let obstacles = [
            (Self::NATIVE_UNWISE, "native XDP costs veth its segmentation offload"),
            (Self::NATIVE_REFUSED, "the driver has no native XDP"),
            (Self::XDP_OCCUPIED, "an XDP program of somebody else is there"),
            (Self::NO_TCX, "tcx needs Linux 6.6"),
        ];
        let known = obstacles.into_iter().filter(|(obstacle, _)| self.has(*obstacle));
        for (i, (_, what)) in known.enumerate() {
            write!(f, "{}{what}", if i == 0 { ": " } else { ", and " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
