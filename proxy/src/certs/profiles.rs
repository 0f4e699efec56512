//! The set of certificates that development and tests use: good ones, and one for each way of
//! being refused.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    CertsError,
    authority::{Authority, Issued, LeafRequest},
    files::{self, Existing, Secrecy},
    validity::{BACKDATED, Validity},
};
use crate::identity::TrustDomain;

/// `profiles.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    authority: BTreeMap<String, AuthorityProfile>,
    leaf: BTreeMap<String, LeafProfile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityProfile {
    name: String,
    trust_domain: Option<String>,
    days: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafProfile {
    /// Name of the authority that signs it.
    issuer: String,
    #[serde(default)]
    spiffe: Vec<String>,
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    ips: Vec<IpAddr>,
    /// When it begins to be valid, hours from now.
    #[serde(default)]
    from_hours: i32,
    /// When it ends to be valid, hours from now.
    until_hours: i32,
    /// Whether its issuer's revocation list names it.
    #[serde(default)]
    revoked: bool,
}

/// Makes every authority and leaf of `profiles_toml` and writes `NAME.crt` and `NAME.key` of
/// each into `folder`, and for each authority a revocation list `NAME.crl`. Returns what was
/// written. Every call makes new keys.
///
/// # Errors
/// If the profiles are wrong, or a file exists and is to be kept; then nothing was written.
pub fn write(
    profiles_toml: &str,
    folder: &Path,
    existing: Existing,
) -> Result<Vec<PathBuf>, CertsError> {
    let profiles: Profiles =
        toml::from_str(profiles_toml).map_err(|error| CertsError::Request {
            asked: "reading the profiles".into(),
            problem: error.to_string(),
            fix: "compare certs/profiles.toml of the source".into(),
        })?;
    files::make_folder(folder)?;
    let place = |name: &str, kind: &str| folder.join(format!("{name}.{kind}"));
    let mut paths = Vec::new();
    for name in profiles.authority.keys() {
        paths.extend(["crt", "key", "crl"].map(|kind| place(name, kind)));
    }
    for name in profiles.leaf.keys() {
        paths.extend(["crt", "key"].map(|kind| place(name, kind)));
    }
    if existing == Existing::Keep {
        files::none_exists(&paths)?;
    }

    let mut authorities = BTreeMap::new();
    for (name, profile) in &profiles.authority {
        authorities.insert(name.as_str(), (authority(name, profile)?, Vec::new()));
    }
    let mut leaves = Vec::new();
    for (name, profile) in &profiles.leaf {
        let Some((authority, revoked)) = authorities.get_mut(profile.issuer.as_str()) else {
            return Err(wrong(
                name,
                format!("there is no authority {:?}", profile.issuer),
            ));
        };
        let issued = leaf(authority, name, profile)?;
        if profile.revoked {
            revoked.push(issued.revocation());
        }
        leaves.push((name, issued));
    }
    let mut lists = Vec::new();
    for (name, (authority, revoked)) in &authorities {
        let days = profiles
            .authority
            .get(*name)
            .map_or(1, |profile| profile.days);
        lists.push((
            name,
            authority.revocation_list(revoked, validity_days(days)?)?,
        ));
    }

    for (name, issued) in leaves {
        issued.write(&place(name, "crt"), &place(name, "key"), existing)?;
    }
    for (name, (authority, _)) in &authorities {
        authority.write(&place(name, "crt"), &place(name, "key"), existing)?;
    }
    for (name, list) in lists {
        let path = place(name, "crl");
        files::write(&path, list.as_bytes(), Secrecy::Public, existing)?;
    }
    Ok(paths)
}

fn authority(name: &str, profile: &AuthorityProfile) -> Result<Authority, CertsError> {
    let domain = match &profile.trust_domain {
        Some(text) => {
            let domain: TrustDomain = text
                .parse()
                .map_err(|error| wrong(name, format!("{error}")))?;
            Some(domain)
        }
        None => None,
    };
    Authority::create(&profile.name, domain, validity_days(profile.days)?)
}

fn leaf(authority: &Authority, name: &str, profile: &LeafProfile) -> Result<Issued, CertsError> {
    let spiffe = profile
        .spiffe
        .iter()
        .map(|id| id.parse().map_err(|error| wrong(name, format!("{error}"))))
        .collect::<Result<_, _>>()?;
    let hours = |hours: i32| i64::from(hours) * 3600;
    // What begins now begins a little earlier, for other clocks.
    let from = match profile.from_hours {
        0 => -BACKDATED.as_secs().cast_signed(),
        other => hours(other),
    };
    authority.issue(&LeafRequest {
        name: name.to_owned(),
        spiffe,
        dns: profile.dns.clone(),
        ips: profile.ips.clone(),
        validity: Validity::offset(from, hours(profile.until_hours))?,
    })
}

fn validity_days(days: u32) -> Result<Validity, CertsError> {
    Validity::starting_now(std::time::Duration::from_secs(u64::from(days) * 86_400))
}

fn wrong(name: &str, problem: String) -> CertsError {
    CertsError::Request {
        asked: format!("the profile {name}"),
        problem,
        fix: "correct it".into(),
    }
}
