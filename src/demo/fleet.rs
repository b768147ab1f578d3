//! The demo's agents: real processes, one on each loopback address.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use tokio::process::{Child, ChildStdin, Command};

/// DESIGN §8.1: gossip, QUIC and HTTP are this port and the next two.
const PORT: u16 = 7946;

/// All agents of a demo.
#[derive(Debug)]
pub(super) struct Fleet {
    program: PathBuf,
    dir: PathBuf,
    first_port: u16,
    pub(super) agents: Vec<Agent>,
}

/// One agent, running or not.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) tags: Vec<&'static str>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// The agent ends when this is closed: it cannot outlive the demo, whatever becomes of it.
    _stdin: ChildStdin,
}

impl Fleet {
    /// `nodes` agents on 127.0.0.1, 127.0.0.2 and so on, all with the same three ports; none is started yet. The cluster key is at `dir/cluster.key`.
    ///
    /// Errors: the program's own path is unknown, or the addresses have no three ports free.
    pub(super) fn new(dir: &Path, nodes: u8, first_port: Option<u16>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program's own file, to start agents from it")?;
        let agents: Vec<_> = (1..=nodes)
            .map(|at| Agent {
                name: format!("node-{at}"),
                address: Ipv4Addr::new(127, 0, 0, at),
                tags: vec!["collectors", if at % 2 == 1 { "zone-a" } else { "zone-b" }],
                running: None,
            })
            .collect();
        let first_port = free_ports(&agents, first_port)?;
        Ok(Self { program, dir: dir.to_owned(), first_port, agents })
    }

    /// The gossip, QUIC and HTTP ports of every agent.
    pub(super) fn ports(&self) -> [u16; 3] {
        [self.first_port, self.first_port + 1, self.first_port + 2]
    }

    /// Where an agent's API answers.
    pub(super) fn api(&self, at: usize) -> String {
        format!("http://{}:{}", self.agents[at].address, self.first_port + 2)
    }

    /// Whom all agents ask to join: the first two.
    pub(super) fn seeds(&self) -> String {
        self.agents.iter().take(2).map(|agent| agent.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// All agents' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.name.clone()).collect()
    }

    /// What an agent says on its standard output and error.
    pub(super) fn log(&self, at: usize) -> PathBuf {
        self.dir.join(format!("{}.log", self.agents[at].name))
    }

    /// Starts an agent, for the first time or again.
    ///
    /// Errors: its log cannot be made or the process cannot be started.
    pub(super) fn start(&mut self, at: usize) -> anyhow::Result<()> {
        let log_path = self.log(at);
        let log = File::options().create(true).append(true).open(&log_path).with_context(|| format!("open {}", log_path.display()))?;
        let [gossip, quic, http] = self.ports();
        let seeds = self.seeds();
        let agent = &mut self.agents[at];
        let mut command = Command::new(&self.program);
        command.args(["agent", "--exit-with-stdin", "--name", &agent.name, "--bind", &agent.address.to_string()]);
        command.args(["--gossip-port", &gossip.to_string(), "--quic-port", &quic.to_string(), "--http", &format!("{}:{http}", agent.address)]);
        command.args(["--join", &seeds]);
        command.args(agent.tags.iter().flat_map(|tag| ["--tag", tag]));
        command.arg("--data-dir").arg(self.dir.join(&agent.name));
        command.arg("--cluster-key-file").arg(self.dir.join("cluster.key"));
        // What is set for a node of the user's own must not reach the demo's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOGVINE_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone().context("share the log between output and error")?).stderr(log);
        // A group of its own: Ctrl-C is for the demo, which then ends its agents itself.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
        let stdin = child.stdin.take().expect("stdin is piped");
        agent.running = Some(Running { child, _stdin: stdin });
        Ok(())
    }

    /// Ends an agent with SIGKILL and waits until it is gone. Returns its process id, None if it was not running.
    ///
    /// Errors: the system refuses, which it does not for a child.
    pub(super) async fn kill(&mut self, at: usize) -> anyhow::Result<Option<u32>> {
        let Some(mut running) = self.agents[at].running.take() else { return Ok(None) };
        let pid = running.child.id();
        running.child.kill().await.with_context(|| format!("kill {}", self.agents[at].name))?;
        Ok(pid)
    }

    /// Ends all agents with SIGKILL and waits until they are gone.
    pub(super) async fn kill_all(&mut self) {
        for at in 0..self.agents.len() {
            // An agent that could not be killed ends with its standard input, which is closed either way.
            let _ = self.kill(at).await;
        }
    }

    /// Notices agents that ended by themselves.
    ///
    /// Errors: one has, with the end of what it said.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for at in 0..self.agents.len() {
            let ended = match &mut self.agents[at].running {
                Some(running) => running.child.try_wait().context("look at an agent's process")?,
                None => None,
            };
            if let Some(status) = ended {
                let log = std::fs::read_to_string(self.log(at)).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(12)..].join("\n    ");
                bail!("{} ended by itself ({status}). Its last words:\n    {last}", self.agents[at].name);
            }
        }
        Ok(())
    }
}

impl Agent {
    /// Whether the demo has it running.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

/// `wanted`, else the ports of DESIGN §8.1 if they are free on every agent's address, else others below the system's own range.
fn free_ports(agents: &[Agent], wanted: Option<u16>) -> anyhow::Result<u16> {
    let free = |first: &u16| agents.iter().all(|agent| is_free(agent.address, *first));
    if let Some(wanted) = wanted {
        if free(&wanted) {
            return Ok(wanted);
        }
        bail!("port {wanted}, {} or {} is in use on a loopback address: choose another --first-port", wanted + 1, wanted + 2);
    }
    let others = (0..200).map(|_| 20_000 + 3 * chance(3_000));
    std::iter::once(PORT)
        .chain(others)
        .find(free)
        .context("no three free ports on 127.0.0.1 and its neighbours: are these addresses there? (`ip addr show lo`)")
}

/// A number below `below`. Two demos that start together should not try the same ports in the same order.
fn chance(below: u16) -> u16 {
    let drawn = getrandom::u32().unwrap_or_else(|_| std::process::id());
    u16::try_from(drawn % u32::from(below)).expect("less than a u16")
}

fn is_free(address: Ipv4Addr, first: u16) -> bool {
    UdpSocket::bind((address, first)).is_ok() && UdpSocket::bind((address, first + 1)).is_ok() && TcpListener::bind((address, first + 2)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let taken = UdpSocket::bind("127.0.0.2:0").unwrap();
        let first_port = taken.local_addr().unwrap().port().min(u16::MAX - 2);
        let message = Fleet::new(dir.path(), 3, Some(first_port)).unwrap_err().to_string();
        assert!(message.contains("--first-port"), "{message}");
        assert!(Fleet::new(dir.path(), 3, None).unwrap().ports()[0] != first_port);
    }
}
