//! Attaches the program: at which hook, and who is there already.

use std::{io, os::fd::AsFd as _};

use aya::{Ebpf, programs::loaded_programs};

use super::{
    Options,
    error::DatapathError,
    hook::{EffectiveHook, Hook, Reason},
    link::{self, Link},
    maps::{Maps, Settings},
    netlink::{AttachedProgram, InterfaceFacts},
    object,
    pins::PinDir,
};
use crate::types::MacAddr;

/// A program that is attached, and what remains of the object it came from.
pub(crate) struct Attached {
    pub(crate) ebpf: Ebpf,
    pub(crate) maps: Maps,
    pub(crate) attachment: Attachment,
}

/// A program at its hook.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// Keeps the program attached should somebody remove the pins.
    pub(crate) link: Link,
    pub(crate) hook: EffectiveHook,
    pub(crate) reason: Reason,
}

/// What was attached until now, by ourselves.
pub(crate) struct Former {
    pub(crate) link: Link,
    pub(crate) program_id: u32,
    pub(crate) hook: EffectiveHook,
    pub(crate) reason: Reason,
}

/// A fresh start: maps, what the program must find in them, program, link.
pub(crate) fn create(
    facts: &InterfaceFacts,
    mac: MacAddr,
    pins: &PinDir,
    options: &Options,
) -> Result<Attached, DatapathError> {
    pins.create()?;
    let mut ebpf = object::load(pins, options.max_vips.get(), options.bpf_log)?;
    let mut maps = Maps::take(&mut ebpf)?;
    maps.configure(Settings::new(mac, false, options))?;
    let attachment = attach(&mut ebpf, facts, options.hook, None)?;
    maps.set_reason(attachment.reason)?;
    pins.put_link(&attachment.link)?;
    Ok(Attached { ebpf, maps, attachment })
}

/// Attaches at the best hook that can be had. What was there before is detached only
/// where both cannot be.
pub(crate) fn attach(
    ebpf: &mut Ebpf,
    facts: &InterfaceFacts,
    hook: Hook,
    former: Option<&Former>,
) -> Result<Attachment, DatapathError> {
    let mut reason = Reason::of(hook, facts);
    let mut refused = None;
    for candidate in hook.candidates(facts) {
        let error = match attach_at(ebpf, facts, candidate, former) {
            Ok(link) => {
                return Ok(Attachment { link, hook: candidate, reason });
            }
            Err(error) => error,
        };
        // Where another hook would fail for the same reason, none is tried.
        let Some(obstacle) = obstacle(&error) else { return Err(error) };
        tracing::debug!(interface = facts.name, hook = %candidate, %error, "not available");
        reason = reason.and(obstacle);
        refused = Some(error);
    }
    Err(refused.unwrap_or(DatapathError::Incomplete("hook to try")))
}

fn obstacle(error: &DatapathError) -> Option<Reason> {
    match error {
        DatapathError::ForeignProgram { .. } => Some(Reason::XDP_OCCUPIED),
        DatapathError::HookUnavailable { hook: EffectiveHook::XdpNative, .. } => {
            Some(Reason::NATIVE_REFUSED)
        }
        DatapathError::HookUnavailable { hook: EffectiveHook::Tcx, .. } => Some(Reason::NO_TCX),
        _ => None,
    }
}

fn attach_at(
    ebpf: &mut Ebpf,
    facts: &InterfaceFacts,
    hook: EffectiveHook,
    former: Option<&Former>,
) -> Result<Link, DatapathError> {
    let failed = |source| attach_error(source, facts, hook);
    if hook.is_xdp() {
        refuse_foreign(facts, former.map(|former| former.program_id))?;
    } else {
        // Asked first, for an answer that cannot mean anything else.
        link::tcx_ingress(facts.index).map_err(failed)?;
    }
    let program = object::load_program(ebpf, hook)?;
    // An interface has one XDP program.
    if let Some(former) = former.filter(|former| former.hook.is_xdp() && hook.is_xdp()) {
        former.link.detach().map_err(failed)?;
    }
    Link::attach(program.as_fd(), facts.index, hook).map_err(failed)
}

fn attach_error(source: io::Error, facts: &InterfaceFacts, hook: EffectiveHook) -> DatapathError {
    let interface = facts.name.clone();
    let why = match (source.raw_os_error(), hook) {
        (Some(libc::EPERM), _) => {
            let what = "attaching a BPF program";
            return DatapathError::NotPermitted { what, source: Box::new(source) };
        }
        (Some(libc::ENODEV), _) => return DatapathError::NoSuchInterface(interface),
        (Some(libc::EBUSY | libc::EEXIST), _) | (_, EffectiveHook::XdpGeneric) => {
            return DatapathError::Attach { interface, hook, source };
        }
        (_, EffectiveHook::XdpNative) => {
            format!("its driver is {}", facts.driver.as_deref().unwrap_or("unknown"))
        }
        (Some(libc::EINVAL), EffectiveHook::Tcx) => {
            "that takes Linux 6.6 or later, with CONFIG_NET_XGRESS".to_owned()
        }
        (_, EffectiveHook::Tcx) => return DatapathError::Attach { interface, hook, source },
    };
    DatapathError::HookUnavailable { interface, hook, why, source }
}

/// Refuses an interface that has an XDP program other than `ours`.
pub(crate) fn refuse_foreign(
    facts: &InterfaceFacts,
    ours: Option<u32>,
) -> Result<(), DatapathError> {
    match foreign_xdp(facts, ours).next() {
        None => Ok(()),
        Some(program) => {
            Err(DatapathError::ForeignProgram { interface: facts.name.clone(), program })
        }
    }
}

fn foreign_xdp(
    facts: &InterfaceFacts,
    ours: Option<u32>,
) -> impl Iterator<Item = AttachedProgram> + '_ {
    let foreign = facts.xdp.iter().filter(move |program| Some(program.id) != ours);
    foreign.map(|foreign| AttachedProgram { name: program_name(foreign.id), ..foreign.clone() })
}

pub(crate) fn program_name(id: u32) -> Option<String> {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    program.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Where the program with this id is attached now; `None` when it is not on this interface.
pub(crate) fn hook_of(facts: &InterfaceFacts, program: u32) -> Option<EffectiveHook> {
    let is_at_tcx = || link::tcx_ingress(facts.index).is_ok_and(|ids| ids.contains(&program));
    facts.xdp_hook_of(program).or_else(|| is_at_tcx().then_some(EffectiveHook::Tcx))
}

/// Says in the log who sees frames before our program at tcx does: what they keep, it does
/// not answer.
pub(crate) fn tell_who_is_before(facts: &InterfaceFacts, attachment: &Attachment) {
    for program in foreign_xdp(facts, None) {
        tracing::info!(interface = facts.name, %program,
            "an XDP program of somebody else sees requests first: what it keeps is not answered");
    }
    let Ok(ours) = attachment.link.program_id() else { return };
    let ids = link::tcx_ingress(facts.index).unwrap_or_default();
    for id in ids.into_iter().take_while(|&id| id != ours) {
        let program = program_name(id).unwrap_or_else(|| "unnamed".to_owned());
        tracing::warn!(
            interface = facts.name,
            program,
            id,
            "another program at tcx sees requests first: what it keeps is not answered"
        );
    }
}
