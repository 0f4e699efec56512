//! Embeds the BPF object that `cargo xtask build-ebpf` made and names it by its hash. Without
//! one the binary is built all the same, so that checks and editors need no BPF toolchain; it
//! says so when it is asked to redirect.

use std::{env, fs, path::PathBuf};

use sha2::{Digest as _, Sha256};

fn main() {
    println!("cargo::rerun-if-env-changed=SIDETRACK_BPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("sidetrack.bpf.o");
    let object = match env::var_os("SIDETRACK_BPF_OBJECT") {
        None => Vec::new(),
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.to_string_lossy());
            match fs::read(&path) {
                Ok(object) => object,
                Err(error) => {
                    println!(
                        "cargo::error=reading the BPF object {}: {error}; run `cargo xtask build`",
                        path.to_string_lossy(),
                    );
                    return;
                }
            }
        }
    };
    let hash = if object.is_empty() {
        String::new()
    } else {
        Sha256::digest(&object)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    println!("cargo::rustc-env=SIDETRACK_BPF_SHA256={hash}");
    if let Err(error) = fs::write(&out, object) {
        println!("cargo::error=writing {}: {error}", out.display());
    }
}
