//! A server of HTTP/1.1 that takes nothing amiss and nothing for granted: it says what it was sent.

use std::{
    io::{BufRead, BufReader, Result, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use serde_json::{Value, json};

/// See [`crate::Peer::Requests`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    listen: SocketAddr,
}

pub(crate) fn run(args: &Args) {
    let listener = TcpListener::bind(args.listen).expect("listen");
    println!("{}", json!({ "event": "ready" }));
    for stream in listener.incoming() {
        let stream = stream.expect("accept");
        std::thread::spawn(move || {
            let mut input = BufReader::new(&stream);
            while let Ok(Some(request)) = one(&mut input) {
                let served = request["whole"] == true && request["wrong"].is_null();
                println!("{request}");
                if !served || answer(&stream).is_err() {
                    return;
                }
            }
        });
    }
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
}

/// Why a body is none.
enum NoBody {
    /// Its connection ended before: nobody takes it for a request.
    Cut,
    Wrong(String),
}

impl From<std::io::Error> for NoBody {
    fn from(_: std::io::Error) -> Self {
        Self::Cut
    }
}

/// The next request with its body, as strictly as the grammar of RFC 9112 is written; `None` at the
/// end.
fn one(input: &mut impl BufRead) -> Result<Option<Value>> {
    let mut lines = Vec::new();
    let mut wrong = None;
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        if line.is_empty() && lines.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let Some(text) = text.strip_suffix("\r\n") else {
            wrong = Some(format!("a line without its end: {text:?}"));
            break;
        };
        if text.is_empty() {
            break;
        }
        lines.push(text.to_owned());
    }
    let mut headers = Vec::new();
    for line in lines.iter().skip(1) {
        match line.split_once(':') {
            Some((name, value)) if is_token(name) && !value.contains(['\r', '\0']) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => wrong = Some(format!("a header that is none: {line:?}")),
        }
    }
    let first = lines.first().cloned().unwrap_or_default();
    if first.split(' ').count() != 3 {
        wrong = Some(format!("a first line that is none: {first:?}"));
    }
    let all = |name: &str| -> Vec<&str> {
        let named = headers.iter().filter(|(of, _)| of == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Vec::new()),
        ([length], []) => sized(input, length),
        ([], ["chunked"]) => chunked(input),
        (lengths, encodings) => Err(NoBody::Wrong(format!(
            "lengths {lengths:?}, encodings {encodings:?}"
        ))),
    };
    let hosts = all("host").len();
    if hosts != 1 {
        wrong = Some(format!("{hosts} hosts"));
    }
    let (body, whole) = match body {
        Ok(body) => (body, true),
        Err(NoBody::Cut) => (Vec::new(), false),
        Err(NoBody::Wrong(why)) => {
            wrong = Some(why);
            (Vec::new(), true)
        }
    };
    Ok(Some(json!({
        "event": "request",
        "line": first,
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "whole": whole,
        "wrong": wrong,
    })))
}

fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

fn sized(input: &mut impl BufRead, length: &str) -> std::result::Result<Vec<u8>, NoBody> {
    let all_digits = length.bytes().all(|byte| byte.is_ascii_digit());
    let count = length.parse().ok().filter(|_| all_digits);
    let count: usize = count.ok_or_else(|| NoBody::Wrong(format!("a length of {length:?}")))?;
    let mut body = vec![0; count];
    input.read_exact(&mut body)?;
    Ok(body)
}

fn chunked(input: &mut impl BufRead) -> std::result::Result<Vec<u8>, NoBody> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        if input.read_line(&mut size)? == 0 {
            return Err(NoBody::Cut);
        }
        let digits = size.trim_end_matches("\r\n");
        let length = usize::from_str_radix(digits, 16).ok();
        let length = length.filter(|_| size.ends_with("\r\n") && !digits.starts_with('+'));
        let length = length.ok_or_else(|| NoBody::Wrong(format!("a size of {size:?}")))?;
        let mut chunk = vec![0; length + 2];
        input.read_exact(&mut chunk)?;
        if !chunk.ends_with(b"\r\n") {
            let end = format!("a chunk that ends in {:?}", &chunk[length..]);
            return Err(NoBody::Wrong(end));
        }
        if length == 0 {
            return Ok(body);
        }
        body.extend(&chunk[..length]);
    }
}
