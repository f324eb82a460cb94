//! Anything, at any time.

use std::time::Duration;

use super::{either, fast_timing, flags, small};
use crate::{
    clock::{MS, SECOND},
    faults::{Drift, Fault, Weather},
    invariants::Broken,
    node::Flags,
    world::World,
};
use Fault::{
    BreakWatches, ClearHolder, Compaction, Conflicts, CutApi, CutLan, CutOff, DeleteNodeLease,
    DeleteVipLease, Drain, Endpoints, Exclude, Freeze, Kill, Outage, Pause, PowerOff, Rename,
    Restart, Service, Touch, Unplug,
};

/// 2 x 3 % between two nodes: within the margin of a fifth.
const DRIFT: Drift = Drift::UpTo(30_000);

const fn weather(faults: &'static [Fault]) -> Weather {
    Weather { faults, every: Duration::from_millis(700), drift: DRIFT, catch_up: 2000 }
}

/// Machines, daemons and networks fail.
pub(crate) const FAILURES: Weather = weather(&[
    Outage,
    Restart,
    CutApi,
    CutApi,
    CutLan,
    CutOff,
    Freeze,
    BreakWatches,
    Pause,
    Pause,
    Kill,
    PowerOff,
]);

/// The API server does.
pub(crate) const API_TROUBLE: Weather = weather(&[
    Outage,
    Restart,
    Restart,
    Compaction,
    Compaction,
    Conflicts,
    Conflicts,
    Touch,
    Touch,
    Touch,
    CutApi,
    Freeze,
    BreakWatches,
    BreakWatches,
    Kill,
]);

/// Nodes are drained, excluded, unplugged and come back, Services come and go.
pub(crate) const CHANGES: Weather = weather(&[
    Exclude, Exclude, Service, Service, Endpoints, Endpoints, Drain, Unplug, CutApi, CutLan, Pause,
    Kill, PowerOff, Freeze, Outage,
]);

/// Nodes leave in order and return.
pub(crate) const DRAINS: Weather =
    weather(&[Drain, Drain, Drain, CutApi, CutLan, Freeze, Pause, Kill, PowerOff, Outage]);

/// People edit and delete leases.
///
/// Watches do not stand still besides, and catch up within the margin: a VIP lease
/// deleted behind the holder's back, and a node that starts just then, are what only
/// a probe on the wire tells.
pub(crate) const HANDS: Weather = Weather {
    catch_up: 50,
    ..weather(&[
        DeleteNodeLease,
        DeleteNodeLease,
        DeleteVipLease,
        DeleteVipLease,
        ClearHolder,
        ClearHolder,
        Touch,
        CutApi,
        CutLan,
        Pause,
        Kill,
        PowerOff,
        Outage,
        Drain,
    ])
};

/// Machines change their names.
pub(crate) const RENAMES: Weather =
    weather(&[Rename, Rename, Kill, CutApi, Pause, Outage, Drain, BreakWatches]);

/// Clock rates differ by nearly as much as the margin allows: (1 + 0.1) / (1 - 0.1)
/// is less than 3 s / 2.4 s.
pub(crate) const DRIFTING: Weather = Weather { drift: Drift::Apart(100_000), ..FAILURES };

/// One clock runs 5 % fast.
pub(crate) const ONE_FAST: Weather = Weather { drift: Drift::OneFast(50_000), ..FAILURES };

/// What the seed says of the daemons' flags.
fn any_flags(seed: u64) -> Flags {
    let mut flags = flags(either(seed));
    if seed % 5 == 4 {
        flags.timing = fast_timing();
    }
    if seed % 3 == 2 {
        flags.rebalance = None;
    }
    flags
}

/// A minute of weather, then all is well, and everything must find its place.
pub(crate) fn storm(seed: u64, weather: Weather) -> Result<(), Broken> {
    storm_with(seed, weather, any_flags(seed))
}

pub(crate) fn storm_with(seed: u64, weather: Weather, flags: Flags) -> Result<(), Broken> {
    // From two nodes to so many that nobody monitors all of them.
    let nodes = small(2 + seed % 7);
    let mut world = World::new(seed, nodes, 4, flags, weather).started(200 * MS);
    world.run(60 * SECOND)?;
    world.heal();
    world.run(100 * SECOND)?;
    world.judge_settled()
}
