//! What is somebody's state, read when somebody asks.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{Look, metrics::Metrics};
use crate::{
    datapath::{Counter, Totals},
    intent::eligibility::LinkState,
    ownership::report::VipState,
    status,
};

/// Everything, as OpenMetrics text.
pub(super) fn text(
    metrics: &Metrics,
    look: Arc<Look>,
    vip_series: usize,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    registry.register_collector(Box::new(State { look, vip_series }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct State {
    look: Arc<Look>,
    vip_series: usize,
}

/// One name with its series.
struct Family<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    name: &'a str,
    help: &'a str,
    unit: Option<&'a Unit>,
}

type Labels<'a> = Vec<(&'a str, String)>;

impl<'a> Family<'a, '_> {
    // A registry ends what helps with a full stop, too.
    fn descriptor(self, kind: MetricType) -> Result<MetricEncoder<'a>, fmt::Error> {
        let Self { encoder, name, help, unit } = self;
        encoder.encode_descriptor(name, &format!("{help}."), unit, kind)
    }

    fn counters<'l>(
        self,
        series: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), fmt::Error> {
        self.encode(MetricType::Counter, series.into_iter().map(|(l, n)| (l, ConstCounter::new(n))))
    }

    fn gauges<'l>(
        self,
        series: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), fmt::Error> {
        self.encode(MetricType::Gauge, series.into_iter().map(|(l, n)| (l, ConstGauge::new(n))))
    }

    fn gauge(self, value: f64) -> Result<(), fmt::Error> {
        ConstGauge::new(value).encode(self.descriptor(MetricType::Gauge)?)
    }

    fn encode<'l, M: EncodeMetric>(
        self,
        kind: MetricType,
        series: impl Iterator<Item = (Labels<'l>, M)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.descriptor(kind)?;
        for (labels, metric) in series {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let encoder = &mut encoder;
        self.ownership(encoder)?;
        self.responder(encoder)?;
        self.frames(encoder)
    }
}

/// A name, its help and its unit.
fn family<'a, 'e>(
    encoder: &'a mut DescriptorEncoder<'e>,
    name: &'a str,
    help: &'a str,
) -> Family<'a, 'e> {
    Family { encoder, name, help, unit: None }
}

impl State {
    fn ownership(&self, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        family(encoder, "announcer_build_info", "The version of this daemon; always 1")
            .gauges([(version, 1.0)])?;
        let Some(report) = &self.look.report else { return Ok(()) };
        let mut states: BTreeMap<_, u32> = VipState::NAMES.map(|name| (name, 0)).into();
        for vip in report.vips.values() {
            *states.entry(vip.state.name()).or_default() += 1;
        }
        let states = states.into_iter();
        let states = states.map(|(name, n)| (vec![("state", name.to_owned())], f64::from(n)));
        family(encoder, "announcer_vips", "VIPs by what they are to this node").gauges(states)?;
        let conflicts = u32::try_from(report.conflicts).unwrap_or(u32::MAX);
        family(encoder, "announcer_conflicts_active", "VIPs of this node that a stranger claims")
            .gauge(f64::from(conflicts))?;
        let member = report.cluster.as_ref();
        let session = member.filter(|member| member.session.is_some());
        let left = session.map_or(0.0, |member| member.valid_until.since(report.at).as_secs_f64());
        Family {
            encoder,
            name: "announcer_validity",
            help: "For how long this node's last renewal still entitles it to answer",
            unit: Some(&Unit::Seconds),
        }
        .gauge(left)?;
        Family {
            encoder,
            name: "announcer_lease_duration",
            help: "How long other nodes wait before they call this one dead",
            unit: Some(&Unit::Seconds),
        }
        .gauge(member.map_or(0.0, |member| member.lease_duration.as_secs_f64()))?;
        let open = f64::from(u8::from(session.is_some()));
        family(encoder, "announcer_session_open", "Whether this node is in a session").gauge(open)
    }

    fn responder(&self, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
        let Look { responder, links, found, .. } = &*self.look;
        let on = |interface: &str| vec![("interface", interface.to_owned())];
        let interfaces = &responder.interfaces;
        let hooks = interfaces.iter().map(|port| {
            (vec![("interface", port.name.clone()), ("hook", port.hook.to_string())], 1.0)
        });
        family(encoder, "announcer_hook_info", "The hook in use on an interface; always 1")
            .gauges(hooks)?;
        let up = |state: &LinkState| f64::from(u8::from(*state == LinkState::Fit));
        family(encoder, "announcer_interface_up", "Whether an interface can carry frames")
            .gauges(links.iter().map(|(name, state)| (on(name), up(state))))?;
        family(
            encoder,
            "announcer_gratuitous_frames",
            "Gratuitous ARP frames sent, both forms counted",
        )
        .counters(interfaces.iter().map(|port| (on(&port.name), port.gratuitous_sent)))?;
        family(encoder, "announcer_probes_sent", "ARP Probes sent before first claims")
            .counters(interfaces.iter().map(|port| (on(&port.name), port.probes_sent)))?;
        family(
            encoder,
            "announcer_map_write_failures",
            "Writes to BPF maps that failed; each is tried again",
        )
        .counters(interfaces.iter().map(|port| (on(&port.name), port.write_failures)))?;
        // One series for each counter that there is: their sum would go back when an
        // interface goes.
        let lost = found.iter().filter_map(|found| {
            let (uplink, maps) = (found.uplink.as_ref()?, found.maps.as_ref().ok()?);
            Some((on(&uplink.name), maps.totals.get(Counter::ClaimLost)))
        });
        family(
            encoder,
            "announcer_claims_dropped",
            "Foreign claims that were not looked at, being too many; no interface: by the daemon",
        )
        .counters(lost.chain([(on(""), responder.claims_dropped)]))
    }

    fn frames(&self, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
        let named = self.look.found.iter().filter_map(|found| {
            Some((found.uplink.as_ref()?.name.as_str(), found.maps.as_ref().ok()?.totals))
        });
        let totals: Vec<(&str, Totals)> = named.collect();
        let by = |key: &'static str, counters: &'static [(Counter, &'static str)]| {
            totals.iter().flat_map(move |(interface, totals)| {
                counters.iter().map(move |(counter, value)| {
                    let interface = ("interface", (*interface).to_owned());
                    (vec![interface, (key, (*value).to_owned())], totals.get(*counter))
                })
            })
        };
        family(encoder, "announcer_requests_answered", "Requests for VIPs answered")
            .counters(by("protocol", ANSWERED))?;
        let silenced = totals.iter().map(|(interface, totals)| {
            let dropped = totals.get(Counter::Silenced) + totals.get(Counter::Expired);
            (vec![("interface", (*interface).to_owned())], dropped)
        });
        family(
            encoder,
            "announcer_requests_silenced",
            "Requests dropped: for VIPs held elsewhere, or whose time is over",
        )
        .counters(silenced)?;
        family(encoder, "announcer_frames_malformed", "ARP frames that are none, passed")
            .counters(by("reason", MALFORMED))?;
        let answered = status::answered(&self.look.found);
        let vips = answered.into_iter().take(self.vip_series);
        family(
            encoder,
            "announcer_vip_answered",
            "Requests answered for a VIP since it was added; the first VIPs only, see --vip-series",
        )
        .counters(vips.map(|(vip, n)| (vec![("vip", vip.to_string())], n)))
    }
}

const ANSWERED: &[(Counter, &str)] = &[(Counter::Answered, "arp"), (Counter::PingAnswered, "icmp")];

const MALFORMED: &[(Counter, &str)] = &[
    (Counter::MalformedTruncated, "truncated"),
    (Counter::MalformedHardwareType, "hardware_type"),
    (Counter::MalformedProtocolType, "protocol_type"),
    (Counter::MalformedHardwareLength, "hardware_length"),
    (Counter::MalformedProtocolLength, "protocol_length"),
    (Counter::MalformedSource, "source"),
    (Counter::MalformedSender, "sender"),
];
