//! `SystemService`: the node itself.

use stt_streams::StreamsHealth;
use tonic::{Request, Response, Status};

use crate::{
    LogLevels, RequestError, peers,
    proto::v1::{
        self, ComponentHealth, DetailedHealth, GetComponentHealthRequest, GetLogLevelsRequest,
        GetSystemInfoRequest, HealthStatus, SetLogLevelsRequest, SystemHealthRequest, SystemInfo,
        system_service_server::SystemService,
    },
    state::{Phase, Shared},
    status::ToStatus,
};

/// The service.
pub(crate) struct SystemOver(pub(crate) Shared);

/// How each component is now.
pub(crate) async fn components(state: &Shared) -> Vec<ComponentHealth> {
    let make = |component: &str, status: HealthStatus, message: String| ComponentHealth {
        component: component.to_owned(),
        status: status.into(),
        message,
    };
    let stats = state.node.stats();
    let node = match (stats.running, stats.accepting_connections || !stats.server_mode) {
        (false, _) => make("node", HealthStatus::Unhealthy, "it was stopped".into()),
        (true, false) => make("node", HealthStatus::Degraded, "it takes no sessions".into()),
        (true, true) => {
            make("node", HealthStatus::Healthy, format!("{} sessions", stats.sessions.active))
        }
    };
    let store = match state.chamber.stored_bytes().await {
        Ok(bytes) => make("store", HealthStatus::Healthy, format!("{bytes} bytes are stored")),
        Err(error) => make("store", HealthStatus::Unhealthy, error.to_string()),
    };
    let serving = *state.phase.borrow() == Phase::Serving;
    let gateway = if serving {
        make("gateway", HealthStatus::Healthy, "it takes calls".into())
    } else {
        make("gateway", HealthStatus::Unhealthy, "it is stopping".into())
    };
    let report = state.managed.service.health_check();
    let message = format!("{} of {} are healthy", report.healthy_streams, report.total_streams);
    let streams = make("streams", verdict(report.status), message);
    let mut all = vec![node, store, streams, gateway];
    if let Some(swarm) = &state.swarm {
        all.push(match swarm.dht().peers().await {
            Ok(members) => {
                let linked = members.iter().filter(|member| member.linked).count();
                let message = format!("{linked} of {} known members are linked", members.len());
                make("swarm", HealthStatus::Healthy, message)
            }
            Err(error) => make("swarm", HealthStatus::Unhealthy, error.to_string()),
        });
    }
    all
}

/// What health is called here.
pub(crate) const fn verdict(status: StreamsHealth) -> HealthStatus {
    match status {
        StreamsHealth::Healthy => HealthStatus::Healthy,
        StreamsHealth::Degraded => HealthStatus::Degraded,
        StreamsHealth::Unhealthy | StreamsHealth::Unknown => HealthStatus::Unhealthy,
    }
}

async fn overall(state: &Shared) -> DetailedHealth {
    let components = components(state).await;
    let worst = components.iter().map(|component| component.status).max().unwrap_or_default();
    DetailedHealth { status: worst, components }
}

fn log_levels(state: &Shared) -> Result<&dyn LogLevels, Status> {
    state.log_levels.as_deref().ok_or_else(|| RequestError::NoLog.to_status())
}

#[tonic::async_trait]
impl SystemService for SystemOver {
    async fn get_system_info(
        &self,
        _request: Request<GetSystemInfoRequest>,
    ) -> Result<Response<SystemInfo>, Status> {
        let state = &self.0;
        let stored = state.chamber.stats().await.map_err(|error| error.to_status())?;
        let mut files = 0;
        let counted = state.chamber.names(|entry| {
            files += u64::from(entry.is_ok_and(|entry| !entry.name.starts_with(".stt/")));
            true
        });
        counted.await.map_err(|error| error.to_status())?;
        Ok(Response::new(SystemInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: state.started.elapsed().as_secs_f64(),
            storage_used: stored.stored_bytes,
            storage_total: stored.quota,
            peers: peers::connected(&state.node),
            files,
            node_id: state.node.node_id().to_string(),
            node_address: state.node.local_addr().to_string(),
        }))
    }

    async fn health_check(
        &self,
        _request: Request<SystemHealthRequest>,
    ) -> Result<Response<ComponentHealth>, Status> {
        let all = overall(&self.0).await;
        let bad = all.components.iter().filter(|one| one.status == all.status);
        let message = bad.map(|one| format!("{}: {}", one.component, one.message));
        let message = message.collect::<Vec<_>>().join("; ");
        Ok(Response::new(ComponentHealth { component: String::new(), status: all.status, message }))
    }

    async fn get_detailed_health(
        &self,
        _request: Request<SystemHealthRequest>,
    ) -> Result<Response<DetailedHealth>, Status> {
        Ok(Response::new(overall(&self.0).await))
    }

    async fn get_component_health(
        &self,
        request: Request<GetComponentHealthRequest>,
    ) -> Result<Response<ComponentHealth>, Status> {
        let name = request.into_inner().component;
        let found = components(&self.0).await.into_iter().find(|one| one.component == name);
        let unknown = || RequestError::UnknownComponent { name }.to_status();
        Ok(Response::new(found.ok_or_else(unknown)?))
    }

    async fn get_log_levels(
        &self,
        _request: Request<GetLogLevelsRequest>,
    ) -> Result<Response<v1::LogLevels>, Status> {
        let levels = log_levels(&self.0)?.get();
        Ok(Response::new(v1::LogLevels { levels }))
    }

    async fn set_log_levels(
        &self,
        request: Request<SetLogLevelsRequest>,
    ) -> Result<Response<v1::LogLevels>, Status> {
        let log = log_levels(&self.0)?;
        let set = log.set(&request.into_inner().levels);
        set.map_err(|what| RequestError::Invalid { field: "levels", what }.to_status())?;
        Ok(Response::new(v1::LogLevels { levels: log.get() }))
    }
}
