//! Destinations that rules have to name.

use ipnet::IpNet;

/// Destinations that no rule is about unless a prefix of its lies in them: what stays on this host
/// or this link, and what goes to many.
pub fn left_alone() -> impl Iterator<Item = IpNet> {
    const LEFT_ALONE: [&str; 9] = [
        "127.0.0.0/8",
        "::1/128",
        "169.254.0.0/16",
        "fe80::/10",
        "224.0.0.0/4",
        "ff00::/8",
        "0.0.0.0/32",
        "::/128",
        "255.255.255.255/32",
    ];
    LEFT_ALONE.iter().filter_map(|text| text.parse().ok())
}
