//! Layers, mistakes and masks of the configuration.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use proptest::prelude::*;

fn load(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
    let mut tree = Node::root();
    tree::read_text(&mut tree, "asterism.toml", text)?;
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::finish(tree, &[], env, &sets)
}

fn refused(text: &str, env: &[(&str, &str)], sets: &[&str]) -> String {
    load(text, env, sets).expect_err("should be refused").to_string()
}

#[test]
fn nothing_at_all_is_a_usable_configuration() {
    let config = Config::load(None, std::iter::empty(), &[]).unwrap();
    assert_eq!((config.fleet.as_str(), config.dialer.tick_ms, config.scaler.max_nodes), ("demo", 50, 8));
    assert!(config.dialer.http_listen.ip().is_loopback());
    assert_eq!(config.keys_dir(), PathBuf::from("asterism-data/keys"));
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let file = "[scaler]\ntick_ms = 100\nmax_nodes = 4\nmin_nodes = 1\n[scaler.ec2]\nregion = 'eu-west-1'\n";
    let env = [("ASTERISM_SCALER__TICK_MS", "200"), ("ASTERISM_SCALER__MAX_NODES", "5"), ("PATH", "/bin")];
    let config = load(file, &env, &["scaler.tick_ms=300"]).unwrap();
    assert_eq!((config.scaler.tick_ms, config.scaler.max_nodes, config.scaler.min_nodes), (300, 5, 1));
    assert_eq!(config.scaler.ec2.region.as_deref(), Some("eu-west-1"));
    assert_eq!(config.source_of("scaler.tick_ms"), Some(Source::Set("scaler.tick_ms".into())));
    assert_eq!(config.source_of("scaler.max_nodes"), Some(Source::Env("ASTERISM_SCALER__MAX_NODES".into())));
    assert_eq!(
        config.source_of("scaler.min_nodes"),
        Some(Source::File { path: "asterism.toml".into(), line: 4 })
    );
    assert_eq!(config.source_of("scaler.provider"), None);
}

#[test]
fn what_is_given_wins_over_a_programs_own_values_which_have_no_place() {
    let own = ["scaler.max_nodes=3", "trunks.carrier.uri=sip:127.0.0.1:5060", "scaler.tick_ms=100"];
    let own = own.map(str::to_owned);
    let sets = ["scaler.max_nodes=5".to_owned(), "trunks.carrier.calls_per_second=7".to_owned()];
    let config = Config::load_over(&own, None, std::iter::empty(), &sets).unwrap();
    assert_eq!((config.scaler.max_nodes, config.scaler.tick_ms), (5, 100));
    assert_eq!(config.trunks["carrier"].uri, "sip:127.0.0.1:5060");
    assert_eq!(config.source_of("scaler.max_nodes"), Some(Source::Set("scaler.max_nodes".into())));
    assert_eq!(config.source_of("scaler.tick_ms"), None);
    assert_eq!(config.source_of("trunks.carrier.uri"), None);
}

#[test]
fn text_takes_the_kind_its_key_needs() {
    let env = [
        ("ASTERISM_FLEET", "7"),
        ("ASTERISM_NATS__INSECURE", "true"),
        ("ASTERISM_SCALER__PROVIDER", "ec2"),
        ("ASTERISM_SCALER__EC2__LAUNCH_TEMPLATE", "lt-1"),
        ("ASTERISM_SCALER__EC2__SECURITY_GROUP_IDS", "sg-1, sg-2"),
        ("ASTERISM_LOGIC__HTTP_LISTEN", "127.0.0.1:8080"),
        ("ASTERISM_TRUNKS__CARRIER__URI", "sip:127.0.0.1:5060"),
        ("ASTERISM_TRUNKS__CARRIER__ALLOWED_NUMBERS", "+12025550123,+12025550124"),
        ("ASTERISM_AGENT__NODE", ""),
    ];
    let config = load("[agent]\nnode = 'i-1'\n", &env, &[]).unwrap();
    assert_eq!((config.fleet.as_str(), config.nats.insecure), ("7", true));
    assert_eq!(config.scaler.provider, Provider::Ec2);
    assert_eq!(config.scaler.ec2.security_group_ids, ["sg-1", "sg-2"]);
    assert_eq!(config.logic.http_listen.port(), 8080);
    assert_eq!(config.trunks["carrier"].allowed_numbers.len(), 2);
    assert_eq!(config.agent.node, None, "an empty variable unsets");
}

/// File, environment, flags, what is said.
type Mistake = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static str);

#[test]
fn each_mistake_is_named_with_its_place_and_what_would_be_right() {
    let cases: [Mistake; 15] = [
        (
            "[logic]\nmemcached = ['10.0.0.5:11211', '10.0.0.6']\n",
            &[],
            &[],
            "AST-C010: asterism.toml:2: logic.memcached: \"10.0.0.6\" is no HOST:PORT and no unix:///PATH",
        ),
        (
            "[dialer]\ntick_mss = 50\n",
            &[],
            &[],
            "AST-C003: asterism.toml:2: dialer.tick_mss: unknown key; did you mean tick_ms?",
        ),
        (
            "fleet = 'a'\n[dialler]\n",
            &[],
            &[],
            "AST-C003: asterism.toml:2: dialler: unknown key; did you mean dialer?",
        ),
        (
            "[scaler.ec2]\nimage = 'x'\n",
            &[],
            &[],
            "AST-C003: asterism.toml:2: scaler.ec2.image: unknown key; did you mean image_id?",
        ),
        (
            "[dialer]\n\ntick_ms = 'soon'\n",
            &[],
            &[],
            "AST-C004: asterism.toml:3: dialer.tick_ms: is a text, expected u64",
        ),
        (
            "[dialer]\ntick_ms = -1\n",
            &[],
            &[],
            "AST-C004: asterism.toml:2: dialer.tick_ms: is -1, expected u64",
        ),
        (
            "[dialer]\ntick_ms = 1.5\n",
            &[],
            &[],
            "AST-C004: asterism.toml:2: dialer.tick_ms: is a float 1.5, expected u64",
        ),
        (
            "[scaler]\nprovider = 'gcp'\n",
            &[],
            &[],
            "AST-C004: asterism.toml:2: scaler.provider: \"gcp\" is none of local, ec2",
        ),
        (
            "",
            &[("ASTERISM_DIALER__TICK_MS", "x")],
            &[],
            "AST-C004: ASTERISM_DIALER__TICK_MS: dialer.tick_ms: is a text, expected u64",
        ),
        (
            "",
            &[("ASTERISM_NATS__URI", "x")],
            &[],
            "AST-C003: ASTERISM_NATS__URI: nats.uri: unknown key; did you mean url?",
        ),
        (
            "",
            &[("ASTERISM_NATS_URL", "x")],
            &[],
            "AST-C005: ASTERISM_NATS_URL: is not read; did you mean ASTERISM_NATS__URL?",
        ),
        ("", &[], &["dialer.tick_ms"], "AST-C006: --set dialer.tick_ms: expected section.key=value"),
        ("", &[], &["fleet.name=x"], "AST-C004: --set fleet.name: fleet: is a table, expected a string"),
        (
            "[dialer]\ntick_ms = 5\n",
            &[],
            &[],
            "AST-C010: asterism.toml:2: dialer.tick_ms: is 5, expected 20 to 10000",
        ),
        (
            "fleet = 'a.b'\n",
            &[],
            &[],
            "AST-C011: asterism.toml:1: fleet: expected 1 to 64 letters, digits, - and _",
        ),
    ];
    for (file, env, sets, expected) in cases {
        let said = refused(file, env, sets);
        assert!(said.starts_with(expected), "said: {said}\nexpected: {expected}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    let said = refused("fleet = 'a'\n[nats\nurl = 1\n", &[], &[]);
    assert!(said.starts_with("AST-C002: asterism.toml:2: not TOML"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let missing = Config::load(Some(&dir.path().join("none.toml")), std::iter::empty(), &[]).unwrap_err();
    assert_eq!(missing.code(), "AST-C001");
}

#[test]
fn a_node_is_never_ended_before_it_counts_as_dead() {
    let said = refused("[scaler]\nunreachable_terminate_after_ms = 30000\n", &[], &[]);
    let expected = "AST-C014: asterism.toml:2: scaler.unreachable_terminate_after_ms: expected more than";
    assert!(said.starts_with(expected), "{said}");
    let never = load("[scaler]\nunreachable_terminate_after_ms = 0\n", &[], &[]).unwrap();
    assert_eq!(never.scaler.unreachable_terminate_after_ms, 0);
}

#[test]
fn all_problems_are_said_at_once() {
    let error = load("[dialer]\ntick_ms = 5\n[scaler]\nmin_nodes = 9\n[trunks.x]\nuri = 'tel:1'\n", &[], &[]);
    let codes: Vec<&str> = error.unwrap_err().problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["AST-C010", "AST-C014", "AST-C010"]);
}

#[test]
fn a_bus_beyond_this_machine_needs_protection_before_anything_connects() {
    let said = refused("[nats]\nurl = 'nats://10.0.0.7:4222'\n", &[], &[]);
    assert!(said.starts_with("AST-C012: asterism.toml:2: nats.url: AST-N001"), "{said}");
    assert!(load("[nats]\nurl = 'nats://10.0.0.7:4222'\ninsecure = true\n", &[], &[]).is_ok());
}

#[test]
fn the_password_comes_from_its_file_and_a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let set = format!("nats.password_file={}", path.display());
    let said = refused("", &[], &["nats.user=service", &set]);
    assert!(said.starts_with("AST-C013: --set nats.password_file: "), "{said}");
    std::fs::write(&path, "hunter2\n").unwrap();
    let config = load("", &[], &["nats.user=service", &set]).unwrap();
    let bus = config.bus_for_service("dialer").unwrap();
    assert_eq!((bus.inbox_prefix.as_str(), bus.name.as_str()), ("_IN.svc.dialer", "dialer"));
    assert_eq!(bus.password.unwrap().reveal(), "hunter2");
    assert_eq!(config.bus_for_node("i-1").unwrap().inbox_prefix, "_IN.node.i-1");
    assert!(refused("", &[], &["nats.user=service"]).starts_with("AST-C014"));
}

#[test]
fn what_is_shown_has_places_and_neither_passwords_nor_numbers() {
    let file = "[trunks.carrier]\nuri = 'sip:10.1.1.1'\nallowed_numbers = ['+12025550123']\ncaller_id = '+12025550199'\n";
    let sets = ["scaler.agent_args=--token,hunter2", "nats.url=nats://127.0.0.1:4333"];
    let config = load(file, &[("ASTERISM_FLEET", "north")], &sets).unwrap();
    let text = config.print_masked();
    for line in [
        "fleet = \"north\"  # ASTERISM_FLEET",
        "nats.url = \"nats://127.0.0.1:4333\"  # --set nats.url",
        "dialer.tick_ms = 50",
        "trunks.carrier.caller_id = \"+1•••••••199\"  # asterism.toml:4",
        "trunks.carrier.allowed_numbers = [\"+1•••••••123\"]  # asterism.toml:3",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\nis not in\n{text}");
    }
    for secret in ["hunter2", "5550123", "5550199"] {
        assert!(!text.contains(secret), "{secret} is shown:\n{text}");
    }
    // A url with a user is refused as the bus' url; as another value it is at least not shown.
    let config = load("[scaler.ec2]\nendpoint = 'http://joe:pw@127.0.0.1:1'\n", &[], &[]).unwrap();
    assert!(config.print_masked().contains("http://•••@127.0.0.1:1"));
}

#[test]
fn a_wrong_value_is_not_repeated_because_it_may_be_a_secret() {
    assert!(!refused("[dialer]\ntick_ms = 'hunter2'\n", &[], &[]).contains("hunter2"));
    assert!(!refused("[nats]\nurl = 'nats://joe:hunter2@127.0.0.1'\n", &[], &[]).contains("hunter2"));
}

#[test]
fn every_key_without_a_default_is_known_to_the_check_of_variable_names() {
    for (section, key) in [("nats", "password_file"), ("agent", "node"), ("dialer", "tick_ms")] {
        assert!(show::has_key(section, key), "{section}.{key}");
    }
    assert!(!show::has_key("nats", "server"), "ASTERISM_NATS_SERVER is no mistake");
}

#[test]
fn the_object_store_is_in_the_data_folder_unless_it_is_named() {
    let config = load("[paths]\ndata_dir = '/var/lib/as terism'\n", &[], &[]).unwrap();
    assert_eq!(config.objects_url().unwrap(), "file:///var/lib/as%20terism/objects");
    assert_eq!(load("", &[], &["objects.url=s3://bucket"]).unwrap().objects_url().unwrap(), "s3://bucket");
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused_without_panic(text in "\\PC{0,200}") {
        let _ = load(&text, &[], &[]);
    }

    #[test]
    fn files_of_near_shape_are_read_or_refused_without_panic(
        section in "(nats|dialer|scaler|scaler\\.ec2|trunks|trunks\\.a|agent|fleet|x)",
        key in "(url|uri|tick_ms|provider|http_listen|max_nodes|ami|allowed_numbers|ec2|q)",
        value in "('[a-z0-9:.+]{0,12}'|-?[0-9]{1,20}|true|\\[1, 'a'\\]|\\{ a = 1 \\}|1979-05-27|1.5|0x1f)",
    ) {
        if let Err(error) = load(&format!("[{section}]\n{key} = {value}\n"), &[], &[]) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.to_string().starts_with("AST-C0"), "{}", error);
        }
    }

    /// A policy nobody can mean is refused where it is read: what passes is within what the scaler can hold.
    #[test]
    fn absurd_limits_of_the_fleet_are_refused_with_their_place(
        key in "(tick_ms|min_nodes|max_nodes|node_capacity|price_micro_usd_per_hour|launch_per_minute|max_micro_usd_per_hour|budget_micro_usd|boot_deadline_ms|not_ready_grace_ms|unreachable_terminate_after_ms|gone_after_ms|budget_reserve_ms)",
        value in prop_oneof![
            "(-1|-9223372036854775808|0|1|1000000|4294967296|9223372036854775807|18446744073709551616|1e308|nan|-inf|0.5|'8'|'')",
            any::<i64>().prop_map(|n| n.to_string()),
        ],
    ) {
        match load(&format!("[scaler]\n{key} = {value}\n"), &[], &[]) {
            Err(error) => {
                let text = error.to_string();
                // What is no TOML has a line and no key.
                let is_placed = text.contains(&format!("scaler.{key}")) || text.contains("asterism.toml:2");
                prop_assert!(is_placed || text.contains("scaler.m"), "{}", text);
            }
            Ok(Config { scaler, agent, .. }) => {
                prop_assert!((20..=60_000).contains(&scaler.tick_ms));
                prop_assert!(scaler.min_nodes <= scaler.max_nodes && (1..=10_000).contains(&scaler.max_nodes));
                prop_assert!((1..=10_000).contains(&scaler.node_capacity));
                prop_assert!((1..=10_000).contains(&scaler.launch_per_minute));
                let day = 86_400_000;
                for ms in [scaler.boot_deadline_ms, scaler.not_ready_grace_ms, scaler.gone_after_ms] {
                    prop_assert!((1_000..=day).contains(&ms));
                }
                prop_assert!(scaler.budget_reserve_ms <= day);
                let patience = scaler.unreachable_terminate_after_ms;
                prop_assert!(patience == 0 || patience > agent.dead_after_ms);
                prop_assert!(i64::try_from(scaler.price_micro_usd_per_hour).is_ok());
            }
        }
    }

    #[test]
    fn any_variable_and_flag_is_read_or_refused_without_panic(
        name in "ASTERISM_[A-Z_]{0,24}", value in "\\PC{0,40}", set in "\\PC{0,60}"
    ) {
        let _ = load("", &[(&name, &value)], &[]);
        let _ = load("", &[], &[&set]);
    }
}
