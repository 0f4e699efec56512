//! NGINX with its stream module: a pair with mutual TLS between them.

use std::{path::Path, process::Command};

use super::{
    Proxies,
    pair::{self, APP, End, FAR, GROUP, NEAR, SUITE, Side},
};
use crate::{
    Trouble,
    stage::{Process, Room, Stage, Streams, finish, has},
};

/// What one read takes in either direction.
const BUFFER: &str = "64k";
const MODULE: &str = "ngx_stream_module.so";

/// Whether it and its stream module are there.
pub(crate) fn available() -> Result<(), Trouble> {
    has("nginx", "nginx-light")?;
    module().map(drop)
}

/// What loads the stream module: nothing where it is built in.
fn module() -> Result<String, Trouble> {
    let says = build()?;
    let words: Vec<&str> = says.split_whitespace().collect();
    if words.contains(&"--with-stream") {
        return Ok(String::new());
    }
    let folder = words
        .iter()
        .find_map(|word| word.strip_prefix("--modules-path="));
    let module = Path::new(folder.unwrap_or("/usr/lib/nginx/modules")).join(MODULE);
    match module.is_file() {
        true => Ok(format!("load_module {};\n", module.display())),
        false => Err(Trouble::missing(
            "looking for the stream module of nginx",
            format!("{} is not there", module.display()),
        )
        .fix("install the package libnginx-mod-stream")),
    }
}

/// How it was built; it says so on standard error.
fn build() -> Result<String, Trouble> {
    finish(Command::new("sh").args(["-c", "nginx -V 2>&1"]))
}

/// One at each end.
pub(super) fn pair(stage: &Stage, room: &Room) -> Result<Proxies, Trouble> {
    let module = module()?;
    pair::set_up(stage, room, |end| start(&end, &module))
}

fn start(end: &End<'_>, module: &str) -> Result<Process, Trouble> {
    let file = end.host.write("nginx.conf", &configuration(end, module))?;
    let words = ["-c".as_ref(), file.as_os_str()];
    end.host
        .spawn(&end.host.proxy, "nginx", &words, Streams::Log)
}

fn configuration(end: &End<'_>, module: &str) -> String {
    let folder = end.host.folder().display();
    let (certificate, key) = (end.own.certificate.display(), end.own.key.display());
    let ca = end.certificates.ca.display();
    let server = match end.side {
        Side::Near => format!(
            "listen {NEAR} reuseport;\nproxy_pass {FAR};\nproxy_ssl on;\n\
             proxy_ssl_certificate {certificate};\nproxy_ssl_certificate_key {key};\n\
             proxy_ssl_trusted_certificate {ca};\nproxy_ssl_verify on;\nproxy_ssl_name {name};\n\
             proxy_ssl_server_name on;\nproxy_ssl_protocols TLSv1.3;\nproxy_ssl_session_reuse on;\n\
             proxy_ssl_conf_command Groups {GROUP};\nproxy_ssl_conf_command Ciphersuites {SUITE};\n",
            name = end.certificates.server.name,
        ),
        Side::Far => format!(
            "listen {FAR} ssl reuseport;\nproxy_pass {APP};\n\
             ssl_certificate {certificate};\nssl_certificate_key {key};\n\
             ssl_client_certificate {ca};\nssl_verify_client on;\nssl_protocols TLSv1.3;\n\
             ssl_session_tickets on;\nssl_session_cache shared:sessions:10m;\nssl_ecdh_curve {GROUP};\n\
             ssl_conf_command Ciphersuites {SUITE};\n",
        ),
    };
    // Each relayed connection is two of `worker_connections`, which count for each worker.
    format!(
        "{module}daemon off;\nuser root;\npid {folder}/nginx.pid;\nerror_log stderr crit;\n\
         worker_processes {workers};\nworker_rlimit_nofile {files};\n\
         events {{ worker_connections {files}; }}\n\
         stream {{\nproxy_buffer_size {BUFFER};\nproxy_timeout 1h;\nproxy_half_close on;\nserver {{\n{server}}}\n}}\n",
        workers = pair::cpus(),
        files = pair::connections() * 2,
    )
}
