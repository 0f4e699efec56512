//! Rules that many tests share, as TOML.

/// Ports that the shared rules speak of.
pub const PORTS: &str = "7000-7999";

/// Everything to the other host's [`PORTS`] in mutual TLS: `wire` is `tunnel` or `tls`.
pub fn outbound_mtls(wire: &str, expect: &str) -> String {
    format!(
        r#"
[[outbound]]
name = "out"
to = ["10.88.0.0/24", "fd88::/64"]
ports = ["{PORTS}"]
action = "mtls"
wire = "{wire}"
identity = "own"
expect = ["{expect}"]
"#
    )
}

/// Everything to the other host's [`PORTS`] relayed as it is.
pub fn outbound_passthrough() -> String {
    format!(
        r#"
[[outbound]]
name = "out"
to = ["10.88.0.0/24", "fd88::/64"]
ports = ["{PORTS}"]
action = "passthrough"
"#
    )
}

/// [`PORTS`] of this host, for clients that are `allow`: `accept` is a TOML list.
pub fn inbound(accept: &str, allow: &str) -> String {
    format!(
        r#"
[[inbound]]
name = "in"
ports = ["{PORTS}"]
identity = "own"
accept = {accept}
allow = ["{allow}"]
"#
    )
}

/// [`PORTS`] of this host in plain text.
pub fn inbound_plain() -> String {
    format!("[[inbound]]\nname = \"in\"\nports = [\"{PORTS}\"]\naccept = [\"plain\"]\n")
}
