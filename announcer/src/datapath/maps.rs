//! The maps of one interface, typed. Written by the responder only.

use std::fmt;

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, MapError},
};

use announcer_ebpf::abi::{self, ABI_VERSION, InterfaceConfig, SESSION_LEN, SessionRecord};

use super::{
    Options,
    error::DatapathError,
    hook::Reason,
    plan::{MapImage, MapOp},
    table::VipTable,
};
use crate::types::{MacAddr, Session};

/// What the program must know of its interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The MAC to answer with.
    pub(crate) mac: MacAddr,
    /// What is not answered passes.
    pub(crate) passes: bool,
    /// Answer ICMP echo requests to held VIPs.
    pub(crate) answer_ping: bool,
}

impl Settings {
    /// For an interface with this MAC, through which others get frames or nobody.
    pub(crate) const fn new(mac: MacAddr, is_shared: bool, options: &Options) -> Self {
        let passes = options.silence.passes(is_shared);
        Self { mac, passes, answer_ping: options.answer_ping }
    }
}

/// The maps that userspace writes.
pub(crate) struct Maps {
    vips: VipTable,
    answered: Array<MapData, u64>,
    claimed: Array<MapData, u64>,
    config: Array<MapData, InterfaceConfig>,
    session: Array<MapData, SessionRecord>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// A map out of a loaded object.
pub(crate) fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, DatapathError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(DatapathError::Incomplete(name))?;
    T::try_from(map).map_err(|error| DatapathError::map(name, error))
}

impl Maps {
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            vips: VipTable::take(ebpf)?,
            answered: take(ebpf, abi::VIP_ANSWERED)?,
            claimed: take(ebpf, abi::VIP_CLAIMED)?,
            config: take(ebpf, abi::CONFIG)?,
            session: take(ebpf, abi::SESSION)?,
        })
    }

    /// How many VIPs there is room for.
    pub(crate) fn capacity(&self) -> u32 {
        self.claimed.len()
    }

    /// Reads everything that a plan is made from.
    pub(crate) fn read(&self) -> Result<MapImage, DatapathError> {
        let mut image = MapImage {
            entries: self.vips.read()?.into_iter().collect(),
            filter: self.vips.read_filter()?.into_iter().collect(),
            session: None,
        };
        let record = self.session.get(&0, 0);
        let record = record.map_err(|error| DatapathError::map(abi::SESSION, error))?;
        image.session = decode_session(&record);
        Ok(image)
    }

    /// Carries out one write.
    pub(crate) fn apply(&mut self, op: &MapOp) -> Result<(), MapError> {
        match op {
            MapOp::Put { vip, entry } => self.vips.put(*vip, *entry),
            MapOp::Remove { vip } => self.vips.remove(*vip),
            MapOp::ResetSlot { slot } => {
                self.answered.set(*slot, &0, 0)?;
                self.claimed.set(*slot, &0, 0)
            }
            MapOp::ForgetClaim { slot } => self.claimed.set(*slot, &0, 0),
            MapOp::SetFilter { word, bits } => self.vips.set_filter(*word, *bits),
            MapOp::SetSession { session } => {
                self.session.set(0, &encode_session(session.as_ref()), 0)
            }
        }
    }

    pub(crate) fn configure(&mut self, settings: Settings) -> Result<(), DatapathError> {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        self.change(|config| {
            config.mac = settings.mac.octets();
            config.flags = config.flags & abi::REASONS
                | flag(settings.passes, abi::SHARED)
                | flag(settings.answer_ping, abi::ANSWER_PING);
        })
    }

    /// Leaves word why the hook is the one it is.
    pub(crate) fn set_reason(&mut self, reason: Reason) -> Result<(), DatapathError> {
        self.change(|config| config.flags = config.flags & !abi::REASONS | reason.flags())
    }

    fn change(&mut self, change: impl FnOnce(&mut InterfaceConfig)) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::map(abi::CONFIG, error);
        let mut config = self.config.get(&0, 0).map_err(failed)?;
        config.abi_version = ABI_VERSION;
        change(&mut config);
        self.config.set(0, &config, 0).map_err(failed)
    }
}

/// A session that is too long is not remembered, as if there were none: the
/// daemon that adopts the maps then starts a new one.
fn encode_session(session: Option<&Session>) -> SessionRecord {
    let mut record = SessionRecord { abi_version: ABI_VERSION, len: 0, text: [0; SESSION_LEN] };
    let Some(session) = session.map(Session::to_string) else { return record };
    if let (Some(room), Ok(len)) =
        (record.text.get_mut(..session.len()), u32::try_from(session.len()))
    {
        room.copy_from_slice(session.as_bytes());
        record.len = len;
    }
    record
}

pub(super) fn decode_session(record: &SessionRecord) -> Option<Session> {
    let text = record.text.get(..usize::try_from(record.len).ok()?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_its_record() {
        let session = Session::new("8d6f8d43-8ea5-4f0a-b1a7-2f3bfc3a7d16", u32::MAX);
        assert_eq!(decode_session(&encode_session(Some(&session))), Some(session));
        assert_eq!(decode_session(&encode_session(None)), None);
        let long = Session::new("x".repeat(SESSION_LEN), 1);
        assert_eq!(decode_session(&encode_session(Some(&long))), None);
    }

    #[test]
    fn a_damaged_record_holds_no_session() {
        let whole = encode_session(Some(&Session::new("uid", 3)));
        let damaged = [
            SessionRecord { len: u32::MAX, ..whole },
            SessionRecord { len: 3, ..whole },
            SessionRecord { text: [0xff; SESSION_LEN], ..whole },
        ];
        for record in damaged {
            assert_eq!(decode_session(&record), None, "{record:?}");
        }
    }
}
