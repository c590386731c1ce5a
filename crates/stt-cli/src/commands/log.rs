//! `stt log`: what of the log of a running node is told.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;
use stt_gateway::proto::v1::{GetLogLevelsRequest, LogLevels, SetLogLevelsRequest};
use tonic::Status;

use crate::{
    daemon::{self, Client},
    error::CliError,
    network,
    output::Output,
};

/// How long the node has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct LogCommand {
    /// The levels from now on: `warn` for all, `stt_swarm=debug` for one component, several with
    /// commas between. off, error, warn, info, debug and trace are levels. Without this they are
    /// only shown.
    levels: Option<String>,
    /// Directory that was given to `stt up`.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl LogCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let asked = network::run(async {
            let asking = tokio::time::timeout(PATIENCE, self.ask());
            asking.await.unwrap_or_else(|_| Err(Client::silent(&self.dir, "it took too long")))
        })?;
        let levels = asked.ok_or_else(|| network::interrupted("asking"))?.levels;
        output.result(&levels, &json!({ "log": { "levels": levels } }));
        Ok(())
    }

    async fn ask(&self) -> Result<LogLevels, CliError> {
        let mut system = daemon::connect(&self.dir).await?.system();
        let refused =
            |status: Status| CliError::refused("the node does not change what it tells", &status);
        let answer = match &self.levels {
            None => system.get_log_levels(GetLogLevelsRequest {}).await,
            Some(levels) => {
                let request = SetLogLevelsRequest { levels: levels.clone() };
                system.set_log_levels(request).await
            }
        };
        Ok(answer.map_err(refused)?.into_inner())
    }
}
