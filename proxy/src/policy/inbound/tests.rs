use std::time::SystemTime;

use super::*;

fn route() -> InboundRoute {
    InboundRoute {
        rule: "web".into(),
        tunnel: None,
        mtls: None,
        own: None,
        detect: None,
        source: SourceMode::Api,
        select: None,
        in_namespaces: false,
        plain: false,
        plain_from: vec!["10.9.0.0/24".parse().unwrap()],
        may_claim: BTreeMap::from([(
            "spiffe://example.org/edge".parse().unwrap(),
            // More than anybody should be granted: what is never believed is not either way.
            [
                "10.2.0.0/16",
                "127.0.0.0/8",
                "0.0.0.0/32",
                "224.0.0.0/3",
                "::/127",
                "ff00::/8",
            ]
            .map(|net| net.parse().unwrap())
            .into(),
        )]),
    }
}

fn peer(id: &str) -> PeerIdentity {
    PeerIdentity {
        spiffe: Some(id.parse().unwrap()),
        dns: vec![],
        ips: vec![],
        common_name: None,
        not_after: SystemTime::UNIX_EPOCH,
    }
}

fn open(id: &str, source: &str, destination: &str) -> Result<SocketAddr, Reason> {
    let local = LocalAddr::new("10.0.0.2:8080".parse().unwrap());
    let from = "10.0.0.1:40000".parse().unwrap();
    let claim = (
        ClientAddr::new(source.parse().unwrap()),
        OriginalDst::new(destination.parse().unwrap()),
    );
    let own = |ip: IpAddr| ip == "10.2.0.99".parse::<IpAddr>().unwrap();
    route()
        .permit_open(&peer(id), (local, from), claim, own)
        .map(|permit| permit.client().get())
        .map_err(|refusal| refusal.reason)
}

#[test]
fn a_peer_speaks_for_its_own_address_with_any_port() {
    let id = "spiffe://example.org/front";
    assert_eq!(
        open(id, "10.0.0.1:1234", "10.0.0.2:8080"),
        Ok("10.0.0.1:1234".parse().unwrap())
    );
}

#[test]
fn a_peer_cannot_name_another_destination() {
    let id = "spiffe://example.org/edge";
    for to in [
        "10.0.0.2:22",
        "10.0.0.3:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::ffff:127.0.0.1]:8080",
        "[::ffff:10.0.0.3]:8080",
        "0.0.0.0:8080",
        "[::]:8080",
        "224.0.0.1:8080",
    ] {
        assert_eq!(
            open(id, "10.0.0.1:1", to),
            Err(Reason::WrongDestination),
            "{to}"
        );
    }
}

#[test]
fn a_peer_claims_only_sources_that_were_granted_to_it() {
    let edge = "spiffe://example.org/edge";
    assert!(open(edge, "10.2.3.4:5", "10.0.0.2:8080").is_ok());
    for source in [
        "10.3.0.1:5",
        "127.0.0.1:5",
        "10.2.0.99:5",
        "0.0.0.0:5",
        "224.0.0.1:5",
        "255.255.255.255:5",
        "10.2.3.4:0",
        "10.0.0.1:0",
        "[::1]:5",
        "[::]:5",
        "[ff02::1]:5",
        "[::ffff:127.0.0.1]:5",
        "[::ffff:10.2.0.99]:5",
        "[::ffff:0.0.0.0]:5",
        "[::ffff:224.0.0.1]:5",
        "[::ffff:10.3.0.1]:5",
    ] {
        assert_eq!(
            open(edge, source, "10.0.0.2:8080"),
            Err(Reason::SourceNotGranted),
            "{source}"
        );
    }
    assert_eq!(
        open("spiffe://example.org/front", "10.2.3.4:5", "10.0.0.2:8080"),
        Err(Reason::SourceNotGranted)
    );
}

#[test]
fn a_peer_does_not_speak_for_its_own_address_where_that_is_this_hosts() {
    let local = LocalAddr::new("10.0.0.2:8080".parse().unwrap());
    for from in ["127.0.0.1:40000", "10.2.0.99:40000"] {
        let from: SocketAddr = from.parse().unwrap();
        let claim = (ClientAddr::new(from), OriginalDst::new(local.get()));
        let own = |ip: IpAddr| ip == "10.2.0.99".parse::<IpAddr>().unwrap();
        let peer = peer("spiffe://example.org/front");
        let refused = route().permit_open(&peer, (local, from), claim, own);
        assert_eq!(refused.unwrap_err().reason, Reason::SourceNotGranted);
    }
}

#[test]
fn plain_text_is_for_the_prefixes_that_may() {
    let to = OriginalDst::new("10.0.0.2:8080".parse().unwrap());
    assert!(
        route()
            .permit_plain("10.9.0.5:1".parse().unwrap(), to)
            .is_ok()
    );
    assert!(
        route()
            .permit_plain("[::ffff:10.9.0.5]:1".parse().unwrap(), to)
            .is_ok()
    );
    let refused = route().permit_plain("10.0.0.1:1".parse().unwrap(), to);
    assert_eq!(refused.unwrap_err().reason, Reason::Plaintext);
}
