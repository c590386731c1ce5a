//! What is told to the supervisor that started this process: systemd, or another that sets
//! `NOTIFY_SOCKET`. Without one, nothing.

use crate::output::Output;

/// It takes calls now.
pub(crate) fn is_ready(output: &Output) {
    tell(output, true);
}

/// It was told to end.
pub(crate) fn is_stopping(output: &Output) {
    tell(output, false);
}

#[cfg(target_os = "linux")]
fn tell(output: &Output, ready: bool) {
    use sd_notify::NotifyState;
    let state = if ready { NotifyState::Ready } else { NotifyState::Stopping };
    if let Err(error) = sd_notify::notify(&[state]) {
        output.warning(&format!("the supervisor was not told: {error}"));
    }
}

#[cfg(not(target_os = "linux"))]
fn tell(_output: &Output, _ready: bool) {}
