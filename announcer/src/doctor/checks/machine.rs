//! What a hypervisor or a cloud may keep from the wire, and clocks.

use crate::doctor::{
    facts::{Facts, Machine},
    report::{Finding, Group},
};

const GROUP: Group = Group::Machine;
/// A clock that is corrected by more than this is not one that NTP keeps (it gives up at 500).
const ODD_PPM: f64 = 1_000.0;

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![hypervisor(facts)];
    findings.push(clock_rate(facts));
    findings.extend(clock_source(facts));
    findings
}

/// Others' names in DMI for what they rent out, where a switch that one does not see knows
/// which address is whose, and ARP changes nothing.
const CLOUDS: [&str; 5] =
    ["Amazon EC2", "Google Compute Engine", "DigitalOcean", "Alibaba Cloud", "Hetzner"];

fn hypervisor(facts: &Facts) -> Finding {
    let Machine { vendor, product, is_virtual } = &facts.machine;
    let known: Vec<_> = [vendor, product].into_iter().flatten().map(String::as_str).collect();
    let name = if known.is_empty() { "unknown".to_owned() } else { known.join(" ") };
    let has = |part: &str| name.contains(part);
    let drivers = facts.network.iter().flat_map(|network| network.hooks.values());
    let is_virtio =
        drivers.filter_map(|hooks| hooks.driver.as_deref()).any(|it| it == "virtio_net");
    let what = "hypervisor";
    if CLOUDS.into_iter().any(has) {
        return Finding::warning(
            GROUP,
            what,
            format!("{name}: networks of clouds do not go by ARP"),
            "use the cloud's load balancer, or its floating addresses; on dedicated machines with \
             a switch of your own this is fine",
        );
    }
    if has("VMware") {
        return Finding::hint(
            GROUP,
            what,
            name,
            "if nobody gets answers: NSX SpoofGuard on the segment; port groups need nothing, as \
             the announcer answers with the interface's own MAC",
        );
    }
    if has("Microsoft") {
        return Finding::hint(
            GROUP,
            what,
            name,
            "if nobody gets answers: in Azure ARP changes nothing; Hyper-V needs nothing, as the \
             announcer answers with the interface's own MAC",
        );
    }
    if has("OpenStack") {
        return Finding::hint(
            GROUP,
            what,
            name,
            "port security drops ARP for other addresses than the port's: openstack port set \
             --allowed-address ip-address=VIP PORT, for each node",
        );
    }
    if has("QEMU") || has("KVM") || has("Bochs") || is_virtio {
        return Finding::hint(
            GROUP,
            what,
            format!("{name} (KVM{})", if is_virtio { ", virtio" } else { "" }),
            "if nobody gets answers, look on the host. Proxmox: with firewall=1 on the NIC (qm \
             config VMID) and ipfilter: 1 (/etc/pve/firewall/VMID.fw) only addresses of the \
             IP set ipfilter-net0 pass: add the VIPs there. libvirt: a <filterref> such as \
             clean-traffic (virsh dumpxml)",
        );
    }
    let kind = if *is_virtual { "a virtual machine" } else { "no hypervisor seen" };
    Finding::ok(GROUP, what, format!("{name}: {kind}"))
}

fn clock_rate(facts: &Facts) -> Finding {
    let clock = &facts.clock;
    let what = "clock rate";
    // A fifth: see ownership::timing. Half of it for each of two nodes.
    let margin = margin_ppm(facts);
    let of_set = clock.set_ppm.as_ref().map_or(0.0, |ppm| ppm.abs());
    let worst = clock.measured_ppm.abs().max(of_set);
    let set = match &clock.set_ppm {
        Ok(ppm) => format!("corrected by {ppm:.0} ppm"),
        Err(error) => format!("correction unknown: {error}"),
    };
    let found = format!(
        "{set}, measured {:.0} ppm in {} ms; leases bear {margin:.0} ppm between two nodes",
        clock.measured_ppm, clock.measured_for_ms
    );
    let remedy =
        "see what corrects it: chronyc tracking, adjtimex --print, and the machine's own clock";
    if worst * 2.0 > margin {
        Finding::failure(GROUP, what, found, remedy)
    } else if worst > ODD_PPM {
        Finding::warning(GROUP, what, found, remedy)
    } else {
        Finding::ok(GROUP, what, found)
    }
}

/// D/5 out of D, in parts per million: what two clocks may differ by.
fn margin_ppm(facts: &Facts) -> f64 {
    let lease = std::time::Duration::from_millis(facts.settings.lease_duration_ms.max(1));
    (lease / 5).as_secs_f64() / lease.as_secs_f64() * 1e6
}

fn clock_source(facts: &Facts) -> Option<Finding> {
    let source = facts.clock.source.as_deref()?;
    let what = "clock source";
    Some(match source {
        "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" | "pit" => Finding::warning(
            GROUP,
            what,
            format!("{source}, which takes a microsecond or more to read, for each answered frame"),
            "see `dmesg | grep -i clocksource` for why the better one (tsc, kvm-clock) was given up",
        ),
        _ => Finding::ok(GROUP, what, source),
    })
}
