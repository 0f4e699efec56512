use proptest::prelude::*;

use super::{
    super::frame::{MAX_CONTROL, MAX_DATA, header, numbered, reset},
    *,
};
use crate::{
    addr::{ClientAddr, OriginalDst},
    record::ConnectionId,
};

/// What was decoded: the events, with the bytes of neighbouring DATA events joined.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Event(Event),
    Bytes(Vec<u8>),
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Heard>, Violation> {
    let mut decoder = Decoder::default();
    let mut heard = Vec::new();
    for mut piece in pieces {
        loop {
            let (used, event) = decoder.next(piece)?;
            piece = &piece[used..];
            match event {
                None => break,
                Some(Event::Data(count)) => {
                    let (bytes, rest) = piece.split_at(count);
                    piece = rest;
                    match heard.last_mut() {
                        Some(Heard::Bytes(all)) => all.extend_from_slice(bytes),
                        _ => heard.push(Heard::Bytes(bytes.to_vec())),
                    }
                }
                Some(event) => heard.push(Heard::Event(event)),
            }
        }
        assert!(piece.is_empty());
    }
    Ok(heard)
}

fn open(source: &str, destination: &str) -> Open {
    Open {
        id: ConnectionId([9; 16]),
        source: ClientAddr::new(source.parse().unwrap()),
        destination: OriginalDst::new(destination.parse().unwrap()),
    }
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&header(Kind::Data, bytes.len())[..], bytes].concat()
}

fn stream() -> (Vec<u8>, Vec<Heard>) {
    let one = LeaseNumber(1);
    let v6 = open("[2001:db8::1]:40000", "[2001:db8::2]:443");
    let bytes = [
        v6.encode(one).unwrap(),
        data(b"hello"),
        numbered(Kind::Opened, one).to_vec(),
        data(b"x"),
        numbered(Kind::Eof, one).to_vec(),
        reset(one, ResetCode::Other(200)).to_vec(),
        numbered(Kind::Close, one).to_vec(),
    ]
    .concat();
    let heard = vec![
        Heard::Event(Event::Open(one, v6)),
        Heard::Bytes(b"hello".to_vec()),
        Heard::Event(Event::Opened(one)),
        Heard::Bytes(b"x".to_vec()),
        Heard::Event(Event::Eof(one)),
        Heard::Event(Event::Reset(one, ResetCode::Other(200))),
        Heard::Event(Event::Close(one)),
    ];
    (bytes, heard)
}

#[test]
fn frames_mean_the_same_wherever_they_are_split() {
    let (bytes, heard) = stream();
    for cut in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(decode([head, tail]).unwrap(), heard, "cut at {cut}");
    }
    assert_eq!(decode(bytes.chunks(1)).unwrap(), heard);
}

#[test]
fn both_families_and_a_mixed_pair_survive_open() {
    for (source, destination) in [
        ("10.0.0.1:40000", "10.0.0.2:80"),
        ("[2001:db8::1]:40000", "[2001:db8::2]:80"),
        ("10.0.0.1:40000", "[2001:db8::2]:80"),
    ] {
        let open = open(source, destination);
        let bytes = open.encode(LeaseNumber(3)).unwrap();
        let heard = decode([&bytes[..]]).unwrap();
        assert_eq!(heard, [Heard::Event(Event::Open(LeaseNumber(3), open))]);
    }
}

#[test]
fn unknown_tlvs_of_open_are_ignored() {
    let open = open("10.0.0.1:40000", "10.0.0.2:80");
    let mut bytes = open.encode(LeaseNumber(1)).unwrap();
    bytes.extend_from_slice(&[0xee, 0, 3, 1, 2, 3]);
    let length = bytes.len() - HEADER;
    bytes[..HEADER].copy_from_slice(&header(Kind::Open, length));
    let proxy_length = HEADER + 4 + 16 + 14;
    bytes[proxy_length + 1] += 6;
    let heard = decode([&bytes[..]]).unwrap();
    assert_eq!(heard, [Heard::Event(Event::Open(LeaseNumber(1), open))]);
}

#[test]
fn each_malformed_frame_is_refused_by_its_header_alone() {
    for (kind, length) in [
        (0, 4),
        (7, 4),
        (255, 0),
        (1, 0),
        (1, MAX_CONTROL + 1),
        (2, 3),
        (2, 5),
        (3, 0),
        (3, MAX_DATA + 1),
        (4, 0),
        (5, 4),
        (5, 6),
        (6, 0xff_ffff),
    ] {
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        let refused = decode([&[kind, high, middle, low][..]]);
        assert!(refused.is_err(), "type {kind}, {length} bytes: {refused:?}");
    }
}

#[test]
fn each_malformed_open_is_refused() {
    let good = open("10.0.0.1:1", "10.0.0.2:2")
        .encode(LeaseNumber(1))
        .unwrap();
    let payload = &good[HEADER..];
    for length in 0..payload.len() {
        assert!(Open::decode(&payload[..length]).is_err(), "cut at {length}");
    }
    let trailing = [payload, &[0]].concat();
    assert!(Open::decode(&trailing).is_err());
    let with = |at: usize, byte: u8| {
        let mut bad = payload.to_vec();
        bad[20 + at] = byte;
        Open::decode(&bad)
    };
    assert!(with(0, b'P').is_err(), "signature");
    assert!(with(12, 0x11).is_err(), "version 1");
    assert!(with(12, 0x20).is_err(), "LOCAL");
    assert!(with(13, 0x12).is_err(), "UDP");
    assert!(with(13, 0x31).is_err(), "a Unix socket");
    assert!(with(13, 0x01).is_err(), "no family");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_lose_count(
        bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..50
    ) {
        let whole = decode([&bytes[..]]);
        let pieces = decode(bytes.chunks(cut));
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn no_payload_makes_open_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let good = open("10.0.0.1:1", "10.0.0.2:2").encode(LeaseNumber(1)).unwrap();
        let _ = Open::decode(&bytes);
        let _ = Open::decode(&[&good[HEADER..HEADER + 32], &bytes].concat());
    }
}
