//! Layer-2 segments: a bridge in a namespace of its own, hosts attached by veth
//! pairs, and ports that can be cut in two ways.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    arp::Mac,
    netlink::{Changes, Group},
    netns::NetNs,
};

/// Time for the kernel to bring a port up; it takes milliseconds.
const PORT_UP: Duration = Duration::from_secs(10);

/// One broadcast domain: a learning switch without spanning tree, so that a port
/// forwards from its first moment, and without multicast snooping, so that every
/// port sees every multicast frame.
#[derive(Debug)]
pub struct Segment {
    switch: NetNs,
    ports: usize,
}

/// A host's end of a cable.
#[derive(Clone, Debug)]
pub struct Nic<'a> {
    /// Interface name in the host, at most 15 bytes.
    pub name: &'a str,
    /// Its MAC.
    pub mac: Mac,
    /// Its address and prefix length, if it is to have one.
    pub address: Option<(Ipv4Addr, u8)>,
}

/// A switch port: the other end of a host's cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port(String);

impl Port {
    /// The port's interface in [`Segment::switch`]: what a host sends comes in here, even
    /// what its XDP program sends, which a capture on the host itself does not see.
    pub fn interface(&self) -> &str {
        &self.0
    }
}

/// How a port is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As if the cable was pulled: the host sees its carrier go.
    Carrier,
    /// As if the network behind the first switch failed: frames vanish in both
    /// directions, and the host's interface looks as before.
    Silent,
}

impl Segment {
    /// Makes an empty segment; `label` is what messages call its switch.
    ///
    /// # Errors
    /// As [`NetNs::new`].
    pub fn new(label: &str) -> Result<Self> {
        let switch = NetNs::new(format!("switch {label}"))?;
        switch.ip("link add br0 address 02:00:00:ff:00:01 type bridge \
             stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set br0 up")?;
        for hook in ["arptables", "iptables", "ip6tables"] {
            // Absent without br_netfilter, which serves as well: no firewall in a switch.
            let _ = switch.sysctl(&format!("net/bridge/bridge-nf-call-{hook}"), "0");
        }
        Ok(Self { switch, ports: 0 })
    }

    /// Plugs a new interface of `host` into the switch, and waits until the port
    /// forwards.
    ///
    /// # Errors
    /// The name or address is taken in the host.
    pub fn attach(&mut self, host: &NetNs, nic: &Nic<'_>) -> Result<Port> {
        self.ports += 1;
        let port = Port(format!("port{}", self.ports));
        let (Nic { name, mac, address }, peer) = (nic, &port.0);
        let switch = self.switch.path();
        let mut commands = format!(
            "link add {name} address {mac} type veth peer name {peer} netns {}\n",
            switch.display()
        );
        if let Some((ip, prefix)) = address {
            commands += &format!("address add {ip}/{prefix} dev {name}\n");
        }
        host.ip(&(commands + &format!("link set {name} up\n")))?;
        self.connect(&port)?;
        Ok(port)
    }

    /// Cuts a port. On return no frame passes any more.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn cut(&self, port: &Port, how: Cut) -> Result<()> {
        let name = &port.0;
        self.switch.ip(&match how {
            Cut::Carrier => format!("link set {name} down"),
            // Without a bridge the frames reach a host that has no address.
            Cut::Silent => format!("link set {name} nomaster"),
        })?;
        Ok(())
    }

    /// Undoes [`Self::cut`], and waits until the port forwards.
    ///
    /// # Errors
    /// Those of `ip`, and when the host's end is down.
    pub fn restore(&self, port: &Port) -> Result<()> {
        self.connect(port)
    }

    /// The switch's own namespace.
    pub fn switch(&self) -> &NetNs {
        &self.switch
    }

    fn connect(&self, port: &Port) -> Result<()> {
        let name = &port.0;
        let changes = Changes::subscribe(&self.switch, Group::Links)?;
        self.switch.ip(&format!("link set {name} master br0 up"))?;
        let forwarding = || Ok(self.forwards(port)?.then_some(()));
        match changes.wait(PORT_UP, forwarding)? {
            Some(()) => Ok(()),
            None => bail!("{name} of {:?} does not forward after {PORT_UP:?}", self.switch),
        }
    }

    fn forwards(&self, port: &Port) -> Result<bool> {
        let args = ["-json", "-details", "link", "show", "dev", &port.0];
        let links: Value = serde_json::from_str(&self.switch.tool("ip", &args, "")?)?;
        let state = links.pointer("/0/linkinfo/info_slave_data/state").and_then(Value::as_str);
        Ok(state == Some("forwarding"))
    }
}
