//! What was on the wire: a capture's TCP streams, and the TLS records in them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// One direction of one connection.
pub(super) struct Stream {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// A TCP sequence number and the bytes from there on.
type Segment<'a> = (u32, &'a [u8]);

/// What the TLS records of one stream say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Records of type application data.
    pub(super) application_data: usize,
    /// A ServerHello chose TLS 1.3 (RFC 8446, 4.2.1).
    pub(super) chose_tls13: bool,
}

/// The TCP streams of a pcap file as tcpdump writes it: little endian, Ethernet.
pub(super) fn streams(pcap: &[u8]) -> Result<Vec<Stream>, String> {
    let [0xd4, 0xc3, 0xb2, 0xa1, ..] = pcap else {
        return Err("the capture is not a little-endian pcap file".to_owned());
    };
    let mut segments: BTreeMap<(SocketAddr, SocketAddr), Vec<Segment<'_>>> = BTreeMap::new();
    let mut rest = pcap.get(24..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let &[.., a, b, c, d, _, _, _, _] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((frame, after)) = after.split_at_checked(length) else {
            break;
        };
        if let Some((from, to, sequence, payload)) = tcp(frame) {
            segments
                .entry((from, to))
                .or_default()
                .push((sequence, payload));
        }
        rest = after;
    }
    Ok(segments
        .into_iter()
        .map(|((from, to), segments)| Stream {
            from,
            to,
            bytes: assemble(&segments),
        })
        .collect())
}

/// The TLS records of a stream from its first byte on, or what is not TLS in it.
pub(super) fn records(mut bytes: &[u8]) -> Result<Records, String> {
    let mut records = Records::default();
    while let Some((&[kind, major, minor, high, low], after)) = bytes.split_first_chunk::<5>() {
        if !(20..=23).contains(&kind) || major != 3 || minor > 4 {
            return Err(format!(
                "not a TLS record: {kind:02x} {major:02x} {minor:02x}"
            ));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((body, after)) = after.split_at_checked(length) else {
            break;
        };
        records.application_data += usize::from(kind == 23);
        records.chose_tls13 |= kind == 22 && is_tls13_server_hello(body);
        bytes = after;
    }
    Ok(records)
}

/// Where `needle` is in `haystack`.
pub(super) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// Addresses, sequence number and payload of an Ethernet frame with TCP in it.
fn tcp(frame: &[u8]) -> Option<(SocketAddr, SocketAddr, u32, &[u8])> {
    let packet = frame.get(14..)?;
    let (source, destination, segment): (IpAddr, IpAddr, &[u8]) = match frame.get(12..14)? {
        [0x08, 0x00] if packet.get(9) == Some(&6) => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes(array(packet.get(2..4)?)?));
            // 0 is a packet above 64 KiB that the sender's offload has not cut yet.
            let end = if total == 0 { packet.len() } else { total };
            (
                Ipv4Addr::from(array::<4>(packet.get(12..16)?)?).into(),
                Ipv4Addr::from(array::<4>(packet.get(16..20)?)?).into(),
                packet.get(header..end)?,
            )
        }
        [0x86, 0xdd] if packet.get(6) == Some(&6) => (
            Ipv6Addr::from(array::<16>(packet.get(8..24)?)?).into(),
            Ipv6Addr::from(array::<16>(packet.get(24..40)?)?).into(),
            packet.get(40..)?,
        ),
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(array(segment.get(at..at + 2)?)?));
    let flags = *segment.get(13)?;
    // SYN takes a number of its own: the payload begins one later.
    let sequence =
        u32::from_be_bytes(array(segment.get(4..8)?)?).wrapping_add(u32::from(flags >> 1 & 1));
    let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
    Some((
        SocketAddr::new(source, port(0)?),
        SocketAddr::new(destination, port(2)?),
        sequence,
        payload,
    ))
}

/// The bytes in the order of their numbers, retransmitted ones once.
fn assemble(segments: &[Segment<'_>]) -> Vec<u8> {
    let Some(&(first, _)) = segments.first() else {
        return Vec::new();
    };
    let mut ordered: Vec<(usize, &[u8])> = segments
        .iter()
        .map(|(sequence, payload)| (sequence.wrapping_sub(first) as usize, *payload))
        .collect();
    ordered.sort_by_key(|(offset, _)| *offset);
    let mut bytes = Vec::new();
    for (offset, payload) in ordered {
        let known = bytes.len().saturating_sub(offset);
        bytes.extend_from_slice(payload.get(known..).unwrap_or_default());
    }
    bytes
}

fn is_tls13_server_hello(handshake: &[u8]) -> bool {
    // Type 2; the extension supported_versions with the value 0x0304.
    handshake.first() == Some(&2) && contains(handshake, &[0x00, 0x2b, 0x00, 0x02, 0x03, 0x04])
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
