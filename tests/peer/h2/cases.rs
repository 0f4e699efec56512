//! What RFC 9113 and RFC 7541 forbid, in the way of h2spec: each is a connection by itself.

use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, field, frame, get, headers,
    integer, request, settings,
};

/// What the RFC wants ended.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// The connection, with this error or another one: which, servers differ in.
    Connection,
    /// The stream; the connection may be ended in its place.
    Stream,
    /// Nothing: it is to be ignored.
    Nothing,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) scope: Scope,
    pub(super) bytes: Vec<u8>,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Stream => "stream",
            Self::Nothing => "nothing",
        }
    }
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |scope, list: Vec<(&'static str, Vec<u8>)>| {
        cases.extend(list.into_iter().map(|(name, bytes)| Case {
            name,
            scope,
            bytes: if name.starts_with("preface") {
                bytes
            } else {
                [PREFACE, &settings(&[]), &bytes].concat()
            },
        }));
    };
    add(Scope::Connection, prefaces());
    add(Scope::Connection, frames());
    add(Scope::Connection, settings_frames());
    add(Scope::Connection, blocks());
    add(Scope::Stream, streams());
    add(Scope::Stream, fields());
    add(
        Scope::Nothing,
        vec![
            (
                "unknown frame",
                [frame(0xfa, 0xff, 0, b"what"), get(1, "/")].concat(),
            ),
            (
                "unknown setting",
                [settings(&[(0xfafa, 1)]), get(1, "/")].concat(),
            ),
            (
                "PRIORITY of an idle stream",
                [frame(PRIORITY, 0, 3, &[0; 5]), get(5, "/")].concat(),
            ),
            ("reserved bit of a stream", get(1 | 1 << 31, "/")),
        ],
    );
    cases
}

fn prefaces() -> Vec<(&'static str, Vec<u8>)> {
    vec![(
        "preface of another version",
        b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n".to_vec(),
    )]
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let open = || headers(1, 0, &request("POST", "/"));
    vec![
        ("DATA on stream 0", frame(DATA, END_STREAM, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x")),
        ("HEADERS on stream 0", get(0, "/")),
        ("HEADERS on an even stream", get(2, "/")),
        (
            "HEADERS on an older stream",
            [get(5, "/"), get(3, "/")].concat(),
        ),
        (
            "padding longer than the frame",
            [open(), frame(DATA, PADDED, 1, &[9, 1, 2])].concat(),
        ),
        (
            "DATA above the largest frame",
            [open(), frame(DATA, 0, 1, &[0; 16_385])].concat(),
        ),
        (
            "HEADERS above the largest frame",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88; 16_385]),
        ),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        (
            "RST_STREAM of an idle stream",
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        ),
        (
            "RST_STREAM of three bytes",
            [open(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        (
            "PUSH_PROMISE of a client",
            [
                open(),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            ]
            .concat(),
        ),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        (
            "WINDOW_UPDATE of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "WINDOW_UPDATE of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        (
            "WINDOW_UPDATE of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        (
            "WINDOW_UPDATE beyond the largest window",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
        ),
    ]
}

fn settings_frames() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("ACK with a payload", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("ENABLE_PUSH of 2", settings(&[(2, 2)])),
        ("INITIAL_WINDOW_SIZE too large", settings(&[(4, 1 << 31)])),
        ("MAX_FRAME_SIZE too small", settings(&[(5, 16_383)])),
        ("MAX_FRAME_SIZE too large", settings(&[(5, 1 << 24)])),
        (
            // RFC 9113, section 6.9.2
            "windows that overflow by a setting",
            [
                headers(1, 0, &request("POST", "/")),
                frame(WINDOW_UPDATE, 0, 1, &0x7fff_0000_u32.to_be_bytes()),
                settings(&[(4, 0x7fff_ffff)]),
            ]
            .concat(),
        ),
    ]
}

/// Header blocks in pieces, and their compression.
fn blocks() -> Vec<(&'static str, Vec<u8>)> {
    let begun = || frame(HEADERS, END_STREAM, 1, &request("GET", "/"));
    let block = |last: &[u8]| {
        let all = [&request("GET", "/")[..], last].concat();
        headers(1, END_STREAM, &all)
    };
    vec![
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
        ),
        (
            "CONTINUATION after the end",
            [get(1, "/"), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
        ),
        (
            "DATA within headers",
            [begun(), frame(DATA, 0, 1, b"x")].concat(),
        ),
        (
            "PING within headers",
            [begun(), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "another stream within headers",
            [begun(), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        ),
        ("HPACK index 0", block(&[0x80])),
        ("HPACK index of nothing", block(&[0xc0])),
        (
            "HPACK table above the limit",
            headers(
                1,
                END_STREAM,
                &[&[0x3f, 0xe1, 0xff, 0x7f][..], &request("GET", "/")].concat(),
            ),
        ),
        (
            "HPACK integer without end",
            block(&[&[0xff][..], &[0xff; 20]].concat()),
        ),
        (
            "HPACK string longer than the block",
            block(&[&[0x00][..], &integer(0, 7, 500), b"x"].concat()),
        ),
        (
            "HPACK Huffman of EOS",
            block(&[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'x']),
        ),
    ]
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let open = || headers(1, 0, &request("POST", "/"));
    vec![
        (
            "DATA after the end",
            [get(1, "/"), frame(DATA, END_STREAM, 1, b"x")].concat(),
        ),
        ("HEADERS after the end", [get(1, "/"), get(1, "/")].concat()),
        (
            "WINDOW_UPDATE of nothing on a stream",
            [open(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
        ),
        (
            "WINDOW_UPDATE beyond the largest window of a stream",
            [
                open(),
                frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes()),
            ]
            .concat(),
        ),
        (
            "trailers that do not end the stream",
            [open(), headers(1, 0, &field("x", "y"))].concat(),
        ),
        (
            "content-length and more",
            [
                headers(
                    1,
                    0,
                    &[request("POST", "/"), field("content-length", "1")].concat(),
                ),
                frame(DATA, END_STREAM, 1, b"xx"),
            ]
            .concat(),
        ),
        (
            "content-length and less",
            [
                headers(
                    1,
                    0,
                    &[request("POST", "/"), field("content-length", "3")].concat(),
                ),
                frame(DATA, END_STREAM, 1, b"xx"),
            ]
            .concat(),
        ),
    ]
}

/// Malformed requests (RFC 9113, sections 8.2 and 8.3).
fn fields() -> Vec<(&'static str, Vec<u8>)> {
    let with = |name: &str, value: &str| {
        headers(
            1,
            END_STREAM,
            &[request("GET", "/"), field(name, value)].concat(),
        )
    };
    let of = |fields: &[(&str, &str)]| {
        let block: Vec<u8> = fields
            .iter()
            .flat_map(|(name, value)| field(name, value))
            .collect();
        headers(1, END_STREAM, &block)
    };
    let (method, scheme, path) = ((":method", "GET"), (":scheme", "http"), (":path", "/"));
    let authority = (":authority", "peer.example.org");
    vec![
        ("a name in upper case", with("X-Upper", "y")),
        ("a name with a space", with("x y", "z")),
        ("a name with a line break", with("x\r\ny", "z")),
        ("a value with a line break", with("x", "y\r\nz: 1")),
        ("a value with a zero", with("x", "y\0z")),
        ("connection", with("connection", "close")),
        ("keep-alive", with("keep-alive", "timeout=5")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("upgrade", with("upgrade", "websocket")),
        ("te of something else", with("te", "gzip")),
        (
            "two content-lengths",
            headers(
                1,
                END_STREAM,
                &[
                    request("POST", "/"),
                    field("content-length", "0"),
                    field("content-length", "5"),
                ]
                .concat(),
            ),
        ),
        ("an unknown pseudo-header", with(":unknown", "x")),
        (":status of a client", with(":status", "200")),
        (
            "a pseudo-header after the others",
            of(&[method, scheme, ("x", "y"), path, authority]),
        ),
        ("no :method", of(&[scheme, path, authority])),
        ("no :scheme", of(&[method, path, authority])),
        ("no :path", of(&[method, scheme, authority])),
        (
            "an empty :path",
            of(&[method, scheme, (":path", ""), authority]),
        ),
        ("two :path", of(&[method, scheme, path, path, authority])),
        (
            "two :method",
            of(&[method, method, scheme, path, authority]),
        ),
        (
            ":path without a slash",
            of(&[method, scheme, (":path", "x"), authority]),
        ),
        (
            ":path with a space",
            of(&[method, scheme, (":path", "/ HTTP/1.1"), authority]),
        ),
        (
            ":authority with somebody's name",
            of(&[method, scheme, path, (":authority", "me@peer.example.org")]),
        ),
        (
            "host and :authority that differ",
            of(&[
                method,
                scheme,
                path,
                authority,
                ("host", "other.example.org"),
            ]),
        ),
    ]
}
