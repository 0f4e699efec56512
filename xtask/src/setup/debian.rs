//! Debian packages: only those whose program is missing.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Purpose, announce, missing};
use crate::cmd;

struct Package {
    name: &'static str,
    /// Having this program is having the package, wherever it came from.
    program: &'static str,
    why: &'static str,
    used_by: &'static [Purpose],
}

const BOTH: &[Purpose] = &[Purpose::Demo, Purpose::Test];
const ALL: &[Purpose] = &[Purpose::Demo, Purpose::Test, Purpose::Bench];
const TEST: &[Purpose] = &[Purpose::Test];
const PEER: &[Purpose] = &[Purpose::Test, Purpose::Bench];

#[rustfmt::skip]
const PACKAGES: [Package; 20] = [
    Package { name: "make", program: "make", why: "builds the allocator (jemalloc)", used_by: ALL },
    Package { name: "iproute2", program: "ip", why: "network namespaces", used_by: ALL },
    Package { name: "curl", program: "curl", why: "the unmodified client", used_by: BOTH },
    Package { name: "python3", program: "python3", why: "the unmodified server", used_by: BOTH },
    Package { name: "tcpdump", program: "tcpdump", why: "captures the wire", used_by: BOTH },
    Package { name: "nftables", program: "nft", why: "proves that no rule exists", used_by: BOTH },
    Package { name: "iptables", program: "iptables-save", why: "masquerades; proves that no rule exists; is measured", used_by: ALL },
    Package { name: "openssl", program: "openssl", why: "makes and judges certificates", used_by: TEST },
    Package { name: "haproxy", program: "haproxy", why: "a peer of other make", used_by: PEER },
    Package { name: "nginx-light", program: "nginx", why: "a peer of other make", used_by: PEER },
    Package { name: "stunnel4", program: "stunnel", why: "a peer of other make, measured beside", used_by: PEER },
    Package { name: "redsocks", program: "redsocks", why: "a proxy written for iptables", used_by: TEST },
    Package { name: "microsocks", program: "microsocks", why: "the SOCKS server behind it", used_by: TEST },
    Package { name: "podman", program: "podman", why: "containers", used_by: TEST },
    Package { name: "crun", program: "crun", why: "what runs them", used_by: TEST },
    Package { name: "golang-go", program: "go", why: "clients and servers in Go", used_by: TEST },
    Package { name: "wrk", program: "wrk", why: "a client that makes a load of HTTP", used_by: TEST },
    Package { name: "nghttp2-client", program: "h2load", why: "clients of HTTP/2", used_by: TEST },
    Package { name: "default-jdk-headless", program: "javac", why: "a client in Java", used_by: TEST },
    Package { name: "nodejs", program: "node", why: "a client in Node", used_by: TEST },
];

pub(super) fn ensure(purpose: Purpose) -> Result<()> {
    let wanted: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| package.used_by.contains(&purpose))
        .filter(|package| cmd::which(package.program).is_none())
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = wanted.iter().map(|package| package.name).collect();
    if !nix::unistd::geteuid().is_root() || cmd::which("apt-get").is_none() {
        let list: Vec<String> = wanted
            .iter()
            .map(|package| format!("  {} ({}): {}", package.program, package.name, package.why))
            .collect();
        return Err(missing(format!(
            "programs are missing, and installing them takes root and apt-get:\n{}\n\
             install them by hand: apt-get install {}",
            list.join("\n"),
            names.join(" ")
        )));
    }
    for package in &wanted {
        announce(&format!("Debian package {}", package.name), package.why);
    }
    install_or_update(&names)
}

/// NGINX's stream module, a file without a program; some builds have it in them.
pub(super) fn nginx_stream() -> Result<()> {
    let says = cmd::output(Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin nginx -V 2>&1"]))?;
    let built_in = says.split_whitespace().any(|word| word == "--with-stream");
    if built_in || Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").is_file() {
        return Ok(());
    }
    add(
        "libnginx-mod-stream",
        "a peer of other make, measured beside",
    )
}

/// Installs one package that no program shows to be there.
pub(super) fn add(name: &str, why: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() || cmd::which("apt-get").is_none() {
        return Err(missing(format!(
            "{name} is missing ({why}), and installing it takes root and apt-get"
        )));
    }
    announce(&format!("Debian package {name}"), why);
    install_or_update(&[name])
}

/// A package's list may be absent or too old to fetch from; only then is it worth an update.
fn install_or_update(names: &[&str]) -> Result<()> {
    if install(names).is_err() {
        println!("setup: updating the lists of packages: installing with the present ones failed");
        cmd::exec(apt_get().args(["update", "--quiet=2"]))?;
        install(names)?;
    }
    Ok(())
}

fn install(names: &[&str]) -> Result<()> {
    let _no_services = NoServices::forbid()?;
    cmd::exec(
        apt_get()
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(names),
    )
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While this lives, installed packages start no services: HAProxy and NGINX would take ports.
/// policy-rc.d is Debian's interface for that. One that is already there is left as it is.
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn forbid() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        let context = || format!("forbidding package services by {}", policy.display());
        fs::write(policy, "#!/bin/sh\nexit 101\n").with_context(context)?;
        let guard = Self(Some(policy.to_path_buf()));
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).with_context(context)?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.0
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("setup: remove {} by hand: {error}", policy.display());
        }
    }
}
