//! The real binary, as cron and operators meet it: a cleared environment, a directory of its own, a time limit.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Redactor, Scratch, variable};

/// How long a command may take before the test gives up on it. It proves nothing; it only ends a hang.
const TIME_LIMIT: Duration = Duration::from_mins(2);

/// A way to run `callops` in a scratch directory with an environment that holds nothing but what is given.
#[derive(Clone, Debug)]
pub(crate) struct Callops<'a> {
    scratch: &'a Scratch,
    environment: BTreeMap<String, String>,
    stdin: Vec<u8>,
    time_limit: Duration,
    file_size_limit: Option<u64>,
}

impl<'a> Callops<'a> {
    /// The binary in this directory, with its home and its configuration and data directories inside it.
    pub(crate) fn new(scratch: &'a Scratch) -> Self {
        let mut environment = BTreeMap::new();
        let home = scratch.path().join("home");
        for (name, directory) in [
            ("HOME", home.clone()),
            ("XDG_CONFIG_HOME", home.join("config")),
            ("XDG_DATA_HOME", home.join("data")),
            ("XDG_STATE_HOME", home.join("state")),
            ("XDG_CACHE_HOME", home.join("cache")),
        ] {
            environment.insert(name.to_owned(), directory.display().to_string());
        }
        // Programs cannot start without these on some systems.
        for name in ["PATH", "SystemRoot"] {
            if let Some(value) = variable(name) {
                environment.insert(name.to_owned(), value);
            }
        }
        Self { scratch, environment, stdin: Vec::new(), time_limit: TIME_LIMIT, file_size_limit: None }
    }

    /// Sets one more variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a variable away.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// What the command reads from its standard input; nothing unless given.
    pub(crate) fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = input.into();
        self
    }

    /// Another time limit than two minutes.
    pub(crate) fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Lets no file grow beyond so many blocks of 512 bytes.
    pub(crate) fn file_size_limit(mut self, blocks: u64) -> Self {
        self.file_size_limit = Some(blocks);
        self
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// When it does not end within the time limit; it is killed then.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.spawn(args).wait()
    }

    /// Starts the command and leaves it running, for servers and for what is to be killed on its way.
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        let program = env!("CARGO_BIN_EXE_callops");
        let Some(blocks) = self.file_size_limit else { return self.spawn_program(program, args) };
        // Without the signal, a write beyond the limit fails, as it does on a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut with_limit: Vec<OsString> = vec!["-c".into(), script.into(), program.into()];
        with_limit.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.spawn_program("/bin/sh", with_limit)
    }

    #[cfg(all(test, unix))]
    fn run_program<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Output {
        self.spawn_program(program, args).wait()
    }

    fn spawn_program<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Running {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let called = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {called}: {error}"));
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = self.stdin.clone();
        // On a thread: a command that writes before it has read everything must not block the test. One that does not
        // want all of its input may close the pipe.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = lines_of(child.stdout.take().expect("a pipe"));
        let stderr = lines_of(child.stderr.take().expect("a pipe"));
        Running {
            child,
            called,
            stdout: Stream::new(stdout),
            stderr: Stream::new(stderr),
            time_limit: self.time_limit,
            redactor: Redactor::new(self.scratch),
        }
    }
}

/// Lines as they come, each with its line end.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                }
            }
        }
    });
    receiver
}

/// One of the two output streams: what was read so far, and what is still to come.
#[derive(Debug)]
struct Stream {
    seen: String,
    lines: Receiver<String>,
}

impl Stream {
    fn new(lines: Receiver<String>) -> Self {
        Self { seen: String::new(), lines }
    }

    fn next_line(&mut self, limit: Duration) -> Result<String, RecvTimeoutError> {
        let line = self.lines.recv_timeout(limit)?;
        self.seen.push_str(&line);
        Ok(line)
    }

    /// Reads to the end; false when nothing came for as long as the limit.
    fn read_to_end(&mut self, limit: Duration) -> bool {
        loop {
            match self.next_line(limit) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// What a command that was started is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Running,
    Stopped,
    Over,
}

/// A command that was started. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    called: String,
    stdout: Stream,
    stderr: Stream,
    time_limit: Duration,
    redactor: Redactor,
}

impl Running {
    /// Waits for a line of stdout that contains `text`, and returns it.
    ///
    /// # Panics
    /// When the command ends, or is silent for the time limit, before it says so.
    pub(crate) fn stdout_line(&mut self, text: &str) -> String {
        Self::line_with(&mut self.stdout, text, self.time_limit)
            .unwrap_or_else(|| panic!("no {text:?} on the stdout of {}: {:?}", self.called, self.stdout.seen))
    }

    /// Waits for a line of stderr that contains `text`, and returns it.
    ///
    /// # Panics
    /// When the command ends, or is silent for the time limit, before it says so.
    pub(crate) fn stderr_line(&mut self, text: &str) -> String {
        Self::line_with(&mut self.stderr, text, self.time_limit)
            .unwrap_or_else(|| panic!("no {text:?} on the stderr of {}: {:?}", self.called, self.stderr.seen))
    }

    fn line_with(stream: &mut Stream, text: &str, limit: Duration) -> Option<String> {
        loop {
            let line = stream.next_line(limit).ok()?;
            if line.contains(text) {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("the command can be asked").is_some()
    }

    /// Whether it runs, stands still, or is over.
    #[cfg(unix)]
    pub(crate) fn condition(&mut self) -> Condition {
        if self.is_over() {
            return Condition::Over;
        }
        let output = Command::new("ps").args(["-o", "state=", "-p", &self.child.id().to_string()]).output();
        let state = output.expect("ps can be started").stdout;
        if state.trim_ascii_start().first() == Some(&b'T') { Condition::Stopped } else { Condition::Running }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the command can be killed");
    }

    /// Sends a signal by its name, such as `INT`, `TERM`, `STOP` or `CONT`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill can be started");
        assert!(status.success(), "kill -{name} {} failed", self.child.id());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come within the time limit.
    pub(crate) fn wait(mut self) -> Output {
        let limit = self.time_limit;
        let ended = self.stdout.read_to_end(limit) && self.stderr.read_to_end(limit);
        if !ended {
            self.kill();
            panic!(
                "{} was silent for {limit:?} and was killed\nstdout: {}\nstderr: {}",
                self.called, self.stdout.seen, self.stderr.seen
            );
        }
        let status = self.child.wait().expect("the command ends");
        Output {
            status,
            stdout: std::mem::take(&mut self.stdout.seen),
            stderr: std::mem::take(&mut self.stderr.seen),
            redactor: self.redactor.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command left behind. Its `Display` is one text for snapshots, with whatever differs between runs redacted.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    status: ExitStatus,
    /// As written, nothing redacted.
    pub(crate) stdout: String,
    /// As written, nothing redacted.
    pub(crate) stderr: String,
    redactor: Redactor,
}

impl Output {
    /// The exit code; `None` when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Insists on exit code 0.
    pub(crate) fn success(self) -> Self {
        self.exits(0)
    }

    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// The stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {self}"))
    }

    /// Shows `placeholder` wherever `text` stands, besides what is redacted anyway.
    pub(crate) fn redact(mut self, text: &str, placeholder: &str) -> Self {
        self.redactor.replace(text, placeholder);
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status.code() {
            Some(code) => writeln!(f, "exit: {code}")?,
            None => writeln!(f, "exit: by a signal")?,
        }
        // Both together, so that an id that stands in both is shown as the same one.
        let both = self.redactor.apply(&format!("{}\u{0}{}", self.stdout, self.stderr));
        let (stdout, stderr) = both.split_once('\u{0}').unwrap_or((&both, ""));
        for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
            writeln!(f, "--- {name}")?;
            f.write_str(text)?;
            if !text.is_empty() && !text.ends_with('\n') {
                writeln!(f, "[no line end]")?;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(callops: &Callops<'_>, script: &str) -> Output {
        callops.run_program("/bin/sh", ["-c", script])
    }

    #[test]
    fn nothing_of_the_surrounding_environment_gets_through() {
        let scratch = Scratch::new();
        let callops = Callops::new(&scratch).env("CALLOPS_LOG", "debug");
        let output = sh(&callops, "env | sed 's/=.*//' | grep -v -e '^PWD$' -e '^_$' -e '^SHLVL$' | sort").success();
        let expected =
            ["CALLOPS_LOG", "HOME", "PATH", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];
        assert_eq!(output.stdout.lines().filter(|name| *name != "OLDPWD").collect::<Vec<_>>(), expected);
        let output = sh(&callops.without_env("CALLOPS_LOG"), "printenv CALLOPS_LOG").exits(1);
        assert_eq!(output.stdout, "");
    }

    #[test]
    fn one_text_shows_the_exit_code_and_both_streams() {
        let scratch = Scratch::new();
        scratch.write("in/a.txt", "hello\n");
        let script = "cat in/a.txt; cat; pwd; printf 'asked for 7' >&2; exit 7";
        let output = sh(&Callops::new(&scratch).stdin("from stdin\n"), script).redact("hello", "[greeting]");
        insta::assert_snapshot!(output, @r"
        exit: 7
        --- stdout
        [greeting]
        from stdin
        [DIR]
        --- stderr
        asked for 7[no line end]
        ");
        assert_eq!(sh(&Callops::new(&scratch), "echo '{\"a\":1}'").json()["a"], 1);
    }

    #[test]
    #[should_panic(expected = "was silent for")]
    fn a_command_that_hangs_is_killed() {
        let scratch = Scratch::new();
        sh(&Callops::new(&scratch).time_limit(Duration::from_millis(50)), "exec sleep 60");
    }

    #[test]
    fn a_running_command_can_be_watched_signalled_and_killed() {
        let scratch = Scratch::new();
        let script = "trap 'echo bye >&2; exit 143' TERM; echo ready; while :; do read -r line || sleep 0.01; done";
        let mut running = Callops::new(&scratch).spawn_program("/bin/sh", ["-c", script]);
        assert_eq!(running.stdout_line("read"), "ready");
        running.signal("TERM");
        assert_eq!(running.stderr_line("bye"), "bye");
        running.wait().exits(143);

        let mut running = Callops::new(&scratch).spawn_program("/bin/sh", ["-c", "echo ready; exec sleep 60"]);
        running.stdout_line("ready");
        running.kill();
        assert_eq!(running.wait().code(), None);
    }

    #[test]
    fn the_binary_is_there() {
        let scratch = Scratch::new();
        Callops::new(&scratch).spawn(["--version"]).wait().success();
    }
}
