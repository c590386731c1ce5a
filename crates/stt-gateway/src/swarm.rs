//! `SwarmService`: who else is in the swarm.

use stt_swarm::{Swarm, SwarmMember};
use tonic::{Request, Response, Status};

use crate::{
    RequestError,
    proto::v1::{
        JoinSwarmRequest, JoinSwarmResponse, ListMembersRequest, ListMembersResponse, Member,
        swarm_service_server::SwarmService,
    },
    state::{Shared, State},
    status::ToStatus,
};

/// The swarm that the node takes part in.
pub(crate) fn swarm(state: &State) -> Result<&Swarm, Status> {
    state.swarm.as_ref().ok_or_else(|| RequestError::NoSwarm.to_status())
}

/// The service.
pub(crate) struct SwarmOver(pub(crate) Shared);

#[tonic::async_trait]
impl SwarmService for SwarmOver {
    async fn join_swarm(
        &self,
        request: Request<JoinSwarmRequest>,
    ) -> Result<Response<JoinSwarmResponse>, Status> {
        let addresses = request.into_inner().addresses;
        if addresses.is_empty() {
            let what = "there is none".to_owned();
            return Err(RequestError::Invalid { field: "addresses", what }.to_status());
        }
        let joined = swarm(&self.0)?.dht().bootstrap(&addresses).await;
        let joined = joined.map_err(|error| error.to_status())?;
        Ok(Response::new(JoinSwarmResponse {
            reached: joined.reached.to_string(),
            known: joined.known as u64,
        }))
    }

    async fn list_members(
        &self,
        _request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let members = swarm(&self.0)?.dht().peers().await;
        let members = members.map_err(|error| error.to_status())?;
        let members = members.iter().map(describe).collect();
        Ok(Response::new(ListMembersResponse { members }))
    }
}

fn describe(member: &SwarmMember) -> Member {
    Member {
        id: member.node_id.to_string(),
        addresses: member.addresses.iter().map(ToString::to_string).collect(),
        linked: member.linked,
    }
}
