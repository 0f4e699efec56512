use super::*;

/// An Ethernet frame with IPv4 and TCP.
fn frame(from: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [vec![0; 12], vec![0x08, 0x00]].concat();
    let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
    frame.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend([10, 77, 0, 1, 10, 77, 0, 2]);
    frame.extend(from.to_be_bytes());
    frame.extend(8080u16.to_be_bytes());
    frame.extend(sequence.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame.extend([0; 3]); // Ethernet padding is no payload.
    frame
}

fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut pcap = vec![0xd4, 0xc3, 0xb2, 0xa1];
    pcap.extend([0; 20]);
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        pcap.extend([0; 8]);
        pcap.extend(length);
        pcap.extend(length);
        pcap.extend(frame);
    }
    pcap
}

#[test]
fn segments_out_of_order_and_sent_twice_make_one_stream() {
    let capture = pcap(&[
        frame(40000, u32::MAX - 1, 0x02, b""),
        frame(40000, 3, 0x18, b"defg"),
        frame(40000, u32::MAX, 0x18, b"0abc"),
        frame(40000, 0, 0x18, b"abcd"),
        frame(40001, 7, 0x02, b""),
    ]);
    let streams = streams(&capture).unwrap();
    assert_eq!(streams.len(), 2);
    assert_eq!(streams[0].bytes, b"0abcdefg");
    assert_eq!(streams[0].from.to_string(), "10.77.0.1:40000");
    assert_eq!(streams[0].to.to_string(), "10.77.0.2:8080");
}

#[test]
fn a_tls_13_server_hello_and_its_data_are_recognised() {
    let hello = [&[2u8, 0, 0, 10][..], &[0, 0x2b, 0, 2, 3, 4]].concat();
    let mut bytes = vec![22, 3, 3, 0, 10];
    bytes.extend(hello);
    bytes.extend([20, 3, 3, 0, 1, 1]);
    bytes.extend([23, 3, 3, 0, 2, 9, 9]);
    bytes.extend([23, 3, 3, 0, 2, 9]); // Cut off: not counted.
    let expected = Records {
        application_data: 1,
        chose_tls13: true,
    };
    assert_eq!(records(&bytes), Ok(expected));
}

#[test]
fn plain_http_is_not_tls() {
    assert!(records(b"GET / HTTP/1.1\r\n").is_err());
}
