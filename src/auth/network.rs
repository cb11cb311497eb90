//! Addresses and networks: `allowed_ips`, `trusted_proxies`, and whose address a request has.

use std::net::IpAddr;

/// An IPv4 or IPv6 network; a single address is one of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl std::str::FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Network, String> {
        let wrong =
            || format!("an IP address or network such as 10.0.0.0/8 was expected; got {text}");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        match bits.unwrap_or(full) {
            bits if bits <= full => Ok(Network { address, bits }),
            _ => Err(wrong()),
        }
    }
}

impl Network {
    /// The address lies in the network. An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                shift == 32 || u32::from(net) >> shift == u32::from(ip) >> shift
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                shift == 128 || u128::from(net) >> shift == u128::from(ip) >> shift
            }
            _ => false,
        }
    }
}

/// Whether an address belongs to the public internet: what is private, local, shared, reserved or a disguise of such an
/// address does not.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || a == 0
                || a >= 224
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && b & 0xfe == 18))
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            // Global unicast, without Teredo, benchmarks, documentation and 6to4, which carry other addresses.
            first & 0xe000 == 0x2000
                && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
                && first != 0x2002
                && first != 0x3fff
        }
    }
}

/// The address of the client behind `peer`.
///
/// With `use_x_forwarded_for`, the header is believed when the peer is a trusted proxy (any peer,
/// where none are listed). With a list, it is read from the right: the first address that is not a
/// trusted proxy itself is the client, so that a client cannot put words in front. Without a list
/// the first entry counts, as LiteLLM reads it.
pub fn client_address(
    peer: IpAddr,
    forwarded: Option<&[u8]>,
    use_forwarded: bool,
    trusted: Option<&[Network]>,
) -> IpAddr {
    let Some(forwarded) = forwarded.filter(|_| use_forwarded) else {
        return peer;
    };
    let Ok(text) = std::str::from_utf8(forwarded) else {
        return peer;
    };
    let mut entries = text.split(',').map(|entry| parse_entry(entry.trim()));
    let Some(trusted) = trusted else {
        return entries.next().flatten().unwrap_or(peer);
    };
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut client = peer;
    for entry in entries.rev() {
        if !is_trusted(client) {
            return client;
        }
        match entry {
            Some(address) => client = address,
            None => return client,
        }
    }
    client
}

/// An entry may carry a port, and IPv6 brackets.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = entry.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(list: &[&str]) -> Vec<Network> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn networks_hold_what_they_should() {
        let check = |net: &str, address: &str| net.parse::<Network>().unwrap().holds(ip(address));
        assert!(check("10.0.0.0/8", "10.255.1.2"));
        assert!(!check("10.0.0.0/8", "11.0.0.1"));
        assert!(check("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(check("2001:db8::/32", "2001:db8:1::5"));
        assert!(check("0.0.0.0/0", "8.8.8.8"));
        assert!(!check("0.0.0.0/0", "::1"));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("ten".parse::<Network>().unwrap_err().contains("got ten"));
    }

    #[test]
    fn what_is_not_public_is_known() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
        ] {
            assert!(!is_public(ip(private)), "{private}");
        }
        for public in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(ip(public)), "{public}");
        }
    }

    #[test]
    fn the_client_cannot_put_words_in_front() {
        let trusted = nets(&["10.0.0.0/8"]);
        let check = |peer: &str, header: &str| {
            client_address(ip(peer), Some(header.as_bytes()), true, Some(&trusted))
        };
        assert_eq!(
            check("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.9"),
            ip("1.2.3.4")
        );
        assert_eq!(check("9.9.9.9", "1.2.3.4"), ip("9.9.9.9"));
        assert_eq!(check("10.0.0.1", "garbage"), ip("10.0.0.1"));
        assert_eq!(check("10.0.0.1", "[2001:db8::1]:443"), ip("2001:db8::1"));
    }

    #[test]
    fn without_a_list_the_first_entry_counts_and_only_when_asked_for() {
        let header = Some(&b"1.2.3.4, 5.6.7.8"[..]);
        assert_eq!(
            client_address(ip("9.9.9.9"), header, true, None),
            ip("1.2.3.4")
        );
        assert_eq!(
            client_address(ip("9.9.9.9"), header, false, None),
            ip("9.9.9.9")
        );
    }
}
