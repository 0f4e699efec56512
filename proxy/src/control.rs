//! What `status`, `connections` and `detach` ask a running daemon.
//!
//! A Unix socket that only its owner may open, one JSON object each way for each connection.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};

use crate::{
    app::{App, Daemon},
    config::Instance,
    kernel::KernelError,
    policy::explain::{Asked, Connecting},
    uncovered::close::Which,
};

pub mod lock;
pub mod past;
pub mod plain;
pub mod ports;
pub mod status;

/// A question is short.
const LONGEST: u64 = 4096;
/// Nobody needs longer to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// What is attached, effective and counted.
    Status,
    /// The live connections.
    Connections,
    /// The sockets past the redirect.
    Sockets {
        /// Only those in this network namespace.
        netns: Option<String>,
    },
    /// Close sockets past the redirect.
    Close(Which),
    /// Which rule decides for a connection, and why.
    Explain {
        /// Where to.
        to: Vec<SocketAddr>,
        /// Whether it is UDP.
        udp: bool,
        /// Who.
        task: Connecting,
    },
    /// Which rule decides for who comes to a port.
    ExplainInbound {
        /// The port.
        port: u16,
        /// From where.
        from: Option<IpAddr>,
    },
    /// What becomes of who comes to a listener, and of a request there.
    ExplainListener {
        /// Its name.
        name: String,
        /// From where.
        from: Option<IpAddr>,
        /// The request.
        asked: Option<Asked>,
    },
    /// Detach everything and stop.
    Detach,
}

/// The control socket of an instance.
pub fn socket_path(runtime_dir: &Path, instance: &Instance) -> PathBuf {
    runtime_dir.join(format!("{instance}.sock"))
}

/// Answers questions until the daemon stops. The socket's file is removed when dropped.
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
}

impl Control {
    /// Binds the socket, in place of one that a dead daemon left. The caller holds the
    /// instance's lock, so that nobody else's is taken.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // From its first moment, not after a chmod: whoever connects in between stays connected.
        let usual = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        let bound = UnixListener::bind(&path);
        umask(usual);
        Ok(Self {
            path,
            listener: bound?,
        })
    }

    /// Answers. `detach` is told when somebody asks for that.
    pub async fn serve(self, daemon: Daemon, detach: watch::Sender<bool>) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (daemon, detach) = (daemon.clone(), detach.clone());
            tokio::spawn(async move {
                let answered = timeout(PATIENCE, answer(stream, &daemon, &detach)).await;
                if let Ok(Err(error)) = answered {
                    tracing::debug!(%error, "answering on the control socket");
                }
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(
    mut stream: UnixStream,
    daemon: &Daemon,
    detach: &watch::Sender<bool>,
) -> io::Result<()> {
    let mut text = Vec::new();
    (&mut stream).take(LONGEST).read_to_end(&mut text).await?;
    let answer = match (serde_json::from_slice(&text), daemon) {
        (Err(error), _) => serde_json::json!({ "error": format!("not a question: {error}") }),
        (Ok(Question::Connections), _) => serde_json::to_value(daemon.data().live.list())?,
        (Ok(Question::Detach), _) => {
            detach.send_replace(true);
            serde_json::json!({ "stopping": true, "pid": std::process::id() })
        }
        (Ok(Question::ExplainListener { name, from, asked }), _) => {
            match daemon.explain_listener(&name, from, asked.as_ref()) {
                Ok(explained) => serde_json::to_value(explained)?,
                Err(error) => serde_json::json!({ "error": error.to_string() }),
            }
        }
        (Ok(Question::Status), Daemon::Plain(plain)) => {
            serde_json::to_value(plain::PlainStatus::of(plain))?
        }
        (Ok(_), Daemon::Plain(_)) => serde_json::json!({
            "error": "this daemon intercepts nothing: it has listeners alone, and asks no kernel"
        }),
        (Ok(question), Daemon::Intercepting(app)) => of_kernel(app, question).await?,
    };
    stream.write_all(&serde_json::to_vec(&answer)?).await?;
    stream.shutdown().await
}

/// Answers what only the kernel knows.
async fn of_kernel(app: &Arc<App>, question: Question) -> io::Result<serde_json::Value> {
    Ok(match question {
        Question::Status => {
            // The kernel is asked for each program: that blocks.
            let app = Arc::clone(app);
            let status = tokio::task::spawn_blocking(move || status::Status::of(&app)).await;
            serde_json::to_value(status.map_err(io::Error::other)?)?
        }
        Question::Sockets { netns } => {
            let look = move |app: &App| {
                let mut past = app.past_redirect()?.uncovered;
                past.retain(|one| netns.as_ref().is_none_or(|netns| one.is_in(netns)));
                Ok(past)
            };
            blocking(app, look).await?
        }
        Question::Close(which) => blocking(app, move |app| app.close_uncovered(&which)).await?,
        Question::Explain { to, udp, task } => serde_json::to_value(app.explain(&to, udp, &task))?,
        Question::ExplainInbound { port, from } => {
            serde_json::to_value(app.explain_inbound(port, from))?
        }
        // Asked of either kind of daemon, and answered before.
        Question::Connections | Question::ExplainListener { .. } | Question::Detach => {
            serde_json::Value::Null
        }
    })
}

/// Answers with what takes its time: the kernel's lists, and the descriptors of all processes.
async fn blocking<T: Serialize + Send + 'static>(
    app: &Arc<App>,
    look: impl FnOnce(&App) -> Result<T, KernelError> + Send + 'static,
) -> io::Result<serde_json::Value> {
    let app = Arc::clone(app);
    let found = tokio::task::spawn_blocking(move || look(&app)).await;
    Ok(match found.map_err(io::Error::other)? {
        Ok(found) => serde_json::to_value(found)?,
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    })
}

/// Asks a daemon.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` if there is none.
pub fn ask(path: &Path, question: Question) -> io::Result<serde_json::Value> {
    use std::io::{Read as _, Write as _};

    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    stream.write_all(&serde_json::to_vec(&question)?)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_the_umask_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let before = umask(Mode::S_IWGRP);
        let path = dir.path().join("default.sock");
        let _control = Control::bind(path.clone()).unwrap();
        assert_eq!(umask(before), Mode::S_IWGRP);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
