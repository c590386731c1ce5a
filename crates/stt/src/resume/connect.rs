//! The side that dials: beginning a session, and dialling again when it was cut.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ResumeError, ResumeOptions,
    continuity::LABEL,
    entry::Entry,
    frame::{Frame, Refused},
    journal::Journal,
    link::{self, LinkEnd, broken, first},
    machine::Machine,
    shared::{Kept, Shared},
    stored::{Keys, Role, Stored},
    tokens::{EXPORT, Ticket},
};
use crate::{
    Coded, ConnectOptions, Node, NodeId, ProtocolError, ProtocolReceiver, ProtocolSender, Session,
};

/// How long one attempt may take, and its answer.
const ATTEMPT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a peer may begin anew without a handler for such sessions.
const PATIENCE: Duration = Duration::from_secs(10);

type Ends = (ProtocolSender, ProtocolReceiver);
/// The session that carries it, the number of the link, and the stream.
type Link = (Session, u64, Ends);

/// Whom to dial.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) node: Node,
    pub(super) peer: NodeId,
    pub(super) options: ResumeOptions,
}

impl Dialler {
    async fn dial(&self, address: &str) -> Result<(Session, Ends), ResumeError> {
        let options = ConnectOptions::new().expect(self.peer).timeout(ATTEMPT);
        let connected = self.node.connect_with(address, &options).await;
        let session = connected.map_err(|error| ResumeError::Connect(error.into()))?;
        let stream = session.open_protocol(LABEL)?;
        stream.set_max_frame_size(self.options.max_frame());
        Ok((session, stream.into_split()))
    }

    /// Begins a session.
    pub(super) async fn begin(
        self,
        address: &str,
        journal: Option<&Arc<Journal>>,
    ) -> Result<Arc<Shared>, ResumeError> {
        let (session, ends) = self.dial(address).await?;
        match self.open(&session, &ends, address, journal).await {
            Ok((shared, link)) => {
                let ticket = Ticket::new(session.export(EXPORT));
                shared.connected(session.clone(), true);
                let (left, link) = (self.options.lifetime, (session, link, ends));
                tokio::spawn(keep(self, Arc::clone(&shared), ticket, Some(link), left));
                Ok(shared)
            }
            Err(error) => {
                session.abort("no resumable session began");
                Err(error)
            }
        }
    }

    /// Goes on with a session that a process before this one left.
    pub(super) fn go_on(self, shared: &Arc<Shared>, keys: &Keys, left: Duration) {
        tokio::spawn(keep(self, Arc::clone(shared), Ticket::of_disk(keys), None, left));
    }

    async fn open(
        &self,
        session: &Session,
        (sender, receiver): &Ends,
        address: &str,
        journal: Option<&Arc<Journal>>,
    ) -> Result<(Arc<Shared>, u64), ResumeError> {
        sender.send(Frame::Open.encode()).await?;
        let at = match first(receiver, ATTEMPT).await? {
            Some(Frame::Accepted { at, .. }) => at,
            Some(Frame::Refused(why)) => return Err(ResumeError::of_refusal(why)),
            _ => return Err(ResumeError::Broken { what: "its answer makes no sense" }),
        };
        let (bounds, ids) = (self.options.bounds, (session.id(), self.peer));
        let (machine, kept) = match journal {
            Some(journal) => {
                let role = Role::Dialled(address.to_owned());
                let stored = Stored::new(ids.1, ids.0, role, session.export(EXPORT));
                let (machine, number) = (Machine::of_disk(bounds, &stored), journal.number());
                journal.write(number, Entry::Session(Box::new(stored))).await?;
                (machine, Some(Kept::new(Arc::clone(journal), number)))
            }
            None => (Machine::new(bounds), None),
        };
        let (ids, events) = ((ids.0, ids.1, Some(address.to_owned())), self.node.events().clone());
        let shared = Shared::new(ids, machine, kept, self.options, events);
        let told = shared.machine().positions();
        let link = shared.with(|machine| machine.attach(at, told)).map_err(broken)?;
        Ok((shared, link))
    }

    /// One attempt to go on. `Ok(None)` when another one may succeed.
    async fn attempt(
        &self,
        shared: &Arc<Shared>,
        ticket: &mut Ticket,
        is_patient: bool,
    ) -> Result<Option<Link>, ResumeError> {
        let address = shared.address().unwrap_or_default();
        let (session, ends) = match self.dial(&address).await {
            Ok(dialled) => dialled,
            Err(ResumeError::Connect(error)) if !error.retry_helps() => {
                return Err(ResumeError::Connect(error));
            }
            Err(_) => return Ok(None),
        };
        match self.resume(shared, ticket, &session, &ends).await {
            Ok(Some(link)) => Ok(Some((session, link, ends))),
            // It may be about to open its log.
            Err(ResumeError::Protocol(_)) if is_patient => {
                session.abort("not resumed");
                Ok(None)
            }
            Err(ResumeError::Protocol(_)) => {
                session.abort("not resumed");
                Err(ResumeError::Lost)
            }
            failed => {
                session.abort("not resumed");
                failed.map(|_| None)
            }
        }
    }

    async fn resume(
        &self,
        shared: &Arc<Shared>,
        ticket: &mut Ticket,
        session: &Session,
        (sender, receiver): &Ends,
    ) -> Result<Option<u64>, ResumeError> {
        let export = session.export(EXPORT);
        let told = shared.machine().positions();
        let (asked, proof) = ticket.ask(shared.id, told, &export);
        let resume = Frame::Resume { id: asked.id, attempt: asked.attempt, at: told, proof };
        if sender.send(resume.encode()).await.is_err() {
            return Ok(None);
        }
        let (at, proof) = match first(receiver, ATTEMPT).await {
            Ok(Some(Frame::Accepted { at, proof })) => (at, proof),
            Ok(Some(Frame::Refused(Refused::Away))) => return Ok(None),
            Ok(Some(Frame::Refused(why))) => return Err(ResumeError::of_refusal(why)),
            // Nobody handles such sessions there: it was started anew without.
            Err(error @ ProtocolError::Unknown { .. }) => return Err(error.into()),
            _ => return Ok(None),
        };
        if !ticket.accepted(&asked, at, &export, proof) {
            return Err(ResumeError::Ticket);
        }
        // The peer forgets the ticket before this one as soon as it hears anything.
        shared.keep_keys(ticket.keys()).await?;
        shared.with(|machine| machine.attach(at, told)).map(Some).map_err(broken)
    }

    async fn again(
        &self,
        shared: &Arc<Shared>,
        ticket: &mut Ticket,
        left: Duration,
    ) -> Result<Link, ResumeError> {
        let (since, mut pause) = (Instant::now(), FIRST_PAUSE);
        let lifetime = self.options.lifetime;
        loop {
            // First: a peer that accepts and cuts at once must not be dialled without a pause.
            // Between a half and the whole, so that peers of one node do not come all at once.
            tokio::time::sleep(pause.mul_f64(spread())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let left = left.saturating_sub(since.elapsed());
            let is_patient = shared.kept().is_some() || since.elapsed() < PATIENCE;
            let attempt = self.attempt(shared, ticket, is_patient);
            let attempt = tokio::time::timeout(left, attempt).await;
            match attempt {
                Ok(Ok(Some(link))) => return Ok(link),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(ResumeError::Expired { lifetime }),
            }
        }
    }
}

fn spread() -> f64 {
    let byte = stc::random::bytes::<1>().map_or(255, |[byte]| byte);
    f64::from(byte) / 512.0 + 0.5
}

/// Keeps a session going until its end. Without a link it dials first, for what is `left` of the
/// lifetime.
async fn keep(
    dialler: Dialler,
    shared: Arc<Shared>,
    mut ticket: Ticket,
    mut link: Option<Link>,
    mut left: Duration,
) {
    let why = loop {
        if let Some((session, number, ends)) = link.take() {
            match link::run(&shared, number, ends, || ()).await {
                LinkEnd::Finished => {
                    session.close("the resumable session is over").await;
                    shared.end(ResumeError::Finished);
                    return;
                }
                LinkEnd::Over(why) => {
                    shared.end(why);
                    session.abort("the resumable session is over");
                    return;
                }
                LinkEnd::Cut => session.abort("cut; it is resumed over another session"),
            }
            left = dialler.options.lifetime;
        }
        if let Some(why) = shared.ended() {
            break why;
        }
        shared.suspended();
        let mut states = shared.states();
        let again = tokio::select! {
            again = dialler.again(&shared, &mut ticket, left) => again,
            _ = states.wait_for(|state| matches!(state, super::ResumeState::Ended(_))) => break
                ResumeError::GivenUp { by_peer: false },
        };
        match again {
            Ok(found) => {
                shared.connected(found.0.clone(), false);
                link = Some(found);
            }
            Err(why) => break why,
        }
    };
    // Both are through, and only the peer's word for it is missing: it forgot, or is gone.
    let is_finished = shared.machine().is_finished();
    shared.end(if is_finished { ResumeError::Finished } else { why });
}
