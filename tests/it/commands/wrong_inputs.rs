//! Inputs with a mistake, and what the commands say of them. Each file of `tests/wrong-inputs` holds a
//! command, the files that it reads, and the reviewed output:
//!
//! ```text
//! $ nuon-runner render prod
//! -- prod/kustomization.yaml --
//! resources: [a.yaml]
//! -- exit 1 --
//! error: prod/kustomization.yaml:1:13: resources[0]: "a.yaml" does not exist inside the source
//! ```
//!
//! `-- PATH (mode 0) --` makes a file or directory that nobody may read, `-- PATH -> TARGET --` a link.
//! With `NUON_ACCEPT=1` the output is rewritten, to be reviewed as a diff.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::parts::testbed;

/// A file of `tests/wrong-inputs`.
struct WrongInput {
    file: PathBuf,
    arguments: Vec<String>,
    /// Names with their content, in order.
    files: Vec<(String, String)>,
    /// The exit code and the output, as they are written in the file.
    expected: String,
}

impl WrongInput {
    fn read(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap();
        let (input, expected) = text.split_once("-- exit ").unwrap_or((&text, ""));
        let (command, input) = input.split_once('\n').unwrap();
        let command = command.strip_prefix("$ nuon-runner ").unwrap();
        let mut files: Vec<(String, String)> = Vec::new();
        for line in input.split_inclusive('\n') {
            let name = line.strip_prefix("-- ");
            match name.and_then(|name| name.trim_end().strip_suffix(" --")) {
                Some(name) => files.push((name.to_owned(), String::new())),
                None => files.last_mut().unwrap().1.push_str(line),
            }
        }
        Self {
            file,
            arguments: command.split(' ').map(str::to_owned).collect(),
            files,
            expected: expected.to_owned(),
        }
    }

    fn write_files(&self, directory: &Path) {
        for (name, content) in &self.files {
            let (name, mode) = match name.strip_suffix(" (mode 0)") {
                Some(name) => (name, Some(0)),
                None => (name.as_str(), None),
            };
            if let Some((link, target)) = name.split_once(" -> ") {
                symlink(target, directory.join(link)).unwrap();
                continue;
            }
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match name.ends_with('/') {
                true => std::fs::create_dir(&path).unwrap(),
                false => std::fs::write(&path, content).unwrap(),
            }
            if let Some(mode) = mode {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }

    /// Runs the command without the capabilities by which root reads every file.
    fn run(&self, directory: &Path, kubeconfig: &Path) -> Output {
        let binary = env!("CARGO_BIN_EXE_nuon-runner");
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--inh-caps=-all", "--bounding-set=-all", binary]);
                command
            }
            false => Command::new(binary),
        };
        command
            .args(&self.arguments)
            .current_dir(directory)
            .env("KUBECONFIG", kubeconfig)
            .output()
            .unwrap()
    }

    fn check(&self) -> Result<(), String> {
        let (directory, kubeconfig) = (
            tempfile::tempdir().unwrap(),
            tempfile::NamedTempFile::new().unwrap(),
        );
        std::fs::write(&kubeconfig, testbed().kubeconfig()).unwrap();
        self.write_files(directory.path());
        let output = self.run(directory.path(), kubeconfig.path());
        let code = output.status.code().unwrap();
        let printed = match code {
            // What is built is not of interest.
            0 => String::new(),
            _ => String::from_utf8(output.stdout).unwrap(),
        };
        let errors = String::from_utf8(output.stderr).unwrap();
        let got = format!("{code} --\n{printed}{errors}");
        if std::env::var("NUON_ACCEPT").is_ok_and(|accept| accept == "1") {
            let text = std::fs::read_to_string(&self.file).unwrap();
            let input = text.split("-- exit ").next().unwrap();
            std::fs::write(&self.file, format!("{input}-- exit {got}")).unwrap();
            return Ok(());
        }
        match got == self.expected {
            true => Ok(()),
            false => Err(format!("{}:\n-- exit {got}", self.file.display())),
        }
    }
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_to_do() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong-inputs");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 40);
    let wrong: Vec<String> = files
        .into_iter()
        .filter_map(|file| WrongInput::read(file).check().err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
