//! A folder of certificates: `NAME.crt` with `NAME.key`.

use std::{fs, path::Path, sync::Arc};

use super::{Findings, Named, OwnIdentity, pair};

/// The key of the configuration that names the folder.
const PLACE: &str = "listener.tls.certificates";

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
        |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "crt");
    let mut certificates: Vec<_> = paths.filter(is_certificate).collect();
    certificates.sort();
    if certificates.is_empty() {
        let fix = "put pairs of NAME.crt and NAME.key there";
        found
            .errors
            .push(whole.wrong("no file in it ends in .crt", fix));
    }
    let pairs = certificates.iter().filter_map(|path| {
        let name = path.file_stem()?.to_string_lossy();
        let certificate = Named::new(PLACE.into(), path);
        let private_key = Named::new(PLACE.into(), &path.with_extension("key"));
        pair(&name, &certificate, &private_key, found).map(Arc::new)
    });
    pairs.collect()
}
