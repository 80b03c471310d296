//! Local instances: one process per intent whatever happens to the launcher, and an honest listing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use asterism_scaler::cloud::local::{LocalCloud, LocalConfig};
use asterism_scaler::cloud::{Cloud, ErrorKind, InstanceState, LaunchRequest, code};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// Notes each start, leaves a helper process in its group, and runs until told to end.
const AGENT: &str =
    "#!/bin/sh\necho \"$$ $ASTERISM_INTENT $*\" >> \"$3/starts\"\nsleep 600 </dev/null &\nexec sleep 600\n";
/// The same, deaf to SIGTERM.
const DEAF_AGENT: &str = "#!/bin/sh\ntrap '' TERM\necho \"$$\" >> \"$3/starts\"\nexec sleep 600\n";

/// A folder of instances; whatever still runs in it is killed at the end of the test.
struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new(agent: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("agent");
        fs::write(&bin, agent).unwrap();
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn cloud(&self) -> LocalCloud {
        cloud_on(self.dir.path())
    }

    fn instance(&self, id: &str) -> PathBuf {
        self.dir.path().join("instances").join(id)
    }

    fn starts(&self, id: &str) -> Vec<String> {
        let text = fs::read_to_string(self.instance(id).join("starts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn record(&self, id: &str) -> Value {
        serde_json::from_slice(&fs::read(self.instance(id).join("cloud/process.json")).unwrap()).unwrap()
    }

    fn pid(&self, id: &str) -> i32 {
        self.record(id)["pid"].as_i64().unwrap() as i32
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir.path().join("instances")).into_iter().flatten().flatten() {
            let pid =
                fs::read_to_string(entry.path().join("cloud/pid")).ok().and_then(|p| p.trim().parse().ok());
            if let Some(pid) = pid {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn cloud_on(dir: &Path) -> LocalCloud {
    let config = LocalConfig {
        agent_bin: dir.join("agent"),
        args: vec!["--slots".into(), "20".into()],
        env: vec![("COLOUR".into(), "blue".into())],
        dir: dir.to_owned(),
    };
    LocalCloud::new(config).unwrap()
}

fn request(intent: &str) -> LaunchRequest {
    LaunchRequest {
        intent_id: intent.into(),
        instance_type: "local".into(),
        image_id: "local".into(),
        ..LaunchRequest::default()
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn state(cloud: &LocalCloud, id: &str) -> Option<InstanceState> {
    let all = cloud.list().await.unwrap();
    all.iter().find(|i| i.instance_id == id).map(|i| i.state)
}

/// Whether the process or any of its group runs; zombies do not.
fn group_runs(pid: i32) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|e| {
        let stat = fs::read_to_string(e.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.get(2) == Some(&pid.to_string().as_str()) && !matches!(fields[0], "Z" | "X")
    })
}

#[tokio::test]
async fn the_same_intent_is_the_same_instance_also_after_a_restart() {
    let rig = Rig::new(AGENT);
    let first = rig.cloud().launch(&request("intent-1")).await.unwrap().remove(0);
    assert_eq!(first.state, InstanceState::Running);
    assert_eq!(first.intent_id.as_deref(), Some("intent-1"));
    assert_eq!(first.private_address.as_deref(), Some("127.0.0.1"));
    let id = first.instance_id.clone();
    assert!(id.len() == 19 && id.starts_with("i-"), "{id}");

    let restarted = rig.cloud();
    assert_eq!(restarted.launch(&request("intent-1")).await.unwrap().remove(0), first);
    assert_eq!(restarted.list().await.unwrap(), vec![first]);
    assert_ne!(restarted.launch(&request("intent-2")).await.unwrap().remove(0).instance_id, id);
    assert_eq!(restarted.list().await.unwrap().len(), 2);

    until("the agent starts", || rig.starts(&id).len() == 1).await;
    let want = format!(
        "{} intent-1 instance --dir {} --node {id} --slots 20",
        rig.pid(&id),
        rig.dir.path().canonicalize().unwrap().join("instances").join(&id).display()
    );
    assert_eq!(rig.starts(&id), vec![want]);
}

#[tokio::test]
async fn concurrent_launches_start_one_process() {
    let rig = Rig::new(AGENT);
    let clouds = [rig.cloud(), rig.cloud()];
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let cloud = clouds[i % 2].clone();
            tokio::spawn(async move { cloud.launch(&request("both")).await.unwrap().remove(0) })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap().instance_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    until("the agent starts", || !rig.starts(&ids[0]).is_empty()).await;
    clouds[0].terminate(&ids).await.unwrap();
    assert_eq!(rig.starts(&ids[0]).len(), 1);
}

#[tokio::test]
async fn terminate_ends_the_whole_group_and_spends_the_intent() {
    let rig = Rig::new(AGENT);
    let cloud = rig.cloud();
    let mut ids = Vec::new();
    for intent in ["a", "b", "c"] {
        ids.push(cloud.launch(&request(intent)).await.unwrap().remove(0).instance_id);
    }
    for id in &ids {
        until("the agent starts", || rig.starts(id).len() == 1).await;
    }
    let restarted = rig.cloud();
    restarted.terminate(&ids[..2]).await.unwrap();
    assert!(!group_runs(rig.pid(&ids[0])) && !group_runs(rig.pid(&ids[1])));
    assert!(group_runs(rig.pid(&ids[2])));
    assert_eq!(state(&cloud, &ids[0]).await, Some(InstanceState::Terminated));
    assert_eq!(state(&cloud, &ids[2]).await, Some(InstanceState::Running));
    restarted.terminate(&ids[..1]).await.unwrap();
    let again = cloud.launch(&request("a")).await.unwrap().remove(0);
    assert_eq!((again.instance_id.as_str(), again.state), (ids[0].as_str(), InstanceState::Terminated));
    assert_eq!(rig.starts(&ids[0]).len(), 1, "a spent intent started again");
}

#[tokio::test]
async fn a_deaf_process_is_killed_after_the_grace() {
    let rig = Rig::new(DEAF_AGENT);
    let cloud = rig.cloud().with_grace(200);
    let id = cloud.launch(&request("deaf")).await.unwrap().remove(0).instance_id;
    until("the agent starts", || rig.starts(&id).len() == 1).await;
    let (begun, ender) = (Instant::now(), cloud.clone());
    let ending = tokio::spawn({
        let id = id.clone();
        async move { ender.terminate(&[id]).await }
    });
    until("it is told to end", || rig.instance(&id).join("cloud/terminating.json").exists()).await;
    assert_ne!(state(&cloud, &id).await, Some(InstanceState::Running));
    ending.await.unwrap().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200), "no grace");
    assert!(!group_runs(rig.pid(&id)));
    assert_eq!(state(&cloud, &id).await, Some(InstanceState::Terminated));
}

#[tokio::test]
async fn a_killed_instance_is_terminated_and_leaves_nothing_running() {
    let rig = Rig::new(AGENT);
    let cloud = rig.cloud();
    let id = cloud.launch(&request("victim")).await.unwrap().remove(0).instance_id;
    let pid = rig.pid(&id);
    let helper_runs = || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        !children.trim().is_empty()
    };
    until("the helper runs", helper_runs).await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while state(&cloud, &id).await != Some(InstanceState::Terminated) {
        assert!(Instant::now() < deadline, "still listed as running");
    }
    until("the helper of the dead agent ends", || !group_runs(pid)).await;
    until("the child is reaped", || !Path::new(&format!("/proc/{pid}")).exists()).await;
    assert_eq!(cloud.launch(&request("victim")).await.unwrap().remove(0).state, InstanceState::Terminated);
    assert_eq!(rig.starts(&id).len(), 1);
}

#[tokio::test]
async fn a_reused_process_number_is_not_ours() {
    let rig = Rig::new(AGENT);
    let cloud = rig.cloud();
    let id = cloud.launch(&request("old")).await.unwrap().remove(0).instance_id;
    killpg(Pid::from_raw(rig.pid(&id)), Signal::SIGKILL).unwrap();
    // The number now belongs to a process of somebody else, as after a long uptime.
    let mut record = rig.record(&id);
    let stranger = loop {
        let sleeper = KillOnDrop(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap());
        let stat = fs::read_to_string(format!("/proc/{}/stat", sleeper.0.id())).unwrap();
        let ticks: u64 =
            stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
        if record["start_ticks"] != ticks {
            break sleeper; // not within the same 10 ms, which no reuse could be
        }
    };
    record["pid"] = stranger.0.id().into();
    fs::write(rig.instance(&id).join("cloud/process.json"), record.to_string()).unwrap();

    cloud.terminate(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(state(&cloud, &id).await, Some(InstanceState::Terminated));
    assert!(Path::new(&format!("/proc/{}/fd/0", stranger.0.id())).exists(), "a stranger was killed");
}

#[tokio::test]
async fn a_half_made_instance_is_completed_or_ended_but_never_doubled() {
    let rig = Rig::new(AGENT);
    let cloud = rig.cloud();
    // The launcher died after the process started, before it was recorded.
    let id = cloud.launch(&request("orphan")).await.unwrap().remove(0).instance_id;
    let pid = rig.pid(&id);
    fs::remove_file(rig.instance(&id).join("cloud/process.json")).unwrap();
    assert_eq!(rig.cloud().launch(&request("orphan")).await.unwrap().remove(0).state, InstanceState::Running);
    assert_eq!(rig.pid(&id), pid);
    until("the agent starts", || rig.starts(&id).len() == 1).await;

    // It died, and then the process did: nobody may start it again.
    fs::remove_file(rig.instance(&id).join("cloud/process.json")).unwrap();
    killpg(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("the group ends", || !group_runs(pid)).await;
    assert_eq!(
        rig.cloud().launch(&request("orphan")).await.unwrap().remove(0).state,
        InstanceState::Terminated
    );
    assert_eq!(rig.starts(&id).len(), 1);

    // It died before the process started: completed by the next launch.
    let id = cloud.launch(&request("early")).await.unwrap().remove(0).instance_id;
    cloud.terminate(std::slice::from_ref(&id)).await.unwrap();
    let early = rig.instance(&id).join("cloud");
    for file in ["pid", "process.json", "terminating.json", "terminated.json"] {
        fs::remove_file(early.join(file)).unwrap();
    }
    fs::remove_file(rig.instance(&id).join("starts")).ok();
    assert_eq!(state(&cloud, &id).await, Some(InstanceState::Pending));
    let copy = fs::read(early.join("launch.json")).unwrap();
    assert_eq!(cloud.launch(&request("early")).await.unwrap().remove(0).state, InstanceState::Running);
    assert_eq!(fs::read(early.join("launch.json")).unwrap(), copy);
    until("the agent starts", || rig.starts(&id).len() == 1).await;

    // The same, but it is to end: never started.
    cloud.terminate(std::slice::from_ref(&id)).await.unwrap();
    for file in ["pid", "process.json", "terminating.json", "terminated.json"] {
        fs::remove_file(early.join(file)).unwrap();
    }
    cloud.terminate(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(cloud.launch(&request("early")).await.unwrap().remove(0).state, InstanceState::Terminated);
    assert!(!early.join("pid").exists(), "an ended instance was started");
}

#[tokio::test]
async fn failures_say_what_they_mean() {
    let rig = Rig::new(AGENT);
    let cloud = rig.cloud();
    let id = cloud.launch(&request("x")).await.unwrap().remove(0).instance_id;
    let other = LaunchRequest { instance_type: "bigger".into(), ..request("x") };
    let error = cloud.launch(&other).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Permanent, code::INTENT_MISMATCH));

    let unknown = ["i-00000000000000000".to_owned(), "../../etc".to_owned(), id.clone()];
    let error = cloud.terminate(&unknown).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Transient, code::NO_SUCH_INSTANCE));
    assert_eq!(state(&cloud, &id).await, Some(InstanceState::Terminated), "the good id was not ended");

    fs::set_permissions(rig.dir.path().join("agent"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = cloud.launch(&request("y")).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Permanent, code::NO_AGENT));
    assert_eq!(cloud.list().await.unwrap().len(), 1, "a launch that cannot work left an instance");

    fs::write(rig.instance(&id).join("cloud/launch.json"), "{").unwrap();
    let error = cloud.list().await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Permanent, code::DAMAGED));
}

const CHILD_DIR: &str = "ASTERISM_TEST_CHILD_DIR";
const ROUNDS: usize = 12;
const INTENTS_PER_ROUND: usize = 12;

/// Kills the child when the test ends, however it ends.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The parent starts this very test again as a launcher, kills it somewhere in the middle, and launches the same
/// intents: each agent must have started exactly once.
#[tokio::test]
async fn a_killed_launcher_neither_loses_nor_doubles_an_instance() {
    let intent = |round: usize, i: usize| format!("round-{round}-{i}");
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let cloud = cloud_on(Path::new(&dir));
        let round = std::env::var("ROUND").unwrap().parse().unwrap();
        for i in 0..INTENTS_PER_ROUND {
            cloud.launch(&request(&intent(round, i))).await.unwrap().remove(0);
        }
        std::process::exit(0);
    }
    let rig = Rig::new(AGENT);
    let mut cut_short = 0;
    for round in 0..ROUNDS {
        let cloud = rig.cloud();
        let mut launcher = KillOnDrop(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_killed_launcher_neither_loses_nor_doubles_an_instance"])
                .env(CHILD_DIR, rig.dir.path())
                .env("ROUND", round.to_string())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        // The kill falls a little later each round, counted from the first sign of life.
        let instances = rig.dir.path().join("instances");
        let count = || fs::read_dir(&instances).map_or(0, Iterator::count);
        let before = round * INTENTS_PER_ROUND;
        until("the launcher begins", || count() > before || launcher.0.try_wait().unwrap().is_some()).await;
        let kill_at = Instant::now() + Duration::from_micros(900 * round as u64);
        while Instant::now() < kill_at {
            std::hint::spin_loop();
        }
        let _ = launcher.0.kill();
        let _ = launcher.0.wait();
        cut_short += usize::from(count() < before + INTENTS_PER_ROUND);
        let mut ids = Vec::new();
        for i in 0..INTENTS_PER_ROUND {
            let instance = cloud.launch(&request(&intent(round, i))).await.unwrap().remove(0);
            assert_eq!(instance.state, InstanceState::Running, "round {round}, intent {i}");
            ids.push(instance.instance_id);
        }
        for id in &ids {
            until("the agent starts", || !rig.starts(id).is_empty()).await;
        }
        cloud.terminate(&ids).await.unwrap();
        for id in &ids {
            assert_eq!(rig.starts(id).len(), 1, "round {round}: {:?}", rig.starts(id));
        }
    }
    assert_eq!(rig.cloud().list().await.unwrap().len(), ROUNDS * INTENTS_PER_ROUND);
    assert!(cut_short > 0, "no launcher was killed in the middle");
}
