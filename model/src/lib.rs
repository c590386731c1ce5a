//! Locks and threads of the models, in place of those of the system
//! (`crates/stt-transport/src/wire/engine/sync.rs`).

/// All orders in which threads can run.
pub mod in_loom {
    use std::ops::{Deref, DerefMut};

    use loom::sync::{
        MutexGuard,
        atomic::{AtomicUsize, Ordering},
    };

    pub use loom::thread::spawn;

    /// Loom does not see a lock being released, so its `try_lock` alone would hardly ever fail.
    /// Locking and releasing both touch `edge`, which loom sees.
    #[derive(Default)]
    pub struct Mutex<T> {
        value: loom::sync::Mutex<T>,
        edge: AtomicUsize,
    }

    pub struct Guard<'a, T> {
        value: MutexGuard<'a, T>,
        edge: &'a AtomicUsize,
    }

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self { value: loom::sync::Mutex::new(value), edge: AtomicUsize::new(0) }
        }

        pub fn lock(&self) -> Guard<'_, T> {
            let value = self.value.lock().expect("nobody panics under it");
            Guard { value, edge: &self.edge }
        }

        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.edge.fetch_add(1, Ordering::AcqRel);
            Some(Guard { value: self.value.try_lock().ok()?, edge: &self.edge })
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.value
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.value
        }
    }

    impl<T> Drop for Guard<'_, T> {
        fn drop(&mut self) {
            self.edge.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Orders that are drawn.
pub mod in_shuttle {
    pub use shuttle::{sync::MutexGuard as Guard, thread::spawn};

    #[derive(Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> Guard<'_, T> {
            self.0.lock().expect("nobody panics under it")
        }

        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
