//! The cloud a configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use asterism_runtime::config::{Config, Provider};

use crate::cloud::local::{LocalCloud, LocalConfig};
use crate::cloud::{Cloud, CloudError};
#[cfg(not(feature = "aws"))]
use crate::cloud::{ErrorKind, code};

/// The agent program, beside the running one.
const AGENT: &str = "asterism-agent";

/// Opens the provider. Nothing is asked of it yet.
///
/// # Errors
/// The folder of local instances cannot be made, no region is known, or this program was built without `aws`.
#[cfg_attr(not(feature = "aws"), allow(clippy::unused_async))] // only ec2 waits
pub async fn open(config: &Config) -> Result<Arc<dyn Cloud>, CloudError> {
    match config.scaler.provider {
        Provider::Local => Ok(Arc::new(LocalCloud::new(local(config))?)),
        #[cfg(feature = "aws")]
        Provider::Ec2 => ec2(config).await,
        #[cfg(not(feature = "aws"))]
        Provider::Ec2 => {
            let why = "this program was built without it: build with --features aws";
            Err(CloudError::new(ErrorKind::Permanent, code::BAD_REQUEST, "scaler.provider = ec2", why))
        }
    }
}

/// What local instances are started with: the agent finds the bus where this process does. The bus user of the nodes
/// and its password file come by `scaler.agent_args`.
fn local(config: &Config) -> LocalConfig {
    let scaler = &config.scaler;
    let mut env = vec![
        ("ASTERISM_NATS_URL".to_owned(), config.nats.url.clone()),
        ("ASTERISM_CAPACITY".to_owned(), scaler.node_capacity.to_string()),
    ];
    if let Some(ca_file) = &config.nats.ca_file {
        env.push(("ASTERISM_NATS_CA_FILE".to_owned(), ca_file.display().to_string()));
    }
    LocalConfig {
        agent_bin: scaler.agent_bin.clone().unwrap_or_else(beside),
        args: scaler.agent_args.clone(),
        env,
        dir: config.paths.data_dir.join("nodes"),
    }
}

fn beside() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    folder.unwrap_or_default().join(AGENT)
}

#[cfg(feature = "aws")]
async fn ec2(config: &Config) -> Result<Arc<dyn Cloud>, CloudError> {
    use crate::cloud::ec2::{Ec2Cloud, Ec2Config};
    let ec2 = &config.scaler.ec2;
    let config = Ec2Config {
        fleet: config.fleet.clone(),
        region: ec2.region.clone(),
        endpoint: ec2.endpoint.clone(),
        // Credentials come from the environment or the machine's role, never from our own configuration.
        key: None,
    };
    Ok(Arc::new(Ec2Cloud::open(config).await?))
}
