//! A lab to look around in.

use announcer_tests::{
    cluster::{Cluster, NAMESPACE, Plane},
    daemon,
    lab::{CLIENT_NIC, Link, UPLINK},
};
use anyhow::Result;

use crate::{interrupt::Interrupts, show::VIP, story::Story};

/// Plugs the crashed node in again, prints commands to try, and waits for Ctrl-C.
pub(crate) fn until_interrupted(
    cluster: &Cluster,
    story: &Story,
    interrupts: &Interrupts,
    crashed: usize,
) -> Result<()> {
    let lab = cluster.lab();
    lab.restore(lab.node(crashed), Link::All)?;
    let client = lab.client().publish("client")?;
    let control = lab.control().ns.publish("control")?;
    let names: Result<Vec<_>> =
        lab.nodes().iter().map(|node| node.ns.publish(&node.name)).collect();
    let names = names?;

    story.part("The lab stays until Ctrl-C; all nodes are plugged in. To try as root, elsewhere:");
    let enter = |name: &str| format!("nsenter --net=/run/netns/{name}");
    let announcer = daemon::binary()?;
    let announcer = announcer.display();
    let client = enter(client.name());
    let mut text = String::new();
    let mut section = |heading: &str, commands: &[String]| {
        text += &format!("\n  # {heading}\n");
        for command in commands {
            text += &format!("  {command}\n");
        }
    };
    section(
        "the client: who answers, is it served, what does it believe",
        &[
            format!("{client} arping -c 3 -I {CLIENT_NIC} {VIP}"),
            format!("{client} curl -sS http://{VIP}/"),
            format!("{client} ip neigh show to {VIP}"),
        ],
    );
    section(
        "the wire, as the client sees it",
        &[format!("{client} tcpdump -eni {CLIENT_NIC} arp")],
    );
    let kubectl = format!("{} {}", enter(control.name()), cluster.kubectl()?);
    section(
        "the API server",
        &[
            format!("{kubectl} get leases -n {NAMESPACE}"),
            format!("{kubectl} get services,nodes"),
            format!("{kubectl} label service web l2announcer.io/announce-"),
        ],
    );
    let each = |command: &str| -> Vec<_> {
        names.iter().map(|name| format!("{} {command}", enter(name.name()))).collect()
    };
    section("what each node answers", &each(&format!("{announcer} status")));
    section(
        "cut a node off, and plug it in again",
        &[
            each(&format!("ip link set {UPLINK} down")).swap_remove(0),
            each(&format!("ip link set {UPLINK} up")).swap_remove(0),
        ],
    );
    let signals = (1..=names.len()).filter_map(|n| {
        let (pid, name) = (cluster.daemon(n).ok()?.pid(), &lab.node(n).name);
        Some(format!("kill -TERM {pid}   # {name}: an orderly end (KILL, STOP, CONT: others)"))
    });
    section("end an announcer", &signals.collect::<Vec<_>>());
    if cluster.plane() == Plane::Real {
        let signal = |(name, pid)| format!("kill -STOP {pid}   # {name}; CONT: it goes on");
        let programs = cluster.control_plane().processes().into_iter().map(signal);
        section("take the control plane away", &programs.collect::<Vec<_>>());
        let ruleset = "inet lab '{ chain c { type filter hook output priority 0; \
                       ip daddr 198.51.100.1 drop; }; }'";
        section(
            "or cut one node off from it, and undo that",
            &[
                each(&format!("nft add table {ruleset}")).swap_remove(0),
                each("nft delete table inet lab").swap_remove(0),
            ],
        );
    }
    story.verbatim(&text);
    interrupts.wait();
    println!();
    story.tell("lab", "is taken down");
    Ok(())
}
