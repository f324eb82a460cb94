"""Scapy asks for a VIP in odd ways and takes the answers apart.

Arguments: interface, VIP, MAC of the node, address to ask from.
"""

import sys
import threading

from scapy.all import (
    ARP, ICMP, IP, AsyncSniffer, Dot1AD, Dot1Q, Ether, IPOption_RR, Raw, conf, fragment,
    raw, sendp, srp1,
)

nic, vip, node, own = sys.argv[1:]
conf.verb = 0
ASKER = "02:00:00:00:00:43"


def ether(destination="ff:ff:ff:ff:ff:ff"):
    return Ether(src=ASKER, dst=destination)


def arp(**fields):
    return ARP(**{"hwsrc": ASKER, "psrc": own, "pdst": vip, **fields})


def ping(**fields):
    return ether(node) / IP(src=own, dst=vip, **fields) / ICMP(id=7, seq=9)


def rebuilt(packet):
    """Its octets, with every checksum and length computed anew."""
    for layer, field in [(IP, "chksum"), (IP, "len"), (IP, "ihl"), (ICMP, "chksum")]:
        if layer in packet:
            delattr(packet[layer], field)
    return raw(packet)


def answer(request):
    # What was sent is not an answer, though scapy hears it, too.
    reply = srp1(request, iface=nic, timeout=20, filter=f"ether src {node}", promisc=True)
    assert reply is not None, f"no answer to {request!r}"
    assert (reply.src, reply.dst) == (node, ASKER), repr(reply)
    octets = raw(reply)
    assert rebuilt(reply.copy()) == octets, f"not as scapy would build it: {reply!r}"
    return reply


for request in [
    ether() / arp(),
    ether(node) / arp(),
    ether() / arp(psrc="0.0.0.0"),
    ether() / arp(hwdst="ff:ff:ff:ff:ff:ff") / Raw(b"trailer" * 100),
    ether() / Dot1Q(vlan=0, prio=5) / arp(),
    ether() / Dot1AD(vlan=0) / Dot1Q(vlan=0, prio=1) / arp(),
]:
    reply = answer(request)
    said, asked = reply[ARP], request[ARP]
    assert said.op == 2 and (said.hwsrc, said.psrc) == (node, vip), repr(reply)
    assert (said.hwdst, said.pdst) == (asked.hwsrc, asked.psrc), repr(reply)
    assert len(reply) == len(request), repr(reply)

for data in [b"", b"x", b"odd", bytes(1472)]:
    reply = answer(ping(ttl=1) / Raw(data))
    assert (reply[IP].src, reply[IP].dst, reply[IP].ttl) == (vip, own, 64), repr(reply)
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == (0, 7, 9), repr(reply)
    assert data in raw(reply[ICMP].payload), repr(reply)

# None of these is answered; what comes after them is.
odd = [
    ping(options=[IPOption_RR()]),
    *fragment(ping() / Raw(bytes(2000))),
    ping(chksum=1),
    ping(version=5),
    ether(node) / IP(src="224.0.0.1", dst=vip) / ICMP(),
    ether(node) / IP(src=own, dst=vip) / ICMP(type=13),
    ether() / Dot1Q(vlan=5) / arp(),
    ether() / Dot1Q(vlan=0) / Dot1Q(vlan=7) / arp(),
    ether() / arp(hwtype=6),
    ether() / arp(plen=16),
    ether() / arp(op=3),
    ether() / Raw(raw(arp())[:20]),
]
odd[-1].type = 0x0806
last = "198.51.100.9"
ready = threading.Event()
sniffer = AsyncSniffer(
    iface=nic,
    filter=f"ether src {node} and ether dst {ASKER}",
    started_callback=ready.set,
    stop_filter=lambda packet: ARP in packet and packet[ARP].pdst == last,
    timeout=20,
)
sniffer.start()
ready.wait()
sendp([*odd, ether() / arp(psrc=last)], iface=nic)
sniffer.join()
answers = [packet[ARP].pdst if ARP in packet else packet.summary() for packet in sniffer.results]
assert answers == [last], f"one answer, to {last}: {answers}"
print("nothing is wrong")
