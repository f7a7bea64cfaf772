//! What a person is asked and told at a terminal.

use std::process::Command;

use crate::support::cluster::{ClusterFixture, config_map};
use crate::support::parts::unique;

/// Runs a command at a terminal, with this input. Returns the exit code and what the terminal shows.
fn at_terminal(fixture: &ClusterFixture, arguments: &[&str], input: &str) -> (i32, String) {
    let command = fixture.command(arguments);
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let typed = fixture.path("typed");
    std::fs::write(&typed, input).unwrap();
    let output = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.join(" "),
            "/dev/null",
        ])
        .stdin(std::fs::File::open(typed).unwrap())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), shown.replace("\r\n", "\n"))
}

#[tokio::test]
async fn a_question_names_cluster_context_namespace_and_counts_and_no_has_its_own_exit_code() {
    let fixture = ClusterFixture::new().await;
    let file = fixture.manifest(&config_map("a", "1"));
    let apply = ["apply", "-f", &file, "--component", "web"];
    let place = format!("(context testbed, namespace {})", fixture.namespace);
    for refusal in ["n\n", "\n", "\u{4}"] {
        let (code, shown) = at_terminal(&fixture, &apply, refusal);
        assert_eq!(code, 7, "{shown}");
        assert!(shown.contains("apply to https://127.0.0.1:"), "{shown}");
        let counts = format!("{place}, 1 to create, 0 to change, 0 to delete? [y/N]");
        assert!(shown.contains(&counts), "{shown}");
        assert!(
            shown.contains("not confirmed; nothing was changed"),
            "{shown}"
        );
    }
    assert!(fixture.get(&fixture.config_map("a")).await.is_null());
    let (code, shown) = at_terminal(&fixture, &apply, "y\n");
    assert_eq!(code, 0, "{shown}");

    let delete = ["delete", "--component", "web"];
    let (code, shown) = at_terminal(&fixture, &delete, "n\n");
    assert_eq!(code, 7, "{shown}");
    assert!(
        shown.contains("delete 1 from https://127.0.0.1:"),
        "{shown}"
    );
    assert!(shown.contains(&format!("{place}? [y/N]")), "{shown}");
    assert!(!fixture.get(&fixture.config_map("a")).await.is_null());
}

#[tokio::test]
async fn a_component_that_was_never_deployed_is_an_error_with_the_names_that_are() {
    let fixture = ClusterFixture::new().await;
    let name = unique("shop");
    let typo = format!("{name}x");
    assert_eq!(fixture.apply(&name, &config_map("a", "1"), &[]).code, 0);
    for command in ["delete", "status", "history", "rollback"] {
        let yes: &[&str] = match command {
            "delete" | "rollback" => &["--yes"],
            _ => &[],
        };
        let ran = fixture.run(&[&[command, "--component", &typo], yes].concat());
        assert_eq!(ran.code, 1, "{command}: {}", ran.err);
        let expected = format!(
            "error: the component {typo} has no inventory in the namespace {}; help: did you mean {name}?\n",
            fixture.namespace
        );
        assert_eq!(ran.err, expected, "{command}");
    }
    let other = ClusterFixture::new().await;
    let ran = other.run(&["delete", "--yes", "--component", &name]);
    let help = format!("help: {name} is in another namespace");
    assert!(ran.err.contains(&help), "{}", ran.err);
}
