use clap::CommandFactory;

use super::*;

#[test]
fn the_commands_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_of_every_command_shows_an_example_and_the_main_help_the_exit_codes() {
    let mut command = Cli::command();
    let help = command.render_help().to_string();
    assert!(help.contains("77") && help.contains("78"), "{help}");
    let shown = |sub: &&mut clap::Command| !sub.is_hide_set() && sub.get_name() != "help";
    for sub in command.get_subcommands_mut().filter(shown) {
        let help = sub.render_help().to_string();
        assert!(help.contains("Example"), "{help}");
        assert!(
            help.contains(&format!("sidetrack {}", sub.get_name())),
            "{help}"
        );
    }
}

#[test]
fn everything_after_the_first_word_of_exec_belongs_to_the_command() {
    let cli = Cli::try_parse_from(["sidetrack", "exec", "--", "curl", "--config", "x"]).unwrap();
    let Command::Exec(args) = cli.command else {
        panic!("not exec")
    };
    assert_eq!(args.command, ["curl", "--config", "x"]);
    assert_eq!(args.config, None);
    assert!(Cli::try_parse_from(["sidetrack", "exec"]).is_err());
}

#[test]
fn a_bad_instance_name_is_wrong_usage() {
    let error = Cli::try_parse_from(["sidetrack", "status", "--instance", "../x"]).unwrap_err();
    assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()));
}

#[test]
fn a_failure_names_what_was_done_then_the_causes_then_the_fix() {
    #[derive(Debug, thiserror::Error)]
    #[error("reading web.key failed")]
    struct Outer(#[source] io::Error);
    let inner = io::Error::from(io::ErrorKind::PermissionDenied);
    let failure = Failure::new(Exit::Config, "identity \"web\" cannot be used")
        .because(&Outer(inner))
        .fix("make the file readable");
    assert_eq!(
        failure.to_string(),
        "error: identity \"web\" cannot be used\n  caused by: reading web.key failed\n  \
         caused by: permission denied\n  fix: make the file readable"
    );
}
