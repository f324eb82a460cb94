//! A whole lab: nodes and a client on one LAN, a management network with a place
//! for an API server, and a pod on each node.

use std::{
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    arp::Mac,
    netns::{self, NetNs},
    topology::{Cut, Nic, Port, Segment},
};

/// The nodes' uplink.
pub const UPLINK: &str = "ens18";
/// The nodes' interface in the management network.
pub const MANAGEMENT: &str = "mgmt0";
/// The client's interface.
pub const CLIENT_NIC: &str = "eth0";
/// The client's address in the LAN, and everybody's default route.
pub const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The client's MAC.
pub const CLIENT_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0xc1]);
/// The control host's address in the management network.
pub const CONTROL_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// More would run out of the addresses above .100.
const MAX_NODES: u8 = 100;

/// N nodes and a client on one LAN (192.0.2.0/24, TEST-NET-1 of RFC 5737; node N is
/// 192.0.2.(100+N), the client 192.0.2.1; .2 to .100 and .201 to .254 are free for
/// VIPs), and a management network (198.51.100.0/24, TEST-NET-2) that joins the nodes
/// with a control host. Each node has one pod (10.244.N.2), which the other nodes
/// reach over the LAN.
#[derive(Debug)]
pub struct Lab {
    lan: Segment,
    management: Segment,
    nodes: Vec<Node>,
    client: NetNs,
    control: Control,
}

/// A node of a [`Lab`].
#[derive(Debug)]
pub struct Node {
    /// `node-1`, `node-2`, …
    pub name: String,
    /// Its network.
    pub ns: NetNs,
    /// The uplink's MAC: 02:00:00:00:00:0N.
    pub mac: Mac,
    /// Its address in the LAN.
    pub ip: Ipv4Addr,
    /// Its address in the management network.
    pub management_ip: Ipv4Addr,
    /// Its pod's network.
    pub pod: NetNs,
    /// Its pod's address.
    pub pod_ip: Ipv4Addr,
    lan_port: Port,
    management_port: Port,
}

/// The host on the management network where an API server can listen.
#[derive(Debug)]
pub struct Control {
    /// Its network.
    pub ns: NetNs,
}

/// Which of a node's cables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The uplink.
    Lan,
    /// The way to the API server.
    Management,
    /// Both: to everybody else the node is gone.
    All,
}

impl Lab {
    /// Builds a lab of `nodes` nodes (1 to 100), and mounts bpffs where the machine has
    /// not.
    ///
    /// # Errors
    /// Not root, or iproute2 missing; the error says what to do.
    pub fn new(nodes: u8) -> Result<Self> {
        Self::with_control(nodes, NetNs::new("control")?)
    }

    /// The same with this control host, which has nothing plugged into its interface
    /// [`CLIENT_NIC`] yet.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_control(nodes: u8, control: NetNs) -> Result<Self> {
        if !(1..=MAX_NODES).contains(&nodes) {
            bail!("a lab has 1 to {MAX_NODES} nodes, not {nodes}");
        }
        netns::ensure_bpffs()?;
        let mut lan = Segment::new("LAN")?;
        let mut management = Segment::new("management")?;
        let client = NetNs::new("client")?;
        let nic = Nic { name: CLIENT_NIC, mac: CLIENT_MAC, address: Some((CLIENT_IP, 24)) };
        lan.attach(&client, &nic)?;
        let control = Control { ns: control };
        let mac = Mac([0x02, 0, 0, 1, 0, 0xc1]);
        let nic = Nic { name: CLIENT_NIC, mac, address: Some((CONTROL_IP, 24)) };
        management.attach(&control.ns, &nic)?;
        let nodes = (1..=nodes)
            .map(|n| Node::new(n, nodes, &mut lan, &mut management))
            .collect::<Result<_>>()
            .context("building a lab")?;
        Ok(Self { lan, management, nodes, client, control })
    }

    /// The nodes, `node-1` first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node number `n`, counted from 1 as its name is.
    ///
    /// # Panics
    /// There is no such node.
    #[expect(clippy::panic, reason = "a test that asks for it is itself wrong")]
    pub fn node(&self, n: usize) -> &Node {
        let node = n.checked_sub(1).and_then(|i| self.nodes.get(i));
        node.unwrap_or_else(|| panic!("the lab has nodes 1 to {}, not {n}", self.nodes.len()))
    }

    /// The node with this uplink MAC.
    pub fn node_by_mac(&self, mac: Mac) -> Option<&Node> {
        self.nodes.iter().find(|node| node.mac == mac)
    }

    /// The client's network; its interface is [`CLIENT_NIC`].
    pub fn client(&self) -> &NetNs {
        &self.client
    }

    /// The control host.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The LAN, to attach further hosts.
    pub fn lan(&mut self) -> &mut Segment {
        &mut self.lan
    }

    /// The switch of the LAN, and the interface there of the port that `node` is plugged
    /// into: to capture what it sends.
    pub fn lan_port<'a>(&'a self, node: &'a Node) -> (&'a NetNs, &'a str) {
        (self.lan.switch(), node.lan_port.interface())
    }

    /// Cuts `link` of `node`, and returns the instant just before.
    ///
    /// # Errors
    /// Those of [`Segment::cut`].
    pub fn cut(&self, node: &Node, link: Link, how: Cut) -> Result<Instant> {
        let before = Instant::now();
        self.cables(node, link).try_for_each(|(segment, port)| segment.cut(port, how))?;
        Ok(before)
    }

    /// Restores `link` of `node`; on return frames pass again.
    ///
    /// # Errors
    /// Those of [`Segment::restore`].
    pub fn restore(&self, node: &Node, link: Link) -> Result<()> {
        self.cables(node, link).try_for_each(|(segment, port)| segment.restore(port))
    }

    fn cables<'a>(
        &'a self,
        node: &'a Node,
        link: Link,
    ) -> impl Iterator<Item = (&'a Segment, &'a Port)> {
        let lan = (link != Link::Management).then_some((&self.lan, &node.lan_port));
        let management = (link != Link::Lan).then_some((&self.management, &node.management_port));
        lan.into_iter().chain(management)
    }
}

impl Node {
    fn new(n: u8, nodes: u8, lan: &mut Segment, management: &mut Segment) -> Result<Self> {
        let name = node_name(n);
        let ns = NetNs::new(&*name)?;
        let mac = Mac([0x02, 0, 0, 0, 0, n]);
        let ip = lan_ip(n);
        let nic = Nic { name: UPLINK, mac, address: Some((ip, 24)) };
        let lan_port = lan.attach(&ns, &nic)?;
        let management_ip = management_ip(n);
        let mac_2 = Mac([0x02, 0, 0, 1, 0, n]);
        let nic = Nic { name: MANAGEMENT, mac: mac_2, address: Some((management_ip, 24)) };
        let management_port = management.attach(&ns, &nic)?;

        let pod = NetNs::new(format!("pod on {name}"))?;
        let pod_ip = pod_ip(n);
        let gateway = Ipv4Addr::new(10, 244, n, 1);
        let mut commands = format!(
            "link add pods0 address 02:00:00:02:01:{n:02x} type veth \
                 peer name eth0 address 02:00:00:02:00:{n:02x} netns {}\n\
             address add {gateway}/24 dev pods0\n\
             link set pods0 up\n\
             route add default via {CLIENT_IP} dev {UPLINK}\n",
            pod.path().display()
        );
        for other in (1..=nodes).filter(|&other| other != n) {
            commands += &format!("route add 10.244.{other}.0/24 via {}\n", lan_ip(other));
        }
        ns.ip(&commands)?;
        ns.sysctl("net/ipv4/ip_forward", "1")?;
        // In and out by the same wire is how this network is.
        ns.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        ns.sysctl(&format!("net/ipv4/conf/{UPLINK}/send_redirects"), "0")?;
        pod.ip(&format!(
            "address add {pod_ip}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {gateway}\n"
        ))?;
        Ok(Self { name, ns, mac, ip, management_ip, pod, pod_ip, lan_port, management_port })
    }
}

impl Control {
    /// Listens on a free port of the control host's address, which every node reaches.
    ///
    /// # Errors
    /// Those of bind.
    pub fn listen(&self) -> Result<TcpListener> {
        self.ns.run(|| Ok(TcpListener::bind(SocketAddrV4::new(CONTROL_IP, 0))?))
    }
}

/// The name of the host that has this address in the management network.
pub(crate) fn host_by_management_ip(ip: Ipv4Addr) -> Option<String> {
    (1..=MAX_NODES).find(|&n| management_ip(n) == ip).map(node_name)
}

fn node_name(n: u8) -> String {
    format!("node-{n}")
}

const fn management_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 100 + n)
}

const fn lan_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 100 + n)
}

const fn pod_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, n, 2)
}
