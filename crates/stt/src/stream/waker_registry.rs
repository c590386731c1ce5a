//! Who waits for a stream: several may, also within one task.

use std::task::Waker;

use stt_transport::internal::WakerList;

/// Names one who waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    /// That of whoever polls the stream itself: there is one.
    pub(super) const POLLS: Self = Self(0);
}

/// Those who wait, until they are woken.
#[derive(Debug, Default)]
pub(super) struct WakerRegistry {
    all: Vec<(Place, Waker)>,
    places: u64,
}

impl WakerRegistry {
    /// A place of its own for one more.
    pub(super) const fn place(&mut self) -> Place {
        self.places += 1;
        Place(self.places)
    }

    /// Notes whom to wake at `place`.
    pub(super) fn register(&mut self, place: Place, waker: &Waker) {
        match self.all.iter_mut().find(|(known, _)| *known == place) {
            Some((_, known)) => known.clone_from(waker),
            None => self.all.push((place, waker.clone())),
        }
    }

    /// Forgets who does not wait any more.
    pub(super) fn forget(&mut self, place: Place) {
        self.all.retain(|(known, _)| *known != place);
    }

    /// Moves all of them to `wakes`.
    pub(super) fn call(&mut self, wakes: &mut WakerList) {
        wakes.extend(self.all.drain(..).map(|(_, waker)| waker));
    }
}
