//! What a process and a database cost: wall time, CPU time and memory, as Linux counts them under `/proc`.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callops::clock::Clock;

/// Linux counts CPU time under `/proc` in hundredths of a second on every machine that it runs on.
const TICKS_PER_SECOND: f64 = 100.0;
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What one process, from its start to its end, took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds on a CPU, user and system.
    pub(crate) cpu: f64,
    /// The most memory resident at once, in megabytes.
    pub(crate) peak_mb: f64,
}

/// A process that is being measured.
pub(crate) struct Measured {
    child: Child,
    clock: Clock,
    started: Duration,
    cost: Cost,
}

impl Measured {
    /// Starts a process; its output is thrown away but for stderr.
    pub(crate) fn start(command: &mut Command, clock: &Clock) -> Result<Self> {
        let started = clock.monotonic();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot start a process")?;
        Ok(Self { child, clock: clock.clone(), started, cost: Cost::default() })
    }

    /// Waits for its end, which must be with this exit code, and yields what it took.
    pub(crate) fn finish_with(mut self, code: i32) -> Result<Cost> {
        while !self.look()? {
            std::thread::sleep(LOOK_EVERY);
        }
        let status = self.child.wait()?;
        ensure!(status.code() == Some(code), "a measured process ended with {status}, not with {code}");
        Ok(self.cost)
    }

    /// Notes memory and CPU; says whether the process has ended. Both are looked at before it is waited for, since
    /// nothing is left of them afterwards.
    fn look(&mut self) -> Result<bool> {
        let pid = self.child.id();
        let stat = Stat::of(pid).context("a process vanished before it was waited for")?;
        if stat.is_over {
            self.cost.wall = self.clock.monotonic().saturating_sub(self.started).as_secs_f64();
            self.cost.cpu = stat.own;
            return Ok(true);
        }
        if let Some(peak) = peak_mb(pid) {
            self.cost.peak_mb = peak;
        }
        Ok(false)
    }
}

fn peak_mb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// A line of `/proc/PID/stat`.
struct Stat {
    name: String,
    is_over: bool,
    parent: u32,
    /// Seconds of its own.
    own: f64,
    /// Seconds of the children that it has waited for.
    children: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any character.
        let (head, tail) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let seconds = |index: usize| fields.get(index)?.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_SECOND);
        Some(Self {
            name,
            is_over: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            children: seconds(13)? + seconds(14)?,
        })
    }
}

/// The processes of a PostgreSQL server on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server(Option<u32>);

impl Server {
    /// The server that runs the session with this process id; one on another machine cannot be measured.
    pub(crate) fn of_session(pid: i32) -> Self {
        let parent = || {
            let stat = Stat::of(u32::try_from(pid).ok()?)?;
            (stat.name == "postgres").then_some(stat.parent)
        };
        Self(parent())
    }

    /// Seconds of CPU that all its processes, past and present, have taken; none when it is on another machine.
    pub(crate) fn cpu(self) -> Option<f64> {
        let leader = self.0?;
        let stat = Stat::of(leader)?;
        // A session that has ended counts among the leader's children.
        let mut sum = stat.own + stat.children;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(stat) = Stat::of(pid).filter(|stat| stat.parent == leader) {
                sum += stat.own;
            }
        }
        Some(sum)
    }
}
