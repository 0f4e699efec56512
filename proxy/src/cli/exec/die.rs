//! Ending as the command ended.
#![expect(
    unsafe_code,
    reason = "restoring a signal's default action has no safe wrapper"
)]

use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction},
};

use crate::cli::Exit;

/// Ends this process by the signal that ended the command, so that whoever waits for it sees the
/// same; the answer is the shell's code for it, should the signal not end it.
pub(super) fn die_by(number: i32) -> Exit {
    let code = Exit::Command(128_u8.saturating_add(u8::try_from(number).unwrap_or(127)));
    let Ok(signal) = Signal::try_from(number) else {
        return code;
    };
    // The command has left its core, if any; this process's would only hide it.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    if unsafe { sigaction(signal, &default) }.is_ok() {
        let _ = raise(signal);
    }
    code
}
