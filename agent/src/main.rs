//! The binary `helenus`.

fn main() -> std::process::ExitCode {
    helenus::main()
}
