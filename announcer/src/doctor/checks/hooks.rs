//! Which hook the daemon would take, why, and who else is at it.

use crate::{
    datapath::{
        EffectiveHook, Hook, Reason,
        netlink::{AttachedProgram, InterfaceFacts},
        survey::Hooks,
    },
    doctor::{
        facts::{Facts, Network},
        report::{Finding, Group},
    },
};

const GROUP: Group = Group::Network;

pub(super) fn checks(facts: &Facts, network: &Network, interface: &InterfaceFacts) -> Vec<Finding> {
    let Some(hooks) = network.hooks.get(&interface.index) else { return Vec::new() };
    let mut findings = Vec::new();
    findings.extend(own(hooks, interface));
    findings.push(effective(facts, hooks, interface));
    findings.extend(others(hooks, interface));
    findings
}

/// Where our program is now.
fn own(hooks: &Hooks, interface: &InterfaceFacts) -> Option<Finding> {
    let id = hooks.own_program?;
    let at = match interface.xdp.iter().find(|program| program.id == id) {
        Some(program) => format!("{program}"),
        None => format!("program id {id}, tcx"),
    };
    Some(Finding::ok(GROUP, &*interface.name, format!("the announcer's program is attached: {at}")))
}

fn foreign_xdp<'a>(
    hooks: &'a Hooks,
    interface: &'a InterfaceFacts,
) -> impl Iterator<Item = AttachedProgram> + 'a {
    let is_foreign = |program: &&AttachedProgram| Some(program.id) != hooks.own_program;
    interface.xdp.iter().filter(is_foreign).map(|program| AttachedProgram {
        name: hooks.program_names.get(&program.id).cloned(),
        ..program.clone()
    })
}

/// Whether a hook can be had, as far as that can be known without attaching; else what is
/// in the way.
fn obstacle(hook: EffectiveHook, hooks: &Hooks, interface: &InterfaceFacts) -> Option<Reason> {
    let is_taken = foreign_xdp(hooks, interface).next().is_some();
    match hook {
        EffectiveHook::Tcx if hooks.tcx == Ok(None) => Some(Reason::NO_TCX),
        EffectiveHook::Tcx => None,
        EffectiveHook::XdpNative | EffectiveHook::XdpGeneric if is_taken => {
            Some(Reason::XDP_OCCUPIED)
        }
        EffectiveHook::XdpNative if hooks.offers_native_xdp == Ok(false) => {
            Some(Reason::NATIVE_REFUSED)
        }
        EffectiveHook::XdpNative | EffectiveHook::XdpGeneric => None,
    }
}

fn effective(facts: &Facts, hooks: &Hooks, interface: &InterfaceFacts) -> Finding {
    let name = &*interface.name;
    // What was asked for was parsed before; a file may say anything.
    let Ok(wanted) = facts.settings.hook.parse::<Hook>() else {
        let found = format!("--hook {:?} is none", facts.settings.hook);
        return Finding::failure(GROUP, name, found, "use --hook auto");
    };
    let interface = &InterfaceFacts { driver: hooks.driver.clone(), ..interface.clone() };
    let mut reason = Reason::of(wanted, interface);
    for hook in wanted.candidates(interface) {
        let Some(obstacle) = obstacle(hook, hooks, interface) else {
            return available(hook, wanted, reason, hooks, name);
        };
        reason = reason.and(obstacle);
    }
    let found = match wanted {
        Hook::Only(hook) => format!("{hook} is not to be had here: {}", obstacles(reason)),
        Hook::Auto => format!("there is no hook for the program: {}", obstacles(reason)),
    };
    let remedy = match wanted {
        Hook::Only(_) => "use --hook auto, which takes what there is".to_owned(),
        Hook::Auto => remove_xdp(hooks, interface),
    };
    Finding::failure(GROUP, name, found, remedy)
}

fn available(
    hook: EffectiveHook,
    wanted: Hook,
    reason: Reason,
    hooks: &Hooks,
    name: &str,
) -> Finding {
    let maybe = match (hook, &hooks.offers_native_xdp) {
        (EffectiveHook::XdpNative, Err(_)) => {
            " is tried first (whether the driver has it is known from Linux 6.3 on)"
        }
        _ => "",
    };
    let found = format!("hook {hook}{maybe}: {reason}; {}", hook.known_cost());
    if hook == EffectiveHook::XdpGeneric && wanted == Hook::Auto {
        let hint = "Linux 6.6 has tcx, which costs half of that or less";
        return Finding::hint(GROUP, name, found, hint);
    }
    Finding::ok(GROUP, name, found)
}

fn obstacles(reason: Reason) -> String {
    // "asked for with --hook" says nothing of the obstacle.
    let all = [
        (Reason::XDP_OCCUPIED, "an XDP program of somebody else is there"),
        (Reason::NATIVE_REFUSED, "the driver has no native XDP"),
        (Reason::NO_TCX, "tcx needs Linux 6.6"),
    ];
    let known = all.into_iter().filter(|(obstacle, _)| reason.has(*obstacle));
    known.map(|(_, text)| text).collect::<Vec<_>>().join(", and ")
}

fn remove_xdp(hooks: &Hooks, interface: &InterfaceFacts) -> String {
    let keyword = foreign_xdp(hooks, interface).next().map(|it| it.mode.ip_link_keyword());
    format!(
        "stop whatever attached it (`ip link set dev {} {} off` removes one that was attached \
         without a BPF link), or install Linux 6.6",
        interface.name,
        keyword.unwrap_or("xdp")
    )
}

/// Programs of somebody else: never a failure of their own.
fn others(hooks: &Hooks, interface: &InterfaceFacts) -> Vec<Finding> {
    let name = &*interface.name;
    let mut findings = Vec::new();
    for program in foreign_xdp(hooks, interface) {
        findings.push(Finding::warning(
            GROUP,
            name,
            format!("an XDP program of somebody else sees requests first: {program}"),
            format!(
                "what it keeps is not answered; `bpftool prog show id {}` tells more of it",
                program.id
            ),
        ));
    }
    let described = |id: &u32| {
        let name = hooks.program_names.get(id).map_or("unnamed", |name| name);
        format!("{name} (program id {id})")
    };
    if let Ok(Some(ids)) = &hooks.tcx {
        let own = hooks.own_program.and_then(|own| ids.iter().position(|id| *id == own));
        let before = &ids[..own.unwrap_or(0)];
        let rest = ids.iter().filter(|id| Some(**id) != hooks.own_program && !before.contains(id));
        let rest: Vec<_> = rest.map(described).collect();
        if !before.is_empty() {
            let before: Vec<_> = before.iter().map(described).collect();
            findings.push(Finding::warning(
                GROUP,
                name,
                format!("at tcx, before ours: {}", before.join(", ")),
                "what they keep is not answered; restart the announcer, which goes first",
            ));
        }
        if !rest.is_empty() {
            let rest = rest.join(", ");
            let found = format!("at tcx, {rest}: ours goes first");
            findings.push(Finding::ok(GROUP, name, found));
        }
    }
    if let Ok(filters) = &hooks.tc_filters
        && !filters.is_empty()
    {
        let found = format!("at tc ingress, which comes after tcx and XDP: {}", filters.join(", "));
        findings.push(Finding::ok(GROUP, name, found));
    }
    findings
}
