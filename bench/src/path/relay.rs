//! The benchmark's own plain relay, which asks for SO_ORIGINAL_DST: behind Sidetrack's programs, and behind
//! iptables. It is run the same way, as the same user, so that only what sends the client to it differs.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::{Kind, Place, Proxies, Spec, iptables, sidetrack};
use crate::{
    Trouble,
    stage::{Room, Stage, Streams},
};

/// As whom proxies run that iptables exempts by their user.
pub(crate) const USER: u32 = 65_534;
/// Where it listens.
const PORT: u16 = 15_001;

pub(super) fn set_up(stage: &Stage, spec: &Spec, room: &Room) -> Result<Proxies, Trouble> {
    let at = SocketAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT));
    let host = &stage.client;
    let own = host.group("relay")?;
    let mut words = room.agent("relay");
    let user = USER.to_string();
    words.extend(["--listen".into(), at.to_string().into()]);
    words.extend(["--user".into(), user.into()]);
    let mut relay = host.spawn(&own, room.program(), &words, Streams::Log)?;
    relay.wait_listening(at)?;
    let mut proxies = match spec.kind {
        Kind::IptablesRelay => {
            iptables::redirect(host, spec.rules, PORT, USER)?;
            Proxies::none()
        }
        _ => sidetrack::redirect(stage, spec, room, at)?,
    };
    proxies.client = Place::Selected;
    proxies.groups.push(own);
    proxies.processes.push(relay);
    Ok(proxies)
}
