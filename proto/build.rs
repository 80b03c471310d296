//! Compiles the .proto files with protox, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "asterism/v1/log.proto",
        "asterism/v1/fleet.proto",
        "asterism/v1/campaign.proto",
        "asterism/v1/trunk.proto",
        "asterism/v1/webhook.proto",
        "asterism/v1/bus.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let set = protox::compile(files, ["."])?;
    prost_build::Config::new().btree_map(["."]).compile_fds(set)?;
    Ok(())
}
