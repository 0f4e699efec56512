//! `protocol` and `udp` of outbound rules.

use std::ops::RangeInclusive;

use super::values;
use crate::config::{Datagrams, OutboundAction, Protocols, errors::Problems, file};

/// The port of DNS, which names are looked up by over UDP.
const DNS: u16 = 53;

/// What a rule says of each protocol.
///
/// Where nothing is written: what leaves things alone or forbids them does so for every protocol;
/// what carries connections is about TCP. With mTLS, to a gateway too, UDP is denied beside it: else what the rule is
/// there to protect could leave in plain text, as DNS, syslog or QUIC to the same port.
pub(super) fn protocols(
    problems: &mut Problems,
    key: &str,
    file: &file::Outbound,
    action: &OutboundAction,
    ports: &[RangeInclusive<u16>],
) -> Protocols {
    const PROTOCOLS: [(&str, Protocols); 3] = [
        ("tcp", Protocols::TCP),
        ("udp", Protocols::UDP),
        ("any", Protocols::ANY),
    ];
    const BESIDE: [(&str, Datagrams); 2] =
        [("deny", Datagrams::Denied), ("pass", Datagrams::Passed)];
    let carries = matches!(
        action,
        OutboundAction::Mtls(_) | OutboundAction::Gateway { .. } | OutboundAction::Redirect { .. }
    );
    let protocol_key = format!("{key}.protocol");
    let written = file
        .protocol
        .as_deref()
        .and_then(|text| values::word(problems, &protocol_key, text, &PROTOCOLS));
    if carries && written.is_some_and(|protocols| protocols != Protocols::TCP) {
        problems.bad(
            &protocol_key,
            file.protocol.as_deref().unwrap_or_default(),
            "this action is about TCP connections; no proxy takes datagrams",
            "leave it out, and say with udp = \"deny\" or \"pass\" what becomes of UDP",
        );
    }
    let beside = file
        .udp
        .as_deref()
        .and_then(|text| values::word(problems, &format!("{key}.udp"), text, &BESIDE));
    match action {
        OutboundAction::Mtls(_) | OutboundAction::Gateway { .. } => {
            if file.udp.is_none() && ports.iter().any(|range| range.contains(&DNS)) {
                problems.warn(
                    key,
                    "UDP to these destinations is denied too, and with port 53 the DNS; to let it \
                     through write udp = \"pass\", or a rule of its own with protocol = \"udp\"; \
                     to keep it, udp = \"deny\"",
                );
            }
            Protocols {
                tcp: true,
                udp: beside.unwrap_or(Datagrams::Denied),
            }
        }
        OutboundAction::Redirect { .. } => Protocols {
            tcp: true,
            udp: beside.unwrap_or(Datagrams::Unruled),
        },
        OutboundAction::Passthrough => written.unwrap_or(Protocols::TCP),
        OutboundAction::Deny { .. } | OutboundAction::Ignore => written.unwrap_or(Protocols::ANY),
    }
}
