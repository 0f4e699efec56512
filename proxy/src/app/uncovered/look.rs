//! What the kernel lists, in each network namespace that somebody uses.

use std::{collections::HashSet, fs, net::SocketAddr, ops::RangeInclusive};

use super::App;
use crate::{
    kernel::{
        KernelError,
        sockdiag::{self, Connected},
    },
    netns::Namespace,
    uncovered::{Surroundings, kinds::Kinds},
};

/// What is looked for.
pub(super) struct Look<'a> {
    /// Whether it is worth finding out whose a connected socket is, where these are the listeners to
    /// which redirected ones are connected.
    pub(super) is_suspect: &'a dyn Fn(&HashSet<SocketAddr>, &Connected) -> bool,
    /// Where there were proxies of others, beside those of now.
    pub(super) proxies: &'a [SocketAddr],
    /// Whether sockets of kinds that no program sees are looked for as well.
    pub(super) kinds: bool,
}

/// What was seen in all of them.
pub(super) struct Seen {
    pub(super) suspects: Vec<(Surroundings, Vec<Connected>)>,
    pub(super) kinds: Kinds,
    pub(super) unseen: Vec<String>,
}

/// What the kernel lists in one of them.
struct Listed {
    around: Surroundings,
    suspects: Vec<Connected>,
    kinds: Kinds,
}

impl App {
    /// Looks in each network namespace that somebody uses.
    pub(super) fn look_past(&self, look: &Look<'_>) -> Result<Seen, KernelError> {
        let now = self.redirector.proxies();
        let mut listeners = self.past.listeners.clone();
        listeners.extend(look.proxies);
        let proxies_in = |netns: Option<u64>| {
            let there = now.iter().filter(move |proxy| proxy.netns == netns);
            there.map(|proxy| proxy.address)
        };
        listeners.extend(proxies_in(None));
        let own = &self.data.namespace;
        let mut kinds = Kinds::default();
        let mut suspects = Vec::new();
        let mut take = |listed: Listed| {
            kinds.extend(listed.kinds);
            if !listed.suspects.is_empty() {
                suspects.push((listed.around, listed.suspects));
            }
        };
        take(look.inside(own, None, listeners)?);
        let mut places = self.namespaces.places(own);
        for mut place in places.all {
            place.listeners.extend(look.proxies);
            place.listeners.extend(proxies_in(place.namespace.other()));
            match look.inside(&place.namespace, Some(place.found), place.listeners) {
                Ok(listed) => take(listed),
                Err(error) => places.unseen.push(error.to_string()),
            }
        }
        Ok(Seen {
            suspects,
            kinds,
            unseen: places.unseen,
        })
    }
}

impl Look<'_> {
    fn inside(
        &self,
        namespace: &Namespace,
        found: Option<String>,
        listeners: HashSet<SocketAddr>,
    ) -> Result<Listed, KernelError> {
        let listing = |error| {
            KernelError::new(
                match &found {
                    None => "listing sockets by sock_diag".to_owned(),
                    Some(found) => {
                        format!("listing sockets by sock_diag in the network namespace {found}")
                    }
                },
                "it needs CONFIG_INET_DIAG, and CAP_SYS_ADMIN in other network namespaces",
                error,
            )
        };
        let list = || {
            let mut suspects = sockdiag::connected()?;
            suspects.retain(|socket| (self.is_suspect)(&listeners, socket));
            let kinds = match self.kinds {
                true => Kinds::look(),
                false => Kinds::default(),
            };
            if suspects.is_empty() {
                return Ok((suspects, HashSet::new(), 0..=0, kinds));
            }
            // After the connected ones: one that is accepted meanwhile finds its listener.
            let listening = sockdiag::listening_ports()?;
            Ok((suspects, listening, ephemeral(), kinds))
        };
        let listed = namespace.enter(list).and_then(|listed| listed);
        let (mut suspects, listening, ephemeral, kinds) = listed.map_err(listing)?;
        let around = Surroundings {
            namespace: namespace.clone(),
            found,
            listeners,
            listening,
            ephemeral,
        };
        suspects.retain(|socket| !around.accepted(socket));
        Ok(Listed {
            around,
            suspects,
            kinds,
        })
    }
}

/// The ports that the kernel gives to clients in this network namespace.
fn ephemeral() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text
        .split_ascii_whitespace()
        .filter_map(|port| port.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(first), Some(last)) => first..=last,
        // The kernel's own default.
        _ => 32768..=60999,
    }
}
