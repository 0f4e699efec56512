//! Frames of RFC 9113 and header fields of RFC 7541, as bytes.

/// What a client begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// A frame that came.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Its payload is still to be read.
    pub(super) fn of_head(head: [u8; 9]) -> Self {
        let [l0, l1, l2, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        Self {
            kind,
            flags,
            payload: vec![0; length],
        }
    }

    /// Its error, if it is one that ends a connection or a stream.
    pub(super) fn code(&self) -> Option<&'static str> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?.try_into().ok()?;
        Some(
            CODES
                .get(u32::from_be_bytes(code) as usize)
                .unwrap_or(&"unknown"),
        )
    }

    /// What it decides of a request or a connection.
    pub(super) fn verdict(&self) -> Option<String> {
        match self.kind {
            GOAWAY => Some(format!("GOAWAY {}", self.code()?)),
            RST_STREAM => Some(format!("RST_STREAM {}", self.code()?)),
            HEADERS => Some(format!("answered {}", status(&self.payload))),
            _ => None,
        }
    }
}

/// `:status`, which comes first in an answer: of the static table, or written out.
fn status(block: &[u8]) -> String {
    // The size of the table may be said before.
    let block = match block {
        [first, rest @ ..] if first & 0xe0 == 0x20 => rest,
        all => all,
    };
    match block {
        [indexed @ 0x88..=0x8e, ..] => {
            let known = [200, 204, 206, 304, 400, 404, 500];
            known[usize::from(indexed - 0x88)].to_string()
        }
        [_, length, text @ ..] if length & 0x80 == 0 => {
            String::from_utf8_lossy(&text[..usize::from(*length).min(text.len())]).into_owned()
        }
        // Digits in Huffman's code: 0 to 2 have five bits, the others six.
        [_, length, text @ ..] => huffman_digits(&text[..usize::from(length & 0x7f)]),
        _ => "nothing".to_owned(),
    }
}

fn huffman_digits(text: &[u8]) -> String {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let (mut at, mut digits) = (0, String::new());
    while digits.len() < 3 && at + 5 <= bits.len() {
        let short: u8 = value(&bits[at..at + 5]);
        let (digit, length) = if short < 3 {
            (short, 5)
        } else {
            (
                value(bits.get(at..at + 6).unwrap_or_default()) - 0x19 + 3,
                6,
            )
        };
        digits.push(char::from(b'0' + digit));
        at += length;
    }
    digits
}

/// A frame whose length is true.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// SETTINGS of these parameters.
pub(super) fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = parameters
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A field that is written out and not kept.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(integer(0, 7, text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A field that is written out and kept in the dynamic table.
pub(super) fn kept(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = field(name, value);
    bytes[0] = 0x40;
    bytes
}

/// RFC 7541, section 5.1.
pub(super) fn integer(first: u8, prefix: u32, mut value: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let mut bytes = vec![first | most as u8];
    value -= most;
    while value >= 128 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The fields of a request that nothing is wrong with.
pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "peer.example.org"),
    ]
    .concat()
}

/// HEADERS with all of a request's fields.
pub(super) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block)
}

/// A request without a body.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &request("GET", path))
}
