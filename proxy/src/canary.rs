//! The canary: a connection through the redirect, of this very moment.
//!
//! A short-lived child of the daemon enters a cgroup of its own below the attach point, where it is
//! governed like any application, and connects to port 0 of the loopback address, in the daemon's
//! network namespace and in others that have listeners of ours. Nobody can listen there: a connection that the kernel does not redirect is refused at once, and nothing leaves the
//! host. Every generation of rules redirects it to our own listeners, where the daemon answers it
//! with a number that it has just made up.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Instant,
};

use nix::errno::Errno;
use parking_lot::Mutex;
use serde::Serialize;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::{
    kernel::{
        cgroup::{OwnCgroup, OwnCgroupError},
        effective::Fault,
    },
    record::ConnectionId,
};

pub mod child;
pub mod elsewhere;

use elsewhere::{Elsewhere, There};

/// Where it connects, at port 0.
pub const CANARY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// What the daemon's listeners answer, and to whom. One canary at a time.
#[derive(Debug, Default)]
pub struct Awaited(Mutex<Sent>);

#[derive(Debug, Default)]
struct Sent {
    /// The cgroup of the last one; ids are not given again.
    cgroup: u64,
    /// While it is under way.
    answer: Option<Answer>,
}

/// Known to the daemon alone before it is answered.
pub type Answer = [u8; 16];

impl Awaited {
    /// The answer for a connection from the cgroup `id`, if that is the canary's.
    pub fn answer(&self, id: u64) -> Option<Answer> {
        let sent = self.0.lock();
        sent.answer.filter(|_| sent.cgroup == id)
    }

    /// Whether the last canary was in the cgroup `id`: what the programs tell of it comes later.
    pub fn was_in(&self, id: u64) -> bool {
        self.0.lock().cgroup == id
    }

    fn begin(&self, cgroup: u64, answer: Answer) {
        *self.0.lock() = Sent {
            cgroup,
            answer: Some(answer),
        };
    }

    fn end(&self) {
        self.0.lock().answer = None;
    }
}

/// Answers a canary.
///
/// # Errors
/// It is gone. A socket that was just accepted takes so few bytes at once.
pub fn answer(stream: &TcpStream, answer: Answer) -> io::Result<()> {
    (&*SockRef::from(stream)).write_all(&answer)
}

/// How a canary fared.
#[derive(Clone, Debug, Serialize)]
pub struct Sung {
    /// Over IPv4.
    pub ipv4: Way,
    /// Over IPv6; absent if the network namespace has none.
    pub ipv6: Option<Way>,
    /// In other network namespaces.
    pub namespaces: Vec<There>,
}

/// How it fared over one family.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Whether it was redirected to our listener and answered.
    pub ok: bool,
    /// From connect() to the answer, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// What happened instead, and the likely cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Sends canaries.
#[derive(Debug)]
pub struct Canaries {
    governed: PathBuf,
    name: String,
    last: Mutex<Option<(Instant, Sung)>>,
    turns: Mutex<elsewhere::Turns>,
}

impl Canaries {
    /// From a cgroup `name` below `governed`.
    pub fn new(governed: PathBuf, name: String) -> Self {
        Self {
            governed,
            name,
            last: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Sends one, in each of `others` too or in as many of them in turn as one child looks at, and
    /// waits for what becomes of it, at most about a second. Whoever asks meanwhile waits, and has
    /// the next one's fate or that of one which began after it asked.
    pub fn send(&self, awaited: &Awaited, with_ipv6: bool, others: Vec<Elsewhere>) -> Sung {
        let asked = Instant::now();
        let mut last = self.last.lock();
        if let Some((began, sung)) = last.as_ref()
            && *began >= asked
        {
            return sung.clone();
        }
        let began = Instant::now();
        let others = self.turns.lock().choose(others);
        let sung = self.send_one(awaited, with_ipv6, &others);
        *last = Some((began, sung.clone()));
        sung
    }

    fn send_one(&self, awaited: &Awaited, with_ipv6: bool, others: &[Elsewhere]) -> Sung {
        let cgroup = match OwnCgroup::create(&self.governed, &self.name) {
            Ok(cgroup) => cgroup,
            Err(error) => return Sung::failed(with_ipv6, &no_cgroup(&error)),
        };
        let id = match cgroup.id() {
            Ok(id) => id,
            Err(error) => return Sung::failed(with_ipv6, &error.to_string()),
        };
        let ConnectionId(expected) = ConnectionId::random();
        awaited.begin(id, expected);
        let told = child::send(cgroup.path(), others);
        awaited.end();
        match told {
            Ok(told) => Sung {
                ipv4: Way::judge(told.own.v4, &expected),
                ipv6: with_ipv6.then(|| Way::judge(told.own.v6, &expected)),
                namespaces: There::judge(others, &told.others, &expected),
            },
            Err(error) => Sung::failed(with_ipv6, &format!("running the canary: {error}")),
        }
    }
}

fn no_cgroup(error: &OwnCgroupError) -> String {
    format!("{error}; without a cgroup of its own below the attach point it is not governed")
}

impl Sung {
    fn failed(with_ipv6: bool, why: &str) -> Self {
        let way = || Way {
            ok: false,
            latency_us: None,
            why: Some(why.to_owned()),
        };
        Self {
            ipv4: way(),
            ipv6: with_ipv6.then(way),
            namespaces: Vec::new(),
        }
    }

    /// What of it is not as it should be.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = lost("", [Some(&self.ipv4), self.ipv6.as_ref()]);
        for there in &self.namespaces {
            let place = format!(" in the network namespace {}", there.namespace);
            faults.extend(lost(&place, [there.ipv4.as_ref(), there.ipv6.as_ref()]));
        }
        faults
    }
}

/// Of the ways over IPv4 and IPv6 those that failed.
fn lost(place: &str, ways: [Option<&Way>; 2]) -> Vec<Fault> {
    let ways = ["IPv4", "IPv6"].into_iter().zip(ways);
    ways.filter_map(|(family, way)| Some((family, way?.why.as_ref()?)))
        .map(|(family, why)| {
            Fault::new(
                format!("the canary over {family}{place} did not come back: {why}"),
                "connections of applications most likely fare the same; put right what else is \
                 named here, else restart the daemon",
            )
        })
        .collect()
}

impl Way {
    fn judge(fate: child::Fate, expected: &Answer) -> Self {
        let why = match fate {
            child::Fate::Answered { answer, micros } if answer == *expected => {
                return Self {
                    ok: true,
                    latency_us: Some(micros),
                    why: None,
                };
            }
            child::Fate::Answered { .. } => {
                "somebody else answered it: a program after ours sends connections elsewhere".into()
            }
            child::Fate::Silence => "it was connected and not answered: an accept loop hangs, or \
                                     it was connected to somebody else"
                .into(),
            child::Fate::NotEntered { errno } => {
                let errno = Errno::from_raw(errno);
                format!("entering it failed with {errno:?}, which takes CAP_SYS_ADMIN there")
            }
            child::Fate::Failed { errno } => {
                let errno = Errno::from_raw(errno);
                format!("connect() failed with {errno:?}: {}", likely(errno))
            }
        };
        Self {
            ok: false,
            latency_us: None,
            why: Some(why),
        }
    }
}

fn likely(errno: Errno) -> &'static str {
    match errno {
        Errno::ECONNREFUSED => {
            "it was not redirected, since our programs are not attached, or one after ours wrote \
             another address; or the listener is closed"
        }
        Errno::EHOSTDOWN => "the programs run, and take the proxy for dead or find no listener",
        Errno::EPERM | Errno::EACCES => "a program or a security module refuses to connect",
        Errno::ETIMEDOUT => {
            "nobody accepted it, since an accept loop hangs or packets on lo are dropped"
        }
        _ => "the network of the loopback address is not as usual",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canarys_cgroup_alone_is_answered() {
        let awaited = Awaited::default();
        awaited.begin(7, [1; 16]);
        assert_eq!(awaited.answer(7), Some([1; 16]));
        assert_eq!(awaited.answer(8), None);
        awaited.end();
        assert_eq!(awaited.answer(7), None);
        assert!(awaited.was_in(7));
    }

    #[test]
    fn an_answer_of_somebody_else_is_a_failure_that_says_so() {
        let fate = child::Fate::Answered {
            answer: [2; 16],
            micros: 10,
        };
        let way = Way::judge(fate, &[1; 16]);
        assert!(!way.ok && way.why.is_some_and(|why| why.contains("somebody else")));
        let way = Way::judge(
            child::Fate::Failed {
                errno: libc::ECONNREFUSED,
            },
            &[1; 16],
        );
        assert!(way.why.is_some_and(|why| why.contains("ECONNREFUSED")));
    }
}
