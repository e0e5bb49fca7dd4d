//! The program itself, built with the fail points of `helenus::fs`: what the tests run.

fn main() -> std::process::ExitCode {
    helenus::main()
}
