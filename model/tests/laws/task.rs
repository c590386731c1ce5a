//! The task, polled as a runtime does.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use super::book::{Book, Clock};
use crate::{
    handover::{Alarm, Handover},
    sync::Mutex,
};

/// Set by a waker.
#[derive(Default)]
pub(super) struct Flag(Mutex<bool>);

impl Flag {
    pub(super) fn take(&self) -> bool {
        mem::take(&mut *self.0.lock())
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = true;
    }
}

/// Wakes the task at a time, if it was asked since that was set.
struct Ring {
    clock: Clock,
    at: Option<u32>,
    asked: bool,
}

impl Alarm<u32> for Ring {
    fn set(&mut self, at: u32) {
        self.at = Some(at);
        self.asked = false;
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.at.is_none_or(|at| at <= self.clock.now()) {
            return Poll::Ready(());
        }
        self.asked = true;
        Poll::Pending
    }
}

pub(super) struct Task {
    handover: Arc<Handover<Book>>,
    ring: Ring,
    called: Arc<Flag>,
    pub(super) over: bool,
}

impl Task {
    pub(super) fn new(handover: Arc<Handover<Book>>, clock: Clock) -> Self {
        let called = Arc::new(Flag::default());
        // A task is polled as soon as it is there.
        Waker::from(Arc::clone(&called)).wake();
        Self { handover, ring: Ring { clock, at: None, asked: false }, called, over: false }
    }

    /// Takes a turn if it was called. True if so.
    pub(super) fn poll_if_called(&mut self) -> bool {
        if self.over || !self.called.take() {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.called));
        let mut cx = Context::from_waker(&waker);
        self.over = self.handover.poll(&mut cx, &mut self.ring).is_ready();
        true
    }

    /// Nobody else is there any more: goes on for as long as somebody called or the alarm rings.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            while self.poll_if_called() {}
            match self.ring.at {
                Some(at) if self.ring.asked && !self.over => {
                    self.ring.asked = false;
                    self.ring.clock.set(at);
                    Waker::from(Arc::clone(&self.called)).wake();
                }
                _ => return,
            }
        }
        panic!("it never comes to rest");
    }
}
