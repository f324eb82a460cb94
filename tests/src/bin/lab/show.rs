//! What is shown, in its order.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use announcer_apiserver::Match;
use announcer_tests::{
    arp::Mac,
    backend::{Backend, http_get},
    cluster::{ANNOUNCE, Cluster, NodeLease, Plane, SOON, VipLease},
    lab::{CLIENT_IP, CLIENT_NIC, Link, Node, UPLINK},
    neighbour,
    probe::{Probe, ProbeHandle},
    recording::{Answer, Recording},
    timeline::{Event, Timeline, human, render},
    topology::Cut,
};
use anyhow::{Context, Result, bail};
use humantime::format_duration;
use serde_json::json;

use crate::{
    maps::{self, Entry},
    story::Story,
};

/// The Service's address.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Requests that are watched before the crash, at 1 kHz.
const CALM: usize = 1000;
/// Gratuitous ARPs after a takeover: five rounds, each in both forms.
const ANNOUNCEMENTS: usize = 10;

/// How it went.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Everything went as it should.
    pub(crate) faultless: bool,
    /// The node whose links are cut.
    pub(crate) crashed: usize,
    /// Serves as long as it is kept.
    pub(crate) backend: Backend,
}

/// Runs the show; an error is something that did not happen at all.
pub(crate) fn run(cluster: &mut Cluster, story: &Story) -> Result<Shown> {
    describe(cluster, story);
    let backend = cluster.serve("web", VIP)?;
    story.tell(
        "backend",
        &format!(
            "an HTTP server in a pod of {}, {}; every node forwards {VIP}:80 to it",
            last(cluster).name,
            backend.address()
        ),
    );
    start(cluster, story)?;
    let probe = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC)?;
    let mut events = Vec::new();
    let (first, holder) = announce(cluster, story, &probe, &mut events)?;
    serve(cluster, story, &probe, holder)?;
    let crash = crash(cluster, story, &probe, holder, &mut events)?;
    let recording = probe.stop()?;

    story.part("Who answered when");
    let rows = cluster.lab().nodes().iter().map(|node| (node.name.clone(), node.mac)).collect();
    story.verbatim(&render(&Timeline { recording: &recording, rows, events }, story.style()));
    let faultless = summary(cluster, story, &recording, first, holder, &crash);
    Ok(Shown { faultless, crashed: holder, backend })
}

fn last(cluster: &Cluster) -> &Node {
    cluster.lab().node(cluster.lab().nodes().len())
}

/// What was built.
fn describe(cluster: &Cluster, story: &Story) {
    story.part("The lab is built");
    story.tell("network", "a bridge, 192.0.2.0/24, and a management network to the API server");
    story.tell("client", &format!("{CLIENT_IP} on {CLIENT_NIC}"));
    for node in cluster.lab().nodes() {
        story.tell(&node.name, &format!("{} on {UPLINK}, {}", node.ip, node.mac));
    }
    let server = match cluster.plane() {
        Plane::Embedded => "in memory",
        Plane::Real => "etcd and kube-apiserver, with deploy/kustomize/base applied",
    };
    let nodes = "a Ready Node object for each node";
    story.tell("API server", &format!("{}: {server}; {nodes}", cluster.url()));
    if cluster.plane() == Plane::Real {
        story
            .tell("each node", "kube-proxy in nftables mode; a Pod and its token for an announcer");
    }
}

fn start(cluster: &mut Cluster, story: &Story) -> Result<()> {
    story.part("An announcer starts on each node");
    for n in 1..=cluster.lab().nodes().len() {
        let daemon = cluster.start(n)?;
        let attached = daemon.wait_for_log("attached", SOON)?;
        let hook = attached.text.split("hook=").nth(1).and_then(|rest| rest.split(' ').next());
        let text = format!(
            "process {}: {} on {UPLINK}, lease {} taken",
            daemon.pid(),
            hook.unwrap_or("attached"),
            NodeLease::name(&cluster.lab().node(n).name)
        );
        story.tell(&cluster.lab().node(n).name, &text);
    }
    let timing = cluster.timing();
    story.tell(
        "leases",
        &format!(
            "each renewed every {}; who is silent for {} is fenced, and who is new waits as long \
             before it takes an address; first claims are not probed (--probe-interval 0)",
            format_duration(timing.renew),
            format_duration(timing.lease)
        ),
    );
    cluster.wait_lease_duration()?;
    Ok(())
}

/// From the Service to the first answer; returns that and the holder.
fn announce(
    cluster: &Cluster,
    story: &Story,
    probe: &ProbeHandle,
    events: &mut Vec<Event>,
) -> Result<(Duration, usize)> {
    story.part("A Service gets an address");
    let (label, value) = ANNOUNCE;
    cluster.create_service_without_address("web", json!({ label: value }))?;
    story.tell("Service", &format!("default/web, type LoadBalancer, label {label}={value}"));
    let written = Instant::now();
    cluster.set_addresses("web", &[VIP])?;
    events.push(event(written, None, 'S', "the Service gets its address"));
    let holder = cluster.wait_for_holder(VIP, SOON, |_| true)?;
    let taken = Instant::now();
    let first = probe.wait_first_answer(SOON)?;
    // This thread may learn of the Lease after what followed from it.
    let taken = taken.min(first.at);
    let took = first.at.saturating_duration_since(written);

    story.tell_at(written, "Service", &format!("{VIP} is written into its status"));
    let node = cluster.lab().node(holder);
    let lease = VipLease::name(VIP);
    story.tell_at(taken, "Lease", &format!("{lease}: taken by {}", node.name));
    events.push(event(taken, Some(node.mac), 'T', "takes the Lease"));
    story.tell_at(
        first.at,
        "client",
        &format!(
            "asks who has {VIP}, first answer: {} ({}), {} after the address was written",
            first.mac,
            name(cluster, first.mac),
            human(took)
        ),
    );
    for (node, entry) in cluster.lab().nodes().iter().zip(entries(cluster, probe)?) {
        let what = match entry {
            Entry::Answers { left, .. } => {
                format!("answers for {VIP}, for another {} if nothing renews it", human(left))
            }
            Entry::Silent => format!("drops requests for {VIP}: held elsewhere"),
        };
        story.tell(&node.name, &format!("BPF map: {what}"));
    }
    Ok((took, holder))
}

/// Every node's entry for the VIP, once all of them have one.
fn entries(cluster: &Cluster, probe: &ProbeHandle) -> Result<Vec<Entry>> {
    let deadline = Instant::now() + SOON;
    loop {
        let entries = cluster.lab().nodes().iter().map(|node| maps::entry(&node.ns, VIP));
        let entries: Vec<_> = entries.collect::<Result<_>>()?;
        if let Some(all) = entries.iter().copied().collect() {
            return Ok(all);
        }
        if Instant::now() > deadline {
            bail!("not every node's map has an entry for {VIP}: {entries:?}");
        }
        // Nobody tells when a map is written; the requests go on meanwhile.
        probe.wait_requests(20)?;
    }
}

/// The wire in calm, and HTTP through it.
fn serve(cluster: &Cluster, story: &Story, probe: &ProbeHandle, holder: usize) -> Result<()> {
    story.part("It is answered and served");
    let from = Instant::now();
    probe.wait_requests(CALM)?;
    let now = probe.snapshot();
    // The answers to the last few are on their way.
    let calm = now.between(from, now.to - Duration::from_millis(10));
    let latency = calm.latency().context("no request was answered")?;
    for (mac, answered) in calm.answerers() {
        story.tell(
            "client",
            &format!(
                "asks 1000 times a second: {} of {} answered by {}, in {} (median) and {} (99 %)",
                answered.requests,
                calm.requests.len(),
                name(cluster, mac),
                human(latency.median),
                human(latency.p99)
            ),
        );
    }
    for (node, entry) in cluster.lab().nodes().iter().zip(entries(cluster, probe)?) {
        if let Entry::Answers { answered, .. } = entry {
            story.tell(&node.name, &format!("BPF map: {answered} requests answered so far"));
        }
    }
    http(cluster, story)?;
    believes(cluster, story, cluster.lab().node(holder).mac)
}

fn http(cluster: &Cluster, story: &Story) -> Result<()> {
    cluster.wait_forwarded(VIP, SOON)?;
    let asked = Instant::now();
    let answer = http_get(cluster.lab().client(), SocketAddrV4::new(VIP, 80), SOON)?;
    let took = human(asked.elapsed());
    if answer.status != 200 {
        bail!("GET http://{VIP}/ was answered with {}", answer.status);
    }
    story.tell("client", &format!("GET http://{VIP}/: 200, \"{}\", in {took}", answer.body));
    Ok(())
}

/// Waits until the client's neighbour table has this MAC.
fn believes(cluster: &Cluster, story: &Story, mac: Mac) -> Result<()> {
    neighbour::wait_for_mac(cluster.lab().client(), VIP, mac, SOON)?;
    let name = name(cluster, mac);
    story.tell("client", &format!("its neighbour table says: {VIP} is at {mac} ({name})"));
    Ok(())
}

/// What came of the crash.
struct Crash {
    cut: Instant,
    successor: usize,
    first: Answer,
    announced: Instant,
}

fn crash(
    cluster: &Cluster,
    story: &Story,
    probe: &ProbeHandle,
    holder: usize,
    events: &mut Vec<Event>,
) -> Result<Crash> {
    let lab = cluster.lab();
    let crashed = lab.node(holder);
    story.part(&format!("{} crashes", crashed.name));
    let cut = lab.cut(crashed, Link::All, Cut::Silent)?;
    story.tell_at(cut, &crashed.name, "all its links are cut, without anybody being told");
    events.push(event(cut, Some(crashed.mac), 'K', "all links cut"));
    cluster.wait_for_node_lease(holder, cluster.timing().lease * 2 + SOON, |l| !l.is_open())?;
    let fenced = Instant::now();
    let successor = cluster.wait_for_holder(VIP, SOON, |n| n != holder)?;
    let taken = Instant::now();
    let heir = lab.node(successor);
    let first = probe.wait_answer_by(heir.mac, SOON)?;
    let news = probe.wait_announcements(1, SOON, |a| a.mac == heir.mac && a.at >= cut)?;
    let announced = news.first().context("no gratuitous ARP")?.at;
    // This thread may learn of the Leases after what followed from them.
    let taken = taken.min(announced).min(first.at);
    let fenced = fenced.min(taken);

    let lease = NodeLease::name(&crashed.name);
    let by = fenced_by(cluster, crashed);
    story.tell_at(fenced, &by, &format!("fences {}: its session in {lease} is over", crashed.name));
    events.push(event(fenced, Some(crashed.mac), 'F', "fenced"));
    story.tell_at(taken, &heir.name, &format!("takes {}", VipLease::name(VIP)));
    events.push(event(taken, Some(heir.mac), 'T', "takes the Lease"));
    story.tell_at(
        announced,
        "client",
        &format!("sees gratuitous ARP: {VIP} is at {} ({})", heir.mac, heir.name),
    );
    story.tell_at(
        first.at,
        "client",
        &format!(
            "is answered by {} again, {} after the crash",
            heir.name,
            human(first.at.saturating_duration_since(cut))
        ),
    );
    believes(cluster, story, heir.mac)?;
    http(cluster, story)?;
    let of_heir =
        probe.wait_announcements(ANNOUNCEMENTS, SOON, |a| a.mac == heir.mac && a.at >= cut)?;
    let took = of_heir.last().map_or(cut, |a| a.at).saturating_duration_since(announced);
    story.tell(
        "client",
        &format!(
            "has seen {} gratuitous ARPs within {}: five rounds, each as request and as reply",
            of_heir.len(),
            human(took)
        ),
    );
    Ok(Crash { cut, successor, first, announced })
}

/// Who ended the session of `node`, by the API server's audit log.
fn fenced_by(cluster: &Cluster, node: &Node) -> String {
    let of = Match::any().writes().name(NodeLease::name(&node.name));
    let writes = cluster.audit().recent(&of);
    let mut by_others =
        writes.iter().filter(|entry| entry.wrote.is_some() && entry.request.client != node.name);
    let last = by_others.next_back();
    last.map_or_else(|| "API server".to_owned(), |entry| entry.request.client.clone())
}

/// Prints the figures and what was not as it should be; whether there was nothing.
fn summary(
    cluster: &Cluster,
    story: &Story,
    recording: &Recording,
    first: Duration,
    holder: usize,
    crash: &Crash,
) -> bool {
    let lab = cluster.lab();
    let (old, new) = (lab.node(holder), lab.node(crash.successor));
    // The probe began before there was anything to be answered.
    let answered = recording.requests.iter().find(|request| !request.answers.is_empty());
    let after = recording.between(answered.map_or(recording.to, |r| r.sent), recording.to);
    let failover = crash.first.at.saturating_duration_since(crash.cut);
    let announced = crash.announced.saturating_duration_since(crash.cut);
    story.part("In short");
    story.note("address to answer", &human(first));
    story.note(
        "failover",
        &format!("{} from the crash of {} to an answer by {}", human(failover), old.name, new.name),
    );
    story.note("gratuitous ARP", &format!("{} after the crash", human(announced)));
    story.note(
        "probes",
        &format!(
            "{} at 1 kHz: {} unanswered in the failover, {} answered by two nodes",
            recording.requests.len(),
            after.unanswered(),
            recording.contested()
        ),
    );
    let mut faults = Vec::new();
    if recording.contested() > 0 {
        faults.push(format!("{} probes were answered by two nodes", recording.contested()));
    }
    for gap in after.gaps() {
        let during = gap.to >= crash.cut && gap.from <= crash.first.sent;
        if !during {
            let took = human(gap.to.saturating_duration_since(gap.from));
            let probes = gap.requests;
            faults.push(format!("{probes} probes, for {took}, were unanswered before or after it"));
        }
    }
    for mac in recording.answerers().into_keys().filter(|mac| ![old.mac, new.mac].contains(mac)) {
        faults.push(format!("{} answered, and held nothing", name(cluster, mac)));
    }
    for fault in &faults {
        story.note("WRONG", fault);
    }
    if faults.is_empty() {
        story.note("verdict", "everything went as it should");
    }
    faults.is_empty()
}

fn event(at: Instant, mac: Option<Mac>, mark: char, text: &str) -> Event {
    Event { at, mac, mark, text: text.to_owned() }
}

fn name(cluster: &Cluster, mac: Mac) -> String {
    cluster.lab().node_by_mac(mac).map_or_else(|| mac.to_string(), |node| node.name.clone())
}
