//! Where to ask for an address: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use crate::{
    datapath::netlink::{InterfaceFacts, Snapshot},
    types::{IfIndex, MacAddr, Vip},
};

/// An interface to ask on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its index.
    pub index: IfIndex,
    /// Its name.
    pub interface: String,
    /// The MAC to ask with.
    pub mac: MacAddr,
}

/// Why an address cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No network has it.
    #[error(
        "{0} lies in no network of this host; give --interface, or run it on a host of that segment"
    )]
    NoNetwork(Vip),
    /// No such interface.
    #[error("there is no interface {0}; `ip link` lists those there are")]
    NoInterface(String),
    /// It does not speak ARP.
    #[error("{0} is not an Ethernet interface that is up: there is no ARP on it; give --interface")]
    Unfit(String),
    /// Nobody hears himself.
    #[error("{0} is an address of this host itself ({1}): run it on another host of the segment")]
    Own(Vip, String),
}

/// The interface named, or the one whose network has the address.
///
/// # Errors
/// [`PlaceError`]: what to do instead.
pub fn find(
    snapshot: &Snapshot,
    own: &BTreeMap<IfIndex, BTreeSet<Ipv4Addr>>,
    vip: Vip,
    interface: Option<&str>,
) -> Result<Place, PlaceError> {
    let facts = match interface {
        Some(name) => {
            let missing = || PlaceError::NoInterface(name.to_owned());
            snapshot.by_name(name).ok_or_else(missing)?
        }
        None => by_network(snapshot, vip).ok_or(PlaceError::NoNetwork(vip))?,
    };
    if own.get(&facts.index).is_some_and(|addresses| addresses.contains(&vip.ip())) {
        return Err(PlaceError::Own(vip, facts.name.clone()));
    }
    let mac = facts.mac.filter(|_| facts.is_ethernet && facts.is_up);
    let mac = mac.ok_or_else(|| PlaceError::Unfit(facts.name.clone()))?;
    Ok(Place { index: facts.index, interface: facts.name.clone(), mac })
}

/// The longest prefix wins, as it does for packets; a route without a gateway to everywhere
/// is no network.
fn by_network(snapshot: &Snapshot, vip: Vip) -> Option<&InterfaceFacts> {
    let networks = snapshot
        .on_link
        .iter()
        .flat_map(|(index, networks)| networks.iter().map(move |network| (network, *index)));
    let having =
        networks.filter(|(network, _)| network.prefix_len() > 0 && network.contains(&vip.ip()));
    let (_, index) = having.max_by_key(|(network, _)| network.prefix_len())?;
    snapshot.by_index(index)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let [lan, wide] =
            [(2, "ens18"), (3, "ens19")].map(|(index, name)| InterfaceFacts::example(index, name));
        let net = |text: &str| BTreeSet::from([text.parse().expect("a network")]);
        Snapshot {
            default_route: Some(lan.index),
            on_link: [(lan.index, net("192.0.2.0/24")), (wide.index, net("192.0.0.0/16"))].into(),
            interfaces: vec![lan, wide],
        }
    }

    fn find_in(
        snapshot: &Snapshot,
        vip: &str,
        interface: Option<&str>,
    ) -> Result<String, PlaceError> {
        let own = BTreeMap::from([(
            snapshot.interfaces[0].index,
            BTreeSet::from(["192.0.2.1".parse().expect("an address")]),
        )]);
        find(snapshot, &own, vip.parse().expect("a VIP"), interface).map(|place| place.interface)
    }

    #[test]
    fn the_longest_prefix_or_the_name_says_where() {
        let snapshot = snapshot();
        assert_eq!(find_in(&snapshot, "192.0.2.10", None), Ok("ens18".to_owned()));
        assert_eq!(find_in(&snapshot, "192.0.3.10", None), Ok("ens19".to_owned()));
        assert_eq!(find_in(&snapshot, "192.0.2.10", Some("ens19")), Ok("ens19".to_owned()));
        assert_eq!(find_in(&snapshot, "198.51.100.1", Some("ens18")), Ok("ens18".to_owned()));
    }

    #[test]
    fn what_cannot_be_asked_for_is_said_with_what_to_do() {
        let mut snapshot = snapshot();
        for (vip, interface, part) in [
            ("198.51.100.1", None, "give --interface"),
            ("192.0.2.10", Some("eth7"), "no interface eth7"),
            ("192.0.2.1", None, "on another host"),
        ] {
            let error = find_in(&snapshot, vip, interface).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        snapshot.interfaces[0].is_up = false;
        assert_eq!(
            find_in(&snapshot, "192.0.2.10", None),
            Err(PlaceError::Unfit("ens18".to_owned()))
        );
    }
}
