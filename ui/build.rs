//! Builds the console with Vite into OUT_DIR, from where `lib.rs` embeds it.
//!
//! Without Node, or with `LOGVINE_UI=placeholder`, a page that explains is embedded instead; where Node is there but the build fails, so does this.
//! Several builds at once (debug and release, two worktrees' editors) share `node_modules`: one at a time goes in, under a file lock.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the console is made of. Never the folder itself: `node_modules` is in it, which changes with each build.
const INPUTS: [&str; 8] = ["build.rs", "index.html", "missing.html", "package.json", "package-lock.json", ".npmrc", "vite.config.ts", "src"];
/// The oldest Node that Vite runs on.
const NODE_LEAST: (u32, u32) = (20, 19);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-env-changed=LOGVINE_UI");
    let ui = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let dist = PathBuf::from(env::var("OUT_DIR")?).join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    match env::var("LOGVINE_UI").as_deref() {
        Ok("placeholder") => return explain(&ui, &dist, "it was built with LOGVINE_UI=placeholder"),
        Ok(other) if !other.is_empty() => return Err(format!("LOGVINE_UI={other}: unset it, or set it to `placeholder`").into()),
        _ => {}
    }
    match node() {
        Ok(version) => build(&ui, &dist, &version),
        Err(reason) => {
            println!("cargo::warning=the console is left out: {reason}");
            // A file that is never there: this runs again at the next build, when Node may be.
            println!("cargo::rerun-if-changed=node-was-missing");
            explain(&ui, &dist, &reason)
        }
    }
}

/// Node's version, if it is new enough and npm is beside it; else why not.
fn node() -> Result<String, String> {
    let wanted = format!("Node {}.{} or newer, with npm, builds it", NODE_LEAST.0, NODE_LEAST.1);
    let said = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let output = output.ok().filter(|output| output.status.success()).ok_or_else(|| format!("{program} was not found; {wanted}"))?;
        Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = said("node")?;
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < NODE_LEAST {
        return Err(format!("Node is {version}; {wanted}"));
    }
    said("npm")?;
    Ok(version)
}

fn explain(ui: &Path, dist: &Path, reason: &str) -> Outcome<()> {
    let page = fs::read_to_string(ui.join("missing.html"))?.replace("{reason}", reason);
    Ok(fs::write(dist.join("index.html"), page)?)
}

fn build(ui: &Path, dist: &Path, node: &str) -> Outcome<()> {
    let lock = fs::OpenOptions::new().create(true).append(true).open(ui.join(".build-lock"))?;
    lock.lock()?;
    install(ui, node)?;
    run(Command::new("npm").args(["run", "--silent", "build"]).current_dir(ui).env("LOGVINE_UI_OUT", dist).env_remove("NODE_ENV"))
}

/// `npm ci`, unless what is there was installed by the same Node from the same lock.
fn install(ui: &Path, node: &str) -> Outcome<()> {
    let wanted = format!("{node} {}\n{}", env::consts::ARCH, fs::read_to_string(ui.join("package-lock.json"))?);
    let installed = ui.join("node_modules/.installed");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(Command::new("npm").args(["ci", "--include=dev", "--ignore-scripts", "--no-progress"]).current_dir(ui).env_remove("NODE_ENV"))?;
    Ok(fs::write(installed, wanted)?)
}

fn run(command: &mut Command) -> Outcome<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Err(format!("{command:?} failed ({})\n{said}\nTo build without the console: LOGVINE_UI=placeholder", output.status).into())
}
