//! A folder of certificates: `NAME.crt` with `NAME.key`.

use std::{
    fs,
    num::NonZeroUsize,
    panic,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use super::{Findings, Named, OwnIdentity, pair};

/// The key of the configuration that names the folder.
const PLACE: &str = "listener.tls.certificates";

/// So many pairs are worth a thread of their own.
const WORTH_A_THREAD: usize = 256;

/// All pairs of `folder`, in the order of their names.
pub(super) fn identities(folder: &Path, found: &mut Findings) -> Vec<Arc<OwnIdentity>> {
    let whole = Named::new(PLACE.into(), folder);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let fix = "name a folder that holds NAME.crt with NAME.key";
            found
                .errors
                .push(whole.wrong(format!("reading it: {error}"), fix));
            return Vec::new();
        }
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_certificate =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "crt");
    let mut certificates: Vec<_> = paths.filter(is_certificate).collect();
    certificates.sort();
    if certificates.is_empty() {
        let fix = "put pairs of NAME.crt and NAME.key there";
        found
            .errors
            .push(whole.wrong("no file in it ends in .crt", fix));
    }
    // Each costs a fraction of a millisecond of cryptography, and there may be ten thousand.
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = certificates.len().div_ceil(threads).max(WORTH_A_THREAD);
    thread::scope(|scope| {
        let now = found.now;
        let shares = certificates.chunks(share);
        let parts: Vec<_> = shares
            .map(|share| scope.spawn(move || pairs(share, Findings::at(now))))
            .collect();
        let mut identities = Vec::with_capacity(certificates.len());
        for part in parts {
            let (read, said) = part.join().unwrap_or_else(|why| panic::resume_unwind(why));
            identities.extend(read);
            found.warnings.extend(said.warnings);
            found.errors.extend(said.errors);
        }
        identities
    })
}

/// These pairs, and what is wrong with them.
fn pairs(certificates: &[PathBuf], mut found: Findings) -> (Vec<Arc<OwnIdentity>>, Findings) {
    let pairs = certificates.iter().filter_map(|path| {
        let name = path.file_stem()?.to_string_lossy();
        let certificate = Named::new(PLACE.into(), path);
        let private_key = Named::new(PLACE.into(), &path.with_extension("key"));
        pair(&name, &certificate, &private_key, &mut found).map(Arc::new)
    });
    (pairs.collect(), found)
}
