//! Compiles the two `.proto` files in pure Rust, so that no `protoc` is needed to build.

/// What the JSON forms leave out: what opens a cluster, and certificates, which go into files of their own.
const NEVER_PRINTED: [&str; 10] = [
    "JoinRequest.token",
    "JoinRequest.request",
    "JoinReply.certificate",
    "JoinReply.authorities",
    "JoinReply.seal",
    "AddUserRequest.request",
    "RenewRequest.request",
    "RenewReply.certificate",
    "RenewReply.authorities",
    "BackupReply.content",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=consensus.proto");
    println!("cargo:rerun-if-changed=control.proto");
    let files = protox::compile(["consensus.proto", "control.proto"], ["."])?;
    // The names of control.proto are the keys of `--output json`.
    let mut config = tonic_prost_build::configure()
        .type_attribute(".ha.control.v1", "#[derive(serde::Serialize)]")
        // A list of versions comes without their texts.
        .field_attribute(
            ".ha.control.v1.ConfigVersion.text",
            "#[serde(skip_serializing_if = \"String::is_empty\")]",
        );
    for field in NEVER_PRINTED {
        let path = format!(".ha.control.v1.{field}");
        config = config.field_attribute(path, "#[serde(skip_serializing)]");
    }
    config.compile_fds(files)?;
    Ok(())
}
