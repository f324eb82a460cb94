//! The forwarding that kube-proxy would do: nftables rules that send what arrives
//! for a VIP on to a backend. No node gets the VIP as an address.

use std::net::SocketAddrV4;

use anyhow::Result;

use crate::netns::NetNs;

/// Forwards TCP connections for `vip` (address and port) that reach `node` to
/// `backend`, on this node or another, and lets the answers come back the same way
/// (as `externalTrafficPolicy: Cluster` does). A former rule for `vip` is replaced in
/// one transaction; connections under way stay where they are.
///
/// # Errors
/// nftables missing in the kernel or as a tool.
pub fn forward(node: &NetNs, vip: SocketAddrV4, backend: SocketAddrV4) -> Result<()> {
    let table = table(vip);
    let (ip, port) = (vip.ip(), vip.port());
    let (backend_ip, backend_port) = (backend.ip(), backend.port());
    node.nft(&format!(
        "add table ip {table}
         delete table ip {table}
         table ip {table} {{
            chain prerouting {{
                type nat hook prerouting priority dstnat;
                ip daddr {ip} tcp dport {port} dnat to {backend_ip}:{backend_port}
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                ct original ip daddr {ip} ip daddr {backend_ip} tcp dport {backend_port} masquerade
            }}
         }}\n"
    ))?;
    Ok(())
}

/// Undoes [`forward`].
///
/// # Errors
/// `vip` is not forwarded here.
pub fn stop_forwarding(node: &NetNs, vip: SocketAddrV4) -> Result<()> {
    node.nft(&format!("delete table ip {}\n", table(vip)))?;
    Ok(())
}

fn table(vip: SocketAddrV4) -> String {
    format!("vip_{}_{}", vip.ip().to_string().replace('.', "_"), vip.port())
}
