//! Client sockets driven step by step, so that one program covers every way to connect.

use std::{
    collections::BTreeMap,
    io::{Error, Read, Result, Write},
    net::{Shutdown, SocketAddr},
    os::{fd::AsRawFd, unix::process::CommandExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::{errno_name, hand_over};

/// See [`crate::Peer::Script`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `tcp4`, `tcp6`, `mptcp`, `mptcp6`, `udp4`, `udp6`, `udplite4`, `sendto=ADDR`, `datagram`, `raw`, `packet`, `give=PATH`, `take=PATH`, `slot=N`, `join=CGROUP`, `uid=N`, `gid=N`, `reuse`, `bind=ADDR`, `device=NAME`, `device`,
    /// `tos=BYTE`, `class=BYTE`, `mark=N`, `fastopen`, `nonblocking`, `connect=ADDR`, `start=ADDR`,
    /// `finish`, `fastsend=ADDR`, `acked`, `disconnect`, `names`, `send=TEXT`, `line`, `rest`,
    /// `shutdown`, `linger0`, `close`, `pause`, `exec=PATH` (which does the steps that are left).
    #[arg(required = true)]
    steps: Vec<String>,
}

/// What `sendto` and `datagram` send.
const DATAGRAM: &[u8] = b"datagram";

#[derive(Default)]
struct Sockets {
    current: u32,
    open: BTreeMap<u32, Socket>,
}

pub(crate) fn run(args: &Args) {
    let mut sockets = Sockets::default();
    for (turn, step) in args.steps.iter().enumerate() {
        if let Some(program) = step.strip_prefix("exec=") {
            // Only an error comes back.
            let error = Command::new(program)
                .arg("script")
                .args(&args.steps[turn + 1..])
                .exec();
            panic!("exec {program}: {error}");
        }
        let mut said = json!({ "step": step });
        match sockets.step(step) {
            Ok(value) => said["ok"] = value,
            Err(error) => said["errno"] = json!(errno_name(&error)),
        }
        println!("{said}");
    }
}

impl Sockets {
    fn step(&mut self, step: &str) -> Result<Value> {
        let (verb, object) = step.split_once('=').unwrap_or((step, ""));
        let done = Ok(Value::Bool(true));
        match verb {
            "slot" => self.current = object.parse().expect("slot=NUMBER"),
            "tcp4" => self.make(Domain::IPV4, Type::STREAM, Protocol::TCP)?,
            "tcp6" => self.make(Domain::IPV6, Type::STREAM, Protocol::TCP)?,
            "mptcp" => self.make(Domain::IPV4, Type::STREAM, Protocol::MPTCP)?,
            "mptcp6" => self.make(Domain::IPV6, Type::STREAM, Protocol::MPTCP)?,
            "udp4" => self.make(Domain::IPV4, Type::DGRAM, Protocol::UDP)?,
            "udp6" => self.make(Domain::IPV6, Type::DGRAM, Protocol::UDP)?,
            "udplite4" => self.make(Domain::IPV4, Type::DGRAM, Protocol::UDPLITE)?,
            "sendto" => {
                let addr: SocketAddr = object.parse().expect("sendto=ADDR");
                let socket = self.socket()?;
                socket.send_to(DATAGRAM, &reachable(socket, addr)?)?;
            }
            "datagram" => {
                self.socket()?.send(DATAGRAM)?;
            }
            // The first protocol that is free for experiments (RFC 3692), and no frames at all.
            "raw" => self.keep(Socket::new(Domain::IPV4, Type::RAW, Some(253.into()))?),
            "packet" => self.keep(Socket::new(Domain::PACKET, Type::RAW, None)?),
            "give" => hand_over::give(object.as_ref(), self.socket()?)?,
            "take" => self.keep(hand_over::take(object.as_ref())?),
            // This process, whatever its number is.
            "join" => std::fs::write(Path::new(object).join("cgroup.procs"), "0")?,
            "uid" => nix::unistd::setuid(object.parse::<u32>().expect("uid=NUMBER").into())?,
            "gid" => nix::unistd::setgid(object.parse::<u32>().expect("gid=NUMBER").into())?,
            "reuse" => self.socket()?.set_reuse_address(true)?,
            "bind" => {
                let addr: SocketAddr = object.parse().expect("bind=ADDR");
                self.socket_for(addr)?.bind(&addr.into())?;
            }
            "device" if object.is_empty() => {
                let name = self.socket()?.device()?.unwrap_or_default();
                return Ok(json!(String::from_utf8_lossy(&name)));
            }
            "device" => self.socket()?.bind_device(Some(object.as_bytes()))?,
            "tos" => self
                .socket()?
                .set_tos_v4(object.parse().expect("tos=BYTE"))?,
            "class" => self
                .socket()?
                .set_tclass_v6(object.parse().expect("class=BYTE"))?,
            "mark" => self
                .socket()?
                .set_mark(object.parse().expect("mark=NUMBER"))?,
            "fastopen" => crate::fast_open(self.socket()?, libc::TCP_FASTOPEN_CONNECT, 1)?,
            "fastsend" => {
                let addr: SocketAddr = object.parse().expect("fastsend=ADDR");
                let socket = self.socket_for(addr)?;
                socket.send_to_with_flags(b"fast\n", &addr.into(), libc::MSG_FASTOPEN)?;
            }
            // Whether the far end took data that came with the SYN.
            "acked" => return Ok(json!(syn_data_acked(self.socket()?)?)),
            "nonblocking" => self.socket()?.set_nonblocking(true)?,
            "connect" | "start" => {
                let addr: SocketAddr = object.parse().expect("connect=ADDR");
                let socket = self.socket_for(addr)?;
                match socket.connect(&reachable(socket, addr)?) {
                    Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                        if verb == "connect" {
                            finish(socket)?;
                        }
                    }
                    connected => connected?,
                }
            }
            "finish" => finish(self.socket()?)?,
            "disconnect" => self.socket()?.connect(&unspecified())?,
            "names" => {
                let socket = self.socket()?;
                return Ok(json!({
                    "getpeername": name(socket.peer_addr()),
                    "getsockname": name(socket.local_addr()),
                }));
            }
            "send" => {
                let socket = self.blocking()?;
                socket.write_all(object.as_bytes())?;
                socket.write_all(b"\n")?;
            }
            "line" => return read_until(self.blocking()?, b'\n'),
            "rest" => {
                let mut bytes = Vec::new();
                self.blocking()?.read_to_end(&mut bytes)?;
                return Ok(json!(String::from_utf8_lossy(&bytes)));
            }
            "shutdown" => self.socket()?.shutdown(Shutdown::Write)?,
            "linger0" => self.socket()?.set_linger(Some(Duration::ZERO))?,
            "close" => drop(self.open.remove(&self.current)),
            "pause" => {
                std::io::stdin().read_line(&mut String::new())?;
            }
            _ => panic!("no such step: {step}"),
        }
        done
    }

    fn make(&mut self, domain: Domain, kind: Type, protocol: Protocol) -> Result<()> {
        self.keep(Socket::new(domain, kind, Some(protocol))?);
        Ok(())
    }

    fn keep(&mut self, socket: Socket) {
        self.open.insert(self.current, socket);
    }

    fn socket(&mut self) -> Result<&mut Socket> {
        self.open
            .get_mut(&self.current)
            .ok_or_else(|| Error::other("no socket is open in this slot"))
    }

    fn socket_for(&mut self, addr: SocketAddr) -> Result<&mut Socket> {
        if !self.open.contains_key(&self.current) {
            self.make(Domain::for_address(addr), Type::STREAM, Protocol::TCP)?;
        }
        self.socket()
    }

    fn blocking(&mut self) -> Result<&mut Socket> {
        let socket = self.socket()?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(socket)
    }
}

#[expect(unsafe_code, reason = "no crate of the tests has TCP_INFO")]
fn syn_data_acked(socket: &Socket) -> Result<bool> {
    /// `TCPI_OPT_SYN_DATA`, include/uapi/linux/tcp.h; libc names no field beyond it.
    const SYN_DATA: u8 = 32;
    let mut info = [0_u8; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and both live through the call.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if rc != 0 {
        return Err(Error::last_os_error());
    }
    // tcpi_options is the sixth byte of struct tcp_info.
    Ok(info[5] & SYN_DATA != 0)
}

/// An IPv4 address as an IPv6 socket needs it.
fn reachable(socket: &Socket, addr: SocketAddr) -> Result<SockAddr> {
    Ok(match addr {
        SocketAddr::V4(v4) if socket.domain()? == Domain::IPV6 => {
            SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())).into()
        }
        addr => addr.into(),
    })
}

fn finish(socket: &Socket) -> Result<()> {
    use std::os::fd::AsFd;
    let mut wanted = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(20_000).expect("fits");
    if poll(&mut wanted, timeout)? == 0 {
        return Err(Error::other(format!(
            "connect() on descriptor {} did not end in 20 s",
            socket.as_raw_fd()
        )));
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

/// AF_UNSPEC: connect() to it takes a TCP connection apart and leaves the socket usable.
fn unspecified() -> SockAddr {
    let storage = SockAddrStorage::zeroed();
    let length = storage.size_of();
    unspecified_of(storage, length)
}

#[expect(unsafe_code, reason = "socket2 offers AF_UNSPEC by storage alone")]
fn unspecified_of(storage: SockAddrStorage, length: libc::socklen_t) -> SockAddr {
    // SAFETY: zeroed storage is a valid address of family AF_UNSPEC (0), of the storage's size.
    unsafe { SockAddr::new(storage, length) }
}

fn read_until(socket: &mut Socket, stop: u8) -> Result<Value> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while socket.read(&mut byte)? == 1 {
        if byte[0] == stop {
            break;
        }
        bytes.push(byte[0]);
    }
    Ok(json!(String::from_utf8_lossy(&bytes)))
}

fn name(addr: Result<SockAddr>) -> String {
    match addr {
        Ok(addr) => addr.as_socket().map_or_else(
            || "not an internet address".to_owned(),
            |addr| addr.to_string(),
        ),
        Err(error) => errno_name(&error),
    }
}
