//! A machine from which operators type commands, and the processes that it starts.

use super::region::Region;
use super::server::CERTIFICATE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use deployctl::adapters::clock::SystemClock;
use deployctl::ports::Clock as _;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest wait for what is sure to come, on a machine however busy.
const LONGEST: Duration = Duration::from_mins(4);

/// A folder of its own, removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::SeqCst);
        let name = format!("deployctl-process-{}-{number}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("environments")).unwrap();
        Self(folder)
    }

    pub fn write_environment(&self, steps: &str, ingresses: [&str; 2]) {
        let text = include_str!("prod.yaml").replace("STEPS", steps);
        let text = text.replace("EAST", ingresses[0]).replace("WEST", ingresses[1]);
        std::fs::write(self.0.join("environments/prod.yaml"), text).unwrap();
    }

    pub fn write_manifests(&self) {
        std::fs::create_dir_all(self.0.join("manifests/api")).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop/manifests/api/all.yaml");
        std::fs::copy(source, self.0.join("manifests/api/all.yaml")).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A machine from which commands are typed: an empty folder but for what its constructor says.
pub struct Machine {
    pub folder: Folder,
    outputs: AtomicUsize,
    name: String,
}

impl Machine {
    pub fn new(name: &str, steps: &str, east: &Region, west: &Region) -> Self {
        let folder = Folder::new(name);
        let ingress = |region: &Region| format!("http://{}", region.ingress);
        folder.write_environment(steps, [&ingress(east), &ingress(west)]);
        std::fs::write(folder.0.join("kubeconfig"), kubeconfig(&[east, west])).unwrap();
        std::fs::create_dir_all(folder.0.join("outputs")).unwrap();
        Self { folder, outputs: AtomicUsize::new(0), name: name.to_owned() }
    }

    /// From now on its kubeconfig has contexts for these regions alone.
    pub fn knows(&self, regions: &[&Region]) {
        std::fs::write(self.folder.0.join("kubeconfig"), kubeconfig(regions)).unwrap();
    }

    /// The program with these arguments, an environment of its own and no terminal; nothing is started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deployctl"));
        command
            .args(args)
            .current_dir(&self.folder.0)
            .env_clear()
            .env("USER", "ana")
            .env("HOME", &self.folder.0)
            .env("KUBECONFIG", self.folder.0.join("kubeconfig"))
            .stdin(Stdio::null());
        command
    }

    /// Starts the program.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_command(self.command(args), args)
    }

    /// The program from a folder that nobody can write, not even the administrator; everything else is as for
    /// [`Machine::command`].
    pub fn command_from_nowhere(&self, args: &[&str]) -> Command {
        let root = self.folder.0.to_str().unwrap();
        let mut command = self.command(&[&["-C", root], args].concat());
        command.current_dir("/proc");
        command
    }

    /// Starts a command that was made with [`Machine::command`].
    pub fn start_command(&self, mut command: Command, args: &[&str]) -> Running {
        let number = self.outputs.fetch_add(1, Ordering::SeqCst);
        let output = |name: &str| self.folder.0.join(format!("outputs/{number}.{name}"));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let what = format!("{} on {}", args.join(" "), self.name);
        Running { child: command.spawn().unwrap(), what, stdout, stderr }
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        self.start(args).end()
    }
}

/// A process that was started.
pub struct Running {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Done {
    /// Its exit code, or none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said this.
    pub fn says(&mut self, text: &str) {
        let (what, said) = (self.what.clone(), self.outputs());
        let mut over = false;
        until(
            || said().contains(text) || std::mem::replace(&mut over, self.is_over()),
            || format!("`{what}` does not say `{text}`:\n{}", said()),
        );
        assert!(said().contains(text), "`{what}` ended without `{text}`:\n{}", said());
    }

    fn outputs(&self) -> impl Fn() -> String + use<> {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        move || format!("{}{}", read(&stdout), read(&stderr))
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Done {
        let (what, said) = (self.what.clone(), self.outputs());
        until(|| self.is_over(), || format!("`{what}` does not end:\n{}", said()));
        let status = self.child.wait().unwrap();
        let done = Done {
            code: status.code(),
            signal: status.signal(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        };
        if std::env::var_os("SHOW_PROCESSES").is_some() {
            println!("$ {what}\n{}{}→ {:?} {:?}\n", done.stdout, done.stderr, done.code, done.signal);
        }
        done
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    /// The same, once it is known to have ended with this exit code.
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "signal {:?}\n{}{}", self.signal, self.stdout, self.stderr);
        self
    }

    /// Everything that it said: stdout, then stderr.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Waits until something is so; fails with these words where that never comes.
pub fn until(mut so: impl FnMut() -> bool, else_what: impl Fn() -> String) {
    let end = SystemClock.now() + LONGEST;
    while !so() {
        assert!(SystemClock.now() <= end, "{}", else_what());
        nap(Duration::from_millis(20));
    }
}

/// Lets real time pass: other processes are waited for.
#[allow(clippy::disallowed_methods, reason = "there is no virtual time between processes")]
pub fn nap(time: Duration) {
    std::thread::sleep(time);
}

fn kubeconfig(regions: &[&Region]) -> String {
    let authority = BASE64.encode(CERTIFICATE);
    let each = |line: &dyn Fn(&Region) -> String| -> String {
        regions.iter().map(|region| line(region)).collect::<Vec<_>>().join("\n")
    };
    let clusters = each(&|region| {
        format!(
            "- {{name: {}, cluster: {{server: 'https://{}', certificate-authority-data: {authority}}}}}",
            region.name, region.api
        )
    });
    let users = each(&|region| format!("- {{name: {}, user: {{token: {}}}}}", region.name, region.token()));
    let contexts = each(&|region| {
        let name = &region.name;
        format!("- {{name: {name}, context: {{cluster: {name}, user: {name}}}}}")
    });
    format!("apiVersion: v1\nkind: Config\nclusters:\n{clusters}\nusers:\n{users}\ncontexts:\n{contexts}\n")
}
