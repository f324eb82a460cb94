//! One interface with its program, its maps and their pins.

use std::collections::BTreeSet;

use aya::maps::{MapError, RingBuf};

use announcer_ebpf::abi;

use super::{
    Options, Silence, adoption,
    attach::{self, Attached, Attachment},
    counters::CounterReader,
    error::{DatapathError, os_error},
    events::{ClaimStream, LogStream},
    hook::{EffectiveHook, Reason},
    maps::{self, Maps, Settings},
    namespace::NetnsCookie,
    netlink::{InterfaceFacts, Netlink},
    pins::{self, PinDir},
    plan::{MapImage, MapOp},
};
use crate::{
    types::{BootTime, IfIndex, MacAddr, Vip},
    wire_state::{Adopted, WireState},
};

/// An interface whose ARP requests the program sees.
///
/// Dropped, it leaves everything pinned: the data plane goes on answering until
/// each VIP's time is over. [`detach`](Self::detach) ends it.
#[derive(Debug)]
pub struct Interface {
    facts: InterfaceFacts,
    mac: MacAddr,
    options: Options,
    attachment: Attachment,
    pins: PinDir,
    /// Nothing was here before: whoever fails to start leaves nothing.
    is_fresh: bool,
    maps: Maps,
    image: MapImage,
    claims: ClaimStream,
    logs: Option<LogStream>,
}

/// What became of one desired state.
#[derive(Debug, Default)]
pub struct Written {
    /// Writes that failed, and why.
    pub failures: Vec<(MapOp, MapError)>,
    /// VIPs that the maps have no room for.
    pub unplaced: Vec<Vip>,
}

impl Interface {
    pub(super) async fn open(
        netlink: &Netlink,
        namespace: NetnsCookie,
        index: IfIndex,
        options: &Options,
    ) -> Result<(Self, Option<Adopted>), DatapathError> {
        let facts = require(netlink, index).await?;
        let mac = ethernet_mac(&facts)?;
        let pins = PinDir::new(&options.pin_root, namespace, index);
        let _not_swept = pins::lock_shared(&options.pin_root).await?;

        let adopted = adoption::adopt(&facts, &pins, options)?;
        let was_adopted = adopted.is_some();
        let attached = match adopted {
            Some(attached) => attached,
            None => {
                // Looked at anew: what was discarded may have been attached until now.
                let facts = require(netlink, index).await?;
                match attach::create(&facts, mac, &pins, options) {
                    Ok(attached) => attached,
                    Err(error) => {
                        pins.remove()?;
                        return Err(explain(netlink, index, error).await);
                    }
                }
            }
        };

        let Attached { mut ebpf, mut maps, attachment } = attached;
        if attachment.hook == EffectiveHook::Tcx
            && let Ok(Some(facts)) = netlink.interface(index).await
        {
            attach::tell_who_is_before(&facts, &attachment);
        }
        let mut image = maps.read()?;
        for op in image.keep_silent() {
            maps.apply(&op).map_err(|error| DatapathError::map(abi::VIPS, error))?;
            image.apply(&op);
        }
        let adopted = was_adopted
            .then(|| Adopted { session: image.session.clone(), answering: image.held().collect() });
        let ring: RingBuf<_> = maps::take(&mut ebpf, abi::CLAIMS)?;
        let claims = ClaimStream::new(ring)?;
        let logs = options.bpf_log.then(|| LogStream::new(&mut ebpf)).transpose()?;
        let is_fresh = !was_adopted;
        let options = options.clone();
        let interface =
            Self { facts, mac, options, attachment, pins, is_fresh, maps, image, claims, logs };
        Ok((interface, adopted))
    }

    /// Its name when it was opened.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// Its index.
    pub const fn index(&self) -> IfIndex {
        self.facts.index
    }

    /// The MAC that it answers with.
    pub const fn mac(&self) -> MacAddr {
        self.mac
    }

    /// The hook that is in use.
    pub const fn hook(&self) -> EffectiveHook {
        self.attachment.hook
    }

    /// Why it is that hook.
    pub const fn reason(&self) -> Reason {
        self.attachment.reason
    }

    /// What becomes of requests for VIPs that are not answered.
    pub const fn silence(&self) -> Silence {
        self.options.silence
    }

    /// The VIPs that are answered at `now`.
    pub fn answering(&self, now: BootTime) -> BTreeSet<Vip> {
        self.image.answering(now)
    }

    /// How many VIPs are in the maps: held (in time or not) and silent.
    pub fn occupancy(&self) -> (usize, usize) {
        let held = self.image.held().count();
        (held, self.image.entries.len() - held)
    }

    /// Makes the maps say `desired`. Whatever could not be written is written by
    /// the next call, if it is still desired.
    pub fn write(&mut self, desired: &WireState) -> Written {
        let plan = self.image.plan(desired, self.maps.capacity());
        let mut failures = Vec::new();
        for op in plan.ops {
            match self.maps.apply(&op) {
                Ok(()) => self.image.apply(&op),
                Err(error) => failures.push((op, error)),
            }
        }
        Written { failures, unplaced: plan.unplaced }
    }

    /// Answers with this MAC from now on, and lets what it does not answer pass if the
    /// frames are others' too.
    ///
    /// # Errors
    /// [`DatapathError::Map`]; the former settings stay.
    pub fn configure(&mut self, mac: MacAddr, shared: bool) -> Result<(), DatapathError> {
        self.maps.configure(Settings::new(mac, shared, &self.options))?;
        self.mac = mac;
        Ok(())
    }

    /// Foreign claims as they come.
    pub const fn claims(&mut self) -> &mut ClaimStream {
        &mut self.claims
    }

    /// What the program logs, with [`Options::bpf_log`].
    pub const fn logs(&mut self) -> Option<&mut LogStream> {
        self.logs.as_mut()
    }

    /// A reader of the counters, which can go to another task.
    ///
    /// # Errors
    /// [`DatapathError::Map`], when somebody removed the pins.
    pub fn counters(&self) -> Result<CounterReader, DatapathError> {
        CounterReader::open(&self.pins)
    }

    /// Undoes the opening, for a daemon that cannot start: what was attached anew
    /// is detached, what was adopted goes on until its time is over.
    pub fn abandon(self) {
        let name = self.facts.name.clone();
        if self.is_fresh
            && let Err(error) = self.detach()
        {
            tracing::warn!(interface = name, %error, "could not be detached again");
        }
    }

    /// Leaves the program in place, and every VIP silent until an instant: this host's
    /// kernel answers for none of them while the next daemon is not there yet. From then on
    /// the program passes everything. The next daemon adopts it; [`detach`](Self::detach)
    /// ends it, which is what happens at once where there is nothing to be silent about.
    ///
    /// # Errors
    /// [`DatapathError::Map`], [`DatapathError::Pin`]; it is taken down then, if it can be.
    pub fn leave_silent(mut self, until: BootTime) -> Result<(), DatapathError> {
        if self.image.entries.is_empty() {
            return self.detach();
        }
        for op in self.image.leave_silent(until) {
            if let Err(error) = self.maps.apply(&op) {
                self.detach()?;
                return Err(DatapathError::map(abi::VIPS, error));
            }
        }
        Ok(())
    }

    /// Takes everything down: link, maps, pins. The kernel gets every frame again.
    ///
    /// # Errors
    /// [`DatapathError::Pin`].
    pub fn detach(self) -> Result<(), DatapathError> {
        // Pinned or not.
        let detached = self.attachment.link.detach();
        detached.map_err(|error| DatapathError::pin("detaching", self.pins.link(), error))?;
        self.pins.remove()
    }
}

async fn require(netlink: &Netlink, index: IfIndex) -> Result<InterfaceFacts, DatapathError> {
    let facts = netlink.interface(index).await?;
    facts.ok_or_else(|| DatapathError::NoSuchInterface(format!("with index {}", index.get())))
}

fn ethernet_mac(facts: &InterfaceFacts) -> Result<MacAddr, DatapathError> {
    facts.mac.filter(|_| facts.is_ethernet).ok_or_else(|| DatapathError::NotEthernet {
        interface: facts.name.clone(),
        what: facts.link_layer.clone(),
    })
}

/// Busy means that somebody attached in between: names them if they still are there.
async fn explain(netlink: &Netlink, index: IfIndex, error: DatapathError) -> DatapathError {
    let DatapathError::Attach { source, .. } = &error else { return error };
    if !matches!(os_error(source), Some(libc::EBUSY | libc::EEXIST)) {
        return error;
    }
    match netlink.interface(index).await {
        Ok(Some(facts)) => attach::refuse_foreign(&facts, None).err().unwrap_or(error),
        _ => error,
    }
}
