//! Which addresses are public, private, or on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the IPv4 address that an IPv6 address embeds (IPv4-mapped, NAT64, 6to4), else the
/// address itself.
pub(super) fn embedded_ipv4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [first, second, third, .., seventh, eighth] = v6.segments();
    let v4 =
        |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.to_ipv4_mapped() {
        Some(mapped) => mapped.into(),
        None if (first, second) == (0x64, 0xff9b) && third == 0 => v4(seventh, eighth),
        None if first == 0x2002 => v4(second, third),
        None => address,
    }
}

/// Returns true for globally reachable addresses.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !is_special(v4),
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            let is_global = first & 0xe000 == 0x2000;
            // 2001::/23 (Teredo, ORCHID and other protocol assignments) and documentation.
            let is_assigned = first == 0x2001 && (second < 0x200 || second == 0xdb8);
            is_global && !is_assigned && first != 0x3fff
        }
    }
}

/// Returns true for IPv4 ranges that are not globally reachable, and for Azure's host agent.
fn is_special(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_reserved = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    is_reserved || v4 == AZURE_HOST
}

/// Azure's host agent, metadata service and DNS. The address is outside the special-purpose ranges.
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Cloud metadata services in private ranges: Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Cloud metadata services over IPv6: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Returns true for loopback, link-local, unspecified, multicast and reserved addresses, and for
/// cloud metadata services.
pub(super) fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, ..] = v4.octets();
            let is_range = a == 0 || a >= 224 || v4.is_loopback() || v4.is_link_local();
            is_range || v4 == AZURE_HOST || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            let is_private = first & 0xfe00 == 0xfc00;
            // Everything that is neither unique local nor public: loopback, link-local, site-local,
            // multicast, deprecated embeddings of IPv4.
            (!is_private && !is_public(address)) || METADATA_V6.contains(&v6)
        }
    }
}
