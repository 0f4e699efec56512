//! Where one proxy listens for one address family, and what was found there.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;
use sidetrack_abi::{
    ListenerKey,
    flow::{FAMILY_V4, FAMILY_V6, proxy_slot},
};

use super::{
    Kernel, Unfit,
    owner::{self, Hierarchy, Owner},
    process,
};
use crate::{
    config::{
        CgroupPattern,
        cgroup::{NoNames, Selects},
    },
    kernel::{Family, cgroup, rules::NamedProxy, sockdiag::Listening},
    netns::Namespace,
};

/// How long a socket that was refused is not looked at again: to find who has it open, the
/// descriptors of all processes are read.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// A listener of a proxy, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyListener {
    /// The proxy.
    pub proxy: String,
    /// Where connections are sent.
    pub address: SocketAddr,
    /// Cookie of the network namespace that it is in and whose connections it gets; absent in the
    /// daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// `serving`, `absent`, `stopped` or `refused`.
    pub state: &'static str,
    /// Why it does not serve, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// A process that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Its cgroup, whose own connections no rule redirects to a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}

/// Where a proxy listens for one family.
#[derive(Clone)]
pub(super) struct Place {
    proxy: String,
    pub(super) number: u16,
    family: Family,
    port: u16,
    user: u32,
    cgroup: Option<CgroupPattern>,
    /// The namespace, if that is not the daemon's own.
    pub(super) inside: Option<Namespace>,
    /// The socket that was seen last.
    cookie: u64,
    /// What was found of it; nothing before the first look.
    pub(super) found: Option<Result<Owner, Unfit>>,
    looked: Instant,
    /// The socket that is registered.
    pub(super) registered: Option<u64>,
}

impl Place {
    pub(super) fn new(
        named: &NamedProxy,
        number: u16,
        (family, port): (Family, u16),
        inside: Option<&Namespace>,
    ) -> Self {
        Self {
            proxy: named.name.clone(),
            number,
            family,
            port,
            user: named.proxy.user,
            cgroup: named.proxy.cgroup.clone(),
            inside: inside.cloned(),
            cookie: 0,
            found: None,
            looked: Instant::now(),
            registered: None,
        }
    }

    /// Whether the configuration says the same of both.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.netns() == other.netns()
            && self.family == other.family
            && self.port == other.port
            && self.user == other.user
            && self.cgroup == other.cgroup
            && self.proxy == other.proxy
    }

    /// The cookie of its namespace, if that is not the daemon's own.
    pub(super) fn netns(&self) -> Option<u64> {
        self.inside.as_ref().map(Namespace::cookie)
    }

    /// Whether it is of interest to people: not each namespace has a proxy of its own.
    pub(super) fn is_worth_telling(&self) -> bool {
        self.inside.is_none() || !matches!(self.found, None | Some(Err(Unfit::Absent(_))))
    }

    /// The same for another rule set, in which nothing is registered yet.
    pub(super) fn renumbered(&self, number: u16) -> Self {
        Self {
            number,
            registered: None,
            ..self.clone()
        }
    }

    fn address(&self) -> SocketAddr {
        match self.family {
            Family::V4 => (Ipv4Addr::LOCALHOST, self.port).into(),
            Family::V6 => (Ipv6Addr::LOCALHOST, self.port).into(),
        }
    }

    pub(super) fn key(&self, own: u64, set: u32) -> ListenerKey {
        ListenerKey {
            netns: self.netns().unwrap_or(own),
            family: match self.family {
                Family::V4 => FAMILY_V4,
                Family::V6 => FAMILY_V6,
            },
            slot: proxy_slot(set, self.number),
        }
    }

    /// Whether it may be there any moment. In another namespace it may never be.
    pub(super) fn is_awaited(&self) -> bool {
        let absent = matches!(
            self.found,
            Some(Err(Unfit::Absent(_) | Unfit::Replaced { .. }))
        );
        absent && self.inside.is_none()
    }

    /// Whether the socket that was seen last is the one that is registered.
    pub(super) fn is_registered(&self) -> bool {
        self.registered == Some(self.cookie)
    }

    /// The owner of the socket, whether it accepts at the moment or not.
    pub(super) fn owner(&self) -> Option<&Owner> {
        self.found.as_ref()?.as_ref().ok()
    }

    pub(super) fn serving(&self) -> Option<&Owner> {
        self.owner().filter(|owner| !owner.stopped)
    }

    fn unfit(&self) -> Option<Unfit> {
        match self.found.as_ref()? {
            Ok(owner) => owner.stopped.then(|| Unfit::Stopped { pid: owner.pid() }),
            Err(unfit) => Some(unfit.clone()),
        }
    }

    /// What of it is worth a line in the log when it changes.
    pub(super) fn gist(&self) -> (Option<&'static str>, u64) {
        let state = self.found.as_ref().map(|_| self.report().state);
        (state, self.cookie)
    }

    pub(super) fn log(&self) {
        if !self.is_worth_telling() {
            return;
        }
        let ProxyListener {
            proxy,
            address,
            netns,
            state,
            why,
            pid,
            executable,
            cgroup,
        } = self.report();
        match why {
            None => tracing::info!(
                %proxy, %address, netns, pid, executable, cgroup = cgroup.map(|path| path.display().to_string()),
                "the proxy is there: connections are redirected to it"
            ),
            Some(why) => tracing::warn!(
                %proxy, %address, netns, state,
                "no connections are sent to the proxy, and its rules do as their `fail` says: {why}"
            ),
        }
    }

    pub(super) fn give_up(&mut self, kernel: Kernel<'_>, key: &ListenerKey) {
        self.registered = None;
        kernel.maps.lock().unregister_proxy(key);
    }

    pub(super) fn report(&self) -> ProxyListener {
        let unfit = self.unfit();
        let owner = self.owner();
        ProxyListener {
            proxy: self.proxy.clone(),
            address: self.address(),
            netns: self.netns(),
            state: unfit.as_ref().map_or("serving", Unfit::state),
            why: unfit.map(|unfit| unfit.to_string()),
            pid: owner.map(Owner::pid),
            executable: owner.map(|owner| owner.executable.clone()),
            cgroup: owner.map(|owner| owner.cgroup.clone()),
        }
    }

    /// Looks who listens: the socket, if there is one that may be the proxy's. Most looks see
    /// what the one before saw, and ask no other processes than the proxy's own.
    pub(super) fn look<'s>(
        &mut self,
        sockets: &'s [Listening],
        hierarchy: &Hierarchy,
    ) -> Option<&'s Listening> {
        let listener = owner::listener(sockets, self.family, self.port, self.cookie);
        let socket = match listener {
            Ok(Some(socket)) => socket,
            Ok(None) => return self.is_not(0, Unfit::Absent(self.address())),
            Err(unfit) => return self.is_not(0, unfit),
        };
        if socket.uid != 0 && socket.uid != self.user {
            return self.is_not(socket.cookie, Unfit::WrongUser { uid: socket.uid });
        }
        let known = self.found.take().filter(|_| socket.cookie == self.cookie);
        self.cookie = socket.cookie;
        let refused_before = matches!(&known, Some(Err(unfit)) if unfit.lasts());
        if refused_before && self.looked.elapsed() < REFUSED_FOR {
            self.found = known;
            return None;
        }
        self.looked = Instant::now();
        let again = known
            .and_then(Result::ok)
            .and_then(|owner| owner.again(socket, hierarchy));
        let found = again.unwrap_or_else(|| owner::find(socket, &process::all(), hierarchy));
        self.found = Some(found.and_then(|owner| self.in_its_cgroup(owner, hierarchy)));
        Some(socket)
    }

    /// Whoever is root in a container could listen there, and would be exempt from the rules that
    /// redirect to a proxy: what the proxy is in another namespace, its cgroup says.
    fn in_its_cgroup(&self, owner: Owner, hierarchy: &Hierarchy) -> Result<Owner, Unfit> {
        let Some(pattern) = &self.cgroup else {
            return Ok(owner);
        };
        let path = cgroup::below(&hierarchy.mount, &owner.cgroup);
        match pattern.selects(pattern.path(&path, &NoNames)) {
            Selects::Yes => Ok(owner),
            Selects::No | Selects::Perhaps => Err(Unfit::Elsewhere {
                pid: owner.pid(),
                cgroup: owner.cgroup,
            }),
        }
    }

    fn is_not<'s>(&mut self, cookie: u64, unfit: Unfit) -> Option<&'s Listening> {
        self.cookie = cookie;
        self.found = Some(Err(unfit));
        None
    }
}
