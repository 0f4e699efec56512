//! stub
use std::path::PathBuf;
/// stub
pub fn cgroup2_mount() -> Result<PathBuf, std::io::Error> {
    Ok("/sys/fs/cgroup/unified".into())
}
