//! `stt status`: what runs in the directory of `stt up`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Map, Value, json};
use stt_gateway::proto::v1::{
    DetailedHealth, GetSystemInfoRequest, HealthStatus, SystemHealthRequest, SystemInfo,
};
use tonic::Status;

use crate::{
    daemon::{Client, Phase, Record, find, not_running},
    error::CliError,
    figures, network,
    output::Output,
    path_text::shown,
};

/// How long the node has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct StatusCommand {
    /// Directory that was given to `stt up`.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl StatusCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let record = find(&self.dir)?.ok_or_else(|| not_running(&self.dir))?;
        if record.state == Phase::Stopping {
            let text = format!("Node {} is stopping; process {}.", record.node_id, record.pid);
            output.result(&text, &json!({ "status": record }));
            return Ok(());
        }
        let asked = network::run(async {
            let asking = tokio::time::timeout(PATIENCE, self.ask());
            asking.await.unwrap_or_else(|_| Err(Client::silent(&self.dir, "it took too long")))
        })?;
        let (record, info, health) = asked.ok_or_else(|| network::interrupted("asking"))?;
        output.result(&text(&record, &info, &health), &value(&record, &info, &health));
        Ok(())
    }

    async fn ask(&self) -> Result<(Record, SystemInfo, DetailedHealth), CliError> {
        let client = Client::connect(&self.dir).await?;
        let client = client.ok_or_else(|| not_running(&self.dir))?;
        let refused =
            |status: Status| CliError::refused("the node does not say how it is", &status);
        let mut system = client.system();
        let info = system.get_system_info(GetSystemInfoRequest {}).await.map_err(refused)?;
        let health = system.get_detailed_health(SystemHealthRequest {}).await.map_err(refused)?;
        Ok((client.record().clone(), info.into_inner(), health.into_inner()))
    }
}

/// A status as people and machines read it.
fn word(status: i32) -> &'static str {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Healthy) => "healthy",
        Ok(HealthStatus::Degraded) => "degraded",
        Ok(HealthStatus::Unhealthy) => "unhealthy",
        Ok(HealthStatus::Unspecified) | Err(_) => "unknown",
    }
}

fn text(record: &Record, info: &SystemInfo, health: &DetailedHealth) -> String {
    let websocket = record.websocket.as_ref().map(|at| format!(" and {at}"));
    let limit = info.storage_total.map(|most| format!(" of {}", figures::bytes(most)));
    let mut lines = vec![
        format!("node      {}", info.node_id),
        format!(
            "process   {}, up for {}",
            record.pid,
            figures::age(Duration::from_secs_f64(info.uptime_seconds.max(0.0)))
        ),
        format!("listening {}{}", record.address, websocket.unwrap_or_default()),
        format!("gateway   {}, token in {}", record.gateway, shown(&record.token_file)),
        format!("peers     {}", figures::count(info.peers)),
        format!(
            "stored    {}, {}{}",
            figures::counted(info.files, "file"),
            figures::bytes(info.storage_used),
            limit.unwrap_or_default()
        ),
        format!("health    {}", word(health.status)),
    ];
    lines.extend(
        health
            .components
            .iter()
            .map(|one| format!("  {:<8}{}: {}", one.component, word(one.status), one.message)),
    );
    lines.join("\n")
}

fn value(record: &Record, info: &SystemInfo, health: &DetailedHealth) -> Value {
    let components = health.components.iter().map(|one| {
        let value = json!({ "status": word(one.status), "message": one.message });
        (one.component.clone(), value)
    });
    let components = components.collect::<Map<_, _>>();
    let mut value = json!({ "status": record });
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("uptime_seconds".into(), info.uptime_seconds.into());
        status.insert("peers".into(), info.peers.into());
        status.insert("files".into(), info.files.into());
        status.insert("storage_used".into(), info.storage_used.into());
        status.insert("storage_total".into(), info.storage_total.into());
        status.insert("health".into(), word(health.status).into());
        status.insert("components".into(), components.into());
    }
    value
}
