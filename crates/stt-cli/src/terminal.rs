//! Questions whose answers nobody else may read. While one waits, the terminal shows nothing that
//! is typed; however the process ends, it shows it again.

use std::io;

use zeroize::Zeroizing;

/// Asks on the terminal and returns what was typed.
///
/// # Errors
/// There is no terminal, or it ended.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let _asking = system::Asking::begin();
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

#[cfg(unix)]
mod system {
    use std::{
        fs::File,
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// How the terminal was before the question.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terminal() -> Option<File> {
        File::options().read(true).write(true).open("/dev/tty").ok()
    }

    pub(super) struct Asking(());

    impl Asking {
        pub(super) fn begin() -> Self {
            *before() = terminal().and_then(|terminal| tcgetattr(terminal).ok());
            Self(())
        }
    }

    impl Drop for Asking {
        fn drop(&mut self) {
            *before() = None;
        }
    }

    /// Makes the terminal as it was, if a question waits.
    pub(crate) fn restore() {
        if let (Some(before), Some(terminal)) = (&*before(), terminal()) {
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
        }
    }

    /// After the process was stopped and goes on: hides what is typed again, if a question waits.
    pub(crate) fn hide() {
        if let (Some(before), Some(terminal)) = (&*before(), terminal()) {
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            hidden.local_modes.insert(LocalModes::ECHONL);
            let _ = tcsetattr(terminal, OptionalActions::Now, &hidden);
        }
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) struct Asking(());

    impl Asking {
        pub(super) const fn begin() -> Self {
            Self(())
        }
    }
}

#[cfg(unix)]
pub(crate) use system::{hide, restore};
