//! Real programs behind the virtual IP: TLS passes through untouched, a large
//! download arrives byte by byte, a print service prints on its own port.

use std::time::{Duration, Instant};

use ha_tests::cluster::{Cluster, Config};
use ha_tests::observer::Observer;
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::servers::{cups, nginx};
use ha_tests::system::System;

const TLS_PORT: u16 = 8443;
const LARGE: usize = 64 << 20;

#[test]
fn tls_passes_through_untouched_and_a_large_download_is_byte_exact() {
    require_root!("nginx", "openssl", "curl");
    let (cluster, nginxes) = with_nginx();
    let client = cluster.topology().client(1);
    let to = cluster.address_on(TLS_PORT);
    // Without persistence, round robin: each server's own certificate is met in turn.
    let met: Vec<_> = (0..6)
        .map(|_| nginx::met_certificate(client, to).expect("a certificate"))
        .collect();
    for nginx in &nginxes {
        assert!(
            met.contains(&nginx.fingerprint),
            "{} is never met: {met:#?}",
            nginx.fingerprint
        );
    }
    assert!(
        met.iter()
            .all(|seen| nginxes.iter().any(|nginx| nginx.fingerprint == *seen)),
        "only servers' own: {met:#?}"
    );

    let all = all_certificates(&cluster);
    let began = Instant::now();
    let download = nginx::download(client, "print.test", to, "/big", &all);
    println!("{} bytes in {:?}", download.stdout.len(), began.elapsed());
    let served = nginxes.iter().find(|nginx| {
        std::fs::read(&nginx.big).expect("served file")[..64] == download.stdout[..64]
    });
    nginx::assert_same_bytes(
        &download,
        &served.expect("the beginning is that of a served file").big,
    );
}

#[test]
fn after_the_loss_of_the_holder_https_goes_on() {
    require_root!("nginx", "openssl", "curl");
    let (mut cluster, nginxes) = with_nginx();
    let vip = cluster.address().ip();
    let observer = Observer::start(cluster.topology(), &[vip]);
    let (to, all) = (cluster.address_on(TLS_PORT), all_certificates(&cluster));
    let name = |cluster: &Cluster| {
        nginx::download(
            cluster.topology().client(1),
            "print.test",
            to,
            "/name",
            &all,
        )
    };
    assert_eq!(name(&cluster).code, Some(0));
    let old = cluster.wait_for_agreed_holder(SOON);
    cluster.kill_machine(old);
    cluster.wait_for_other_holder(old, SOON);
    ha_tests::wait::until("https to be served again", Duration::from_secs(5), || {
        name(&cluster).ok()
    });
    let report = observer.finish();
    report.assert_changes_of_hand(vip, 1);
    drop(nginxes);
}

#[test]
fn a_print_service_answers_through_the_virtual_ip() {
    require_root!("cupsd", "curl");
    let mut cluster = Cluster::start_without_servers(Config::simple(cups::PORT, &[1, 2, 3]));
    let printers: Vec<_> = (1..=3)
        .map(|node| cups::start(cluster.machine(node)))
        .collect();
    cluster.wait_for_all_serving();
    let to = cluster.address_on(cups::PORT);
    for _ in 0..6 {
        cups::assert_ipp_answer(&cups::get_printers(cluster.topology().client(1), to));
    }
    let old = cluster.wait_for_agreed_holder(SOON);
    cluster.kill_machine(old);
    cluster.wait_for_other_holder(old, SOON);
    ha_tests::wait::until("printing to go on", Duration::from_secs(5), || {
        cups::get_printers(cluster.topology().client(1), to).ok()
    });
    drop(printers);
}

fn with_nginx() -> (Cluster, Vec<nginx::Nginx>) {
    let cluster = Cluster::start_without_servers(Config::simple(TLS_PORT, &[1, 2, 3]));
    let nginxes = (1..=3)
        .map(|node| nginx::start(cluster.machine(node), TLS_PORT, LARGE))
        .collect();
    cluster.wait_for_all_serving();
    (cluster, nginxes)
}

/// One file with the certificates of all servers, for curl to trust.
fn all_certificates(cluster: &Cluster) -> std::path::PathBuf {
    let file = cluster.topology().dir().join("all.pem");
    let text: String = cluster
        .topology()
        .nodes()
        .iter()
        .map(|node| std::fs::read_to_string(nginx::certificate_file(node)).expect("certificate"))
        .collect();
    std::fs::write(&file, text).expect("certificates");
    file
}
