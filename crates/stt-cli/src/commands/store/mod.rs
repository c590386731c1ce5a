//! `stt store`: files encrypted on this disk, found by hash or by name.

mod get;
mod list;
mod maintain;
mod opened;
mod put;
mod rebuild;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use stt_gateway::proto::v1::StoreProblem;
use stt_store::{Chamber, ChamberKey, ChamberOptions, DiskOptions, StoreError};

use self::opened::{Store, failed};
use crate::{
    daemon::{Client, find},
    error::CliError,
    node_seed,
    output::Output,
    path_text::shown,
};

/// Exit code: something in the store is damaged.
const EXIT_DAMAGED: u8 = 4;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Store files and print their ids.
    Put(put::PutCommand),
    /// Write a stored file out.
    Get(get::GetCommand),
    /// List what is stored.
    Ls(list::ListCommand),
    /// Remove files or names.
    Rm(list::RemoveCommand),
    /// Read everything and report damage.
    Verify(maintain::VerifyCommand),
    /// Make the index anew, from the files of a store whose index is missing or damaged.
    Rebuild(rebuild::RebuildCommand),
    /// Remove what nothing keeps, and what crashes left behind.
    Gc(maintain::CollectCommand),
    /// Show where the space goes.
    Stats(maintain::StatsCommand),
}

/// Which store.
#[derive(Args)]
struct Place {
    /// Directory of the store, or of the node of `stt up`, whose store is meant then; a node that
    /// runs does it itself. [default: ~/.seigr/chambers/ID, which belongs to the seed]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Read the node seed from this file. STT_NODE_SEED works too. [default: ~/.seigr/node.seed]
    #[arg(long, value_name = "FILE")]
    node_seed_file: Option<PathBuf>,
}

impl StoreCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| {
            CliError::new("store.runtime", format!("no threads could be started: {error}"))
        })?;
        runtime.block_on(async {
            match self {
                Self::Put(command) => command.run(output).await,
                Self::Get(command) => command.run(output).await,
                Self::Ls(command) => command.run(output).await,
                Self::Rm(command) => command.run(output).await,
                Self::Verify(command) => command.run(output).await,
                Self::Rebuild(command) => command.run(output).await,
                Self::Gc(command) => command.run(output).await,
                Self::Stats(command) => command.run(output).await,
            }
        })
    }
}

/// A problem, for machines.
fn told(problem: &StoreProblem) -> serde_json::Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    serde_json::json!({
        "damaged": problem.text,
        "code": problem.code,
        "id": known(&problem.id),
        "names": problem.names,
        "blob": known(&problem.blob),
    })
}

impl Place {
    /// Opens the store for commands that only read, beside others that do.
    async fn open_for_reading(&self, output: &Output) -> Result<Store, CliError> {
        let disk = DiskOptions::default().reading_only(true);
        self.open(false, ChamberOptions::default().disk(disk), output).await
    }

    /// The store of the node that runs in `--dir`, if one does; otherwise opens it. Only `create`
    /// makes one: reading from a store that is not there would otherwise look as if it were empty.
    async fn open(
        &self,
        create: bool,
        options: ChamberOptions,
        output: &Output,
    ) -> Result<Store, CliError> {
        if let Some(dir) = &self.dir
            && let Some(client) = Client::connect(dir).await?
        {
            if self.node_seed_file.is_some() {
                let what = format!("the node in {} has its store open already", shown(dir));
                return Err(
                    CliError::new("usage.node_seed", what).with_hint("leave --node-seed-file out")
                );
            }
            return Ok(Store::OfNode(dir.clone(), Box::new(client)));
        }
        let (key, dir) = self.find(create, output)?;
        let opened = Chamber::open(&key, &dir, options).await;
        opened.map(Store::Own).map_err(|error| refused(&dir, &error))
    }

    /// The key of the store, and where it is. Unless it may be made, it has to be there.
    fn find(&self, create: bool, output: &Output) -> Result<(ChamberKey, PathBuf), CliError> {
        let failed = |error: StoreError| failed("the store was not opened", &error);
        let of_node = self.dir.as_deref().and_then(of_node);
        let beside = of_node.as_ref().map(|(_, seed)| seed.as_path());
        let seed = self.node_seed_file.as_deref().or(beside);
        let seed = node_seed::load(seed, create, output)?;
        let key = ChamberKey::from_seed(&seed).map_err(failed)?;
        let dir = match (of_node, &self.dir) {
            (Some((store, _)), _) => store,
            (None, Some(dir)) => dir.clone(),
            (None, None) => Chamber::default_path(&key).ok_or_else(|| {
                CliError::new("store.setting", "this user has no home directory")
                    .with_hint("use --dir")
            })?,
        };
        // If that cannot be found out, opening says why.
        if !create && matches!(dir.join("format").try_exists(), Ok(false)) {
            return Err(CliError::new(
                "store.not_found",
                format!("there is no store in {}", shown(&dir)),
            )
            .with_hint(
                "`stt store put` makes one; --dir and --node-seed-file say which one is meant",
            ));
        }
        Ok((key, dir))
    }
}

/// The error for the store in `dir`, which was not opened.
fn refused(dir: &Path, error: &StoreError) -> CliError {
    let told = failed("the store was not opened", error);
    match user_of(dir, error) {
        Some(node) => told.with_hint(format!(
            "the node in {0} has it: use --dir {0}, or end it first",
            shown(node)
        )),
        None => told,
    }
}

/// The store and the node seed of the node of `stt up` whose directory `dir` is.
fn of_node(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let store = dir.join("store");
    let is_node = !dir.join("format").exists() && store.join("format").exists();
    is_node.then(|| (store, dir.join("node.seed")))
}

/// The directory of the running node that has the store in `dir` open.
fn user_of<'a>(dir: &'a Path, error: &StoreError) -> Option<&'a Path> {
    let node = dir.parent().filter(|_| matches!(error, StoreError::InUse { .. }))?;
    matches!(find(node), Ok(Some(_))).then_some(node)
}
