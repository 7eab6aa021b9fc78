//! `redis-benchmark`, which also asks for settings.

use std::process::Command;

use crate::clients::servers::{Server, against_both, needed};

fn benchmark(server: &Server, args: &[&str]) -> String {
    let mut command = Command::new(needed("redis-benchmark", "redis-tools"));
    command.args(["-p", &server.resp.port().to_string(), "--csv"]).args(args);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {args:?}: {said}{complaints}", server.which);
    assert_eq!(complaints, "", "{:?} {args:?}", server.which);
    said
}

#[test]
fn redis_benchmark() {
    against_both(|server| {
        let said = benchmark(
            server,
            &["-n", "10000", "-c", "8", "-P", "16", "XADD", "bench", "MAXLEN", "~", "1000", "*", "f", "v"],
        );
        assert!(said.contains("\"XADD bench MAXLEN ~ 1000 * f v\",\""), "{:?}: {said}", server.which);
        let length: u64 = {
            let mut command = Command::new(needed("redis-cli", "redis-tools"));
            let output = command.args(["-p", &server.resp.port().to_string(), "XLEN", "bench"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim_end().parse().unwrap()
        };
        assert!((1000..1100).contains(&length), "{:?}: {length} entries", server.which);
        let said = benchmark(server, &["-n", "2000", "-c", "8", "-t", "ping"]);
        for name in ["PING_INLINE", "PING_MBULK"] {
            assert!(said.contains(name), "{:?}: {said}", server.which);
        }
        let said =
            benchmark(server, &["-n", "2000", "-c", "8", "-r", "100", "XADD", "bench:__rand_int__", "*", "f", "v"]);
        assert!(said.contains("XADD bench:"), "{:?}: {said}", server.which);
    });
}
