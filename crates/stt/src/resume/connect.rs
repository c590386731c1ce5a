//! The side that dials: beginning a session, and dialling again when it was cut.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ResumeError, ResumeOptions,
    continuity::LABEL,
    frame::Frame,
    link::{self, LinkEnd, broken, first},
    shared::Shared,
    tokens::{EXPORT, Ticket},
};
use crate::{
    Address, Coded, ConnectOptions, Node, NodeId, ProtocolError, ProtocolReceiver, ProtocolSender,
    Session,
};

/// How long one attempt may take, and its answer.
const ATTEMPT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Ends = (ProtocolSender, ProtocolReceiver);

/// Where and whom to dial.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) node: Node,
    pub(super) address: Address,
    pub(super) peer: NodeId,
    pub(super) options: ResumeOptions,
}

impl Dialler {
    async fn dial(&self) -> Result<(Session, Ends), ResumeError> {
        let options = ConnectOptions::new().expect(self.peer).timeout(ATTEMPT);
        let connected = self.node.connect_with(&self.address, &options).await;
        let session = connected.map_err(|error| ResumeError::Connect(error.into()))?;
        let stream = session.open_protocol(LABEL)?;
        stream.set_max_frame_size(self.options.max_frame());
        Ok((session, stream.into_split()))
    }

    /// Begins a session.
    pub(super) async fn begin(self) -> Result<Arc<Shared>, ResumeError> {
        let (session, ends) = self.dial().await?;
        match self.open(&session, &ends).await {
            Ok((shared, link)) => {
                let ticket = Ticket::new(session.export(EXPORT));
                shared.connected(session.clone(), true);
                tokio::spawn(keep(self, Arc::clone(&shared), ticket, (session, link, ends)));
                Ok(shared)
            }
            Err(error) => {
                session.abort("no resumable session began");
                Err(error)
            }
        }
    }

    async fn open(
        &self,
        session: &Session,
        (sender, receiver): &Ends,
    ) -> Result<(Arc<Shared>, u64), ResumeError> {
        sender.send(Frame::Open.encode()).await?;
        let at = match first(receiver, ATTEMPT).await? {
            Some(Frame::Accepted { at, .. }) => at,
            Some(Frame::Refused(why)) => return Err(ResumeError::of_refusal(why)),
            _ => return Err(ResumeError::Broken { what: "its answer makes no sense" }),
        };
        let events = self.node.events().clone();
        let shared = Shared::new(session.id(), self.peer, self.options, events);
        let told = shared.machine().positions();
        let link = shared.with(|machine| machine.attach(at, told)).map_err(broken)?;
        Ok((shared, link))
    }

    /// One attempt to go on. `Ok(None)` when another one may succeed.
    async fn attempt(
        &self,
        shared: &Arc<Shared>,
        ticket: &mut Ticket,
    ) -> Result<Option<(Session, u64, Ends)>, ResumeError> {
        let (session, ends) = match self.dial().await {
            Ok(dialled) => dialled,
            Err(ResumeError::Connect(error)) if !error.retry_helps() => {
                return Err(ResumeError::Connect(error));
            }
            Err(_) => return Ok(None),
        };
        match self.resume(shared, ticket, &session, &ends).await {
            Ok(Some(link)) => Ok(Some((session, link, ends))),
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
            Ok(Some(Frame::Refused(why))) => return Err(ResumeError::of_refusal(why)),
            // Nobody handles such sessions there: it was started anew without.
            Err(ProtocolError::Unknown { .. }) => return Err(ResumeError::Lost),
            _ => return Ok(None),
        };
        if !ticket.accepted(&asked, at, &export, proof) {
            return Err(ResumeError::Ticket);
        }
        shared.with(|machine| machine.attach(at, told)).map(Some).map_err(broken)
    }

    async fn again(
        &self,
        shared: &Arc<Shared>,
        ticket: &mut Ticket,
    ) -> Result<(Session, u64, Ends), ResumeError> {
        let (since, mut pause) = (Instant::now(), FIRST_PAUSE);
        let lifetime = self.options.lifetime;
        loop {
            // First: a peer that accepts and cuts at once must not be dialled without a pause.
            // Between a half and the whole, so that peers of one node do not come all at once.
            tokio::time::sleep(pause.mul_f64(spread())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let left = lifetime.saturating_sub(since.elapsed());
            let attempt = tokio::time::timeout(left, self.attempt(shared, ticket)).await;
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

/// Keeps a session going until its end.
async fn keep(
    dialler: Dialler,
    shared: Arc<Shared>,
    mut ticket: Ticket,
    (mut session, mut link, mut ends): (Session, u64, Ends),
) {
    let why = loop {
        match link::run(&shared, link, ends, || ()).await {
            LinkEnd::Finished => {
                session.close("the resumable session is over").await;
                break ResumeError::Finished;
            }
            LinkEnd::Over(why) => break why,
            LinkEnd::Cut => {}
        }
        if let Some(why) = shared.ended() {
            break why;
        }
        session.abort("cut; it is resumed over another session");
        shared.suspended();
        let mut states = shared.states();
        let again = tokio::select! {
            again = dialler.again(&shared, &mut ticket) => again,
            _ = states.wait_for(|state| matches!(state, super::ResumeState::Ended(_))) => break
                ResumeError::GivenUp { by_peer: false },
        };
        match again {
            Ok(found) => (session, link, ends) = found,
            Err(why) => break why,
        }
        shared.connected(session.clone(), false);
    };
    shared.end(why);
    session.abort("the resumable session is over");
}
