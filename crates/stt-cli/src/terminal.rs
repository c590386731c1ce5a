//! Questions whose answers nobody else may read. While one waits, the terminal shows nothing that
//! is typed; however the process ends, it shows it again.

use std::io;

use zeroize::Zeroizing;

/// Asks on the terminal and returns what was typed.
///
/// # Errors
/// There is no terminal, it ended, or the line is longer than a terminal takes.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    system::ask(prompt)
}

#[cfg(unix)]
mod system {
    use std::{
        fs::File,
        io::{self, Write},
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use zeroize::Zeroizing;

    /// What a terminal keeps of one line on Linux, with its end; the rest of it is lost.
    const LONGEST_LINE: usize = 4096;

    /// What is done with the terminal, and what has to be undone.
    enum Question {
        None,
        /// One waits for an answer; these were the modes before it.
        Waits(Box<Termios>),
        /// The process ends: no question may hide anything again.
        Over,
    }

    static QUESTION: Mutex<Question> = Mutex::new(Question::None);

    fn question() -> MutexGuard<'static, Question> {
        QUESTION.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terminal() -> io::Result<File> {
        File::options().read(true).write(true).open("/dev/tty")
    }

    /// The modes are set here and not by the library: it sets them after the prompt is on the
    /// screen, and a signal between the two would leave the terminal changed.
    pub(super) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
        let terminal = terminal()?;
        let _hidden = Hidden::begin(&terminal)?;
        let config = rpassword::ConfigBuilder::new()
            .input_reader(terminal.try_clone()?)
            .output_writer(terminal)
            .build();
        let typed = rpassword::prompt_password_with_config(prompt, config).map(Zeroizing::new)?;
        if typed.len() + 1 >= LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the line is too long"));
        }
        Ok(typed)
    }

    /// While it lives, what is typed is not shown.
    struct Hidden(());

    impl Hidden {
        fn begin(terminal: &File) -> io::Result<Self> {
            let mut question = question();
            if matches!(*question, Question::Over) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let before = tcgetattr(terminal)?;
            hide(terminal, &before)?;
            *question = Question::Waits(Box::new(before));
            Ok(Self(()))
        }
    }

    impl Drop for Hidden {
        fn drop(&mut self) {
            let mut question = question();
            show(&question);
            if matches!(*question, Question::Waits(_)) {
                *question = Question::None;
            }
        }
    }

    fn hide(terminal: &File, before: &Termios) -> io::Result<()> {
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown: what comes next begins on a line of its own.
        hidden.local_modes.insert(LocalModes::ECHONL);
        Ok(tcsetattr(terminal, OptionalActions::Now, &hidden)?)
    }

    fn show(question: &Question) {
        if let (Question::Waits(before), Ok(terminal)) = (question, terminal()) {
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
        }
    }

    /// Before the process ends: makes the terminal as it was, for good. What is printed next begins
    /// on a line of its own.
    pub(crate) fn restore() {
        let mut question = question();
        show(&question);
        if let (Question::Waits(_), Ok(mut terminal)) = (&*question, terminal()) {
            let _ = terminal.write_all(b"\n");
        }
        *question = Question::Over;
    }

    /// Stops the process with the terminal as it was; hides again what is typed when it goes on.
    pub(crate) fn stop(stop: impl FnOnce()) {
        let question = question();
        show(&question);
        stop();
        if let (Question::Waits(before), Ok(terminal)) = (&*question, terminal()) {
            let _ = hide(&terminal, before);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    use zeroize::Zeroizing;

    pub(super) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
        rpassword::prompt_password(prompt).map(Zeroizing::new)
    }
}

#[cfg(unix)]
pub(crate) use system::{restore, stop};
