//! `asterism init`: keys and a configuration for a new fleet. Repeating it changes nothing.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use asterism_proto::origin::is_token;
use asterism_runtime::config::Config;
use asterism_runtime::keys::Keyring;
use asterism_runtime::leader::now_ms;
use serde_json::json;

use super::{CONFIG_FILES, Context, shown};
use crate::args::InitArgs;
use crate::error::CliError;

/// Name of a fleet that nobody named.
const FLEET: &str = "main";

pub(super) fn run(context: &Context, args: &InitArgs) -> Result<(), CliError> {
    let wanted = args.fleet.as_deref();
    if let Some(name) = wanted.filter(|name| !is_token(name)) {
        let why = format!("{name:?} is not 1 to 64 of letters, digits, - and _");
        return Err(CliError::usage("AST-U030", "--fleet cannot be a fleet's name", why));
    }
    let existing = context.config_file().filter(|file| file.exists());
    let file = if let Some(file) = &existing {
        file.clone()
    } else {
        let file = context.global.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_FILES[0]));
        write_config(&file, wanted.unwrap_or(FLEET))?;
        file
    };
    let config = Config::load(Some(&file), std::env::vars(), &context.global.sets)?;
    if let Some(name) = wanted.filter(|name| *name != config.fleet) {
        let what = format!("{} is of fleet {:?}, not {name:?}", shown(&file), config.fleet);
        return Err(CliError::new("AST-U031", what, "")
            .next(format!("asterism --config {name}.toml init --fleet {name}")));
    }
    let keys_dir = config.keys_dir();
    let keys = Keyring::init(&keys_dir, &config.fleet, now_ms())?;
    let anchor = hex::encode(keys.anchor());
    let value = json!({
        "config": file, "config_written": existing.is_none(), "fleet": config.fleet, "keys_dir": keys_dir, "anchor": anchor,
    });
    context.out.result(&value, || {
        let verb = if existing.is_none() { "written" } else { "kept" };
        format!(
            "config  {} ({verb})\nfleet   {}\nkeys    {}\nanchor  {anchor}\n\nKeep a copy of the keys in a safe place: without them the \
             log cannot go on and contacts cannot be read.\nThe anchor identifies the log: give it to whoever verifies it.\nNext: asterism doctor\n",
            shown(&file),
            config.fleet,
            shown(&keys_dir),
        )
    })
}

fn write_config(file: &Path, fleet: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::new("AST-U032", format!("{} cannot be written", shown(file)), error.to_string())
    };
    let text = format!(
        r#"# Configuration of all Asterism services of this fleet. `asterism config print` shows every key with its default,
# `asterism config check` says what is wrong. ASTERISM_SECTION__KEY variables and --set go over it.
fleet = "{fleet}"

[nats]
url = "nats://127.0.0.1:4222"
# user = "service"
# password_file = "service.password"

[paths]
data_dir = "asterism-data"

# A carrier; `asterism trunk add` adds one while the fleet runs. Numbers outside allowed_numbers are dialled only after
# `asterism campaign go-live`.
# [trunks.carrier]
# uri = "sip:192.0.2.10:5060"           # or hosts = ["192.0.2.10", "192.0.2.11:5070"], or srv = "example.com"
# transport = "udp"                     # tcp, tls
# srtp = false                          # with tls
# codecs = ["ulaw", "alaw"]             # and g722
# number_format = "plus"                # +1…; digits 1…; double-zero 001…
# caller_id_header = "from"             # p-asserted-identity, remote-party-id
# caller_ids = ["+12025550123"]         # numbers it may show; none = any
# qualify_s = 30                        # an OPTIONS every 30 s; 0 = none
# max_channels = 30
# calls_per_second = 5
# priority = 10                         # of a campaign's trunks the highest is tried first
# failover = [500, 502, 503, 504]       # after these, and no ringing before, the next trunk is tried
# user = "alice"                        # the nodes have the password: --trunk-credentials-file
# password_file = "carrier.password"    # for `asterism up`, which gives it to its nodes; mode 600
# outbound_proxy = "192.0.2.20:5060"
# allowed_numbers = ["+12025550123"]
"#
    );
    let mut options = OpenOptions::new();
    let mut opened = match options.write(true).create_new(true).open(file) {
        Ok(opened) => opened,
        // Made a moment ago by somebody else: theirs counts.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(failed)
}
