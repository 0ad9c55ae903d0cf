//! Compiles the two `.proto` files in pure Rust, so that no `protoc` is needed to build.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=consensus.proto");
    println!("cargo:rerun-if-changed=control.proto");
    let files = protox::compile(["consensus.proto", "control.proto"], ["."])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
