//! bpf-linker, pinned to the release that reads the bitcode of this compiler's LLVM.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{announce, missing, rust};
use crate::cmd;

/// The last release that loads rustc's own LLVM; 0.11 and later want one of the system's.
const VERSION: &str = "0.10.4";
/// The LLVM whose bitcode [`VERSION`] is known to read.
const LLVM_MAJOR: &str = "22";

/// Installs it unless the right version is there.
pub(crate) fn ensure() -> Result<()> {
    check_llvm(&cmd::output(
        Command::new("rustc").current_dir(cmd::root()).arg("-vV"),
    )?)?;
    if installed().is_none() {
        announce(
            &format!("bpf-linker {VERSION} in target/tools"),
            "it links the BPF object (about two minutes, once)",
        );
        rust::install("bpf-linker", VERSION)?;
    }
    Ok(())
}

/// Where the right version is.
pub(crate) fn path() -> Result<PathBuf> {
    installed()
        .with_context(|| format!("bpf-linker {VERSION} is not installed; run `cargo xtask setup`"))
}

fn installed() -> Option<PathBuf> {
    rust::installed(
        "bpf-linker",
        &["--version"],
        &format!("bpf-linker {VERSION}"),
    )
}

fn check_llvm(rustc: &str) -> Result<()> {
    let llvm = rustc
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .unwrap_or("unknown");
    if llvm.split('.').next() == Some(LLVM_MAJOR) {
        return Ok(());
    }
    let release = rustc.lines().next().unwrap_or("rustc");
    Err(missing(format!(
        "{release} has LLVM {llvm}, and bpf-linker {VERSION} reads the bitcode of LLVM {LLVM_MAJOR} only.\n\
         Use a toolchain with LLVM {LLVM_MAJOR}: `rustup toolchain install 1.95` and `cargo +1.95 xtask …`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_of_another_llvm_is_refused_with_the_toolchain_to_use() {
        let error = check_llvm("rustc 1.99.0\nLLVM version: 23.1.0\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("LLVM 23.1.0") && text.contains("cargo +1.95"),
            "{text}"
        );
        assert!(check_llvm("rustc 1.95.0\nLLVM version: 22.1.2\n").is_ok());
    }
}
