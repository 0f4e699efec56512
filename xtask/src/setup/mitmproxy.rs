//! mitmproxy from PyPI, pinned, in a virtual environment of its own.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{announce, debian, missing};
use crate::cmd;

/// The last release for the Python of Debian 12 (3.11).
const VERSION: &str = "11.0.2";

/// Installs it unless the right version is there.
pub(super) fn ensure() -> Result<()> {
    let folder = folder();
    if is_installed(&folder) {
        return Ok(());
    }
    if cmd::output(Command::new("python3").args(["-c", "import ensurepip"])).is_err() {
        debian::add("python3-venv", "makes the environment for mitmproxy")?;
    }
    announce(
        &format!("mitmproxy {VERSION} from PyPI in target/tools"),
        "a transparent proxy that tests redirect to",
    );
    // What an installation that was broken off left cannot be gone on with.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let installed =
        cmd::exec(Command::new("python3").args(["-m", "venv"]).arg(&folder)).and_then(|()| {
            cmd::exec(
                Command::new(folder.join("bin/python"))
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                    ])
                    .arg(format!("mitmproxy=={VERSION}")),
            )
        });
    match installed {
        Ok(()) if is_installed(&folder) => Ok(()),
        Ok(()) => Err(missing(format!(
            "mitmproxy {VERSION} was installed in {} and does not run",
            folder.display()
        ))),
        Err(error) => Err(missing(format!(
            "mitmproxy {VERSION} cannot be installed: {error:#}; it takes Python 3.10 or later and PyPI"
        ))),
    }
}

/// The tests look for it here.
fn folder() -> PathBuf {
    cmd::target_dir().join("tools/mitmproxy")
}

fn is_installed(folder: &std::path::Path) -> bool {
    cmd::output(Command::new(folder.join("bin/mitmdump")).arg("--version"))
        .is_ok_and(|said| said.starts_with(&format!("Mitmproxy: {VERSION}")))
}
