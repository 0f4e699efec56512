//! The child of `exec`: how it becomes the command, in its cgroup and as the user who asked.

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process,
};

use clap::Args;
use nix::{
    sys::{
        prctl::set_pdeathsig,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Uid, User, getppid, initgroups, setgid, setuid},
};
use rustix::thread::clear_ambient_capability_set;

use crate::{
    cli::{Exit, Failure},
    kernel::cgroup,
};

/// Arguments of the hidden child of `exec`.
#[derive(Args, Clone, Debug)]
pub struct ExecStageArgs {
    /// Folder of the cgroup to enter.
    #[arg(long, value_name = "DIR")]
    pub cgroup: PathBuf,
    /// Process id of the proxy, with which the command ends.
    #[arg(long, value_name = "PID")]
    pub proxy: i32,
    /// Soft limit of open files.
    #[arg(long)]
    pub nofile: Option<u64>,
    /// User to become.
    #[arg(long, requires_all = ["gid", "user"])]
    pub uid: Option<u32>,
    /// Group to become.
    #[arg(long, requires = "uid")]
    pub gid: Option<u32>,
    /// Name of that user, for its supplementary groups.
    #[arg(long, requires = "uid")]
    pub user: Option<String>,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<OsString>,
}

/// Becomes the command.
///
/// # Errors
/// 126 if the command cannot be run, 127 if there is none, as a shell has it.
pub fn become_command(args: ExecStageArgs) -> Result<Exit, Failure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::new(Exit::Usage, "no command"));
    };
    cgroup::join(&args.cgroup, process::id()).map_err(|error| {
        Failure::new(Exit::Failed, "entering the command's cgroup").because(&error)
    })?;
    lower_file_limit(&args)?;
    let user = drop_privileges(&args)?;
    // Last: becoming another user takes it back.
    end_with(args.proxy)?;
    let mut command = process::Command::new(program);
    command.args(arguments);
    if let Some(user) = &user {
        // sudo has made them root's.
        command
            .env("HOME", &user.dir)
            .env("USER", &user.name)
            .env("LOGNAME", &user.name);
    }
    let error = command.exec();
    let code = if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    let what = format!("running {}", program.to_string_lossy());
    Err(Failure::new(Exit::Command(code), what).because(&error))
}

fn failed(what: &str) -> impl Fn(nix::errno::Errno) -> Failure {
    move |error| Failure::new(Exit::Failed, what.to_owned()).because(&error)
}

/// The caller's limit of open files: the proxy has raised its own.
fn lower_file_limit(args: &ExecStageArgs) -> Result<(), Failure> {
    let Some(soft) = args.nofile else {
        return Ok(());
    };
    getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard))
        .map_err(failed("setting the limit of open files"))
}

/// Back to the user who called sudo; who that is. Setuid programs must go on working, so
/// `no_new_privs` is not set.
fn drop_privileges(args: &ExecStageArgs) -> Result<Option<User>, Failure> {
    let (Some(uid), Some(gid), Some(name)) = (args.uid, args.gid, &args.user) else {
        return Ok(None);
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let user = User::from_name(name)
        .map_err(failed("looking up the user who called"))?
        .filter(|user| user.uid == uid)
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("SUDO_USER {name:?} is not the user with SUDO_UID {uid}"),
            )
            .fix("call it by sudo, or unset SUDO_UID to run the command as root")
        })?;
    let groups_of = CString::new(user.name.as_str())
        .map_err(|error| Failure::new(Exit::Failed, "reading the user's name").because(&error))?;
    // They would survive the change of user under SECBIT_NO_SETUID_FIXUP, and then the exec.
    clear_ambient_capability_set().map_err(|error| {
        Failure::new(Exit::Failed, "clearing the ambient capabilities").because(&error)
    })?;
    // The user last: afterwards there is no right to the others.
    initgroups(&groups_of, gid)
        .and_then(|()| setgid(gid))
        .and_then(|()| setuid(uid))
        .map_err(failed("becoming the user who called"))?;
    Ok(Some(user))
}

/// A command that outlived the proxy would go on unredirected.
fn end_with(proxy: i32) -> Result<(), Failure> {
    set_pdeathsig(Signal::SIGKILL).map_err(failed("tying the command to the proxy"))?;
    // If it ended before, nothing will tell.
    if getppid().as_raw() == proxy {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Failed,
            "the proxy ended before the command began",
        ))
    }
}
